"""Measure plans of one index, and keep those that nothing else beats in both recall and time."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from engine.planning.bounds import SHORTLISTS
from engine.planning.cost import rerank_bytes
from engine.planning.judge import Judge, microseconds
from engine.retrieval.coarse import Coarse, Search, middle_of, prepared, probing
from indexers.families.registry import family
from indexers.plan import EXACT, SearchPlan, Stage
from indexers.vectors import FloatArray

# With a margin, the few queries for which it spans more cells take a quarter less time; what they miss is 0.001.
CAP = 0.35
MARGINS = (2, 5, 10, 20, 40, 60, 80, 100, 120, 140, 160, 180, 200, 225, 250, 280, 320)
WIDE = 200  # margins from here on are tried on all cells as well
NEAR = 0.1
"""How far below a target plans are looked at."""

# What a few hundred queries may be wrong about, and what a grid of plans may go beyond a target.
BELOW, ABOVE = 0.003, 0.03
# Queries of each kind that tell how much is read where that depends on the query.
COUNTED = 50


@dataclass(frozen=True)
class Point:
    """A plan and what it gave.

    Attributes:
        plan: the plan.
        recall: recall@k and its standard error, by kind of query.
        microseconds: wall-clock a query.
        read: bytes a query (`read_bytes`).
    """

    plan: SearchPlan
    recall: Mapping[str, tuple[float, float]]
    microseconds: float
    read: int

    @property
    def least(self) -> float:
        """The recall of the kind of query that fares worst."""
        return min(mean for mean, _ in self.recall.values())

    def keeps(self, target: float) -> bool:
        """Whether every kind reaches a recall by more than a standard error."""
        return all(mean - error >= target or mean >= 1.0 for mean, error in self.recall.values())


def efforts(coarse: Coarse, *, many: bool) -> Sequence[tuple[int, int]]:
    """Return (probe, margin) worth trying on an index; (0, 0) alone where there is nothing to set.

    A margin gives each query what it needs, a number of probes gives all the same; with both, the few hardest
    queries do not take much longer than the others. `many` are for tuning; a build tries few, by either.
    """
    indexer = family(coarse.spec.family)
    probes = [(probe, 0) for probe in indexer.probes(coarse.spec, many=many)]
    if coarse.probed is None:
        return probes
    if not many:
        return [*probes, *((0, margin) for margin in MARGINS)]
    cap = max(1, round(indexer.cells(coarse.spec) * CAP))
    return [*probes, *((cap, margin) for margin in MARGINS), *((0, margin) for margin in MARGINS if margin >= WIDE)]


def plans(
    coarse: Coarse, shortlists: Sequence[int], k: int, last: Sequence[int] = (), *, many: bool = True
) -> Iterator[SearchPlan]:
    """Yield the plans of an index that end in a rerank at full dimension, from short shortlists to long ones.

    Args:
        coarse: their index.
        shortlists: what it may be asked for.
        k: the least of them.
        last: how much of a shortlist may be left for the stored vectors after a stage at the dimension of the index;
            without, there is no such stage.
        many: whether all efforts are tried, or the few of a build.
    """
    d, full_dim = coarse.spec.dim, coarse.store.dim
    for shortlist in (one for one in shortlists if k <= one < len(coarse.store)):
        ways = [(Stage(d, shortlist), Stage(full_dim, one)) for one in last if k <= one < shortlist]
        for stages in ways if last else [(Stage(full_dim, shortlist),)]:
            for probe, margin in efforts(coarse, many=many):
                # A graph keeps as many candidates as it is asked for in any case.
                if not (many and family(coarse.spec.family).is_graph) or probe >= shortlist:
                    yield SearchPlan(coarse.spec.key, probe, stages, margin)


def around(stages: Sequence[Stage]) -> tuple[list[int], list[int]]:
    """Return shortlists to try about those that an index was chosen with, and how much of each may be left after it."""
    shortlist, *rest = (stage.shortlist for stage in stages)
    first = [one for one in SHORTLISTS if shortlist / 3 <= one <= shortlist * 4]
    return first, [one for one in SHORTLISTS if rest and rest[0] <= one <= 2 * rest[0]]


def searches(coarse: Coarse, plan: SearchPlan, judge: Judge) -> dict[str, Search]:
    """Return the search of each kind of query by a plan."""
    return {name: prepared(coarse, plan, judge.wanted(name)) for name in judge.sets}


def read_bytes(coarse: Coarse, plan: SearchPlan, judge: Judge) -> int:
    """Return bytes a query a plan reads: modelled, but for what a margin makes of the cells, which is counted.

    Args:
        coarse: the plan's index.
        plan: with at least one stage.
        judge: has queries of each kind; a few of them tell.
    """
    rows, indexer = len(coarse.store), family(coarse.spec.family)
    probe = float(plan.probe)
    if plan.margin:
        middle = middle_of(coarse.spec, plan)
        last = plan.stages[-1].shortlist
        visited = [
            probing(coarse, plan, _some(one.xq), judge.k, last, middle, judge.mask).visited.mean()
            for one in judge.sets.values()
        ]
        probe = indexer.cells(coarse.spec) * statistics.fmean(visited) / rows
    reranked = rerank_bytes(coarse.spec, plan, coarse.store.rows.itemsize)
    return int(indexer.bytes_read(coarse.spec, probe, rows) + reranked)


def _some(xq: FloatArray) -> FloatArray:
    """Return a few queries from all over: they may be sorted."""
    return np.ascontiguousarray(xq[:: max(1, len(xq) // COUNTED)][:COUNTED])


def measure(coarse: Coarse, plan: SearchPlan, judge: Judge, latency: str) -> Point:
    """Measure recall and time of a plan."""
    made = searches(coarse, plan, judge)
    recall = {name: judge.recall(name, search) for name, search in made.items()}
    return Point(plan, recall, microseconds(made, judge, latency), read_bytes(coarse, plan, judge))


def measure_exact(made: Mapping[str, Search], judge: Judge, latency: str, read: int) -> Point:
    """Time an exact scan, which finds everything."""
    recall = dict.fromkeys(judge.sets, (1.0, 0.0))
    return Point(SearchPlan(EXACT), recall, microseconds(made, judge, latency), read)


def about(found: Mapping[SearchPlan, float], taken: Mapping[SearchPlan, float], target: float) -> list[SearchPlan]:
    """Return the plans that a short look finds about a target, the fastest first.

    Args:
        found: least recall by plan.
        taken: microseconds a query by plan, roughly.
        target: recall that is wanted.
    """
    near = [plan for plan in found if target - BELOW <= found[plan] <= target + ABOVE]
    return sorted(near, key=lambda one: taken[one])


def spread(found: Mapping[SearchPlan, float], taken: Mapping[SearchPlan, float], most: int) -> list[SearchPlan]:
    """Return plans that no other beats in both recall and time, by a short look: from fast to good.

    Args:
        found: least recall by plan.
        taken: microseconds a query by plan, roughly.
        most: at most so many.
    """
    front: list[SearchPlan] = []
    best = -1.0
    for plan in sorted(found, key=lambda one: (taken[one], -found[one])):
        if found[plan] > best:
            best = found[plan]
            front.append(plan)
    if len(front) <= most:
        return front
    return [front[round((i + 1) * len(front) / most) - 1] for i in range(most)]


def with_exact(points: Sequence[Point], exact: Point) -> list[Point]:
    """Return the points that are worth it beside an exact scan, and the scan: the one that is sure, always the last."""
    return [*(point for point in pareto(points) if point.microseconds < exact.microseconds), exact]


def pareto(points: Sequence[Point]) -> list[Point]:
    """Return the points that no other beats in both time and recall, from fast to good."""
    front: list[Point] = []
    for point in sorted(points, key=lambda one: (one.microseconds, -one.least)):
        if not front or point.least > front[-1].least:
            front.append(point)
    return front


def choose(front: Sequence[Point], target: float) -> Point | None:
    """Return the fastest point that keeps a recall, or None."""
    return next((point for point in front if point.keeps(target)), None)
