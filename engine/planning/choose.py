"""Choose the default plan by measuring it: the cheapest that finds what was there to be found.

Cost is what a plan makes the machine read (`curve.read_bytes`), by a model and by counting: the choice does not depend
on how fast or busy a machine is. Recall is measured, on queries of each kind that is expected. `tune` searches wider,
by the clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from engine.collection.plans import CurvePoint, PlanEntry, Tuning
from engine.planning.curve import COUNTED, around, plans, read_bytes
from engine.planning.judge import Judge, make_judge
from engine.planning.places import recalls_of
from engine.planning.queries import ITEMS, QuerySet
from engine.retrieval.coarse import Search
from engine.retrieval.searcher import Searcher
from indexers.plan import EXACT, SearchPlan, Stage
from indexers.vectors import FloatArray, normalize

K = 10
TARGET, STAND_IN_TARGET = 0.97, 0.95
"""Recall a plan must show on every query set: above 0.95, since a sample flatters, but for queries that stand in for
others: they are harder than those."""

UNSURE = 0.01
"""What is told of a plan with a margin before it is measured may be off by so much."""

QUERIES = 256
SHIFTED = "shifted"
ITEM, SPREAD, GAP, GAPS = 0.35, 0.25, 0.9, 8
# How many quarters of all dimensions such gaps are orthogonal to, and how many dimensions at most.
ORTHOGONAL, MOST_ORTHOGONAL = 3, 768
SPREAD_ROWS = 4096
TINY = 1e-20
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
        otherwise "shifted" ones (`shifted`).
    """
    rng = np.random.default_rng(seed)
    rows = searcher.live.numbers
    own = np.sort(rng.choice(rows, min(QUERIES, len(rows)), replace=False))
    items = normalize(searcher.vectors(own))
    if texts is not None and len(texts):
        other = QuerySet("texts", texts[rng.permutation(len(texts))[:QUERIES]])
    else:
        some = searcher.vectors(np.sort(rng.choice(rows, min(SPREAD_ROWS, len(rows)), replace=False)))
        other = QuerySet(SHIFTED, shifted(items, some, rng))
    return judged_by(searcher, [QuerySet(ITEMS, items, own), other], K)


def shifted(items: FloatArray, rows: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Make queries that lie beside the rows, as texts lie beside pictures, where nobody has any.

    A third of each is an item, a fourth varies as rows do, and the rest is a direction that it shares with an eighth of
    them: the gap between two modalities is a shift that is the same for all (Liang et al. 2022, arXiv:2203.02053), and
    orthogonal to what their vectors vary in (Zhang et al. 2023, arXiv:2302.04269). One alone may happen to be easy.

    Noise in all directions alike was tried in place of gap and spread. It is harder than any text: where .93 of the
    neighbours of texts were found, .78 of its own were. So are gaps that lie anywhere: they change the order of the
    rows. Midpoints of two items are as easy as items.

    Args:
        items: unit float32 [m, D].
        rows: unit float32 [n, D], a sample.
        rng: draws what is drawn.
    """
    dim = items.shape[1]
    drawn = rng.normal(size=(len(items), len(rows))).astype(np.float32)
    spread: FloatArray = drawn @ (rows - rows.mean(axis=0))
    lengths = np.linalg.norm(spread, axis=1, keepdims=True)
    gaps = rng.normal(size=(GAPS, dim))
    varied = np.linalg.qr(rows[: min(len(rows), ORTHOGONAL * dim // 4, MOST_ORTHOGONAL)].T.astype(np.float64))[0]
    gaps -= gaps @ varied @ varied.T
    own = normalize(gaps.astype(np.float32))[np.arange(len(items)) % GAPS]
    # Rows that are all alike do not vary.
    return normalize(ITEM * items + SPREAD * spread / np.maximum(lengths, TINY) + GAP * own)


def judged_by(searcher: Searcher, sets: Iterable[QuerySet], k: int) -> Judge:
    """Return a judge of a collection's plans: the exact answers are those of its own exact search."""
    mask = None if searcher.live.bits is None else searcher.live
    return make_judge(sets, k, lambda xq, wanted: searcher.search(xq, wanted, SearchPlan(EXACT)), mask)


def calibrate(searcher: Searcher, judge: Judge, stages: Sequence[Stage] = ()) -> PlanEntry:
    """Measure plans from the cheapest up and return the first that keeps the target.

    Args:
        searcher: over a collection whose rows are all indexed.
        judge: queries of each kind that is expected.
        stages: those that its one index was chosen with, if it was; shortlists about as long are tried.

    Returns:
        the default plan with its measured recall; an exact scan if nothing approximate keeps
        the target or is cheaper.
    """
    asked = len(judge.sets[ITEMS])
    for candidate in sorted(candidates(searcher, judge, stages), key=lambda one: one.cost):
        measured = _recalls(searcher, judge, candidate.plan)
        if all(value >= wanted(name) for name, value in measured.items()):
            return PlanEntry(candidate.plan, judge.k, measured, asked)
    return PlanEntry(SearchPlan(EXACT), judge.k, dict.fromkeys(judge.sets, 1.0), asked)


def wanted(name: str) -> float:
    """Return the recall that a default plan must show on a kind of query."""
    return STAND_IN_TARGET if name == SHIFTED else TARGET


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


def candidates(searcher: Searcher, judge: Judge, stages: Sequence[Stage] = ()) -> Iterator[Candidate]:
    """Yield the plans that may keep the target, and read less than half of what an exact search reads."""
    most = min(_exact_bytes(searcher, one.xq) for one in judge.sets.values()) / 2
    for key in searcher.specs:
        coarse = searcher.coarse(key)
        shortlists, last = around(stages) if stages else (SHORTLISTS, ())
        found = recalls_of(coarse, list(plans(coarse, shortlists, K + 1, last, many=False)), judge)
        for plan, recall in found.items():
            if all(value >= wanted(name) - UNSURE for name, value in recall.items()):
                cost = read_bytes(coarse, plan, judge)
                if cost < most:
                    yield Candidate(plan, cost)


def _exact_bytes(searcher: Searcher, xq: FloatArray) -> float:
    """Return what an exact search for some queries reads, a query."""
    asked = (xq[row : row + 1] for row in range(0, len(xq), max(1, len(xq) // COUNTED)))
    return float(np.mean([searcher.exact_bytes(one, K) for one in asked]))
