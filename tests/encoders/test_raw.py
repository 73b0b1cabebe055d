"""Raw files of cameras, made here: a thumbnail, previews, and sensor data that look like pictures."""

from __future__ import annotations

import io
import os
import struct
import sys
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pytest
from PIL import Image

from engine.encoders.pictures import decode_picture, decode_sized, looks_like_picture
from engine.storage.kinds import PICTURE_SUFFIXES
from indexers.errors import PictureError
from tests.encoders.test_lean import exif
from tests.encoders.test_pictures import corners, quarters, saved

Tags = Mapping[int, object]
THUMB = saved(Image.new("RGB", (160, 120), (90, 90, 90)), "JPEG")
SMALL = saved(Image.new("RGB", (640, 480), (90, 90, 90)), "JPEG")
LARGE = saved(corners((1200, 800)), "JPEG", quality=95)
NOISE = os.urandom(60_000).replace(b"\xff\xd8", b"\xff\x00")
SENSOR = {254: 0, 256: 3000, 257: 2000, 258: 14, 259: 34713, 262: 32803, 277: 1}
PIXELS = bytes((90, 90, 90)) * (160 * 120)


class Writer:
    """Lays out directories of a TIFF and what they point at."""

    def __init__(self, order: str = "<", magic: bytes | None = None) -> None:
        self.order = order
        self.body = bytearray((magic or (b"II*\0" if order == "<" else b"MM\0*")) + bytes(4))

    def put(self, data: bytes) -> int:
        self.body += bytes(len(self.body) % 2)
        at = len(self.body)
        self.body += data
        return at

    def directory(self, tags: Tags, following: int = 0) -> int:
        """Write one; a tag's value is a number, several, or bytes."""
        entries = b""
        for tag, value in sorted(tags.items()):
            if isinstance(value, bytes):
                kind, number, packed = 1, len(value), value
            else:
                numbers = list(value) if isinstance(value, Sequence) else [value]
                kind, number = 4, len(numbers)
                packed = struct.pack(f"{self.order}{number}I", *numbers)
            place = packed.ljust(4, b"\0") if len(packed) <= 4 else struct.pack(f"{self.order}I", self.put(packed))
            entries += struct.pack(f"{self.order}HHI", tag, kind, number) + place
        return self.put(struct.pack(f"{self.order}H", len(tags)) + entries + struct.pack(f"{self.order}I", following))

    def file(self, first: int) -> bytes:
        self.body[4:8] = struct.pack(f"{self.order}I", first)
        return bytes(self.body)


def strips(writer: Writer, data: bytes) -> dict[int, object]:
    return {273: writer.put(data), 279: len(data)}


def jpeg(writer: Writer, data: bytes, compression: int = 7, size: tuple[int, int] = (1200, 800)) -> dict[int, object]:
    return {254: 1, 256: size[0], 257: size[1], 258: [8, 8, 8], 259: compression, 262: 6, **strips(writer, data)}


def thumbnail(writer: Writer) -> dict[int, object]:
    plain = {254: 1, 256: 160, 257: 120, 258: [8, 8, 8], 259: 1, 262: 2, 277: 3, 278: 120}
    return {**plain, 271: b"Maker\0", **strips(writer, PIXELS)}


def dng(large: bytes = LARGE, orientation: int = 1, order: str = "<") -> bytes:
    """As Adobe and phones write it: a thumbnail, below it sensor data and a preview; the order is theirs."""
    w = Writer(order)
    sensor = w.directory({**SENSOR, 259: 7, **strips(w, NOISE)})
    below = [sensor, w.directory(jpeg(w, large))] if large else [sensor]
    return w.file(w.directory({**thumbnail(w), 274: orientation, 330: below, 50706: b"\1\4\0\0"}))


def nef(large: bytes = LARGE, orientation: int = 1) -> bytes:
    w = Writer(">")
    shown = w.directory({254: 1, 259: 6, 513: w.put(large), 514: len(large)})
    sensor = w.directory({**SENSOR, **strips(w, NOISE)})
    return w.file(w.directory({**thumbnail(w), 274: orientation, 330: [shown, sensor]}))


def arw(large: bytes = LARGE, orientation: int = 1) -> bytes:
    w = Writer()
    sensor = w.directory({**SENSOR, 259: 32767, **strips(w, NOISE)})
    second = w.directory({254: 1, 259: 6, 513: w.put(THUMB), 514: len(THUMB)})
    first = {254: 1, 259: 6, 271: b"SONY\0", 274: orientation, 330: sensor, 513: w.put(large), 514: len(large)}
    return w.file(w.directory(first, second))


