"""The recall of many plans of one index, from a search or two for each effort.

An exact rerank loses nothing that is in its shortlist. So a plan finds a true answer if that comes early enough where
the codes of the index put it, and one search with the longest shortlist tells this for all shorter ones. Where a stage
by the bytes of the index comes in between, a second search tells the order by those.

With a margin, the cells that are visited depend on how long the shortlist is: a longer one visits more. There only
shortlists that differ by less than a factor of four are told about by one search, and what is found may be a little too
good, or not quite good enough: whoever chooses measures what he chose.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from engine.planning.judge import Judge
from engine.retrieval.coarse import Coarse, middle_of, prepared, shortlisting
from indexers.base import MISSING
from indexers.exact import TIE
from indexers.families.registry import family
from indexers.plan import SearchPlan, Stage
from indexers.vectors import IdArray

TIES = 54
"""Answers beyond k that are looked at for some as good as the k-th: of a picture there may be many copies."""

MORE = 0.0005
"""Where more effort finds no more than so much more by any shortlist, no plan of still more is looked at."""

NOWHERE = np.iinfo(np.int64).max


def recalls_of(coarse: Coarse, every: Sequence[SearchPlan], judge: Judge) -> dict[SearchPlan, dict[str, float]]:
    """Return the recall of plans by kind of query; those are left out that cannot be needed.

    Args:
        coarse: their index.
        every: plans with one stage by stored vectors, before which there may be one by the bytes of the index.
        judge: queries of each kind.
    """
    found: dict[SearchPlan, dict[str, float]] = {}
    if not every:
        return found
    widest = max(every, key=lambda plan: (plan.probe or NOWHERE, plan.margin, [one.shortlist for one in plan.stages]))
    right = {name: _right(coarse, widest, judge, name) for name in judge.sets}
    # More effort in a graph takes another way, and may find more again.
    is_graph = family(coarse.spec.family).is_graph
    before: dict[tuple[int, int], list[list[float]]] = {}
    saturated: set[tuple[int, int]] = set()
    for (probe, margin, length), group in groupby(sorted(every, key=_together), _together):
        alike = (probe if margin else -1, length)
        if alike in saturated:
            continue
        plans = list(group)
        shares = {name: _shares(coarse, plans, judge, name, right[name]) for name in judge.sets}
        found |= {plan: {name: shares[name][at] for name in shares} for at, plan in enumerate(plans)}
        now = list(shares.values())
        if not is_graph and alike in before and np.max(np.subtract(now, before[alike])) < MORE:
            saturated.add(alike)
        before[alike] = now
    return found


def undominated(found: Mapping[SearchPlan, Mapping[str, float]]) -> dict[SearchPlan, float]:
    """Return the least recall of the plans that find more than any other that does no more in any way."""
    least = {plan: min(shares.values()) for plan, shares in found.items()}
    return {
        plan: share
        for plan, share in least.items()
        if not any(least[other] >= share and _is_less(other, plan) for other in least)
    }


def _is_less(one: SearchPlan, other: SearchPlan) -> bool:
    """Whether a plan does no more than another in any way, and is another."""
    alike = bool(one.margin) == bool(other.margin) and len(one.stages) == len(other.stages)
    probes = (one.probe or NOWHERE) <= (other.probe or NOWHERE) and one.margin <= other.margin
    shorter = all(a.shortlist <= b.shortlist for a, b in zip(one.stages, other.stages, strict=False))
    return one != other and alike and probes and shorter


def _together(plan: SearchPlan) -> tuple[int, int, int]:
    """Return what plans that one search tells about have in common."""
    return plan.probe, plan.margin, plan.stages[0].shortlist.bit_length() // 2 if plan.margin else 0


def _right(coarse: Coarse, widest: SearchPlan, judge: Judge, name: str) -> IdArray:
    """Return the rows that are right answers of each query, int64 [nq, ≥ k]: true ones, and others that tie with them.

    Of the others those that the widest plan finds.
    """
    asked, truth = judge.sets[name], judge.truth[name]
    wanted = min(judge.wanted(name) + TIES, widest.stages[-1].shortlist)
    scores, ids = prepared(coarse, widest, wanted)(asked.xq, judge.mask)
    own = np.full(len(ids), MISSING) if asked.own is None else asked.own
    last = np.where(truth.ids != MISSING, truth.scores, np.inf).min(axis=1, initial=np.inf)
    tied = np.where((scores >= last[:, None] - TIE) & (ids != own[:, None]), ids, MISSING)
    rows = [np.unique(one[one != MISSING]) for one in np.concatenate([truth.ids, tied], axis=1)]
    found = np.full((len(rows), max(map(len, rows))), MISSING, np.int64)
    for at, one in enumerate(rows):
        found[at, : len(one)] = one
    return found


def _shares(coarse: Coarse, plans: Sequence[SearchPlan], judge: Judge, name: str, right: IdArray) -> list[float]:
    """Return the recall of plans of one effort on one kind of query."""
    asked, truth = judge.sets[name], judge.truth[name]
    longest = max(plan.stages[0].shortlist for plan in plans)
    plan = SearchPlan(coarse.spec.key, plans[0].probe, (Stage(coarse.store.dim, longest),), plans[0].margin)
    coded = shortlisting(coarse, plan)(asked.xq, judge.mask).ids
    places, bytes_places, order = _places(coded, right), None, None
    wanted, found = np.minimum((truth.ids != MISSING).sum(axis=1), judge.k), []
    for one in plans:
        inside = places < one.stages[0].shortlist
        if middle_of(coarse.spec, one):
            if bytes_places is None or order is None:
                stages = (Stage(coarse.spec.dim, longest), Stage(coarse.store.dim, longest))
                by_bytes = SearchPlan(coarse.spec.key, plan.probe, stages, plan.margin)
                refined = shortlisting(coarse, by_bytes, longest)(asked.xq, judge.mask).ids
                bytes_places, order = _places(refined, right), _matched(refined, coded)
            # Only what codes have let through takes a place before others.
            before = np.cumsum(order < one.stages[0].shortlist, axis=1)
            ranks = np.take_along_axis(before, np.minimum(bytes_places, order.shape[1] - 1), axis=1) - 1
            inside &= (bytes_places != NOWHERE) & (ranks < one.stages[1].shortlist)
        counted = np.minimum(inside.sum(axis=1), wanted)
        found.append(float(np.where(wanted > 0, counted / np.maximum(wanted, 1), 1.0).mean()))
    return found


def _places(found: IdArray, right: IdArray) -> NDArray[np.int64]:
    """Return at which column of [nq, m] each of [nq, r] rows is found."""
    places = np.full(right.shape, NOWHERE, np.int64)
    for column in range(right.shape[1]):
        hits = (found == right[:, column, None]) & (right[:, column, None] != MISSING)
        places[:, column] = np.where(hits.any(axis=1), hits.argmax(axis=1), NOWHERE)
    return places


def _matched(some: IdArray, other: IdArray) -> NDArray[np.int64]:
    """Return at which column of one array each row of another is; both hold the same rows, in another order."""
    columns = np.empty(some.shape, np.int64)
    np.put_along_axis(columns, np.argsort(some, axis=1), np.argsort(other, axis=1), axis=1)
    return columns
