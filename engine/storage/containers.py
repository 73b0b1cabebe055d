"""Files that hold pictures: tar, zip and Parquet files, read from where they lie and never unpacked to a disk.

What is in one is called by the path of the file, a slash and its name in it. No folder can have the name of a file that
lies beside it, so `shard.tar/000.jpg` is one thing. Who has such a path reads it by `read_original`, as that of any
other picture.
"""

from __future__ import annotations

import errno
import functools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from engine.storage.kinds import MOST_FILE_BYTES
from engine.storage.regular import check_regular, mtime_of, opened_regular, read_regular
from indexers.errors import PictureError

TAR, ZIP, PARQUET = b".tar", b".zip", b".parquet"
SUFFIXES = (TAR, ZIP, PARQUET)
OPENED = 2
"""Containers whose names are kept while pictures of them are asked for one by one."""

Looks = Callable[[bytes], bool]
"""Tells from the first bytes of something whether it claims to be a picture."""


@dataclass(frozen=True, slots=True)
class Member:
    """Something in a container.

    Attributes:
        name: its path in it, without `.` and double slashes; as it is written where that is a problem.
        size: its bytes; where a container does not tell, those of the container, but no more than a picture may have.
        at: where it lies: a byte of a file, or a row of a table.
        problem: why it cannot be read.
        packed: of what is compressed its bytes, and their sum of bits (CRC-32) once unpacked.
        beside: name of the file that a row stands for, where it has no bytes of its own.
    """

    name: bytes
    size: int
    at: int
    problem: str | None = None
    packed: tuple[int, int] | None = None
    beside: bytes | None = None


class Container(Protocol):
    """A file with pictures in it.

    Attributes:
        path: the file.
        status: of the file when it was opened.
    """

    path: bytes
    status: os.stat_result

    def members(self) -> Iterator[Member]:
        """Yield what is in it, in the order in which it lies there.

        Raises:
            OSError: it cannot be read any further.
        """
        ...

    def read(self, member: Member, most: int = MOST_FILE_BYTES) -> bytes:
        """Return the bytes of a member, or the first of them.

        Raises:
            PictureError: they are not what the container says, or are too many.
            OSError: the container cannot be read, or has changed since it was opened.
        """
        ...


@dataclass(frozen=True, slots=True)
class Inside:
    """Where a picture lies that is in a container."""

    container: Container
    member: Member

    def read(self) -> bytes:
        """Return its bytes; see `Container.read`."""
        return self.container.read(self.member)


def open_container(path: bytes, looks: Looks) -> Container:
    """Open a tar, zip or Parquet file, by the suffix of its name.

    Raises:
        SourceError: each row of a Parquet file has a list of pictures.
        NoPictures: it is a Parquet file without any.
        OSError: it cannot be read.
    """
    from engine.storage.picture_rows import PictureRows
    from engine.storage.tars import Tar
    from engine.storage.zips import Zip

    lower = path.lower()
    if lower.endswith(TAR):
        return Tar(path)
    return Zip(path) if lower.endswith(ZIP) else PictureRows(path, looks)


@dataclass(frozen=True, slots=True)
class Named:
    """A picture in a container that was not opened: it is found by its name there if it has to be read after all."""

    path: bytes
    looks: Looks

    def read(self) -> bytes:
        """Return its bytes; see `read_original`."""
        return read_original(self.path, self.looks)


class NoPictures(OSError):
    """A file that can be read, and has no pictures in it."""


def unreadable(reason: str, path: bytes) -> OSError:
    """Return the error of a container that cannot be read, or not any further."""
    return OSError(errno.EINVAL, reason, os.fsdecode(path))


def plain_name(raw: bytes) -> tuple[bytes, str | None]:
    """Return the name of a member as a path, and what is wrong with it, if anything."""
    parts = [part for part in raw.split(b"/") if part not in (b"", b".")]
    if not parts or b"\0" in raw:
        return raw, "has no name"
    if raw.startswith(b"/") or b".." in parts:
        return raw, "has a name that leads out of the file it is in"
    return b"/".join(parts), None


def first_opened(path: bytes) -> os.stat_result:
    """Return what a container is like that can be opened; see `opened_again`."""
    with opened_regular(path) as file:
        return os.fstat(file.fileno())


