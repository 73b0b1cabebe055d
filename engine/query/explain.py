"""What a plan does to one query, stage by stage, beside the exact answer."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np

from engine.retrieval.coarse import middle_of
from engine.retrieval.rerank import rerank
from engine.retrieval.searcher import Searcher
from engine.retrieval.segment import Segment
from indexers import checks
from indexers.base import MISSING, Neighbors
from indexers.errors import InvalidInput
from indexers.exact import recall
from indexers.mask import Mask
from indexers.plan import EXACT, SearchPlan
from indexers.vectors import FloatArray

REPEATS = 5

Handed = list[tuple[Segment, Neighbors]]
"""What a stage hands on, part by part; row numbers are the part's."""

T = TypeVar("T")


@dataclass(frozen=True)
class Step:
    """One stage of a plan.

    Example:
        >>> vectors = engine.Collection.open("vectors.nest")
        >>> found = vectors.explain(np.load("vectors.npy")[0], k=5, plan="flat@8 | 100@32")
        >>> [(step.name, step.dim, step.candidates) for step in found.steps]
        [('flat@8', 8, 100), ('rerank@32', 32, 5)]

    Attributes:
        name: what it is, e.g. "ivf-pq@64" or "rerank@512".
        dim: the dimensions it looks at.
        candidates: rows it hands on.
        seconds: median wall-clock of a few repeats.
        recall: share of the exact top k among what it hands on.
    """

    name: str
    dim: int
    candidates: int
    seconds: float
    recall: float


@dataclass(frozen=True)
class Explanation:
    """A plan carried out for one query.

    Example:
        >>> vectors = engine.Collection.open("vectors.nest")
        >>> found = vectors.explain(np.load("vectors.npy")[0], k=5, plan="flat@8 | 100@32")
        >>> print(found.plan, [step.name for step in found.steps])
        flat@8 | 100@32 ['flat@8', 'rerank@32']

    Attributes:
        plan: as it was carried out, with shortlists widened to k.
        k: answers asked for.
        steps: its stages in order.
        seconds: the whole search as it runs otherwise: one call where it can be.
        exact_seconds: exact search.
        exact_bytes: what that read of the indexed rows: codes, lengths and stored vectors.
        scan_bytes: what a scan of them would have.
        recall: recall@k of the search.
        rows: live rows searched.
        unindexed: rows among them that were scanned because no index covers them.
        notes: what became of the question before it was searched: of marks, and what its answers' `notes` say.
    """

    plan: str
    k: int
    steps: list[Step]
    seconds: float
    exact_seconds: float
    exact_bytes: int
    scan_bytes: int
    recall: float
    rows: int
    unindexed: int
    notes: tuple[str, ...] = ()


def explain(
    searcher: Searcher, xq: FloatArray, k: int, plan: SearchPlan | None, mask: Mask | None = None
) -> Explanation:
    """Carry out a plan for one query, unit float32 [1, D], among the rows of a mask, and measure each stage.

    Raises:
        InvalidInput: k < 1, or no row may answer.
        InvalidSpec: the plan names an index the collection does not have.
    """
    rows = (searcher.live if mask is None else searcher.live & mask).count
    if not rows and mask is not None:
        raise InvalidInput("the filter lets no item through: there is nothing to explain")
    k = max(1, min(checks.whole("k", k), rows))
    used = searcher.routes.default(k, searcher.dim) if plan is None else searcher.routes.fit(plan, k)
    truth, exact_seconds = _timed(lambda: searcher.search(xq, k, SearchPlan(EXACT), mask=mask))
    found, seconds = _timed(lambda: searcher.search(xq, k, used, mask=mask))
    return Explanation(
        plan=str(used),
        k=k,
        steps=_steps(partial(_shortlisted, searcher, xq, used, mask), searcher, xq, k, used, truth),
        seconds=seconds,
        exact_seconds=exact_seconds,
        exact_bytes=searcher.exact_bytes(xq, k, mask),
        scan_bytes=sum(len(one) * one.store.row_bytes for one in searcher.segments[:-1]),
        recall=recall(found.ids, truth, scores=found.scores),
        rows=rows,
        unindexed=len(searcher.tail),
    )


def _steps(
    shortlist: Callable[[int], Handed], searcher: Searcher, xq: FloatArray, k: int, plan: SearchPlan, truth: Neighbors
) -> list[Step]:
    if plan.index == EXACT:
        return []
    found, seconds = _timed(partial(shortlist, 0))
    # Rows in the tail are scanned beside the funnel: no stage of it could have found them.
    indexed = Neighbors(truth.scores, np.where(truth.ids < searcher.tail.first, truth.ids, MISSING))
    spec = searcher.specs[plan.index]
    steps = [_step(str(spec), spec.dim, found, seconds, indexed)]
    keeps = [*(stage.shortlist for stage in plan.stages[1:]), k]
    by_bytes = middle_of(spec, plan)
    for stage, keep in zip(plan.stages, keeps, strict=True):
        if by_bytes and stage is plan.stages[0]:
            # One call with the search of the cells, whose time is not told twice.
            found, both = _timed(partial(shortlist, keep))
            seconds = max(0.0, both - seconds)
        else:
            found, seconds = _timed(partial(_reranked, found, xq, stage.dim, keep))
        steps.append(_step(f"rerank@{stage.dim}", stage.dim, found, seconds, indexed))
    return steps


def _shortlisted(searcher: Searcher, xq: FloatArray, plan: SearchPlan, mask: Mask | None, keep: int) -> Handed:
    return list(searcher.candidates(xq, plan, keep, mask))


def _reranked(found: Handed, xq: FloatArray, dim: int, keep: int) -> Handed:
    return [(segment, rerank(segment.store, xq, one.ids, dim, keep)) for segment, one in found]


def _step(name: str, dim: int, found: Handed, seconds: float, truth: Neighbors) -> Step:
    """Say what a stage hands on, of all parts together."""
    parts = [np.where(one.ids == MISSING, MISSING, one.ids + segment.first) for segment, one in found]
    ids = np.concatenate(parts, axis=1)
    return Step(name, dim, ids.shape[1], seconds, recall(ids, truth))


def _timed(work: Callable[[], T]) -> tuple[T, float]:
    """Return a result and the median time it took."""
    times = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        result = work()
        times.append(time.perf_counter() - started)
    return result, statistics.median(times)
