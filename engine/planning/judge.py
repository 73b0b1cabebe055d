"""Queries with their exact answers, and how well and how fast a search does beside them."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from engine.collection.plans import SINGLE
from engine.planning.queries import QuerySet
from engine.retrieval.coarse import Search
from indexers.base import Neighbors
from indexers.exact import shares_found
from indexers.mask import Mask
from indexers.threads import on_one_thread
from indexers.vectors import FloatArray
from indexers.without_own import without_own

REPEATS = 3
TIMED_ONE_BY_ONE = 100
ENOUGH_SECONDS = 1.0  # after which queries are not asked again
# Half of a 95 % interval of a mean, in standard errors.
INTERVAL = 1.96


@dataclass(frozen=True)
class Judge:
    """What is right, for each kind of query.

    Attributes:
        k: answers that count.
        sets: queries by kind.
        truth: exact answers by kind, [nq, k], without a query's own row.
        mask: which rows may answer; all if None.
    """

    k: int
    sets: Mapping[str, QuerySet]
    truth: Mapping[str, Neighbors]
    mask: Mask | None = None

    def wanted(self, name: str) -> int:
        """Return how many answers a search must be asked for, for a kind of query."""
        return self.k + (self.sets[name].own is not None)

    def recall(self, name: str, search: Search) -> tuple[float, float]:
        """Return recall@k of a search that gives `wanted` answers, and its standard error.

        An answer that ties with the last true one is as right (`exact.recall`).
        """
        asked = self.sets[name]
        found = without_own(search(asked.xq, self.mask), asked.own, self.k)
        shares = shares_found(found.ids, self.truth[name], scores=found.scores)
        return float(shares.mean()), float(shares.std() / math.sqrt(len(shares)))

    def first(self, queries: int) -> Judge:
        """Return a judge by the first queries of each kind."""
        return replace(
            self,
            sets={name: one.part(0, queries) for name, one in self.sets.items()},
            truth={name: Neighbors(one.scores[:queries], one.ids[:queries]) for name, one in self.truth.items()},
        )


def make_judge(
    sets: Iterable[QuerySet], k: int, exact: Callable[[FloatArray, int], Neighbors], mask: Mask | None = None
) -> Judge:
    """Find the exact answers of queries.

    Args:
        sets: queries of each kind.
        k: answers that count.
        exact: an exact search for (queries, k) among the rows that may answer.
        mask: which rows those are; all if None.
    """
    named = {one.name: one for one in sets}
    truth = {name: without_own(exact(one.xq, k + (one.own is not None)), one.own, k) for name, one in named.items()}
    return Judge(k, named, truth, mask)


def microseconds(searches: Mapping[str, Search], judge: Judge, latency: str, *, repeats: int = REPEATS) -> float:
    """Return wall-clock a query, the mean over the kinds: one is as likely to come as the other.

    Args:
        searches: a search for each kind of query.
        judge: has the queries.
        latency: "single", the mean over queries asked one by one on one thread, of the best of some passes: hard
            queries count for what they take; or "batch", the median over whole batches on all threads.
        repeats: passes.
    """
    if latency == SINGLE:
        taken = [
            _one_by_one(searches[name], one.xq[:TIMED_ONE_BY_ONE], judge.mask, repeats)
            for name, one in judge.sets.items()
        ]
    else:
        taken = [_at_once(searches[name], one.xq, judge.mask, repeats) for name, one in judge.sets.items()]
    return statistics.fmean(taken)


def _one_by_one(search: Search, xq: FloatArray, mask: Mask | None, repeats: int) -> float:
    best = [math.inf] * len(xq)
    started = time.perf_counter()
    with on_one_thread():
        for _ in range(repeats):
            for i in range(len(xq)):
                asked = time.perf_counter()
                search(xq[i : i + 1], mask)
                best[i] = min(best[i], time.perf_counter() - asked)
            if time.perf_counter() - started > ENOUGH_SECONDS:
                break
    return statistics.fmean(best) * 1e6


def _at_once(search: Search, xq: FloatArray, mask: Mask | None, repeats: int) -> float:
    taken = []
    for _ in range(repeats):
        started = time.perf_counter()
        search(xq, mask)
        taken.append(time.perf_counter() - started)
    return statistics.median(taken) / len(xq) * 1e6
