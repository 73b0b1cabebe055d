"""Where the blocks of metadata lie in a picture file, format by format; no pixel is decoded."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from engine.ingest.metadata.boxes import boxes, items_of
from engine.ingest.metadata.window import Window

MOST_BLOCK = 1 << 20
"""A block that is larger says nothing: what people and cameras write takes some thousand bytes."""

MOST_STEPS = 1 << 16
MOST_GIF = 64 << 20
EXIF_MARK, XMP_MARK, PHOTOSHOP_MARK = b"Exif\0", b"http://ns.adobe.com/xap/1.0/\0", b"Photoshop 3.0\0"
TIFF_MARKS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"IIRO", b"IIRS", b"MMOR", b"IIU\0")
CANON = bytes.fromhex("85c0b687820f11e08111f4ce462b6a48")
CANON_BLOCKS = {b"CMT1": "main", b"CMT2": "exif", b"CMT4": "gps"}
UUIDS = {
    b"JpgTiffExif->JP2": "exif",
    bytes.fromhex("be7acfcb97a942e89c71999491e3afac"): "xmp",
    bytes.fromhex("33c7a4d2b81d4723a0baf1a3e097ad38"): "iptc",
}


@dataclass
class Blocks:
    """The blocks of one file, as they lie in it.

    Attributes:
        exif: TIFF structures, by what their first directory is: "main", "exif" or "gps".
        xmp: packets.
        iptc: IPTC-IIM records.
        texts: comments of a PNG, by their keyword.
    """

    exif: dict[str, Window] = field(default_factory=dict)
    xmp: list[bytes] = field(default_factory=list)
    iptc: list[bytes] = field(default_factory=list)
    texts: dict[str, str] = field(default_factory=dict)

    def take(self, kind: str, data: bytes) -> None:
        """Take a block of a kind; of EXIF the first one counts."""
        if kind == "xmp":
            self.xmp.append(data)
        elif kind == "iptc":
            self.iptc.append(data)
        else:
            self.exif.setdefault("main", Window.of(data[6:] if data.startswith(EXIF_MARK) else data))


def find_blocks(file: Window) -> Blocks:
    """Find the blocks of metadata in a picture file, by what its first bytes say it is."""
    head, found = file.read(0, 16), Blocks()
    if head[:3] == b"\xff\xd8\xff":
        _jpeg(file, found)
    elif head[:8] == b"\x89PNG\r\n\x1a\n":
        _png(file, found)
    elif head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        _webp(file, found)
    elif head[:4] in TIFF_MARKS:
        found.exif["main"] = file
    elif head[:4] == b"8BPS":
        _psd(file, found)
    elif head[:4] == b"GIF8":
        _gif(file, found)
    elif head[4:8] in (b"ftyp", b"jP  ", b"JXL "):
        _iso(file, found)
    elif head[:15] == b"FUJIFILMCCD-RAW":
        place = file.read(84, 8)
        start, size = int.from_bytes(place[:4], "big"), int.from_bytes(place[4:], "big")
        _jpeg(file.part(start, start + size), found)
    return found


def _jpeg(file: Window, found: Blocks) -> None:
    resources, at = [], 2
    for _ in range(MOST_STEPS):
        head = file.read(at, 4)
        if len(head) < 4 or head[0] != 0xFF or head[1] in (0xDA, 0xD9):
            break
        if head[1] == 0xFF or head[1] <= 0x01 or 0xD0 <= head[1] <= 0xD8:
            at += 1 if head[1] == 0xFF else 2
            continue
        size = int.from_bytes(head[2:4], "big")
        body = file.read(at + 4, size - 2) if head[1] in (0xE1, 0xED) else b""
        if body.startswith(EXIF_MARK):
            found.take("exif", body)
        elif body.startswith(XMP_MARK):
            found.take("xmp", body.removeprefix(XMP_MARK))
        elif body.startswith(PHOTOSHOP_MARK):
            resources.append(body.removeprefix(PHOTOSHOP_MARK))
        at += 2 + max(size, 2)
    # One set of resources may be cut over several segments.
    take_resources(Window.of(b"".join(resources[: MOST_BLOCK >> 16])), found)


def take_resources(window: Window, found: Blocks) -> None:
    """Take the blocks that are among Photoshop's image resources."""
    at, kinds = 0, {1028: "iptc", 1058: "exif", 1060: "xmp"}
    for _ in range(MOST_STEPS):
        head = window.read(at, 7)
        if head[:4] != b"8BIM" or len(head) < 7:
            return
        name = 1 + head[6]
        at += 6 + name + name % 2
        size = int.from_bytes(window.read(at, 4), "big")
        kind = kinds.get(int.from_bytes(head[4:6], "big"))
        if kind is not None and size <= MOST_BLOCK:
            found.take(kind, window.read(at + 4, size))
        at += 4 + size + size % 2


