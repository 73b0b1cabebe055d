"""What a collection already holds, in a form a million files can be compared with."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from engine.collection.lookup import Lookup
from engine.collection.shards import FOUND
from engine.collection.snapshot import Snapshot
from engine.ingest.entries import Block, Keys
from engine.ingest.metadata.found import are_read, is_read
from indexers.errors import CorruptCollection, ItemNotFound
from indexers.store import StoredArray, VectorStore, check_dtype
from indexers.vectors import FloatArray, IdArray

TOLD = ("id", "content", "size", "mtime_ns", "meta_key", "width", "height")
KEPT_SHARDS = 8
# From so many keys on, all items are sorted by theirs: until then it takes longer than to look through them.
FEW = 64


@dataclass(frozen=True)
class Known:
    """A live item as it was indexed.

    Attributes:
        position: its row number in the snapshot the catalogue was read from.
        found: what its file said of itself, as `metadata.found` writes it.
    """

    position: int
    id: int
    content: str
    size: int
    mtime_ns: int
    meta_key: int
    width: int
    height: int
    found: str | None = None


class Stamp(NamedTuple):
    """What tells whether a live item is as it was; see `Known`.

    Attributes:
        read: whether its file was looked into as is wanted.
    """

    position: int
    size: int
    mtime_ns: int
    meta_key: int
    width: int
    height: int
    read: bool


class Below(NamedTuple):
    """A live item that lies below a path; see `Known`."""

    path: str
    size: int
    mtime_ns: int
    meta_key: int


def is_looked_into(known: Known | Stamp, wants: str) -> bool:
    """Whether the file of an item was looked into as is wanted, one of `kinds.METADATA`."""
    return known.read if isinstance(known, Stamp) else is_read(known.found, wants)


def content_key(content: str) -> int:
    """Return the first 64 bits of a content hash."""
    return int(content.rpartition(":")[2][:16], 16)


class Catalogue:
    """Live items by (source, path) and by content.

    A few are looked for where they lie; for many, all are sorted first: about 60 bytes an item, and as many again where
    they are looked for by content.
    """

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._lookup = _lookup_of(snapshot)
        self._asked = 0
        self._columns: dict[str, np.ndarray] = {}
        self._paths: dict[str, tuple[pa.Array, IdArray]] = {}

    @cached_property
    def _by_key(self) -> _Sorted:
        positions = self._snapshot.live.numbers
        return _Sorted(self._numbers("key")[positions], positions)

    @cached_property
    def _by_content(self) -> _Sorted:
        keys = np.empty(self._snapshot.rows, dtype=np.uint64)
        start = 0
        for table in self._snapshot.item_tables(["content"]):
            contents = table.column("content").to_pylist()
            keys[start : start + len(contents)] = [self.content_key(content) for content in contents]
            start += len(contents)
        positions = self._snapshot.live.numbers
        return _Sorted(keys[positions], positions)

    def content_key(self, content: str) -> int:
        """Return the first 64 bits of the content hash of an item.

        Raises:
            CorruptCollection: it is none.
        """
        try:
            return content_key(content)
        except ValueError as error:
            raise CorruptCollection(
                f"{self._snapshot.root}: an item has {content!r} for the hash of its file"
            ) from error

    def _numbers(self, name: str) -> np.ndarray:
        """Return a column of all rows."""
        if name not in self._columns:
            self._columns[name] = self._lookup.column(name)
        return self._columns[name]

    def keys_of(self, positions: IdArray) -> Keys:
        """Return the keys of the items at some row numbers."""
        keys: Keys = self._numbers("key")[positions].astype(np.uint64)
        return keys

    def _find(self, keys: Keys) -> IdArray:
        """Return the row number of the live item of each key, −1 where there is none."""
        self._asked += len(keys)
        if self._asked > FEW:
            return self._by_key.find(keys)
        rows = self._snapshot.living(self._lookup.where("key", keys))
        return _Sorted(np.array([self._lookup.value("key", row) for row in rows], dtype=np.uint64), rows).find(keys)

    def _same(self, name: str, positions: IdArray, value: Keys | int) -> NDArray[np.bool_]:
        """Whether the items at some row numbers, −1 for none, have a value in a column, or one each."""
        same: NDArray[np.bool_] = self._values(name, np.maximum(0, positions)) == value
        return same

    def _values(self, name: str, positions: IdArray) -> np.ndarray:
        """Return what the items at some row numbers have in a column."""
        if self._asked > FEW:
            return self._numbers(name)[positions]
        # Left to guess, NumPy makes 64-bit numbers of which some have the highest bit set floats.
        dtype = np.uint64 if name == "meta_key" else np.int64
        return np.array([self._lookup.value(name, row) for row in positions], dtype=dtype)

    def _read(self, positions: IdArray, wants: str) -> list[bool]:
        """Whether the files of the items at some row numbers were looked into as is wanted."""
        if self._asked <= FEW:
            return [is_read(self._lookup.text(FOUND, row), wants) for row in positions.tolist()]
        column = f"{FOUND} {wants}"
        if column not in self._columns:
            self._columns[column] = are_read(self._lookup.arrays(FOUND), wants)
        read: list[bool] = self._columns[column][positions].tolist()
        return read

    def look_up(self, block: Block) -> tuple[IdArray, NDArray[np.bool_]]:
        """Find the rows of a block.

        Returns:
            their row numbers here, −1 for a new one, int64 [n]; and whether each comes from the same file at
            the same time with the same caption and columns, bool [n].
        """
        positions = self._find(block.keys)
        same = positions >= 0
        if not block.mtime_ns or not same.any():
            return positions, np.zeros(len(block), dtype=bool)
        same &= self._same("size", positions, block.size)
        same &= self._same("mtime_ns", positions, block.mtime_ns)
        same &= self._same("meta_key", positions, block.meta_keys)
        return positions, same

    def known(self, key: int) -> Known | None:
        """Return the live item of a (source, path)."""
        position = int(self._find(np.array([key], dtype=np.uint64))[0])
        return None if position < 0 else self.at(position)

    def stamps(self, keys: Sequence[int], wants: str) -> list[Stamp | None]:
        """Return what is known of the live items of many (source, path), None where there is none.

        Args:
            keys: of them.
            wants: what of pictures' own metadata is wanted.
        """
        positions = self._find(np.array(keys, dtype=np.uint64))
        there = positions[positions >= 0]
        columns = [self._values(name, there).tolist() for name in Stamp._fields[1:-1]]
        found = map(Stamp._make, zip(there.tolist(), *columns, self._read(there, wants), strict=True))
        return [None if position < 0 else next(found) for position in positions.tolist()]

    def at(self, position: int) -> Known:
        """Return the item at a row number."""
        found = self._lookup.text(FOUND, position)
        return Known(position=position, found=found, **{name: self._lookup.value(name, position) for name in TOLD})

    def with_content(self, content: str) -> Iterator[Known]:
        """Yield the live items whose file had this content."""
        for position in self._by_content.all(content_key(content)):
            known = self.at(position)
            if known.content == content:
                yield known

    def of_source(self, source: str) -> IdArray:
        """Return the row numbers of the live items of a source, ascending."""
        own = pc.equal(self._sources, source).to_numpy()
        live = self._snapshot.live.numbers
        found: IdArray = live[own[live]]
        return found

    def below(self, source: str, path: str) -> list[Below]:
        """Return the live items of a source whose paths lie below one, in the order of their paths."""
        paths, own = self._below(source, path)
        columns = (self._numbers(name)[own].tolist() for name in ("size", "mtime_ns", "meta_key"))
        return list(map(Below._make, zip(paths.to_pylist(), *columns, strict=True)))

    def are_looked_into(self, source: str, path: str, wants: str) -> bool:
        """Whether the files of the items below a path of a source were looked into as is wanted."""
        return all(self._read(self._below(source, path)[1], wants))

    def _below(self, source: str, path: str) -> tuple[pa.Array, IdArray]:
        if source not in self._paths:
            positions = self.of_source(source)
            paths = self._texts("path").take(pa.array(positions)).combine_chunks()
            order = pc.sort_indices(paths).to_numpy()
            self._paths[source] = paths.take(pa.array(order)), positions[order]
        paths, positions = self._paths[source]
        first, last = (
            bisect_left(range(len(paths)), text, key=lambda at: str(paths[at])) for text in (f"{path}/", f"{path}0")
        )
        return paths[first:last], positions[first:last]

    def are_of_files(self, positions: IdArray) -> bool:
        """Whether the items at some row numbers all come from files, and none was handed in."""
        return bool((self._numbers("mtime_ns")[positions] != 0).all())

    @cached_property
    def _sources(self) -> pa.ChunkedArray:
        return self._texts("source")

    def _texts(self, name: str) -> pa.ChunkedArray:
        tables = self._snapshot.item_tables([name])
        return pa.chunked_array([chunk for table in tables for chunk in table.column(name).chunks], pa.string())

    def missing(self, source: str, seen: Keys) -> tuple[IdArray, int]:
        """Return the row numbers of live items of a source whose keys were not seen, and how many it has in all.

        Where none is missing of any source, they are not counted: 0.
        """
        candidates = np.sort(self._by_key.values[~np.isin(self._by_key.keys, seen)])
        if not len(candidates):
            return candidates, 0
        own = pc.equal(self._sources, source).to_numpy()
        return candidates[own[candidates]], int(own[self._by_key.values].sum())


def _lookup_of(snapshot: Snapshot) -> Lookup:
    """Return the items by row number; from their shards where the file of them is damaged: it can be made again."""
    try:
        return snapshot.lookup
    except CorruptCollection:
        return Lookup.open(None, 0, snapshot.item_tables())


def rows_of(snapshot: Snapshot, ids: Iterable[int]) -> Iterator[int]:
    """Yield the row numbers of the items of some ids; those that are gone are passed over."""
    for one in ids:
        with suppress(ItemNotFound):
            yield snapshot.find_id(one)


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
    """Single vectors for items that only moved, those of several spaces beside each other."""

    def __init__(self, snapshot: Snapshot, spaces: Iterable[str]) -> None:
        self._spaces = [_OfSpace(snapshot, space) for space in spaces]

    def __call__(self, position: int) -> FloatArray:
        """Return the vectors at a row number, float32 [D]."""
        return np.concatenate([of_space(position) for of_space in self._spaces])


class _OfSpace:
    """Single vectors of a space: from the matrix for reranking, or the last shards that were read."""

    def __init__(self, snapshot: Snapshot, space: str) -> None:
        self._snapshot = snapshot
        self._space = space
        self._shards: dict[int, StoredArray] = {}

    def __call__(self, position: int) -> FloatArray:
        """Return the vector at a row number, float32 [D]."""
        if position < len(self._matrix):
            return np.asarray(self._matrix[position], dtype=np.float32)
        shard = int(np.searchsorted(self._snapshot.shard_starts, position, side="right")) - 1
        if shard not in self._shards:
            if len(self._shards) >= KEPT_SHARDS:
                self._shards.pop(next(iter(self._shards)))
            _, stored = next(self._snapshot.stored_vectors(self._space, first=shard, stop=shard + 1))
            self._shards[shard] = stored
        return np.asarray(self._shards[shard][position - int(self._snapshot.shard_starts[shard])], dtype=np.float32)

    @cached_property
    def _matrix(self) -> StoredArray:
        """The rows of the first part, mapped; none where there are none, or their file is damaged: shards have them."""
        entry = self._snapshot.manifest.space(self._space)
        empty = np.empty((0, entry.dim), dtype=check_dtype(entry.dtype))
        if entry.vectors is None:
            return empty
        try:
            rows = VectorStore.open(self._snapshot.open_covering(entry.vectors)).rows
        except CorruptCollection:
            return empty
        return rows if rows.shape == (entry.vectors.file.rows, entry.dim) else empty
