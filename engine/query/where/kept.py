"""The filters of a version that were carried out, kept: the same one is asked for again and again."""

from __future__ import annotations

from collections import OrderedDict

from engine.collection.snapshot import Snapshot
from engine.query.where.columns import Columns
from engine.query.where.evaluate import mask_of
from engine.query.where.tree import Filter
from indexers.mask import Mask
from indexers.threads import new_lock

MOST_KEPT, MOST_BYTES = 256, 64 << 20
"""Masks that are kept of a version, and how much memory they may take."""


class Filters:
    """Masks of one version by filter; safe to use from many threads.

    Args:
        snapshot: the version. Another has other rows, and masks of its own.

    Attributes:
        version: its number.
        columns: what can be asked of its items.
    """

    def __init__(self, snapshot: Snapshot) -> None:
        self.version = snapshot.manifest.version
        self.columns = Columns(snapshot.lookup)
        self._masks: OrderedDict[str, Mask] = OrderedDict()
        self._most = max(1, min(MOST_KEPT, MOST_BYTES // max(1, len(snapshot.lookup) // 8)))
        self._lock = new_lock()

    def mask(self, wanted: Filter) -> Mask:
        """Return which rows a filter lets through.

        Raises:
            InvalidFilter: it asks for a column that is not there, or a column for what it cannot answer.
        """
        with self._lock:
            found = self._masks.get(wanted.digest)
            if found is None:
                found = mask_of(wanted, self.columns)
                while len(self._masks) >= self._most:
                    self._masks.popitem(last=False)
            self._masks[wanted.digest] = found
            self._masks.move_to_end(wanted.digest)
        return found
