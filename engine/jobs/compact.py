"""Compact what removal left behind."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa

from engine.collection import changes
from engine.collection.commit import commit, current_version
from engine.collection.garbage import collect
from engine.collection.lookup import conform, union_schema
from engine.collection.manifest import Manifest
from engine.collection.reading import read_version
from engine.collection.shards import vector_shard_rows, write_embeddings, write_table
from engine.collection.snapshot import Snapshot
from engine.jobs.build import BuildOptions, build_spaces, chosen_specs, fitting
from engine.jobs.index import for_space
from engine.progress import Listener, Summary, as_listener
from engine.storage import layout
from engine.storage.disk import writing
from engine.storage.layout import FileRef
from indexers.errors import CommitConflict, NestvecError
from indexers.mask import Allowed
from indexers.store import StoredArray
from indexers.vectors import IdArray


def compact(root: Path, options: BuildOptions | None = None, listener: Listener | None = None) -> Summary:
    """Rewrite the shards without what was deleted, and build everything derived anew, as one version.

    Args:
        root: the collection.
        options: how indexes are built; the same specs as now if None.
        listener: hears about progress.

    Raises:
        CommitConflict: another process changed the collection meanwhile.
    """
    started = time.perf_counter()
    with Snapshot.open(root) as snapshot, writing(root):
        removed = len(snapshot.deleted)
        draft = _rewrite(snapshot)
        change: changes.Change = only_on(snapshot.manifest.version, draft, "compact")
        if draft.rows:
            how, before = options or BuildOptions(), snapshot.manifest
            wanted = {name: as_before(before, snapshot, name, how, draft.rows) for name in draft.spaces}
            change = changes.chain(change, build_spaces(root, draft, wanted, as_listener(listener)))
        result = commit(root, change, operation="compact")
    return Summary(version=result.version, removed=removed, seconds=time.perf_counter() - started)


@contextmanager
def telling_how_to_go_on(root: Path) -> Iterator[None]:
    """Add to an error that comes between removing items and the end of their purge what has been done, and what not."""
    try:
        yield
    except NestvecError as error:
        raise type(error)(
            f"{error}. The items are removed, but not purged: files still hold them. To go on: {rest_of_a_purge(root)}"
        ) from error


def rest_of_a_purge(root: Path) -> str:
    """Say what is left of a purge after the items were removed."""
    return f"nestvec compact {root}, then nestvec gc {root} --older-than 0"


def expire_all(root: Path, compacted: Manifest) -> tuple[int, ...]:
    """Delete every version but the newest, and what only they need; return those that somebody still has open.

    Args:
        root: the collection.
        compacted: the version without what is to be purged.

    Raises:
        CommitConflict: somebody is writing, or went back to what there was before.
    """
    held = collect(root, older_than=timedelta(0)).held
    newest = read_version(root, current_version(root))
    if newest.items[: len(compacted.items)] != compacted.items:
        raise CommitConflict("another process rolled the collection back meanwhile, or compacted it: see what is there")
    return held


def as_before(before: Manifest, snapshot: Snapshot, space: str, options: BuildOptions, rows: int) -> BuildOptions:
    """Return how to build a space for so many rows: with the indexes it had.

    Args:
        before: the version that says which ones somebody chose; one that was rewritten has none yet.
        snapshot: a version whose heads lead to the space.
        space: whose indexes.
        options: how the main space is built.
        rows: of the version to come.
    """
    specs = options.specs if space == layout.DEFAULT_SPACE else None
    kept = fitting(chosen_specs(before, space), rows)
    how = replace(options, chosen=0 if specs else before.space(space).chosen)
    return for_space(how, snapshot, space, specs or kept or None)


def only_on(version: int, draft: Manifest, verb: str) -> changes.Change:
    """Put a version that was made from another in its place, if nothing has changed since."""

    def change(base: Manifest) -> Manifest:
        if base.version != version:
            raise CommitConflict(f"another process changed the collection meanwhile; run {verb} again")
        return draft

    return change


def _rewrite(snapshot: Snapshot) -> Manifest:
    """Write live rows into new shards of 64 MB and return the manifest that lists only those."""
    root, manifest = snapshot.root, snapshot.manifest
    live = _live(snapshot)
    groups = list(_groups(live, min(vector_shard_rows(e.dim, e.dtype) for e in manifest.spaces.values())))
    schema = union_schema(table.schema for table in snapshot.item_tables())
    items = tuple(write_table(root, layout.ITEMS, _items(snapshot, group, live, schema)) for group in groups)
    spaces = {}
    for name, entry in manifest.spaces.items():
        embeddings = tuple(_embeddings(snapshot, name, group, live) for group in groups)
        spaces[name] = replace(entry.bare(), embeddings=embeddings, plans=())
    return replace(
        manifest, items=items, deletes=None, dead=(), lookup=None, words=manifest.words.bare(), spaces=spaces
    )


def _live(snapshot: Snapshot) -> list[Allowed]:
    """Return which rows of each shard live, bool [rows]."""
    return [snapshot.live_in(shard).allowed for shard in range(len(snapshot.manifest.items))]


def _groups(live: list[Allowed], limit: int) -> Iterator[range]:
    """Yield neighbouring shards that make one large shard of about `limit` live rows, without those that have none."""
    first, rows = 0, 0
    for number, mask in enumerate(live):
        rows += int(mask.sum())
        if rows >= limit or (rows and number == len(live) - 1):
            yield range(first, number + 1)
            first, rows = number + 1, 0


def _items(snapshot: Snapshot, group: range, live: list[Allowed], schema: pa.Schema) -> pa.Table:
    tables = zip(group, snapshot.item_tables(first=group.start), strict=False)
    return pa.concat_tables([conform(table, schema).filter(pa.array(live[n])) for n, table in tables]).combine_chunks()


def _embeddings(snapshot: Snapshot, space: str, group: range, live: list[Allowed]) -> FileRef:
    """Write the live vectors of a group; `write_vectors` compares their ids with the items'."""
    ids: list[IdArray] = []
    vectors: list[StoredArray] = []
    shards = snapshot.stored_vectors(space, first=group.start, stop=group.stop)
    for number, (own, stored) in zip(group, shards, strict=True):
        ids.append(own[live[number]])
        vectors.append(stored[live[number]])
    dtype = snapshot.manifest.space(space).dtype
    return write_embeddings(snapshot.root, space, np.concatenate(ids), np.concatenate(vectors), dtype)
