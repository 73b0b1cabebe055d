"""Find the fastest plan that keeps a recall on this data, for these queries.

In stages, each cheaper per candidate than the one it spares:

1. candidates: indexes that may do, told without building one (`candidates`), the cheapest first;
2. halving: the cheapest are built on a sample of the rows and measured by the clock;
3. climbing: the best of them is built on all rows, since recall on a sample flatters, and so are those of the next
   longer and the next shorter prefixes for as long as they are faster, or time is left;
4. validation: the fastest plan that keeps the recall must keep it on queries no choice was made with, or the next is
   taken.

Halving is Jamieson & Talwalkar (2016).
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from engine.planning.candidates import Candidates, Goal, Say
from engine.planning.cost import IndexCandidate, is_weaker
from engine.planning.curve import (
    NEAR,
    Point,
    about,
    around,
    choose,
    measure,
    measure_exact,
    pareto,
    plans,
    searches,
    spread,
    with_exact,
)
from engine.planning.judge import Judge, microseconds
from engine.planning.places import recalls_of, undominated
from engine.retrieval.coarse import Coarse, Search, coarse_over
from engine.retrieval.searcher import Searcher
from indexers.base import FaissIndex, IndexSpec
from indexers.build import build
from indexers.families.ivf import REFINE
from indexers.families.registry import family, resolve
from indexers.plan import EXACT, SearchPlan, Stage
from indexers.store import VectorStore
from indexers.vectors import FloatArray

SEED = 0
SAMPLE_QUERIES, GRID_QUERIES = 200, 200
CANDIDATES = 3
# How many are built on all rows in the end, and after how many seconds none is begun that may only be faster.
MOST_BUILT, ENOUGH_SECONDS = 4, 120
# The build of a graph is slower than everything else together.
GRAPH_DIMS = 1
# Candidates with a stage by bytes that are compared as well.
LONGER = 1
# Of the plans that a short look finds about the target, the fastest are measured until so many keep it, at most so
# many; and so many others for the curve.
KEEPING, MOST_ABOUT, MOST_SPREAD = 3, 12, 6
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
    return math.inf if point is None else point.microseconds


def _has_bytes(spec: IndexSpec) -> bool:
    return bool(dict(spec.params).get(REFINE))


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
        self.goal, self.say, self._started = goal, say, time.perf_counter()
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
        if self.pool.is_whole or len(candidates) <= 1:
            return list(candidates)
        judge = self.pool.judge_on_sample(SAMPLE_QUERIES)
        taken = {}
        for candidate in candidates:
            spec = resolve(
                family(candidate.spec.family).unsized(candidate.spec), len(self.pool.sample), self._store.dim
            )
            coarse = coarse_over(spec, self._built(spec, self.pool.sample), self.pool.sample)
            found, times = self._looked_at(coarse, candidate.stages, judge)
            taken[candidate] = min((times[plan] for plan in found if found[plan] >= self.goal.recall), default=math.inf)
            self.say(f"{spec} on {len(self.pool.sample):,} rows: {taken[candidate]:.0f} µs a query")
        return sorted(candidates, key=lambda candidate: taken[candidate])

    def built(self, best: Sequence[IndexCandidate], every: Sequence[IndexCandidate], exact: Point) -> list[Measured]:
        """Build the best candidates on all rows: all that were compared where a sample is all rows, else by climbing.

        Where one does not keep the recall, what is weaker would not either: of its prefix with no more codes, or of a
        shorter one. The next is then the best that is left of those compared, or the cheapest of all that may do.
        """
        if self.pool.is_whole:
            return [self.on_all_rows(candidate, exact) for candidate in best]
        measured: list[Measured] = []
        while len(measured) < MOST_BUILT:
            able = [one for one in measured if choose(one.front, self.goal.recall) not in (None, exact)]
            if able:
                fastest = min(able, key=lambda one: _time_at(one.front, self.goal.recall))
                following = self._neighbor(fastest.spec.dim, [one.spec for one in measured], every)
            else:
                left = (one for one in (*best, *every) if not any(is_weaker(one, done.spec) for done in measured))
                following = next(left, None)
            if following is None:
                break
            measured.append(self.on_all_rows(following, exact))
        return measured

    def _neighbor(
        self, fastest: int, done: Sequence[IndexSpec], every: Sequence[IndexCandidate]
    ) -> IndexCandidate | None:
        """Return what may be faster: the next longer prefix than the fastest, the next shorter one, or its own bytes.

        Args:
            fastest: the prefix of the fastest index that keeps the recall on all rows.
            done: what was built.
            every: all candidates, the cheapest first.
        """
        if time.perf_counter() - self._started > ENOUGH_SECONDS:
            return None
        built = {(one.dim, _has_bytes(one)) for one in done}
        cheapest = {(one.spec.dim, _has_bytes(one.spec)): one for one in reversed(every)}
        longer = min((d for d, finer in cheapest if d > fastest and not finer), default=0)
        shorter = max((d for d, finer in cheapest if d < fastest and not finer), default=0)
        near = [(longer, False), (shorter, False), (fastest, True)]
        return next((cheapest[one] for one in near if one in cheapest and one not in built), None)

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

    def _looked_at(
        self, coarse: Coarse, stages: tuple[Stage, ...], judge: Judge
    ) -> tuple[dict[SearchPlan, float], dict[SearchPlan, float]]:
        """Return least recall and microseconds a query, roughly, of the plans of an index that may be worth it."""
        shortlists, last = around(stages)
        found = undominated(recalls_of(coarse, list(plans(coarse, shortlists, judge.k + 1, last)), judge))
        found = {plan: recall for plan, recall in found.items() if recall >= self.goal.recall - NEAR}
        timed = {plan: searches(coarse, plan, judge) for plan in found}
        return found, {plan: microseconds(made, judge, self.goal.latency, repeats=1) for plan, made in timed.items()}

    def _front(self, coarse: Coarse, stages: tuple[Stage, ...], judge: Judge) -> list[Point]:
        """Measure the plans of an index that may be worth it."""
        found, taken = self._looked_at(coarse, stages, judge.first(GRID_QUERIES))
        points: list[Point] = []
        for plan in about(found, taken, self.goal.recall)[:MOST_ABOUT]:
            points.append(measure(coarse, plan, judge, self.goal.latency))
            if sum(point.keeps(self.goal.recall) for point in points) == KEEPING:
                break
        done = {point.plan for point in points}
        others = (plan for plan in spread(found, taken, MOST_SPREAD) if plan not in done)
        return pareto([*points, *(measure(coarse, plan, judge, self.goal.latency) for plan in others)])
