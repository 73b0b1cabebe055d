"""Ids for new items."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from engine.collection import changes
from engine.collection.commit import commit
from engine.collection.history import RESERVE
from engine.collection.manifest import Source
from engine.collection.snapshot import Snapshot
from engine.ingest.writer import ShardWriter
from indexers.errors import ItemNotFound

MORE_IDS = 1024


class Ids:
    """Ids for one run, set aside when the first is needed: nothing is written for a run that finds nothing new.

    They are a version of their own, before the first shard: so two runs never give out the same.
    """

    def __init__(self, root: Path, sources: Sequence[Source], count: int, writer: ShardWriter) -> None:
        self._root = root
        self._sources = sources
        self._count = count
        self._prepared_on = writer.base
        self._writer = writer
        self._next = self._end = 0

    def take(self, count: int = 1) -> int:
        """Return the first of `count` consecutive new ids."""
        if (waiting := self._writer.ids) is not None:
            self._writer.ids = range(waiting.start, waiting.stop + count)
            return waiting.stop
        if self._next + count > self._end:
            self._reserve(max(count, self._count))
            self._count = MORE_IDS  # a source may have grown since it was compared
        self._next += count
        return self._next - count

    def _reserve(self, count: int) -> None:
        change, first = changes.reserve(self._root, self._sources, count, self._prepared_on)
        self._writer.reserved(commit(self._root, change, operation=RESERVE).version)
        self._next, self._end = first[0], first[0] + count


def rows_of(snapshot: Snapshot, ids: Iterable[int]) -> Iterator[int]:
    """Yield the row numbers of items by their ids; those that are gone are passed over."""
    for one in ids:
        with suppress(ItemNotFound):
            yield snapshot.find_id(one)
