"""Plans as a version keeps them, with what was measured of each."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from indexers.plan import SearchPlan

# Fields that are written only where they say something: a collection without them is what it always was.
UNSAID = {"unsaid": True}

SINGLE, BATCH = "single", "batch"
LATENCIES = (BATCH, SINGLE)


@dataclass(frozen=True)
class PlanEntry:
    """A stored plan and what was measured of it.

    Example:
        >>> [entry] = engine.Collection.open("vectors.nest").space.plans
        >>> entry.k, sorted(entry.recall), min(entry.recall.values()) >= 0.97
        (10, ['items', 'shifted'], True)

    Attributes:
        plan: how to search.
        k: answers it was measured for.
        recall: measured recall@k by query set, e.g. {"items": 0.97}.
        queries: queries in each set.
    """

    plan: SearchPlan
    k: int
    recall: dict[str, float]
    queries: int


@dataclass(frozen=True)
class Blend:
    """What words count beside vectors, as it was tuned on judged topics.

    Example:
        >>> engine.Blend(0.45, 0.3, 0.6, 200, {"vectors": 0.37, "words": 0.39, "both": 0.48})
        Blend(weight=0.45, low=0.3, high=0.6, topics=200, ...)

    Attributes:
        weight: of BM25, from 0 to 1; the cosine has the rest.
        low: the 95 % interval of the weight that is best, over topics drawn again and again.
        high: its other end.
        topics: how many there were.
        ndcg: nDCG@10 by way: "vectors", "words", "both".
    """

    weight: float
    low: float
    high: float
    topics: int
    ndcg: dict[str, float]


@dataclass(frozen=True)
class CurvePoint:
    """A plan and what it was measured to give on the rows it was tuned on.

    Example:
        >>> best = engine.Collection.open("tuned.nest").space.tuning.curve[-1]
        >>> print(best.plan, best.recall)
        exact {'items': 1.0}

    Attributes:
        plan: how to search.
        recall: measured recall@k by query set.
        microseconds: wall-clock a query.
        read: modelled bytes a query.
    """

    plan: SearchPlan
    recall: dict[str, float]
    microseconds: float
    read: int


@dataclass(frozen=True)
class UnderFilters:
    """What a plan was measured to keep under filters of one family, and what an exact search takes there.

    Example:
        >>> under = engine.Collection.open("tuned.nest").space.tuning.filters
        >>> under is None  # nothing is measured where an exact search is the best plan
        True

    Attributes:
        matching: share of the rows that match, mean.
        recall: recall@k among them, by query set.
        microseconds: of one search on one thread by the plan, median.
        exact: the same of an exact search.
    """

    matching: float
    recall: dict[str, float]
    microseconds: float
    exact: float


@dataclass(frozen=True)
class Tuning:
    """What `tune` found, and on what.

    Example:
        >>> tuning = engine.Collection.open("tuned.nest").space.tuning
        >>> recall, half = tuning.fresh["items"]
        >>> tuning.target, tuning.rows, recall >= 0.9
        (0.9, 1200, True)

    Attributes:
        target: recall@k that was asked for, on every query set.
        k: answers a query.
        latency: what was timed, "single" or "batch" queries.
        rows: live rows then.
        memory: bytes the index takes.
        curve: the best plans of the index, from fast and rough to slow and good.
        fresh: recall on queries no choice was made with, and half of its 95 % interval, by query set.
        queries: fresh queries by set.
        now: recall of the default plan at the last build since, by query set; None if there was none.
        filters: by family of filters, what the chosen plan keeps under them; None where that is an exact search.
    """

    target: float
    k: int
    latency: str
    rows: int
    memory: int
    curve: tuple[CurvePoint, ...]
    fresh: dict[str, tuple[float, float]]
    queries: dict[str, int]
    now: dict[str, float] | None = None
    filters: dict[str, UnderFilters] | None = field(default=None, metadata=UNSAID)


@dataclass(frozen=True)
class Cutoff:
    """From which evidence on an item is kept by `at_least="auto"`, and what share of relevant ones that keeps.

    Example:
        >>> print(engine.Collection.open("photos.nest").space.cutoff)
        None

    Attributes:
        evidence: the least that is kept, in deviations above rows at random; see `query.chance`.
        share: of the items that are relevant to fresh queries at least so many are kept, in the mean of calibrations.
        low: with this calibration it is between this share,
        high: and this one, with a probability of 95 %.
        queries: queries that it was found with, of each one relevant item.
        kind: what they were, "captions" or "qrels".
    """

    evidence: float
    share: float
    low: float
    high: float
    queries: int
    kind: str


def read_cutoff(data: Mapping[str, Any]) -> Cutoff:
    """Read what `Cutoff` writes; whatever is wrong raises ValueError, TypeError or KeyError."""
    evidence = float(data["evidence"])
    if not math.isfinite(evidence):
        raise ValueError(f"{evidence} deviations")
    share, low, high = (_share(data[name]) for name in ("share", "low", "high"))
    return Cutoff(evidence, share, low, high, _count(data["queries"], 1), str(data["kind"]))


def read_plan(data: Mapping[str, Any]) -> PlanEntry:
    """Read what `PlanEntry` writes; whatever is wrong raises ValueError, TypeError or KeyError."""
    plan = SearchPlan.parse(data["plan"])
    return PlanEntry(plan, _count(data["k"], 1), _shares(data["recall"]), _count(data["queries"]))


def read_tuning(data: Mapping[str, Any]) -> Tuning:
    """Read what `Tuning` writes; whatever is wrong raises ValueError, TypeError or KeyError."""
    curve = tuple(_point(one) for one in data["curve"])
    fresh = {str(name): (_share(value), _share(half)) for name, (value, half) in data["fresh"].items()}
    if not curve or not fresh or data["latency"] not in LATENCIES:
        raise ValueError("a tuning without a curve, without queries, or of an unknown latency")
    return Tuning(
        target=_share(data["target"]),
        k=_count(data["k"], 1),
        latency=str(data["latency"]),
        rows=_count(data["rows"]),
        memory=_count(data["memory"]),
        curve=curve,
        fresh=fresh,
        queries={str(name): _count(number) for name, number in data["queries"].items()},
        now=None if data.get("now") is None else _shares(data["now"]),
        filters=None if data.get("filters") is None else {str(k): _under(one) for k, one in data["filters"].items()},
    )


def read_blend(data: Mapping[str, Any]) -> Blend:
    """Read what `Blend` writes; whatever is wrong raises ValueError, TypeError or KeyError."""
    weight, low, high = (_share(data[name]) for name in ("weight", "low", "high"))
    return Blend(weight, low, high, _count(data["topics"], 1), _shares(data["ndcg"]))


def _under(data: Mapping[str, Any]) -> UnderFilters:
    taken = (_microseconds(data[name]) for name in ("microseconds", "exact"))
    return UnderFilters(_share(data["matching"]), _shares(data["recall"]), *taken)


def _point(data: Mapping[str, Any]) -> CurvePoint:
    plan = SearchPlan.parse(data["plan"])
    return CurvePoint(plan, _shares(data["recall"]), _microseconds(data["microseconds"]), _count(data["read"]))


def _microseconds(value: Any) -> float:
    found = float(value)
    if not 0 <= found < math.inf:
        raise ValueError(f"{found} microseconds")
    return found


def _shares(data: Mapping[str, Any]) -> dict[str, float]:
    if not data:
        raise ValueError("recall of nothing")
    return {str(name): _share(value) for name, value in data.items()}


def _share(value: Any) -> float:
    found = float(value)
    if not 0 <= found <= 1:
        raise ValueError(f"{found} is no share")
    return found


def _count(value: Any, least: int = 0) -> int:
    found = int(value)
    if found < least:
        raise ValueError(f"{found} is less than {least}")
    return found
