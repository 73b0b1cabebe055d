"""Gather rows into shards; every finished shard is a commit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from engine.collection import changes, tombstones
from engine.collection.commit import commit
from engine.collection.failures import Failure, record_failures
from engine.collection.fold import fold
from engine.collection.garbage import drop, forget, thin
from engine.collection.manifest import Manifest, Source, Tombstone
from engine.collection.notes import Notes, drop_notes, record_notes
from engine.collection.relabel import relabel, rewrite_items
from engine.collection.shards import SHARD_ROWS, as_new_shard, write_embeddings, write_table
from engine.ingest.catalogue import Known
from engine.ingest.entries import Block, Entry, Listing
from engine.ingest.rows import ItemRows, Relabelled
from engine.ingest.unit import split
from engine.storage import layout
from engine.storage.disk import writing
from engine.storage.layout import FileRef
from indexers.store import StoredArray, check_dtype
from indexers.vectors import FloatArray

FEW_RELABELLED, WRITTEN_ANYWAY, WRITTEN_A_LABEL = 64, 16_384, 256
"""Labels of so few items may be written as new rows: where more rows are in the way than this, in all or for each."""

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
        vector: unit float32 [D], of several spaces one beside the other.
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
            unit: unit float32 [len(rows), D], of several spaces one beside the other.
        """
        self.items.extend(block, rows, first_id, contents)
        self.vectors.append(unit.astype(self.dtype))


class ShardWriter:
    """Collects rows and failures of one run and commits them shard by shard.

    Attributes:
        dims: dimension of the vectors of each space that is derived from no other.
        dtype: that holds what is stored of each.
        shard_rows: rows at which a shard is full.
        failures: what could not be indexed so far.
        ids: of the rows that wait, where they get theirs with the commit: those the newest version would give, from
            `ids.start` on; None where they are set aside before.
        notes: what was found in other files, by source.
    """

    def __init__(
        self,
        root: Path,
        base: Manifest,
        *,
        sources: Sequence[Source],
        committed: Callable[[Manifest], None],
        vectors: Callable[[int], FloatArray],
        wants: str,
    ) -> None:
        self.root = root
        self.base = base
        self.failures: list[Failure] = []
        self.dims = base.dims
        self.dtype = np.result_type(*(check_dtype(base.space(name).dtype) for name in base.roots))
        self._starts = base.shard_starts
        self._pending = Pending(self.dtype)
        self._relabelled = Relabelled()
        self._few: list[tuple[Entry, Known]] = []
        self._vectors = vectors
        self._sources: set[str] = set()
        self._paths: set[tuple[str, str]] = set()
        self.shard_rows = SHARD_ROWS
        self.ids: range | None = None
        self._named = frozenset(source.name for source in sources)
        self._add_sources = changes.chain(changes.add_sources(root, sources, base), changes.wanting(wants))
        self._committed = committed
        self._listing = 0
        self.notes: dict[str, Notes] = {}

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
        """Let an item be called, and say, what an entry does.

        Its row and its vector stay where they are; or, where very few items in large shards are meant, it gets another.
        """
        if not len(self._relabelled) and len(self._few) < FEW_RELABELLED:
            self._few.append((entry, known))
            return
        for one in (*self._few, (entry, known)):
            self._relabelled.add(*one)
        self._few = []
        if self._relabelled.is_full:
            self.flush("add")

    def _are_rows_cheaper(self, few: Sequence[tuple[Entry, Known]]) -> bool:
        """Whether so much would have to be written for a few labels that new rows for them are better."""
        positions = [known.position for _, known in few]
        shards = np.unique(np.searchsorted(self._starts, positions, side="right") - 1).tolist()
        written: int = sum(self.base.items[shard].rows for shard in shards)
        lookup = self.base.lookup
        if lookup is not None and any(shard in lookup.span for shard in shards):
            written += lookup.file.rows
        return written > max(WRITTEN_ANYWAY, WRITTEN_A_LABEL * len(few))

    def flush(self, operation: str, *, bury: Sequence[int] = ()) -> Manifest:
        """Commit the rows and labels gathered so far, tombstones by row number, and the failures up to now."""
        changed = len(self._pending) + len(self._relabelled) + len(self._few) > 0
        with writing(self.root):
            result = self._flush(operation, bury)
        if changed:
            # The listing of the shards so far is a part of this one, if nobody else published anything between
            # the two: kept, all of them would grow with the square.
            if self._listing == result.version - 1:
                forget(self.root, [self._listing])
            self._listing = result.version
            if operation == DONE:
                thin(self.root, result.version)
        return result

    def _flush(self, operation: str, bury: Sequence[int]) -> Manifest:
        rows, self._pending = self._pending, Pending(self.dtype)
        relabelled, self._relabelled = self._relabelled, Relabelled()
        few, self._few = self._few, []
        if few and self._are_rows_cheaper(few):
            for entry, known in few:
                size = (known.width, known.height)
                rows.add(Row(entry, known.id, known.content, *size, self._vectors(known.position), known.position))
        else:
            for entry, known in few:
                relabelled.add(entry, known)
        prepared_on, shard = self.base, _Shard(self, rows) if len(rows) else None
        wanted: list[changes.Change] = [shard.append] if shard else []
        wanted += [self._relabel(relabelled)] if len(relabelled) else []
        gone = [self._tombstone(position) for position in (*rows.buried, *bury)]
        wanted.append(tombstones.bury(self.root, gone, prepared_on))
        wanted += [self._failures(whole=operation == DONE), self._add_sources]
        # Not before: until a run ends, it knows its rows by the shards there were.
        made: list[set[str]] = []
        if operation == DONE:
            noted = record_notes(self.root, self.notes, whole=frozenset(self._sources))
            wanted = [noting(made), *wanted, noted, noting(made), fold(self.root)]
        else:
            # Cut short here, the run would leave rows of one kind beside notes that vouch for another.
            wanted.append(drop_notes(self.root, self._named))
        result = commit(self.root, changes.chain(*wanted), operation=operation)
        if made:
            # What was folded into another shard at once was never listed, and never will be.
            drop(self.root, made[-1] - made[-2] - paths_of(result))
        self.base = replace(self.base, deletes=result.deletes, dead=result.dead)
        if shard is not None:
            # Rows this run has committed already are not another writer's: only later shards count.
            self.base = replace(self.base, items=(*self.base.items, shard.items))
        if self.ids is not None:
            self.ids = range(result.next_id, result.next_id)
        self._committed(result)
        return result

    def _failures(self, *, whole: bool) -> changes.Change:
        """Record failures; on the way, those of earlier runs count until their place in the source is reached."""
        sources = self._sources if whole else set()
        seen = frozenset() if whole else frozenset(failure[:2] for failure in self.failures)
        return record_failures(self.root, sources, self.failures, paths=seen | self._paths)

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


