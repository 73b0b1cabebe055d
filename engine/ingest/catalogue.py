"""What a collection already holds, in a form a million files can be compared with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from engine.collection.snapshot import Snapshot
from engine.ingest.entries import Block, Keys
from indexers.errors import CorruptCollection
from indexers.store import StoredArray
from indexers.vectors import FloatArray, IdArray

COLUMNS = ["id", "source", "key", "content", "size", "mtime_ns", "meta_key", "width", "height"]
KEPT_SHARDS = 8
ROWS_AT_ONCE = 16_384


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
    """Live items by (source, path) and by content: about 150 bytes an item."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        positions = snapshot.live.numbers
        self._table = pa.concat_tables(snapshot.item_tables(COLUMNS)).combine_chunks() if snapshot.rows else None
        contents = self._table.column("content") if self._table else pa.chunked_array([], pa.string())
        self._numbers = {name: self._numeric(name) for name in COLUMNS if name not in ("source", "content")}
        keys = np.empty(snapshot.rows, dtype=np.uint64)
        for start in range(0, snapshot.rows, ROWS_AT_ONCE):  # as Python's objects they take three times the memory
            part = contents.slice(start, ROWS_AT_ONCE).to_pylist()
            keys[start : start + ROWS_AT_ONCE] = [self._content_key(content) for content in part]
        self._by_key = _Sorted(self._numbers["key"][positions], positions)
        self._by_content = _Sorted(keys[positions], positions)

    def _content_key(self, content: str) -> int:
        try:
            return content_key(content)
        except ValueError as error:
            raise CorruptCollection(
                f"{self._snapshot.root}: an item has {content!r} for the hash of its file"
            ) from error

    def _numeric(self, name: str) -> np.ndarray:
        return np.empty(0, np.uint64) if self._table is None else self._table.column(name).to_numpy()

    def look_up(self, block: Block) -> tuple[IdArray, NDArray[np.bool_]]:
        """Find the rows of a block.

        Returns:
            their row numbers here, −1 for a new one, int64 [n]; and whether each comes from the same file at
            the same time with the same caption and columns, bool [n].
        """
        positions = self._by_key.find(block.keys)
        same = positions >= 0
        if not block.mtime_ns or not same.any():
            return positions, np.zeros(len(block), dtype=bool)
        same &= self._numbers["size"][positions] == block.size
        same &= self._numbers["mtime_ns"][positions] == block.mtime_ns
        same &= self._numbers["meta_key"][positions] == block.meta_keys
        return positions, same

    def known(self, key: int) -> Known | None:
        """Return the live item of a (source, path)."""
        position = int(self._by_key.find(np.array([key], dtype=np.uint64))[0])
        return None if position < 0 else self.at(position)

    def at(self, position: int) -> Known:
        """Return the item at a row number."""
        if self._table is None:
            raise IndexError(position)
        row = {name: int(self._numbers[name][position]) for name in self._numbers if name != "key"}
        return Known(position=position, content=self._table.column("content")[position].as_py(), **row)

    def with_content(self, content: str) -> Iterator[Known]:
        """Yield the live items whose file had this content."""
        for position in self._by_content.all(content_key(content)):
            known = self.at(position)
            if known.content == content:
                yield known

    def missing(self, source: str, seen: Keys) -> IdArray:
        """Return the row numbers of live items of a source whose keys were not seen."""
        candidates = np.sort(self._by_key.values[~np.isin(self._by_key.keys, seen)])
        if self._table is None or not len(candidates):
            return candidates
        names = self._table.column("source").take(pa.array(candidates))
        gone: IdArray = candidates[pc.equal(names, source).to_numpy()]
        return gone


class _Sorted:
    """64-bit keys with a value each, searched by bisection."""

    def __init__(self, keys: Keys, values: IdArray) -> None:
        order = np.argsort(keys, kind="stable")
        self.keys = keys[order].astype(np.uint64)
        self.values = values[order]

    def all(self, key: int) -> list[int]:
        low = int(np.searchsorted(self.keys, np.uint64(key), side="left"))
        high = int(np.searchsorted(self.keys, np.uint64(key), side="right"))
        return [int(value) for value in self.values[low:high]]

    def find(self, keys: Keys) -> IdArray:
        if not len(self.keys):
            return np.full(len(keys), -1, dtype=np.int64)
        at = np.minimum(np.searchsorted(self.keys, keys, side="left"), len(self.keys) - 1)
        return np.where(self.keys[at] == keys, self.values[at], -1)


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
            if len(self._shards) >= KEPT_SHARDS:
                self._shards.pop(next(iter(self._shards)))
            _, stored = next(self._snapshot.stored_vectors(self._space, first=shard, stop=shard + 1))
            self._shards[shard] = stored
        return np.asarray(self._shards[shard][position - int(self._snapshot.shard_starts[shard])], dtype=np.float32)
