"""What was read of small files that never change, kept so that the next version need not read it again.

A file is known by device, inode, size and times, as `verified` knows it: one that was changed or replaced is another.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

from indexers.threads import new_lock

T = TypeVar("T")
Stamp = tuple[int, int, int, int, int]


def stamp_of(status: os.stat_result) -> Stamp:
    """Return what tells a file from any other, and from itself as it was before."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


class Kept(Generic[T]):
    """Values by the file they were read from; those that were not asked for longest go first.

    Args:
        most: bytes of memory kept in all.
        largest: what weighs more is not kept.
        weigh: says how many bytes of memory a value takes.
    """

    def __init__(self, most: int, largest: int, weigh: Callable[[T], int]) -> None:
        self._most, self._largest, self._weigh = most, largest, weigh
        self._bytes = 0
        self._values: OrderedDict[Stamp, tuple[T, int]] = OrderedDict()
        self._lock = new_lock()

    def get(self, status: os.stat_result, read: Callable[[], T]) -> T:
        """Return what was read of a file, or read it now.

        Args:
            status: of the file, taken before it is read: if it changes meanwhile, that is another file.
            read: reads it.
        """
        stamp = stamp_of(status)
        with self._lock:
            if stamp in self._values:
                self._values.move_to_end(stamp)
                return self._values[stamp][0]
        value = read()
        weight = self._weigh(value)
        if weight > self._largest:
            return value
        with self._lock:
            if stamp not in self._values:
                self._values[stamp] = value, weight
                self._bytes += weight
            while self._bytes > self._most:
                _, (_, gone) = self._values.popitem(last=False)
                self._bytes -= gone
        return value
