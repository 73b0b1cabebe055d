"""Writes docs/benchmarks/rivals.md, rivals.parquet and the plots from what a folder holds."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rivals.choice import MARGIN, TARGETS, of_winners
from rivals.figures import Figure, Measured, read_all
from rivals.floor import LEARNED_ROWS
from rivals.goals import FULL_GRAPHS, glance
from rivals.inputs import TUNE, Inputs
from rivals.plots import draw
from rivals.records import BATCH, MODES, SINGLE, Built, Floor, Trial, Tuned, shown
from rivals.systems import OURS, SYSTEMS

NAME = "rivals"
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


class OtherThreads(Exception):
    """The folder holds figures of another number of threads."""


def write_machine(inputs: Inputs, threads: int) -> None:
    """Keep beside the records what they were measured on.

    Raises:
        OtherThreads: there are records already, of another number of threads.
    """
    path = inputs.folder / "machine.json"
    if path.exists() and (before := json.loads(path.read_text())["threads"]) != threads:
        raise OtherThreads(f"{inputs.folder} was measured with {before} threads, not {threads}; take another folder")
    facts = {
        "data": inputs.name,
        "rows": len(inputs.xb),
        "dim": inputs.xb.shape[1],
        "kinds": list(inputs.half(TUNE)),
        "queries": {kind: 2 * len(part.queries) for kind, part in inputs.half(TUNE).items()},
        "threads": threads,
        "cores": len(os.sched_getaffinity(0)),
        "cpu": _cpu(),
        "python": platform.python_version(),
    }
    path.write_text(json.dumps(facts, indent=1) + "\n")


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()


def write(folder: Path, docs: Path) -> list[Path]:
    """Write the page, the Parquet file and the plots, and return their paths."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    everything = read_all(folder)
    docs.mkdir(parents=True, exist_ok=True)
    lines = [*_head(everything), *glance(everything, table)]
    paths = [docs / f"{NAME}.md", docs / f"{NAME}.parquet"]
    for measured in everything:
        drawn = draw(measured, docs)
        paths += drawn
        lines += [*_section(measured), f"![Pareto fronts]({drawn[0].name})", ""]
    lines += _growth(everything)
    paths[0].write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")
    rows = [asdict(figure) for measured in everything for figure in measured.figures]
    empty = {name: pa.array([], pa.string()) for name in Figure.__annotations__}
    pq.write_table(pa.Table.from_pylist(rows) if rows else pa.table(empty), paths[1])
    return paths


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return a Markdown table, all columns but the first to the right."""
    lines = [f"| {' | '.join(header)} |", "|---|" + "---:|" * (len(header) - 1)]
    return [*lines, *(f"| {' | '.join(row)} |" for row in rows), ""]


HEAD = f"""# nestvec beside other engines

Made by `scripts/bench FOLDER --report` from what `scripts/bench FOLDER --data NAME --rows N` measured; the figures
are in [rivals.parquet](rivals.parquet) as well. Every system gets the same unit vectors, queries, threads and
cores, runs in a process of its own, and is tuned over its own parameters (`scripts/rivals/`). Cosine is the inner
product of unit vectors.

Settings are chosen on one half of the queries: for each target the fastest that finds it, and {MARGIN} more, on
*every* kind of query, once for batches and once for single queries. The winners of all systems are then measured on
the other half in alternating rounds, each in a fresh process; figures are medians over the rounds.{MISSED} marks a
winner that fell short of its target there. Where a cell has several numbers they are of the kinds of query, in the
order that is named.

A single query has one thread and one core. Build time is from vectors in memory to an index on disk. Index bytes
are the files a search reads, disk bytes everything that was written. Memory is resident after searching, less what
the process had before loading: *anonymous* is its own, *mapped* are pages of files that the system may drop, a
library's own code among them. Cold means that the files were dropped from the page cache: the first queries after
loading. *(mapped)* is the same index left on disk, where a library can do that; LanceDB reads through a cache of
its own.
"""


def _head(everything: Sequence[Measured]) -> Iterator[str]:
    yield HEAD
    for cpu in dict.fromkeys(str(one.machine["cpu"]) for one in everything):
        own = [one for one in everything if one.machine["cpu"] == cpu]
        threads = ", ".join(str(n) for n in dict.fromkeys(one.machine["threads"] for one in own))
        yield f"{cpu}, threads for builds and batches: {threads}. {_rounds(own)}"
        yield ""
    versions = {built.system: built.version for one in everything for built in one.book.all(Built)}
    yield from table(["system", "version"], [[name, text] for name, text in versions.items()])


def _rounds(measured: Sequence[Measured]) -> str:
    runs = [figure.rounds for one in measured for figure in one.figures if figure.metric == "recall"]
    builds = [figure.rounds for one in measured for figure in one.figures if figure.metric == "build"]
    return f"Rounds: {min(runs, default=0)}; builds of each winner: {min(builds, default=0)}."


def _section(measured: Measured) -> Iterator[str]:
    yield from (f"## {measured.name}: {measured.rows:,} vectors of {measured.machine['dim']} dimensions", "")
    yield f"Kinds of query: {' / '.join(measured.kinds)}."
    yield ""
    main = [name for name in measured.systems if not SYSTEMS[name].funnel]
    funnels = [name for name in measured.systems if SYSTEMS[name].funnel]
    for target in TARGETS:
        yield from (f"### Recall@10 of at least {target}", "")
        yield from _tables(measured, main, target)
        yield from _defeats(measured, main, target)
    yield from _floors(measured)
    if funnels:
        yield from ("### A database and a recipe for prefixes", "")
        yield "Milvus Lite with the two-step prefix search of its documents: heads are searched, whole vectors decide."
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
        yield from ("### How far from the floor", "")
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
        yield "What of a build is the index, from vectors in memory: rotation, training and adding, in seconds, and how"
        yield "many times as long a graph over whole vectors takes. First with the principal axes, then with a rotation"
        yield f"that `train --objective rotation` learns from {LEARNED_ROWS:,} rows."
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


def _growth(everything: Sequence[Measured]) -> Iterator[str]:
    """Tell how the time of a query grows with the rows, for data that was measured at several sizes."""
    for name in dict.fromkeys(one.name for one in everything):
        sizes = [one for one in everything if one.name == name]
        if len(sizes) < 2:
            continue
        first, last = sizes[0], sizes[-1]
        yield from (f"## {name}: from {first.rows:,} to {last.rows:,} rows", "")
        yield f"Time a query, with {last.rows / first.rows:.0f} times the rows."
        yield ""
        for target in TARGETS:
            rows = [row for system in last.systems if (row := _grown(system, sizes, target))]
            header = ["recall@10 ≥ " + str(target)]
            for title in ("batch µs", "p50 µs"):
                header += [*(f"{title} at {one.rows:,}" for one in sizes), "grows"]
            yield from table(header, rows)


def _grown(system: str, sizes: Sequence[Measured], target: float) -> list[str]:
    row = [system]
    for mode, metric in ((BATCH, "qps"), (SINGLE, "p50")):
        values = [one.value(system, target, mode, metric) for one in sizes]
        if None in values:
            return []
        micros = [1e6 / v if mode == BATCH else 1e6 * v for v in values if v is not None]
        row += [*(f"{v:,.0f}" for v in micros), f"{micros[-1] / micros[0]:.1f}×"]
    return row
