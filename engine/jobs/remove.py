"""Changes that need no source: remove items, and compact what removal left behind."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from engine.collection import changes, tombstones
from engine.collection.commit import commit
from engine.collection.failures import record_failures
from engine.collection.manifest import Manifest
from engine.collection.notes import forget_notes
from engine.collection.shards import read_table
from engine.collection.snapshot import Snapshot, names_in
from engine.jobs.compact import rest_of_a_purge
from engine.progress import Summary
from engine.storage.disk import require_own_folders
from engine.storage.names import file_text, spellings
from indexers import checks
from indexers.errors import CommitConflict, InvalidInput, ItemNotFound

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
    folders = checks.texts("below", below)
    named, numbers = checked_names(paths, ids, or_else=bool(folders))
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


def checked_names(paths: Sequence[str], ids: Sequence[int], *, or_else: bool = False) -> tuple[list[str], list[int]]:
    """Return the paths and ids that somebody named; none of either only where something else was (`or_else`).

    Raises:
        InvalidInput: nothing was named, or what is no path or id.
    """
    named = checks.texts("paths", paths)
    numbers = checks.one_or_several("ids", ids, partial(checks.whole, low=-checks.MOST_ID, high=checks.MOST_ID))
    if not (named or numbers or or_else):
        raise InvalidInput("name at least one path, id or folder to remove")
    return named, numbers


def _removed(
    root: Path, named: list[str], numbers: list[int], folders: list[str], *, purge: bool
) -> tuple[Manifest, int]:
    """Bury what was named, as the newest version has it; return the next one, and how many items that were."""
    with Snapshot.open(root) as snapshot:
        folders = [_meant(snapshot, folder) for folder in folders]
        failed = _failed(snapshot, named, folders) if purge else set()
        try:
            positions = _positions(snapshot, named, numbers, folders, failed)
        except ItemNotFound as error:
            if not purge:
                raise
            raise ItemNotFound(
                f"{error}. If a purge of it was cut short, this ends it: {rest_of_a_purge(root)}"
            ) from error
        rows = [snapshot.locate(position) for position in sorted(positions)]
        change = tombstones.bury(root, [(ref.path, row) for ref, row in rows])
        if purge:
            items = (snapshot.item(position) for position in positions)
            names = {(item.source, item.path) for item in items} | failed
            change = changes.chain(change, record_failures(root, set(), (), paths=frozenset(names)), forget_notes)
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
        source.name: _prefixes(names_in(source, folder), whole=file_text(folder) == source.folder)
        for source in snapshot.manifest.sources
    }


def _meant(snapshot: Snapshot, folder: str) -> str:
    """Return the folder that is meant by a name: the first that anything lies below; as it was written if none is."""
    return next((one for one in spellings(folder) if any(True for _ in _below(snapshot, one))), folder)


def _below(snapshot: Snapshot, folder: str) -> Iterator[int]:
    prefixes = _prefixes_of(snapshot, folder)
    live = snapshot.live.allowed
    position = 0
    for table in snapshot.item_tables(["source", "path"]):
        for source, path in zip(table.column("source").to_pylist(), table.column("path").to_pylist(), strict=True):
            if path.startswith(prefixes.get(source, ())) and live[position]:
                yield position
            position += 1


def _prefixes(names: list[str], *, whole: bool) -> tuple[str, ...]:
    return ("",) if whole else tuple(f"{name.rstrip('/')}/" for name in names if name.strip("/"))
