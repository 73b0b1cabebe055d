"""Items as tables, and their vectors as arrays: what is in a collection, without a search."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from engine.collection.cells import cell, column_of
from engine.collection.snapshot import Snapshot
from engine.query.where.columns import Columns
from engine.storage.names import shown
from indexers import checks
from indexers.errors import InvalidInput
from indexers.mask import Mask
from indexers.vectors import FloatArray, IdArray

if TYPE_CHECKING:
    from engine.query.answers import Answers

VECTOR = "vector"


def scanned(columns: Columns, names: Sequence[str] | None, allowed: Mask, rows: int) -> Iterator[pa.RecordBatch]:
    """Yield columns of some items, in the order of their rows.

    Args:
        columns: of the version.
        names: as in a filter; all columns if None.
        allowed: which rows.
        rows: at most so many in a batch.

    Raises:
        InvalidFilter: there is no such column.
        InvalidInput: none is named.
    """
    wanted = _named(columns, names)
    arrays = [columns.named(name) for name in wanted]
    bits, start = allowed.allowed, 0
    for number, count in enumerate(columns.batches):
        mask = pa.array(bits[start : start + count])
        start += count
        batch = pa.RecordBatch.from_arrays([array[number] for array in arrays], names=wanted).filter(mask)
        for first in range(0, batch.num_rows, rows):
            yield batch.slice(first, rows)


def table_of(
    columns: Columns, names: Sequence[str] | None, rows: Sequence[int], vectors: FloatArray | None
) -> pa.Table:
    """Return columns of items by row number, one row each in the order that is asked for.

    Args:
        columns: of the version.
        names: as in a filter; all columns if None.
        rows: row numbers, of which one may come again.
        vectors: float32 [n, D] for a column `vector` beside them; None for none.

    Raises:
        InvalidFilter: there is no such column.
        InvalidInput: none is named.
    """
    wanted = _named(columns, names)
    at = pa.array(np.asarray(rows, dtype=np.int64))
    arrays = [columns.named(name) for name in wanted]
    found = [pa.chunked_array(own, own[0].type if own else pa.null()).take(at) for own in arrays]
    table = pa.table(found, names=wanted)
    if vectors is None:
        return table
    flat = pa.array(np.ascontiguousarray(vectors, dtype=np.float32).reshape(-1))
    return table.append_column(VECTOR, pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1]))


def _named(columns: Columns, names: Sequence[str] | None) -> list[str]:
    wanted = list(columns.names if names is None else checks.texts("columns", names))
    if not wanted:
        raise InvalidInput("columns: expected at least one, or None for all of them")
    return wanted


def vector_blocks(snapshot: Snapshot, space: str, allowed: Mask) -> Iterator[tuple[IdArray, FloatArray]]:
    """Yield ids, int64 [n], and stored vectors, float32 [n, D], of some items, a shard at a time."""
    bits, start = allowed.allowed, 0
    for ids, stored in snapshot.stored_vectors(space):
        own = bits[start : start + len(ids)]
        start += len(ids)
        if own.any():
            yield ids[own], np.ascontiguousarray(stored[own], dtype=np.float32)


def answers_table(answers: Sequence[Answers], *, queries: bool = False) -> pa.Table:
    """Return answers as a table: rank, id, uri, score, caption, what they were shaped by, and their own columns.

    Args:
        answers: to one query each, one below the other.
        queries: whether a column `query` says what was asked.
    """
    items = [item for one in answers for item in one.items]
    names = list(dict.fromkeys(name for item in items for name in item.meta))
    taken = {"query", "rank", "id", "uri", "score", "caption", "copies", "group", "words", "fused"}
    asked: dict[str, Any] = {}
    if queries:
        texts = [None if one.query is None else str(one.query) for one in answers for _ in one.items]
        asked["query"] = pa.array(texts, pa.string())
    shaped: dict[str, Any] = {}
    if any(one.copies is not None for one in answers):
        shaped["copies"] = pa.array([copies for one in answers for copies in one.copies or ()], pa.int64())
    if any(one.groups is not None for one in answers):
        shaped["group"] = _column([group for one in answers for group in one.groups or ()])
    for name in ("words", "fused"):
        if any(getattr(one, name) is not None for one in answers):
            shaped[name] = pa.array([float(value) for one in answers for value in getattr(one, name)], pa.float32())
    called = {name: f"meta.{name}" if name in taken else name for name in names}
    own = {called[name]: _column([item.meta.get(name) for item in items]) for name in names}
    uris = [shown(item.uri) for item in items]
    return pa.table(
        {
            **asked,
            "rank": pa.array([rank for one in answers for rank in range(1, len(one) + 1)], pa.int64()),
            "id": pa.array([item.id for item in items], pa.int64()),
            "uri": pa.array(uris, pa.string()),
            "score": pa.array([_known(score) for one in answers for score in one.scores], pa.float32()),
            "caption": pa.array([item.caption for item in items], pa.string()),
            **shaped,
            **own,
        }
    )


def _known(score: float) -> float | None:
    return None if math.isnan(score) else float(score)


def _column(values: Sequence[Any]) -> pa.Array:
    return column_of([None if value is None else cell(value) for value in values])
