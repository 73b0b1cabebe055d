"""Writes docs/benchmarks/rivals.md, a page for each data set, rivals.parquet and the plots."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from scripts.bench.machine import cpu_name
from scripts.bench.rivals.choice import MARGIN, TARGETS
from scripts.bench.rivals.figures import Figures, read_all, read_figures, write_figures
from scripts.bench.rivals.goals import glance, page_of, reached
from scripts.bench.rivals.inputs import TUNE, Inputs
from scripts.bench.rivals.page import MISSED, page
from scripts.bench.rivals.plots import draw
from scripts.bench.rivals.records import BATCH, SINGLE
from scripts.markdown_table import table

NAME = "rivals"


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
        "cpu": cpu_name(),
        "python": platform.python_version(),
    }
    path.write_text(json.dumps(facts, indent=1) + "\n")


def write(folder: Path, docs: Path) -> list[Path]:
    """Write pages, plots and figures of the data sets that a folder holds; what `docs` has of others stays.

    Returns:
        What was written.
    """
    everything = read_all(folder)
    docs.mkdir(parents=True, exist_ok=True)
    paths = [docs / f"{NAME}.md", docs / f"{NAME}.parquet"]
    known = {(one.name, one.rows): one for one in read_figures(paths[1])}
    for measured in everything:
        drawn = draw(measured, docs)
        paths += [docs / page_of(measured), drawn]
        (docs / page_of(measured)).write_text(_text(page(measured, drawn.name)), encoding="utf-8")
        figures = (*measured.figures, *reached(measured))
        known[measured.name, measured.rows] = Figures(measured.name, measured.rows, figures)
    together = [known[key] for key in sorted(known)]
    write_figures(paths[1], together)
    paths[0].write_text(_text([HEAD, *glance(together), *_growth(together)]), encoding="utf-8")
    return paths


def _text(lines: Iterable[str]) -> str:
    return "\n".join(lines).rstrip() + "\n"


HEAD = f"""# nestvec beside other engines

Made by `python -m scripts.bench rivals FOLDER --report` from what the same with `--data NAME --rows N` measured, a page
for each data set; the figures are in [rivals.parquet](rivals.parquet) as well. Every system gets the same unit vectors,
queries, threads and cores, runs in a process of its own, and is tuned over its own parameters
(`scripts/bench/rivals/`). Cosine is the inner product of unit vectors.

Settings are chosen on one half of the queries: for each target the fastest that finds it, and {MARGIN} more, on
*every* kind of query, once for batches and once for single queries: there by mean and 99th percentile alike, by the
root of their product. The winners of all systems
are then measured on the other half in alternating rounds, each in a fresh process, after one pass over the queries
that is not measured; figures are medians over the rounds.{MISSED} marks a winner that fell short of its target there.
Where a cell has several numbers they are of the kinds of query, in the order that is named.

A single query has one thread and one core. Build time is from vectors in memory to an index on disk. Index bytes
are the files a search reads, disk bytes everything that was written. Memory is resident after searching, less what
the process had before loading: *anonymous* is its own, *mapped* are pages of files that the system may drop, a
library's own code among them. Cold means that the files were dropped from the page cache: the first queries after
loading. *(mapped)* is the same index left on disk, where a library can do that; LanceDB reads through a cache of
its own.
"""


def _growth(everything: Sequence[Figures]) -> Iterator[str]:
    """Tell how the time of a query grows with the rows, for data that was measured at several sizes."""
    for name in dict.fromkeys(one.name for one in everything):
        sizes = [one for one in everything if one.name == name]
        if len(sizes) < 2:
            continue
        first, last = sizes[0], sizes[-1]
        systems = dict.fromkeys(figure.system for figure in last.figures)
        yield from (f"## {name}: from {first.rows:,} to {last.rows:,} rows", "")
        yield f"Time a query, with {last.rows / first.rows:.0f} times the rows."
        yield ""
        for target in TARGETS:
            rows = [row for system in systems if (row := _grown(system, sizes, target))]
            header = ["recall@10 ≥ " + str(target)]
            for title in ("batch µs", "p50 µs"):
                header += [*(f"{title} at {one.rows:,}" for one in sizes), "grows"]
            yield from table(header, rows)


def _grown(system: str, sizes: Sequence[Figures], target: float) -> list[str]:
    row = [system]
    for mode, metric in ((BATCH, "qps"), (SINGLE, "p50")):
        values = [one.value(system, target, mode, metric) for one in sizes]
        if None in values:
            return []
        micros = [1e6 / v if mode == BATCH else 1e6 * v for v in values if v is not None]
        row += [*(f"{v:,.0f}" for v in micros), f"{micros[-1] / micros[0]:.1f}×"]
    return row
