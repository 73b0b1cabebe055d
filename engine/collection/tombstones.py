"""Tombstones: rows of item shards that are no longer there, of a version itself and of the file that it lists.

The newest are in the version. There an item is removed without a file that tells of all others, which would be written
as many times as items are removed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from engine.collection.commit import Change
from engine.collection.manifest import Manifest, Tombstone
from engine.collection.shards import read_table, with_dead, write_table
from engine.storage import layout
from engine.storage.layout import FileRef
from engine.storage.verified import check_hash
from indexers.errors import CommitConflict, CorruptCollection

MOST_DEAD = 64
"""Tombstones that a version holds itself."""


def tombstones_of(root: Path, manifest: Manifest) -> set[Tombstone]:
    """Return the tombstones of a version.

    Raises:
        CorruptCollection: they cannot be read, or have changed.
    """
    table = _tombstones(root, manifest)
    return set(zip(table.column("shard").to_pylist(), table.column("row").to_pylist(), strict=True))


def _tombstones(root: Path, manifest: Manifest) -> pa.Table:
    if manifest.deletes is not None:
        check_hash(root, manifest.deletes)
    return with_dead(None if manifest.deletes is None else read_table(root, manifest.deletes), manifest.dead)


def bury(root: Path, tombstones: Iterable[Tombstone], prepared_on: Manifest | None = None) -> Change:
    """Add tombstones.

    Args:
        root: the collection.
        tombstones: rows of shards.
        prepared_on: the version whose shards they point into, where its files are still there: a row of a shard that
            was folded meanwhile is found again by its id. Without, every shard must still be there.
    """
    new = set(tombstones)

    def change(base: Manifest) -> Manifest:
        listed = {ref.path for ref in base.items}
        gone = {one for one in new if one[0] not in listed}
        if gone and prepared_on is None:
            raise _shards_gone(root, {shard for shard, _ in gone})
        wanted = new - gone | (_found_again(root, gone, prepared_on, base) if gone and prepared_on else set())
        return with_tombstones(root, base, wanted - _already(root, base, wanted))

    return change


def with_tombstones(root: Path, base: Manifest, new: Iterable[Tombstone]) -> Manifest:
    """Return a version with more tombstones: in it where they are few, else in its file of them."""
    dead = tuple(sorted({*base.dead, *new}))
    if len(dead) <= MOST_DEAD:
        return replace(base, dead=dead)
    whole = _tombstones(root, replace(base, dead=dead))
    return replace(base, deletes=write_table(root, layout.DELETES, whole), dead=())


def _already(root: Path, base: Manifest, wanted: set[Tombstone]) -> set[Tombstone]:
    """Return which rows have a tombstone already."""
    known = wanted & set(base.dead)
    if base.deletes is None or not wanted:
        return known
    check_hash(root, base.deletes)
    table = read_table(root, base.deletes)
    there = table.filter(pc.is_in(table.column("shard"), value_set=pa.array(sorted({shard for shard, _ in wanted}))))
    rows = zip(there.column("shard").to_pylist(), there.column("row").to_pylist(), strict=True)
    return known | (wanted & set(rows))


def _shards_gone(root: Path, shards: Collection[str]) -> CommitConflict:
    return CommitConflict(
        f"{len(shards)} shards of {root} were compacted meanwhile by another process, or its items relabelled; "
        "run this again"
    )


def _found_again(root: Path, gone: set[Tombstone], prepared_on: Manifest, base: Manifest) -> set[Tombstone]:
    """Find rows of shards that were folded into others since; what is in none of those was removed meanwhile.

    Raises:
        CommitConflict: a shard that is gone cannot be read any more.
    """
    before = {ref.path: ref for ref in prepared_on.items}
    lost = {shard for shard, _ in gone}
    try:
        ids = {shard: column_of(root, before[shard], "id") for shard in lost}
    except (KeyError, CorruptCollection) as error:
        raise _shards_gone(root, lost) from error
    wanted = np.array([ids[shard][row] for shard, row in gone], dtype=np.int64)
    found: set[Tombstone] = set()
    for ref in base.items:
        if ref.path not in before:
            found |= {(ref.path, row) for row in np.flatnonzero(np.isin(column_of(root, ref, "id"), wanted)).tolist()}
    return found


def column_of(root: Path, ref: FileRef, name: str) -> NDArray[Any]:
    """Return a column of numbers of a shard, which another writer may have added."""
    check_hash(root, ref)
    column: NDArray[Any] = read_table(root, ref, [name]).column(name).to_numpy()
    return column
