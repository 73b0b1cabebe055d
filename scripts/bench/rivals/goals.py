"""Puts what nestvec set out to reach beside what was reached: ratios to the rivals that each goal names."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from scripts.bench.rivals.choice import TARGETS, choose, cost, of_winners, winners
from scripts.bench.rivals.figures import Figure, Figures, Measured
from scripts.bench.rivals.records import BATCH, SINGLE, Built, Floor, Trial, key_of
from scripts.bench.rivals.systems import OURS, SYSTEMS
from scripts.markdown_table import table

GRAPHS = ("faiss-hnsw", "hnswlib", "usearch-f32", "usearch-f16", "usearch-i8")
FULL_GRAPHS = ("faiss-hnsw", "hnswlib")
STRINGS = ("faiss-factory",)
METRIC = "times better"  # what ratios are called among the figures; their kind is the title of a goal
BYTES = 1.02  # so many times our bytes are equal bytes


@dataclass(frozen=True)
class Goal:
    """One ratio: how many times better nestvec is than the best of some rivals.

    Attributes:
        title: of its column.
        least: what is wanted.
        ratio: of one data set and target; None where there is nothing to compare.
        free: data sets for which it was not set.
    """

    title: str
    least: float
    ratio: Callable[[Measured, float], float | None]
    free: tuple[str, ...] = ()


def others(measured: Measured) -> list[str]:
    """Return the rivals that are compared: not those with a table of their own."""
    return [name for name in measured.systems if name != OURS and not SYSTEMS[name].funnel]


def speed(metric: str, mode: str, names: Sequence[str] | None = None) -> Callable[[Measured, float], float | None]:
    """Return a ratio of times: of the worst kind of query for us, to the best of these rivals (all if None)."""

    def ratio(measured: Measured, target: float) -> float | None:
        found = []
        for kind in measured.kinds:
            own = measured.value(OURS, target, mode, metric, kind=kind)
            values = _values(measured, names or others(measured), target, mode, metric, kind)
            if own is None or not values:
                return None
            found.append(own / max(values) if metric == "qps" else min(values) / own)
        return min(found)

    return ratio


def at_equal_bytes(measured: Measured, target: float) -> float | None:
    """Compare with the fastest FAISS string whose files are no larger than ours.

    That is on the tuning half, unless it is the one that wins at any size and so went into the rounds. Infinite where
    some were tried, and none of them finds enough.
    """
    trials = measured.book.all(Trial)
    used = {(one.system, key_of(one.params)): one.used for one in measured.book.all(Built)}
    own = winners(trials, OURS).get((target, BATCH))
    if own is None or (OURS, key_of(own.build)) not in used:
        return None
    most = used[OURS, key_of(own.build)] * BYTES
    small = [
        one for one in trials if one.system in STRINGS and used.get((one.system, key_of(one.build)), most + 1) <= most
    ]
    theirs = choose(small, target, BATCH)
    if theirs is None:
        return math.inf if small else None
    if winners(trials, theirs.system).get((target, BATCH)) == theirs:
        return speed("qps", BATCH, STRINGS)(measured, target)
    return cost(theirs, BATCH) / cost(own, BATCH)


def build(measured: Measured, target: float) -> float | None:
    """Compare the build of our index alone, rotation included, with the fastest graph over whole vectors."""
    known = of_winners(measured.book.all(Floor), measured.book.all(Trial), OURS)
    own = [one.trained for one in known if (one.target, one.mode) == (target, BATCH)]
    values = _values(measured, FULL_GRAPHS, TARGETS[0], SINGLE, "build")
    return min(values) / own[-1] if own and values else None


def memory(measured: Measured, target: float) -> float | None:
    """Compare anonymous memory while serving with the smallest graph's over whole vectors, in memory."""
    own = measured.value(OURS, target, SINGLE, "anonymous")
    values = _values(measured, FULL_GRAPHS, TARGETS[0], SINGLE, "anonymous")
    return min(values) / own if own and values else None


def _values(
    measured: Measured, names: Iterable[str], target: float, mode: str, metric: str, kind: str = "all"
) -> list[float]:
    found = (measured.value(name, target, mode, metric, kind=kind) for name in names)
    return [value for value in found if value is not None]


GOALS = (
    Goal("batch, any", 1, speed("qps", BATCH)),
    Goal("batch, graphs", 2, speed("qps", BATCH, GRAPHS)),
    Goal("batch, ScaNN", 1.5, speed("qps", BATCH, ("scann",))),
    Goal("batch, FAISS strings", 1.5, speed("qps", BATCH, STRINGS), free=("glosses-384", "bundled-384")),
    Goal("the same at equal bytes", 1.5, at_equal_bytes, free=("bundled-384",)),
    Goal("p50, any", 1, speed("p50", SINGLE)),
    Goal("p99, any", 1, speed("p99", SINGLE)),
    Goal("build, HNSW", 5, build),
    Goal("memory, HNSW", 8, memory),
)

INTRODUCTION = f"""## At a glance

How many times better nestvec is than the best of the rivals that a column names, in the kind of query where it is
least so; in brackets what it set out to reach, and in bold what it missed. Batches are queries a second, builds the
time of rotation, training and adding, memory is anonymous. *Equal bytes* compares with the fastest FAISS string whose
files have at most {BYTES:.2f} times the bytes of ours (on the half of the queries that settings were chosen by, where
that is not the fastest of all); where none of them finds enough, it says so. FAISS strings of any size were to be
beaten that clearly at 768 and 2,048 dimensions, at equal bytes wherever rows are many.
"""


def reached(measured: Measured) -> list[Figure]:
    """Return the ratios of a data set as figures, to be kept beside the others."""
    own = {one.target: one for one in measured.figures if one.system == OURS and one.mode == BATCH}
    found = []
    for target, like in own.items():
        for goal in GOALS:
            value = goal.ratio(measured, target)
            if value is not None:
                found.append(replace(like, kind=goal.title, metric=METRIC, value=value))
    return found


def glance(everything: Sequence[Figures]) -> list[str]:
    """Return the lines of the table that begins the page, of data sets with what is `reached`."""
    header = ["data", "recall@10", *(f"{one.title} (≥ {one.least:g})" for one in GOALS)]
    rows = []
    for one in everything:
        for target in TARGETS:
            cells = [_cell(goal, one.name, one.value(OURS, target, BATCH, METRIC, kind=goal.title)) for goal in GOALS]
            if any(cells):
                rows.append([f"[{one.name}, {one.rows:,}]({page_of(one)})", f"≥ {target}", *cells])
    return [INTRODUCTION, *table(header, rows)] if rows else []


def page_of(one: Figures) -> str:
    """Return the name of the page of a data set."""
    return f"rivals-{one.name}-{one.rows}.md"


def _cell(goal: Goal, data: str, ratio: float | None) -> str:
    if ratio is None:
        return ""
    if ratio == math.inf:
        return "none does"
    text = f"{ratio:.2f}" if ratio < 10 else f"{ratio:.0f}"
    return text if ratio >= goal.least or data in goal.free else f"**{text}**"
