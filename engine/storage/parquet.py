"""Parquet files that anybody may have written, read into no more memory than a file of their size can be meant to take.

Pages are counted by their headers before one of them is expanded (`pages`). Texts are read as they lie in dictionaries,
each of them once, and written out when it is known that there is room for them.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from engine.storage.pages import MOST_PAGES, Footer, pages, read_footer
from engine.storage.regular import opened_regular

# What is read of a file takes up no more than so many times its size, and this: texts that come a thousand times lie
# in it once, and a small file could be made that fills any memory. Each row of ours has some thirty bytes of hashes and
# keys that nothing can compress, so that all of them can have eight thousand letters in common.
MOST_EXPANSION, MOST_EXPANDED = 256, 256 << 20

ROWS_AT_ONCE = 65_536
MOST_TEXT = (1 << 31) - 1
"""Bytes of text in an array of Arrow's that counts them with 32 bits."""

# PLAIN, PLAIN_DICTIONARY, RLE and RLE_DICTIONARY: what nestvec writes, and what can be read as it lies in dictionaries.
OWN_ENCODINGS = frozenset({0, 2, 3, 8})
DELTA_BYTE_ARRAY = 7
"""Each text says how much of the one before it begins with, so that few bytes can stand for many long texts."""


@dataclass(frozen=True)
class Counted:
    """What comes of pages.

    Attributes:
        bytes: unpacked and decoded, but for texts, which count once each.
        others: columns that cannot be read as they lie in dictionaries.
        delta: those of them whose texts begin like the one before.
        longest: bytes of the largest page of such texts: none of them is longer.
    """

    bytes: int = 0
    others: frozenset[str] = frozenset()
    delta: frozenset[str] = frozenset()
    longest: int = 0

    def beside(self, other: Counted) -> Counted:
        """Return what comes of one or the other, not of both at once."""
        most, longest = max(self.bytes, other.bytes), max(self.longest, other.longest)
        return Counted(most, self.others | other.others, self.delta | other.delta, longest)

    def delta_rows(self, size: int) -> int:
        """Return how many rows can be read at once, whatever their texts begin with."""
        return max(1, min(ROWS_AT_ONCE, most_expanded(size) // max(1, 4 * self.longest * len(self.delta))))


def most_expanded(size: int) -> int:
    """Return how many bytes may come of a file of this size."""
    return MOST_EXPANDED + MOST_EXPANSION * size


def read_parquet(
    path: Path,
    *,
    columns: list[str] | None = None,
    own: bool = False,
    check: Callable[[pq.ParquetFile], None] = lambda file: None,
) -> pa.Table:
    """Read a Parquet file with its page checksums verified.

    Args:
        path: the file.
        columns: those wanted; all if None.
        own: whether it is a collection's: then it must be as nestvec writes them.
        check: looks at the footer before anything is read, and raises what it likes.

    Raises:
        ArrowInvalid: more would come of it than a file of its size can be meant to hold, or than there is memory.
        OSError: it cannot be read.
    """
    with opened_regular(path, own=own) as raw:
        footer, size = read_footer(raw), os.fstat(raw.fileno()).st_size
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            check(file)
            found, schema = file.metadata, file.schema_arrow
        counted = count_pages(raw, footer, columns, range(len(footer.groups)), size, own=own)
    with _opened(path, found, footer, counted) as file:
        _count_delta(file, counted, size)
        table = _by_groups(file, columns) if own or _is_nested(footer, counted) else file.read(columns=columns)
    kinds = schema.types if columns is None else [schema.field(name).type for name in table.column_names]
    return written_out(table, kinds, counted.bytes, size)


def _by_groups(file: pq.ParquetFile, columns: list[str] | None) -> pa.Table:
    """Read a file a row group after the other: what decoding one holds is given back before the next."""
    groups = [file.read_row_group(number, columns=columns) for number in range(file.num_row_groups)]
    return pa.concat_tables(groups) if groups else file.read(columns=columns)


def _opened(path: Path, found: pq.FileMetaData, footer: Footer, counted: Counted) -> pq.ParquetFile:
    """Open a file so that texts are read as they lie in dictionaries."""
    texts = _texts(footer, counted)
    return pq.ParquetFile(path, metadata=found, read_dictionary=texts, page_checksum_verification=True)


def _texts(footer: Footer, counted: Counted) -> list[str]:
    """Return the columns of texts that are read as they lie in dictionaries."""
    return [one.path for one in footer.columns if one.is_text and one.path not in counted.others]


def _is_nested(footer: Footer, counted: Counted) -> bool:
    """Whether some of these lie in lists or structs: Arrow cannot join them across row groups."""
    return any("." in path for path in _texts(footer, counted))


def _count_delta(file: pq.ParquetFile, counted: Counted, size: int) -> None:
    """Read columns of texts that begin alike, a few at a time, and count them."""
    total, most = counted.bytes, most_expanded(size)
    rows = counted.delta_rows(size)
    for batch in file.iter_batches(batch_size=rows, columns=sorted(counted.delta)) if counted.delta else ():
        total += batch.nbytes
        if total > most:
            raise pa.ArrowInvalid(f"its texts are more than {size:,} bytes can hold")


def parquet_batches(
    path: Path, rows: int, check: Callable[[pa.Schema], None], *, columns: list[str] | None = None
) -> Iterator[pa.Table]:
    """Read a Parquet file a number of rows at a time, as `read_parquet` does; each row group counts for itself.

    Args:
        path: the file.
        rows: at most so many at once.
        check: looks at the schema before anything is read, and raises what it likes.
        columns: as for `read_parquet`.
    """
    with opened_regular(path) as raw:
        footer, size = read_footer(raw), os.fstat(raw.fileno()).st_size
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            found, schema = file.metadata, file.schema_arrow
        check(schema)
        groups = [count_pages(raw, footer, columns, [group], size) for group in range(len(footer.groups))]
        counted = functools.reduce(Counted.beside, groups, Counted())
    with _opened(path, found, footer, counted) as file:
        numbers, most = list(range(len(footer.groups))), min(rows, counted.delta_rows(size))
        for some in [[one] for one in numbers] if _is_nested(footer, counted) else [numbers]:
            for batch in file.iter_batches(batch_size=most, row_groups=some, columns=columns):
                kinds = schema.types if columns is None else [schema.field(name).type for name in batch.schema.names]
                yield written_out(pa.Table.from_batches([batch]), kinds, 0, size)


def count_pages(
    file: BinaryIO,
    footer: Footer,
    columns: Collection[str] | None,
    groups: Iterable[int],
    size: int,
    *,
    own: bool = False,
) -> Counted:
    """Count what comes of some row groups, their texts not written out.

    Args:
        file: the file.
        footer: its footer.
        columns: as for `read_parquet`.
        groups: numbers of the row groups.
        size: of the file.
        own: as for `read_parquet`.

    Raises:
        ArrowInvalid: too much, or a page that says what no page can be.
    """
    total, longest, most = 0, 0, most_expanded(size)
    others, delta = set(), set()
    for number, page in enumerate(page for group in groups for page in pages(file, footer, columns, group)):
        total += page.unpacked + page.decoded
        if total > most or number >= MOST_PAGES:
            raise pa.ArrowInvalid(f"its pages are more, or expand to more, than {size:,} bytes can hold")
        if page.encoding not in OWN_ENCODINGS:
            others.add(page.column)
        if page.encoding == DELTA_BYTE_ARRAY:
            delta.add(page.column)
            longest = max(longest, page.unpacked)
    if own and others:
        raise pa.ArrowInvalid(f"columns {', '.join(sorted(others))} are encoded in a way that nestvec does not write")
    _check_memory(total)
    return Counted(total, frozenset(others), frozenset(delta), longest)


def written_out(table: pa.Table, kinds: Sequence[pa.DataType], total: int, size: int) -> pa.Table:
    """Write out texts, each of which is in memory once so far, if there is room for them.

    Args:
        table: what was read, texts as dictionaries.
        kinds: types of its columns in the file.
        total: bytes that came of it already.
        size: of the file.

    Raises:
        ArrowInvalid: there is no room.
    """
    texts = [[_text_bytes(chunk) for chunk in column.chunks] for column in table.columns]
    needed = sum(map(sum, texts))
    if total + needed > most_expanded(size):
        raise pa.ArrowInvalid(f"its {needed:,} bytes of text are more than {size:,} bytes can hold")
    _check_memory(needed)
    written = [_written(kind, max(lengths, default=0)) for kind, lengths in zip(kinds, texts, strict=True)]
    # Only what changes is cast: Arrow copies vectors that are cast to what they are.
    columns = [one if one.type == kind else one.cast(kind) for one, kind in zip(table.columns, written, strict=True)]
    fields = [field.with_type(kind) for field, kind in zip(table.schema, written, strict=True)]
    return pa.Table.from_arrays(columns, schema=pa.schema(fields, table.schema.metadata))


def _written(kind: pa.DataType, longest: int) -> pa.DataType:
    """Return the type of texts that are written out; of views, whose casts Arrow lacks, the plain one."""
    if pa.types.is_string_view(kind) or (pa.types.is_string(kind) and longest > MOST_TEXT):
        return pa.large_string()
    return pa.large_binary() if pa.types.is_binary_view(kind) else kind


def _has_dictionary(kind: pa.DataType) -> bool:
    return pa.types.is_dictionary(kind) or any(
        _has_dictionary(kind.field(number).type) for number in range(kind.num_fields)
    )


def _text_bytes(array: pa.Array) -> int:
    """Return how long the texts of an array are, written out, whatever it is nested in."""
    kind = array.type
    if pa.types.is_dictionary(kind):
        array.dictionary.validate(full=True)
        return pc.sum(pc.binary_length(array.dictionary).take(array.indices)).as_py() or 0
    if not _has_dictionary(kind):
        return 0
    if pa.types.is_struct(kind):
        return sum(_text_bytes(part) for part in array.flatten())
    if pa.types.is_map(kind):
        return _text_bytes(array.keys) + _text_bytes(array.items)
    return _text_bytes(array.flatten())


def _check_memory(needed: int) -> None:
    """Refuse what does not fit; what every machine has is not asked for."""
    if needed <= MOST_EXPANDED:
        return
    from indexers.memory import memory_left, shown_bytes

    left = memory_left()
    if left is not None and needed > left.bytes:
        raise pa.ArrowInvalid(f"it takes {shown_bytes(needed)}, and {shown_bytes(left.bytes)} are left: {left.why}")
