"""Items about to be written, laid out as a shard: our columns, then the user's."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from engine.collection import cells
from engine.collection.lookup import conform, union_schema
from engine.collection.shards import BY_HAND, FOUND, ITEM_SCHEMA, META, SHARD_BYTES, SHARD_ROWS
from engine.ingest.catalogue import Known
from engine.ingest.entries import Block, Entry
from indexers.vectors import IdArray


class ItemRows:
    """Rows of an item shard, gathered column by column."""

    def __init__(self) -> None:
        self.columns: dict[str, list[Any]] = {name: [] for name in ITEM_SCHEMA.names}
        self.meta: list[dict[str, Any]] = []
        self.found: list[str | None] = []
        self.by_hand: list[str | None] = []

    def __len__(self) -> int:
        return len(self.meta)

    def add(self, entry: Entry, id: int, content: str, width: int, height: int) -> None:
        """Take one row."""
        found = (entry.source, entry.path, entry.key, content, entry.size, entry.mtime_ns)
        values = (id, *found, width, height, entry.caption, entry.meta_key)
        for column, value in zip(self.columns.values(), values, strict=True):
            column.append(value)
        self.meta.append(entry.columns)
        self.found.append(entry.found)
        self.by_hand.append(json.dumps([*entry.by_hand]) if entry.by_hand else None)

    def extend(self, block: Block, rows: Sequence[int], first_id: int, contents: list[str]) -> None:
        """Take rows of a block; see `writer.Pending.extend`."""
        n = len(rows)
        values: tuple[list[Any], ...] = (
            list(range(first_id, first_id + n)),
            [block.source] * n,
            [block.paths[row] for row in rows],
            block.keys[rows].tolist(),
            contents,
            [block.size] * n,
            [block.mtime_ns] * n,
            [0] * n,
            [0] * n,
            [block.caption(row) for row in rows],
            block.meta_keys[rows].tolist(),
        )
        for column, more in zip(self.columns.values(), values, strict=True):
            column.extend(more)
        self.meta.extend(block.meta_of(row) for row in rows)
        self.found.extend([None] * n)
        self.by_hand.extend([None] * n)

    def table(self) -> pa.Table:
        """Lay the rows out as an item shard: our columns, then the user's under `meta.`."""
        own = pa.table(list(self.columns.values()), schema=ITEM_SCHEMA)
        if any(one is not None for one in self.found):
            own = own.append_column(FOUND, pa.array(self.found, pa.string()))
        if any(one is not None for one in self.by_hand):
            own = own.append_column(BY_HAND, pa.array(self.by_hand, pa.string()))
        names = sorted({name for row in self.meta for name in row})
        meta = [cells.column_of([row.get(name) for row in self.meta]) for name in names]
        # All at once: whoever appends thousands of columns one by one is done when they are squared.
        fields = [pa.field(META + name, column.type) for name, column in zip(names, meta, strict=True)]
        return pa.Table.from_arrays([*own.columns, *meta], schema=pa.schema([*own.schema, *fields]))


class Relabelled:
    """Items that keep their row, with what they are called and say now.

    They wait as Arrow: a million of them are not a million objects.

    Attributes:
        keys: of these items as they are called now.
    """

    def __init__(self) -> None:
        self.keys: set[int] = set()
        self._positions: list[int] = []
        self._rows = ItemRows()
        self._closed: list[tuple[IdArray, pa.Table]] = []
        self._bytes = 0

    def __len__(self) -> int:
        return len(self.keys)

    def add(self, entry: Entry, known: Known) -> None:
        """Take an item, as it is called now and as it was known."""
        self.keys.add(entry.key)
        self._positions.append(known.position)
        self._rows.add(entry, known.id, known.content, known.width, known.height)
        if len(self._rows) >= SHARD_ROWS:
            self._close()

    def _close(self) -> None:
        table = self._rows.table()
        self._closed.append((np.array(self._positions, dtype=np.int64), table))
        self._bytes += table.nbytes
        self._positions, self._rows = [], ItemRows()

    @property
    def is_full(self) -> bool:
        """Whether it is time to write them."""
        return self._bytes >= SHARD_BYTES

    def shards(self, starts: IdArray) -> dict[int, tuple[IdArray, pa.Table]]:
        """Sort the items by shard.

        Args:
            starts: row number at which each shard begins, and the total, int64 [shards + 1].

        Returns:
            by the number of a shard, row numbers in it, int64 [n], and the items that stand there now.
        """
        self._close()
        positions = np.concatenate([one for one, _ in self._closed])
        schema = union_schema(table.schema for _, table in self._closed)
        items = pa.concat_tables([conform(table, schema) for _, table in self._closed])
        numbers = np.searchsorted(starts, positions, side="right") - 1
        found = {}
        for number in np.unique(numbers).tolist():
            own = np.flatnonzero(numbers == number)
            found[number] = (positions[own] - starts[number], items.take(pa.array(own)))
        return found
