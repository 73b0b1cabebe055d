"""Gather rows into shards; every finished shard is a commit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from engine.collection import changes, layout
from engine.collection.changes import Failure, Tombstone
from engine.collection.commit import commit
from engine.collection.manifest import Manifest
from engine.collection.shards import ITEM_SCHEMA, META, write_embeddings, write_table
from engine.ingest.entries import Entry
from indexers.vectors import FloatArray


@dataclass(frozen=True)
class Row:
    """One item about to be written.

    Attributes:
        entry: where it was found.
        id: its id.
        content: hash of its content.
        width: of the upright picture; 0 for a vector.
        height: likewise.
        vector: unit float32 [D].
        replaces: tombstone of the row it takes the place of, if any.
    """

    entry: Entry
    id: int
    content: str
    width: int
    height: int
    vector: FloatArray
    replaces: Tombstone | None = None


class ShardWriter:
    """Collects rows and failures of one run and commits them shard by shard."""

    def __init__(
        self, root: Path, space: str, base: Manifest, *, shard_rows: int, committed: Callable[[Manifest], None]
    ) -> None:
        self.root = root
        self.space = space
        self.base = base
        self.failures: list[Failure] = []
        self._rows: list[Row] = []
        self._sources: set[str] = set()
        self._shard_rows = shard_rows
        self._committed = committed

    def run_over(self, source: str) -> None:
        """Say that a source is being listed: its failures of earlier runs no longer count."""
        self._sources.add(source)

    def add(self, row: Row) -> None:
        """Take a row, and commit when a shard is full."""
        self._rows.append(row)
        if len(self._rows) >= self._shard_rows:
            self.flush("add")

    def fail(self, entry: Entry, reason: str) -> None:
        """Note that an entry could not be indexed."""
        self.failures.append((entry.source, entry.path, reason))

    def flush(self, operation: str, *, bury: list[Tombstone] | None = None) -> Manifest:
        """Commit the rows gathered so far, tombstones, and the failures up to now."""
        rows, self._rows = self._rows, []
        tombstones = [row.replaces for row in rows if row.replaces is not None] + (bury or [])
        wanted = [changes.record_failures(self.root, self._sources, self.failures), changes.bury(self.root, tombstones)]
        if rows:
            wanted.insert(0, self._append(rows))
        result = commit(self.root, changes.chain(*wanted), operation=operation)
        self._committed(result)
        return result

    def _append(self, rows: list[Row]) -> changes.Change:
        ids = np.array([row.id for row in rows], dtype=np.int64)
        items = write_table(self.root, layout.ITEMS, item_table(rows))
        entry = self.base.space(self.space)
        vectors = np.stack([row.vector for row in rows])
        embeddings = write_embeddings(self.root, self.space, ids, vectors, entry.dtype)
        # Rows this run has committed already are not another writer's: only later shards count.
        prepared_on, self.base = self.base, replace(self.base, items=(*self.base.items, items))
        keys = {row.entry.key for row in rows}
        return changes.append(self.root, self.space, items, embeddings, keys, prepared_on)


def item_table(rows: list[Row]) -> pa.Table:
    """Lay rows out as an item shard: our columns, then the user's under `meta.`."""
    ours: dict[str, list[Any]] = {
        "id": [row.id for row in rows],
        "source": [row.entry.source for row in rows],
        "path": [row.entry.path for row in rows],
        "key": [row.entry.key for row in rows],
        "content": [row.content for row in rows],
        "size": [row.entry.size for row in rows],
        "mtime_ns": [row.entry.mtime_ns for row in rows],
        "width": [row.width for row in rows],
        "height": [row.height for row in rows],
        "caption": [row.entry.caption for row in rows],
        "meta_key": [row.entry.meta_key for row in rows],
    }
    table = pa.table([ours[field.name] for field in ITEM_SCHEMA], schema=ITEM_SCHEMA)
    names = sorted({name for row in rows for name in row.entry.meta})
    for name in names:
        table = table.append_column(META + name, _column([row.entry.meta.get(name) for row in rows]))
    return table


def _column(values: list[Any]) -> pa.Array:
    """Return values as numbers, booleans or text; a mixture becomes text."""
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {int, float} and len(kinds) == 2:
        return pa.array([None if value is None else float(value) for value in values], pa.float64())
    if len(kinds) > 1 or not kinds:
        return pa.array([None if value is None else str(value) for value in values], pa.string())
    try:
        return pa.array(values)
    except (OverflowError, pa.ArrowInvalid):
        return pa.array([None if value is None else str(value) for value in values], pa.string())