def cr2(large: bytes = LARGE, orientation: int = 1) -> bytes:
    """Whose sensor data are a JPEG without loss that says a larger size."""
    w = Writer(magic=b"II*\0\0\0\0\0CR\2\0\0\0\0\0")
    lossless = b"\xff\xd8\xff\xc3\0\x0b\x08\x0b\xb8\x0f\xa0\1\1\x11\0" + NOISE
    sensor = w.directory({259: 6, **strips(w, lossless)})
    third = w.directory({256: 384, 257: 256, 258: [8, 8, 8], 259: 6, **strips(w, NOISE)}, sensor)
    second = w.directory({513: w.put(THUMB), 514: len(THUMB)}, third)
    return w.file(w.directory({256: 1200, 257: 800, 259: 6, 274: orientation, **strips(w, large)}, second))


def pef(large: bytes = LARGE, orientation: int = 1) -> bytes:
    w = Writer(">")
    third = w.directory({513: w.put(large), 514: len(large)})
    second = w.directory({259: 6, 513: w.put(THUMB), 514: len(THUMB)}, third)
    return w.file(w.directory({**SENSOR, 259: 65535, 274: orientation, **strips(w, NOISE)}, second))


def srw(large: bytes = LARGE, orientation: int = 1) -> bytes:
    w = Writer()
    sensor = w.directory({**SENSOR, 259: 32770, **strips(w, NOISE)})
    shown = w.directory({259: 6, 513: w.put(large), 514: len(large)})
    return w.file(w.directory({**jpeg(w, THUMB, 6, (160, 120)), 274: orientation, 330: [shown, sensor]}))


def rw2(large: bytes = LARGE, orientation: int = 1) -> bytes:
    w = Writer(magic=b"IIU\0")
    return w.file(w.directory({2: 3000, 3: 2000, 46: large, 274: orientation, 280: w.put(NOISE)}))


def orf(large: bytes = LARGE, orientation: int = 1, magic: bytes = b"IIRO") -> bytes:
    w = Writer(">" if magic[:2] == b"MM" else "<", magic)
    w.put(THUMB + large)  # which notes of the maker point at
    return w.file(w.directory({**SENSOR, 259: 1, 262: 32803, 274: orientation, **strips(w, NOISE)}))


def raf(large: bytes = LARGE, orientation: int = 1) -> bytes:
    own = io.BytesIO()
    Image.open(io.BytesIO(large)).save(own, "JPEG", quality=95, exif=exif(orientation))
    head = b"FUJIFILMCCD-RAW 0201FF389501".ljust(84, b"\0") + struct.pack(">II", 160, len(own.getvalue()))
    return head.ljust(160, b"\0") + own.getvalue() + NOISE


def box(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body) + 8) + kind + body


def cr3(large: bytes = LARGE, orientation: int = 1) -> bytes:
    w = Writer()
    said = w.file(w.directory({256: 3000, 257: 2000, 271: b"Canon\0", 274: orientation}))
    canon = box(b"uuid", bytes.fromhex("85c0b687820f11e08111f4ce462b6a48") + box(b"CMT1", said) + box(b"THMB", THUMB))
    shown = box(b"uuid", bytes.fromhex("eaf42b5e1c984b88b9fbb7dc406e4d16") + bytes(8) + box(b"PRVW", bytes(16) + SMALL))
    return box(b"ftyp", b"crx \0\0\0\1crx isom") + box(b"moov", canon) + shown + box(b"mdat", large + NOISE)


def mrw(large: bytes = LARGE, orientation: int = 1) -> bytes:
    w = Writer(">")
    w.put(b"\x02" + large[1:])  # another first byte, as Minolta writes it
    said = w.file(w.directory({256: 3000, 257: 2000, 274: orientation}))
    block = b"\0TTW" + struct.pack(">I", len(said)) + said
    return b"\0MRM" + struct.pack(">I", len(block)) + block + NOISE


def crw(large: bytes = LARGE, orientation: int = 1) -> bytes:
    return b"II\x1a\0\0\0HEAPCCDR\2\0\1\0" + bytes(8) + NOISE + THUMB + large


def x3f(large: bytes = LARGE, orientation: int = 1) -> bytes:
    return b"FOVb\2\0\2\0" + bytes(60) + SMALL + large + NOISE


KINDS: dict[str, Callable[..., bytes]] = {
    **{"dng": dng, "nef": nef, "arw": arw, "cr2": cr2, "pef": pef, "srw": srw, "rw2": rw2, "orf": orf, "raf": raf},
    **{"cr3": cr3, "mrw": mrw, "crw": crw, "x3f": x3f},
}
STANDING = sorted(KINDS.keys() - {"crw", "x3f"})


@pytest.mark.parametrize("kind", KINDS)
def test_the_largest_preview_is_the_picture(kind: str) -> None:
    data = KINDS[kind]()
    assert looks_like_picture(data[:32])
    assert f".{kind}" in PICTURE_SUFFIXES
    found = decode_sized(data)
    assert (found.width, found.height, found.note) == (1200, 800, None)
    assert quarters(found.image) == quarters(corners())
    assert decode_sized(data, min_side=100).image.size == (300, 200)
    with pytest.raises(PictureError, match=r"1200×800 pixels are more than the limit of 9999; --max-pixels"):
        decode_picture(data, max_pixels=9999)


