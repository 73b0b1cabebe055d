"""Time the compiled search of this checkout beside that of another: one collection, the same queries, in turn.

    python -m scripts.bench paired OTHER_CHECKOUT --rows 50000

Each searches in a process of its own. The other makes the collection, so that what is new here opens what was there.
Without --data the vectors are synthetic, seeded and clustered, of the shape of `clip-768`.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from itertools import product
from pathlib import Path

import click
import numpy as np

from indexers.threads import available_cores
from scripts import ROOT
from scripts.bench.datasets import NAMES, Dataset, load, sized
from scripts.bench.machine import cpu_name
from scripts.bench.rivals.session import Process, RivalError, surroundings
from scripts.markdown_table import table

K = 10
LIMIT = 1800.0  # seconds an order may take
CLOSE = 2e-6  # scores that tie: float32 sums in another order
WAYS = {  # how is searched → whether exactly, whether one query at a time
    "default plan, one by one": (False, True),
    "default plan, in a batch": (False, False),
    "exact, one by one": (True, True),
    "exact, in a batch": (True, False),
}


def searching(root: Path, name: str, threads: int, folder: Path) -> Process:
    """Start a process that searches with the code of a checkout."""
    if not list((root / "indexers").rglob("_probe*.so")):
        raise click.ClickException(f"{root} has no compiled searches; there: python setup.py build_ext --inplace")
    command = [sys.executable, "-P", str(Path(__file__).with_name("searching.py"))]
    environment = {**surroundings(threads), "PYTHONPATH": str(root)}
    made = Process(name, command, environment, folder / f"{name}.log", LIMIT)
    if (found := made.order("where")["root"]) != str(root):
        made.close()
        raise click.ClickException(f"expected the engine of {root}, found that of {found}")
    return made


def measured(both: Mapping[str, Process], order: Mapping[str, object], folder: Path, rounds: int) -> list[str]:
    """Let both search in turn, who begins alternates; return their medians, the ratio with quartiles, what agrees."""
    taken: dict[str, list[float]] = {name: [] for name in both}
    for number in range(rounds + 1):
        for name in list(both)[:: -1 if number % 2 else 1]:
            answer = both[name].order("search", {**order, "out": str(folder / f"{name}.npz")})
            taken[name].append(statistics.median(answer["seconds"]) * 1e6)
    other, this = (np.array(seconds[1:]) for seconds in taken.values())  # the first round warms what is read
    low, middle, high = np.percentile(this / other, (25, 50, 75))
    old, new = (np.load(folder / f"{name}.npz") for name in both)
    same = (old["ids"] == new["ids"]).all(axis=1) | (np.abs(old["scores"] - new["scores"]) <= CLOSE).all(axis=1)
    each = 1 if order["single"] else len(same)
    times = [f"{np.median(one) / each:.1f}" for one in (other, this)]
    return [*times, f"**{middle:.3f}**", f"{low:.3f} to {high:.3f}", f"{same.sum()} of {len(same)}"]


def lines(both: Mapping[str, Process], data: Dataset, folder: Path, queries: int, rounds: int) -> Iterator[list[str]]:
    """Yield a line for each kind of query and way to search."""
    np.save(folder / "xb.npy", data.xb)
    root = str(folder / "paired.nest")
    next(iter(both.values())).order("build", {"xb": str(folder / "xb.npy"), "folder": root})
    for (kind, xq), (way, (exact, single)) in product(data.queries.items(), WAYS.items()):
        np.save(folder / "queries.npy", xq[:queries])
        order = {"queries": str(folder / "queries.npy"), "folder": root, "k": K, "exact": exact, "single": single}
        yield [kind, way, *measured(both, order, folder, rounds)]


@click.command()
@click.argument("other", type=click.Path(exists=True, file_okay=False, resolve_path=True, path_type=Path))
@click.option("--data", "name", type=click.Choice(NAMES), help="A data set that `data` makes; synthetic if not given.")
@click.option("--folder", type=click.Path(path_type=Path), help="Where data are kept; a temporary one if not given.")
@click.option("--rows", default=50_000, show_default=True, help="Of the base.")
@click.option("--dim", default=256, show_default=True, help="Of synthetic vectors.")
@click.option("--queries", default=200, show_default=True, help="Of each kind.")
@click.option("--rounds", default=21, show_default=True, help="Alternating, after one that is not counted.")
@click.option("--threads", type=int, default=available_cores, help="For batches; a single query has one.")
def main(
    other: Path, name: str | None, folder: Path | None, rows: int, dim: int, queries: int, rounds: int, threads: int
) -> None:
    """Compare the search of this checkout with that of OTHER, and print the table."""
    with tempfile.TemporaryDirectory(prefix="paired-") as made, ExitStack() as open_ones:
        scratch = Path(made)
        data = load(name, folder or scratch, rows) if name else sized(folder or scratch, rows, dim)
        roots = {"other": other, "this": ROOT}
        try:
            both = {
                side: open_ones.enter_context(searching(root, side, threads, scratch)) for side, root in roots.items()
            }
            found = list(lines(both, data, scratch, queries, rounds))
        except RivalError as error:
            told = "".join(path.read_text() for path in sorted(scratch.glob("*.log")))
            raise click.ClickException(f"{error}\n{told}") from error
    shape = f"{len(data.xb):,} × {data.xb.shape[1]} of `{data.name}`"
    click.echo(
        f"`{ROOT.name}` ÷ `{other.name}`: {shape}, k = {K}, {queries} queries of each kind, medians of {rounds} rounds "
        f"in turn and quartiles of their ratios, {threads} threads for batches, {cpu_name()}.\n"
    )
    header = ("queries", "search", "other, µs", "this, µs", "this ÷ other", "quartiles", "same answers")
    click.echo("\n".join(table(header, found, left=(0, 1))))