def paths_of(manifest: Manifest) -> set[str]:
    """Return the paths of all files that a version lists."""
    return {ref.path for ref in manifest.files()}


def noting(found: list[set[str]]) -> changes.Change:
    """Return a change that changes nothing, and notes which files the version lists by then."""

    def change(base: Manifest) -> Manifest:
        found.append(paths_of(base))
        return base

    return change


class _Shard:
    """Rows about to be committed as a shard: written before, and again if their ids are others' by then.

    Attributes:
        items: the item shard that was committed, or was about to be.
    """

    items: FileRef

    def __init__(self, writer: ShardWriter, rows: Pending) -> None:
        self._writer, self._rows = writer, rows
        self._prepared_on, self._new = writer.base, writer.ids
        self._append = self._written(0)

    def _written(self, shift: int) -> changes.Change:
        """Write the shard, with new ids that are higher by some number, and return what appends it."""
        writer, columns = self._writer, self._rows.items.columns
        ids = np.array(columns["id"], dtype=np.int64)
        if self._new is not None and shift:
            ids[ids >= self._new.start] += shift
            columns["id"], self._new = ids.tolist(), range(self._new.start + shift, self._new.stop + shift)
        self.items = write_table(writer.root, layout.ITEMS, as_new_shard(self._rows.items.table()))
        parts = split(np.concatenate(self._rows.vectors), writer.dims)
        embeddings = {
            space: write_embeddings(writer.root, space, ids, part, self._prepared_on.space(space).dtype)
            for space, part in zip(writer.dims, parts, strict=True)
        }
        return changes.append(writer.root, self.items, embeddings, set(columns["key"]), self._prepared_on)

    def append(self, base: Manifest) -> Manifest:
        """Do as `changes.append`, and hand out the ids that were not set aside."""
        if self._new is None:
            return self._append(base)
        if base.next_id != self._new.start:
            self._append = self._written(base.next_id - self._new.start)
        return self._append(replace(base, next_id=self._new.stop))
