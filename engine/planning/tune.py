"""Find the fastest plan that keeps a recall on this data, for these queries.

In stages, each cheaper per candidate than the one it spares:

1. candidates: indexes that may do, told without building one (`candidates`), the cheapest first;
2. halving: the cheapest are built on a sample of the rows and measured by the clock, and the best of them on all rows:
   recall on a sample flatters;
3. validation: the fastest plan that keeps the recall must keep it on queries no choice was made with, or the next is
   taken.

Halving is Jamieson & Talwalkar (2016).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from engine.planning.candidates import Candidates, Goal, Say
from engine.planning.cost import IndexCandidate, is_weaker
from engine.planning.curve import (
    Point,
    around,
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
from engine.planning.judge import Judge
from engine.retrieval.coarse import Coarse, Search, coarse_over
from engine.retrieval.searcher import Searcher
from indexers.base import FaissIndex, IndexSpec
from indexers.build import build
from indexers.families.registry import family, resolve
from indexers.plan import EXACT, SearchPlan, Stage
from indexers.store import VectorStore
from indexers.vectors import FloatArray

SEED = 0
SAMPLE_QUERIES, GRID_QUERIES = 200, 200
CANDIDATES, FINALISTS = 3, 1
# How many are built on all rows in the end: where one does not keep the recall there, a longer prefix is tried.
MOST_BUILT = 4
# The build of a graph is slower than everything else together.
GRAPH_DIMS = 1
# Candidates with a stage by bytes that are compared as well.
LONGER = 1
MOST_TIMED = 16
# How far below the target fresh queries may be; for a high target half of what it leaves to be missed.
TOLERANCE = 0.01


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
    every = tuner.pool.found()
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
    """What the stages share: the collection, the goal, and the candidates with their sample."""

    def __init__(self, searcher: Searcher, goal: Goal, judge: Judge, texts: FloatArray | None, say: Say) -> None:
        self.goal, self.say = goal, say
        self._live, self._judge, self._texts = searcher.live, judge, texts
        self._store, self._n = searcher.first.store, len(searcher.first)
        trained = 0 if texts is None else len(texts)
        self.pool = Candidates(self._store, self._live, judge, goal, trained, say)

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

    def halved(self, candidates: Sequence[IndexCandidate]) -> list[IndexCandidate]:
        """Return the candidates worth trying, the fastest on a sample of the rows first."""
        candidates = self._worth_trying(candidates)
        if self.pool.is_whole or len(candidates) <= FINALISTS:
            return list(candidates)
        judge = self.pool.judge_on_sample(SAMPLE_QUERIES)
        taken = {}
        for candidate in candidates:
            spec = resolve(
                family(candidate.spec.family).unsized(candidate.spec), len(self.pool.sample), self._store.dim
            )
            coarse = coarse_over(spec, self._built(spec, self.pool.sample), self.pool.sample)
            front = self._front(coarse, candidate.stages, judge)
            taken[candidate] = _time_at(front, self.goal.recall)
            self.say(f"{spec} on {len(self.pool.sample):,} rows: {taken[candidate]:.0f} µs a query")
        return sorted(candidates, key=lambda candidate: taken[candidate])

    def built(self, best: Sequence[IndexCandidate], every: Sequence[IndexCandidate], exact: Point) -> list[Measured]:
        """Build the best candidates on all rows, and others after them as long as none keeps the recall there.

        Where one fails, what is weaker would too: of its prefix with no more codes, or of a shorter one. The next is
        the best that is left of those compared, or the cheapest of all that may do.
        """
        first = list(best) if self.pool.is_whole else list(best[:FINALISTS])
        measured = [self.on_all_rows(candidate, exact) for candidate in first]
        while all(choose(one.front, self.goal.recall) in (None, exact) for one in measured):
            left = [one for one in (*best, *every) if not any(is_weaker(one, done.spec) for done in measured)]
            if not left or len(measured) >= MOST_BUILT or self.pool.is_whole:
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
        shortlists, last = around(stages)
        every = list(plans(coarse, shortlists, judge.k + 1, last))
        some = judge.first(GRID_QUERIES)
        found = recalls_of(coarse, every, some)
        read = {plan: read_bytes(coarse, plan, some) for plan in found}
        kept = worth_timing(found, read, self.goal.recall, MOST_TIMED)
        return pareto([measure(coarse, plan, judge, self.goal.latency) for plan in kept])
