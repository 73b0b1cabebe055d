"""What a plan keeps under filters of each family, beside the rows that are the best of those that match."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.collection.plans import UnderFilters
from engine.planning.families import FAMILIES, Case, Drawn
from engine.planning.queries import QuerySet
from engine.retrieval.searcher import Searcher
from indexers.base import MISSING, Neighbors
from indexers.exact import shares_found
from indexers.mask import Mask
from indexers.plan import EXACT, SearchPlan
from indexers.store import Blocks
from indexers.threads import on_one_thread
from indexers.vectors import FloatArray

QUERIES = 40
"""Of each kind; under seven families they are a few hundred searches."""

ROUNDS = 3
"""A filter is searched so often, and the fastest time counts: from the second time on it is known to come again."""

SCORED_BYTES = 256 << 20
"""Scores of all rows that are held at once."""


@dataclass(frozen=True)
class Shown:
    """How queries of one kind fared under filters of one family.

    Attributes:
        family: one of `families.FAMILIES`.
        kind: of the queries.
        plan: how they were searched.
        matching: share of the live rows that match, by query, float64 [nq].
        recall: share of the best rows that match which were found, [nq].
        short: whether there were fewer answers than k or than match, bool [nq].
        seconds: what one search took, on one thread, [nq].
    """

    family: str
    kind: str
    plan: SearchPlan
    matching: NDArray[np.float64]
    recall: NDArray[np.float64]
    short: NDArray[np.bool_]
    seconds: NDArray[np.float64]


def under_filters(searcher: Searcher, sets: Iterable[QuerySet], k: int, plans: Sequence[SearchPlan]) -> Iterator[Shown]:
    """Search under filters of every family by several plans, one query at a time, and compare with brute force.

    Args:
        searcher: over the collection.
        sets: queries of each kind; `own` are row numbers of the searcher's.
        k: answers that count.
        plans: each is asked for every query under every filter.

    Yields:
        what was found of each kind of query, family by family, plan by plan. A query of which a filter of a family
        lets no row through counts for none.
    """
    drawn = Drawn(searcher.rows)
    for asked in sets:
        found: dict[tuple[str, SearchPlan], list[tuple[float, float, bool, float]]] = {}
        for number, scores in enumerate(_scores(searcher, asked.xq)):
            own = None if asked.own is None else int(asked.own[number])
            for case in drawn.cases(scores, number):
                for plan, figures in _asked(searcher, asked.xq[number : number + 1], own, case, scores, k, plans):
                    found.setdefault((case.family, plan), []).append(figures)
        for (family, plan), several in sorted(found.items(), key=lambda one: FAMILIES.index(one[0][0])):
            matching, recall, short, seconds = (np.array(part) for part in zip(*several, strict=True))
            yield Shown(family, asked.name, plan, matching, recall, short, seconds)


def kept_under_filters(
    searcher: Searcher, sets: Sequence[QuerySet], k: int, plan: SearchPlan
) -> dict[str, UnderFilters]:
    """Return what a plan keeps under filters of each family, and how long it and an exact search take."""
    exact = SearchPlan(EXACT)
    shown = list(under_filters(searcher, [one.part(0, QUERIES) for one in sets], k, (plan, exact)))
    out = {}
    for family in dict.fromkeys(one.family for one in shown):
        part = [one for one in shown if one.family == family]
        by_plan = [one for one in part if one.plan == plan]
        out[family] = UnderFilters(
            matching=round(float(np.mean([one.matching.mean() for one in by_plan])), 6),
            recall={one.kind: round(float(one.recall.mean()), 4) for one in by_plan},
            microseconds=_microseconds(by_plan),
            exact=_microseconds([one for one in part if one.plan == exact]),
        )
    return out


def _microseconds(several: Sequence[Shown]) -> float:
    """Return what a search took in the median, the mean over the kinds."""
    return round(1e6 * float(np.mean([np.median(one.seconds) for one in several])), 1)


def _scores(searcher: Searcher, xq: FloatArray) -> Iterator[FloatArray]:
    """Yield what all rows score with each query, float32 [rows]."""
    at_once = max(1, SCORED_BYTES // (4 * max(1, searcher.rows)))
    for start in range(0, len(xq), at_once):
        part = xq[start : start + at_once]
        blocks = [part @ block.T for segment in searcher.segments for block in Blocks(segment.store.rows)]
        yield from np.concatenate(blocks, axis=1)


def _asked(
    searcher: Searcher,
    q: FloatArray,
    own: int | None,
    case: Case,
    scores: FloatArray,
    k: int,
    plans: Sequence[SearchPlan],
) -> Iterator[tuple[SearchPlan, tuple[float, float, bool, float]]]:
    """Ask one query under a filter; yield share of rows that match, recall, whether it came short, and seconds."""
    mask = Mask.of(case.allowed)
    there = (searcher.live & mask).numbers
    rows = there[there != own]
    if not len(rows):
        return
    best = rows[np.argsort(-scores[rows], kind="stable")[:k]]
    truth = Neighbors(scores[best][None], best[None])
    itself = None if own is None else np.array([own])
    for plan in plans:
        found, seconds = _timed(searcher, q, k, plan, mask, itself)
        share = float(shares_found(found.ids, truth, scores=found.scores)[0])
        short = int((found.ids != MISSING).sum()) < len(best)
        yield plan, (len(there) / searcher.live.count, share, short, seconds)


def _timed(
    searcher: Searcher, q: FloatArray, k: int, plan: SearchPlan, mask: Mask, own: Any
) -> tuple[Neighbors, float]:
    seconds = []
    with on_one_thread():
        for _ in range(ROUNDS):
            started = time.perf_counter()
            found = searcher.search(q, k, plan, mask=mask, own=own)
            seconds.append(time.perf_counter() - started)
    return found, min(seconds)
