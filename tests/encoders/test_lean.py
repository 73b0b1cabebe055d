"""What lies beside a picture in its file decides nothing, however much it is."""

from __future__ import annotations

import os
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageFile
from PIL.PngImagePlugin import PngInfo

from engine.encoders.lean import lean
from engine.encoders.pictures import decode_picture, decode_sized
from tests.encoders.test_pictures import corners, quarters, saved

MIB = 1 << 20
PNG = b"\x89PNG\r\n\x1a\n"


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def with_chunks(data: bytes, *chunks: bytes, before: bytes = b"IDAT") -> bytes:
    at = data.index(before) - 4
    return data[:at] + b"".join(chunks) + data[at:]


RIGHT = np.asarray(corners())
PLAIN = saved(corners(), "PNG")
TEXT = os.urandom(3 * MIB)
BOMB = zlib.compress(bytes(200 * MIB), 9)


@pytest.mark.parametrize("before", [b"IDAT", b"IEND"])
@pytest.mark.parametrize(
    "beside",
    [
        chunk(b"tEXt", b"Comment\0" + b"x" * (3 * MIB)),
        chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"x" * (3 * MIB))),
        chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(b"\nexif\n9\n" + b"00" * (3 * MIB))),
        chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(b"x" * (3 * MIB))),
        chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + b"x" * (3 * MIB)),
        chunk(b"iCCP", b"profile\0\0" + zlib.compress(TEXT)),
        chunk(b"eXIf", b"II*\0" + TEXT),
        chunk(b"zTXt", b"no text at all"),
        chunk(b"zTXt", b"Raw profile type exif\0\0" + b"no stream"),
        chunk(b"tEXt", b"Comment\0a")[:-1] + b"\0",
        chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"x" * MIB)) * 70,
    ],
    ids=range(11),
)
def test_a_png_with_much_beside_its_pixels(beside: bytes, before: bytes) -> None:
    assert np.array_equal(np.asarray(decode_picture(with_chunks(PLAIN, beside, before=before))), RIGHT)


@pytest.mark.parametrize("kind", [b"zTXt", b"iCCP"])
@pytest.mark.parametrize("name", [b"Comment", b"Raw profile type exif"])
def test_a_bomb_costs_nothing(kind: bytes, name: bytes) -> None:
    data = with_chunks(PLAIN, *[chunk(kind, name + b"\0\0" + BOMB)] * 5)
    tracemalloc.start()
    try:
        assert quarters(decode_picture(data)) == quarters(corners())
        assert tracemalloc.get_traced_memory()[1] < 2 * MIB + len(BOMB)
    finally:
        tracemalloc.stop()


def exif(orientation: int) -> Image.Exif:
    found = Image.Exif()
    found[0x0112] = orientation
    return found


XMP = '<x xmlns:tiff="t" tiff:Orientation="6"/>'
RAW = "\nexif\n      26\n" + (b"Exif\0\0" + exif(6).tobytes().removeprefix(b"Exif\0\0")).hex()


def standing(kind: str) -> bytes:
    info = PngInfo()
    if kind == "eXIf":
        return saved(corners(), "PNG", exif=exif(6))
    if kind == "xmp":
        info.add_itxt("XML:com.adobe.xmp", XMP, zip=True)
    else:
        info.add_text("Raw profile type exif", RAW, zip=kind == "zTXt")
    info.add_text("Comment", "x" * (3 * MIB), zip=True)
    return saved(corners(), "PNG", pnginfo=info)


@pytest.mark.parametrize("kind", ["eXIf", "xmp", "tEXt", "zTXt"])
def test_how_a_png_stands_is_still_read(kind: str) -> None:
    data = standing(kind)
    found = decode_sized(data)
    assert (found.width, found.height) == (32, 64)
    assert quarters(found.image) == quarters(corners().transpose(Image.Transpose.ROTATE_270))
    if kind == "eXIf":  # and where it comes last
        last = with_chunks(PLAIN, chunk(b"eXIf", exif(6).tobytes().removeprefix(b"Exif\0\0")), before=b"IEND")
        assert quarters(decode_picture(last)) == quarters(found.image)


def test_what_is_ordinary_is_not_even_copied() -> None:
    for data in (PLAIN, saved(corners(), "PNG", exif=exif(6)), saved(corners(), "JPEG", exif=exif(6)), b"GIF89a"):
        assert lean(data) is data


def test_an_animation_keeps_its_pictures() -> None:
    frames = [Image.new("RGB", (16, 16), (n, 255 - n, 9)) for n in (0, 90, 200)]
    data = saved(frames[0], "PNG", save_all=True, append_images=frames[1:])
    with Image.open(__import__("io").BytesIO(lean(with_chunks(data, chunk(b"tEXt", b"a\0b"))))) as opened:
        assert opened.n_frames == 3  # type: ignore[attr-defined]
        opened.seek(2)
        assert opened.convert("RGB").getpixel((3, 3)) == (200, 55, 9)


def segment(code: int, body: bytes) -> bytes:
    return bytes((0xFF, code)) + struct.pack(">H", len(body) + 2) + body


@pytest.mark.parametrize(
    "body",
    [
        (0xE1, b"Exif\0\0" + b"x" * 65000),
        (0xE1, b"http://ns.adobe.com/xap/1.0/\0" + b"x" * 65000),
        (0xE2, b"ICC_PROFILE\0\1\1" + b"x" * 65000),
        (0xED, b"Photoshop 3.0\0" + b"8BIM\x04\x04\0\0\0\0\0\0" * 5000),
        (0xFE, b"x" * 65000),
        (0xE1, b""),
    ],
    ids=range(6),
)
def test_a_jpeg_with_very_many_segments(body: tuple[int, bytes]) -> None:
    plain = saved(corners().convert("CMYK"), "JPEG", quality=95, exif=exif(6))
    data = plain[:2] + segment(0xE0, b"JFIF\0\1\1\0\0\1\0\1\0\0") + plain[2:]
    head = data.index(b"\xff\xdb")
    many = data[:head] + segment(*body) * (30 * MIB // (len(body[1]) + 4) if body[1] else 300_000) + data[head:]
    found = decode_sized(many)
    assert len(lean(many)) < len(plain) + 17 * 65536
    assert (found.width, found.height) == (32, 64)
    assert np.array_equal(np.asarray(found.image), np.asarray(decode_picture(data)))


@pytest.mark.parametrize("fmt", ["WEBP", "AVIF", "HEIF", "JXL", "TIFF"])
@pytest.mark.parametrize("kind", ["exif", "xmp", "icc_profile"])
def test_other_formats_with_much_beside_their_pixels(fmt: str, kind: str) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    body = {"exif": b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0" + TEXT, "xmp": XMP[:-4].encode() + TEXT + b"/>"}
    data = saved(corners(), fmt, **{kind: body.get(kind, profile + TEXT)})
    assert ImageFile.LOAD_TRUNCATED_IMAGES is False
    assert set(decode_picture(data).size) == {64, 32}
