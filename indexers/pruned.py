"""`pruned@D`: an index that is exact, and reads only what can still win.

Every vector is centred and turned to the principal axes of a sample, so that its leading numbers say most, and
kept as 8-bit codes in segments of 64 numbers: one line of the cache a row, and the segments of one number lie
together. A query scans the first segment of every row. What the rest can add to a score is bounded by the product of
two lengths (Cauchy–Schwarz), what rounding can add by another; rows whose bound falls short of the k-th best so far
are dropped, and their later segments are never read. What is left is scored from the stored vectors. So the answer is
that of a scan of everything, at a fraction of its bytes, whatever the data: only the speed depends on them.

The layout and pruning by dimension blocks are those of PDX (Kuffo et al. 2025, arXiv:2503.04422); pruning there and in
ADSampling (Gao & Long 2023) is a matter of chance for inner products, and is not here. The scan itself is `_prune.c`.

::

    file   magic, n, D                            64 bytes, padded
           mean       float32 [D]
           axes       float32 [D, D]              columns in order of variance, turned at random inside a segment
           scales     float32 [S, 4]              step of a code, largest rounding error, least length, unit of a length
           norms      uint8 [S, n]                length of what follows a segment, rounded up
           codes      int8 [S, n, 64]             S = ceil(D / 64), padded with zeros
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from indexers.axes import ROWS_AT_ONCE, moments, principal_axes, turned_within
from indexers.base import MISSING, Neighbors
from indexers.errors import CorruptCollection
from indexers.store import VectorStore
from indexers.threads import in_parts
from indexers.vectors import FloatArray, IdArray

try:
    from indexers._prune import prune
except ImportError:  # installed without a compiler; `doctor` tells
    prune = None  # type: ignore[assignment]

FAMILY = "pruned"
WIDTH = 64
UNKNOWN = 255
SEED = 20_25
MAGIC = b"nestprn\x01"
HEADER = struct.Struct("<8sQQ")
ALIGNED = 64
QUERIES_AT_ONCE = 64
# Lengths are computed in float32, from at most some thousand terms: they are taken a little longer than found.
ROUNDING = 1.0001
# Stored vectors are of unit length but for rounding, and so no longer than this when their mean is taken off.
CENTRED = 2.02
# What is longer has more segments than the scan allows for.
MOST_DIMENSIONS = 4096 * WIDTH


def pruned_bytes(n: int, dim: int) -> int:
    """Return how long the file of n rows × D is."""
    return Layout(n, dim).size


def is_available() -> bool:
    """Whether the compiled scan is there."""
    return prune is not None


class Part(NamedTuple):
    """Where an array lies in the file."""

    offset: int
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class Layout:
    """Where everything lies in the file of n rows × D; nothing about it is read from the file."""

    n: int
    dim: int

    @property
    def segments(self) -> int:
        """Segments S a row."""
        return -(-self.dim // WIDTH)

    @property
    def parts(self) -> dict[str, Part]:
        """Arrays by name."""
        s, found, at = self.segments, {}, ALIGNED
        shapes: tuple[tuple[str, tuple[int, ...], str], ...] = (
            ("mean", (self.dim,), "<f4"),
            ("axes", (self.dim, self.dim), "<f4"),
            ("scales", (s, 4), "<f4"),
            ("norms", (s, self.n), "u1"),
            ("codes", (s, self.n, WIDTH), "i1"),
        )
        for name, shape, dtype in shapes:
            found[name] = Part(at, shape, dtype)
            size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
            at += -(-size // ALIGNED) * ALIGNED
        return found

    @property
    def size(self) -> int:
        """Bytes of the file."""
        last = self.parts["codes"]
        size = self.segments * self.n * WIDTH
        return last.offset + -(-size // ALIGNED) * ALIGNED

    @property
    def header(self) -> bytes:
        """What the file begins with."""
        return HEADER.pack(MAGIC, self.n, self.dim)


# -- building --------------------------------------------------------------------------------


def write_pruned(
    path: Path, blocks: Iterable[FloatArray], n: int, xt: FloatArray, queries: FloatArray | None = None
) -> None:
    """Write the index of all rows to a new file; a block at a time is held in memory.

    Args:
        path: of the file.
        blocks: the stored vectors in order, float32 [rows, D].
        n: rows in all blocks, ≥ 1.
        xt: float32 [nt, D], a sample of them, nt ≥ 1, for axes and scales.
        queries: float32 [m, D], a sample of queries that are not like the rows (texts, say), to serve them too.
    """
    layout = Layout(n, xt.shape[1])
    with path.open("wb") as out:
        out.write(layout.header)
        out.flush()
        # Not only made longer: on a full disk, writing to a mapping of what is not there kills the process.
        os.posix_fallocate(out.fileno(), 0, layout.size)
    arrays = {name: np.memmap(path, part.dtype, "r+", part.offset, part.shape) for name, part in layout.parts.items()}
    mean = xt.mean(axis=0)
    axes = _axes(xt, mean, queries)
    scales = _scales(_segmented((xt - mean) @ axes, layout))
    arrays["mean"][:], arrays["axes"][:], arrays["scales"][:] = mean, axes, scales
    start = 0
    for block in blocks:
        for at in range(0, len(block), ROWS_AT_ONCE):
            part = block[at : at + ROWS_AT_ONCE]
            codes, norms = _encode(_segmented((part - mean) @ axes, layout), scales)
            arrays["codes"][:, start : start + len(part)] = codes.transpose(1, 0, 2)
            arrays["norms"][:, start : start + len(part)] = norms.T
            start += len(part)
    for array in arrays.values():
        array.flush()


def _axes(xt: FloatArray, mean: FloatArray, queries: FloatArray | None) -> FloatArray:
    """Return orthonormal axes [D, D]: where rows vary and queries point comes first.

    A bound is a product of what is left of the row and what is left of the query, so both should be little. Queries
    are not centred: on text queries beside pictures, the one direction that separates the two kinds is most of a
    query, and no row varies along it. (On vectors made to be like CLIP's, 60,000 × 768, a text query read 2.1 of 12
    segments a row with the axes of the rows alone, 1.8 with the rows as queries too, 1.1 with texts.)
    """
    asked = [xt] if queries is None or not len(queries) else [xt, queries]
    wanted = 2 * moments(xt, mean)
    for one in asked:
        wanted += moments(one) / len(asked)
    # Turned at random inside each segment, so that no number of it needs more range than another.
    axes = turned_within(principal_axes(wanted), WIDTH, SEED)
    return np.ascontiguousarray(axes, dtype=np.float32)


def _segmented(y: FloatArray, layout: Layout) -> FloatArray:
    """Return rows [n, D] as [n, S, 64], padded with zeros."""
    if layout.dim == layout.segments * WIDTH:
        return y.reshape(len(y), layout.segments, WIDTH)
    padded = np.zeros((len(y), layout.segments * WIDTH), dtype=np.float32)
    padded[:, : layout.dim] = y
    return padded.reshape(len(y), layout.segments, WIDTH)


def _squares(y: FloatArray) -> FloatArray:
    """Return the squared length of each segment, [n, S]."""
    squares: FloatArray = np.einsum("nsw,nsw->ns", y, y)
    return squares


def _rest(y: FloatArray) -> FloatArray:
    """Return the length of what follows each segment, [n, S]; 0 after the last."""
    rest = np.zeros(y.shape[:2], dtype=np.float32)
    rest[:, :-1] = np.sqrt(_squares(y)[:, :0:-1].cumsum(axis=1))[:, ::-1]
    return rest


def _rounded(y: FloatArray, steps: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return codes as float32 [n, S, 64], and the length of their error in the segments up to each, [n, S]."""
    codes = y / steps[:, None]
    np.rint(codes, out=codes)
    np.clip(codes, -127, 127, out=codes)
    errors = codes * steps[:, None]
    np.subtract(y, errors, out=errors)
    return codes, np.sqrt(_squares(errors).cumsum(axis=1))


