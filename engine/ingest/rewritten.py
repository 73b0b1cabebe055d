"""Pictures that were moved and written anew, with other tags or a rating: known by their name and when they were taken.

Their bytes are others, and so is where they lie; what stays is the name a camera gave them, and the moment they were
taken, to the second at least. Where either is missing nothing is guessed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from datetime import datetime

from engine.collection.snapshot import Snapshot
from engine.ingest.catalogue import Catalogue, Known
from engine.ingest.entries import Entry
from engine.ingest.metadata.found import columns_in

Sign = tuple[str, datetime]
"""A name, and when the picture was taken."""


def sign_of(path: str, found: str | None) -> Sign | None:
    """Return what a picture is known by; None where it does not say when it was taken.

    Args:
        path: its text in its source.
        found: what its file says of itself, as `metadata.found` writes it.
    """
    taken = columns_in(found).get("taken")
    return (path.rpartition("/")[2], taken) if isinstance(taken, datetime) else None


class Rewritten:
    """Items that are gone from their source, by their signs; looked through when the first one is asked for.

    Args:
        snapshot: the version that the sources were compared with.
        catalogue: of its items.
        gone: their rows.
    """

    def __init__(self, snapshot: Snapshot, catalogue: Catalogue, gone: Collection[int]) -> None:
        self._snapshot, self._catalogue, self._gone = snapshot, catalogue, gone
        self._known: dict[Sign, list[int]] | None = None

    def origin(self, entry: Entry, taken: Collection[int]) -> Known | None:
        """Return the item that a new picture was, if there is one.

        Args:
            entry: the picture, looked into.
            taken: rows of those that were found again already.
        """
        sign = sign_of(entry.path, entry.found)
        if sign is None or not self._gone:
            return None
        if self._known is None:
            self._known = self._looked_through()
        position = next((one for one in self._known.get(sign, ()) if one not in taken), None)
        return None if position is None else self._catalogue.at(position)

    def _looked_through(self) -> dict[Sign, list[int]]:
        known = defaultdict[Sign, list[int]](list)
        for position in sorted(self._gone):
            path = self._snapshot.lookup.value("path", position)
            if (sign := sign_of(path, self._catalogue.at(position).found)) is not None:
                known[sign].append(position)
        return known
