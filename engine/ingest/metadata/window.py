"""Bytes that are looked at here and there: of a file only what is asked for is read."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from engine.storage.regular import Name, opened_regular


@dataclass(frozen=True)
class Window:
    """A stretch of bytes.

    Attributes:
        size: how many there are.
        fetch: returns those from one place to another, both within the size; fewer where a file has become shorter.
    """

    size: int
    fetch: Callable[[int, int], bytes]

    @classmethod
    def of(cls, data: bytes) -> Window:
        """Look at bytes in memory."""
        return cls(len(data), lambda start, stop: data[start:stop])

    def read(self, start: int, size: int) -> bytes:
        """Return up to `size` bytes from a place on; none where that is outside."""
        stop = min(start + size, self.size)
        return self.fetch(start, stop) if 0 <= start < stop else b""

    def part(self, start: int, stop: int) -> Window:
        """Return a stretch of it that begins at 0 by itself, no longer than there is."""
        start = min(max(start, 0), self.size)
        stop = min(max(stop, start), self.size)
        return Window(stop - start, lambda one, other: self.fetch(start + one, start + other))

    def find(self, wanted: bytes, most: int) -> int:
        """Return where some bytes begin among the first `most`, −1 for nowhere."""
        return self.read(0, most).find(wanted)


@contextmanager
def opened_window(path: Name) -> Iterator[Window]:
    """Look at a regular file, for as long as a block takes.

    Raises:
        OSError: it is missing, cannot be read, or is something else.
    """
    with opened_regular(path) as file:
        handle = file.fileno()
        yield Window(os.fstat(handle).st_size, lambda start, stop: os.pread(handle, stop - start, start))
