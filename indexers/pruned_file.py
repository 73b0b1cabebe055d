"""The file of a `pruned@D` index, which `pruned.py` searches: where everything lies in it, and how it is made.

::

    file   magic, n, D, margin                    64 bytes, padded
           mean       float32 [D]
           turn       float32 [D, D]              B, for queries
           scales     float32 [S, 6]              step of a segment's codes; of a line, least length of what follows and
                                                  its unit; the most of three lengths in what is seen after it: rounding
                                                  errors of whole codes, and of upper halves alone, and the row itself
           norms      uint8 [S − G, n]            length of what follows a line, 255 if unknown, as after lower halves
           codes      int8 [S, n, 64]             S segments of 64 numbers, padded with zeros, and as many lines: of
                                                  whole codes, of G pairs of segments upper halves, then lower halves

Byte i of a line of halves has four bits of the pair's code i, the lower ones, and four of code 64 + i, each code being
taken for code + 128.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from indexers.axes import ROWS_AT_ONCE, balanced, moments, turned_within
from indexers.vectors import FloatArray

WIDTH = 64
WHOLE = 2
UNKNOWN = 255
SEED = 20_25
MAGIC = b"nestprn\x02"
HEADER, MARGIN = struct.Struct("<8sQQ"), struct.Struct("<d")
ALIGNED = 64
# Lengths are computed in float32, from at most some thousand terms: they are taken a little longer than found.
ROUNDING = 1.0001
# Stored vectors are of unit length but for rounding, and so no longer than this when their mean is taken off.
CENTRED = 2.02
# A sum of D rounded terms is off by more than λ √D roundings once in e^(λ²/2) (Higham & Mary 2019, Theorem 2.4).
ROUNDINGS = 8.0
# What is longer has more segments than the scan allows for.
MOST_DIMENSIONS = 4096 * WIDTH
# Of every direction a little is taken to vary, among rows and queries: no sample shows that it does not.
LEAST = 0.05
# Of codes where a sample does not vary at all: rows that do have too many steps then, and not infinitely many.
LEAST_STEP = np.float32(1e-30)
# The middle of 16 codes whose upper halves are alike, and of 16 lower halves: what halves are measured from.
UPPER, LOWER = 120.5, 7.5


def pruned_bytes(n: int, dim: int) -> int:
    """Return how long the file of n rows × D is."""
    return Layout(n, dim).size


class Part(NamedTuple):
    """Where an array lies in the file."""

    offset: int
    shape: tuple[int, ...]
    dtype: str


class Known(NamedTuple):
    """Which segments a row's codes are known of after each line, float32 [S lines, S segments] of 0 and 1.

    Attributes:
        fine: whole codes.
        coarse: upper halves alone.
        seen: either.
        unseen: nothing.
    """

    fine: FloatArray
    coarse: FloatArray
    seen: FloatArray
    unseen: FloatArray


@dataclass(frozen=True)
class Layout:
    """Where everything lies in the file of n rows × D; nothing about it is read from the file."""

    n: int
    dim: int

    @property
    def whole(self) -> int:
        """Segments, and lines, of whole codes."""
        return min(WHOLE, -(-self.dim // WIDTH))

    @property
    def pairs(self) -> int:
        """Pairs G of segments whose codes are kept as halves."""
        return -(-(self.dim - self.whole * WIDTH) // (2 * WIDTH))

    @property
    def segments(self) -> int:
        """Segments S a row, and lines."""
        return self.whole + 2 * self.pairs

    @property
    def groups(self) -> tuple[int, ...]:
        """The first numbers of what shares a line: segments of whole codes, and pairs."""
        segments = [*range(self.whole), *range(self.whole, self.segments, 2)]
        return tuple(WIDTH * s for s in segments)

    @cached_property
    def known(self) -> Known:
        """What is known of a row after each line."""
        line, segment = np.ogrid[: self.segments, : self.segments]
        is_whole, pair = segment < self.whole, (segment - self.whole) // 2
        seen = np.where(is_whole, line >= segment, line - self.whole >= pair)
        fine = np.where(is_whole, seen, line - self.whole - self.pairs >= pair)
        return Known(*(np.asarray(one, dtype=np.float32) for one in (fine, seen & ~fine, seen, ~seen)))

    @property
    def parts(self) -> dict[str, Part]:
        """Arrays by name."""
        s, found, at = self.segments, {}, ALIGNED
        shapes: tuple[tuple[str, tuple[int, ...], str], ...] = (
            ("mean", (self.dim,), "<f4"),
            ("turn", (self.dim, self.dim), "<f4"),
            ("scales", (s, 6), "<f4"),
            ("norms", (s - self.pairs, self.n), "u1"),
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
        return last.offset + self.segments * self.n * WIDTH

    @property
    def header(self) -> bytes:
        """What the file begins with."""
        return HEADER.pack(MAGIC, self.n, self.dim)

    def segmented(self, y: FloatArray) -> FloatArray:
        """Return rows [n, D] as [n, S, 64], padded with zeros."""
        if self.dim == self.segments * WIDTH:
            return y.reshape(len(y), self.segments, WIDTH)
        padded = np.zeros((len(y), self.segments * WIDTH), dtype=np.float32)
        padded[:, : self.dim] = y
        return padded.reshape(len(y), self.segments, WIDTH)

    def shared(self, most: FloatArray) -> FloatArray:
        """Return what is given of each segment, [..., S], as the larger of both where two are a pair."""
        found = np.array(most)
        pairs = found[..., self.whole :].reshape(*found.shape[:-1], self.pairs, 2)
        found[..., self.whole :] = np.repeat(pairs.max(axis=-1), 2, axis=-1)
        return found


def squares(y: FloatArray) -> FloatArray:
    """Return the squared length of each segment, [n, S]."""
    found: FloatArray = np.einsum("nsw,nsw->ns", y, y)
    return found


def write_pruned(
    path: Path, blocks: Iterable[FloatArray], n: int, xt: FloatArray, queries: FloatArray | None = None
) -> None:
    """Write the index of all rows to a new file; a block at a time is held in memory.

    Args:
        path: of the file.
        blocks: the stored vectors in order, float32 [rows, D].
        n: rows in all blocks, ≥ 1.
        xt: float32 [nt, D], a sample of them, nt ≥ 1, for what they are turned by, and scales.
        queries: float32 [m, D], a sample of queries that are not like the rows (texts, say), to serve them too.
    """
    layout = Layout(n, xt.shape[1])
    mean = xt.mean(axis=0)
    turn = _turn(xt, mean, queries, layout)
    with path.open("wb") as out:
        out.write(layout.header + MARGIN.pack(turn.margin))
        out.flush()
        # Not only made longer: on a full disk, writing to a mapping of what is not there kills the process.
        os.posix_fallocate(out.fileno(), 0, layout.size)
    arrays = {name: np.memmap(path, part.dtype, "r+", part.offset, part.shape) for name, part in layout.parts.items()}
    scales = _scales(layout.segmented((xt - mean) @ turn.rows), layout)
    arrays["mean"][:], arrays["turn"][:], arrays["scales"][:] = mean, turn.queries, scales
    start = 0
    for block in blocks:
        for at in range(0, len(block), ROWS_AT_ONCE):
            part = block[at : at + ROWS_AT_ONCE]
            codes, norms = _encode(layout.segmented((part - mean) @ turn.rows), scales, layout)
            arrays["codes"][:, start : start + len(part)] = codes.transpose(1, 0, 2)
            arrays["norms"][:, start : start + len(part)] = norms.T
            start += len(part)
    if start != n:
        raise ValueError(f"expected {n} rows, found {start}")
    for array in arrays.values():
        array.flush()


class Turn(NamedTuple):
    """What rows and queries are multiplied by, float32 [D, D] each: rowsᵀ · queries = 1 but for rounding.

    Attributes:
        margin: what rounding can add to the product of a turned row and a turned query, and to their score.
    """

    rows: FloatArray
    queries: FloatArray
    margin: float


def _turn(xt: FloatArray, mean: FloatArray, queries: FloatArray | None, layout: Layout) -> Turn:
    """Return the map with which rows and queries vary alike, most of it in their leading numbers.

    Rows are queries as well (similar pictures), and all that is known of the others where few are. Queries are not
    centred: of texts beside pictures, the one direction that separates the two kinds is most of a query, and no row
    varies along it. (Of vectors made to be like CLIP's, 300,000 × 768, texts read 329 bytes a row with principal axes
    of both, 273 so, and 246 with most codes in halves.)
    """
    dim = layout.dim
    asked = moments(xt)
    if queries is not None and len(queries):
        asked += len(queries) / dim * moments(queries)
        asked /= np.trace(asked)
    little = LEAST / dim * np.eye(dim)
    # Turned at random inside each group, alike, so that no number of it needs more range than another.
    a, b = (
        turned_within(one, layout.groups, SEED).astype(np.float32)
        for one in balanced(moments(xt, mean) + little, asked + little)
    )
    # Rows, queries, what was taken off both, scores and lines are sums of some D products each; the maps are rounded.
    stretch = float(np.linalg.norm(a, 2)) * float(np.linalg.norm(b, 2))
    rounded = 5 * min(dim, ROUNDINGS * dim**0.5) * 2.0**-24 * stretch
    unequal = float(np.linalg.norm(b.astype(np.float64) @ a.T.astype(np.float64) - np.eye(dim)))
    return Turn(np.ascontiguousarray(a), np.ascontiguousarray(b), CENTRED * (rounded + unequal))


class Codes(NamedTuple):
    """Rows as codes.

    Attributes:
        codes: float32 [n, S, 64], whole numbers from −127 to 127.
        rest: length of what is not seen yet after each line, [n, S].
        seen: three lengths in what is seen after each line, [n, S, 3]: errors of whole codes, of upper halves, and
            the row's own.
    """

    codes: FloatArray
    rest: FloatArray
    seen: FloatArray


def _coded(y: FloatArray, steps: FloatArray, layout: Layout) -> Codes:
    """Round rows [n, S, 64] to whole steps [S]."""
    known = layout.known
    codes = y / steps[:, None]
    np.rint(codes, out=codes)
    np.clip(codes, -127, 127, out=codes)
    off = squares(y - codes * steps[:, None]) @ known.fine.T
    upper: FloatArray = np.float32(16) * np.floor((codes + 128) / 16) - np.float32(UPPER)
    upper.reshape(len(y), -1)[:, layout.dim :] = 0  # no query has numbers there
    off_halves = squares(y - upper * steps[:, None]) @ known.coarse.T
    own = squares(y)
    seen = np.stack([off, off_halves, own @ known.seen.T], axis=2)
    return Codes(codes, np.sqrt(own @ known.unseen.T), np.sqrt(seen))


def _scales(y: FloatArray, layout: Layout) -> FloatArray:
    """Return what the codes and lengths of a sample [nt, S, 64] are measured in, [S, 6]."""
    steps = np.maximum(layout.shared(np.abs(y).max(axis=(0, 2))) / 127, LEAST_STEP)
    coded = (_coded(part, steps, layout) for part in _pieces(y))
    low, high, most = zip(
        *((one.rest.min(axis=0), one.rest.max(axis=0), one.seen.max(axis=0)) for one in coded), strict=True
    )
    least = np.min(low, axis=0)
    unit = (np.max(high, axis=0) * ROUNDING - least) / (UNKNOWN - 1)
    return np.column_stack([steps, least, unit, np.max(most, axis=0) * ROUNDING]).astype(np.float32)


def _pieces(y: FloatArray) -> Iterator[FloatArray]:
    for start in range(0, len(y), ROWS_AT_ONCE):
        yield y[start : start + ROWS_AT_ONCE]


def _encode(y: FloatArray, scales: FloatArray, layout: Layout) -> tuple[NDArray[np.int8], NDArray[np.uint8]]:
    """Return codes [n, S, 64] by line, and norm codes [n, S − G]; 255 for a row unlike the sample."""
    steps, low, unit, *most = scales.T
    found = _coded(y, steps, layout)
    over = found.rest * np.float32(ROUNDING) - low
    with np.errstate(divide="ignore", invalid="ignore"):
        norms = np.where(over > 0, np.ceil(over / unit), 0)
    unlike = ~(norms < UNKNOWN) | (found.seen * np.float32(1 + 1e-6) > np.stack(most, axis=1)).any(axis=2)
    # After the last of upper halves a row has one norm code for all lines that follow.
    last = layout.segments - layout.pairs - 1
    unlike[:, last] |= unlike[:, last:].any(axis=1)
    norms[unlike] = UNKNOWN
    return _lines(found.codes, layout), norms[:, : last + 1].astype(np.uint8)


def _lines(codes: FloatArray, layout: Layout) -> NDArray[np.int8]:
    """Return codes [n, S, 64] as lines: whole ones, upper halves, lower halves."""
    n, whole = len(codes), layout.whole
    lines = np.empty((n, layout.segments, WIDTH), dtype=np.int8)
    lines[:, :whole] = codes[:, :whole]
    both = (codes[:, whole:] + 128).astype(np.uint8).reshape(n, layout.pairs, 2, WIDTH)
    for start, halves in ((whole, both >> 4), (whole + layout.pairs, both & 15)):
        lines[:, start : start + layout.pairs] = (halves[:, :, 0] | halves[:, :, 1] << 4).view(np.int8)
    return lines
