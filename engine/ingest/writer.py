"""Gather rows into shards; every finished shard is a commit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from engine.collection import changes, layout
from engine.collection.changes import Failure, Tombstone
from engine.collection.commit import commit
from engine.collection.disk import writing
from engine.collection.garbage import forget
from engine.collection.manifest import Manifest
from engine.collection.shards import ITEM_SCHEMA, META, SHARD_ROWS, as_new_shard, write_embeddings, write_table
from engine.ingest.entries import Block, Entry, Listing
from indexers.store import StoredArray, check_dtype
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


@dataclass
class Pending:
    """Rows waiting for their shard to be full, column by column; vectors as they are stored."""

    dtype: np.dtype[Any]
    columns: dict[str, list[Any]] = field(default_factory=lambda: {name: [] for name in ITEM_SCHEMA.names})
    meta: list[dict[str, Any]] = field(default_factory=list)
    vectors: list[StoredArray] = field(default_factory=list)
    tombstones: list[Tombstone] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.meta)

    def add(self, row: Row) -> None:
        """Take one row."""
        entry = row.entry
        found = (entry.source, entry.path, entry.key, row.content, entry.size, entry.mtime_ns)
        values = (row.id, *found, row.width, row.height, entry.caption, entry.meta_key)
        for column, value in zip(self.columns.values(), values, strict=True):
            column.append(value)
        self.meta.append(entry.meta)
        self.vectors.append(row.vector[None, :].astype(self.dtype))
        if row.replaces is not None:
            self.tombstones.append(row.replaces)

    def extend(self, block: Block, rows: Sequence[int], first_id: int, contents: list[str], unit: FloatArray) -> None:
        """Take new rows of a block.

        Args:
            block: where they were found.
            rows: which of its rows.
            first_id: id of the first of them; the others follow.
            contents: hash of the content of each of them.
            unit: unit float32 [len(rows), D].
        """
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
        self.vectors.append(unit.astype(self.dtype))

    def item_table(self) -> pa.Table:
        """Lay the rows out as an item shard: our columns, then the user's under `meta.`."""
        own = pa.table(list(self.columns.values()), schema=ITEM_SCHEMA)
        names = sorted({name for row in self.meta for name in row})
        meta = [column_of([row.get(name) for row in self.meta]) for name in names]
        # All at once: whoever appends thousands of columns one by one is done when they are squared.
        fields = [pa.field(META + name, column.type) for name, column in zip(names, meta, strict=True)]
        return pa.Table.from_arrays([*own.columns, *meta], schema=pa.schema([*ITEM_SCHEMA, *fields]))


class ShardWriter:
    """Collects rows and failures of one run and commits them shard by shard.

    Attributes:
        shard_rows: rows at which a shard is full.
        failures: what could not be indexed so far.
    """

    def __init__(self, root: Path, space: str, base: Manifest, *, committed: Callable[[Manifest], None]) -> None:
        self.root = root
        self.space = space
        self.base = base
        self.failures: list[Failure] = []
        self._dtype = check_dtype(base.space(space).dtype)
        self._pending = Pending(self._dtype)
        self._sources: set[str] = set()
        self._paths: set[tuple[str, str]] = set()
        self.shard_rows = SHARD_ROWS
        self._committed = committed
        self._listing = 0

    def run_over(self, listing: Listing) -> None:
        """Say that a source is being listed: its failures of earlier runs no longer count."""
        if listing.whole:
            self._sources.add(listing.source.name)

    def look_at(self, listing: Listing, paths: Sequence[str]) -> None:
        """Say which items are being looked at: where only part of a source is listed, only their failures count."""
        if not listing.whole:
            self._paths.update((listing.source.name, path) for path in paths)

    def add(self, row: Row) -> None:
        """Take a row, and commit when a shard is full."""
        self._pending.add(row)
        self._when_full()

    def extend(self, block: Block, rows: Sequence[int], first_id: int, contents: list[str], unit: FloatArray) -> None:
        """Take new rows of a block, and commit when a shard is full; see `Pending.extend`."""
        self._pending.extend(block, rows, first_id, contents, unit)
        self._when_full()

    def _when_full(self) -> None:
        if len(self._pending) >= self.shard_rows:
            self.flush("add")

    def fail(self, source: str, path: str, reason: str) -> None:
        """Note that an item could not be indexed."""
        self.failures.append((source, path, reason))

    def flush(self, operation: str, *, bury: list[Tombstone] | None = None) -> Manifest:
        """Commit the rows gathered so far, tombstones, and the failures up to now."""
        has_rows = len(self._pending) > 0
        with writing(self.root):
            result = self._flush(operation, bury or [])
        if has_rows:
            # The listing of the shards so far is a part of this one, if nobody else published anything between
            # the two: kept, all of them would grow with the square.
            if self._listing == result.version - 1:
                forget(self.root, [self._listing])
            self._listing = result.version
        return result

    def _flush(self, operation: str, bury: list[Tombstone]) -> Manifest:
        rows, self._pending = self._pending, Pending(self._dtype)
        failures = changes.record_failures(self.root, self._sources, self.failures, paths=frozenset(self._paths))
        wanted = [failures, changes.bury(self.root, rows.tombstones + bury)]
        if len(rows):
            wanted.insert(0, self._append(rows))
        result = commit(self.root, changes.chain(*wanted), operation=operation)
        self._committed(result)
        return result

    def _append(self, rows: Pending) -> changes.Change:
        items = write_table(self.root, layout.ITEMS, as_new_shard(rows.item_table()))
        ids = np.array(rows.columns["id"], dtype=np.int64)
        embeddings = write_embeddings(self.root, self.space, ids, np.concatenate(rows.vectors), self._dtype.name)
        # Rows this run has committed already are not another writer's: only later shards count.
        prepared_on, self.base = self.base, replace(self.base, items=(*self.base.items, items))
        return changes.append(self.root, self.space, items, embeddings, set(rows.columns["key"]), prepared_on)


def column_of(values: list[Any]) -> pa.Array:
    """Return values as numbers, booleans or text; a mixture becomes text."""
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {int, float} and len(kinds) == 2:
        return pa.array([None if value is None else float(value) for value in values], pa.float64())
    if len(kinds) == 1:
        try:
            return pa.array(values)
        except (OverflowError, pa.ArrowInvalid):
            pass  # a whole number of more than 64 bits
    return pa.array([None if value is None else str(value) for value in values], pa.string())
