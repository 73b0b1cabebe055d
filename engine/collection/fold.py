"""Small shards at the end of a version, folded into larger ones: who adds one row at a time leaves few files behind.

Shards are folded by tiers, as logs are merged (O'Neil et al. 1996): as soon as there are `FAN` of one size they become
one of the next, up to shards that are as large as those of a long run. A row is written as often as there are tiers,
five times, however many come.

Only what nothing is derived from is folded: indexes, vectors and the lookup go on covering the shards they cover. Rows
that were removed are left out. Whoever holds an older version goes on reading its shards; whoever has prepared a change
on it finds rows again by their ids (`tombstones.bury`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from engine.collection.changes import Change, chain, cover
from engine.collection.commit import commit
from engine.collection.garbage import forget
from engine.collection.history import RESERVE
from engine.collection.lookup import conform, save_lookup, union_schema
from engine.collection.manifest import Manifest, Space, Tombstone
from engine.collection.shards import (
    SHARD_ROWS,
    as_new_shard,
    read_embeddings,
    read_table,
    write_embeddings,
    write_table,
)
from engine.collection.tombstones import tombstones_of, with_tombstones
from engine.storage import layout
from engine.storage.layout import FileRef
from engine.storage.verified import Verified
from indexers.mask import Allowed

FAN = 8
"""Shards of one size that become one of the next."""

TIERS = 4
"""Sizes below that of a full shard: 1, 8, 64 and 512 rows and more."""


@contextmanager
def settled(root: Path) -> Iterator[None]:
    """Fold what is small, and let the lookup cover everything, before something is derived of all rows there are.

    Who adds rows meanwhile leaves those shards as they are: others would not be those the new files cover.
    """
    result = commit(root, chain(fold(root, every=True), _looked_up(root)), operation=RESERVE)
    yield
    if result.operation == RESERVE:
        forget(root, [result.version])


def _looked_up(root: Path) -> Change:
    """Let the lookup cover all shards, if it does not, or is damaged."""
    made: dict[tuple[FileRef, ...], FileRef] = {}

    def change(base: Manifest) -> Manifest:
        shards, lookup = range(len(base.items)), base.lookup
        if not shards or (lookup is not None and lookup.span == shards and Verified(root).is_whole(lookup.file)):
            return base
        if base.items not in made:
            made[base.items] = save_lookup(root, base.items)
        return replace(base, lookup=cover(base, made[base.items], shards))

    return change


class Group(NamedTuple):
    """Neighbouring shards that are, or become, one.

    Attributes:
        shards: their numbers.
        rows: in all of them.
    """

    shards: range
    rows: int

    @property
    def tier(self) -> int:
        """Which size it is of; `TIERS` for a full one."""
        return min(TIERS, (self.rows.bit_length() - 1) // (FAN.bit_length() - 1)) if self.rows else 0


class Folded(NamedTuple):
    """The files of a shard that takes the place of others: of its items, and of the vectors of each space."""

    items: FileRef | None
    embeddings: dict[str, FileRef]


Key = tuple[str | Tombstone, ...]


def fold(root: Path, *, every: bool = False) -> Change:
    """Fold the small shards that have become many; or `every` row of them, before indexes are built over all.

    Args:
        root: the collection.
        every: whether to leave no small shard beside another, however few there are.
    """
    made: dict[Key, Folded | None] = {}

    def change(base: Manifest) -> Manifest:
        groups = [group for group in _groups(base, every=every) if len(group.shards) > 1]
        for group in reversed(groups):  # from behind: the numbers of those before stay what they are
            base = _folded(root, base, group.shards, made)
        return base

    return change


def _groups(manifest: Manifest, *, every: bool) -> list[Group]:
    """Return the shards behind those that something is derived from, put together as they should be."""
    coverings = [one for space in manifest.spaces.values() for one in space.coverings]
    coverings += [one for one in (manifest.lookup, manifest.words.covering) if one]
    first = max((one.span.stop for one in coverings), default=0)
    groups = [Group(range(at, at + 1), manifest.items[at].rows) for at in range(first, len(manifest.items))]
    return list(_neighbours(groups)) if every else _tiers(groups)


def _neighbours(groups: Sequence[Group]) -> Iterator[Group]:
    """Put small shards that are neighbours together, up to a full one."""
    waiting: Group | None = None
    for group in groups:
        if group.rows >= SHARD_ROWS or (waiting is not None and waiting.rows >= SHARD_ROWS):
            yield from () if waiting is None else (waiting,)
            waiting = None
        waiting = group if waiting is None else _together([waiting, group])
    yield from () if waiting is None else (waiting,)


def _tiers(groups: list[Group]) -> list[Group]:
    """Put the last shards together where there are enough of one size, and those with others of theirs."""
    for tier in range(TIERS):
        small = next((at for at, one in enumerate(reversed(groups)) if one.tier > tier), len(groups))
        last = groups[len(groups) - small :]
        if sum(one.tier == tier for one in last) >= FAN:
            groups = [*groups[: len(groups) - small], _together(last)]
    return groups


def _together(groups: Sequence[Group]) -> Group:
    return Group(range(groups[0].shards.start, groups[-1].shards.stop), sum(one.rows for one in groups))


def _folded(root: Path, base: Manifest, shards: range, made: dict[Key, Folded | None]) -> Manifest:
    """Put one shard in the place of some, without the rows that were removed; none where all were."""
    old = base.items[shards.start : shards.stop]
    names = {ref.path for ref in old}
    buried = tombstones_of(root, base) if base.dead_rows else set()
    dead = {one for one in buried if one[0] in names}
    # What was written for one attempt to commit serves the next, where the same is to be folded.
    key: Key = (*sorted(base.spaces), *sorted(names), *sorted(dead))
    if key not in made:
        made[key] = _written(root, base, shards, [_live(ref, dead) for ref in old])
    new = made[key]
    if new is None:
        return base

    def instead(refs: tuple[FileRef, ...], ref: FileRef | None) -> tuple[FileRef, ...]:
        return (*refs[: shards.start], *(() if ref is None else (ref,)), *refs[shards.stop :])

    spaces = {
        name: replace(entry, embeddings=instead(entry.embeddings, new.embeddings.get(name)))
        for name, entry in base.spaces.items()
    }
    without = replace(base, deletes=None, dead=()) if dead else base
    left = with_tombstones(root, without, buried - dead) if dead else base
    return replace(left, items=instead(base.items, new.items), spaces=spaces)


def _live(ref: FileRef, dead: set[Tombstone]) -> Allowed:
    live = np.ones(ref.rows, dtype=bool)
    live[[row for path, row in dead if path == ref.path]] = False
    return live


def _written(root: Path, base: Manifest, shards: range, live: Sequence[Allowed]) -> Folded | None:
    """Write the rows of some shards that live as one; None where that would say something else than they do."""
    if not any(one.any() for one in live):
        return Folded(None, {})
    verified, old = Verified(root), base.items[shards.start : shards.stop]
    verified.ensure(old)
    items = _items(root, old, live)
    if items is None:
        return None
    embeddings = {}
    for name, entry in base.spaces.items():
        refs = entry.embeddings[shards.start : shards.stop]
        verified.ensure(refs)
        embeddings[name] = _embeddings(root, name, entry, refs, live)
    return Folded(items, embeddings)


def _items(root: Path, refs: Sequence[FileRef], live: Sequence[Allowed]) -> FileRef | None:
    tables = [read_table(root, ref).filter(pa.array(mask)) for ref, mask in zip(refs, live, strict=True)]
    schema = union_schema(table.schema for table in tables)
    try:
        whole = pa.concat_tables([conform(table, schema, safe=True) for table in tables]).combine_chunks()
    except pa.ArrowInvalid:
        return None  # whole numbers beside others, and too large for those
    return write_table(root, layout.ITEMS, as_new_shard(whole))


def _embeddings(root: Path, space: str, entry: Space, refs: Sequence[FileRef], live: Sequence[Allowed]) -> FileRef:
    read = [read_embeddings(root, ref, entry.dim, entry.dtype) for ref in refs]
    ids = np.concatenate([one[mask] for (one, _), mask in zip(read, live, strict=True)])
    vectors = np.concatenate([stored[mask] for (_, stored), mask in zip(read, live, strict=True)])
    return write_embeddings(root, space, ids, vectors, entry.dtype)
