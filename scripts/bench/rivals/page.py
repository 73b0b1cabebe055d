"""Writes the page of one data set: what each system reached, where others are ahead, how far from the floor."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from scripts.bench.rivals.choice import TARGETS, of_winners
from scripts.bench.rivals.figures import Measured
from scripts.bench.rivals.floor import LEARNED_ROWS
from scripts.bench.rivals.goals import FULL_GRAPHS
from scripts.bench.rivals.records import BATCH, MODES, SINGLE, Built, Floor, Trial, Tuned, shown
from scripts.bench.rivals.systems import OURS, SYSTEMS
from scripts.markdown_table import table

MISSED = " †"


@dataclass(frozen=True)
class Contest:
    """A figure that systems are compared by."""

    title: str
    mode: str
    metric: str
    more_is_better: bool = False


WRITTEN = {"build", "index_bytes"}  # the same, mapped or not
CONTESTS = (
    Contest("batch queries a second", BATCH, "qps", more_is_better=True),
    Contest("p50 of a single query", SINGLE, "p50"),
    Contest("p99 of a single query", SINGLE, "p99"),
    Contest("p50 with a cold page cache", SINGLE, "cold_p50"),
    Contest("cold loading", SINGLE, "load"),
    Contest("build time", SINGLE, "build"),
    Contest("index bytes", SINGLE, "index_bytes"),
    Contest("anonymous memory", SINGLE, "anonymous"),
)


# What explains a defeat, where it is not the search itself.
WHY = {
    "cold_p50": "Who reads a whole file while loading has nothing cold left afterwards; nestvec maps it.",
    "load": "What is only mapped, and checked by nobody, is loaded at once.",
    "build": "nestvec's build names every row, writes shards and a second index for exact search, and measures plans "
    "as well; its index alone is timed below.",
    "index_bytes": "The stored vectors are of float16, for exact scores.",
    "anonymous": "Mapped, they keep codes or vectors in pages of files, as nestvec does; what is left is libraries.",
}


def page(measured: Measured, plot: str) -> Iterator[str]:
    """Yield the lines of a data set's page, under the picture of that name."""
    yield from (f"# {measured.name}: {measured.rows:,} vectors of {measured.machine['dim']} dimensions", "")
    yield f"[How this was measured, and other data](rivals.md). Kinds of query: {' / '.join(measured.kinds)}."
    yield from (*_machine(measured), f"![Pareto fronts]({plot})", "")
    main = [name for name in measured.systems if not SYSTEMS[name].funnel]
    funnels = [name for name in measured.systems if SYSTEMS[name].funnel]
    for target in TARGETS:
        yield from (f"## Recall@10 of at least {target}", "")
        yield from _tables(measured, main, target)
        yield from _defeats(measured, main, target)
    yield from _floors(measured)
    if funnels:
        yield from ("## A database and a recipe for prefixes", "")
        yield "Milvus Lite with the two-step prefix search of its documents: heads are searched, whole vectors decide."
        yield f"Rounds: {_rounds(measured, funnels=True)}."
        yield ""
        for target in TARGETS:
            yield f"Recall@10 of at least {target}:"
            yield ""
            yield from _tables(measured, funnels, target)
    last = {(one.system, shown(one.build)): one for one in measured.book.all(Tuned)}
    failed = [one for one in last.values() if one.error]
    if failed:
        yield from ("Builds that failed:", "")
        yield from (f"- {one.system}, {shown(one.build)}: {one.error}" for one in failed)
        yield ""


def _machine(measured: Measured) -> Iterator[str]:
    builds = [figure.rounds for figure in measured.figures if figure.metric == "build"]
    yield f"{measured.machine['cpu']}, threads for builds and batches: {measured.machine['threads']}."
    yield f"Rounds: {_rounds(measured, funnels=False)}; builds of each winner: {_from_to(builds)}."
    yield ""
    versions = {built.system: built.version for built in measured.book.all(Built)}
    yield from table(["system", "version"], [[name, text] for name, text in versions.items()])


