"""Zip files, whose members are read from where they lie: stored or deflated, as they are in all that people pack."""

from __future__ import annotations

import stat
import zipfile
import zlib
from collections.abc import Iterator
from typing import BinaryIO

from engine.storage.containers import Member, first_opened, opened_again, plain_name, read_at, unreadable
from engine.storage.kinds import MOST_FILE_BYTES
from indexers.errors import PictureError

MOST_DIRECTORY = 256 << 20
"""Bytes of the list of members at the end of a file: more than a million have."""

LOCAL, LOCAL_MAGIC = 30, b"PK\x03\x04"
ENCRYPTED = 1


class _Bounded:
    """A file of which nothing large is read at once: `zipfile` takes the length of its list from the file."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int = -1) -> bytes:
        """Read so many bytes, if they are not too many."""
        data = self._file.read(size if 0 <= size <= MOST_DIRECTORY else MOST_DIRECTORY + 1)
        if len(data) > MOST_DIRECTORY:
            raise zipfile.BadZipFile(f"its list of members is of more than {MOST_DIRECTORY:,} bytes")
        return data

    def seekable(self) -> bool:
        """Say that one can go anywhere in it."""
        return True


class Zip:
    """A zip file; see `Container`."""

    def __init__(self, path: bytes) -> None:
        self.path = path
        self.status = first_opened(path)

    def members(self) -> Iterator[Member]:
        """Yield what is in it but folders, in the order of its list."""
        with opened_again(self.path, self.status) as file:
            try:
                with zipfile.ZipFile(_Bounded(file)) as opened:
                    found = opened.infolist()
            # It raises what it likes at what is no zip file: struct.error, UnicodeDecodeError, OverflowError …
            except Exception as error:
                raise unreadable(f"it cannot be read as a zip file: {error}", self.path) from error
        folded = _folded(found)
        for one in found:
            if not one.filename.endswith("/"):
                yield _member(one, one.header_offset in folded)

    def read(self, member: Member, most: int = MOST_FILE_BYTES) -> bytes:
        """Return the bytes of a member, or the first of them."""
        head = read_at(self.path, self.status, member.at, LOCAL)
        if head[:4] != LOCAL_MAGIC:
            raise PictureError("the zip file it is in is damaged: there is no member where one should be")
        start = member.at + LOCAL + int.from_bytes(head[26:28], "little") + int.from_bytes(head[28:30], "little")
        if member.packed is None:
            return read_at(self.path, self.status, start, min(member.size, most))
        packed, crc = member.packed
        if member.size > MOST_FILE_BYTES:
            raise PictureError(f"it is of {member.size:,} bytes, and at most {MOST_FILE_BYTES:,} are read")
        unpacker, wanted = zlib.decompressobj(-zlib.MAX_WBITS), min(member.size, most)
        raw = read_at(self.path, self.status, start, packed if wanted == member.size else min(packed, 64 + 2 * most))
        try:
            data = unpacker.decompress(raw, wanted + 1)
        except zlib.error as error:
            raise PictureError(f"it cannot be unpacked: {error}") from error
        if wanted == member.size and (len(data) != wanted or zlib.crc32(data) != crc):
            raise PictureError("it is not what the zip file says it is: that is damaged")
        return data[:wanted]


def _folded(found: list[zipfile.ZipInfo]) -> set[int]:
    """Return where members begin that others lie in: a small file could hold the same large thing a thousand times."""
    ordered = sorted(found, key=lambda one: one.header_offset)
    folded, end = set(), -1
    for one in ordered:
        if one.header_offset < end:
            folded.add(one.header_offset)
        end = max(end, one.header_offset + LOCAL + one.compress_size)
    return folded


def _member(one: zipfile.ZipInfo, folded: bool) -> Member:
    name, problem = plain_name(one.filename.encode("utf-8", "surrogateescape"))
    stored, deflated = one.compress_type == zipfile.ZIP_STORED, one.compress_type == zipfile.ZIP_DEFLATED
    if folded or one.header_offset < 0:
        problem = "lies in another member: nobody packs so"
    elif one.flag_bits & ENCRYPTED:
        problem = "is encrypted: unpack it"
    elif not (stored or deflated):
        problem = f"is compressed by a method ({one.compress_type}) that is not read here: unpack it"
    elif stat.S_ISLNK(one.external_attr >> 16):
        problem = "is a link, which is not followed"
    size = one.compress_size if stored else one.file_size
    return Member(name, size, one.header_offset, problem, None if stored else (one.compress_size, one.CRC))
