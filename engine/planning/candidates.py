"""Which indexes may do on all rows, told by a sample of them and by what they would read; none is built on all.

In two stages, each cheaper per candidate than the one it spares:

1. bounds: how long a shortlist each prefix needs, exactly, on a sample (`bounds`);
2. candidates: for every prefix that can do it, the codes that still can, found without cells.

The choice of a prefix by what it is good for is that of adaptive retrieval (Kusupati et al. 2022) and AdANNS
(Rege et al. 2023).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from engine.planning.bounds import (
    SMALLER,
    Sample,
    best_of,
    coded_shortlist,
    nearest_centroids,
    needed_shortlists,
)
from engine.planning.cost import IndexCandidate, rerank_bytes
from engine.planning.judge import Judge, make_judge
from indexers.axes import moments, principal_axes
from indexers.base import AXES, IndexSpec
from indexers.build import build_bytes
from indexers.exact import exact_search
from indexers.families.ivf import REFINE, REFINE_BITS, RESIDUAL, default_nlist
from indexers.families.registry import family, resolve
from indexers.mask import Mask
from indexers.memory import memory_left, shown_bytes
from indexers.plan import SearchPlan, Stage
from indexers.prefix import front_along
from indexers.probing import is_available
from indexers.store import Blocks, VectorStore
from indexers.vectors import FloatArray

SEED = 0
BOUND_QUERIES = 100
SAMPLE_ROWS = 50_000
# Prefixes that need more are not worth a code.
MOST_SHORTLISTED = 600
# A stage by bytes spares stored vectors where codes need so many times the shortlist that they do.
PAYING = 2.5
TYPICAL_SHARE = 0.08
CODE_WIDTHS = (2, 4)
# Below so many rows cells are not worth their centroids.
FEWEST_FOR_CELLS = 5_000

Say = Callable[[str], None]


@dataclass(frozen=True)
class Goal:
    """What a plan must do.

    Attributes:
        recall: recall@k wanted on every kind of query, between 0 and 1.
        k: answers a query.
        latency: what is to be fast, "batch" or "single" queries.
        memory: most bytes the index may take; None for any.
    """

    recall: float
    k: int
    latency: str
    memory: int | None = None


class Candidates:
    """The indexes that may keep a recall over a store, and the sample that tells.

    Args:
        store: all rows.
        live: which of them may answer.
        judge: queries of each kind; their exact answers are looked at only where the sample is all rows.
        goal: what is wanted.
        texts: how many queries that are not like the rows are mixed into the training of cells.
        say: hears what is found.

    Attributes:
        sample: some of the rows, none of which is a query; or all.
        is_whole: whether it is all.
    """

    def __init__(self, store: VectorStore, live: Mask, judge: Judge, goal: Goal, texts: int, say: Say) -> None:
        self.goal, self.say = goal, say
        self._store, self._live, self._judge, self._texts = store, live, judge, texts
        self._n, self._dim = len(store), store.dim
        self.is_whole = self._n <= SAMPLE_ROWS and judge.mask is None
        self.sample = store if self.is_whole else self._sampled()

    def _sampled(self) -> VectorStore:
        """Draw live rows, none of which is a query: there a query is not its own answer."""
        asked = [one.own for one in self._judge.sets.values() if one.own is not None]
        pool = np.setdiff1d(self._live.numbers, np.concatenate([np.empty(0, np.int64), *asked]))
        rng = np.random.default_rng([SEED, 1])
        rows = np.sort(rng.choice(pool, min(SAMPLE_ROWS, len(pool)), replace=False))
        return VectorStore(np.ascontiguousarray(self._store.rows[rows]))

    @cached_property
    def _rows(self) -> FloatArray:
        """The sample as float32 [n, D]."""
        return np.concatenate(list(Blocks(self.sample.rows)))

    def judge_on_sample(self, queries: int) -> Judge:
        """Return a judge whose answers are rows of the sample."""
        some = self._judge.first(queries)
        if self.is_whole:
            return some
        asked = [replace(one, own=None) for one in some.sets.values()]
        return make_judge(asked, self.goal.k, lambda xq, k: exact_search(self._rows, xq, k))

    @cached_property
    def _bound(self) -> Sample:
        """The sample, and the few queries that prefixes and codes are judged with."""
        return Sample(self._rows, self.judge_on_sample(BOUND_QUERIES))

    @cached_property
    def _smaller(self) -> Sample | None:
        """A fourth of the sample, with the same queries; None where the sample is all rows."""
        if self.is_whole:
            return None
        rows, sets = np.ascontiguousarray(self._rows[::SMALLER]), self._bound.judge.sets.values()
        return Sample(rows, make_judge(sets, self.goal.k, lambda xq, k: exact_search(rows, xq, k)))

    @cached_property
    def _axes(self) -> NDArray[np.float64]:
        """Principal axes of the sample."""
        return principal_axes(moments(self._rows))

    def found(self) -> list[IndexCandidate]:
        """Return the indexes that may do, the cheapest by model first."""
        return self._candidates(self.bounds())

    # -- 1. bounds -----------------------------------------------------------------------

    def bounds(self) -> dict[int, tuple[int, bool]]:
        """Return {d: (shortlist, whether along principal axes)} of the prefixes that can keep the recall."""
        n = self._live.count
        own = needed_shortlists(self._bound, self.goal.recall, smaller=self._smaller, n=n)
        turned = needed_shortlists(self._bound, self.goal.recall, axes=self._axes, smaller=self._smaller, n=n)
        found = best_of(own, turned)
        told = ", ".join(f"{d} → {shortlist}{' (axes)' if on else ''}" for d, (shortlist, on) in found.items())
        self.say(f"shortlists that can do it, by prefix: {told or 'none'}")
        return found

    # -- 2. candidates -------------------------------------------------------------------------

    def _candidates(self, needed: Mapping[int, tuple[int, bool]]) -> list[IndexCandidate]:
        """Return the indexes that may do, the cheapest by model first."""
        specs = [one for d, (shortlist, axes) in needed.items() for one in self._specs(d, axes, shortlist)]
        found = [
            IndexCandidate(spec, stages, self._cost(spec, stages))
            for spec, stages in specs
            if stages[0].shortlist < self._n
        ]
        if self.goal.memory is not None:
            found = [
                candidate
                for candidate in found
                if family(candidate.spec.family).index_bytes(candidate.spec, self._n) <= self.goal.memory
            ]
            if not found:
                self.say(f"no index fits into {self.goal.memory:,} bytes")
        found = self._buildable(found)
        return sorted(found, key=lambda one: one.cost)

    def _buildable(self, candidates: Sequence[IndexCandidate]) -> list[IndexCandidate]:
        """Leave out what there is no memory to build."""
        left = memory_left()
        needed = {candidate: build_bytes(candidate.spec, self._n, self._dim, self._texts) for candidate in candidates}
        able = [candidate for candidate in candidates if left is None or needed[candidate] <= left.bytes]
        if left is not None and len(able) < len(candidates):
            least = min(needed[candidate] for candidate in candidates if candidate not in able)
            told = f"{shown_bytes(left.bytes)} of memory are left ({left.why}), they need {shown_bytes(least)} and more"
            self.say(f"{len(candidates) - len(able)} of {len(candidates)} indexes cannot be built: {told}")
        return able

    def _specs(self, d: int, axes: bool, shortlist: int) -> Iterator[tuple[IndexSpec, tuple[Stage, ...]]]:
        """Yield resolved specs over a prefix, and the stages they need."""
        on, last = ((AXES, 1),) if axes else (), Stage(self._dim, shortlist)
        if self._n < 4 * FEWEST_FOR_CELLS:
            yield resolve(IndexSpec("sq", d, on), self._n, self._dim), (last,)
        if self._n >= FEWEST_FOR_CELLS and shortlist <= MOST_SHORTLISTED:
            for spec, needed in self._coded(d, on):
                yield spec, (Stage(self._dim, needed),)
                if d < self._dim and needed >= PAYING * shortlist and is_available():
                    finer = IndexSpec(spec.family, d, tuple(sorted((*spec.params, (REFINE, REFINE_BITS)))))
                    yield resolve(finer, self._n, self._dim), (Stage(d, needed), last)
            if not is_available():  # a graph takes longest to build, and is no match for the compiled search
                yield resolve(IndexSpec("hnsw", d, on), self._n, self._dim), (last,)

    def _coded(self, d: int, on: tuple[tuple[str, int], ...]) -> Iterator[tuple[IndexSpec, int]]:
        """Yield product codes over a prefix that can keep the recall, and the shortlists they need."""
        front = front_along(resolve(IndexSpec("ivf-pq", d, on), self._n, self._dim), self._axes)
        base, judge, recall = front(self._rows), self._bound.judge, self.goal.recall
        smaller, n = None if self._smaller is None else self._smaller.judge, self._live.count
        asked = {name: front(one.xq) for name, one in judge.sets.items()}
        cells = nearest_centroids(base, default_nlist(len(base)))
        for width in (width for width in CODE_WIDTHS if d % width == 0):
            for nearest in (None, cells):
                needed = coded_shortlist(
                    base, asked, judge, recall, m=d // width, nearest=nearest, smaller=smaller, n=n
                )
                params = (*on, ("m", d // width), *(() if nearest is None else ((RESIDUAL, 1),)))
                if needed is not None:
                    yield resolve(IndexSpec("ivf-pq", d, tuple(sorted(params))), self._n, self._dim), needed

    def _cost(self, spec: IndexSpec, stages: tuple[Stage, ...]) -> float:
        indexer = family(spec.family)
        # A graph must keep as many candidates as are reranked.
        probe = round(TYPICAL_SHARE * indexer.cells(spec)) or max(indexer.default_probe(spec), 2 * stages[0].shortlist)
        plan = SearchPlan(spec.key, 0, stages)
        return indexer.bytes_read(spec, probe, self._n) + rerank_bytes(spec, plan, self._store.rows.itemsize)
