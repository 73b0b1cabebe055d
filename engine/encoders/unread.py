"""Kinds of pictures that nothing here reads, told by their first bytes: each is a failure that says what to do."""

from __future__ import annotations

MAGIC = (
    (b"<svg", "SVG drawing"),
    (b"\xc5\xd0\xd3\xc6", "EPS drawing"),
    (b"\xd7\xcd\xc6\x9a\0\0", "Windows metafile"),
    (b"gimp xcf ", "GIMP picture"),
    (b"8BPS\0\x02\0\0\0\0\0\0", "large Photoshop document (PSB)"),
    (b"DDS \x7c\0\0\0", "DDS texture"),
    (b"\x76\x2f\x31\x01", "OpenEXR picture"),
    (b"#?RADIANCE", "Radiance picture (HDR)"),
    (b"#?RGBE", "Radiance picture (HDR)"),
    (b"qoif\0", "QOI picture"),
    (b"icns\0", "icon of macOS (ICNS)"),
    (b"II\xbc\x01", "JPEG XR picture"),
    (b"BPG\xfb", "BPG picture"),
    (b"FLIF", "FLIF picture"),
    (b"AT&TFORM", "DjVu document"),
    (b"\x01\xda\0\1", "SGI picture"),
    (b"\x01\xda\1\1", "SGI picture"),
)
_SEARCHED = 4096


def unread_kind(head: bytes) -> str | None:
    """Return what a file is by its first bytes, if it is a picture of a kind that is not read."""
    if head.startswith((b"<svg", b"<?xml")) and b"<svg" in head:
        return "SVG drawing"
    if head.startswith(b"%!PS-Adobe") and b"EPSF" in head:
        return "EPS drawing"
    return next((name for magic, name in MAGIC if head.startswith(magic)), None)


def unread_file(data: bytes) -> str | None:
    """Do as `unread_kind` with a whole file, of which more can be told."""
    start = data[:_SEARCHED].lstrip(b"\xef\xbb\xbf \t\r\n")
    if start.startswith((b"<?xml", b"<!--", b"<!DOCTYPE svg")) and b"<svg" in start:
        return "SVG drawing"
    if data[40:44] == b" EMF":
        return "Windows metafile"
    if data[-18:] == b"TRUEVISION-XFILE.\0":
        return "Targa picture"
    return unread_kind(start)
