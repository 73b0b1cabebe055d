"""The changes a version can undergo, each a function from manifest to manifest.

They are what `commit.commit` retries: each checks that what it was prepared on still holds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from engine.collection import spaces
from engine.collection.commit import Change as Change
from engine.collection.lookup import save_lookup
from engine.collection.manifest import Covering, IndexEntry, Manifest, Part, Source, Space, Words
from engine.collection.plans import Blend, Cutoff, PlanEntry, Tuning
from engine.collection.shards import read_table
from engine.collection.tombstones import column_of, tombstones_of
from engine.storage import layout
from engine.storage.layout import FileRef
from engine.storage.verified import check_hash
from indexers.errors import CommitConflict, CorruptCollection, InvalidInput
from indexers.vectors import IdArray

SAME = ["id", "key", "content", "meta_key"]
"""What a row has in any shard it is folded into."""


def add_sources(root: Path, sources: Iterable[Source], prepared_on: Manifest) -> Change:
    """Add the sources of a run, or note where known ones are now and what they are joined to.

    Args:
        root: the collection.
        sources: those of a run, new or known.
        prepared_on: the version whose names of sources were looked at.
    """
    wanted = {source.name: source for source in sources}
    before = {source.name: source for source in prepared_on.sources}

    def change(base: Manifest) -> Manifest:
        known = {source.name: source for source in base.sources}
        for name, source in wanted.items():
            if known.get(name, source) != source and known[name] != before.get(name):
                raise CommitConflict(
                    f"another process has just added a source called {name!r} to {root}, or a table to it; "
                    "run this again"
                )
        known.update(wanted)
        return replace(base, sources=tuple(known.values()))

    return change


def wanting(metadata: str) -> Change:
    """Note what of pictures' own metadata is wanted from now on; see `Manifest`."""
    return lambda base: replace(base, metadata=metadata)


def reserve(root: Path, sources: Iterable[Source], ids: int, prepared_on: Manifest) -> tuple[Change, list[int]]:
    """Add sources and set aside a block of ids.

    Args:
        root: the collection.
        sources: as for `add_sources`.
        ids: how many.
        prepared_on: likewise.

    Returns:
        the change, and a list that holds the block's first id once it has been applied.
    """
    first: list[int] = []
    add = add_sources(root, sources, prepared_on)

    def change(base: Manifest) -> Manifest:
        first[:] = [base.next_id]
        return replace(add(base), next_id=base.next_id + ids)

    return change, first


def append(
    root: Path, items: FileRef, embeddings: Mapping[str, FileRef], keys: set[int], prepared_on: Manifest
) -> Change:
    """Add one finished shard.

    Args:
        root: the collection.
        items: its item shard.
        embeddings: its vectors in each space that is derived from no other.
        keys: `key` of its items, to notice another writer indexing the same ones.
        prepared_on: the version whose items were compared with the source.

    Derived spaces get their vectors too: the version it is applied to says which there are.
    """
    made: spaces.Made = {}

    def change(base: Manifest) -> Manifest:
        check_unknown(root, keys, prepared_on, base)
        extended = spaces.extend(root, base, embeddings, made)
        return replace(base, items=(*base.items, items), spaces=extended)

    return change


def check_unknown(root: Path, keys: set[int], prepared_on: Manifest, base: Manifest) -> None:
    """Refuse items that a version has, and that the one a run was prepared on had not.

    Raises:
        CommitConflict: there are such.
    """
    seen = {ref.path for ref in prepared_on.items}
    wanted = np.fromiter(keys, np.uint64, len(keys))
    for ref in base.items:
        if ref.path in seen:
            continue
        rows = np.flatnonzero(np.isin(column_of(root, ref, "key"), wanted))
        if len(rows) and not _is_folded(root, ref, rows, prepared_on, base):
            raise CommitConflict(
                f"another process is indexing the same files into {root}; wait for it, then run this again"
            )
    if keys & _revived(root, prepared_on, base):
        raise CommitConflict(f"{root} was rolled back while it was indexed; run this again")


def _is_folded(root: Path, ref: FileRef, rows: IdArray, prepared_on: Manifest, base: Manifest) -> bool:
    """Whether rows of a shard are those of shards that were there before, and were folded into it since."""
    listed = {one.path for one in base.items}
    try:
        gone = [read_table(root, one, SAME) for one in prepared_on.items if one.path not in listed]
    except CorruptCollection:
        return False  # its file is gone too: nobody knows
    known = {tuple(row.values()) for table in gone for row in table.to_pylist()}
    return all(tuple(row.values()) in known for row in read_table(root, ref, SAME).take(pa.array(rows)).to_pylist())


