"""Picture files with metadata, made byte by byte or as Pillow writes them."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import pillow_heif
from PIL import Image

PIXELS = Image.new("RGB", (8, 8), "red")
SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 7: 1, 10: 8, 12: 8}
RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
SPACES = {
    "dc": "http://purl.org/dc/elements/1.1/",
    "xmp": "http://ns.adobe.com/xap/1.0/",
    "exif": "http://ns.adobe.com/exif/1.0/",
    "tiff": "http://ns.adobe.com/tiff/1.0/",
    "aux": "http://ns.adobe.com/exif/1.0/aux/",
    "photoshop": "http://ns.adobe.com/photoshop/1.0/",
    "mwg": "http://www.metadataworkinggroup.com/schemas/regions/",
}

Entry = tuple[int, int, int, bytes]
"""Tag, type, how many values it claims, and its bytes."""


def text(tag: int, words: str | bytes) -> Entry:
    data = (words.encode() if isinstance(words, str) else words) + b"\0"
    return tag, 2, len(data), data


def short(tag: int, *values: int, order: str = ">") -> Entry:
    return tag, 3, len(values), struct.pack(f"{order}{len(values)}H", *values)


def raw(tag: int, data: bytes) -> Entry:
    return tag, 7, len(data), data


def fractions(tag: int, *pairs: tuple[int, int], order: str = ">") -> Entry:
    flat = [one for pair in pairs for one in pair]
    return tag, 5, len(pairs), struct.pack(f"{order}{len(flat)}I", *flat)


def tiff(
    main: Sequence[Entry] = (), exif: Sequence[Entry] = (), gps: Sequence[Entry] = (), *, order: str = ">"
) -> bytes:
    """Write a TIFF structure with up to three directories."""
    at, bodies = 8, []
    wanted = [(0x8769, exif), (0x8825, gps)]
    entries = [*main, *((pointer, 4, 1, b"") for pointer, own in wanted if own)]
    sizes = [_length(entries), *(_length(own) for _, own in wanted if own)]
    places = [at + sum(sizes[:number]) for number in range(len(sizes))]
    pointers = iter(places[1:])
    filled = [
        (tag, kind, count, struct.pack(f"{order}I", next(pointers)))
        if tag in (0x8769, 0x8825)
        else (tag, kind, count, data)
        for tag, kind, count, data in entries
    ]
    for place, own in zip(places, [filled, *(own for _, own in wanted if own)], strict=True):
        bodies.append(_directory(own, place, order))
    mark = b"II*\0" if order == "<" else b"MM\0*"
    return mark + struct.pack(f"{order}I", at) + b"".join(bodies)


def _length(entries: Sequence[Entry]) -> int:
    return 6 + 12 * len(entries) + sum(len(data) for *_, data in entries if len(data) > 4)


def _directory(entries: Sequence[Entry], at: int, order: str) -> bytes:
    rows, tail = [struct.pack(f"{order}H", len(entries))], b""
    start = at + 6 + 12 * len(entries)
    for tag, kind, count, data in entries:
        held = data.ljust(4, b"\0") if len(data) <= 4 else struct.pack(f"{order}I", start + len(tail))
        tail += data if len(data) > 4 else b""
        rows.append(struct.pack(f"{order}HHI", tag, kind, count) + held)
    return b"".join([*rows, b"\0\0\0\0", tail])


def saved(kind: str, **options: Any) -> bytes:
    """Return a small picture as Pillow writes it."""
    pillow_heif.register_heif_opener()
    out = io.BytesIO()
    PIXELS.save(out, kind, **options)
    return out.getvalue()


def segment(marker: int, body: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body


def jpeg(exif: bytes | None = None, xmp: bytes | None = None, iptc: bytes | None = None) -> bytes:
    """Return a JPEG with blocks as they are."""
    parts = []
    if exif is not None:
        parts.append(segment(0xE1, b"Exif\0\0" + exif))
    if xmp is not None:
        parts.append(segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + xmp))
    if iptc is not None:
        parts.append(segment(0xED, b"Photoshop 3.0\0" + resource(1028, iptc)))
    whole = saved("JPEG")
    return whole[:2] + b"".join(parts) + whole[2:]


def resource(number: int, data: bytes, name: bytes = b"") -> bytes:
    """Return one image resource of Photoshop's."""
    held = bytes([len(name)]) + name
    return (
        b"8BIM"
        + struct.pack(">H", number)
        + held
        + b"\0" * (len(held) % 2)
        + struct.pack(">I", len(data))
        + data
        + (b"\0" * (len(data) % 2))
    )


def record(number: int, data: bytes, *, at: int = 2) -> bytes:
    """Return one data set of IPTC."""
    return struct.pack(">BBBH", 0x1C, at, number, len(data)) + data


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(*chunks: bytes) -> bytes:
    """Return a PNG with chunks after its header."""
    whole = saved("PNG")
    return whole[:33] + b"".join(chunks) + whole[33:]


def xmp(properties: Mapping[str, str | Sequence[str]] | None = None, *, more: str = "", attributes: str = "") -> bytes:
    """Return a packet: lists as bags, texts as elements; `more` goes into the description as it is."""
    said = []
    for name, value in (properties or {}).items():
        listed = "" if isinstance(value, str) else "".join(f"<rdf:li>{one}</rdf:li>" for one in value)
        said.append(f"<{name}>{value if isinstance(value, str) else f'<rdf:Bag>{listed}</rdf:Bag>'}</{name}>")
    spaces = " ".join(f'xmlns:{short_name}="{space}"' for short_name, space in SPACES.items())
    body = f'<rdf:Description rdf:about="" {spaces} {attributes}>{"".join(said)}{more}</rdf:Description>'
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
        f'<rdf:RDF xmlns:rdf="{RDF}">{body}</rdf:RDF></x:xmpmeta>{" " * 100}<?xpacket end="w"?>'
    ).encode()


def box(kind: bytes, body: bytes) -> bytes:
    """Return a box of an ISO media file."""
    return struct.pack(">I", len(body) + 8) + kind + body
