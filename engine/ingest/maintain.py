"""Changes that need no source: remove items, and compact what removal left behind."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from engine.collection import changes, layout
from engine.collection.commit import commit, current_version, read_version
from engine.collection.disk import require_own_folders, writing
from engine.collection.failures import record_failures
from engine.collection.garbage import collect
from engine.collection.lookup import conform, union_schema
from engine.collection.manifest import FileRef, Manifest
from engine.collection.paths import file_text
from engine.collection.shards import read_table, vector_shard_rows, write_embeddings, write_table
from engine.collection.snapshot import Snapshot
from engine.ingest.derive import BuildOptions, chosen_specs, derived_family, fitting
from engine.ingest.report import Listener, Silent, Summary
from engine.ingest.run import for_space
from indexers import checks
from indexers.errors import CommitConflict, InvalidInput, ItemNotFound, NestvecError
from indexers.store import StoredArray
from indexers.vectors import IdArray

Mask = NDArray[np.bool_]
ATTEMPTS = 5


def remove(
    root: Path, paths: Sequence[str], *, ids: Sequence[int] = (), below: Sequence[str] = (), purge: bool = False
) -> Summary:
    """Take items out of a collection; the files they came from are not touched.

    An item whose file is still in its source comes back with the next `index` of that source.

    Args:
        root: the collection.
        paths: paths of items, relative to their source or absolute.
        ids: ids of items.
        below: folders, relative to their source or absolute: every item below them.
        purge: whether what is told of items of their names that failed goes too.

    Raises:
        ItemNotFound: a path or id is not in the collection, or nothing lies below a folder. Nothing
            is removed then.
        InvalidInput: nothing was named.
    """
    named, folders = checks.texts("paths", paths), checks.texts("below", below)
    numbers = checks.one_or_several("ids", ids, partial(checks.whole, low=-checks.MOST_ID, high=checks.MOST_ID))
    if not (named or numbers or folders):
        raise InvalidInput("name at least one path, id or folder to remove")
    started = time.perf_counter()
    if purge:
        require_own_folders(root)  # first: it is what is wrong, whatever else is
    for left in reversed(range(ATTEMPTS)):
        try:
            result, count = _removed(root, named, numbers, folders, purge=purge)
            break
        except CommitConflict:
            # What was named is looked up again: its row is called otherwise since, or somewhere else.
            if not left:
                raise
    return Summary(version=result.version, removed=count, seconds=time.perf_counter() - started)


def _removed(
    root: Path, named: list[str], numbers: list[int], folders: list[str], *, purge: bool
) -> tuple[Manifest, int]:
    """Bury what was named, as the newest version has it; return the next one, and how many items that were."""
    with Snapshot.open(root) as snapshot:
        failed = _failed(snapshot, named, folders) if purge else set()
        try:
            positions = _positions(snapshot, named, numbers, folders, failed)
        except ItemNotFound as error:
            if not purge:
                raise
            raise ItemNotFound(f"{error}. If a purge of it was cut short, this ends it: {_the_rest(root)}") from error
        rows = [snapshot.locate(position) for position in sorted(positions)]
        change = changes.bury(root, [(ref.path, row) for ref, row in rows])
        if purge:
            items = (snapshot.item(position) for position in positions)
            names = {(item.source, item.path) for item in items} | failed
            change = changes.chain(change, record_failures(root, set(), (), paths=frozenset(names)))
    return commit(root, change, operation="remove"), len(rows)


def _positions(
    snapshot: Snapshot, paths: list[str], ids: list[int], below: list[str], failed: set[tuple[str, str]]
) -> set[int]:
    """Return the row numbers of items that were named; a name may be that of something that failed instead."""
    found = {snapshot.find_id(id) for id in ids}
    for path in paths:
        try:
            found.add(snapshot.find_path(path))
        except ItemNotFound:
            if failed.isdisjoint(snapshot.names_of(path)):
                raise
    for folder in below:
        more = set(_below(snapshot, folder))
        if not more and not failed:
            raise ItemNotFound(
                f"no item lies below {folder!r} in {snapshot.root}; folders are relative to their source"
            )
        found |= more
    return found


def _failed(snapshot: Snapshot, paths: list[str], below: list[str]) -> set[tuple[str, str]]:
    """Return source and path of what could not be indexed and was named, or lies below a folder that was."""
    if snapshot.manifest.failures is None:
        return set()
    snapshot.ensure([snapshot.manifest.failures])
    rows = read_table(snapshot.root, snapshot.manifest.failures, ["source", "path"]).to_pylist()
    there = {(row["source"], row["path"]) for row in rows}
    named = {one for path in paths for one in snapshot.names_of(path)}
    prefixes = [_prefixes_of(snapshot, folder) for folder in below]
    return {one for one in there if one in named or any(one[1].startswith(p.get(one[0], ())) for p in prefixes)}


def _prefixes_of(snapshot: Snapshot, folder: str) -> dict[str, tuple[str, ...]]:
    """Return what the paths below a folder begin with, by source."""
    return {
        source.name: _prefixes(snapshot.names_in(source, folder), whole=file_text(folder) == source.folder)
        for source in snapshot.manifest.sources
    }


def _below(snapshot: Snapshot, folder: str) -> Iterator[int]:
    prefixes = _prefixes_of(snapshot, folder)
    dead = set(snapshot.deleted.tolist())
    position = 0
    for table in snapshot.item_tables(["source", "path"]):
        for source, path in zip(table.column("source").to_pylist(), table.column("path").to_pylist(), strict=True):
            if path.startswith(prefixes.get(source, ())) and position not in dead:
                yield position
            position += 1


def _prefixes(names: list[str], *, whole: bool) -> tuple[str, ...]:
    return ("",) if whole else tuple(f"{name.rstrip('/')}/" for name in names if name.strip("/"))


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
            change = changes.chain(change, derived_family(root, draft, wanted, listener or Silent()))
        result = commit(root, change, operation="compact")
    return Summary(version=result.version, removed=removed, seconds=time.perf_counter() - started)


@contextmanager
def telling_how_to_go_on(root: Path) -> Iterator[None]:
    """Add to an error that comes between removing items and the end of their purge what has been done, and what not."""
    try:
        yield
    except NestvecError as error:
        raise type(error)(
            f"{error}. The items are removed, but not purged: files still hold them. To go on: {_the_rest(root)}"
        ) from error


def _the_rest(root: Path) -> str:
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
    return for_space(options, snapshot, space, specs or kept or None)


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
    return replace(manifest, items=items, deletes=None, lookup=None, spaces=spaces)


def _live(snapshot: Snapshot) -> list[Mask]:
    """Return which rows of each shard live, bool [rows]."""
    return np.split(snapshot.live, snapshot.shard_starts[1:-1])


def _groups(live: list[Mask], limit: int) -> Iterator[range]:
    """Yield neighbouring shards that make one large shard of about `limit` live rows, without those that have none."""
    first, rows = 0, 0
    for number, mask in enumerate(live):
        rows += int(mask.sum())
        if rows >= limit or (rows and number == len(live) - 1):
            yield range(first, number + 1)
            first, rows = number + 1, 0


def _items(snapshot: Snapshot, group: range, live: list[Mask], schema: pa.Schema) -> pa.Table:
    tables = zip(group, snapshot.item_tables(first=group.start), strict=False)
    return pa.concat_tables([conform(table, schema).filter(pa.array(live[n])) for n, table in tables]).combine_chunks()


def _embeddings(snapshot: Snapshot, space: str, group: range, live: list[Mask]) -> FileRef:
    """Write the live vectors of a group; `write_vectors` compares their ids with the items'."""
    ids: list[IdArray] = []
    vectors: list[StoredArray] = []
    shards = snapshot.stored_vectors(space, first=group.start, stop=group.stop)
    for number, (own, stored) in zip(group, shards, strict=True):
        ids.append(own[live[number]])
        vectors.append(stored[live[number]])
    dtype = snapshot.manifest.space(space).dtype
    return write_embeddings(snapshot.root, space, np.concatenate(ids), np.concatenate(vectors), dtype)
