"""Which column of a table holds its vectors, or which columns are one: by name, by type, or as it was asked for."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from engine.collection.columntypes import is_list
from engine.ingest.formats.rows import Rows, of_lists, of_matrix
from engine.ingest.tables import NAME_COLUMNS, shown_names
from indexers.errors import SourceError, did_you_mean

VECTOR_COLUMNS = ("vector", "embedding", "embeddings", "emb")
USUAL = re.compile("vector|emb", re.IGNORECASE)
FEWEST_WIDE = 8
"""So many numbered columns of numbers may well be a vector."""

NO_NUMBERS = "the vector holds something else than numbers"

NUMBERED = re.compile(r"(.*?)([0-9]+)([^0-9]*)", re.DOTALL)


@dataclass(frozen=True)
class Choice:
    """Where a file has its vectors.

    Attributes:
        columns: the column, or array, of vectors; or those that are one number of each vector, in order.
        others: further ones that hold vectors: they are left out.
        wide: whether each column is one number.
        unread: what lies row for row beside the vectors, and is of a type that no column has.
    """

    columns: tuple[str, ...]
    others: tuple[str, ...] = ()
    wide: bool = False
    unread: tuple[str, ...] = ()

    @property
    def shown(self) -> str:
        """What it is called in a message."""
        return f"{self.columns[0]} … {self.columns[-1]}" if self.wide else self.columns[0]


def plain_type(kind: pa.DataType) -> pa.DataType:
    """Return how a type is stored: that of tensors is a list."""
    return kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_floating(kind) or pa.types.is_integer(kind))


def holds_vectors(name: str, kind: pa.DataType, *, asked: bool = False) -> bool:
    """Whether a column is of vectors: lists of floating-point numbers, or of whole ones where its name says so."""
    kind = plain_type(kind)
    if not is_list(kind):
        return False
    whole = asked or name in VECTOR_COLUMNS
    return bool(pa.types.is_floating(kind.value_type) or (whole and pa.types.is_integer(kind.value_type)))


def choose(schema: pa.Schema, *, doubtful: bool = False) -> Choice | None:
    """Choose the column of vectors where nobody has named one; None where there is none.

    Args:
        schema: of the table.
        doubtful: whether it may well be a table of pictures: then a list beside their names may be a box in them, and a
            column is of vectors if its name says so.
    """
    found = [field.name for field in schema if holds_vectors(field.name, field.type)]
    if doubtful and any(name in schema.names for name in NAME_COLUMNS):
        found = [name for name in found if USUAL.search(name)]
    if not found:
        return None
    taken = next((name for name in VECTOR_COLUMNS if name in found), found[0])
    return Choice((taken,), tuple(name for name in found if name != taken))


def chosen(schema: pa.Schema, wanted: str, path: Path) -> Choice:
    """Return the column of vectors that was asked for, or the numbered ones that a pattern names.

    Raises:
        SourceError: there is none of that name, or it is nothing that vectors can be made of.
    """
    names = schema.names
    lists = [field.name for field in schema if holds_vectors(field.name, field.type)]
    if wanted in names:
        if not holds_vectors(wanted, schema.field(wanted).type, asked=True):
            raise SourceError(
                f"{path}: column {wanted!r} holds {schema.field(wanted).type}, and vectors are lists of numbers"
            )
        return Choice((wanted,), tuple(name for name in lists if name != wanted))
    if "*" not in wanted:
        raise SourceError(no_such(path, wanted, names))
    columns = numbered(names, wanted, path)
    for name in columns:
        if not _is_number(schema.field(name).type):
            raise SourceError(f"{path}: {wanted!r} takes column {name!r}, which holds {schema.field(name).type}")
    return Choice(columns, tuple(lists), wide=True)


def no_such(path: Path, wanted: str, names: Sequence[str]) -> str:
    """Say that there is no column, or array, of a name."""
    return f"{path} has no column {wanted!r} of vectors; it has {shown_names(names)}{did_you_mean(wanted, names)}"


def numbered(names: Iterable[str], pattern: str, path: Path) -> tuple[str, ...]:
    """Return the columns that have a number where a pattern has its star, by that number.

    Raises:
        SourceError: there are none, one is missing between others, or two have the same number.
    """
    before, star, after = pattern.partition("*")
    if not star or "*" in after:
        raise SourceError(f"{pattern!r}: expected one * where the numbers of the columns are, as in 'f*'")
    names = list(names)
    found: dict[int, str] = {}
    for name in names:
        middle = name[len(before) : len(name) - len(after)]
        if not (name.startswith(before) and name.endswith(after) and middle.isascii() and middle.isdecimal()):
            continue
        if len(middle) > 9:
            continue
        if (same := found.setdefault(int(middle), name)) != name:
            raise SourceError(f"{path}: columns {same!r} and {name!r} both have the number {int(middle)}")
    if not found:
        raise SourceError(
            f"{path} has no columns {before}0{after}, {before}1{after}, … that {pattern!r} names; "
            f"it has {shown_names(names)}"
        )
    first = min(found)
    if gap := next((one for one in range(first, first + len(found)) if one not in found), None):
        raise SourceError(
            f"{path}: {pattern!r} takes columns {found[first]!r} to {found[max(found)]!r}, and number {gap} is missing"
        )
    return tuple(found[number] for number in sorted(found))


def suggested(schema: pa.Schema) -> tuple[str, int] | None:
    """Return the pattern of the most numbered columns of numbers, and how many they are, if they are many."""
    counts: dict[tuple[str, str], int] = {}
    for field in schema:
        match = NUMBERED.fullmatch(field.name)
        if match is not None and _is_number(field.type):
            key = match[1], match[3]
            counts[key] = counts.get(key, 0) + 1
    (before, after), count = max(counts.items(), key=lambda one: one[1], default=(("", ""), 0))
    return (f"{before}*{after}", count) if count >= FEWEST_WIDE else None


def rows_of(table: pa.Table, choice: Choice) -> Rows:
    """Take the vectors out of some rows of a table."""
    columns = table.drop_columns([name for name in (*choice.columns, *choice.others) if name in table.column_names])
    if choice.wide:
        numbers = [_numbers(table.column(name)) for name in choice.columns]
        return of_matrix(np.stack(numbers, axis=1), columns)
    return _of_column(one_array(table.column(choice.columns[0])), columns)


def _of_column(column: pa.Array, columns: pa.Table) -> Rows:
    if isinstance(column.type, pa.BaseExtensionType):
        column = column.storage
    if is_list(column.type):
        return of_lists(column, columns)
    read = [written(text) for text in column.to_pylist()]
    wrong = {row: one for row, one in enumerate(read) if isinstance(one, str)}
    lists = pa.array([None if isinstance(one, str) else one for one in read], pa.list_(pa.float64()))
    return of_lists(lists, columns, wrong)


def one_array(column: pa.ChunkedArray) -> pa.Array:
    """Return a column in one piece."""
    found = column.combine_chunks()
    return found if isinstance(found, pa.Array) else found.chunk(0) if found.num_chunks else pa.array([], found.type)


def _numbers(column: pa.ChunkedArray) -> np.ndarray[Any, Any]:
    """Return a column of numbers; what is none becomes NaN."""
    if _is_number(column.type):
        found: np.ndarray[Any, Any] = one_array(column).to_numpy(zero_copy_only=False)
        return found
    return np.array([_number(value) for value in column.to_pylist()])


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan


def written(text: str | None) -> list[float] | str | None:
    """Read a vector as tables of texts hold it, `[0.1, 0.2]` or `[0.1 0.2]`; return what is wrong where it is none."""
    if text is None or not text.strip():
        return None
    inside = text.strip()
    if not (inside.startswith("[") and inside.endswith("]")):
        return "the vector is not written as numbers between brackets"
    try:
        return [float(part) for part in inside[1:-1].replace(",", " ").split()]
    except ValueError:
        shortened = "..." in inside or "…" in inside
        return "the vector was shortened when it was written" if shortened else NO_NUMBERS