def _revived(root: Path, before: Manifest, now: Manifest) -> set[int]:
    """Return the keys of items that were deleted in a version and are not in another: a rollback brings them back."""
    if not before.dead_rows or (before.deletes, before.dead) == (now.deletes, now.dead):
        return set()
    back = tombstones_of(root, before) - tombstones_of(root, now)
    found: set[int] = set()
    for ref in now.items:
        rows = [row for shard, row in back if shard == ref.path]
        if rows:
            found |= set(column_of(root, ref, "key")[rows].tolist())
    return found


def list_built(
    root: Path,
    space: str,
    *,
    embeddings: tuple[FileRef, ...],
    head: FileRef | None,
    lookup: Covering,
    words: Words,
    vectors: Covering,
    indexes: tuple[IndexEntry, ...],
    pruned: Covering | None,
    plans: tuple[PlanEntry, ...],
    tuning: Tuning | None = None,
    chosen: int = 0,
) -> Change:
    """Put derived files, as one part, in place of older ones; newer ones, which cover more shards, stand.

    Args:
        root: the collection.
        space: whose.
        embeddings: what they were made from.
        head: the space's head, if it has one.
        lookup: covers as many shards, as the others do.
        words: likewise.
        vectors: the rerank vectors.
        indexes: prefix indexes.
        pruned: the index for exact search, if there is one.
        plans: default plan first.
        tuning: how they were found, if they were tuned.
        chosen: for how many rows the indexes were chosen; 0 where they were asked for.
    """

    def change(base: Manifest) -> Manifest:
        # A space that was removed may have come back under its name with another head.
        if space not in base.spaces or base.space(space).head != head:
            raise CommitConflict(f"space {space!r} was removed while its indexes were built")
        if base.space(space).embeddings[: len(embeddings)] != embeddings:
            raise CommitConflict("the collection was compacted while its indexes were built; run this again")
        if base.space(space).covered > vectors.shards:
            return base
        whole = replace(base.space(space).bare(), vectors=vectors, indexes=indexes, pruned=pruned)
        entry = _covered_again(base, replace(whole, plans=plans, tuning=tuning, chosen=chosen))
        spaces = {**base.spaces, space: entry}
        return replace(base, lookup=_newer_lookup(root, base, lookup), words=_newer_words(base, words), spaces=spaces)

    return change


def _newer_words(base: Manifest, made: Words) -> Words:
    """Return the words a version goes on with: those just made, if other ones are not wanted since."""
    covering, now = made.covering, base.words
    if covering is None or (now.columns, now.stem) != (made.columns, made.stem) or now.rules > made.rules:
        return now
    if now.rules == made.rules and now.covering is not None and now.covering.shards > covering.shards:
        return now
    # Items were relabelled meanwhile: they say other words, or those are theirs already.
    return made if covering.shards_digest == base.shards_digest(covering.span) else base.words


def _newer_lookup(root: Path, base: Manifest, lookup: Covering) -> Covering:
    """Return the lookup a version goes on with: its own, one that was just made, or one more if neither serves."""
    # Another space may have been built on more shards meanwhile, and the lookup with it.
    if base.lookup is not None and base.lookup.shards > lookup.shards:
        return base.lookup
    if lookup.shards_digest == base.shards_digest(lookup.span):
        return lookup
    # Items were relabelled meanwhile, in the rows they have: vectors and indexes do not mind.
    if base.lookup is not None and base.lookup.shards == lookup.shards:
        return base.lookup
    return cover(base, save_lookup(root, base.items[: lookup.shards]), lookup.span)


def tuned(
    space: str,
    prepared_on: Space,
    indexes: tuple[IndexEntry, ...],
    pruned: Covering | None,
    plan: PlanEntry,
    tuning: Tuning,
) -> Change:
    """Put a tuned index and its plan in place of a space's indexes.

    Args:
        space: whose.
        prepared_on: the space as it was tuned: its vectors must still be the same. Rows added since stay uncovered.
        indexes: those the plans need.
        pruned: the index for exact search, if there is one.
        plan: the default plan.
        tuning: how it was found.
    """
    before = _derived_files(prepared_on)

    def change(base: Manifest) -> Manifest:
        now = base.spaces.get(space)
        if now is None or _derived_files(now) != before:
            raise CommitConflict(f"space {space!r} was built anew while it was tuned; run tune again")
        entry = replace(base.space(space), indexes=indexes, pruned=pruned, plans=(plan,), tuning=tuning, chosen=0)
        return replace(base, spaces={**base.spaces, space: _covered_again(base, entry)})

    return change


