"""Find the fastest plan that keeps a recall on this data, for these queries.

In stages, each cheaper per candidate than the one it spares:

1. bounds: how long a shortlist each prefix needs, exactly, on a sample (`bounds`); no index is built;
2. candidates: for every prefix that can do it, the codes that still can, found without cells, the cheapest first;
3. halving: the cheapest candidates are built on a sample of the rows and measured by the clock, and the best of them on
   all rows: recall on a sample flatters;
4. validation: the fastest plan that keeps the recall must keep it on queries no choice was made with, or the next is
   taken.

The choice of a prefix by what it is good for is that of adaptive retrieval (Kusupati et al. 2022) and AdANNS
(Rege et al. 2023); halving is Jamieson & Talwalkar (2016).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from engine.planning.bounds import (
    SHORTLISTS,
    SMALLER,
    Sample,
    best_of,
    coded_shortlist,
    nearest_centroids,
    needed_shortlists,
)
from engine.planning.cost import IndexCandidate, is_weaker, rerank_bytes
from engine.planning.curve import (
    Point,
    choose,
    measure,
    measure_exact,
    pareto,
    plans,
    read_bytes,
    recalls_of,
    searches,
    with_exact,
    worth_timing,
)
from engine.planning.judge import Judge, make_judge
from engine.retrieval.coarse import Coarse, Search, coarse_over
from engine.retrieval.searcher import Searcher
from indexers.axes import moments, principal_axes
from indexers.base import AXES, FaissIndex, IndexSpec
from indexers.build import build, build_bytes
from indexers.exact import exact_search
from indexers.families.ivf import REFINE, REFINE_BITS, RESIDUAL, default_nlist
from indexers.families.registry import family, resolve
from indexers.memory import memory_left, shown_bytes
from indexers.plan import EXACT, SearchPlan, Stage
from indexers.prefix import front_along
from indexers.probing import is_available
from indexers.store import Blocks, VectorStore
from indexers.vectors import FloatArray

SEED = 0
BOUND_QUERIES = 100
SAMPLE_ROWS, SAMPLE_QUERIES = 50_000, 200
GRID_QUERIES = 200
CANDIDATES, FINALISTS = 3, 1
# How many are built on all rows in the end: where one does not keep the recall there, a longer prefix is tried.
MOST_BUILT = 4
# Prefixes that need more are not worth a code.
MOST_SHORTLISTED = 600
# The build of a graph is slower than everything else together.
GRAPH_DIMS = 1
# A stage by bytes spares stored vectors where codes need so many times the shortlist that they do.
PAYING, LONGER = 2.5, 1
MOST_TIMED = 16
TYPICAL_SHARE = 0.08
# How far below the target fresh queries may be; for a high target half of what it leaves to be missed.
TOLERANCE = 0.01
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


@dataclass(frozen=True)
class Measured:
    """An index with its measured plans, from fast to good; the last is an exact scan.

    Attributes:
        coarse: built on all rows.
        front: its plans.
    """

    coarse: Coarse
    front: list[Point]

    @property
    def spec(self) -> IndexSpec:
        """Resolved for all rows."""
        return self.coarse.spec


@dataclass(frozen=True)
class Outcome:
    """What was found.

    Attributes:
        measured: the winning index; None where an exact scan is the best there is.
        chosen: its plan.
        front: plans from fast to good, ending with the exact scan.
        fresh: recall and standard error of the plan on queries no choice was made with.
    """

    measured: Measured | None
    chosen: Point
    front: list[Point]
    fresh: Mapping[str, tuple[float, float]]


def tune(searcher: Searcher, goal: Goal, judge: Judge, fresh: Judge, texts: FloatArray | None, say: Say) -> Outcome:
    """Find a plan for a collection whose rows are all in its store.

    Args:
        searcher: over the collection.
        goal: what is wanted.
        judge: queries to choose with.
        fresh: others, of the same kinds, to validate with.
        texts: unit float32 [nt, D], queries that are not like the rows, mixed into the training of cells; none of
            `fresh`, of course.
        say: hears about progress.
    """
    tuner = _Tuner(searcher, goal, judge, texts, say)
    exact = measure_exact(
        {name: _exact(searcher, judge.wanted(name)) for name in judge.sets},
        judge.first(GRID_QUERIES),
        goal.latency,
        len(searcher.first) * searcher.first.store.row_bytes,
    )
    say(f"an exact scan takes {exact.microseconds:.0f} µs a query")
    every = tuner.candidates(tuner.bounds())
    measured = tuner.built(tuner.halved(every), every, exact)
    best = min(measured, key=lambda one: _time_at(one.front, goal.recall), default=None)
    front = [exact] if best is None else best.front
    chosen, found = _validated(tuner, best, front, fresh)
    return Outcome(best, chosen, front, found)


def _exact(searcher: Searcher, k: int) -> Search:
    return lambda xq, mask: searcher.search(xq, k, SearchPlan(EXACT), mask=mask)


def _time_at(front: Sequence[Point], target: float) -> float:
    point = choose(front, target)
    return float("inf") if point is None else point.microseconds


def _validated(
    tuner: _Tuner, best: Measured | None, front: Sequence[Point], fresh: Judge
) -> tuple[Point, dict[str, tuple[float, float]]]:
    """Return the fastest point that keeps the recall on fresh queries too; the last, a scan, does in any case."""
    goal = tuner.goal
    able = [point for point in front if point.keeps(goal.recall)]
    for point in able:
        if point.plan.index == EXACT or best is None:
            break
        made = searches(best.coarse, point.plan, fresh)
        found = {name: fresh.recall(name, search) for name, search in made.items()}
        least = min(mean for mean, _ in found.values())
        tuner.say(f"{point.plan}: {least:.3f} on fresh queries")
        if least >= goal.recall - min(TOLERANCE, (1 - goal.recall) / 2):
            return point, found
    return front[-1], dict.fromkeys(fresh.sets, (1.0, 0.0))


class _Tuner:
    """What the stages share: the collection, the goal, and a sample of rows with its own exact answers."""

    def __init__(self, searcher: Searcher, goal: Goal, judge: Judge, texts: FloatArray | None, say: Say) -> None:
        self.goal, self.say = goal, say
        self._live, self._judge, self._texts = searcher.live, judge, texts
        self._store, self._dim = searcher.first.store, searcher.dim
        self._n = len(self._store)
        self._is_whole = self._n <= SAMPLE_ROWS and judge.mask is None
        self._sample = self._store if self._is_whole else self._sampled()

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
        return np.concatenate(list(Blocks(self._sample.rows)))

    def _judge_on_sample(self, queries: int) -> Judge:
        """Return a judge whose answers are rows of the sample."""
        some = self._judge.first(queries)
        if self._is_whole:
            return some
        asked = [replace(one, own=None) for one in some.sets.values()]
        return make_judge(asked, self.goal.k, lambda xq, k: exact_search(self._rows, xq, k))

    @cached_property
    def _bound(self) -> Sample:
        """The sample, and the few queries that prefixes and codes are judged with."""
        return Sample(self._rows, self._judge_on_sample(BOUND_QUERIES))

    @cached_property
    def _smaller(self) -> Sample | None:
        """A fourth of the sample, with the same queries; None where the sample is all rows."""
        if self._is_whole:
            return None
        rows, sets = np.ascontiguousarray(self._rows[::SMALLER]), self._bound.judge.sets.values()
        return Sample(rows, make_judge(sets, self.goal.k, lambda xq, k: exact_search(rows, xq, k)))

    @cached_property
    def _axes(self) -> NDArray[np.float64]:
        """Principal axes of the sample."""
        return principal_axes(moments(self._rows))

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

    def candidates(self, needed: Mapping[int, tuple[int, bool]]) -> list[IndexCandidate]:
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

    def _worth_trying(self, found: Sequence[IndexCandidate]) -> list[IndexCandidate]:
        """Return the few that are compared by the clock."""
        graphs = [one for one in found if family(one.spec.family).is_graph][:GRAPH_DIMS]
        plain = [
            candidate
            for candidate in found
            if not family(candidate.spec.family).is_graph and len(candidate.stages) == 1
        ]
        # Whether another stage pays depends on the machine: the clock decides.
        longer = [one for one in found if len(one.stages) > 1][:LONGER]
        return [*plain[: CANDIDATES - len(graphs)], *graphs, *longer]

    def _buildable(self, candidates: Sequence[IndexCandidate]) -> list[IndexCandidate]:
        """Leave out what there is no memory to build."""
        left = memory_left()
        texts = 0 if self._texts is None else len(self._texts)
        needed = {candidate: build_bytes(candidate.spec, self._n, self._dim, texts) for candidate in candidates}
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
                if d < self._dim and needed >= PAYING * shortlist:
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

    # -- 3. halving ----------------------------------------------------------------------

    def halved(self, candidates: Sequence[IndexCandidate]) -> list[IndexCandidate]:
        """Return the candidates worth trying, the fastest on a sample of the rows first."""
        candidates = self._worth_trying(candidates)
        if self._is_whole or len(candidates) <= FINALISTS:
            return list(candidates)
        judge = self._judge_on_sample(SAMPLE_QUERIES)
        taken = {}
        for candidate in candidates:
            spec = resolve(family(candidate.spec.family).unsized(candidate.spec), len(self._sample), self._dim)
            coarse = coarse_over(spec, self._built(spec, self._sample), self._sample)
            front = self._front(coarse, candidate.stages, judge)
            taken[candidate] = _time_at(front, self.goal.recall)
            self.say(f"{spec} on {len(self._sample):,} rows: {taken[candidate]:.0f} µs a query")
        return sorted(candidates, key=lambda candidate: taken[candidate])

    def built(self, best: Sequence[IndexCandidate], every: Sequence[IndexCandidate], exact: Point) -> list[Measured]:
        """Build the best candidates on all rows, and others after them as long as none keeps the recall there.

        Where one fails, what is weaker would too: of its prefix with no more codes, or of a shorter one. The next is
        the best that is left of those compared, or the cheapest of all that may do.
        """
        first = list(best) if self._is_whole else list(best[:FINALISTS])
        measured = [self.on_all_rows(candidate, exact) for candidate in first]
        while all(choose(one.front, self.goal.recall) in (None, exact) for one in measured):
            left = [one for one in (*best, *every) if not any(is_weaker(one, done.spec) for done in measured)]
            if not left or len(measured) >= MOST_BUILT or self._is_whole:
                break
            measured.append(self.on_all_rows(left[0], exact))
        return measured

    def on_all_rows(self, candidate: IndexCandidate, exact: Point) -> Measured:
        """Build a candidate on all rows and measure its plans."""
        self.say(f"building {candidate.spec} on {self._n:,} rows")
        coarse = coarse_over(candidate.spec, self._built(candidate.spec, self._store), self._store)
        measured = Measured(coarse, with_exact(self._front(coarse, candidate.stages, self._judge), exact))
        # The scan at the end of a front finds everything.
        at = next(point for point in measured.front if point.keeps(self.goal.recall))
        self.say(f"{at.plan}: {at.least:.3f} at {at.microseconds:.0f} µs a query")
        return measured

    def _built(self, spec: IndexSpec, store: VectorStore) -> FaissIndex:
        mask = self._live if store is self._store else None
        return build(spec, store, mask=mask, queries=self._texts, seed=SEED)

    def _front(self, coarse: Coarse, stages: tuple[Stage, ...], judge: Judge) -> list[Point]:
        """Measure the plans of an index that may be worth it."""
        shortlist, *rest = (stage.shortlist for stage in stages)
        around = [one for one in SHORTLISTS if shortlist / 3 <= one <= shortlist * 4]
        last = [one for one in SHORTLISTS if rest and rest[0] <= one <= 2 * rest[0]]
        every = list(plans(coarse, around, judge.k + 1, last))
        some = judge.first(GRID_QUERIES)
        found = recalls_of(coarse, every, some)
        read = {plan: read_bytes(coarse, plan, some) for plan in found}
        kept = worth_timing(found, read, self.goal.recall, MOST_TIMED)
        return pareto([measure(coarse, plan, judge, self.goal.latency) for plan in kept])
