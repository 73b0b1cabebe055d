"""Time `tune`, see whether its plans keep their recall on other queries, and write docs/benchmarks/tune.md.

    python -m scripts.bench tune FOLDER

The data are shaped as the CLIP-like vectors of `data`, in other sizes; FOLDER keeps them and the collections.
"""

from __future__ import annotations

import os
from pathlib import Path

import click
import numpy as np

from engine.api import Collection
from engine.jobs.tune import TuneOptions
from indexers.exact import recall
from indexers.threads import available_cores
from indexers.vectors import normalize
from scripts.bench import DOCS
from scripts.bench.datasets import SIZED, half, indexed, nearest, sized
from scripts.bench.machine import peak_bytes
from scripts.bench.timing import clocked
from scripts.markdown_table import table

K = 10
TARGET = 0.95
CASES = {"100000x512": 120, "1000000x768": 600}
COLUMNS = ("rows", "recall", "for", "tune, s", "wanted", "plan", "recall on other queries", "µs a query", "scan, µs")


def tuned(folder: Path, name: str, latency: str) -> list[str]:
    """Tune a collection and return its line."""
    rows, dim = map(int, name.split("x"))
    data = sized(folder, rows, dim)
    told, kept = half(data.queries, 0), half(data.queries, 1)
    with Collection.open(indexed(data)) as opened:
        options = TuneOptions(recall=TARGET, k=K, latency=latency, queries=normalize(told["texts"]))
        _, taken = clocked(opened.tune, options)
        tuning, searcher = opened.space.tuning, opened.searcher
        assert tuning is not None
        plan = opened.space.plans[0].plan
        point = next(one for one in tuning.curve if one.plan == plan)
        xb = np.asarray(searcher.first.store.rows)
        shares = {}
        for kind, xq in kept.items():
            queries = searcher.check_queries(xq)
            found = searcher.search(queries, K)
            shares[kind] = recall(found.ids, nearest(xb.astype(np.float32), queries, K), scores=found.scores)
    return [
        f"{len(xb):,} × {xb.shape[1]}",
        str(TARGET),
        latency,
        f"{taken:.0f}",
        f"< {CASES[name]}",
        f"`{plan}`".replace("|", "\\|"),
        ", ".join(f"{kind} {share:.3f}" for kind, share in shares.items()),
        f"{point.microseconds:.0f}",
        f"{tuning.curve[-1].microseconds:.0f}",
    ]


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--only", type=click.Choice(list(CASES)), help="One case; the page then holds no other.")
@click.option("--page", type=click.Path(path_type=Path), default=DOCS / "tune.md")
def main(folder: Path, only: str | None, page: Path) -> None:
    """Tune collections of the sizes that are promised a time."""
    lines = [tuned(folder, name, latency) for name in ([only] if only else CASES) for latency in ("batch", "single")]
    page.write_text(
        "# How long tuning takes\n\nMade by `python -m scripts.bench tune` on "
        f"{available_cores()} of {os.cpu_count()} cores: vectors shaped as `{SIZED}` of [data.md](data.md), in other "
        "sizes, half of the text queries told to `tune` (which draws its own items), recall on the other half and on "
        "items that were held out. Times of plans are the mean of both kinds. "
        f"Peak memory {peak_bytes() / 2**30:.1f} GB, data included.\n\n" + "\n".join(table(COLUMNS, lines)),
        encoding="utf-8",
    )
    click.echo(page)
