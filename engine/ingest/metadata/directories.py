"""Directories of a TIFF structure, which EXIF is one of: those tags that are wanted, whatever else a file claims.

Pillow's reader fetches every value of a directory, as often and as large as that says, and warns of broken ones.
"""

from __future__ import annotations

import struct
from collections.abc import Collection
from dataclasses import dataclass

from engine.ingest.metadata.window import Window

MOST_ENTRIES = 4096
MOST_VALUE = 1 << 20
EXIF_POINTER, GPS_POINTER = 0x8769, 0x8825
SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8, 129: 1}
LETTERS = {1: "B", 3: "H", 4: "I", 6: "b", 7: "B", 8: "h", 9: "i", 11: "f", 12: "d", 13: "I", 16: "Q", 17: "q", 18: "Q"}
PAIRS = {5: "II", 10: "ii"}


@dataclass(frozen=True)
class Value:
    """What a tag says.

    Attributes:
        kind: its type, a number of TIFF's.
        data: its bytes.
        order: "<" or ">".
    """

    kind: int
    data: bytes
    order: str

    def numbers(self) -> list[float | None]:
        """Return it as numbers; None for a fraction that is none. Of a text there are no numbers."""
        if self.kind in PAIRS:
            pairs = struct.iter_unpack(self.order + PAIRS[self.kind], self.data[: len(self.data) // 8 * 8])
            return [over / under if under else None for over, under in pairs]
        letter = LETTERS.get(self.kind)
        if letter is None:
            return []
        size = SIZES[self.kind]
        return [one for (one,) in struct.iter_unpack(self.order + letter, self.data[: len(self.data) // size * size])]

    def first(self) -> float | None:
        """Return its first number, if it has one."""
        return next(iter(self.numbers()), None)


Tags = dict[int, Value]


@dataclass(frozen=True)
class Directories:
    """The tags of the three directories that matter."""

    main: Tags
    exif: Tags
    gps: Tags


def read_directories(blocks: dict[str, Window], wanted: Collection[int]) -> Directories:
    """Read the first directory of each structure, and what the main one leads to.

    Args:
        blocks: TIFF structures by what their first directory is: "main", "exif" or "gps".
        wanted: the tags to read.
    """
    found: dict[str, Tags] = {"main": {}, "exif": {}, "gps": {}}
    for name, window in blocks.items():
        found[name] = _first(window, {*wanted, EXIF_POINTER, GPS_POINTER})
    main = blocks.get("main")
    for name, pointer in (("exif", EXIF_POINTER), ("gps", GPS_POINTER)):
        place = found["main"].get(pointer)
        at = None if place is None else place.first()
        if main is not None and at is not None and not found[name]:
            found[name] = _directory(main, int(at), wanted)
    return Directories(**found)


def _first(window: Window, wanted: Collection[int]) -> Tags:
    head = window.read(0, 16)
    order = "<" if head[:2] == b"II" else ">"
    if head[:2] not in (b"II", b"MM") or len(head) < 8:
        return {}
    at = struct.unpack_from(order + "Q", head, 8)[0] if _is_big(window) else struct.unpack_from(order + "I", head, 4)[0]
    return _directory(window, at, wanted)


def _is_big(window: Window) -> bool:
    """Whether it is a BigTIFF, whose counts and places have 64 bits."""
    head = window.read(0, 16)
    return head[:4] in (b"II+\0", b"MM\0+") and len(head) == 16


def _directory(window: Window, at: int, wanted: Collection[int]) -> Tags:
    order, big = "<" if window.read(0, 2) == b"II" else ">", _is_big(window)
    head, size, form = (8, 20, order + "HHQ8s") if big else (2, 12, order + "HHI4s")
    count = int.from_bytes(window.read(at, head), "little" if order == "<" else "big")
    rows = window.read(at + head, size * min(count, MOST_ENTRIES))
    found: Tags = {}
    for tag, kind, values, inline in struct.iter_unpack(form, rows[: len(rows) // size * size]):
        length = values * SIZES.get(kind, 0)
        if tag not in wanted or tag in found or not 0 < length <= MOST_VALUE:
            continue
        data = inline[:length]
        if length > len(inline):
            place = int.from_bytes(inline, "little" if order == "<" else "big")
            data = window.read(place, length)
        found[tag] = Value(kind, data, order)
    return found
