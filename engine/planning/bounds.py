"""How long a shortlist a prefix needs, found without any index: what no index over that prefix can do better than."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import faiss
import numpy as np
from numpy.typing import NDArray

from engine.planning.judge import Judge
from indexers.vectors import FloatArray, IdArray, truncate

SHORTLISTS = (20, 30, 50, 75, 100, 150, 200, 300, 400, 600, 800)
SMALLEST = 16
# A bound is met by exact scores of a prefix; its index has codes of a few bits and visits a part of the rows.
HEADROOM = 0.3
# The same where codes are looked at: what is left to lose is in cells that are not visited.
CODED_HEADROOM = 0.15
BITS, TRAINED, ROUNDS, SEED = 4, 16_384, 6, 0
# Queries that are multiplied with all rows in one go.
AT_ONCE = 32


def ladder(full_dim: int) -> tuple[int, ...]:
    """Return prefix dimensions to try: 16, 24, 32, 48, 64, … and the full dimension."""
    found, d = set(), SMALLEST
    while d < full_dim:
        found |= {d, 3 * d // 2}
        d *= 2
    return (*sorted(d for d in found if d < full_dim), full_dim)


def needed_shortlists(
    xb: FloatArray, judge: Judge, target: float, *, axes: NDArray[np.float64] | None = None
) -> dict[int, int]:
    """Return, by prefix dimension, the shortest of `SHORTLISTS` that can reach a recall on every kind of query.

    Args:
        xb: unit float32 [n, D], rows the judge's answers are among.
        judge: queries with exact answers.
        target: recall wanted.
        axes: [D, D], columns are principal axes whose prefixes are meant; the vectors' own if None.

    Returns:
        {d: shortlist}; a dimension at which none is long enough is left out.
    """
    aim = target + HEADROOM * (1 - target)
    turned = None if axes is None else axes.astype(np.float32)
    base = xb if turned is None else xb @ turned
    asked = {name: one.xq if turned is None else one.xq @ turned for name, one in judge.sets.items()}
    found = {}
    for d in ladder(xb.shape[1]):
        prefix = truncate(base, d)
        shares = np.min([_shares(prefix, truncate(asked[name], d), judge, name) for name in judge.sets], axis=0)
        enough = np.flatnonzero(shares >= aim)
        if len(enough):
            found[d] = SHORTLISTS[enough[0]]
    return found


def coded_shortlist(
    base: FloatArray,
    asked: Mapping[str, FloatArray],
    judge: Judge,
    target: float,
    *,
    m: int,
    nearest: FloatArray | None = None,
) -> int | None:
    """Return the shortest of `SHORTLISTS` that can reach a recall by product codes of a prefix, or None.

    Args:
        base: float32 [n, d], what an index would hold of the rows the judge's answers are among.
        asked: float32 [nq, d], the same of the judge's queries, by kind.
        judge: queries with exact answers.
        target: recall wanted on every kind of query.
        m: codes of four bits a row.
        nearest: float32 [n, d], the centroid of each row's cell, where codes are of what is left beside it.
    """
    coded = base if nearest is None else base - nearest
    quantizer = faiss.ProductQuantizer(base.shape[1], m, BITS)
    quantizer.train(coded[:TRAINED])
    decoded = quantizer.decode(quantizer.compute_codes(coded))
    if nearest is not None:
        decoded += nearest
    shares = np.min([_shares(decoded, asked[name], judge, name) for name in judge.sets], axis=0)
    enough = np.flatnonzero(shares >= target + CODED_HEADROOM * (1 - target))
    return SHORTLISTS[enough[0]] if len(enough) else None


def nearest_centroids(base: FloatArray, nlist: int) -> FloatArray:
    """Return for each row [n, d] the centroid of its cell, of `nlist` rough ones: a few rounds of k-means."""
    means = faiss.Kmeans(base.shape[1], nlist, niter=ROUNDS, seed=SEED, spherical=True, min_points_per_centroid=1)
    means.train(base)
    found: FloatArray = means.centroids[means.index.search(base, 1)[1][:, 0]]
    return found


def _shares(base: FloatArray, xq: FloatArray, judge: Judge, name: str) -> FloatArray:
    """Return recall by length of shortlist, for one kind of query."""
    ranks = np.concatenate(list(_ranks(base, xq, judge.truth[name].ids)))
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