def found_out(root: Path, space: str, **told: Cutoff | Blend) -> Change:
    """Store what was found out about a space by measuring: its `cutoff`, or its `blend`.

    Raises:
        InvalidInput: the space is gone.
    """

    def change(base: Manifest) -> Manifest:
        entry = replace(base.named_space(space, root), **told)  # type: ignore[arg-type]  # by the names of its fields
        return replace(base, spaces={**base.spaces, space: entry})

    return change


def _derived_files(entry: Space) -> list[FileRef]:
    """Return the files of a space's coverings: the same ones may be said to cover shards of other names."""
    return [covering.file for covering in entry.coverings]


def add_space(root: Path, name: str, entry: Space, shards: tuple[FileRef, ...]) -> Change:
    """Add a derived space; rows that its base got meanwhile are derived now.

    Args:
        root: the collection.
        name: the new space's.
        entry: the space, its head stored already, with the embeddings made from `shards`.
        shards: the base's embeddings, as they were then.
    """
    made: spaces.Made = {}

    def change(base: Manifest) -> Manifest:
        if name in base.spaces:
            raise CommitConflict(f"another process has just made a space called {name!r} in {root}")
        origin = base.spaces.get(str(entry.base))
        now = () if origin is None else origin.embeddings
        if origin is None or now[: len(shards)] != shards:
            raise CommitConflict(f"{root} was compacted while a head was applied to it; run this again")
        wanted = replace(base, spaces={**base.spaces, name: entry})
        for shard in now[len(shards) :]:
            check_hash(root, shard)
        more = [spaces.derived_shard(root, wanted, name, shard, made) for shard in now[len(shards) :]]
        whole = replace(entry, embeddings=(*entry.embeddings, *more))
        return replace(wanted, spaces={**base.spaces, name: whole})

    return change


def drop_space(root: Path, name: str) -> Change:
    """Take a derived space out.

    Raises:
        InvalidInput: there is none of that name, an encoder made it, or others are derived from it.
    """

    def change(base: Manifest) -> Manifest:
        if base.named_space(name, root).base is None:
            raise InvalidInput(f"space {name!r} of {root} is not derived from another, and so cannot be made again")
        if left := spaces.children(base, name):
            raise InvalidInput(f"{', '.join(left)} of {root} is derived from space {name!r}; remove that first")
        others = {key: entry for key, entry in base.spaces.items() if key != name}
        return replace(base, spaces=others, default=layout.DEFAULT_SPACE if base.default == name else base.default)

    return change


def use_space(root: Path, name: str) -> Change:
    """Make a space the one that is searched where none is named.

    Raises:
        InvalidInput: there is none of that name.
    """

    def change(base: Manifest) -> Manifest:
        base.named_space(name, root)
        return replace(base, default=name)

    return change


def chain(*changes: Change) -> Change:
    """Apply several changes as one version."""

    def change(base: Manifest) -> Manifest:
        for one in changes:
            base = one(base)
        return base

    return change


def cover(manifest: Manifest, file: FileRef, shards: range) -> Covering:
    """Declare a derived file over consecutive shards of a version, by their numbers."""
    return Covering(file, len(shards), manifest.shards_digest(shards), shards.start)


def cover_again(manifest: Manifest) -> Manifest:
    """Let all derived files say the names their shards have now; what is in the shards must be in the same rows."""
    lookup, words = manifest.lookup, manifest.words
    if words.covering is not None:
        words = replace(words, covering=cover(manifest, words.covering.file, words.covering.span))
    covered = {name: _covered_again(manifest, entry) for name, entry in manifest.spaces.items()}
    again = lookup and cover(manifest, lookup.file, lookup.span)
    return replace(manifest, lookup=again, words=words, spaces=covered)


def _covered_again(manifest: Manifest, entry: Space) -> Space:
    def again(covering: Covering) -> Covering:
        return cover(manifest, covering.file, covering.span)

    def beside(vectors: Covering | None, part: Space | Part) -> dict[str, Any]:
        indexes = tuple(replace(one, covering=again(one.covering)) for one in part.indexes)
        return {"vectors": vectors and again(vectors), "indexes": indexes, "pruned": part.pruned and again(part.pruned)}

    more = tuple(replace(part, **beside(part.vectors, part)) for part in entry.more)
    return replace(entry, **beside(entry.vectors, entry), more=more)
