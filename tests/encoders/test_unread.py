"""Pictures that nothing here reads are failures that say what to do; what is no picture is passed over."""

from __future__ import annotations

import struct

import pytest

from engine.encoders.formats import sniff
from engine.encoders.pictures import decode_picture, looks_like_picture
from engine.storage.kinds import PICTURE_SUFFIXES, UNREAD_SUFFIXES
from indexers.errors import PictureError
from tests.encoders.test_pictures import corners, saved

KINDS = {
    "SVG": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    "EPS": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
    "GIMP": b"gimp xcf v011\0" + bytes(30),
    "Photoshop": b"8BPS\0\x02" + bytes(30),
    "DDS": b"DDS \x7c\0\0\0" + bytes(120),
    "OpenEXR": b"\x76\x2f\x31\x01\2\0\0\0" + bytes(40),
    "Radiance": b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n",
    "QOI": b"qoif\0\0\0\x04\0\0\0\x04\4\0" + bytes(20),
    "ICNS": b"icns\0\0\1\0" + bytes(30),
    "JPEG XR": b"II\xbc\x01 \0\0\0" + bytes(30),
    "SGI": saved(corners(), "SGI"),
}
TOLD_BY_MORE = {
    "SVG": b"<?xml version='1.0'?>\n<!-- made by hand -->\n<svg xmlns='http://www.w3.org/2000/svg'/>",
    "metafile": b"\1\0\0\0" + bytes(36) + b" EMF" + bytes(40),
    "Targa": saved(corners(), "TGA"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_picture_that_is_not_read_is_one_all_the_same(kind: str) -> None:
    assert looks_like_picture(KINDS[kind][:32])


@pytest.mark.parametrize(("kind", "data"), [*KINDS.items(), *TOLD_BY_MORE.items()])
def test_what_to_do_with_it_is_said(kind: str, data: bytes) -> None:
    with pytest.raises(PictureError, match=f"not a picture in a known format, but a .*{kind}.*; convert it to PNG or"):
        decode_picture(data)


def test_its_suffix_says_so_too() -> None:
    assert UNREAD_SUFFIXES < PICTURE_SUFFIXES
    assert {".svg", ".eps", ".xcf", ".tga", ".exr", ".hdr", ".dds", ".qoi"} <= UNREAD_SUFFIXES
    assert not {".pdf", ".mp4", ".txt", ".mov", ".docx", ".ai", ".xml", ".webm"} & PICTURE_SUFFIXES


@pytest.mark.parametrize(
    "head",
    [
        b"%PDF-1.7",
        b"%!PS-Adobe-3.0\n%%Pages: 7",
        b"<html>",
        b"<?xml version='1.0'?>",
        b"\0\0\0\x18ftypisom\0\0\2\0isomiso2",
    ],
)
def test_documents_and_films_are_no_pictures(head: bytes) -> None:
    assert not looks_like_picture(head)


@pytest.mark.parametrize(("other", "kind"), [(b"heic", "HEIF"), (b"mif1", "HEIF"), (b"avif", "AVIF")])
def test_a_container_under_another_name_counts_by_what_it_goes_with(other: bytes, kind: str) -> None:
    assert sniff(struct.pack(">I", 28) + b"ftypMiPr\0\0\0\0miaf" + other + b"MiHB") == kind
