"""The tags of a TIFF file and what is made like one, read within bounds whatever the bytes are."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

SUBDIRECTORIES = 330
_MOST_DIRECTORIES, _MOST_TAGS, _MOST_VALUES = 64, 512, 65_536
_TYPES = {1: "B", 3: "H", 4: "I", 13: "I"}
_NAMES: dict[bytes, Literal["little", "big"]] = {b"II": "little", b"MM": "big"}


class Directory(NamedTuple):
    """One directory of tags.

    Attributes:
        start: where it lies.
        tags: whole numbers by tag; those of other types are left out.
    """

    start: int
    tags: dict[int, tuple[int, ...]]

    def one(self, tag: int) -> int | None:
        """Return the first number of a tag; None where it is not there."""
        return next(iter(self.tags.get(tag, ())), None)


def directories(data: bytes) -> Iterator[Directory]:
    """Yield the directories of a file: its first, those that follow, and those below them."""
    order = _NAMES.get(data[:2])
    if order is None or len(data) < 8:
        return
    waiting, seen = [int.from_bytes(data[4:8], order)], set[int]()
    while waiting and len(seen) < _MOST_DIRECTORIES:
        at = waiting.pop(0)
        count = int.from_bytes(data[at : at + 2], order)
        if at in seen or not 8 <= at < len(data) - 2 or count > _MOST_TAGS:
            continue
        seen.add(at)
        tags = dict(_tags(data, at + 2, count, order))
        yield Directory(at, tags)
        end = at + 2 + 12 * count
        waiting += [*tags.get(SUBDIRECTORIES, ())[:_MOST_DIRECTORIES], int.from_bytes(data[end : end + 4], order)]


def _tags(data: bytes, at: int, count: int, order: Literal["little", "big"]) -> Iterator[tuple[int, Any]]:
    sign = "<" if order == "little" else ">"
    for start in range(at, min(at + 12 * count, len(data) - 11), 12):
        tag, kind, number = struct.unpack_from(f"{sign}HHI", data, start)
        letter = _TYPES.get(kind)
        if letter is None or number > _MOST_VALUES:
            continue
        size = struct.calcsize(f"{sign}{number}{letter}")
        place = start + 8 if size <= 4 else struct.unpack_from(f"{sign}I", data, start + 8)[0]
        if place + size <= len(data):
            yield tag, struct.unpack_from(f"{sign}{number}{letter}", data, place)
