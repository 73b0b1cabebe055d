"""A first look at the sources, before anything is encoded: how much there is to do, and what is gone."""

from __future__ import annotations

from array import array
from collections.abc import Sequence, Set
from dataclasses import dataclass, field

import numpy as np

from engine.collection.snapshot import Snapshot
from engine.ingest.catalogue import Catalogue, Known
from engine.ingest.entries import Block, Entry, Keys, Listing, PictureListing, VectorListing
from engine.ingest.failed import KnownFailures
from engine.ingest.kept import complete
from engine.ingest.metadata.found import is_read
from engine.progress import DEFAULT_ACCEPT_LOSS, Listener, Silent, telling
from engine.storage.kinds import NO_METADATA

NO_FAILURES = KnownFailures()
SILENT = Silent()

FEW = 10
"""So many items less than before are no loss to wonder about, whatever share they are, where others are left."""


@dataclass
class Comparison:
    """What a first look at the sources found.

    Attributes:
        total: items in all listings.
        todo: items that are new or not as they were.
        new: items among them that the collection does not have.
        gone: row numbers of items that are no longer in their source, by its name.
        shrunk: how many items a source shows and how many it had, of those that show far less than they did.
        doubts: keys of doubtful entries at which, or below which, there are items that are not gone for all we know.
        repeated: keys of items that are listed more than once.
        shifted: sources whose rows are called by their number, and some of which may be others than before.
    """

    total: int = 0
    todo: int = 0
    new: int = 0
    gone: dict[str, list[int]] = field(default_factory=dict)
    shrunk: dict[str, tuple[int, int]] = field(default_factory=dict)
    doubts: set[int] = field(default_factory=set)
    repeated: list[int] = field(default_factory=list)
    shifted: set[str] = field(default_factory=set)


@dataclass
class Seen:
    """What one listing contained.

    Attributes:
        keys: of its items, uint64 [n].
        unread: folders that could not be listed, as paths in the source, and what may be one.
        doubts: keys of what may be one, by path.
    """

    keys: Keys
    unread: list[str] = field(default_factory=list)
    doubts: dict[str, int] = field(default_factory=dict)


def is_unchanged(entry: Entry, known: Known | None, wants: str) -> bool:
    """Whether an item is known with the same size, time, caption and columns, and looked into as is wanted."""
    same = known is not None and has_stamp_of(entry, known) and known.meta_key == entry.meta_key
    return same and known is not None and is_read(known.found, wants)


def has_stamp_of(entry: Entry, known: Known | None) -> bool:
    """Whether an item is known with the same size and time: then its content is taken to be the same."""
    return known is not None and entry.problem is None and (known.size, known.mtime_ns) == (entry.size, entry.mtime_ns)


def compare(
    listings: Sequence[Listing],
    catalogue: Catalogue,
    snapshot: Snapshot,
    *,
    notice_gone: bool,
    accept_loss: float = DEFAULT_ACCEPT_LOSS,
    failures: KnownFailures = NO_FAILURES,
    wants: str = NO_METADATA,
    listener: Listener = SILENT,
) -> Comparison:
    """List every source once and compare it with what is known.

    Args:
        listings: the sources; several may be parts of the same one.
        catalogue: what is known.
        snapshot: the version it was read from.
        notice_gone: whether to look for items that are no longer in their source.
        accept_loss: the share of its items that a source may show less than before without being noted as shrunk.
        failures: what failed in earlier runs.
        wants: what of pictures' own metadata is wanted.
        listener: hears how many vectors were read.

    Raises:
        SourceError: a source cannot be read.
    """
    result = Comparison()
    seen = [
        _vectors(listing, catalogue, result, listener)
        if isinstance(listing, VectorListing)
        else _pictures(listing, catalogue, result, snapshot, failures, wants)
        for listing in listings
    ]
    if not listings:
        return result
    keys, counts = np.unique(np.concatenate([one.keys for one in seen]), return_counts=True)
    result.repeated = keys[counts > 1].tolist()
    for listing, one in zip(listings, seen, strict=True):
        if notice_gone and (listing.whole or listing.below):
            _note_gone(listing, one, keys, catalogue, snapshot, accept_loss, result)
    return result


