"""Parquet files with pictures in them, one a row: as `datasets`, img2dataset and others write them.

A column of them holds bytes, or structs of `bytes` and `path`. Other columns are read beside it. A row is called by its
`path` where that is a name of its own, or else by its number; of a name that comes again the row's number is a part.
"""

from __future__ import annotations

import bisect
import errno
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate, chain
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from engine.storage.containers import Looks, Member, NoPictures, below, plain_name, unreadable
from engine.storage.kinds import MOST_FILE_BYTES
from engine.storage.pages import CHUNK_VALUES, MOST_PAGES, Footer, pages, read_footer
from engine.storage.parquet import most_expanded, parquet_batches
from engine.storage.regular import check_regular, opened_regular, read_regular
from indexers.errors import PictureError, SourceError

LISTS = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
USUAL = ("image", "img", "picture", "photo", "jpg", "jpeg", "png", "webp", "image_bytes", "bytes")
BYTES, PATH = "bytes", "path"
LOOKED_AT = 16
"""Rows that are looked at to find out whether bytes are pictures."""

ROWS_AT_ONCE = 4096
MOST_NAME = 4096
BATCH, BUFFER = 32 << 20, 1 << 20
MOST_AHEAD = 256 << 20
"""Bytes of pictures that were read on the way to others, and wait until they are asked for."""


@dataclass(frozen=True)
class PictureColumn:
    """A column of pictures.

    Attributes:
        name: of the column.
        leaf: where the bytes are: the column, or a field of it.
        path: the field that names them, if any.
    """

    name: str
    leaf: str
    path: str | None = None


class PictureRows:
    """A Parquet file with a picture in each row; see `Container`.

    Args:
        path: the file.
        looks: tells pictures by their first bytes.

    Attributes:
        column: the one whose pictures are read.
        passed_over: other columns of pictures.
        said: columns that hold numbers, truths, times and texts, or lists and structs of such; no vectors.

    Raises:
        SourceError: each row has a list of pictures.
        NoPictures: it has none.
        OSError: it cannot be read.
    """

    def __init__(self, path: bytes, looks: Looks) -> None:
        self.path = path
        with _told(path), opened_regular(path) as raw:
            self.status = os.fstat(raw.fileno())
            with pq.ParquetFile(os.fsdecode(path)) as file:
                schema = file.schema_arrow
            if len(set(schema.names)) < len(schema.names):
                raise unreadable("several of its columns have the same name", path)
            footer = read_footer(raw)
            found = [one for one in picture_columns(schema) if self._is_picture(one, schema, raw, footer, looks)]
            if not found:
                _refuse_lists(schema, path)
                raise NoPictures(errno.EINVAL, "it has no column of pictures", os.fsdecode(path))
            self.column, self.passed_over = found[0], [one.name for one in found[1:]]
            self._values = _Values(path, self.status, self.column.leaf, raw, footer)
            self.said = [field.name for field in schema if _says_something(field.type)]
            self._schema = schema

    def _is_picture(
        self, column: PictureColumn, schema: pa.Schema, raw: BinaryIO, footer: Footer, looks: Looks
    ) -> bool:
        """Whether a column holds pictures: by its name and type, or by its first rows."""
        if column.leaf != column.name and column.name in USUAL:
            return True
        values = _Values(self.path, self.status, column.leaf, raw, footer)
        some = [one for one in (values.take(row) for row in range(min(values.rows, LOOKED_AT))) if one]
        return any(looks(one[:64]) for one in some)

    def members(self) -> Iterator[Member]:
        """Yield the rows."""
        return (member for members, _ in self.tables([]) for member in members)

    def tables(self, columns: list[str]) -> Iterator[tuple[list[Member], pa.Table]]:
        """Yield the rows, some at once, with what some of their columns say."""
        seen: set[bytes] = set()
        number = 0
        with _told(self.path):
            names = self._column(self.column.path) if self.column.path else None
            for count, table in self._batches(columns):
                some = range(number, number + count)
                yield [self._member(row, None if names is None else names.take(row), seen) for row in some], table
                number += count
        if number != self._values.rows:
            raise unreadable("its columns have different numbers of rows", self.path)

    def _batches(self, wanted: list[str]) -> Iterator[tuple[int, pa.Table]]:
        if not wanted:
            for start in range(0, self._values.rows, ROWS_AT_ONCE):
                yield min(ROWS_AT_ONCE, self._values.rows - start), pa.table({})
            return
        path = Path(os.fsdecode(self.path))
        for batch in parquet_batches(path, ROWS_AT_ONCE, check=self._check, columns=wanted):
            batch.validate(full=True)  # texts that are none
            yield batch.num_rows, batch

    def _column(self, leaf: str) -> _Values:
        with opened_regular(self.path) as raw:
            return _Values(self.path, self.status, leaf, raw, read_footer(raw))

    def _check(self, schema: pa.Schema) -> None:
        if not schema.equals(self._schema):
            raise unreadable("it has changed since it was opened", self.path)

    def _member(self, number: int, beside: bytes | None, seen: set[bytes]) -> Member:
        own = b"%d" % number
        name, problem = plain_name(beside or b"")
        if problem is not None or b"://" in name or len(name) > MOST_NAME:
            name = own
        if name in seen:
            name = b"%b#%b" % (name, own)
        seen.add(name)
        return Member(name, min(self.status.st_size, MOST_FILE_BYTES), number, beside=beside)

    def read(self, member: Member, most: int = MOST_FILE_BYTES) -> bytes:
        """Return the bytes of a row's picture, or the first of them; those of the file beside it where it has none."""
        found = self._values.take(member.at)
        if found is not None:
            if len(found) > MOST_FILE_BYTES:
                raise PictureError(f"it is of {len(found):,} bytes, and at most {MOST_FILE_BYTES:,} are read")
            return found[:most]
        if member.beside is None:
            raise PictureError(f"row {member.at:,} has no picture")
        if b"://" in member.beside:
            raise PictureError(f"row {member.at:,} has no picture but an address: nothing is fetched")
        return read_regular(below(self.path.rpartition(b"/")[0] or b"/", member.beside), most=MOST_FILE_BYTES)[:most]


