"""Turns records into figures: medians over rounds, of each system's winner for each target; reads and writes them."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np

from scripts.bench.rivals.choice import Contender, winners
from scripts.bench.rivals.measuring import contender_of
from scripts.bench.rivals.records import BATCH, SINGLE, Book, Built, Run, Trial, shown

ALL = "all"
# How the kinds of query become one figure.
TOGETHER = {"qps": statistics.harmonic_mean, "p50": statistics.fmean, "p99": max, "recall": min}


@dataclass(frozen=True)
class Figure:
    """One number, a row of the Parquet file.

    Attributes:
        kind: of query; "all" for all of them, and for what does not depend on queries.
        value: queries a second, seconds, bytes, or a share.
        rounds: how many it is the median of.
    """

    data: str
    rows: int
    dim: int
    system: str
    version: str
    target: float
    mode: str
    mapped: bool
    kind: str
    metric: str
    value: float
    rounds: int
    build: str
    search: str


@dataclass(frozen=True)
class Figures:
    """The figures of one data set."""

    name: str
    rows: int
    figures: tuple[Figure, ...]

    def value(
        self, system: str, target: float, mode: str, metric: str, *, kind: str = ALL, mapped: bool = False
    ) -> float | None:
        """Return one figure, or None."""
        wanted = (system, target, mode, metric, kind, mapped)
        for one in self.figures:
            if (one.system, one.target, one.mode, one.metric, one.kind, one.mapped) == wanted:
                return one.value
        return None

    def setting(self, system: str, target: float, mode: str) -> str | None:
        """Return how a system was built and searched, or None where it does not reach the target."""
        for one in self.figures:
            if (one.system, one.target, one.mode) == (system, target, mode):
                return f"{one.build} · {one.search}" if one.search else one.build
        return None


@dataclass(frozen=True)
class Measured(Figures):
    """A data set with the records its figures come from.

    Attributes:
        machine: what machine.json says: data, rows, dim, kinds, threads, cpu.
    """

    machine: Mapping[str, object]
    book: Book

    @property
    def kinds(self) -> list[str]:
        """Kinds of query."""
        return list(self.machine["kinds"])  # type: ignore[call-overload]

    @property
    def systems(self) -> list[str]:
        """Systems that were tried, in the order they were."""
        return list(dict.fromkeys(one.system for one in self.book.all(Trial)))


def read_all(folder: Path) -> list[Measured]:
    """Read the results of every data set below a folder, by name and rows."""
    found = [_read(path.parent) for path in sorted(folder.glob("*/machine.json"))]
    return sorted(found, key=lambda one: (one.name, one.rows))


def read_figures(path: Path) -> list[Figures]:
    """Read what `write_figures` wrote, by name and rows; nothing where there is no file."""
    import pyarrow.parquet as pq

    rows = [Figure(**row) for row in pq.read_table(path).to_pylist()] if path.exists() else []
    keys = sorted({(one.data, one.rows) for one in rows})
    return [Figures(*key, tuple(one for one in rows if (one.data, one.rows) == key)) for key in keys]


def write_figures(path: Path, everything: Sequence[Figures]) -> None:
    """Write figures as a Parquet file, a row each."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = {"str": pa.string(), "int": pa.int64(), "float": pa.float64(), "bool": pa.bool_()}
    schema = pa.schema([(one.name, kinds[str(one.type)]) for one in fields(Figure)])
    rows = [asdict(figure) for one in everything for figure in one.figures]
    pq.write_table(pa.Table.from_pylist(rows, schema), path)


def _read(folder: Path) -> Measured:
    machine = json.loads((folder / "machine.json").read_text())
    book = Book(folder / "records.jsonl")
    figures = tuple(_figures(machine, book))
    return Measured(str(machine["data"]), int(str(machine["rows"])), figures, machine, book)


def _figures(machine: Mapping[str, object], book: Book) -> Iterator[Figure]:
    trials, runs = book.all(Trial), book.all(Run)
    for system in dict.fromkeys(one.system for one in trials):
        for (target, mode), trial in winners(trials, system).items():
            for mapped in (False, True):
                contender = Contender(system, trial.build, trial.search, mode, mapped)
                own = [run for run in runs if contender_of(run) == contender]
                built = [one for one in book.all(Built, system) if one.params == trial.build]
                if own and built:
                    yield from _of_one(machine, target, own, built)


def _of_one(
    machine: Mapping[str, object], target: float, runs: Sequence[Run], built: Sequence[Built]
) -> Iterator[Figure]:
    one, rows = runs[0], int(str(machine["rows"]))
    made: list[tuple[str, str, float, int]] = []
    for metric, values in _by_kind(runs).items():
        of_kind = {kind: statistics.median(rounds) for kind, rounds in values.items()}
        made += [(kind, metric, value, len(runs)) for kind, value in of_kind.items()]
        made.append((ALL, metric, TOGETHER[metric](list(of_kind.values())), len(runs)))
    once: dict[str, list[float]] = {
        "load": [run.load for run in runs],
        "anonymous": [run.anonymous for run in runs],
        "mapped": [run.mapped_bytes for run in runs],
        "build": [one.seconds for one in built],
        "index_bytes": [one.used / rows for one in built],
        "disk_bytes": [one.disk / rows for one in built],
    }
    if one.mode == SINGLE:
        once["cold_p50"] = [float(np.quantile(run.cold, 0.5)) for run in runs]
        once["cold_p99"] = [float(np.quantile(run.cold, 0.99)) for run in runs]
    made += [(ALL, metric, statistics.median(values), len(values)) for metric, values in once.items()]
    for kind, metric, value, count in made:
        yield Figure(
            data=str(machine["data"]),
            rows=rows,
            dim=int(str(machine["dim"])),
            system=one.system,
            version=built[-1].version,
            target=target,
            mode=one.mode,
            mapped=one.mapped,
            kind=kind,
            metric=metric,
            value=value,
            rounds=count,
            build=shown(one.build),
            search=shown(one.search),
        )


def _by_kind(runs: Sequence[Run]) -> dict[str, dict[str, list[float]]]:
    """Return metric → kind → the figure of each round."""
    kinds = list(runs[0].recall)
    found: dict[str, dict[str, list[float]]] = {"recall": {k: [run.recall[k] for run in runs] for k in kinds}}
    if runs[0].mode == BATCH:
        found["qps"] = {k: [run.queries[k] / statistics.median(run.seconds[k]) for run in runs] for k in kinds}
    else:
        for metric, q in (("p50", 0.5), ("p99", 0.99)):
            found[metric] = {k: [float(np.quantile(run.seconds[k], q)) for run in runs] for k in kinds}
    return found
