"""Calls that are gathered, to become one version: vectors that are added, items that are removed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from engine.collection.manifest import Source
from engine.collection.snapshot import Snapshot
from engine.ingest.arrays import ROWS_AT_ONCE, ArrayListing
from engine.ingest.entries import Block, VectorListing
from engine.ingest.unit import unit_rows
from engine.jobs.remove import checked_names
from engine.progress import Summary
from indexers.errors import InvalidInput, ItemNotFound
from indexers.vectors import FloatArray


class Added(NamedTuple):
    """One row that a call added."""

    name: str
    vector: FloatArray
    caption: str | None
    meta: dict[str, Any]


class Gathered(VectorListing):
    """Rows of one source, of many calls; of those of one name the last call counts."""

    whole = False

    def __init__(self, source: Source, dims: dict[str, int]) -> None:
        self.source = source
        self._dims = dims
        self._rows: dict[str, list[Added]] = {}

    @property
    def dims(self) -> dict[str, int]:
        """Dimension of its vectors by space."""
        return self._dims

    def __contains__(self, name: str) -> bool:
        return name in self._rows

    def add(self, block: Block) -> None:
        """Take the rows of one call. A name that comes twice in it fails once, and a row that is no vector fails."""
        _, wrong = unit_rows(block.vectors, self._dims)
        new: dict[str, list[Added]] = {}
        for row, name in enumerate(block.paths):
            one = Added(name, block.vectors[row], block.caption(row), block.meta_of(row))
            failing = row in wrong or name in new
            new.setdefault(name, self._rows.get(name, []) if failing else []).append(one)
        self._rows |= new

    def drop(self, name: str) -> None:
        """Take out what has a name."""
        self._rows.pop(name, None)

    def blocks(self) -> Iterator[Block]:
        """Yield its rows, in the order in which their names came first."""
        rows = [one for same in self._rows.values() for one in same]
        for start in range(0, len(rows), ROWS_AT_ONCE):
            names, vectors, captions, meta = map(list, zip(*rows[start : start + ROWS_AT_ONCE], strict=True))
            yield Block(self.source.name, names, np.stack(vectors), captions, meta)


class Batch:
    """Calls that become one version when the block of `Collection.batch` ends, as if they had come one by one.

    Of an item that is added and then removed nothing is left; one that is removed and then added keeps its id.

    Example:
        >>> vectors = engine.Collection.open("vectors.nest")
        >>> with vectors.batch() as batch:
        ...     batch.add_vectors(np.eye(2, 32), names=["a", "b"], captions=["one", "another"])
        ...     batch.remove(["a", "row-7"])
        >>> batch.summary.added, batch.summary.removed, len(vectors)
        (1, 1, 1200)

    Args:
        snapshot: the version in which names and ids of what is removed are looked up.

    Attributes:
        summary: what was done, once the block has ended.
    """

    def __init__(self, snapshot: Snapshot) -> None:
        self.summary = Summary()
        self._snapshot = snapshot
        self._added: dict[str, Gathered] = {}
        self._removed: dict[tuple[str, str], int] = {}

    def add_vectors(
        self,
        vectors: Any,
        *,
        names: Sequence[str] | None = None,
        captions: Sequence[str | None] | None = None,
        meta: Sequence[dict[str, Any]] | None = None,
        source: str = "api",
        spaces: Mapping[str, Any] | None = None,
    ) -> None:
        """Add vectors; the arguments, and what is refused, are those of `Collection.add_vectors`."""
        rows = vectors_listing(self._snapshot, vectors, names, captions, meta, source, spaces)
        gathered = self._added.setdefault(source, Gathered(rows.source, rows.dims))
        for block in rows.blocks():
            gathered.add(block)
            for name in block.paths:
                self._removed.pop((source, name), None)

    def remove(self, paths: Sequence[str] = (), *, ids: Sequence[int] = ()) -> None:
        """Take items out, those that were added in this batch among them.

        Args:
            paths: paths or names of items, or one of them.
            ids: ids of items that were there before, or one of them.

        Raises:
            ItemNotFound: one is not in the collection, nor was it added. Nothing is removed then.
            InvalidInput: nothing was named.
        """
        named, numbers = checked_names(paths, ids)
        here = {name: [one for one in self._added.values() if name in one] for name in named}
        found = {self._snapshot.find_id(id) for id in numbers}
        for name in named:
            try:
                found.add(self._snapshot.find_path(name))
            except ItemNotFound:
                if not here[name]:
                    raise
        for name, gathered in here.items():
            for one in gathered:
                one.drop(name)
        items = (self._snapshot.item(row) for row in found)
        self._removed |= {(item.source, item.path): item.id for item in items}


def gathered(batch: Batch) -> tuple[list[Gathered], list[int]]:
    """Return what a batch adds, by source, and the ids of what it removes."""
    return list(batch._added.values()), list(batch._removed.values())


def vectors_listing(
    snapshot: Snapshot,
    vectors: Any,
    names: Sequence[str] | None,
    captions: Sequence[str | None] | None,
    meta: Sequence[dict[str, Any]] | None,
    source: str,
    spaces: Mapping[str, Any] | None,
) -> ArrayListing:
    """Check vectors that are to be added to a collection; see `Collection.add_vectors`."""
    manifest = snapshot.manifest
    rows = ArrayListing(source, vectors, names, captions, meta, dims=manifest.dims, spaces=spaces)
    if any(one.name == source and one.kind != "vectors" for one in manifest.sources):
        raise InvalidInput(f"source {source!r} is a source of pictures; choose another name")
    # One that is made of files stays that: the next index believes them again.
    rows.source = next((one for one in manifest.sources if one.name == source), rows.source)
    return rows
