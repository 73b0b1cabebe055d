"""The versions a collection still has: list them, compare two, and go back to one.

Versions are kept until garbage is collected; see `garbage`. Going back publishes the older listing as the newest
version: nothing that came after it is undone on disk, and going forward again is going back to what was.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from engine.collection.commit import commit, current_version
from engine.collection.manifest import Manifest
from engine.collection.reading import read_version
from engine.collection.snapshot import Snapshot
from engine.storage import layout, place
from engine.storage.disk import writing
from engine.storage.verified import Verified
from indexers.errors import CollectionError, CorruptCollection

ADDED, REMOVED, CHANGED, MOVED, RELABELLED = KINDS = ("added", "removed", "changed", "moved", "relabelled")
RESERVE = "reserve"
"""What a version is called that sets ids aside for a run, so that no two runs give out the same."""

COMPARED = ["id", "source", "path", "content", "meta_key"]


@dataclass(frozen=True)
class Version:
    """One version that is kept.

    Example:
        >>> photos = engine.Collection.open("photos.nest")
        >>> [(one.number, one.operation, one.items) for one in photos.versions()]
        [(5, 'build', 33), (3, 'index', 33), (1, 'create', 0)]

    Attributes:
        number: what it is called.
        created: when, ISO 8601 in UTC.
        operation: the verb that made it.
        items: how many it answers with.
        bytes: of all files it lists, many of them shared with others.
        problem: why it cannot be read; None where it can.
    """

    number: int
    created: str
    operation: str
    items: int
    bytes: int
    problem: str | None = None


def numbers(root: Path) -> list[int]:
    """Return the numbers of the versions there are, ascending.

    Raises:
        NotACollection: there are none.
    """
    current_version(root)
    return place.versions(root)


def versions(root: Path, *, every: bool = False) -> list[Version]:
    """Return the versions there are, the newest first.

    Args:
        root: the collection.
        every: whether also those that only set ids aside: they hold what the ones before them do.

    Raises:
        NotACollection: there are none.
    """
    found = []
    for number in reversed(numbers(root)):
        try:
            found.append(_described(read_version(root, number)))
        except CollectionError as error:
            if os.path.lexists(root / layout.version_file(number)):  # else it was collected between the two looks
                found.append(Version(number, "", "", 0, 0, str(error)))
    return [one for one in found if every or one.operation != RESERVE]


def _described(manifest: Manifest) -> Version:
    size = sum(ref.size for ref in manifest.files())
    return Version(manifest.version, manifest.created, manifest.operation, manifest.rows - manifest.dead_rows, size)


def rollback(root: Path, number: int) -> Manifest:
    """Publish an older version's listing as the newest version. Ids handed out since are not handed out again.

    What is derived and damaged is left out, and built again by the next build.

    Raises:
        NotACollection: there is none at `root`.
        CorruptCollection: there is no such version any more, or a file that is not derived is missing or damaged.
        CommitConflict: other writers were faster again and again.
    """
    with Snapshot.open(root, number) as old, writing(root):
        wanted = _without_damaged(old)

        def change(base: Manifest) -> Manifest:
            back = replace(wanted, version=base.version, next_id=max(base.next_id, wanted.next_id))
            now = replace(base, created=back.created, operation=back.operation, writer=back.writer)
            return base if now == back else back

        return commit(root, change, operation="rollback")


def _without_damaged(snapshot: Snapshot) -> Manifest:
    """Check the files of a version; return it without what is derived and damaged."""
    manifest, verified = snapshot.manifest, Verified(snapshot.root)
    if manifest.lookup is not None and not verified.is_whole(manifest.lookup.file):
        manifest = replace(manifest, lookup=None)
    words = manifest.words
    if words.covering is not None and not verified.is_whole(words.covering.file):
        manifest = replace(manifest, words=words.bare())
    for name, space in manifest.spaces.items():
        if not all(verified.is_whole(one.file) for one in space.coverings):
            bare = replace(space.bare(), plans=(), tuning=None)
            manifest = replace(manifest, spaces={**manifest.spaces, name: bare})
    verified.ensure(manifest.files())
    return manifest


# -- comparing -------------------------------------------------------------------------------


class Difference(NamedTuple):
    """One item that is not the same in two versions.

    Attributes:
        kind: "added", "removed", "changed" (other content), "moved" (other name) or "relabelled" (caption or columns).
        id: the item's.
        source: its source; that of the newer version where it has one.
        path: likewise, as the file system knows it.
        was: its path before, where it was moved.
    """

    kind: str
    id: int
    source: str
    path: str
    was: str | None = None


def diff(root: Path, old: int, new: int | None = None) -> list[Difference]:
    """Return the items in which a version differs from an older one, by kind and then by path.

    Shards that both versions list, and delete the same rows of, are not read.

    Args:
        root: the collection.
        old: number of a version.
        new: number of another; the newest if None.

    Raises:
        NotACollection: there is none at `root`.
        CorruptCollection: one of them is not there any more, or cannot be read.
    """
    with Snapshot.open(root, old) as before, Snapshot.open(root, new) as after:
        _check_shared(before, after)
        was, now = _own_rows(before, after), _own_rows(after, before)
        found = [
            _named(one, before, after) for one in (*_only(ADDED, now, was), *_only(REMOVED, was, now), *_both(was, now))
        ]
    return sorted(found, key=lambda one: (KINDS.index(one.kind), one.source, one.path))


def _named(one: Difference, before: Snapshot, after: Snapshot) -> Difference:
    """Return a difference with its paths as the file system knows them."""
    of = before if one.kind == REMOVED else after
    was = None if one.was is None else before.name_in(one.source, one.was)
    return one._replace(path=of.name_in(one.source, one.path), was=was)


def _check_shared(before: Snapshot, after: Snapshot) -> None:
    """Refuse versions that tell different things of the same shard: at most one of them is right."""
    known = {ref.path: ref for ref in before.manifest.items}
    for ref in after.manifest.items:
        if known.get(ref.path, ref) != ref:
            versions = f"versions {before.manifest.version} and {after.manifest.version}"
            raise CorruptCollection(f"{before.root}: {versions} say different things of {ref.path}; see nestvec verify")


def _own_rows(snapshot: Snapshot, other: Snapshot) -> pa.Table:
    """Return the live rows of a version that are not live rows of the other as well, by id."""
    alive = dict(_alive(snapshot, snapshot))
    there = dict(_alive(other, snapshot))
    parts = [pa.table({name: [] for name in COMPARED}, schema=_schema())]
    for ref, table in zip(snapshot.manifest.items, _tables(snapshot, alive, there), strict=True):
        if table is not None:
            own = alive[ref.path] & ~there[ref.path] if ref.path in there else alive[ref.path]
            parts.append(table.filter(pa.array(own)))
    return pa.concat_tables(parts).sort_by("id").combine_chunks()


def _schema() -> pa.Schema:
    types = {"id": pa.int64(), "meta_key": pa.uint64()}
    return pa.schema([pa.field(name, types.get(name, pa.string()), nullable=False) for name in COMPARED])


def _alive(snapshot: Snapshot, wanted: Snapshot) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the mask of live rows of each shard of a version that another lists."""
    listed = {ref.path for ref in wanted.manifest.items}
    for shard, ref in enumerate(snapshot.manifest.items):
        if ref.path in listed:
            yield ref.path, snapshot.live_in(shard).allowed


