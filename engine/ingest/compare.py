"""A first look at the sources, before anything is encoded: how much there is to do, and what is gone."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from engine.collection.snapshot import Snapshot
from engine.ingest.catalogue import Catalogue, Known
from engine.ingest.entries import Entry, Keys, Listing, PictureListing, VectorListing
from engine.ingest.failed import KnownFailures
from engine.ingest.kept import complete

NO_FAILURES = KnownFailures()


@dataclass
class Comparison:
    """What a first look at the sources found.

    Attributes:
        total: items in all listings.
        todo: items that are new or not as they were.
        new: items among them that the collection does not have.
        gone: row numbers of items that are no longer in their source.
        repeated: keys of items that are listed more than once.
    """

    total: int = 0
    todo: int = 0
    new: int = 0
    gone: list[int] = field(default_factory=list)
    repeated: list[int] = field(default_factory=list)


@dataclass
class Seen:
    """What one listing contained.

    Attributes:
        keys: of its items, uint64 [n].
        unread: folders that could not be listed, as paths in the source.
    """

    keys: Keys
    unread: list[str] = field(default_factory=list)


def is_unchanged(entry: Entry, known: Known | None) -> bool:
    """Whether an item is known with the same size, time, caption and columns."""
    return known is not None and has_stamp_of(entry, known) and known.meta_key == entry.meta_key


def has_stamp_of(entry: Entry, known: Known | None) -> bool:
    """Whether an item is known with the same size and time: then its content is taken to be the same."""
    return known is not None and entry.problem is None and (known.size, known.mtime_ns) == (entry.size, entry.mtime_ns)


def compare(
    listings: Sequence[Listing],
    catalogue: Catalogue,
    snapshot: Snapshot,
    *,
    notice_gone: bool,
    failures: KnownFailures = NO_FAILURES,
) -> Comparison:
    """List every source once and compare it with what is known.

    Args:
        listings: the sources; several may be parts of the same one.
        catalogue: what is known.
        snapshot: the version it was read from.
        notice_gone: whether to look for items that are no longer in their source.
        failures: what failed in earlier runs.

    Raises:
        SourceError: a source cannot be read.
    """
    result = Comparison()
    seen = [
        _vectors(listing, catalogue, result)
        if isinstance(listing, VectorListing)
        else _pictures(listing, catalogue, result, snapshot, failures)
        for listing in listings
    ]
    if not listings:
        return result
    keys, counts = np.unique(np.concatenate([one.keys for one in seen]), return_counts=True)
    result.repeated = keys[counts > 1].tolist()
    if notice_gone:
        for listing, one in zip(listings, seen, strict=True):
            if listing.whole:
                gone = catalogue.missing(listing.source.name, keys).tolist()
                result.gone += _outside(gone, one.unread, snapshot) if one.unread else gone
    return result


def _pictures(
    listing: PictureListing, catalogue: Catalogue, result: Comparison, snapshot: Snapshot, failures: KnownFailures
) -> Seen:
    keys = array("Q")
    unread = []
    for listed in listing.entries():
        known = catalogue.known(listed.key)
        entry = complete(listed, known, snapshot)
        keys.append(entry.key)
        if entry.unread:
            unread.append(entry.path)
        result.total += 1
        failing = failures.failing(entry)
        if failing is not None:
            result.todo += not failures.is_known(failing)
        else:
            result.todo += not is_unchanged(entry, known)
            result.new += known is None
    return Seen(np.array(keys, dtype=np.uint64), unread)


def _vectors(listing: VectorListing, catalogue: Catalogue, result: Comparison) -> Seen:
    keys = [np.empty(0, dtype=np.uint64)]
    for block in listing.blocks():
        keys.append(block.keys)
        positions, same = catalogue.look_up(block)
        result.total += len(block)
        result.todo += len(block) - int(same.sum())
        result.new += int((positions < 0).sum())
    return Seen(np.concatenate(keys))


def _outside(positions: list[int], unread: list[str], snapshot: Snapshot) -> list[int]:
    """Keep the items that do not lie below a folder that could not be listed: nobody knows whether those are gone."""
    folders = tuple("" if path == "." else f"{path}/" for path in unread)
    return [position for position in positions if not snapshot.lookup.row(position)["path"].startswith(folders)]