@contextmanager
def opened_again(path: bytes, status: os.stat_result) -> Iterator[BinaryIO]:
    """Open a container that is as it was when it was first opened, for as long as a block takes.

    Raises:
        OSError: it cannot be read, or is not as it was: what is where in it is not known any more.
    """
    with opened_regular(path) as file:
        now = os.fstat(file.fileno())
        if (now.st_size, now.st_mtime_ns) != (status.st_size, status.st_mtime_ns):
            raise OSError(errno.ESTALE, "has changed since it was listed; run this again", os.fsdecode(path))
        yield file


def read_at(path: bytes, status: os.stat_result, at: int, size: int) -> bytes:
    """Read bytes of a container from where they lie.

    Raises:
        PictureError: there are not so many, or more than a picture may have.
        OSError: it cannot be read, or has changed.
    """
    if size > MOST_FILE_BYTES:
        raise PictureError(f"it is of {size:,} bytes, and at most {MOST_FILE_BYTES:,} are read")
    pieces, left = [], size
    with opened_again(path, status) as file:
        while left and (piece := os.pread(file.fileno(), left, at)):
            pieces.append(piece)
            left -= len(piece)
            at += len(piece)
    if left:
        raise PictureError("the file it is in is cut off")
    return b"".join(pieces)


# -- by path -----------------------------------------------------------------------------------


def holder_of(path: bytes) -> tuple[bytes, bytes] | None:
    """Return the container that a path leads into, and the name in it; None where it leads into none."""
    at = path.find(b"/")
    while at >= 0:
        if path[:at].lower().endswith(SUFFIXES) and Path(os.fsdecode(path[:at])).is_file() and at + 1 < len(path):
            return path[:at], path[at + 1 :]
        at = path.find(b"/", at + 1)
    return None


def read_original(path: bytes, looks: Looks, *, own: bool = False) -> bytes:
    """Read a picture of at most 1 GiB: a file, or what lies in a container.

    Args:
        path: its path on this machine.
        looks: tells pictures by their first bytes.
        own: as for `read_regular`, of a file.

    Raises:
        PictureError: it is damaged, or not to be read from here.
        OSError: it is not there, or cannot be read.
    """
    found = holder_of(path)
    if found is None:
        return read_regular(path, most=MOST_FILE_BYTES, own=own)
    opened, member = _found(*found, looks)
    return opened.read(member)


def stamp_original(path: bytes, looks: Looks) -> tuple[int, int]:
    """Return size and time of a picture as it would be listed.

    Raises:
        OSError: it is not there, or cannot be read.
    """
    found = holder_of(path)
    if found is None:
        status = check_regular(path)
        return status.st_size, mtime_of(status)
    opened, member = _found(*found, looks)
    return member.size, mtime_of(opened.status)


def _found(path: bytes, name: bytes, looks: Looks) -> tuple[Container, Member]:
    status = check_regular(path)
    opened, names = _opened(path, status.st_size, status.st_mtime_ns, looks)
    if name not in names:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), os.fsdecode(path + b"/" + name))
    return opened, names[name]


@functools.lru_cache(OPENED)
def _opened(path: bytes, size: int, mtime_ns: int, looks: Looks) -> tuple[Container, dict[bytes, Member]]:
    """Open a container, as it was at a time, with what is in it by name; of what has the same name, the first."""
    opened, names = open_container(path, looks), dict[bytes, Member]()
    try:
        for member in opened.members():
            if member.problem is None:
                names.setdefault(member.name, member)
    except OSError:  # what comes after the place cannot be had; what lies before it can
        return opened, names
    return opened, names


def below(folder: bytes, path: bytes) -> bytes:
    """Return where a path leads from a folder, if that is below it.

    Raises:
        PictureError: it is not; nothing is said of whether it exists.
    """
    try:
        top = os.path.realpath(folder)
        real = os.path.realpath(os.path.join(top, path))
    except ValueError as error:  # a null, say
        raise PictureError("its path is not the name of a file") from error
    if not real.startswith(top.rstrip(b"/") + b"/"):
        raise PictureError("it lies outside of the folder of its source")
    return real