def _psd(file: Window, found: Blocks) -> None:
    at = 30 + int.from_bytes(file.read(26, 4), "big")
    take_resources(file.part(at + 4, at + 4 + int.from_bytes(file.read(at, 4), "big")), found)


def _png(file: Window, found: Blocks) -> None:
    at = 8
    for _ in range(MOST_STEPS):
        head = file.read(at, 8)
        size, kind = int.from_bytes(head[:4], "big"), head[4:]
        if len(head) < 8 or kind == b"IEND":
            return
        if kind in (b"eXIf", b"tEXt", b"zTXt", b"iTXt") and size <= MOST_BLOCK:
            body = file.read(at + 8, size)
            if kind == b"eXIf":
                found.take("exif", body)
            else:
                _take_text(kind, body, found)
        at += 12 + size


def _take_text(kind: bytes, body: bytes, found: Blocks) -> None:
    """Take a comment of a PNG: text, or a block that is kept as one."""
    keyword, _, rest = body.partition(b"\0")
    name, coding = keyword.decode("latin-1"), "latin-1"
    if kind == b"zTXt":
        rest = _inflated(rest[1:])
    elif kind == b"iTXt":
        packed, rest, coding = rest[:1] == b"\1", rest[2:], "utf-8"
        rest = rest.split(b"\0", 2)[2] if rest.count(b"\0") > 1 else b""
        rest = _inflated(rest) if packed else rest
    if name == "XML:com.adobe.xmp":
        found.take("xmp", rest)
    elif name.lower().startswith("raw profile type "):
        _take_profile(name.lower().removeprefix("raw profile type "), rest, found)
    else:
        found.texts.setdefault(name.casefold(), rest.decode(coding, "replace"))


def _take_profile(name: str, text: bytes, found: Blocks) -> None:
    """Take a block as ImageMagick writes it into a PNG: its name, its size, and hexadecimal digits."""
    lines = text.split()
    data = bytes.fromhex(b"".join(lines[2:]).decode("ascii", "replace")) if len(lines) > 2 else b""
    if name == "iptc" and data.startswith(b"8BIM"):
        take_resources(Window.of(data), found)
    elif name == "app1" and data.startswith(XMP_MARK):
        found.take("xmp", data.removeprefix(XMP_MARK))
    elif name in ("exif", "app1", "xmp", "iptc"):
        found.take("exif" if name == "app1" else name, data)


def _inflated(data: bytes) -> bytes:
    return zlib.decompressobj().decompress(data, MOST_BLOCK)


def _webp(file: Window, found: Blocks) -> None:
    at, kinds = 12, {b"EXIF": "exif", b"XMP ": "xmp"}
    for _ in range(MOST_STEPS):
        head = file.read(at, 8)
        if len(head) < 8:
            return
        size = int.from_bytes(head[4:], "little")
        if head[:4] in kinds and size <= MOST_BLOCK:
            found.take(kinds[head[:4]], file.read(at + 8, size))
        at += 8 + size + size % 2


def _gif(file: Window, found: Blocks) -> None:
    mark = b"\x21\xff\x0bXMP DataXMP"
    at = file.find(mark, MOST_GIF)
    if at >= 0:  # the packet lies there as it is; what ends it for other readers begins with these two bytes
        found.take("xmp", file.read(at + len(mark), MOST_BLOCK).partition(b"\x01\xff")[0])


def _iso(file: Window, found: Blocks) -> None:
    for box in boxes(file):
        if box.kind == b"meta":
            for kind, content, data in items_of(file, box.body):
                if kind == b"Exif":
                    found.take("exif", _after_offset(data))
                elif content == b"application/rdf+xml":
                    found.take("xmp", data)
        elif box.kind == b"Exif":
            found.take("exif", _after_offset(box.body.read(0, MOST_BLOCK)))
        elif box.kind == b"xml ":
            found.take("xmp", box.body.read(0, MOST_BLOCK))
        elif box.kind == b"uuid" and (kind_here := UUIDS.get(box.body.read(0, 16))) is not None:
            found.take(kind_here, box.body.read(16, MOST_BLOCK))
        elif box.kind == b"moov":
            found.exif.update(_canon(box.body))


def _after_offset(data: bytes) -> bytes:
    """Return an EXIF block that follows a count of bytes to pass over; some programs leave out the count."""
    if data[:4] in TIFF_MARKS:
        return data
    passed = data[4 + int.from_bytes(data[:4], "big") :]
    return passed if passed[:4] in TIFF_MARKS else data[4:]


def _canon(moov: Window) -> Iterator[tuple[str, Window]]:
    """Yield the blocks of a CR3 file, which has one for each directory."""
    for box in boxes(moov):
        if box.kind == b"uuid" and box.body.read(0, 16) == CANON:
            for inner in boxes(box.body.part(16, box.body.size)):
                if inner.kind in CANON_BLOCKS:
                    yield CANON_BLOCKS[inner.kind], inner.body