def _note_gone(
    listing: Listing,
    seen: Seen,
    keys: Keys,
    catalogue: Catalogue,
    snapshot: Snapshot,
    accept_loss: float,
    result: Comparison,
) -> None:
    """Note which items of a source are gone, `keys` being all that is listed anywhere, and whether it is shrunk."""
    name = listing.source.name
    missing, known = catalogue.missing(name, keys)
    gone = missing.tolist()
    if listing.below:
        gone = [row for row in gone if lies_in(_path(snapshot, row), {listing.below})]
        known = len(gone) + len(seen.keys)
    if seen.unread:
        gone = _outside(gone, seen, result.doubts, snapshot)
    if not gone:
        return
    result.gone[name] = [*result.gone.get(name, ()), *gone]
    left = set(listing.left)
    now, before = len(seen.keys), known - sum(lies_in(_path(snapshot, row), left) for row in gone if left)
    if is_shrunk(now, before, accept_loss):
        result.shrunk[name] = now, before


def _path(snapshot: Snapshot, row: int) -> str:
    path: str = snapshot.lookup.value("path", row)
    return path


def above(path: str) -> list[str]:
    """Return a path in a source and the folders it lies in, from the source itself, ".", down."""
    parts = path.split("/")
    return [".", *("/".join(parts[:end]) for end in range(1, len(parts) + 1))]


def lies_in(path: str, folders: Set[str]) -> bool:
    """Whether a path is, or lies in, one of some folders."""
    return any(one in folders for one in above(path))


def is_shrunk(now: int, before: int, accept_loss: float) -> bool:
    """Whether a source shows so little of what it had that it may be away: nothing, or less by more than a share.

    Where there were a handful, a few less are no wonder.
    """
    return now < before * (1 - accept_loss) and (not now or before - now >= FEW)


def _pictures(
    listing: PictureListing,
    catalogue: Catalogue,
    result: Comparison,
    snapshot: Snapshot,
    failures: KnownFailures,
    wants: str,
) -> Seen:
    keys = array("Q")
    unread, doubts = [], {}
    for listed in listing.entries():
        if listed.doubtful:
            unread.append(listed.path)
            doubts[listed.path] = listed.key
            continue
        known = catalogue.known(listed.key)
        entry = complete(listed, known, snapshot, wants)
        keys.append(entry.key)
        if entry.unread:
            unread.append(entry.path)
        result.total += 1
        failing = failures.failing(entry)
        if failing is not None:
            result.todo += not failures.is_known(failing)
        else:
            result.todo += not is_unchanged(entry, known, wants)
            result.new += known is None
    return Seen(np.array(keys, dtype=np.uint64), unread, doubts)


def _vectors(listing: VectorListing, catalogue: Catalogue, result: Comparison, listener: Listener) -> Seen:
    keys = [np.empty(0, dtype=np.uint64)]
    with listener.progress(f"looking at {listing.source.name}", None) as advance:
        for block in telling(listing.blocks(), advance):
            _look_at(block, listing.source.name, catalogue, result)
            keys.append(block.keys)
    return Seen(np.concatenate(keys))


def _look_at(block: Block, source: str, catalogue: Catalogue, result: Comparison) -> None:
    positions, same = catalogue.look_up(block)
    result.total += len(block)
    result.todo += len(block) - int(same.sum())
    result.new += int((positions < 0).sum())
    if block.numbered and bool(((positions >= 0) & ~same).any()):
        result.shifted.add(source)


def _outside(positions: list[int], seen: Seen, doubts: set[int], snapshot: Snapshot) -> list[int]:
    """Keep the items that do not lie at or below what could not be looked into: nobody knows whether those are gone.

    Which of what is doubtful has such items is noted in `doubts`.
    """
    unread, found = set(seen.unread), []
    for position in positions:
        inside = [one for one in above(_path(snapshot, position)) if one in unread]
        doubts |= {seen.doubts[one] for one in inside if one in seen.doubts}
        if not inside:
            found.append(position)
    return found
