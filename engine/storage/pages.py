"""What comes out of a Parquet file, told by its pages' own headers before any of them is expanded.

A page says how many bytes it unpacks to and how many values it holds, and Arrow makes that room before it finds out
whether it is true. The footer says sums of both, and Arrow does not compare them. So the headers are walked as
Arrow walks them (https://parquet.apache.org/docs/file-format/). Where its chunks are is read from the footer here
too: some footers that Arrow opens end the process when it is asked for that.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, NamedTuple

import pyarrow as pa

from engine.storage.thrift import Wanted, read_struct

MAGIC, TAIL = b"PAR1", 8
MOST_PAGES = 1 << 20
MOST_HEADER, FIRST_READ = 16 << 20, 256
DEEPEST = 100

# Fields, by the numbers they have in Parquet's Thrift definitions.
SCHEMA, GROUPS = 2, 4
KIND, LENGTH, REPETITION, NAME, CHILDREN = 1, 2, 3, 4, 5
CHUNKS, CHUNK = 1, 3
CHUNK_VALUES, DATA_AT, DICTIONARY_AT = 5, 9, 11
FOOTER: Wanted = {
    SCHEMA: dict.fromkeys((KIND, LENGTH, REPETITION, NAME, CHILDREN)),
    GROUPS: {CHUNKS: {CHUNK: dict.fromkeys((CHUNK_VALUES, DATA_AT, DICTIONARY_AT))}},
}

TYPE, UNPACKED, PACKED = 1, 2, 3
DATA, DICTIONARY, DATA_V2 = 0, 2, 3
DETAILS = {DATA: 5, DICTIONARY: 7, DATA_V2: 8}
VALUES = 1
ENCODING = {DATA: 2, DICTIONARY: 2, DATA_V2: 4}
HEADER: Wanted = {
    **dict.fromkeys((TYPE, UNPACKED, PACKED)),
    **{field: {VALUES: None, ENCODING[kind]: None} for kind, field in DETAILS.items()},
}

# Bytes of a decoded value by its kind in the schema; a text counts with its place, and the last has its own length.
WIDTHS = {0: 1, 1: 4, 2: 8, 3: 12, 4: 4, 5: 8, 6: 8}
TEXT, FIXED = 6, 7
REQUIRED, REPEATED = 0, 2


@dataclass(frozen=True)
class Column:
    """A leaf of a schema.

    Attributes:
        path: names from the top, with dots between them.
        is_text: whether its values are texts, or bytes of any length.
        width: bytes of a value with its levels, once it is decoded.
    """

    path: str
    is_text: bool
    width: int


@dataclass(frozen=True)
class Footer:
    """Columns, and by row group the chunk of each."""

    columns: list[Column]
    groups: list[list[dict[int, Any]]]


class Page(NamedTuple):
    """One page: its column, the bytes it unpacks to, those its values take once they are decoded, and their encoding.

    Texts count with the place of each; those of a dictionary can be many times longer than their page.
    """

    column: str
    unpacked: int
    decoded: int
    encoding: int


# -- the footer --------------------------------------------------------------------------------


def read_footer(file: BinaryIO) -> Footer:
    """Read where the columns of a Parquet file lie.

    Raises:
        ArrowInvalid: it has no footer, or one that says what none can say.
    """
    handle = file.fileno()
    end = os.fstat(handle).st_size - TAIL
    tail = os.pread(handle, TAIL, max(0, end))
    start = end - int.from_bytes(tail[:4], "little")
    if tail[4:] != MAGIC or start < 0:
        raise pa.ArrowInvalid("it does not end as a Parquet file does")
    try:
        said, _ = read_struct(os.pread(handle, end - start, start), 0, FOOTER)
    except IndexError:
        raise pa.ArrowInvalid("its footer is cut short") from None
    columns = _columns(_structs(said.get(SCHEMA)))
    groups = [[chunk.get(CHUNK) for chunk in _structs(group.get(CHUNKS))] for group in _structs(said.get(GROUPS))]
    if any(len(group) != len(columns) for group in groups):
        raise pa.ArrowInvalid("a row group has other columns than the schema")
    return Footer(columns, [[_struct(chunk) for chunk in group] for group in groups])


def _columns(elements: list[dict[int, Any]]) -> list[Column]:
    """Return the leaves of a schema, whose elements come depth first, each with the number of its children."""
    found: list[Column] = []
    open_: list[tuple[int, str, int]] = []  # of each element above: children yet to come, path, bytes of levels
    for number, element in enumerate(elements):
        name, children = element.get(NAME), element.get(CHILDREN) or 0
        if not isinstance(name, bytes) or not isinstance(children, int) or (number and not open_):
            raise pa.ArrowInvalid("its schema is none")
        above, levels = "", 0
        if open_:
            left, above, levels = open_.pop()
            if left > 1:
                open_.append((left - 1, above, levels))
            above, levels = above + name.decode("utf-8", "replace"), levels | _levels(element.get(REPETITION))
        if children > 0:
            open_.append((children, f"{above}." if number else "", levels))
        elif number:
            kind = element.get(KIND)
            length = element.get(LENGTH) if kind == FIXED else WIDTHS.get(kind)  # type: ignore[arg-type]
            if not isinstance(length, int) or length < 0:
                raise pa.ArrowInvalid(f"column {above!r} is of a type that there is not")
            found.append(Column(above, kind == TEXT, length + levels))
        if len(open_) > DEEPEST:
            raise pa.ArrowInvalid(f"its columns are nested more than {DEEPEST} deep")
    return found


def _levels(repetition: Any) -> int:
    """Return the bytes that say of each value how far it is there, and where it is in a list: 16 bits each."""
    return 0 if repetition == REQUIRED else 6 if repetition == REPEATED else 2


def _structs(found: Any) -> list[dict[int, Any]]:
    return [_struct(one) for one in found] if isinstance(found, list) else []


def _struct(found: Any) -> dict[int, Any]:
    if not isinstance(found, dict):
        raise pa.ArrowInvalid("its footer has something else where a struct should be")
    return found


# -- pages -------------------------------------------------------------------------------------


def pages(file: BinaryIO, footer: Footer, columns: Collection[str] | None, group: int) -> Iterator[Page]:
    """Walk the pages that Arrow will read of a row group, by their headers.

    Args:
        file: the Parquet file.
        footer: its footer.
        columns: names of the columns to be read; all if None.
        group: number of the row group.

    Raises:
        ArrowInvalid: a page says what no page can be.
    """
    for column, chunk in zip(footer.columns, footer.groups[group], strict=True):
        path = column.path
        if columns is None or path in columns or any(path.startswith(f"{one}.") for one in columns):
            for page, values in _of_chunk(file, chunk):
                yield page._replace(column=path, decoded=values * column.width)


def _of_chunk(file: BinaryIO, chunk: dict[int, Any]) -> Iterator[tuple[Page, int]]:
    """Walk a column chunk as Arrow does, from the first page until all values were seen; yield how many each has."""
    at, first, wanted = chunk.get(DATA_AT), chunk.get(DICTIONARY_AT), chunk.get(CHUNK_VALUES)
    if not isinstance(at, int) or not isinstance(wanted, int) or at < 0:
        raise pa.ArrowInvalid("its footer does not say where a column is")
    if isinstance(first, int) and 0 < first < at:
        at = first
    seen = 0
    while seen < wanted:
        kind, packed, page, values, size = _header(file, at)
        seen += 0 if kind == DICTIONARY else values
        at += size + packed
        yield page, values


def _header(file: BinaryIO, at: int) -> tuple[int, int, Page, int, int]:
    """Read a page's header: its kind, the bytes that follow it, the page, its values, and the header's own size."""
    size = FIRST_READ
    while True:
        data = os.pread(file.fileno(), size, at) if at < 1 << 62 else b""
        try:
            said, end = read_struct(data, 0, HEADER)
            break
        except IndexError:
            if len(data) < size or size >= MOST_HEADER:
                raise pa.ArrowInvalid(f"no page at byte {at}") from None
            size *= 16
    kind = said.get(TYPE)
    details = said.get(DETAILS.get(kind, -1)) if isinstance(kind, int) else None
    if not isinstance(kind, int) or not isinstance(details, dict):
        raise pa.ArrowInvalid(f"no page of a kind there is at byte {at}")
    numbers = said.get(UNPACKED), said.get(PACKED), details.get(VALUES), details.get(ENCODING[kind])
    unpacked, packed, values, encoding = (one if isinstance(one, int) and one >= 0 else None for one in numbers)
    if unpacked is None or packed is None or values is None or encoding is None:
        raise pa.ArrowInvalid(f"the page at byte {at} does not say what it holds")
    return kind, packed, Page("", unpacked, 0, encoding), values, end
