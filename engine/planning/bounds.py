"""How long a shortlist a prefix needs, found without any index: what no index over that prefix can do better than.

It is found on a sample, and a sample flatters: of twenty times the rows more come between a query and what is nearest
to it by a prefix. How many more is found by taking a fourth of the sample as well. The place of the true answers grows
like a power of the rows (on clusters of even and of uneven sizes, from 12,000 rows to a million: exponents from 0.1 for
long prefixes to 0.5 for short ones, and the same from size to size), and that power leads to all rows.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import faiss
import numpy as np
from numpy.typing import NDArray

from engine.planning.judge import Judge
from indexers.vectors import FloatArray, IdArray, truncate

SHORTLISTS = (20, 30, 50, 75, 100, 150, 200, 300, 400, 600, 800, 1200, 1600)
SMALLEST = 16
# A bound is met by exact scores of a prefix; its index has codes of a few bits and visits a part of the rows.
HEADROOM = 0.3
# The same where codes are looked at: what is left to lose is in cells that are not visited.
CODED_HEADROOM = 0.15
BITS, TRAINED, ROUNDS, SEED = 4, 16_384, 6, 0
# Queries that are multiplied with all rows in one go.
AT_ONCE = 32
# One row of so many of a sample shows how places grow with the rows.
SMALLER = 4
STEEPEST = 1.0
"""Of the power: where every row more comes in between, the place grows as the rows do."""


class Sample(NamedTuple):
    """Some rows, float32 [n, D], and a judge whose answers are among them."""

    rows: FloatArray
    judge: Judge


def ladder(full_dim: int) -> tuple[int, ...]:
    """Return prefix dimensions to try: 16, 24, 32, 48, 64, … and the full dimension."""
    found, d = set(), SMALLEST
    while d < full_dim:
        found |= {d, 3 * d // 2}
        d *= 2
    return (*sorted(d for d in found if d < full_dim), full_dim)


def needed_shortlists(
    sample: Sample,
    target: float,
    *,
    axes: NDArray[np.float64] | None = None,
    smaller: Sample | None = None,
    n: int = 0,
) -> dict[int, int]:
    """Return, by prefix dimension, the shortest of `SHORTLISTS` that can reach a recall on every kind of query.

    Args:
        sample: rows, and queries with exact answers among them.
        target: recall wanted.
        axes: [D, D], columns are principal axes whose prefixes are meant; the vectors' own if None.
        smaller: some of the sample's rows, with the same queries, to find out how places grow with the rows; None
            where the sample is all there is.
        n: how many rows there are in all.

    Returns:
        {d: shortlist}; a dimension at which none is long enough is left out.
    """
    aim = target + HEADROOM * (1 - target)
    both = [_turned(one, axes) for one in (sample, smaller) if one is not None]
    found = {}
    for d in ladder(sample.rows.shape[1]):
        ranks = [{name: _ranked(one, d, name) for name in one.judge.sets} for one in both]
        growth = {
            name: _growth([of[name] for of in ranks], [len(one.rows) for one in both], n, aim) for name in ranks[0]
        }
        shares = np.min([_shares(ranks[0][name] * growth[name], sample.judge, name) for name in growth], axis=0)
        enough = np.flatnonzero(shares >= aim)
        if len(enough):
            found[d] = SHORTLISTS[enough[0]]
    return found


def _turned(sample: Sample, axes: NDArray[np.float64] | None) -> Sample:
    if axes is None:
        return sample
    turn = axes.astype(np.float32)
    sets = {name: replace(one, xq=one.xq @ turn) for name, one in sample.judge.sets.items()}
    return Sample(sample.rows @ turn, replace(sample.judge, sets=sets))


def _ranked(sample: Sample, d: int, name: str) -> IdArray:
    """Return at which place each true answer comes by a prefix."""
    xq = truncate(sample.judge.sets[name].xq, d)
    return np.concatenate(list(_ranks(truncate(sample.rows, d), xq, sample.judge.truth[name].ids)))


def _growth(ranks: Sequence[IdArray], sizes: Sequence[int], n: int, aim: float) -> float:
    """Return how many times further down the last answers that count come among n rows than in the first sample."""
    if len(ranks) == 1 or n <= sizes[0]:
        return 1.0
    large, small = (float(np.quantile(one, aim)) + 1 for one in ranks)
    power = np.clip(math.log(large / small) / math.log(sizes[0] / sizes[1]), 0, STEEPEST)
    return float((n / sizes[0]) ** power)


def coded_shortlist(
    base: FloatArray,
    asked: Mapping[str, FloatArray],
    judge: Judge,
    target: float,
    *,
    m: int,
    nearest: FloatArray | None = None,
    smaller: Judge | None = None,
    n: int = 0,
) -> int | None:
    """Return the shortest of `SHORTLISTS` that can reach a recall by product codes of a prefix, or None.

    Args:
        base: float32 [n, d], what an index would hold of the rows the judge's answers are among.
        asked: float32 [nq, d], the same of the judge's queries, by kind.
        judge: queries with exact answers.
        target: recall wanted on every kind of query.
        m: codes of four bits a row.
        nearest: float32 [n, d], the centroid of each row's cell, where codes are of what is left beside it.
        smaller: the same queries, with their answers among every `SMALLER`th of the rows, to find out how places by
            codes grow with the rows, which is faster than by the prefix itself; None where these are all rows.
        n: how many rows there are in all.
    """
    coded = base if nearest is None else base - nearest
    quantizer = faiss.ProductQuantizer(base.shape[1], m, BITS)
    quantizer.train(coded[:TRAINED])
    decoded = quantizer.decode(quantizer.compute_codes(coded))
    if nearest is not None:
        decoded += nearest
    aim = target + CODED_HEADROOM * (1 - target)
    both = [(decoded, judge)] + ([] if smaller is None else [(np.ascontiguousarray(decoded[::SMALLER]), smaller)])
    shares = []
    for name in judge.sets:
        ranks = [np.concatenate(list(_ranks(rows, asked[name], one.truth[name].ids))) for rows, one in both]
        more = _growth(ranks, [len(rows) for rows, _ in both], n, aim)
        shares.append(_shares(ranks[0] * more, judge, name))
    enough = np.flatnonzero(np.min(shares, axis=0) >= aim)
    return SHORTLISTS[enough[0]] if len(enough) else None


def nearest_centroids(base: FloatArray, nlist: int) -> FloatArray:
    """Return for each row [n, d] the centroid of its cell, of `nlist` rough ones: a few rounds of k-means."""
    means = faiss.Kmeans(base.shape[1], nlist, niter=ROUNDS, seed=SEED, spherical=True, min_points_per_centroid=1)
    means.train(base)
    found: FloatArray = means.centroids[means.index.search(base, 1)[1][:, 0]]
    return found


def _shares(ranks: NDArray[Any], judge: Judge, name: str) -> FloatArray:
    """Return recall by length of shortlist, for one kind of query, by the places of its true answers."""
    # A query that is a row comes first itself.
    room = np.array(SHORTLISTS) + (judge.sets[name].own is not None)
    shares: FloatArray = (ranks[:, None] < room).mean(axis=0)
    return shares


def _ranks(base: FloatArray, xq: FloatArray, truth: IdArray) -> Iterator[IdArray]:
    """Yield, query by query, at which place each true answer comes by a prefix."""
    for start in range(0, len(xq), AT_ONCE):
        for scores, wanted in zip(xq[start : start + AT_ONCE] @ base.T, truth[start : start + AT_ONCE], strict=True):
            yield (scores > scores[wanted[wanted >= 0], None]).sum(axis=1)


def best_of(own: Mapping[int, int], axes: Mapping[int, int]) -> dict[int, tuple[int, bool]]:
    """Return {d: (shortlist, axes or not)}: the vectors' own prefix where it needs no longer a shortlist."""
    found = {}
    for d in sorted({*own, *axes}):
        if d in own and own[d] <= axes.get(d, own[d]):
            found[d] = own[d], False
        else:
            found[d] = axes[d], True
    return found
