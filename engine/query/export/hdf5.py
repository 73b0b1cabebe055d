"""HDF5 as ann-benchmarks has it: vectors, queries, and the exact neighbours of each.

Aumüller, Bernhardsson, Faithfull 2020, ANN-Benchmarks (https://github.com/erikbern/ann-benchmarks).
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.query.export.selection import Block, Selection
from engine.query.export.writing import Writing
from indexers.base import MISSING, Neighbors
from indexers.errors import DependencyMissing, InvalidInput
from indexers.exact import exact_search
from indexers.mask import Mask
from indexers.vectors import FloatArray, IdArray, as_queries, normalize

if TYPE_CHECKING:
    import h5py

HELD_OUT, LEAST_SHARE = 1000, 10
QUERIES_AT_ONCE = 256
DISTANCE = "angular"


def write_hdf5(writing: Writing) -> None:
    """Write `train`, `test`, `neighbors` (row numbers in `train`) and `distances` (1 − cosine), nearest first.

    Beside what the benchmark reads there are `train_ids` and, of queries that are items, `test_ids`.

    Raises:
        DependencyMissing: h5py is not installed.
        InvalidInput: more rows are to be held out than are there; or the queries have another dimension.
    """
    try:
        import h5py
    except ImportError as error:
        raise DependencyMissing("HDF5 needs h5py: pip install 'nestvec[hdf5]'") from error
    items, options = writing.items, writing.options
    train, held = _split(items, options.held_out, options.seed) if options.queries is None else (items, None)
    with _Outgoing(writing.place) as out, h5py.File(out, "w") as file:
        if held is not None:
            test = np.concatenate([np.empty((0, items.dim), np.float32), *(one.vectors for one in held.blocks())])
            file["test_ids"] = held.ids
            writing.advance(len(held))
        else:
            test = as_queries(options.queries, name="queries", dim=items.dim)
        file["test"] = test
        file["train_ids"] = train.ids
        blocks = _kept(file, out, writing.blocks(train), train)
        found = _nearest(blocks, normalize(test), min(options.k, len(train)))
        file["neighbors"], file["distances"] = found.ids, 1 - found.scores
        said = {"type": "dense", "distance": DISTANCE, "dimension": items.dim, "point_type": "float"}
        file.attrs.update(said)
        file.close()
        out.check()


class _Outgoing(io.FileIO):
    """A file to write that tells of no error until it is asked: HDF5 dies of one when the process ends."""

    def __init__(self, place: Path) -> None:
        super().__init__(place, "w+")
        self._problem: OSError | None = None

    def write(self, data: Any) -> int:
        """Write all of it, or pretend to."""
        left = memoryview(data).cast("B")
        try:
            while len(left) and self._problem is None:
                left = left[super().write(left) or 0 :]
        except OSError as error:
            self._problem = error
        return len(data)

    def truncate(self, size: int | None = None) -> int:
        """Make it as long as it is to be, or pretend to."""
        try:
            return super().truncate(size)
        except OSError as error:
            self._problem = self._problem or error
            return size or 0

    def check(self) -> None:
        """Raise what went wrong."""
        if self._problem is not None:
            raise self._problem


def _split(items: Selection, held_out: int | None, seed: int) -> tuple[Selection, Selection]:
    """Draw the items that become queries; return the others, and these."""
    count = min(HELD_OUT, len(items) // LEAST_SHARE) if held_out is None else held_out
    if held_out is not None and count >= len(items):
        raise InvalidInput(f"{count:,} rows cannot be held out of {len(items):,}: at least one has to be left")
    drawn = np.random.default_rng(seed).choice(items.allowed.numbers, count, replace=False)
    chosen = np.zeros(items.allowed.rows, dtype=bool)
    chosen[drawn] = True
    return items.only(items.allowed & Mask.of(~chosen)), items.only(Mask.of(chosen))


def _kept(file: h5py.File, out: _Outgoing, blocks: Iterator[Block], train: Selection) -> Iterator[FloatArray]:
    """Write vectors block by block, and yield each."""
    written, at = file.create_dataset("train", (len(train), train.dim), np.float32), 0
    for block in blocks:
        written[at : at + len(block)] = block.vectors
        at += len(block)
        out.check()
        yield block.vectors


def _nearest(blocks: Iterator[FloatArray], xq: FloatArray, k: int) -> Neighbors:
    """Return the k rows with the highest cosine; rows are numbered through the blocks, ties by the lower number."""
    best = Neighbors(np.full((len(xq), k), -np.inf, np.float32), np.full((len(xq), k), MISSING, np.int64))
    first = 0
    for block in blocks:
        xb, ids = normalize(block), np.arange(first, first + len(block), dtype=np.int64)
        first += len(block)
        for start in range(0, len(xq), QUERIES_AT_ONCE):
            some = slice(start, start + QUERIES_AT_ONCE)
            _merge(best, some, exact_search(xb, xq[some], min(k, len(xb)), ids=ids))
    return best


def _merge(best: Neighbors, some: slice, found: Neighbors) -> None:
    """Put what was found among the best of some queries."""
    scores = np.concatenate([best.scores[some], found.scores], axis=1)
    ids: IdArray = np.concatenate([best.ids[some], found.ids], axis=1)
    order: Any = np.argsort(-scores, axis=1, kind="stable")[:, : best.ids.shape[1]]
    best.scores[some], best.ids[some] = np.take_along_axis(scores, order, 1), np.take_along_axis(ids, order, 1)