def _scales(y: FloatArray) -> FloatArray:
    """Return what the codes and lengths of a sample [nt, S, 64] are measured in, [S, 4]."""
    steps = np.maximum(np.abs(y).max(axis=(0, 2)) / 127, np.finfo(np.float32).tiny)
    errors = np.max([_rounded(part, steps)[1].max(axis=0) for part in _pieces(y)], axis=0) * ROUNDING
    rest = _rest(y)
    low = rest.min(axis=0)
    unit = (rest.max(axis=0) * ROUNDING - low) / (UNKNOWN - 1)
    return np.stack([steps, errors, low, unit], axis=1).astype(np.float32)


def _pieces(y: FloatArray) -> Iterator[FloatArray]:
    for start in range(0, len(y), ROWS_AT_ONCE):
        yield y[start : start + ROWS_AT_ONCE]


def _encode(y: FloatArray, scales: FloatArray) -> tuple[NDArray[np.int8], NDArray[np.uint8]]:
    """Return codes [n, S, 64] and norm codes [n, S]; 255 for a row unlike the sample."""
    steps, most, low, unit = scales.T
    codes, errors = _rounded(y, steps)
    over = _rest(y) * np.float32(ROUNDING) - low
    with np.errstate(divide="ignore", invalid="ignore"):
        norms = np.where(over > 0, np.ceil(over / unit), 0)
    norms[~(norms < UNKNOWN) | (errors * np.float32(1 + 1e-6) > most)] = UNKNOWN
    return codes.astype(np.int8), norms.astype(np.uint8)


# -- searching -------------------------------------------------------------------------------


