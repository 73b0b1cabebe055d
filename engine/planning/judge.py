"""Queries with their exact answers, and how well and how fast a search does beside them."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from engine.collection.plans import SINGLE
from engine.retrieval.coarse import Search
from indexers.base import Neighbors
from indexers.exact import shares_found
from indexers.threads import on_one_thread
from indexers.vectors import FloatArray, IdArray

REPEATS = 3
TIMED_ONE_BY_ONE = 100
ENOUGH_SECONDS = 1.0  # after which queries are not asked again
# Half of a 95 % interval of a mean, in standard errors.
INTERVAL = 1.96


@dataclass(frozen=True)
class Queries:
    """Queries of one kind.

    Attributes:
        xq: unit float32 [nq, D].
        rows: int64 [nq], which rows of the base they are, if they are: each is then its own first answer, which
            says nothing.
    """

    xq: FloatArray
    rows: IdArray | None = None

    @property
    def own(self) -> bool:
        """Whether they are rows of the base."""
        return self.rows is not None

    def part(self, start: int, stop: int) -> Queries:
        """Return some of them."""
        return Queries(np.ascontiguousarray(self.xq[start:stop]), None if self.rows is None else self.rows[start:stop])


@dataclass(frozen=True)
class Judge:
    """What is right, for each kind of query.

    Attributes:
        k: answers that count.
        sets: queries by kind.
        truth: exact answers by kind, [nq, k], without a query's own row.
    """

    k: int
    sets: Mapping[str, Queries]
    truth: Mapping[str, Neighbors]

    def wanted(self, name: str) -> int:
        """Return how many answers a search must be asked for, for a kind of query."""
        return self.k + self.sets[name].own

    def recall(self, name: str, search: Search) -> tuple[float, float]:
        """Return recall@k of a search that gives `wanted` answers, and its standard error.

        An answer that ties with the last true one is as right (`exact.recall`).
        """
        found = _counted(search(self.sets[name].xq), self.sets[name].own)
        shares = shares_found(found.ids, self.truth[name], scores=found.scores)
        return float(shares.mean()), float(shares.std() / math.sqrt(len(shares)))

    def first(self, queries: int) -> Judge:
        """Return a judge by the first queries of each kind."""
        return Judge(
            self.k,
            {name: one.part(0, queries) for name, one in self.sets.items()},
            {name: Neighbors(one.scores[:queries], one.ids[:queries]) for name, one in self.truth.items()},
        )


def make_judge(sets: Mapping[str, Queries], k: int, exact: Callable[[FloatArray, int], Neighbors]) -> Judge:
    """Find the exact answers of queries.

    Args:
        sets: queries by kind.
        k: answers that count.
        exact: an exact search for (queries, k).
    """
    truth = {name: _counted(exact(one.xq, k + one.own), one.own) for name, one in sets.items()}
    return Judge(k, sets, truth)


def _counted(found: Neighbors, own: bool) -> Neighbors:
    return Neighbors(found.scores[:, 1:], found.ids[:, 1:]) if own else found


def microseconds(searches: Mapping[str, Search], sets: Mapping[str, Queries], latency: str) -> float:
    """Return wall-clock a query, the mean over the kinds: one is as likely to come as the other.

    Args:
        searches: a search for each kind of query.
        sets: the queries.
        latency: "single", the mean over queries asked one by one on one thread, of the best of some passes: hard
            queries count for what they take; or "batch", the median over whole batches on all threads.
    """
    if latency == SINGLE:
        taken = [_one_by_one(searches[name], one.xq[:TIMED_ONE_BY_ONE]) for name, one in sets.items()]
    else:
        taken = [_at_once(searches[name], one.xq) for name, one in sets.items()]
    return statistics.fmean(taken)


def _one_by_one(search: Search, xq: FloatArray) -> float:
    best = [math.inf] * len(xq)
    started = time.perf_counter()
    with on_one_thread():
        for _ in range(REPEATS):
            for i in range(len(xq)):
                asked = time.perf_counter()
                search(xq[i : i + 1])
                best[i] = min(best[i], time.perf_counter() - asked)
            if time.perf_counter() - started > ENOUGH_SECONDS:
                break
    return statistics.fmean(best) * 1e6


def _at_once(search: Search, xq: FloatArray) -> float:
    taken = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        search(xq)
        taken.append(time.perf_counter() - started)
    return statistics.median(taken) / len(xq) * 1e6
