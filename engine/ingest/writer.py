"""Gather rows into shards; every finished shard is a commit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from engine.collection import changes
from engine.collection.changes import Tombstone
from engine.collection.commit import commit
from engine.collection.failures import Failure, record_failures
from engine.collection.garbage import forget
from engine.collection.manifest import Manifest, Source
from engine.collection.relabel import relabel, rewrite_items
from engine.collection.shards import SHARD_ROWS, as_new_shard, write_embeddings, write_table
from engine.ingest.catalogue import Known
from engine.ingest.entries import Block, Entry, Listing
from engine.ingest.rows import ItemRows, Relabelled
from engine.storage import layout
from engine.storage.disk import writing
from indexers.store import StoredArray, check_dtype
from indexers.vectors import FloatArray

DONE = "index"
"""What the last version of a run is called."""


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
        replaces: row number of the row it takes the place of, if any.
    """

    entry: Entry
    id: int
    content: str
    width: int
    height: int
    vector: FloatArray
    replaces: int | None = None


@dataclass
class Pending:
    """Rows waiting for their shard to be full, column by column; vectors as they are stored."""

    dtype: np.dtype[Any]
    items: ItemRows = field(default_factory=ItemRows)
    vectors: list[StoredArray] = field(default_factory=list)
    buried: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.items)

    def add(self, row: Row) -> None:
        """Take one row."""
        self.items.add(row.entry, row.id, row.content, row.width, row.height)
        self.vectors.append(row.vector[None, :].astype(self.dtype))
        if row.replaces is not None:
            self.buried.append(row.replaces)

    def extend(self, block: Block, rows: Sequence[int], first_id: int, contents: list[str], unit: FloatArray) -> None:
        """Take new rows of a block.

        Args:
            block: where they were found.
            rows: which of its rows.
            first_id: id of the first of them; the others follow.
            contents: hash of the content of each of them.
            unit: unit float32 [len(rows), D].
        """
        self.items.extend(block, rows, first_id, contents)
        self.vectors.append(unit.astype(self.dtype))


class ShardWriter:
    """Collects rows and failures of one run and commits them shard by shard.

    Attributes:
        shard_rows: rows at which a shard is full.
        failures: what could not be indexed so far.
    """

    def __init__(
        self,
        root: Path,
        space: str,
        base: Manifest,
        *,
        sources: Sequence[Source],
        committed: Callable[[Manifest], None],
    ) -> None:
        self.root = root
        self.space = space
        self.base = base
        self.failures: list[Failure] = []
        self._dtype = check_dtype(base.space(space).dtype)
        self._starts = base.shard_starts
        self._pending = Pending(self._dtype)
        self._relabelled = Relabelled()
        self._sources: set[str] = set()
        self._paths: set[tuple[str, str]] = set()
        self.shard_rows = SHARD_ROWS
        self._add_sources = changes.add_sources(root, sources, base)
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

    def reserved(self, version: int) -> None:
        """Note the version that set ids aside: once a shard has come after it, nobody needs its listing."""
        self._listing = version

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

    def fail(self, failure: Failure) -> None:
        """Note that an item could not be indexed."""
        self.failures.append(failure)

    def relabel(self, entry: Entry, known: Known) -> None:
        """Let an item be called, and say, what an entry does; its row and its vector stay where they are."""
        self._relabelled.add(known.position, entry, known.id, known.content, known.width, known.height)
        if self._relabelled.is_full:
            self.flush("add")

    def flush(self, operation: str, *, bury: Sequence[int] = ()) -> Manifest:
        """Commit the rows and labels gathered so far, tombstones by row number, and the failures up to now."""
        changed = len(self._pending) + len(self._relabelled) > 0
        with writing(self.root):
            result = self._flush(operation, bury)
        if changed:
            # The listing of the shards so far is a part of this one, if nobody else published anything between
            # the two: kept, all of them would grow with the square.
            if self._listing == result.version - 1:
                forget(self.root, [self._listing])
            self._listing = result.version
        return result

    def _flush(self, operation: str, bury: Sequence[int]) -> Manifest:
        rows, self._pending = self._pending, Pending(self._dtype)
        relabelled, self._relabelled = self._relabelled, Relabelled()
        wanted = [self._append(rows)] if len(rows) else []
        wanted += [self._relabel(relabelled)] if len(relabelled) else []
        wanted.append(changes.bury(self.root, [self._tombstone(position) for position in (*rows.buried, *bury)]))
        wanted += [self._failures(whole=operation == DONE), self._add_sources]
        result = commit(self.root, changes.chain(*wanted), operation=operation)
        self.base = replace(self.base, deletes=result.deletes)
        self._committed(result)
        return result

    def _failures(self, *, whole: bool) -> changes.Change:
        """Record failures; on the way, those of earlier runs count until their place in the source is reached."""
        sources = self._sources if whole else set()
        seen = frozenset() if whole else frozenset(failure[:2] for failure in self.failures)
        return record_failures(self.root, sources, self.failures, paths=seen | self._paths)

    def _append(self, rows: Pending) -> changes.Change:
        items = write_table(self.root, layout.ITEMS, as_new_shard(rows.items.table()))
        columns = rows.items.columns
        ids = np.array(columns["id"], dtype=np.int64)
        embeddings = write_embeddings(self.root, self.space, ids, np.concatenate(rows.vectors), self._dtype.name)
        # Rows this run has committed already are not another writer's: only later shards count.
        prepared_on, self.base = self.base, replace(self.base, items=(*self.base.items, items))
        return changes.append(self.root, self.space, items, embeddings, set(columns["key"]), prepared_on)

    def _relabel(self, relabelled: Relabelled) -> changes.Change:
        prepared_on, items = self.base, list(self.base.items)
        new = {}
        for number, (rows, labels) in relabelled.shards(self._starts).items():
            items[number] = rewrite_items(self.root, items[number], rows, labels)
            new[prepared_on.items[number].path] = items[number]
        self.base = replace(prepared_on, items=tuple(items))
        return relabel(self.root, new, relabelled.keys, prepared_on)

    def _tombstone(self, position: int) -> Tombstone:
        """Return where a row is by now: the shards there were at first stay the first, whatever they are called."""
        number = int(np.searchsorted(self._starts, position, side="right")) - 1
        return self.base.items[number].path, position - int(self._starts[number])
