"""Changes that need no source: remove items, and compact what removal left behind."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from engine.collection import changes, layout
from engine.collection.commit import commit
from engine.collection.lookup import conform, union_schema
from engine.collection.manifest import FileRef, Manifest
from engine.collection.paths import file_text
from engine.collection.shards import vector_shard_rows, write_embeddings, write_table
from engine.collection.snapshot import Snapshot
from engine.ingest.derive import BuildOptions, chosen_specs, derived, fitting
from engine.ingest.report import Listener, Silent, Summary
from indexers.errors import CommitConflict, InvalidInput, ItemNotFound
from indexers.vectors import FloatArray, IdArray


def remove(root: Path, paths: Sequence[str], *, ids: Sequence[int] = (), below: Sequence[str] = ()) -> Summary:
    """Take items out of a collection; the files they came from are not touched.

    An item whose file is still in its source comes back with the next `index` of that source.

    Args:
        root: the collection.
        paths: paths of items, relative to their source or absolute.
        ids: ids of items.
        below: folders, relative to their source or absolute: every item below them.

    Raises:
        ItemNotFound: a path or id is not in the collection, or nothing lies below a folder. Nothing
            is removed then.
        InvalidInput: nothing was named.
    """
    paths, ids, below = list(paths), [int(one) for one in ids], list(below)
    if not (paths or ids or below):
        raise InvalidInput("name at least one path, id or folder to remove")
    started = time.perf_counter()
    with Snapshot.open(root) as snapshot:
        positions = {snapshot.find_path(path) for path in paths} | {snapshot.find_id(id) for id in ids}
        for folder in below:
            found = set(_below(snapshot, folder))
            if not found:
                raise ItemNotFound(f"no item lies below {folder!r} in {root}; folders are relative to their source")
            positions |= found
        rows = [snapshot.locate(position) for position in sorted(positions)]
        bury = changes.bury(root, [(ref.path, row) for ref, row in rows])
    result = commit(root, bury, operation="remove")
    return Summary(version=result.version, removed=len(rows), seconds=time.perf_counter() - started)


def _below(snapshot: Snapshot, folder: str) -> Iterator[int]:
    prefixes = {
        source.name: _prefixes(snapshot.names_in(source, folder), whole=file_text(folder) == source.folder)
        for source in snapshot.manifest.sources
    }
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
    space = layout.DEFAULT_SPACE
    with Snapshot.open(root) as snapshot:
        removed = len(snapshot.deleted)
        wanted = options or BuildOptions()
        # The rewritten version has no indexes yet that would say which ones somebody chose.
        draft = _rewrite(snapshot, space)
        kept = fitting(chosen_specs(snapshot.manifest, space), draft.rows)
        wanted = replace(wanted, specs=wanted.specs or kept or None)
        pinned = snapshot.manifest.version
        change: changes.Change = _only_on(pinned, draft)
        if draft.rows:
            rewritten = Snapshot(root, draft, -1)
            change = changes.chain(change, derived(rewritten, space, wanted, listener or Silent()))
        result = commit(root, change, operation="compact")
    return Summary(version=result.version, removed=removed, seconds=time.perf_counter() - started)


def _only_on(version: int, draft: Manifest) -> changes.Change:
    def change(base: Manifest) -> Manifest:
        if base.version != version:
            raise CommitConflict("another process changed the collection while it was compacted; run compact again")
        return draft

    return change


def _rewrite(snapshot: Snapshot, space: str) -> Manifest:
    """Write live rows into new shards of 64 MB and return the manifest that lists only those."""
    entry = snapshot.manifest.space(space)
    schema = union_schema(table.schema for table in snapshot.item_tables())
    items: list[FileRef] = []
    embeddings: list[FileRef] = []
    for table, ids, vectors in _regrouped(snapshot, space, schema):
        items.append(write_table(snapshot.root, layout.ITEMS, table))
        embeddings.append(write_embeddings(snapshot.root, space, ids, vectors, entry.dtype))
    bare = replace(entry, embeddings=tuple(embeddings), vectors=None, indexes=(), plans=())
    spaces = {**snapshot.manifest.spaces, space: bare}
    return replace(snapshot.manifest, items=tuple(items), deletes=None, lookup=None, spaces=spaces)


def _regrouped(snapshot: Snapshot, space: str, schema: pa.Schema) -> Iterator[tuple[pa.Table, IdArray, FloatArray]]:
    """Yield live rows in groups the size of a large shard."""
    entry = snapshot.manifest.space(space)
    limit = vector_shard_rows(entry.dim, entry.dtype)
    tables: list[pa.Table] = []
    vectors: list[FloatArray] = []
    rows = 0
    for table, live, stored in _live(snapshot, space):
        tables.append(conform(table, schema).filter(pa.array(live)))
        vectors.append(np.asarray(stored[live], dtype=np.float32))
        rows += int(live.sum())
        if rows >= limit:
            yield _merged(tables, vectors)
            tables, vectors, rows = [], [], 0
    if rows:
        yield _merged(tables, vectors)


def _merged(tables: list[pa.Table], vectors: list[FloatArray]) -> tuple[pa.Table, IdArray, FloatArray]:
    table = pa.concat_tables(tables).combine_chunks()
    return table, table.column("id").to_numpy(), np.concatenate(vectors)


def _live(snapshot: Snapshot, space: str) -> Iterator[tuple[pa.Table, np.ndarray, np.ndarray]]:
    """Yield each shard with a mask of its live rows and its stored vectors."""
    starts = snapshot.shard_starts
    shards = zip(snapshot.item_tables(), snapshot.stored_vectors(space), strict=True)
    for number, (table, (_, stored)) in enumerate(shards):
        dead = snapshot.deleted - starts[number]
        live = np.ones(table.num_rows, dtype=bool)
        live[dead[(dead >= 0) & (dead < table.num_rows)]] = False
        yield table, live, stored