def _rounds(measured: Measured, *, funnels: bool) -> str:
    """Say how often winners were measured, of systems with a table of their own or of the others."""
    asked = (one for one in measured.figures if one.metric == "recall" and SYSTEMS[one.system].funnel == funnels)
    return _from_to([one.rounds for one in asked])


def _from_to(counts: Sequence[int]) -> str:
    least, most = min(counts, default=0), max(counts, default=0)
    return str(least) if least == most else f"{least} to {most}"


def _tables(measured: Measured, systems: Sequence[str], target: float) -> Iterator[str]:
    able = [name for name in systems if any(measured.setting(name, target, mode) for mode in MODES)]
    able.sort(key=lambda name: -(measured.value(name, target, BATCH, "qps") or 0))
    if able:
        header = ["system", "batch QPS", "recall", "p50 ms", "p99 ms", "recall"]
        yield from table(header, [_speed(measured, name, target) for name in able])
        header = ["system", "build s", "index B/vector", "disk B/vector", "anonymous MB", "mapped MB"]
        header += ["load s, cold", "cold p50 ms", "cold p99 ms", "warm p50 ms", "warm p99 ms"]
        mapped = [(name, flag) for name in able for flag in (False, True)]
        rows = [_resources(measured, name, target, flag) for name, flag in mapped]
        yield from table(header, [row for row in rows if row])
        rows = [[name, *(_code(measured.setting(name, target, mode)) for mode in MODES)] for name in able]
        yield from table(["system", "setting for batches", "setting for single queries"], rows)
    if unable := [name for name in systems if name not in able]:
        yield f"No setting that was tried reaches it: {', '.join(unable)}."
        yield ""


def _floors(measured: Measured) -> Iterator[str]:
    """Tell how long it would take just to read what nestvec's winners read."""
    rows = []
    known = of_winners(measured.book.all(Floor), measured.book.all(Trial), OURS)
    for one in known:
        for kind, read in one.read.items():
            metric = "qps" if one.mode == BATCH else "p50"
            value = measured.value(OURS, one.target, one.mode, metric, kind=kind)
            if value is not None:
                taken, least = (1 / value if one.mode == BATCH else value), read / one.bandwidth
                cells = f"{read / 1e3:,.0f}", f"{one.bandwidth / 1e9:.1f}", f"{least * 1e6:.1f}", f"{taken * 1e6:.1f}"
                rows.append([f"≥ {one.target}, {one.mode}", kind, *cells, f"{taken / least:.1f}"])
    if rows:
        yield from ("## How far from the floor", "")
        yield "What nestvec's plans read for a query, and how long memory takes to deliver it to as many threads."
        yield "What queries of a batch share, matrix, centroids and the codes and vectors that several of them want, is"
        yield "counted for each of them: a batch may come out below 1."
        yield ""
        yield from table(["recall@10", "queries", "kB a query", "GB/s", "floor µs", "measured µs", "ratio"], rows)
        yield from _trained(measured, known)


def _trained(measured: Measured, known: Sequence[Floor]) -> Iterator[str]:
    """Tell what of a build is the index, and how long graphs over whole vectors take beside it."""
    graphs = {
        name: value
        for name in measured.systems
        if name in FULL_GRAPHS and (value := measured.value(name, TARGETS[0], SINGLE, "build")) is not None
    }
    rows = []
    for text in dict.fromkeys(shown(one.build) for one in known):
        own = [one for one in known if shown(one.build) == text]
        row = [f"`{text}`"]
        for seconds in (own[0].trained, max(one.learned for one in own)):
            beside = [f"{value / seconds:.1f}×" if seconds else "" for value in graphs.values()]
            row += [f"{seconds:.1f}" if seconds else "", *beside]
        rows.append(row)
    if rows:
        yield "What of a build is the index, from vectors in memory: rotation, training and adding, in seconds (a"
        yield "median, each in a process of its own, in turn with the graphs), and how many times as long a graph over"
        yield "whole vectors takes. First with the principal axes, then with a rotation that"
        yield f"`train --objective rotation` learns from {LEARNED_ROWS:,} rows, once."
        yield ""
        times = [f"{name} ÷ that" for name in graphs]
        yield from table(["index", "principal axes, s", *times, "learned rotation, s", *times], rows)


