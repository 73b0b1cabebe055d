"""Choose the default plan by measuring it: the cheapest that finds what was there to be found.

Cost is what a plan makes the machine read (`curve.read_bytes`), by a model and by counting: the choice does not depend
on how fast or busy a machine is. Recall is measured, on queries of each kind that is expected. `tune` searches wider,
by the clock.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from engine.collection.plans import CurvePoint, PlanEntry, Tuning
from engine.planning.curve import plans, read_bytes
from engine.planning.judge import Judge, make_judge
from engine.planning.queries import ITEMS, QuerySet
from engine.retrieval.coarse import Search
from engine.retrieval.searcher import Searcher
from indexers.plan import EXACT, SearchPlan
from indexers.vectors import FloatArray, normalize

K = 10
TARGET = 0.97
"""Recall a plan must show on every query set; above 0.95, since a sample flatters."""

QUERIES = 256
NEARNESS = 0.25
SHORTLISTS = (50, 100, 200, 400, 800)


@dataclass(frozen=True)
class Candidate:
    """A plan and its modelled cost in bytes a query."""

    plan: SearchPlan
    cost: float


def judge_of(searcher: Searcher, texts: FloatArray | None, seed: int = 0) -> Judge:
    """Draw the queries a plan is measured with, and find their exact answers.

    Args:
        searcher: over a collection whose rows are all indexed.
        texts: unit float32 [nt, D] text embeddings, where there is a text tower.
        seed: of the draw.

    Returns:
        a judge of "items", stored vectors, which stand for similarity lookups, and of "texts" where given, and
        otherwise "mixed": an item and much noise, which like a text beside pictures has a cosine of
        only a quarter with what it is nearest to. (Midpoints of two items were tried. They are as
        easy as items: plans that found 0.98 of their neighbours found 0.7 of those of such queries.)
    """
    rng = np.random.default_rng(seed)
    rows = searcher.live.numbers
    own = np.sort(rng.choice(rows, min(QUERIES, len(rows)), replace=False))
    items = normalize(searcher.vectors(own))
    if texts is not None and len(texts):
        other = QuerySet("texts", texts[rng.permutation(len(texts))[:QUERIES]])
    else:
        noise = normalize(rng.normal(size=items.shape).astype(np.float32))
        other = QuerySet("mixed", normalize(NEARNESS * items + math.sqrt(1 - NEARNESS**2) * noise))
    return judged_by(searcher, [QuerySet(ITEMS, items, own), other], K)


def judged_by(searcher: Searcher, sets: Iterable[QuerySet], k: int) -> Judge:
    """Return a judge of a collection's plans: the exact answers are those of its own exact search."""
    mask = None if searcher.live.bits is None else searcher.live
    return make_judge(sets, k, lambda xq, wanted: searcher.search(xq, wanted, SearchPlan(EXACT)), mask)


def calibrate(searcher: Searcher, judge: Judge) -> PlanEntry:
    """Measure plans from the cheapest up and return the first that keeps the target.

    Args:
        searcher: over a collection whose rows are all indexed.
        judge: queries of each kind that is expected.

    Returns:
        the default plan with its measured recall; an exact scan if nothing approximate keeps
        the target or is cheaper.
    """
    asked = len(judge.sets[ITEMS])
    hopeless: set[tuple[str, int]] = set()
    for candidate in sorted(candidates(searcher, judge), key=lambda one: one.cost):
        probes = (candidate.plan.index, candidate.plan.probe)
        if probes in hopeless:
            continue
        measured = _recalls(searcher, judge, candidate.plan)
        if min(measured.values()) >= TARGET:
            return PlanEntry(candidate.plan, judge.k, measured, asked)
        # Too few cells cannot be made good by more candidates; a short prefix that is scanned can.
        if candidate.plan.probe and min(measured.values()) < TARGET / 2:
            hopeless.add(probes)
    return PlanEntry(SearchPlan(EXACT), judge.k, dict.fromkeys(judge.sets, 1.0), asked)


def is_for(tuning: Tuning, searcher: Searcher) -> bool:
    """Whether the index of a tuned curve is among those of a collection."""
    return all(point.plan.index == EXACT or point.plan.index in searcher.specs for point in tuning.curve)


def measured_again(searcher: Searcher, judge: Judge, tuning: Tuning) -> tuple[PlanEntry, Tuning]:
    """Measure a tuned curve on rows that were built anew, and choose the fastest plan that keeps the recall now.

    Args:
        searcher: over the collection, whose indexes are those of the curve.
        judge: queries of each kind that is expected.
        tuning: of some time before.

    Returns:
        the default plan, and the tuning with recalls of today. Its times are those of then, and so are recalls of
        queries that somebody brought: the collection does not keep them.
    """
    known = [one for name, one in judge.sets.items() if name in tuning.fresh]
    again = judged_by(searcher, known, tuning.k)
    wanted = searcher.entry.plans[0].plan if searcher.entry.plans else None
    curve, now = [], None
    for point in tuning.curve:
        measured = _recalls(searcher, again, point.plan)
        curve.append(replace(point, recall={**point.recall, **measured}))
        now = measured if point.plan == wanted else now
    kept = next((one for one in curve if min(one.recall.values()) >= tuning.target), None)
    if kept is None:
        kept = CurvePoint(SearchPlan(EXACT), dict.fromkeys(tuning.fresh, 1.0), 0.0, 0)
    entry = PlanEntry(kept.plan, tuning.k, kept.recall, len(judge.sets[ITEMS]))
    return entry, replace(tuning, curve=tuple(curve), now=now or kept.recall)


def _recalls(searcher: Searcher, judge: Judge, plan: SearchPlan) -> dict[str, float]:
    """Return recall@k of a plan on each kind of query."""

    def search(name: str) -> Search:
        return lambda xq, _: searcher.search(xq, judge.wanted(name), plan)

    return {name: round(judge.recall(name, search(name))[0], 4) for name in judge.sets}


def candidates(searcher: Searcher, judge: Judge) -> Iterator[Candidate]:
    """Yield the plans worth measuring: those that read less than half of what an exact scan reads."""
    n, row = len(searcher.first), searcher.first.store.row_bytes
    for key in searcher.specs:
        coarse = searcher.coarse(key)
        for plan in plans(coarse, SHORTLISTS, K, many=False):
            cost = read_bytes(coarse, plan, judge)
            if cost < n * row / 2:
                yield Candidate(plan, cost)
