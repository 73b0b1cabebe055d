"""Which formats of pictures are read, how each is told by its first bytes, and by what package.

Pillow reads most; HEIC comes with pillow-heif (libheif and libde265) and JPEG XL with pillow-jxl-plugin (libjxl). Only
the formats named here are tried, so that no exotic decoder sees hostile bytes.
"""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import version as package_version

import PIL
from PIL import Image, ImageFile

from engine.encoders import raw, unread
from engine.encoders.raw import is_raw_by_magic
from engine.encoders.unread import unread_file

FORMATS = (
    *("JPEG", "MPO", "PNG", "GIF", "WEBP", "BMP", "TIFF", "AVIF", "HEIF", "JXL", "JPEG2000", "PSD"),
    *("PPM", "ICO"),
)
PACKAGES = {"HEIF": "pillow-heif", "JXL": "pillow-jxl-plugin", "AVIF": "a Pillow that can read them"}

# File types of ISO media containers (bytes 8 to 12) that hold still pictures.
_AVIF_BRANDS = frozenset({b"avif", b"avis"})
_HEIF_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"mif2", b"msf1"})
_BMP_HEADER_SIZES = frozenset({12, 16, 40, 52, 56, 64, 108, 124})
PNG = b"\x89PNG\r\n\x1a\n"
MAGIC = (
    (b"\xff\xd8\xff", "JPEG"),
    (PNG, "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG2000"),
    (b"\xff\x4f\xff\x51\0", "JPEG2000"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "JXL"),
    (b"8BPS\0\x01\0\0\0\0\0\0", "PSD"),
)

JXL_RATIOS = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))
JXL_BITS = (9, 13, 18, 30)
MOST_JXL_SIDE = 1 << 18

Factory = Callable[..., ImageFile.ImageFile]


def sniff(head: bytes) -> str | None:
    """Return the format that a file's first 32 bytes claim it to be in; None where that is none of those named."""
    for magic, name in MAGIC:
        if head.startswith(magic):
            return name
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if is_raw_by_magic(head):
        return "raw file"
    if head[4:8] == b"ftyp":
        # Bytes 16 and on are the types that it is compatible with: `mif1` says nothing of how pictures are coded.
        others = {head[at : at + 4] for at in range(16, 32, 4)}
        if ({head[8:12]} | others) & _AVIF_BRANDS:
            return "AVIF"
        return "HEIF" if ({head[8:12]} | others) & _HEIF_BRANDS else None
    return _sniff_weak(head)


def _sniff_weak(head: bytes) -> str | None:
    # Two or four bytes of magic also begin other files, so the fields after them must fit too.
    if head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in _BMP_HEADER_SIZES:
        return "BMP"
    if head[:4] == b"\0\0\1\0" and head[4:6] != b"\0\0" and head[9:10] == b"\0":
        return "ICO"
    if re.match(rb"P[1-6](\s|#)", head) or re.match(rb"P[Ff]\s", head):
        return "PPM"
    if head[:2] == b"\xff\x0a" and len(head) > 8 and max(jxl_size(head)) <= MOST_JXL_SIDE:
        return "JXL"
    return None


def jxl_size(data: bytes) -> tuple[int, int]:
    """Return width and height that a JPEG XL file says it has, (0, 0) where it says nothing.

    Its reader decodes before it tells. The header of a codestream is that of ISO/IEC 18181-1, C.2; in a container it
    begins the first box of the codestream.
    """
    at = 0 if data[:2] == b"\xff\x0a" else _jxl_codestream(data)
    if data[at : at + 2] != b"\xff\x0a":
        return 0, 0
    bits = int.from_bytes(data[at + 2 : at + 14], "little")

    def take(count: int) -> int:
        nonlocal bits
        found, bits = bits & ((1 << count) - 1), bits >> count
        return found

    def side(small: int) -> int:
        return (take(5) + 1) * 8 if small else take(JXL_BITS[take(2)]) + 1

    small = take(1)
    height = side(small)
    ratio = take(3)
    if not ratio:
        return side(small), height
    over, under = JXL_RATIOS[ratio - 1]
    return height * over // under, height


def _jxl_codestream(data: bytes) -> int:
    """Return where the codestream of a container begins."""
    at = 0
    while at + 8 <= len(data):
        size, kind, head = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8], 8
        if size == 1:
            size, head = int.from_bytes(data[at + 8 : at + 16], "big"), 16
        if kind == b"jxlc":
            return at + head
        if kind == b"jxlp":
            return at + head + 4
        if size < head:
            break
        at += size
    return len(data)


@functools.cache
def readable() -> tuple[str, ...]:
    """Return the named formats that there is a reader for here."""
    Image.init()
    with contextlib.suppress(ImportError):
        import_module("pillow_heif").register_heif_opener()
    with contextlib.suppress(ImportError):
        import_module("pillow_jxl")
    return tuple(name for name in FORMATS if name in Image.OPEN)


@functools.cache
def readers(max_pixels: int) -> str:
    """Say what reads pictures here: the same readers fail at the same files."""
    ours = package_version("nestvec")
    return f"nestvec {ours}, Pillow {PIL.__version__} ({' '.join(readable())}), {max_pixels} pixels"


@functools.cache
def tellers() -> tuple[object, ...]:
    """Return what tells a picture from other files by its first bytes: the same tells the same of the same files."""
    return package_version("nestvec"), FORMATS, MAGIC, raw.MAGIC, unread.MAGIC


def unknown(data: bytes) -> str:
    """Return why bytes that no reader takes are no picture."""
    name = sniff(data[:32])
    if name in PACKAGES and name not in readable():
        return f"{name} pictures need {PACKAGES[name]}; install that, or convert the file to JPEG or PNG"
    if name is not None:
        return f"{name} that cannot be decoded"
    if (kind := unread_file(data)) is not None:
        return f"not a picture in a known format, but a {kind}; convert it to PNG or JPEG"
    return f"not a picture in a known format (it begins with the bytes {data[:8].hex(' ')})"