def _code(text: str | None) -> str:
    return "" if text is None else f"`{text.replace('|', chr(92) + '|')}`"


def _cell(measured: Measured, name: str, target: float, mode: str, metric: str, form: str, scale: float = 1.0) -> str:
    values = [measured.value(name, target, mode, metric, kind=kind) for kind in measured.kinds]
    return " / ".join("–" if value is None else format(value * scale, form) for value in values)


def _speed(measured: Measured, name: str, target: float) -> list[str]:
    row = [f"**{name}**" if name == OURS else name]
    for mode, metrics in ((BATCH, (("qps", ",.0f", 1.0),)), (SINGLE, (("p50", ".3f", 1e3), ("p99", ".3f", 1e3)))):
        row += [_cell(measured, name, target, mode, metric, form, scale) for metric, form, scale in metrics]
        reached = measured.value(name, target, mode, "recall")
        missed = MISSED if reached is not None and reached < target else ""
        row.append(_cell(measured, name, target, mode, "recall", ".3f") + missed)
    return row


def _resources(measured: Measured, name: str, target: float, mapped: bool) -> list[str]:
    shapes = (
        ("build", ",.1f", 1.0),
        ("index_bytes", ",.0f", 1.0),
        ("disk_bytes", ",.0f", 1.0),
        ("anonymous", ",.1f", 1e-6),
        ("mapped", ",.1f", 1e-6),
        ("load", ".2f", 1.0),
        ("cold_p50", ".3f", 1e3),
        ("cold_p99", ".3f", 1e3),
        ("p50", ".3f", 1e3),
        ("p99", ".3f", 1e3),
    )
    row = [f"**{name}**" if name == OURS else f"{name} (mapped)" if mapped else name]
    for metric, form, scale in shapes:
        value = measured.value(name, target, SINGLE, metric, mapped=mapped)
        if value is None:
            return []
        row.append(format(value * scale, form))
    return row


def _defeats(measured: Measured, systems: Sequence[str], target: float) -> Iterator[str]:
    """Say where others are better than nestvec, each figure against each system."""
    if OURS not in systems:
        return
    lines = []
    for contest in CONTESTS:
        own = measured.value(OURS, target, contest.mode, contest.metric)
        others = {
            f"{name} (mapped)" if mapped else name: value
            for name in systems
            for mapped in ((False,) if contest.metric in WRITTEN else (False, True))
            if name != OURS
            and (value := measured.value(name, target, contest.mode, contest.metric, mapped=mapped)) is not None
        }
        if own is None:
            lines.append(f"- {contest.title}: nestvec does not reach the target")
            continue
        sign = 1 if contest.more_is_better else -1
        better = {name: value for name, value in others.items() if sign * value > sign * own}
        ranked = sorted(better, key=lambda name: -sign * better[name])
        if ranked:
            told = ", ".join(f"{name} {_ratio(better[name], own)}" for name in ranked)
            why = WHY.get(contest.metric)
            lines.append(f"- {contest.title}: {told}" + (f". {why}" if why else ""))
    yield "Where others are ahead of nestvec:" if lines else "No other system is ahead of nestvec in any of these."
    yield from ("", *lines, *([""] if lines else []))


def _ratio(theirs: float, own: float) -> str:
    low, high = sorted((theirs, own))
    return f"{high / low:.2f}×" if low > 0 else "(none at all)"
