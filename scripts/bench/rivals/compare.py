"""Compare nestvec with other systems: same vectors, queries, threads and machine, each tuned over its own parameters.

    scripts/bench/rivals/setup                                          # once: an environment for each rival
    python -m scripts.bench rivals FOLDER --data glosses-384 --rows 100000
    python -m scripts.bench rivals FOLDER --report                      # their pages and plots in docs/benchmarks

Every measurement is kept in FOLDER, and a run that was stopped goes on where it was. Other data: --vectors and
--queries for files of your own, --hdf5 for a file of ann-benchmarks, whose result format is then written to
FOLDER/results as well.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import click
import numpy as np

from indexers.vectors import normalize
from scripts.bench import DOCS
from scripts.bench.datasets import NAMES, load, truth
from scripts.bench.rivals import hdf5, report
from scripts.bench.rivals.alone import in_turn
from scripts.bench.rivals.floor import floors
from scripts.bench.rivals.inputs import Asked, Inputs, K, make_inputs
from scripts.bench.rivals.measuring import Bench, Options
from scripts.bench.rivals.records import Book
from scripts.bench.rivals.session import RivalError, python_of
from scripts.bench.rivals.systems import OURS, SYSTEMS


def named_data(name: str, folder: Path, kept: Path, rows: int | None) -> Inputs:
    """Read one of the frozen data sets."""
    if name not in NAMES:
        raise click.UsageError(f"no data {name!r}; there are {', '.join(NAMES)}")
    data = load(name, kept, rows)
    kinds = {kind: Asked(queries, truth(data, kind)) for kind, queries in data.queries.items()}
    return make_inputs(name, folder, data.folder / "xb.npy", len(data.xb), kinds)


def own_data(folder: Path, vectors: Path, queries: tuple[str, ...], rows: int | None) -> Inputs:
    """Read vectors and KIND=FILE of queries that somebody brings."""
    if not queries or not all("=" in one for one in queries):
        raise click.UsageError("--vectors needs --queries KIND=FILE.npy, once for each kind")
    kinds = {kind: Asked(np.load(path)) for kind, _, path in (one.partition("=") for one in queries)}
    source = folder / "data" / f"{vectors.stem}.npy"
    if not source.exists():
        source.parent.mkdir(parents=True, exist_ok=True)
        np.save(source, normalize(np.asarray(np.load(vectors, mmap_mode="r"), dtype=np.float32)))
    return make_inputs(vectors.stem, folder, source, rows, kinds)


def present(names: list[str]) -> list[str]:
    """Return the systems that are installed; say of the others why they are left out."""
    found = []
    for name in names:
        try:
            python_of(SYSTEMS[name])
            found.append(name)
        except RivalError as error:
            click.echo(f"without {name}: {error}", err=True)
    return found


def systems_of(text: str | None) -> list[str]:
    """Read a list of names."""
    names = list(SYSTEMS) if text is None else text.split(",")
    if unknown := [name for name in names if name not in SYSTEMS]:
        raise click.UsageError(f"no system {', '.join(unknown)}; there are {', '.join(SYSTEMS)}")
    return names


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--data", help="A data set that `data` makes.")
@click.option("--data-folder", type=click.Path(path_type=Path), help="Where those are kept; FOLDER/data if not given.")
@click.option("--vectors", type=click.Path(exists=True, path_type=Path), help="Vectors of your own, .npy.")
@click.option("--queries", multiple=True, metavar="KIND=FILE", help="Queries to them; several kinds may be given.")
@click.option("--hdf5", "file", type=click.Path(exists=True, path_type=Path), help="A file of ann-benchmarks, angular.")
@click.option("--rows", type=click.IntRange(min=1_000), help="Only the first so many vectors.")
@click.option("--systems", "wanted", help="Comma-separated; all that are installed if not given.")
@click.option("--threads", default=2, show_default=True, help="For builds and batches; a single query has one.")
@click.option("--repeats", default=5, show_default=True, help="Alternating rounds.")
@click.option(
    "--build-rounds",
    default=1,
    show_default=True,
    help="Builds of each winner, in turn with nestvec's index alone; medians are reported.",
)
@click.option("--builds", type=int, help="Try only the first so many builds of each system: for a quick look.")
@click.option("--budget", default=20.0, show_default=True, help="Seconds for one kind of query in one round.")
@click.option("--limit", default=10_800.0, show_default=True, help="Seconds a build may take.")
@click.option("--report", "reporting", is_flag=True, help="Write the page from what FOLDER holds, and measure nothing.")
@click.option("--docs", type=click.Path(path_type=Path), default=DOCS, help="Where the page is written.")
def main(
    folder: Path,
    data: str | None,
    data_folder: Path | None,
    vectors: Path | None,
    queries: tuple[str, ...],
    file: Path | None,
    rows: int | None,
    wanted: str | None,
    threads: int,
    repeats: int,
    build_rounds: int,
    builds: int | None,
    budget: float,
    limit: float,
    reporting: bool,
    docs: Path,
) -> None:
    """Measure systems on one data set, or write the report of all that were measured."""
    if reporting:
        for path in report.write(folder, docs):
            click.echo(path)
        return
    if sum(one is not None for one in (data, vectors, file)) != 1:
        raise click.UsageError("name one of --data, --vectors and --hdf5")
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        if data is not None:
            inputs = named_data(data, folder, data_folder or folder / "data", rows)
        elif vectors is not None:
            inputs = own_data(folder, vectors, queries, rows)
        else:
            assert file is not None
            inputs = hdf5.read(file, folder)
        report.write_machine(inputs, threads)
    except (hdf5.NotAngular, report.OtherThreads) as error:
        raise click.ClickException(str(error)) from error
    options = Options(threads, repeats, build_rounds, builds, budget, limit)
    bench = Bench(inputs, Book(inputs.folder / "records.jsonl"), options, lambda text: click.echo(text, err=True))
    names = present(systems_of(wanted))
    for name in list(names):
        try:
            bench.tune(SYSTEMS[name])
        except RivalError as error:
            click.echo(f"without {name}: {error}", err=True)
            names.remove(name)
    bench.rounds(names)
    if file is not None:
        for path in hdf5.export(bench, names):
            click.echo(path)
    if OURS in names:
        bench.book.add(
            floors(inputs, bench.book, inputs.folder / "builds" / OURS, threads, K, partial(in_turn, bench, names))
        )
        click.echo(f"measured; now: python -m scripts.bench rivals {folder} --report")
