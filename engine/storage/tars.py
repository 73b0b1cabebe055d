"""Tar files, whose members are read from where they lie: ustar, pax and GNU, as other tools write them.

The headers are walked here and not by `tarfile`, which reads extended ones whole, however large they say they are, goes
into itself for each of a row of them, and ends in silence where a file is cut off. Each header is read by it.
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, replace

from engine.storage.containers import Member, first_opened, opened_again, plain_name, read_at, unreadable
from engine.storage.kinds import MOST_FILE_BYTES

BLOCK = tarfile.BLOCKSIZE
MOST_EXTENDED = 1 << 20
"""Bytes of a long name, or of a pax header, that are read."""

MOST_DIGITS = 20
COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
EXTENDED = frozenset({tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE})
LONG = frozenset({tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK})
NO_PICTURES = {
    tarfile.LNKTYPE: "is a link, which is not followed",
    tarfile.SYMTYPE: "is a link, which is not followed",
    tarfile.CHRTYPE: "is a device and no regular file",
    tarfile.BLKTYPE: "is a device and no regular file",
    tarfile.FIFOTYPE: "is a named pipe and no regular file",
    tarfile.GNUTYPE_SPARSE: "is a sparse file: only those are read that are written out",
}


@dataclass(frozen=True)
class _Said:
    """What extended headers say of the member after them."""

    name: bytes | None = None
    size: int | None = None
    problem: str | None = None


NOTHING = _Said()


class Tar:
    """A tar file; see `Container`."""

    def __init__(self, path: bytes) -> None:
        self.path = path
        self.status = first_opened(path)

    def members(self) -> Iterator[Member]:
        """Yield what is in it but folders, until the block of zeros that ends it."""
        with opened_again(self.path, self.status) as file:
            yield from self._walk(file.fileno())

    def read(self, member: Member, most: int = MOST_FILE_BYTES) -> bytes:
        """Return the bytes of a member, or the first of them."""
        return read_at(self.path, self.status, member.at, min(member.size, most))

    def _walk(self, handle: int) -> Iterator[Member]:
        at, said = 0, NOTHING
        while (block := os.pread(handle, BLOCK, at)) != bytes(BLOCK):
            info = self._header(block, at)
            at += BLOCK
            if info.type == tarfile.GNUTYPE_SPARSE:
                at = _after_map(handle, block, at)
            is_extended = info.type in EXTENDED | LONG
            size = info.size if said.size is None or is_extended else said.size
            has_data = info.isreg() or info.type not in tarfile.SUPPORTED_TYPES or is_extended
            if has_data and not 0 <= size <= self.status.st_size - at:
                raise unreadable(f"it is cut off, or damaged, in the member at byte {at - BLOCK:,}", self.path)
            if is_extended:
                said = _extended(handle, info, at, said)
            elif info.type != tarfile.XGLTYPE:  # what is said of all members is nothing that matters
                if not info.isdir():
                    yield _member(info, size, at, said)
                said = NOTHING
            at += _padded(size) if has_data else 0

    def _header(self, block: bytes, at: int) -> tarfile.TarInfo:
        if len(block) < BLOCK:
            raise unreadable("it has no end: it is cut off, or was not written to its end", self.path)
        if not at and (kind := next((COMPRESSED[one] for one in COMPRESSED if block.startswith(one)), None)):
            raise unreadable(f"it is compressed as a whole ({kind}); unpack it to a plain tar file", self.path)
        try:
            info = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except tarfile.HeaderError as error:
            raise unreadable(f"at byte {at:,} is no header of a tar file: {error}", self.path) from None
        if info.size < 0:
            raise unreadable(f"the header at byte {at:,} says a size below 0", self.path)
        return info


def _extended(handle: int, info: tarfile.TarInfo, at: int, said: _Said) -> _Said:
    """Return what is said of the next member once one more extended header was read."""
    if info.type == tarfile.GNUTYPE_LONGLINK:
        return said
    if info.size > MOST_EXTENDED:
        return replace(said, problem=f"has an extended header of {info.size:,} bytes; {MOST_EXTENDED:,} are read")
    data = os.pread(handle, info.size, at)
    if info.type == tarfile.GNUTYPE_LONGNAME:
        return replace(said, name=data.partition(b"\0")[0])
    return _of_pax(data, said)


def _after_map(handle: int, block: bytes, at: int) -> int:
    """Return where the data of a sparse file begin: behind blocks that say where the holes are."""
    more = block[482]
    while more:
        block = os.pread(handle, BLOCK, at)
        more = block[504] if len(block) == BLOCK else 0
        at += BLOCK
    return at


def _padded(size: int) -> int:
    return -(-size // BLOCK) * BLOCK


def _member(info: tarfile.TarInfo, size: int, at: int, said: _Said) -> Member:
    raw = info.name.encode("utf-8", "surrogateescape") if said.name is None else said.name
    name, problem = plain_name(raw)
    known = NO_PICTURES.get(info.type, None if info.isreg() else "is of a kind that is not read")
    return Member(name, size, at, said.problem or problem or known)


def _of_pax(data: bytes, said: _Said) -> _Said:
    """Read the records of a pax header, `LENGTH KEY=VALUE` and a line's end, as far as they matter."""
    at = 0
    while at < len(data) and data[at]:
        digits, space, _ = data[at : at + MOST_DIGITS].partition(b" ")
        length = int(digits) if space and digits.isdigit() else 0
        if length <= len(digits) + 1 or at + length > len(data):
            return replace(said, problem="has an extended header that is damaged")
        key, _, value = data[at + len(digits) + 1 : at + length - 1].partition(b"=")
        if key == b"path":
            said = replace(said, name=value)
        elif key == b"size":
            if not (value.isdigit() and len(value) < MOST_DIGITS):
                return replace(said, problem="has an extended header that is damaged")
            said = replace(said, size=int(value))
        elif key.startswith(b"GNU.sparse."):
            said = replace(said, problem=NO_PICTURES[tarfile.GNUTYPE_SPARSE])
        at += length
    return said
