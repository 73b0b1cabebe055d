"""The rows that may answer one query, in order: by their vectors, by words, or by both."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import copy
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.collection.snapshot import Snapshot
from engine.query.answers import Answer, check_finite
from engine.query.ask import Query
from engine.query.ordered import BY_PLAN, in_order
from engine.query.shaped import filtered
from engine.retrieval.searcher import Searcher
from indexers.base import MISSING, Neighbors
from indexers.errors import InvalidInput
from indexers.mask import Mask
from indexers.plan import EXACT
from indexers.vectors import FloatArray, IdArray

if TYPE_CHECKING:
    from engine.query.fuse import Scale
    from engine.query.keywords import Found, Keywords


class Scored(NamedTuple):
    """What answers have for scores.

    Attributes:
        cosines: float32 [k]; NaN where the query has no vector.
        words: BM25, float32 [k]; None where no words were looked for.
        fused: both on one scale, float32 [k]; None where there is one of them alone.
    """

    cosines: FloatArray
    words: FloatArray | None = None
    fused: FloatArray | None = None


class Ranking:
    """The rows that may answer one query, in order: by their vectors, by words, or by both.

    Args:
        snapshot: the version.
        searcher: over a space of it.
        xq: the query, unit float32 [1, D]; [0, D] where it has words alone.
        query: the question.
        mask: which rows may answer; None for all of them.
        keywords: the words of the version; None where none are looked for.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        searcher: Searcher,
        xq: FloatArray,
        query: Query,
        mask: Mask | None,
        keywords: Keywords | None = None,
    ) -> None:
        self.snapshot, self.searcher, self.query, self.mask = snapshot, searcher, query, mask
        self.xq, self._plan = xq, query.plan_on(searcher.routes)
        self._keywords = keywords
        self._found = None if keywords is None or query.words is None else keywords.look_up(query.words)

    def among(self, mask: Mask) -> Ranking:
        """Return the same ranking of fewer rows."""
        other = copy(self)
        other.mask = mask
        return other

    def ranked(self) -> Iterator[tuple[int, float]]:
        """Yield rows and what they are ordered by, best first, as far as the shape of the question lets them."""
        return filtered(self._in_order(), self.query.shape, self.searcher.vectors)

    def _in_order(self) -> Iterator[tuple[int, float]]:
        keywords, found = self._keywords, self._found
        if keywords is not None and found is not None and not len(self.xq):
            return keywords.in_order(found, self.mask)
        live = self.searcher.live
        rows = (live if self.mask is None else live & self.mask).count
        if not rows:
            return iter(())
        # Searched again for more, a plan that does not find all would find better ones than those before.
        approximate = self._plan is not None and self._plan.index != EXACT
        only = max(BY_PLAN, 4 * (self.query.shape.offset + self.query.k)) if approximate else None
        if keywords is None or found is None:
            return in_order(self._search, rows, self.cosines, only=only)
        from engine.query.fuse import fused

        scale = self._scale(keywords, found)
        words = partial(keywords.best, found, mask=self.mask)
        return fused(self._search, self.cosines, words, partial(keywords.scores, found), scale, rows, only=only)

    def _search(self, k: int) -> Neighbors:
        found = self.searcher.search(self.xq, k, self._plan, dim=self.query.dim, mask=self.mask)
        check_finite(found, self.snapshot.root)
        return found

    def cosines(self, rows: IdArray) -> NDArray[np.float64]:
        """Return cosines by the first numbers that count, as no way to search computes them; see `in_order`."""
        stored = self.searcher.vectors(rows).astype(np.float64)[:, : self.query.dim]
        asked = self.xq[0, : self.query.dim].astype(np.float64)
        length = np.sqrt((stored * stored).sum(axis=1) * (asked * asked).sum()) if self.query.dim is not None else 1.0
        found: NDArray[np.float64] = np.clip((stored * asked).sum(axis=1) / length, -1.0, 1.0)
        return found

    def _scale(self, keywords: Keywords, found: Sequence[Found]) -> Scale:
        """Return what both scores are divided by: what is usual for the query, whatever may answer it."""
        from engine.query.fuse import BLEND, scale_of, usual

        blend = self.query.blend
        if blend is None:
            tuned = self.snapshot.manifest.space(self.searcher.space).blend
            blend = BLEND if tuned is None else tuned.weight
        most = keywords.best(found, 1)[1].max(initial=0.0)
        return scale_of(usual(self.searcher, self.xq[0], self.query.dim), float(most), blend)

    def candidates(self, depth: int) -> tuple[IdArray, NDArray[np.float64], NDArray[np.float64]]:
        """Return the best rows by vectors and the best by words, and both their scores on the scale of the query.

        Raises:
            InvalidInput: the query has not both.
        """
        keywords, found = self._keywords, self._found
        if keywords is None or found is None or not len(self.xq):
            raise InvalidInput("a query with words and something beside them is needed")
        near = self._search(depth).ids[0]
        rows = np.union1d(near[near != MISSING], keywords.best(found, depth, self.mask)[0])
        scale = self._scale(keywords, found)
        return rows, (self.cosines(rows) - scale.mean) / scale.spread, keywords.scores(found, rows) / scale.words

    def answer(self, row: int, ordered_by: float) -> Answer:
        """Return one of the rows as an answer."""
        cosines, *more = self.scored([row], [ordered_by])
        words, fused = (None if one is None else float(one[0]) for one in more)
        return Answer(self.snapshot.item(row), float(cosines[0]), words=words, fused=fused)

    def scored(self, rows: Sequence[int], ordered_by: Sequence[float]) -> Scored:
        """Return all scores of rows.

        Args:
            rows: their numbers.
            ordered_by: what they were ordered by.
        """
        at, by = np.array(rows, dtype=np.int64), np.array(ordered_by, dtype=np.float32)
        if self._keywords is None or self._found is None:
            return Scored(by)
        words = self._keywords.scores(self._found, at).astype(np.float32)
        if not len(self.xq):
            return Scored(np.full(len(at), np.nan, np.float32), words)
        return Scored(self.cosines(at).astype(np.float32), words, by)
