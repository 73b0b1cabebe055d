"""The items that are exported, some at a time: their columns and vectors, and never all of them at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa

from engine.collection.cells import as_json, values
from engine.collection.columntypes import children
from engine.collection.shards import ITEM_SCHEMA
from engine.collection.snapshot import Snapshot
from engine.query.where.columns import Columns
from engine.query.where.paths import PARTS
from indexers.errors import InvalidInput
from indexers.mask import Mask
from indexers.store import StoredArray
from indexers.vectors import FloatArray, IdArray

VECTOR = "vector"
BLOCK_BYTES = 16 << 20
MOST_ROWS = 65_536

# What columns are that no row has.
_KINDS = {**{field.name: field.type for field in ITEM_SCHEMA}, "mtime": pa.timestamp("ns", "UTC")}


@dataclass(frozen=True)
class Block:
    """Some items.

    Attributes:
        rows: int64 [n], their row numbers.
        columns: n rows.
        vectors: float32 [n, D] as they are stored; [n, 0] where nobody wants them.
    """

    rows: IdArray
    columns: pa.Table
    vectors: FloatArray

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, at: Sequence[int]) -> Block:
        """Return some of them, by where they are here."""
        return Block(self.rows[at], self.columns.take(pa.array(at, pa.int64())), self.vectors[at])

    def with_vectors(self, name: str = VECTOR) -> pa.Table:
        """Return the columns with the vectors as one more, a list of as many numbers as D for each row."""
        flat = pa.array(self.vectors.reshape(-1))
        return self.columns.append_column(name, pa.FixedSizeListArray.from_arrays(flat, self.vectors.shape[1]))

    def records(self) -> Iterator[dict[str, Any]]:
        """Yield the columns of each item as `--json` writes them."""
        told = [[as_json(value) for value in values(column)] for column in self.columns.columns]
        for row in zip(*told, strict=True):
            yield dict(zip(self.columns.column_names, row, strict=True))


class Selection:
    """Some items of a version, with the columns and the space that are wanted of them.

    Args:
        snapshot: the version.
        columns: what can be asked of it.
        names: of the columns, as in a filter; if None all but those that the path says. The id comes first.
        space: whose vectors.
        allowed: which rows.

    Raises:
        InvalidFilter: there is no such column.
    """

    def __init__(
        self, snapshot: Snapshot, columns: Columns, names: Sequence[str] | None, space: str, allowed: Mask
    ) -> None:
        usual = [name for name in columns.names if name not in PARTS]
        wanted = dict.fromkeys(["id", *(usual if names is None else names)])
        self.snapshot, self.space, self.allowed = snapshot, snapshot.manifest.space(space), allowed
        self._space = space
        self._table = pa.table({name: _column(columns, name) for name in wanted})

    def __len__(self) -> int:
        return self.allowed.count

    @property
    def dim(self) -> int:
        """Dimension D of the vectors."""
        return self.space.dim

    @property
    def ids(self) -> IdArray:
        """The ids of the items, int64 [n]."""
        return self.snapshot.ids[self.allowed.numbers]

    @property
    def schema(self) -> pa.Schema:
        """Names and types of the columns."""
        return self._table.schema

    def only(self, allowed: Mask) -> Selection:
        """Return the same of other items."""
        found = object.__new__(Selection)
        found.__dict__ |= {**self.__dict__, "allowed": allowed}
        return found

    def beside(self, *taken: str) -> Selection:
        """Return the same with columns of these names called `meta.NAME`: something else is called so."""
        return self.renamed(lambda name: f"meta.{name}" if name in taken else name)

    def renamed(self, change: Callable[[str], str]) -> Selection:
        """Return the same with columns of other names; where two would be called the same, one gets a `_` behind it."""
        names: dict[str, None] = {}
        for name in map(change, self._table.column_names):
            while name in names:
                name += "_"
            names[name] = None
        found = self.only(self.allowed)
        found._table = self._table.rename_columns(list(names))
        return found

    def blocks(self, *, vectors: bool = True, most: int = MOST_ROWS) -> Iterator[Block]:
        """Yield the items in the order of their rows.

        Args:
            vectors: whether their vectors are wanted; without they are not read.
            most: at most so many items in a block, and fewer where 16 MiB of vectors are.
        """
        bits, starts = self.allowed.allowed, self.snapshot.shard_starts.tolist()
        step = max(1, min(most, BLOCK_BYTES // (4 * self.dim)))
        for shard, (begin, end) in enumerate(pairwise(starts)):
            if not bits[begin:end].any():
                continue
            stored = self._stored(shard) if vectors else None
            for first in range(begin, end, step):
                own = bits[first : min(first + step, end)]
                if own.any():
                    yield self._block(first, own, None if stored is None else stored[first - begin :][: len(own)])

    def _stored(self, shard: int) -> StoredArray:
        [(_, stored)] = self.snapshot.stored_vectors(self._space, first=shard, stop=shard + 1)
        return stored

    def _block(self, first: int, own: Any, stored: StoredArray | None) -> Block:
        rows = first + np.flatnonzero(own)
        columns = self._table.slice(first, len(own)).filter(pa.array(own)).combine_chunks()
        vectors = np.empty((len(rows), 0), np.float32) if stored is None else stored[own].astype(np.float32)
        return Block(rows, columns, vectors)


def _column(columns: Columns, name: str) -> pa.ChunkedArray:
    found = columns.named(name)
    return pa.chunked_array(found, found[0].type if found else _KINDS.get(name, pa.null()))


def check_types(schema: pa.Schema, wrong: Any, whose: str) -> None:
    """Refuse columns of types that a format does not have.

    Args:
        schema: the columns.
        wrong: tells whether a type is one that it does not have.
        whose: the format, for the message.

    Raises:
        InvalidInput: there is such a column.
    """

    def has(kind: pa.DataType) -> bool:
        return bool(wrong(kind)) or any(map(has, children(kind)))

    for field in schema:
        if has(field.type):
            raise InvalidInput(
                f"column {field.name!r} is of type {field.type}, which {whose} does not have; name the columns "
                "that are to go along, with --column or columns=, and leave it out"
            )
