"""Boxes of ISO media files (ISO/IEC 14496-12): HEIC, AVIF, JPEG XL, JPEG 2000 and CR3 keep their metadata in such."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from engine.ingest.metadata.window import Window

MOST_BOXES = 4096
MOST_META = 4 << 20
MOST_EXTENTS = 64


@dataclass(frozen=True)
class Box:
    """One box.

    Attributes:
        kind: its four letters.
        body: what is in it.
    """

    kind: bytes
    body: Window


def boxes(within: Window) -> Iterator[Box]:
    """Yield the boxes that follow each other in a window; whatever does not fit ends them."""
    at = 0
    for _ in range(MOST_BOXES):
        head = within.read(at, 16)
        if len(head) < 8:
            return
        size, begin = int.from_bytes(head[:4], "big"), 8
        if size == 1:
            size, begin = int.from_bytes(head[8:16], "big"), 16
        stop = within.size if size == 0 else at + size
        if stop < at + begin:
            return
        yield Box(head[4:8], within.part(at + begin, stop))
        at = stop


class _Fields:
    """Whole numbers one after another, big-endian; IndexError where there are no more bytes."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def take(self, size: int) -> int:
        if self._at + size > len(self._data):
            raise IndexError
        self._at += size
        return int.from_bytes(self._data[self._at - size : self._at], "big")


def items_of(file: Window, meta: Window) -> Iterator[tuple[bytes, bytes, bytes]]:
    """Yield the items of a `meta` box that hold metadata: their kind, their type of content and their bytes.

    Args:
        file: the whole file, which places refer to.
        meta: the box.
    """
    inside = {box.kind: box.body for box in boxes(meta.part(4, min(meta.size, MOST_META)))}
    if b"iinf" not in inside or b"iloc" not in inside:
        return
    wanted = dict(_infos(inside[b"iinf"]))
    idat = inside.get(b"idat", Window.of(b""))
    for number, method, extents in _locations(inside[b"iloc"], wanted):
        kind, content = wanted[number]
        held = idat if method == 1 else file
        pieces, left = [], MOST_META
        for start, size in extents:
            piece = held.read(start, min(left, size or held.size))
            pieces.append(piece)
            left -= len(piece)
        yield kind, content, b"".join(pieces)


def _infos(iinf: Window) -> Iterator[tuple[int, tuple[bytes, bytes]]]:
    """Yield the number of each item of metadata, its kind, and its type of content."""
    for box in boxes(iinf.part(6 if iinf.read(0, 1) == b"\0" else 8, iinf.size)):
        data = box.body.read(0, 512)
        wide = 2 if data[:1] == b"\x03" else 0
        kind, rest = data[8 + wide : 12 + wide], data[12 + wide :]
        if data[:1] in (b"\x02", b"\x03") and kind in (b"Exif", b"mime"):
            content = rest.split(b"\0")[1] if rest.count(b"\0") > 1 else b""
            yield int.from_bytes(data[4 : 6 + wide], "big"), (kind, content)


def _locations(
    iloc: Window, wanted: dict[int, tuple[bytes, bytes]]
) -> Iterator[tuple[int, int, list[tuple[int, int]]]]:
    """Yield the number of each item that is wanted, where its places count from, and these: start and size."""
    fields = _Fields(iloc.read(0, MOST_META))
    version, _, sizes = fields.take(1), fields.take(3), fields.take(2)
    offset_size, length_size, base_size, index_size = (sizes >> shift & 15 for shift in (12, 8, 4, 0))
    number_size = 2 if version < 2 else 4
    for _ in range(min(fields.take(number_size), 1 << 20)):
        number = fields.take(number_size)
        method = fields.take(2) & 15 if version else 0
        fields.take(2)
        base, extents = fields.take(base_size), []
        for _ in range(fields.take(2)):
            if version:
                fields.take(index_size)
            extents.append((base + fields.take(offset_size), fields.take(length_size)))
        if number in wanted:
            yield number, method, extents[:MOST_EXTENTS]
