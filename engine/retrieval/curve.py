"""Measure plans of one index, and keep those that nothing else beats in both recall and time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine.retrieval.coarse import Coarse, prepared
from engine.retrieval.cost import coarse_bytes, rerank_bytes
from engine.retrieval.judge import Judge, Search, microseconds
from indexers.base import IndexSpec
from indexers.plan import EXACT, SearchPlan, Stage
from indexers.registry import family
from indexers.store import VectorStore

NPROBES = tuple(sorted({round(2 ** (step / 2)) for step in range(21)}))  # 1, 1, 2, 3, 4, 6, 8, … 1024
MOST_OF_THE_CELLS = 0.5
NEAR = 0.1
EF_SEARCH = (16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)


@dataclass(frozen=True)
class Field:
    """Where a plan is tried: an index over the rows of a store, or none for an exact scan.

    Attributes:
        coarse: the index.
        store: its rows.
        selector: a faiss.IDSelector of rows that may be answered, or None.
    """

    coarse: Coarse
    store: VectorStore
    selector: Any | None = None


@dataclass(frozen=True)
class Point:
    """A plan and what it gave.

    Attributes:
        plan: the plan.
        recall: recall@k and its standard error, by kind of query.
        microseconds: wall-clock a query.
        read: modelled bytes a query.
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


def probes(spec: IndexSpec) -> Sequence[int]:
    """Return probe values worth trying on a resolved spec; (0,) where there is nothing to set."""
    name = family(spec.family).probe_name
    if name == "efSearch":
        return EF_SEARCH
    if name is None:
        return (0,)
    most = max(1, round(dict(spec.params)["nlist"] * MOST_OF_THE_CELLS))
    return tuple(value for value in NPROBES if value <= most)


def plans(spec: IndexSpec, shortlists: Sequence[int], dim: int, n: int, k: int) -> Iterator[SearchPlan]:
    """Yield plans of one rerank at full dimension, from short shortlists to long ones."""
    for shortlist in shortlists:
        if k <= shortlist < n:
            for probe in probes(spec):
                # A graph keeps as many candidates as it is asked for in any case.
                if family(spec.family).probe_name != "efSearch" or probe >= shortlist:
                    yield SearchPlan(spec.key, probe, (Stage(dim, shortlist),))


def searches(field: Field, plan: SearchPlan, judge: Judge) -> dict[str, Search]:
    """Return the search of each kind of query by a plan."""
    return {name: prepared(field.coarse, field.store, plan, judge.wanted(name), field.selector) for name in judge.sets}


def measure(field: Field, plan: SearchPlan, judge: Judge, latency: str) -> Point:
    """Measure recall and time of a plan."""
    made = searches(field, plan, judge)
    recall = {name: judge.recall(name, search) for name, search in made.items()}
    read = coarse_bytes(field.coarse.spec, plan.probe, len(field.store))
    read += rerank_bytes(plan, field.store.rows.itemsize)
    return Point(plan, recall, microseconds(made, judge.sets, latency), int(read))


def measure_exact(made: Mapping[str, Search], judge: Judge, latency: str, read: int) -> Point:
    """Time an exact scan, which finds everything."""
    recall = dict.fromkeys(judge.sets, (1.0, 0.0))
    return Point(SearchPlan(EXACT), recall, microseconds(made, judge.sets, latency), read)


def recalls_of(field: Field, every: Sequence[SearchPlan], judge: Judge) -> dict[SearchPlan, float]:
    """Return the least recall of plans, passing over those that cannot be needed.

    More probes or a longer shortlist never find less: once a plan finds next to all, those that cost more in both
    are not tried.
    """
    found: dict[SearchPlan, float] = {}
    for plan in every:
        if not any(
            share >= 0.9995 and done.probe <= plan.probe and done.stages[0].shortlist <= plan.stages[0].shortlist
            for done, share in found.items()
        ):
            made = searches(field, plan, judge)
            found[plan] = min(judge.recall(name, search)[0] for name, search in made.items())
    return found


def worth_timing(
    found: Mapping[SearchPlan, float], read: Mapping[SearchPlan, int], target: float, most: int
) -> list[SearchPlan]:
    """Return plans that no other beats in recall at fewer bytes read.

    Args:
        found: least recall by plan.
        read: modelled bytes a query by plan.
        target: recall that is wanted: those near it come first when there are too many.
        most: at most so many.
    """
    front: list[SearchPlan] = []
    best = -1.0
    for plan in sorted(found, key=lambda one: (read[one], -found[one])):
        if found[plan] > best:
            best = found[plan]
            front.append(plan)
    near = [plan for plan in front if found[plan] >= target - NEAR]
    far = [plan for plan in front if found[plan] < target - NEAR]
    return _spread(far, max(0, most - len(near))) + _spread(near, most)


def _spread(every: Sequence[SearchPlan], most: int) -> list[SearchPlan]:
    if len(every) <= most:
        return list(every)
    return [every[round((i + 1) * len(every) / most) - 1] for i in range(most)]


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