class Found(NamedTuple):
    """Exact answers, and what they took.

    Attributes:
        neighbors: [nq, k], id −1 where there are fewer rows.
        bytes_read: int64 [nq]: codes, lengths and stored vectors that were looked at.
    """

    neighbors: Neighbors
    bytes_read: IdArray


class PrunedIndex:
    """An open index file, mapped; safe to search from many threads.

    Args:
        path: the file, whose hash has been checked.
        n: rows it must hold.
        dim: full dimension D.
        level: which instructions: 0 for the best there are, 1 for plain C, 2 for AVX2, 4 for AVX-512.

    Raises:
        CorruptCollection: it is not such a file.
    """

    def __init__(self, path: Path, n: int, dim: int, level: int = 0) -> None:
        self._level = level
        self.layout = Layout(n, dim)
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(0)
            if size != self.layout.size or file.read(HEADER.size) != self.layout.header:
                raise CorruptCollection(f"{path} is not the pruned index of {n} rows × {dim}; rebuild it")
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        arrays = {
            name: np.frombuffer(mapped, part.dtype, int(np.prod(part.shape)), part.offset).reshape(part.shape)
            for name, part in self.layout.parts.items()
        }
        self._mean, self._axes, self._scales = (np.array(arrays[name]) for name in ("mean", "axes", "scales"))
        self._norms, self._codes = arrays["norms"], arrays["codes"]
        # Three products of D terms are rounded on the way: base, query and score.
        self._margin = CENTRED * 3 * dim * 2.0**-24

    def search(
        self,
        store: VectorStore,
        xq: FloatArray,
        k: int,
        *,
        floors: FloatArray | None = None,
        allowed: NDArray[np.uint8] | None = None,
    ) -> Found:
        """Find exactly the k best rows of the stored vectors.

        Args:
            store: the vectors the index was made of.
            xq: unit float32 [nq, D].
            k: answers a query, ≥ 1.
            floors: float32 [nq], a score that k allowed rows are known to reach, where some search found them: the
                scan drops more from the start.
            allowed: bitmap of rows that may be answered (`positions_mask`); all if None.
        """
        if floors is None:
            floors = np.full(len(xq), -np.inf, dtype=np.float32)
        found = Found(
            Neighbors(np.empty((len(xq), k), np.float32), np.empty((len(xq), k), np.int64)),
            np.empty(len(xq), np.int64),
        )

        def work(part: slice) -> None:
            rows = self._candidates(xq[part], k, floors[part], allowed)
            for i, (candidates, scanned) in enumerate(rows, part.start):
                best = _best(store, xq[i], candidates, k)
                found.neighbors.scores[i], found.neighbors.ids[i] = best
                found.bytes_read[i] = scanned * (WIDTH + 1) + len(candidates) * store.row_bytes

        in_parts(work, len(xq), QUERIES_AT_ONCE)
        return found

    def _candidates(
        self, xq: FloatArray, k: int, floors: FloatArray, allowed: NDArray[np.uint8] | None
    ) -> list[tuple[IdArray, int]]:
        """Return, for each query, every row that can be among its k best, and the segments that were looked at."""
        z = _segmented(xq @ self._axes, self.layout)
        queries, terms = self._bounds(z)
        known = np.asarray(floors - xq @ self._mean - 2 * self._margin, dtype=np.float32)
        n, bitmap = self.layout.n, b"" if allowed is None else allowed
        found = prune(self._codes, self._norms, n, queries, terms, known, min(k, n), bitmap, self._level)
        return [(np.frombuffer(rows, np.int64), scanned) for rows, scanned in found]

    def _bounds(self, z: FloatArray) -> tuple[NDArray[np.int16], FloatArray]:
        """Return queries as int16 [nq, S, 64], and what their dot products mean, float32 [nq, S, 3]; see `_prune.c`."""
        steps, errors, low, unit = self._scales.T
        each = np.maximum(np.abs(z).max(axis=2), np.finfo(np.float32).tiny) / 32_767
        queries = np.rint(z / each[:, :, None]).astype(np.int16)
        upto = np.sqrt(_squares(z).cumsum(axis=1)) * ROUNDING
        rest = _rest(z) * ROUNDING
        # A query's own rounding moves each number by half a step at most.
        own = np.sqrt(WIDTH * np.square(each / 2, dtype=np.float64).cumsum(axis=1)) * CENTRED
        slack = rest * low + upto * errors + own + self._margin
        return queries, np.stack([each * steps, rest * unit, slack], axis=2).astype(np.float32)


def _best(store: VectorStore, q: FloatArray, rows: IdArray, k: int) -> tuple[FloatArray, IdArray]:
    """Score rows, ascending, from the stored vectors and keep the k best; ties by lower row first."""
    scores = store.gather(rows) @ q
    order = np.argsort(-scores, kind="stable")[:k]
    best, ids = np.full(k, -np.inf, np.float32), np.full(k, MISSING, np.int64)
    best[: len(order)], ids[: len(order)] = scores[order], rows[order]
    return best, ids
