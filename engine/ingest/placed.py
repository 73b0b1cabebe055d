"""Which item each row of a source is, where rows are called by their number and some have moved.

A row that was put in front of others gives each of them another number. They are known by their vectors: an item keeps
its id, and is called by the number it has now.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass

import numpy as np

from engine.collection.snapshot import Snapshot
from engine.ingest.catalogue import Catalogue, content_key
from engine.ingest.entries import Keys, Listing, VectorListing
from engine.ingest.unit import contents_of
from indexers.vectors import IdArray


@dataclass(frozen=True)
class Placed:
    """The rows of a source, in the order they are listed.

    Attributes:
        positions: row number of the item that each is, −1 for a new one, int64 [n].
        replaced: row numbers of items whose name is another's now, and whose vector is nowhere any more.
    """

    positions: IdArray
    replaced: frozenset[int] = frozenset()

    def of(self, start: int, found: IdArray) -> IdArray:
        """Return the positions of some rows; those found by their names where the source has changed since."""
        here = self.positions[start : start + len(found)]
        return here if len(here) == len(found) else found


def placed(listings: Sequence[Listing], names: Set[str], catalogue: Catalogue, snapshot: Snapshot) -> dict[str, Placed]:
    """Find out which items the rows of some sources are, by the sources' names; without those that have not moved."""
    wanted = [one for one in listings if isinstance(one, VectorListing) and one.source.name in names]
    found = {one.source.name: place(one, catalogue, snapshot) for one in wanted}
    return {name: one for name, one in found.items() if one is not None}


def place(listing: VectorListing, catalogue: Catalogue, snapshot: Snapshot) -> Placed | None:
    """Find out which item each row of a source is; None where all are those that their names say.

    A row is the item of its name if the vector is the same, else one with its vector that is no other row's by name,
    else again the item of its name, with another vector, if that is not found elsewhere.
    """
    known, contents = _known(snapshot, listing.source.name, catalogue)
    named, found, keys = [np.empty(0, np.int64)], [np.empty(0, np.uint64)], [np.empty(0, np.uint64)]
    for block in listing.blocks():
        keys.append(block.keys)
        named.append(catalogue.look_up(block)[0])
        found.append(np.array([content_key(content) for content in contents_of(block.vectors)], np.uint64))
    positions, wanted = np.concatenate(named), np.concatenate(found)
    stays = np.zeros(len(positions), bool)
    old = np.flatnonzero(positions >= 0)
    stays[old] = contents[np.searchsorted(known, positions[old])] == wanted[old]
    where = positions if stays[old].all() else _placed(positions, wanted, stays, known, contents)
    # Also those that share a name with another, as a run leaves them that is interrupted while rows get other numbers.
    of_others = known[np.isin(catalogue.keys_of(known), np.concatenate(keys))]
    replaced = frozenset(of_others.tolist()) - set(where.tolist())
    return Placed(where, replaced) if replaced or where is not positions else None


def _placed(positions: IdArray, wanted: Keys, stays: np.ndarray, known: IdArray, contents: Keys) -> IdArray:
    free = ~np.isin(known, positions[stays])
    waiting: dict[int, list[int]] = {}
    for position, content in zip(known[free][::-1].tolist(), contents[free][::-1].tolist(), strict=True):
        waiting.setdefault(content, []).append(position)
    found, left = np.where(stays, positions, -1), []
    taken = set(positions[stays].tolist())
    for row in np.flatnonzero(~stays).tolist():
        if same := waiting.get(int(wanted[row])):
            found[row] = same.pop()
            taken.add(int(found[row]))
        else:
            left.append(row)
    for row in left:
        if positions[row] >= 0 and int(positions[row]) not in taken:
            found[row] = positions[row]
            taken.add(int(positions[row]))
    return found


def _known(snapshot: Snapshot, source: str, catalogue: Catalogue) -> tuple[IdArray, Keys]:
    """Return the row numbers of the live items of a source, ascending, and the first 64 bits of their contents."""
    live, start = snapshot.live.allowed, 0
    positions, contents = [np.empty(0, np.int64)], [np.empty(0, np.uint64)]
    for table in snapshot.item_tables(["source", "content"]):
        mine = np.array([name == source for name in table.column("source").to_pylist()], bool)
        rows = np.flatnonzero(mine & live[start : start + len(mine)])
        positions.append(start + rows)
        own: Sequence[str] = table.column("content").take(rows).to_pylist()
        contents.append(np.array([catalogue.content_key(content) for content in own], np.uint64))
        start += len(mine)
    return np.concatenate(positions), np.concatenate(contents)