def picture_columns(schema: pa.Schema) -> list[PictureColumn]:
    """Return the columns that may hold pictures, by their types; those with the usual names first."""
    found = []
    for field in schema:
        if _is_bytes(field.type):
            found.append(PictureColumn(field.name, field.name))
        elif _is_struct(field.type):
            names = [child.name for child in field.type]
            path = f"{field.name}.{PATH}" if PATH in names and _is_text(field.type.field(PATH).type) else None
            found.append(PictureColumn(field.name, f"{field.name}.{BYTES}", path))
    return sorted(found, key=lambda one: USUAL.index(one.name) if one.name in USUAL else len(USUAL))


def _is_bytes(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_struct(kind: pa.DataType) -> bool:
    """Whether a column holds structs with bytes in them, as `datasets` writes pictures and sounds."""
    if not pa.types.is_struct(kind):
        return False
    names = [child.name for child in kind]
    return names.count(BYTES) == 1 and names.count(PATH) <= 1 and _is_bytes(kind.field(BYTES).type)


def _says_something(kind: pa.DataType) -> bool:
    """Whether a column says something of its pictures: vectors do not, nor do bytes."""
    is_vector = any(check(kind) for check in LISTS) and pa.types.is_floating(kind.value_type)
    return not is_vector and _is_plain(kind)


def _is_plain(kind: pa.DataType) -> bool:
    large = _is_bytes(kind) or pa.types.is_fixed_size_binary(kind) or pa.types.is_binary_view(kind)
    if large or isinstance(kind, pa.BaseExtensionType):
        return False
    return all(_is_plain(kind.field(number).type) for number in range(kind.num_fields))


def _refuse_lists(schema: pa.Schema, path: bytes) -> None:
    for field in schema:
        if any(check(field.type) for check in LISTS) and _is_struct(field.type.value_type):
            raise SourceError(
                f"{os.fsdecode(path)} has lists of pictures in its column {field.name}: one picture a row is read; "
                "write each of them into a row of its own"
            )


class _Values:
    """The values of a column of bytes or texts, in whatever order they are asked for, and soonest in that of the rows.

    Threads that read pictures are a few rows apart: what is passed on the way to one is kept for the others.
    """

    def __init__(self, path: bytes, status: os.stat_result, leaf: str, raw: BinaryIO, footer: Footer) -> None:
        self._path, self._status, self._leaf = path, status, leaf
        rows, longest = _count(raw, footer, leaf, status.st_size)
        self._starts = [0, *accumulate(rows)]
        self.rows = self._starts[-1]
        self._batch_rows = max(1, min(64, BATCH // max(1, longest)))
        self._lock = threading.Lock()
        self._batches: Iterator[pa.RecordBatch] | None = None
        self._next = self._total = 0
        self._ahead: dict[int, bytes | None] = {}
        self._bytes = 0
        self._damaged: dict[int, tuple[int, str]] = {}

    def take(self, row: int) -> bytes | None:
        """Return the value of a row, None where there is none.

        Raises:
            PictureError: it is damaged.
            OSError: the file cannot be read, or has changed.
        """
        with self._lock:
            if row in self._ahead:
                found = self._ahead.pop(row)
                self._bytes -= len(found or b"")
                return found
            group = self._group(row)
            first, reason = self._damaged.get(group, (self.rows, "it has no such row"))
            if row >= first:
                raise PictureError(reason)
            try:
                if self._batches is None or row < self._next or group > self._group(self._next) + 1:
                    self._open(group)
                return self._until(row)
            except (pa.ArrowException, OSError, ValueError) as error:
                self._batches = None
                if isinstance(error, OSError) and not isinstance(error, pa.ArrowException) and error.errno:
                    raise
                at = self._group(self._next)
                self._damaged[at] = self._next, f"the Parquet file it is in is damaged: {error}"
                raise PictureError(self._damaged[at][1]) from error

    def _group(self, row: int) -> int:
        return bisect.bisect_right(self._starts, row) - 1

    def _open(self, group: int) -> None:
        now = check_regular(self._path)
        if (now.st_size, now.st_mtime_ns) != (self._status.st_size, self._status.st_mtime_ns):
            raise unreadable("has changed since it was listed; run this again", self._path)
        # Without a buffer a column of a row group, which may be all pictures, is read at once.
        file = pq.ParquetFile(
            os.fsdecode(self._path), page_checksum_verification=True, pre_buffer=False, buffer_size=BUFFER
        )
        groups = range(group, len(self._starts) - 1)
        # One after the other, so that what is damaged in one costs nothing of the one before.
        self._batches = chain.from_iterable(
            file.iter_batches(batch_size=self._batch_rows, row_groups=[one], columns=[self._leaf]) for one in groups
        )
        self._next, self._total = self._starts[group], 0

    def _until(self, row: int) -> bytes | None:
        """Read on until a row, keeping what comes before it and with it."""
        if self._batches is None:
            raise PictureError("it is in no row")
        while True:
            batch = next(self._batches, None)
            if batch is None:
                raise pa.ArrowInvalid(f"it has no row {row:,}")
            column = batch.column(0)
            column = column.flatten()[0] if pa.types.is_struct(column.type) else column
            values = (column.cast(pa.large_binary()) if _is_text(column.type) else column).to_pylist()
            start, self._next = self._next, self._next + len(values)
            for at, value in enumerate(values, start):
                if at != row:
                    self._ahead[at] = value
                    self._bytes += len(value or b"")
            self._total += sum(len(value or b"") for value in values)
            if self._total > most_expanded(self._status.st_size):
                raise pa.ArrowInvalid("its values are more than a file of its size can hold")
            while self._bytes > MOST_AHEAD:
                self._bytes -= len(self._ahead.pop(next(iter(self._ahead))) or b"")
            if row < self._next:
                found: bytes | None = values[row - start]
                return found


def _count(raw: BinaryIO, footer: Footer, leaf: str, size: int) -> tuple[list[int], int]:
    """Count the rows of each row group of a column, and the bytes of its largest page: no value is longer.

    Raises:
        ArrowInvalid: more would come of it than a file of this size can be meant to hold.
    """
    at = [column.path for column in footer.columns].index(leaf)
    total = longest = number = 0
    for group in range(len(footer.groups)):
        for page in pages(raw, footer, [leaf], group):
            number, total, longest = number + 1, total + page.unpacked + page.decoded, max(longest, page.unpacked)
            if total > most_expanded(size) or number > MOST_PAGES:
                raise pa.ArrowInvalid(f"its pages are more, or expand to more, than {size:,} bytes can hold")
    return [group[at].get(CHUNK_VALUES, 0) for group in footer.groups], longest


@contextmanager
def _told(path: bytes) -> Iterator[None]:
    """Say of whatever is wrong with a Parquet file that it cannot be read."""
    try:
        yield
    except (pa.ArrowException, ValueError, KeyError, PictureError) as error:
        raise unreadable(f"it cannot be read as Parquet: {error}", path) from error