def _tables(
    snapshot: Snapshot, alive: dict[str, np.ndarray], there: dict[str, np.ndarray]
) -> Iterator[pa.Table | None]:
    """Yield the columns that are compared of each shard that has rows of its own, None for others."""
    for number, ref in enumerate(snapshot.manifest.items):
        if ref.path in there and not (alive[ref.path] & ~there[ref.path]).any():
            yield None
        else:
            yield next(snapshot.item_tables(COMPARED, first=number)).cast(_schema())


def _only(kind: str, table: pa.Table, other: pa.Table) -> Iterator[Difference]:
    own = ~np.isin(table.column("id").to_numpy(), other.column("id").to_numpy())
    for row in table.filter(pa.array(own)).to_pylist():
        yield Difference(kind, row["id"], row["source"], row["path"])


def _both(was: pa.Table, now: pa.Table) -> Iterator[Difference]:
    """Yield what became of items that both have, in other rows."""
    _, first, second = np.intersect1d(was.column("id").to_numpy(), now.column("id").to_numpy(), return_indices=True)
    was, now = was.take(pa.array(first)), now.take(pa.array(second))
    differs = {name: pc.not_equal(was.column(name), now.column(name)).to_numpy() for name in COMPARED}
    for at in np.flatnonzero(np.logical_or.reduce(list(differs.values()))).tolist():
        path, before = now.column("path")[at].as_py(), was.column("path")[at].as_py()
        moved = bool(differs["path"][at] or differs["source"][at])
        kind = CHANGED if differs["content"][at] else MOVED if moved else RELABELLED
        source = now.column("source")[at].as_py()
        yield Difference(kind, now.column("id")[at].as_py(), source, path, before if moved else None)
