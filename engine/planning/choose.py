"""Choose the default plan by measuring it: the cheapest that finds what was there to be found.

Cost is what a plan makes the machine read (`curve.read_bytes`), by a model and by counting: the choice does not depend
on how fast or busy a machine is. Recall is measured, on queries of each kind that is expected. `tune` searches wider,
by the clock.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from engine.collection.plans import CurvePoint, PlanEntry, Tuning
from engine.planning.curve import MARGINS, read_bytes
from engine.retrieval.searcher import Searcher
from indexers.base import IndexSpec, Neighbors
from indexers.exact import recall
from indexers.families.registry import family
from indexers.plan import EXACT, SearchPlan, Stage
from indexers.vectors import FloatArray, normalize

K = 10
TARGET = 0.97
"""Recall a plan must show on every query set; above 0.95, since a sample flatters."""

QUERIES = 256
ITEMS = "items"
NEARNESS = 0.25
SHORTLISTS = (50, 100, 200, 400, 800)
PROBE_SHARES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.4)
EF_SEARCH = (32, 64, 128, 256, 512)


@dataclass(frozen=True)
class Candidate:
    """A plan and its modelled cost in bytes a query."""

    plan: SearchPlan
    cost: float


def query_sets(searcher: Searcher, texts: FloatArray | None, seed: int = 0) -> dict[str, FloatArray]:
    """Draw the queries a plan is measured with.

    Args:
        searcher: over the collection.
        texts: unit float32 [nt, D] text embeddings, where there is a text tower.
        seed: of the draw.

    Returns:
        "items": stored vectors, which stand for similarity lookups. "texts" where given, and
        otherwise "mixed": an item and much noise, which like a text beside pictures has a cosine of
        only a quarter with what it is nearest to. (Midpoints of two items were tried. They are as
        easy as items: plans that found 0.98 of their neighbours found 0.7 of those of such queries.)
    """
    rng = np.random.default_rng(seed)
    live = np.setdiff1d(np.arange(len(searcher.store)), searcher.deleted)
    size = min(QUERIES, len(live))
    items = normalize(searcher.vectors(np.sort(rng.choice(live, size, replace=False))))
    if texts is not None and len(texts):
        return {ITEMS: items, "texts": texts[rng.permutation(len(texts))[:QUERIES]]}
    noise = normalize(rng.normal(size=items.shape).astype(np.float32))
    return {ITEMS: items, "mixed": normalize(NEARNESS * items + math.sqrt(1 - NEARNESS**2) * noise)}


def calibrate(searcher: Searcher, queries: Mapping[str, FloatArray]) -> PlanEntry:
    """Measure plans from the cheapest up and return the first that keeps the target.

    Args:
        searcher: over a collection whose rows are all indexed.
        queries: unit float32 [nq, D] by name.

    Returns:
        the default plan with its measured recall; an exact scan if nothing approximate keeps
        the target or is cheaper.
    """
    truths = {name: searcher.search(xq, K + 1, SearchPlan(EXACT)) for name, xq in queries.items()}
    sizes = len(next(iter(queries.values())))
    hopeless: set[tuple[str, int]] = set()
    for candidate in sorted(candidates(searcher, queries), key=lambda one: one.cost):
        probes = (candidate.plan.index, candidate.plan.probe)
        if probes in hopeless:
            continue
        measured = {name: _recall(searcher, name, queries[name], truths[name], candidate.plan) for name in queries}
        if min(measured.values()) >= TARGET:
            return PlanEntry(candidate.plan, K, measured, sizes)
        # Too few cells cannot be made good by more candidates; a short prefix that is scanned can.
        if candidate.plan.probe and min(measured.values()) < TARGET / 2:
            hopeless.add(probes)
    return PlanEntry(SearchPlan(EXACT), K, dict.fromkeys(queries, 1.0), sizes)


def is_for(tuning: Tuning, searcher: Searcher) -> bool:
    """Whether the index of a tuned curve is among those of a collection."""
    return all(point.plan.index == EXACT or point.plan.index in searcher.specs for point in tuning.curve)


def measured_again(searcher: Searcher, queries: Mapping[str, FloatArray], tuning: Tuning) -> tuple[PlanEntry, Tuning]:
    """Measure a tuned curve on rows that were built anew, and choose the fastest plan that keeps the recall now.

    Args:
        searcher: over the collection, whose indexes are those of the curve.
        queries: unit float32 [nq, D] by name.
        tuning: of some time before.

    Returns:
        the default plan, and the tuning with recalls of today. Its times are those of then, and so are recalls of
        queries that somebody brought: the collection does not keep them.
    """
    k = tuning.k
    truths = {name: searcher.search(xq, k + 1, SearchPlan(EXACT)) for name, xq in queries.items()}
    sizes = len(queries[ITEMS])
    wanted = searcher.entry.plans[0].plan if searcher.entry.plans else None
    curve, now = [], None
    kinds = [name for name in queries if name in tuning.fresh]
    for point in tuning.curve:
        measured = {name: _recall(searcher, name, queries[name], truths[name], point.plan, k) for name in kinds}
        curve.append(replace(point, recall={**point.recall, **measured}))
        now = measured if point.plan == wanted else now
    kept = next((one for one in curve if min(one.recall.values()) >= tuning.target), None)
    if kept is None:
        kept = CurvePoint(SearchPlan(EXACT), dict.fromkeys(tuning.fresh, 1.0), 0.0, 0)
    return PlanEntry(kept.plan, k, kept.recall, sizes), replace(tuning, curve=tuple(curve), now=now or kept.recall)


def _recall(searcher: Searcher, name: str, xq: FloatArray, truth: Neighbors, plan: SearchPlan, k: int = K) -> float:
    found = searcher.search(xq, k + 1, plan)
    # An item finds itself, which says nothing: its first answer is left out on both sides.
    part = slice(1, k + 1) if name == ITEMS else slice(0, k)
    wanted = Neighbors(truth.scores[:, part], truth.ids[:, part])
    return round(recall(found.ids[:, part], wanted, scores=found.scores[:, part]), 4)


def candidates(searcher: Searcher, queries: Mapping[str, FloatArray]) -> Iterator[Candidate]:
    """Yield the plans worth measuring: those that read less than half of what an exact scan reads."""
    n, row = len(searcher.store), searcher.store.row_bytes
    for key, spec in searcher.specs.items():
        coarse = searcher.coarse(key)
        margins = MARGINS if coarse.probed else ()
        efforts = [*((probe, 0) for probe in _probes(spec)), *((0, margin) for margin in margins)]
        for (probe, margin), shortlist in product(efforts, (one for one in SHORTLISTS if K <= one < n)):
            plan = SearchPlan(key, probe, (Stage(searcher.dim, shortlist),), margin)
            cost = read_bytes(coarse, plan, queries.values(), K)
            if cost < n * row / 2:
                yield Candidate(plan, cost)


def _probes(spec: IndexSpec) -> Sequence[int]:
    """Return probe values of an index."""
    name = family(spec.family).probe_name
    if name == "nprobe":
        nlist = dict(spec.params)["nlist"]
        return sorted({max(1, round(nlist * share)) for share in PROBE_SHARES})
    return EF_SEARCH if name == "efSearch" else (0,)
