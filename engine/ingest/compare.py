"""A first look at the sources, before anything is encoded: how much there is to do, and what is gone."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, field
from itertools import islice

import numpy as np

from engine.collection.failures import Failure
from engine.collection.notes import stamp_of
from engine.collection.snapshot import Snapshot
from engine.ingest.catalogue import Catalogue, Known, Stamp, is_looked_into
from engine.ingest.entries import Block, Entry, Keys, Listing, PictureListing, VectorListing
from engine.ingest.failed import KnownFailures
from engine.ingest.folders import Folder
from engine.ingest.kept import complete
from engine.ingest.noted import note_small
from engine.progress import DEFAULT_ACCEPT_LOSS, Listener, Silent, telling
from engine.storage.kinds import NO_METADATA
from engine.storage.names import path_key

NO_FAILURES = KnownFailures()
SILENT = Silent()

AT_ONCE = 1024
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
        unwanted: those of them that may be there, and are passed over from now on: they are no loss.
        doubts: keys of doubtful entries at which, or below which, there are items that are not gone for all we know.
        repeated: keys of items that are listed more than once.
        settled: the listings in which everything is as it was: they need not be listed again.
        shifted: sources whose rows are called by their number, and some of which may be others than before.
    """

    total: int = 0
    todo: int = 0
    new: int = 0
    gone: dict[str, list[int]] = field(default_factory=dict)
    shrunk: dict[str, tuple[int, int]] = field(default_factory=dict)
    unwanted: set[int] = field(default_factory=set)
    doubts: set[int] = field(default_factory=set)
    repeated: list[int] = field(default_factory=list)
    shifted: set[str] = field(default_factory=set)
    settled: dict[Listing, Settled] = field(default_factory=dict)


@dataclass
class Settled:
    """What a listing contained in which everything is as it was.

    Attributes:
        unchanged: how many items.
        failing: what cannot be indexed, as in earlier runs.
    """

    unchanged: int = 0
    failing: list[Failure] = field(default_factory=list)


@dataclass
class Seen:
    """What one listing contained.

    Attributes:
        keys: of its items, uint64 [n].
        unread: folders that could not be listed, as paths in the source, and what may be one.
        doubts: keys of what may be one, by path.
        small: paths of items that are smaller than is wanted.
        as_before: what it contained, where everything is as it was.
    """

    keys: Keys
    unread: list[str] = field(default_factory=list)
    doubts: dict[str, int] = field(default_factory=dict)
    small: set[str] = field(default_factory=set)
    as_before: Settled | None = None


def is_unchanged(entry: Entry, known: Known | Stamp | None, wants: str) -> bool:
    """Whether an item is known with the same size, time, caption and columns, and looked into as is wanted."""
    same = known is not None and has_stamp_of(entry, known) and known.meta_key == entry.meta_key
    return same and known is not None and is_looked_into(known, wants)


def has_stamp_of(entry: Entry, known: Known | Stamp | None) -> bool:
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
        _vectors(listing, catalogue, result, failures, listener)
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
    twice = np.array(result.repeated, dtype=np.uint64)
    for listing, one in zip(listings, seen, strict=True):
        is_sure = isinstance(listing, VectorListing) or not result.doubts
        if listing.whole and one.as_before and is_sure and not np.isin(one.keys, twice).any():
            result.settled[listing] = one.as_before
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
    left = {*listing.left, *seen.small}
    unwanted = {row for row in gone if _is_unwanted(_path(snapshot, row), listing, left)}
    result.unwanted |= unwanted
    now, before = len(seen.keys), known - len(unwanted)
    if is_shrunk(now, before, accept_loss):
        result.shrunk[name] = now, before


def _is_unwanted(path: str, listing: Listing, left: Set[str]) -> bool:
    """Whether something is, or would be, passed over by a listing that has left some things out."""
    return lies_in(path, left) or (isinstance(listing, Folder) and listing.covers(path))


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
    keys, todo = array("Q"), result.todo
    seen, as_before = Seen(np.empty(0, dtype=np.uint64)), Settled()
    for listed, known in _with_stamps(listing, catalogue, wants):
        if listed.doubtful:
            seen.unread.append(listed.path)
            seen.doubts[listed.path] = listed.key
            continue
        if isinstance(listing, Folder) and known is not None and is_small(listed, known, listing.min_size):
            # Noted, it is passed over when it is listed next.
            note_small(listed, listing.notes, min(known.width, known.height))
            seen.small.add(listed.path)
            continue
        entry = complete(listed, known, snapshot, wants)
        keys.append(entry.key)
        if entry.unread:
            seen.unread.append(entry.path)
        result.total += 1
        failing = failures.failing(entry)
        if failing is not None:
            result.todo += not failures.is_known(failing)
            as_before.failing.append(failing)
        elif is_unchanged(entry, known, wants):
            as_before.unchanged += 1
        else:
            result.todo += 1
            result.new += known is None
    seen.keys = np.array(keys, dtype=np.uint64)
    seen.as_before = as_before if result.todo == todo and not seen.small else None
    return seen


def _with_stamps(listing: PictureListing, catalogue: Catalogue, wants: str) -> Iterator[tuple[Entry, Stamp | None]]:
    """Yield what is listed, with what is known of it: many are looked up at once."""
    entries = listing.entries()
    while some := list(islice(entries, AT_ONCE)):
        yield from zip(some, catalogue.stamps([entry.key for entry in some], wants), strict=True)


def is_small(entry: Entry, known: Stamp, min_size: int) -> bool:
    """Whether an item is known to be smaller than is wanted: by a picture that has not changed since."""
    return 0 < min(known.width, known.height) < min_size and has_stamp_of(entry, known)


def _vectors(
    listing: VectorListing,
    catalogue: Catalogue,
    result: Comparison,
    failures: KnownFailures,
    listener: Listener,
) -> Seen:
    name = listing.source.name
    if (digest := listing.keys_before()) is not None and not failures.again:
        known, failing = catalogue.of_source(name), failures.of_source(name)
        there = catalogue.keys_of(known)
        named = np.array([path_key(name, one.path) for one in failing], dtype=np.uint64)
        # What somebody handed in under such a name is of no file.
        if digest_of(np.concatenate([there, named])) == digest and catalogue.are_of_files(known):
            result.total += len(known) + len(failing)
            return Seen(there, as_before=Settled(len(known), failing))
    keys = [np.empty(0, dtype=np.uint64)]
    with listener.progress(f"looking at {name}", None) as advance:
        for block in telling(listing.blocks(), advance):
            _look_at(block, name, catalogue, result)
            keys.append(block.keys)
    found = np.concatenate(keys)
    listing.note_keys(digest_of(found))
    return Seen(found)


def digest_of(keys: Keys) -> int:
    """Return 64 bits that stand for some keys, in whatever order and however often each of them comes."""
    return stamp_of(np.unique(keys).tobytes())


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
