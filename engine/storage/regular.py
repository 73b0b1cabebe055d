"""The one door to files that a collection, a source or somebody else names: only what is a regular file goes through.

A named pipe is waited for without end, a device has none, and a link leads out of a collection.
So everything is opened without waiting, looked at once it is open, and read up to a size that was there. Links are
followed where somebody lays out their own pictures with them (sources), and never in a collection, whose files nobody
but nestvec names (`own`).

What is refused is an `OSError`, as for any other file that cannot be read: its `strerror` says what was found.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from blake3 import blake3

Name = str | bytes | os.PathLike[str]

PIECE = 16 << 20
"""Bytes read between two moments at which a signal is heard."""

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
    stat.S_IFLNK: "a link",
}


def check_regular(path: Name, *, own: bool = False) -> os.stat_result:
    """Return the status of a file that a library opens by its name, if it is a regular one.

    Args:
        path: the file.
        own: whether it is a collection's: then it must not be a link either.

    Raises:
        OSError: it is missing, cannot be looked at, or is something else.
    """
    status = os.stat(path, follow_symlinks=not own)
    _check(status, path)
    return status


def mtime_of(status: os.stat_result) -> int:
    """Return when a file was last changed, in nanoseconds; a time that 64 bits do not hold becomes the nearest."""
    return min(max(status.st_mtime_ns, -(1 << 63)), (1 << 63) - 1)


def open_regular(path: Name, *, own: bool = False) -> int:
    """Open a regular file for reading, without ever waiting for one that is none; the handle is the caller's.

    Args:
        path: the file.
        own: whether it is a collection's: then it must not be a link either.

    Raises:
        OSError: it is missing, cannot be read, or is something else.
    """
    check_regular(path, own=own)  # first: only to open a device can do something
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | (os.O_NOFOLLOW if own else 0))
    try:
        _check(os.fstat(handle), path)
    except BaseException:
        os.close(handle)
        raise
    return handle


@contextmanager
def opened_regular(path: Name, *, own: bool = False) -> Iterator[BinaryIO]:
    """Do as `open_regular`, for as long as a block takes."""
    with open(open_regular(path, own=own), "rb") as file:
        yield file


def read_regular(path: Name, *, most: int, own: bool = False) -> bytes:
    """Read a whole file of at most `most` bytes.

    Raises:
        OSError: it is missing, cannot be read, is something else, or is larger.
    """
    with opened_regular(path, own=own) as file:
        size = os.fstat(file.fileno()).st_size
        # What grows while it is read, or says that it is empty and is not, is read up to the bound and one byte on.
        pieces, left = [], most + 1 if size <= most else 0
        while left and (piece := file.read(min(left, max(size + 1, 1 << 16), PIECE))):
            pieces.append(piece)
            left -= len(piece)
    if not left:
        raise OSError(errno.EFBIG, f"is larger than {most:,} bytes", _text(path))
    return b"".join(pieces)


def hash_regular(path: Name, *, own: bool = False) -> str:
    """Return the BLAKE3 hash of a file, 64 hex digits, of the bytes it has when it is opened.

    Raises:
        OSError: it is missing, cannot be read, or is something else.
    """
    hasher = blake3()
    with opened_regular(path, own=own) as file:
        left = os.fstat(file.fileno()).st_size
        buffer = memoryview(bytearray(min(PIECE, max(left, 1))))
        while left and (count := file.readinto(buffer[: min(left, len(buffer))])):  # type: ignore[attr-defined]
            hasher.update(buffer[:count])
            left -= count
    return hasher.hexdigest()


def _check(status: os.stat_result, path: Name) -> None:
    if not stat.S_ISREG(status.st_mode):
        kind = _KINDS.get(stat.S_IFMT(status.st_mode), "something else")
        raise OSError(errno.EINVAL, f"is {kind} and no regular file", _text(path))


def _text(path: Name) -> str:
    return os.fsdecode(path)


def write_new(path: Name, data: bytes) -> None:
    """Write a file where there is none.

    Raises:
        OSError: there is something, or it cannot be written.
    """
    with open(path, "xb") as file:
        file.write(data)
