"""What a collection already holds, in a form a million files can be compared with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from engine.collection.snapshot import Snapshot
from engine.ingest.entries import Entry
from indexers.store import StoredArray
from indexers.vectors import FloatArray, IdArray

COLUMNS = ["id", "key", "content", "size", "mtime_ns", "meta_key", "width", "height"]


@dataclass(frozen=True)
class Known:
    """A live item as it was indexed.

    Attributes:
        position: its row number in the snapshot the catalogue was read from.
    """

    position: int
    id: int
    content: str
    size: int
    mtime_ns: int
    meta_key: int
    width: int
    height: int


def content_key(content: str) -> int:
    """Return the first 64 bits of a content hash."""
    return int(content.rpartition(":")[2][:16], 16)


class Catalogue:
    """Live items by (source, path) and by content: about 100 bytes an item."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        tables = list(snapshot.item_tables(COLUMNS))
        table = pa.concat_tables(tables).combine_chunks() if tables else None
        live = np.ones(snapshot.rows, dtype=bool)
        live[snapshot.deleted] = False
        self._table = table
        self._positions = np.flatnonzero(live)
        keys = table.column("key").to_numpy()[live] if table else np.empty(0, np.uint64)
        contents = [content_key(c) for c in table.column("content").to_pylist()] if table else []
        self._by_key = _Sorted(keys, self._positions)
        self._by_content = _Sorted(np.array(contents, dtype=np.uint64)[live[: len(contents)]], self._positions)

    def __len__(self) -> int:
        return len(self._positions)

    def known(self, entry: Entry) -> Known | None:
        """Return the live item at an entry's source and path."""
        position = self._by_key.first(entry.key)
        return None if position is None else self.at(position)

    def at(self, position: int) -> Known:
        """Return the item at a row number."""
        if self._table is None:
            raise IndexError(position)
        row = {name: self._table.column(name)[position].as_py() for name in COLUMNS if name != "key"}
        return Known(position=position, **row)

    def with_content(self, content: str) -> Iterator[Known]:
        """Yield the live items whose file had this content."""
        for position in self._by_content.all(content_key(content)):
            known = self.at(position)
            if known.content == content:
                yield known

    def missing(self, source: str, seen: NDArray[np.uint64]) -> IdArray:
        """Return the row numbers of live items of a source whose keys were not seen."""
        candidates = self._by_key.values[~np.isin(self._by_key.keys, seen)]
        if not len(candidates):
            return candidates
        names = self._source_column()
        return np.array([p for p in candidates if names[p] == source], dtype=np.int64)

    @lru_cache(maxsize=1)  # noqa: B019 - a catalogue lives as long as one run
    def _source_column(self) -> list[str]:
        tables = list(self._snapshot.item_tables(["source"]))
        return [name for table in tables for name in table.column("source").to_pylist()]


class _Sorted:
    """64-bit keys with a value each, searched by bisection."""

    def __init__(self, keys: NDArray[np.uint64], values: IdArray) -> None:
        order = np.argsort(keys, kind="stable")
        self.keys = keys[order]
        self.values = values[order]

    def all(self, key: int) -> list[int]:
        low = int(np.searchsorted(self.keys, np.uint64(key), side="left"))
        high = int(np.searchsorted(self.keys, np.uint64(key), side="right"))
        return [int(value) for value in self.values[low:high]]

    def first(self, key: int) -> int | None:
        found = self.all(key)
        return found[0] if found else None


class StoredVectors:
    """Single vectors from embedding shards, the last shards kept, for items that only moved."""

    def __init__(self, snapshot: Snapshot, space: str) -> None:
        self._snapshot = snapshot
        self._space = space
        self._shards: dict[int, StoredArray] = {}

    def __call__(self, position: int) -> FloatArray:
        """Return the vector at a row number, float32 [D]."""
        shard = int(np.searchsorted(self._snapshot.shard_starts, position, side="right")) - 1
        if shard not in self._shards:
            if len(self._shards) >= 8:
                self._shards.pop(next(iter(self._shards)))
            _, stored = next(self._snapshot.stored_vectors(self._space, first=shard, stop=shard + 1))
            self._shards[shard] = stored
        return np.asarray(self._shards[shard][position - int(self._snapshot.shard_starts[shard])], dtype=np.float32)
