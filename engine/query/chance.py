"""How likely an answer is by chance: its score beside what rows that have nothing to do with the query would score.

Cosines of an encoder mean something else for every kind of query, and most directions of its space say little: all
photographs lie near each other. So vectors are compared where rows spread evenly, less their mean and whitened by their
covariance: of at most 2,048 rows, shrunk towards equal variances (Ledoit & Wolf 2004). By cosines there two of one
speaker, or one face, are told from two of different ones (Dehak et al. 2011). What rows at random have there beside a
query is nearly normal, being a sum of many small parts, and of n of them the best follows the law of extreme values
(Gumbel 1935): what lies above that is there for a reason.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from engine.query.shape import AUTO
from engine.retrieval.searcher import Searcher
from indexers.errors import InvalidInput
from indexers.mask import Mask
from indexers.vectors import FloatArray, IdArray, normalize

if TYPE_CHECKING:
    from engine.query.answers import Answers

SAMPLE, SEED = 2048, 0
"""Rows that say what rows at random are like, and the seed they are drawn with."""

FEWEST = 100
"""Of fewer rows nothing can be said."""

ALIKE = 1e-6
"""Rows whose scores deviate by less are all alike."""

SHRINK = 1.0
"""What is added to the variance of each direction, in parts of their mean: a sample knows small ones badly."""

ALMOST = 1 - 1e-7
"""What is nearer to 1 is 1, but for rounding."""

MOST_DIMENSIONS = 768
"""Of longer vectors the first so many numbers are compared: to know how 2,048 vary together takes seconds."""

TINY = float(np.finfo(np.float32).tiny)

SHORTEST = 5
"""What is shorter than so many percent of the rows counts as if it were so long: near the mean it is like nothing."""

UNLIKELY = 0.05
"""What is likelier than this by chance is not above it."""

Values = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Beside:
    """One query beside rows at random.

    Attributes:
        background: what the rows of its space look like.
        whitened: the query, unit float32 [d].
        middle: of the cosines of rows at random with it, evened out.
        deviation: likewise.
        rows: how many rows there are.
    """

    background: Background
    whitened: FloatArray
    middle: float
    deviation: float
    rows: int

    def evidence(self, x: FloatArray) -> Values:
        """Return by how many deviations stored rows, float32 [n, D], are above rows at random, float64 [n]."""
        found: Values = (_evened(self.background.placed(x) @ self.whitened) - self.middle) / self.deviation
        return found

    def chance(self, x: FloatArray) -> Values:
        """Return how likely the best of all rows would be so much above the mean by chance, float64 [n] of 0 to 1."""
        return np.array([chance_of(one, self.rows) for one in self.evidence(x).tolist()])

    def floor(self, evidence: float) -> tuple[FloatArray, float]:
        """Return a vector, unit float32 [d], and the least inner product with it of any row with so much evidence."""
        along: FloatArray = np.dot(self.background.white, self.whitened)
        length = float(np.linalg.norm(along))
        along /= np.float32(length)
        least = math.tanh(self.middle + evidence * self.deviation) * self.background.shortest
        if least <= 0:
            return along, -math.inf
        return along, least / length + float(self.background.mean @ along)


def chance_of(evidence: float, rows: int) -> float:
    """Return how likely the best of so many normal numbers is at least `evidence`.

    Example:
        >>> from engine.query.chance import chance_of
        >>> round(chance_of(3.0, 1), 4), round(chance_of(3.0, 1000), 2)
        (0.0013, 0.74)
    """
    one = 0.5 * math.erfc(evidence / math.sqrt(2))
    return 1.0 if one >= 1 else -math.expm1(rows * math.log1p(-one))


def evidence_of(unlikely: float, rows: int) -> float:
    """Return the evidence from which on the best of so many rows has a chance of at most 1 − `unlikely`."""
    one = -math.expm1(math.log(unlikely) / max(1, rows))
    return -NormalDist().inv_cdf(one) if one < 1 else -math.inf


class Background:
    """What rows of a space look like, in their first `dim` numbers; read once, and kept for as long as its searcher.

    Attributes:
        rows: how many there are.
        mean: float32 [d].
        white: float32 [d, d], what a row less the mean is multiplied by.
        shortest: what shorter rows count as, then.
        sample: rows at random there, of unit length or less, float32 [m, d].
    """

    def __init__(self, searcher: Searcher, dim: int) -> None:
        self.dim, self.rows = dim, searcher.live.count
        self._masked: tuple[Mask, int, FloatArray] | None = None
        if self.rows < FEWEST:
            return
        drawn = self._cut(searcher.vectors(_drawn(searcher.live)))
        self.mean = drawn.mean(axis=0)
        x = drawn - self.mean
        variance = x.T @ x / len(x)
        # What is added keeps the largest variance within d times the least: single precision is enough.
        variance[np.diag_indices(dim)] += max(SHRINK * float(np.trace(variance)) / dim, float(np.finfo(np.float32).eps))
        self.white = np.ascontiguousarray(np.linalg.inv(np.linalg.cholesky(variance)).T)
        self.shortest = 0.0
        self.shortest = float(np.percentile(np.linalg.norm((drawn - self.mean) @ self.white, axis=1), SHORTEST))
        self.sample = self.placed(drawn)

    def _cut(self, x: FloatArray) -> FloatArray:
        """Return the first numbers of vectors, of unit length where they are not all."""
        return x if x.shape[1] == self.dim else normalize(np.ascontiguousarray(x[:, : self.dim]))

    def placed(self, x: FloatArray) -> FloatArray:
        """Return stored rows, or queries, float32 [n, D], as they are compared, [n, d]."""
        found = (self._cut(x) - self.mean) @ self.white
        length = np.maximum(np.linalg.norm(found, axis=1, keepdims=True), max(self.shortest, TINY))
        placed: FloatArray = found / length
        return placed

    def among(self, searcher: Searcher, mask: Mask | None) -> tuple[int, FloatArray]:
        """Return how many rows may answer, and some of those at random; where they are few, of all."""
        if mask is None:
            return self.rows, self.sample
        last = self._masked
        if last is None or last[0] is not mask:
            allowed = searcher.live & mask
            few = allowed.count < FEWEST
            sample = self.sample if few else self.placed(searcher.vectors(_drawn(allowed)))
            last = self._masked = mask, allowed.count, sample
        return last[1:]


def _evened(cosines: FloatArray) -> Values:
    """Return cosines as what is nearly normal for few dimensions too, and without a bound (Fisher 1921)."""
    evened: Values = np.arctanh(np.clip(cosines.astype(np.float64), -ALMOST, ALMOST))
    return evened


def _drawn(allowed: Mask) -> IdArray:
    numbers = allowed.numbers
    if len(numbers) <= SAMPLE:
        return numbers
    return np.sort(np.random.default_rng(SEED).choice(numbers, SAMPLE, replace=False))


_KEPT: WeakKeyDictionary[Searcher, dict[int, Background]] = WeakKeyDictionary()


def background_of(searcher: Searcher, dim: int | None) -> Background:
    """Return what rows of a space look like, read the first time it is asked for."""
    kept, wanted = _KEPT.setdefault(searcher, {}), min(searcher.dim if dim is None else dim, MOST_DIMENSIONS)
    if wanted not in kept:
        kept[wanted] = Background(searcher, wanted)
    return kept[wanted]


def beside(searcher: Searcher, q: FloatArray, mask: Mask | None = None, dim: int | None = None) -> Beside | None:
    """Compare a query, unit float32 [D], with rows at random of those that may answer; None where nothing can be said.

    That is so of few rows, and of ones that are all alike.
    """
    background = background_of(searcher, dim)
    if background.rows < FEWEST:
        return None
    rows, sample = background.among(searcher, mask)
    whitened = background.placed(q[None])[0]
    scores = (sample @ whitened).astype(np.float64)
    middle = min(max(float(np.median(scores)), -ALMOST), ALMOST)
    # By the lower half: in the upper one there may be rows that are relevant, or the query itself.
    below = np.minimum(scores - middle, 0)
    deviation = math.sqrt(2 * float(below @ below) / len(below)) / (1 - middle * middle)
    return Beside(background, whitened, math.atanh(middle), deviation, rows) if deviation > ALIKE else None


def chances(
    searcher: Searcher, q: FloatArray, positions: IdArray | Sequence[int], mask: Mask | None, dim: int | None
) -> FloatArray | None:
    """Return of each answer how likely it would be there by chance, float32 [k]; None where nothing can be said."""
    found = beside(searcher, q, mask, dim)
    return None if found is None else found.chance(searcher.vectors(positions)).astype(np.float32)


def is_above(answers: Answers) -> bool | None:
    """Whether any answer is above chance; None where there is none, or nothing can be said.

    Example:
        >>> from engine.query.chance import is_above
        >>> is_above(engine.Collection.open("vectors.nest").search(np.load("vectors.npy")[0]))
        True
    """
    if not len(answers) or answers.chance is None:
        return None
    return bool(answers.chance.min() <= UNLIKELY)


class Cut(NamedTuple):
    """Which rows are unlikely enough to answer a query by chance.

    Attributes:
        beside: the query.
        least: the evidence that is enough.
    """

    beside: Beside
    least: float

    def keeps(self, x: FloatArray) -> NDArray[np.bool_]:
        """Whether stored rows, float32 [n, D], have enough, bool [n]."""
        return self.beside.evidence(x) >= self.least


def cut_of(searcher: Searcher, q: FloatArray, at_least: float | str, mask: Mask | None, dim: int | None) -> Cut:
    """Return which rows have a chance of at most 1 − `at_least`, or by "auto" those that the space's cut-off keeps.

    Raises:
        InvalidInput: nothing can be said of so few rows, or the space has no cut-off.
    """
    if at_least == AUTO:
        cutoff = searcher.entry.cutoff
        if cutoff is None:
            raise InvalidInput(
                f"at_least: space {searcher.space!r} has no cut-off yet: `nestvec tune --cutoff` finds one, or give a "
                "probability such as 0.95"
            )
        if dim is not None:
            raise InvalidInput("at_least: the cut-off is for all dimensions: give a probability for a prefix")
        # What is relevant to a query does not depend on what else a filter lets by.
        found, least = beside(searcher, q), cutoff.evidence
    else:
        found = beside(searcher, q, mask, dim)
        least = 0.0 if found is None else evidence_of(float(at_least), max(1, found.rows))
    if found is None:
        raise InvalidInput(
            f"at_least: nothing can be said of {searcher.live.count} items: {FEWEST} or more, not all alike, are needed"
        )
    return Cut(found, least)