@pytest.mark.parametrize("kind", STANDING)
def test_it_stands_as_the_camera_says(kind: str) -> None:
    found = decode_sized(KINDS[kind](orientation=6))
    assert (found.width, found.height) == (800, 1200)
    assert quarters(found.image) == quarters(corners().transpose(Image.Transpose.ROTATE_270))


@pytest.mark.parametrize("kind", ["dng", "nef", "arw", "cr3"])
def test_what_the_preview_says_itself_counts(kind: str) -> None:
    own = saved(corners((1200, 800)), "JPEG", quality=95, exif=exif(1))
    assert decode_picture(KINDS[kind](large=own, orientation=6)).size == (1200, 800)


@pytest.mark.parametrize("magic", [b"IIRO", b"IIRS", b"MMOR"])
def test_all_files_of_olympus(magic: bytes) -> None:
    assert decode_picture(orf(magic=magic)).size == (1200, 800)


def test_a_broken_preview_is_passed_over_for_the_next() -> None:
    broken = LARGE[:600] + b"\xff\xd9"
    assert decode_picture(cr3(large=broken + SMALL)).size in {(640, 480)}


def test_tiles_of_sensor_data_are_no_preview() -> None:
    w = Writer()
    tile = saved(Image.new("RGB", (1600, 1600), (1, 2, 3)), "JPEG")
    starts = [w.put(tile) for _ in range(4)]
    tiled = {256: 3200, 257: 3200, 258: [8, 8, 8], 259: 34892, 262: 34892, 322: 1600, 323: 1600}
    sensor = w.directory({**tiled, 324: starts, 325: [len(tile)] * 4})
    shown = w.directory(jpeg(w, LARGE))
    data = w.file(w.directory({**thumbnail(w), 330: [sensor, shown], 50706: b"\1\4\0\0"}))
    assert quarters(decode_picture(data)) == quarters(corners())


def test_a_preview_that_is_not_compressed() -> None:
    w = Writer()
    picture = corners((600, 400))
    plain = {254: 1, 256: 600, 257: 400, 258: [8, 8, 8], 259: 1, 262: 2, 277: 3, 278: 400}
    shown = w.directory({**plain, **strips(w, picture.tobytes())})
    sensor = w.directory({**SENSOR, 259: 1, **strips(w, NOISE)})
    data = w.file(w.directory({**thumbnail(w), 274: 6, 330: [sensor, shown], 50706: b"\1\4\0\0"}))
    assert np.array_equal(np.asarray(decode_picture(data)), np.asarray(picture.transpose(Image.Transpose.ROTATE_270)))


def test_without_a_preview_the_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rawpy", None)
    for data in (dng(large=b""), nef(large=THUMB), cr3(large=b"")[:-60_000].replace(SMALL, THUMB), raf(large=THUMB)):
        with pytest.raises(
            PictureError, match=r"without a preview of at least 256 pixels each way needs rawpy; install"
        ):
            decode_picture(data)


def test_sensor_data_are_developed_where_rawpy_is() -> None:
    pytest.importorskip("rawpy")
    w = Writer()
    size = 640, 480
    light = np.zeros((480, 640), np.uint16)
    light[:, 320:] = 12_000
    sensor = {254: 0, 256: size[0], 257: size[1], 258: 16, 259: 1, 262: 32803, 277: 1, 278: size[1]}
    below = w.directory(
        {**sensor, 33421: struct.pack("<HH", 2, 2), 33422: b"\0\1\1\2", 50717: 16383, **strips(w, light.tobytes())}
    )
    data = w.file(w.directory({**thumbnail(w), 330: below, 50706: b"\1\4\0\0", 50708: b"Made here\0"}))
    found = decode_picture(data)
    assert found.size == (320, 240)
    left, right = (np.asarray(found)[40:200, start : start + 80].mean() for start in (40, 200))
    assert left < 60 < 150 < right


def test_a_plain_tiff_stays_one() -> None:
    for options in ({}, {"compression": "jpeg"}, {"compression": "tiff_lzw"}):
        data = saved(corners((300, 200)), "TIFF", save_all=True, append_images=[corners((900, 600))], **options)
        assert decode_picture(data).size == (300, 200)


def test_hostile_directories_end() -> None:
    w = Writer()
    data = bytearray(w.file(w.directory({330: [8] * 60, 50706: b"\1\4\0\0"}, 8)) + b"\xff\xd8\xff\xc4" * 100_000)
    for at in range(8, 60):
        for value in (0, 0xFF):
            wrong = bytearray(data)
            wrong[at] = value
            with pytest.raises(PictureError):
                decode_picture(bytes(wrong[:4000]))
    with pytest.raises(PictureError):
        decode_picture(bytes(data))
