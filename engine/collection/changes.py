"""The changes a version can undergo, each a function from manifest to manifest.

They are what `commit.commit` retries: each checks that what it was prepared on still holds.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from engine.collection import layout
from engine.collection.commit import Change as Change
from engine.collection.manifest import Covering, FileRef, IndexEntry, Manifest, PlanEntry, Source
from engine.collection.shards import FAILURE_SCHEMA, TOMBSTONE_SCHEMA, read_items, read_table, write_table
from indexers.errors import CommitConflict

Tombstone = tuple[str, int]
Failure = tuple[str, str, str]


def reserve(root: Path, sources: Iterable[Source], ids: int, prepared_on: Manifest) -> tuple[Change, list[int]]:
    """Add sources and set aside a block of ids.

    Args:
        root: the collection.
        sources: those of a run, new or known.
        ids: how many.
        prepared_on: the version whose names of sources were looked at.

    Returns:
        the change, and a list that holds the block's first id once it has been applied.
    """
    first: list[int] = []
    wanted = {source.name: source for source in sources}
    before = {source.name: source for source in prepared_on.sources}

    def change(base: Manifest) -> Manifest:
        first[:] = [base.next_id]
        known = {source.name: source for source in base.sources}
        for name, source in wanted.items():
            if known.get(name, source) != source and known[name] != before.get(name):
                raise CommitConflict(
                    f"another process has just added a source called {name!r} to {root}; run this again"
                )
        known.update(wanted)
        return replace(base, sources=tuple(known.values()), next_id=base.next_id + ids)

    return change, first


def append(
    root: Path, space: str, items: FileRef, embeddings: FileRef, keys: set[int], prepared_on: Manifest
) -> Change:
    """Add one finished shard.

    Args:
        root: the collection.
        space: the space its vectors belong to.
        items: its item shard.
        embeddings: its vectors.
        keys: `key` of its items, to notice another writer indexing the same ones.
        prepared_on: the version whose items were compared with the source.
    """

    def change(base: Manifest) -> Manifest:
        seen = {ref.path for ref in prepared_on.items}
        for ref in base.items:
            if ref.path not in seen and keys & set(read_items(root, ref, ["key"]).column("key").to_pylist()):
                raise CommitConflict(
                    f"another process is indexing the same files into {root}; wait for it, then run this again"
                )
        entry = base.space(space)
        if len(base.spaces) > 1:
            raise CommitConflict(
                f"{root} has several spaces ({', '.join(base.spaces)}), and items can be added only with a "
                "vector in each; add to a collection with one space"
            )
        entry = replace(entry, embeddings=(*entry.embeddings, embeddings))
        return replace(base, items=(*base.items, items), spaces={**base.spaces, space: entry})

    return change


def bury(root: Path, tombstones: Iterable[Tombstone]) -> Change:
    """Add tombstones; they point into shards, which must still be there."""
    new = set(tombstones)

    def change(base: Manifest) -> Manifest:
        if not new:
            return base
        listed = {ref.path for ref in base.items}
        if gone := {shard for shard, _ in new} - listed:
            raise CommitConflict(
                f"{len(gone)} shards of {root} were compacted meanwhile by another process; run this again"
            )
        old: set[Tombstone] = set()
        if base.deletes is not None:
            table = read_table(root, base.deletes)
            old = set(zip(table.column("shard").to_pylist(), table.column("row").to_pylist(), strict=True))
        if new <= old:
            return base
        rows = sorted(old | new)
        table = pa.table([[s for s, _ in rows], [r for _, r in rows]], schema=TOMBSTONE_SCHEMA)
        return replace(base, deletes=write_table(root, layout.DELETES, table))

    return change


def record_failures(
    root: Path, sources: set[str], failures: Iterable[Failure], *, paths: frozenset[tuple[str, str]] = frozenset()
) -> Change:
    """Replace failures by those of the latest run.

    Args:
        root: the collection.
        sources: sources that were listed whole: what failed there before is forgotten.
        failures: of this run.
        paths: (source, path) of the items of other sources that this run looked at.
    """
    new = list(failures)

    def change(base: Manifest) -> Manifest:
        kept: list[Failure] = []
        if base.failures is not None:
            table = read_table(root, base.failures).to_pylist()
            rows = [(row["source"], row["path"], row["reason"]) for row in table]
            kept = [row for row in rows if row[0] not in sources and row[:2] not in paths]
        rows = kept + new
        if not rows:
            return replace(base, failures=None)
        columns = [list(column) for column in zip(*rows, strict=True)]
        ref = write_table(root, layout.FAILURES, pa.table(columns, schema=FAILURE_SCHEMA))
        return replace(base, failures=ref)

    return change


def derive(
    space: str,
    *,
    lookup: Covering,
    vectors: Covering,
    indexes: tuple[IndexEntry, ...],
    plans: tuple[PlanEntry, ...],
) -> Change:
    """Put derived files in place of older ones; newer ones, which cover more shards, stand."""

    def change(base: Manifest) -> Manifest:
        for covering in (lookup, vectors, *(entry.covering for entry in indexes)):
            if covering.shards_digest != base.shards_digest(covering.shards):
                raise CommitConflict("the collection was compacted while its indexes were built; run this again")
        newer = base.space(space).vectors
        if newer is not None and newer.shards > vectors.shards:
            return base
        entry = replace(base.space(space), vectors=vectors, indexes=indexes, plans=plans)
        return replace(base, lookup=lookup, spaces={**base.spaces, space: entry})

    return change


def chain(*changes: Change) -> Change:
    """Apply several changes as one version."""

    def change(base: Manifest) -> Manifest:
        for one in changes:
            base = one(base)
        return base

    return change


def cover(manifest: Manifest, file: FileRef, shards: int) -> Covering:
    """Declare a derived file over the first `shards` shards of a version."""
    return Covering(file, shards, manifest.shards_digest(shards))
