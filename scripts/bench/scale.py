"""How cost grows with the number of rows, beside a grid of FAISS strings; writes docs/benchmarks/scale.md with plots.

    python -m scripts.bench scale FOLDER --rows 100000,500000,1000000

Two shapes of vectors: `even`, clusters of the same size, and `uneven`, clusters whose sizes follow a power law, with
one row in twelve a near-copy of another. Queries are items that were held out and texts beyond a modality gap. FOLDER
keeps the data and a file for each thing that was measured: what is there is not measured again, so a long run may be
cut short.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import click
import faiss
import numpy as np

from engine.api import Collection
from engine.jobs.index import RunOptions
from engine.jobs.tune import TuneOptions
from indexers.exact import recall
from indexers.threads import on_one_thread
from indexers.vectors import FloatArray
from scripts.bench import DOCS
from scripts.bench.datasets import Dataset, half, kept, truth
from scripts.bench.machine import cpu_name
from scripts.bench.synthetic import SHAPES, synthetic
from scripts.bench.timing import clocked
from scripts.markdown_table import table

K, TARGET, SEED = 10, 0.95, 0
NEARLY = 0.005  # what the half of the queries that is told may differ by from that which a setting was chosen with
KINDS = {"even": {"zipf": 0.0}, "uneven": {"zipf": 1.0, "copies": 1 / 12}}
OURS = ("nestvec", "nestvec, tuned")
BLOCK = 65_536
REPEATS, SINGLE = 3, 200
KEPT = 4  # strings that are measured at the next size
PER_CELL = 64  # training rows of the strings; FAISS' own most is 256, and takes four times as long

INTRO = (
    "Made by `python -m scripts.bench scale` on {cores} cores of {cpu}: vectors of {dim} numbers in two shapes, `even` "
    "clusters and `uneven` ones (sizes by a power law, one row in twelve a near-copy of another), queries items that "
    "were held out and texts beyond a gap. *nestvec* is the default plan after `index`, and its *build* all of "
    "`index`, from the file; *tuned* is `tune` for recall .95 after that, with half of the texts, and *build* how long "
    "it took. "
    "Beside them is the fastest FAISS string (train and add) that finds .95 of both kinds, its setting chosen with "
    "half of the queries: of {strings} at the smallest size, and of the {kept} best of those at the next, and so on. "
    "Where none finds .95, it is the one that finds most. All figures are of the other half: the least recall@10, and "
    "times as the mean "
    "over both kinds. Memory is what a build held of its own, mapped files not counted; bytes are on disk, and of a "
    "string those of its file."
)
HEADER = (
    *("rows", "system", "build, s", "memory, MB", "bytes a row", "open, ms"),
    *("recall", "batch, µs", "p50, ms", "p99, ms", "plan"),
)

Record = dict[str, Any]
Search = Callable[[FloatArray], tuple[Any, Any]]


def strings(rows: int, dim: int) -> list[str]:
    """Return the FAISS strings of the grid: principal axes, cells, code widths, and a rerank in half precision."""
    found = []
    for nlist in sorted({1 << round(np.log2(2 * rows**0.5)), 1 << round(np.log2(4 * rows**0.5))}):
        for axes in (64, 128, 192, 0):
            for wide in (2, 1):
                d = axes or dim
                if d < dim or not axes:
                    first = f"PCAR{axes},L2norm," if axes else ""
                    if d // wide <= 256:
                        found.append(f"{first}IVF{nlist},PQ{d // wide}x4fs,Refine(SQfp16)")
        found.append(f"IVF{nlist},RaBitQ,Refine(SQfp16)")
    return found


def dataset(folder: Path, kind: str, rows: int, dim: int) -> Dataset:
    """Return a set, made the first time."""
    shape = replace(SHAPES["clip-768"], rows=rows, dim=dim, **KINDS[kind])
    name = f"{kind}-{rows}x{dim}"
    return kept(name, folder / name, lambda partial: synthetic(shape, partial))


class Anonymous:
    """The most memory of its own that this process has held since, mapped files not counted."""

    def __init__(self) -> None:
        self.before, self.peak, self._done = self._now(), 0, threading.Event()
        self._watch = threading.Thread(target=self._look, daemon=True)
        self._watch.start()

    @staticmethod
    def _now() -> int:
        found = re.search(r"RssAnon:\s+([0-9]+) kB", Path("/proc/self/status").read_text())
        return int(found[1]) << 10 if found else 0

    def _look(self) -> None:
        while not self._done.wait(0.02):
            self.peak = max(self.peak, self._now() - self.before)

    def end(self) -> int:
        """Stop, and return the bytes."""
        self._done.set()
        self._watch.join()
        return self.peak


def searched(data: Dataset, search: Search, which: int, *, thorough: bool = True) -> Record:
    """Return recall and time on one half of the queries, by kind."""
    found: Record = {}
    for kind, xq in half(data.queries, which).items():
        right = truth(data, kind, K)
        own = type(right)(right.scores[which::2], right.ids[which::2])
        answers = search(xq)
        batch = statistics.median(clocked(search, xq)[1] for _ in range(REPEATS if thorough else 1)) / len(xq) * 1e6
        found[kind] = {"recall": recall(answers[1], own, scores=answers[0]), "batch": batch}
        if thorough:
            with on_one_thread():
                each = [clocked(search, xq[row : row + 1])[1] * 1e3 for row in range(min(SINGLE, len(xq)))]
            found[kind] |= {"p50": float(np.median(each)), "p99": float(np.percentile(each, 99))}
    return found


def ours(data: Dataset, root: Path, *, tuned: bool) -> Record:
    """Measure a collection by its default plan, or tune it and measure that."""
    record: Record = {}
    memory = Anonymous()
    if not tuned:
        shutil.rmtree(root, ignore_errors=True)
        with Collection.create(root, encoder="precomputed", dim=data.xb.shape[1]) as made:
            _, record["build"] = clocked(made.index, data.folder / "xb.npy", RunOptions(device="cpu"))
    else:
        texts = half(data.queries, 0)["texts"]
        with Collection.open(root) as opened:
            _, record["build"] = clocked(opened.tune, TuneOptions(recall=TARGET, k=K, queries=texts))
    record["memory"] = memory.end()

    def cold() -> None:
        with Collection.open(root) as opened:
            opened.search(data.queries["items"][0], K)

    cold()
    record["open"] = statistics.median(clocked(cold)[1] for _ in range(5)) * 1e3
    with Collection.open(root) as opened:
        refs = opened.snapshot.manifest.files()
        record["bytes"] = sum(ref.size for ref in refs) / len(data.xb)
        record["plan"] = str(opened.space.plans[0].plan)
        searcher = opened.searcher
        record["found"] = searched(data, lambda xq: searcher.search(xq, K), 1)
    return record


def theirs(data: Dataset, text: str) -> Record:
    """Build a FAISS string, choose its fastest setting with one half of the queries, and measure with the other."""
    n, dim = data.xb.shape
    index = faiss.index_factory(dim, text, faiss.METRIC_INNER_PRODUCT)
    ivf = faiss.extract_index_ivf(index)
    memory, started = Anonymous(), time.perf_counter()
    rng = np.random.default_rng(SEED)
    size = min(n, max(PER_CELL * ivf.nlist, 65_536))
    index.train(np.ascontiguousarray(data.xb[np.sort(rng.choice(n, size, replace=False))]))
    for start in range(0, n, BLOCK):
        index.add(np.ascontiguousarray(data.xb[start : start + BLOCK]))
    record: Record = {"build": time.perf_counter() - started, "memory": memory.end()}
    record["bytes"] = len(faiss.serialize_index(index)) / n if n <= 1_000_000 else None
    best: list[tuple[bool, float, int, int]] = []
    refine = faiss.downcast_index(index)
    for factor in (5, 10, 20, 40, 80):
        for nprobe in (8, 16, 32, 64, 128, 256, 512, 1024):
            if nprobe > ivf.nlist:
                continue
            refine.k_factor, ivf.nprobe = factor, nprobe
            found = searched(data, lambda xq: refine.search(xq, K), 0, thorough=False)
            least = min(one["recall"] for one in found.values())
            taken = statistics.fmean(one["batch"] for one in found.values())
            # Those that keep the recall by time, the others by what they find.
            best.append((least < TARGET, -least if least < TARGET else taken, factor, nprobe))
            if least >= TARGET:
                break
    *_, refine.k_factor, ivf.nprobe = min(best)
    record["plan"] = f"k_factor={refine.k_factor:.0f}, nprobe={ivf.nprobe}"
    record["found"] = searched(data, lambda xq: refine.search(xq, K), 1)
    return record


def measured(folder: Path, kind: str, rows: int, dim: int, system: str) -> Record:
    """Measure one thing in a process of its own, or return what was measured before."""
    path = folder / "scale" / f"{kind}-{rows}x{dim}-{re.sub('[^A-Za-z0-9]+', '_', system)}.json"
    if not path.exists():
        asked = [str(folder), "--one", f"{kind}/{rows}/{dim}/{system}", "--out", str(path)]
        path.parent.mkdir(exist_ok=True)
        subprocess.run([sys.executable, "-m", "scripts.bench", "scale", *asked], check=True)
    record: Record = json.loads(path.read_text())
    return record


def one(folder: Path, asked: str, out: Path) -> None:
    """Measure one thing here."""
    kind, rows, dim, system = asked.split("/", 3)
    data = dataset(folder, kind, int(rows), int(dim))
    if system in OURS:
        record = ours(data, data.folder.with_suffix(".nest"), tuned=system != OURS[0])
    else:
        record = theirs(data, system)
    out.write_text(json.dumps(record))


def exponent(sizes: Sequence[int], values: Sequence[float]) -> str:
    """Return the power of the number of rows that values grow with, fitted to their logarithms."""
    if len(sizes) < 2:
        return ""
    return f"{np.polyfit(np.log(sizes), np.log(np.maximum(values, 1e-9)), 1)[0]:.2f}"


class Told(NamedTuple):
    """The least recall, and the mean of times, over kinds of queries."""

    recall: float
    batch: float
    p50: float
    p99: float


def told(record: Record) -> Told:
    """Sum up what was found by a plan."""
    found = record["found"].values()
    times = (statistics.fmean(one[name] for one in found) for name in Told._fields[1:])
    return Told(min(one["recall"] for one in found), *times)


def best_strings(records: Mapping[str, Record]) -> list[str]:
    """Return the strings that keep the recall, or nearly, from fast to slow, and then the others by what they find."""

    def order(name: str) -> tuple[bool, float]:
        found = told(records[name])
        fails = found.recall < TARGET - NEARLY
        return fails, -found.recall if fails else found.batch

    return sorted((name for name in records if name not in OURS), key=order)


def at_sizes(folder: Path, shape: str, sizes: Sequence[int], dim: int) -> dict[int, dict[str, Record]]:
    """Measure a shape at several sizes: all strings at the first, and the best of those at the next."""
    found: dict[int, dict[str, Record]] = {}
    places = range(len(strings(sizes[0], dim)))
    for size in sizes:
        names = strings(size, dim)
        records = {name: measured(folder, shape, size, dim, name) for name in (*OURS, *(names[at] for at in places))}
        places, found[size] = [names.index(name) for name in best_strings(records)[:KEPT]], records
    return found


def lines(results: Mapping[int, Mapping[str, Record]]) -> Iterator[list[str]]:
    """Yield a line for our two, and for the best string, of each size."""
    for rows, records in results.items():
        best = best_strings(records)[0]
        for name in (*OURS, best):
            record = records[name]
            found, size = told(record), record["bytes"]
            yield [
                f"{rows:,}", f"`{name}`" if name == best else name, f"{record['build']:.0f}",
                f"{record['memory'] / 2**20:,.0f}", f"{size:,.0f}" if size else "",
                f"{record['open']:.0f}" if "open" in record else "", f"{found.recall:.3f}", f"{found.batch:.0f}",
                f"{found.p50:.2f}", f"{found.p99:.2f}", f"`{record['plan']}`".replace("|", "\\|"),
            ]  # fmt: skip


def plot(path: Path, results: Mapping[int, Mapping[str, Record]]) -> None:
    """Draw what grows with the number of rows, both axes logarithmic."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, 4, figsize=(15, 3.6), layout="constrained")
    for ax, (title, value) in zip(axes, GROWING.items(), strict=True):
        for name in (*OURS, "best string"):
            points = []
            for rows, records in results.items():
                shown = best_strings(records)[0] if name == "best string" else name
                points.append((rows, value(records[shown])))
            ax.loglog(*zip(*points, strict=True), marker="o", label=name)
        ax.set_title(title)
        ax.set_xlabel("rows")
    axes[0].legend()
    figure.savefig(path, dpi=90, metadata={"Software": None})


GROWING: Mapping[str, Callable[[Record], float]] = {
    "build, s": lambda record: record["build"],
    "memory, MB": lambda record: record["memory"] / 2**20,
    "batch, µs a query": lambda record: told(record).batch,
    "one query, ms": lambda record: told(record).p50,
}


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--rows", default="100000,500000,1000000", show_default=True, help="Sizes, with commas between them.")
@click.option("--dim", default=512, show_default=True)
@click.option(
    "--shape", "shapes", multiple=True, type=click.Choice(list(KINDS)), default=list(KINDS), show_default=True
)
@click.option("--page", type=click.Path(path_type=Path), default=DOCS / "scale.md")
@click.option("--one", "asked", help="Measure one thing: SHAPE/ROWS/DIM/SYSTEM.", hidden=True)
@click.option("--out", type=click.Path(path_type=Path), hidden=True)
def main(
    folder: Path, rows: str, dim: int, shapes: tuple[str, ...], page: Path, asked: str | None, out: Path | None
) -> None:
    """Measure at several sizes, and write the page."""
    folder.mkdir(parents=True, exist_ok=True)
    if asked is not None and out is not None:
        one(folder, asked, out)
        return
    sizes = [int(size) for size in rows.split(",")]
    intro = INTRO.format(cores=os.cpu_count(), cpu=cpu_name(), dim=dim, strings=len(strings(sizes[0], dim)), kept=KEPT)
    text = ["# How cost grows", "", intro, ""]
    for shape in shapes:
        results = at_sizes(folder, shape, sizes, dim)
        text += [f"## {shape}", "", *table(HEADER, lines(results), left=(1, 10))]
        grown = [
            [name, *(exponent(sizes, [value(one[name]) for one in results.values()]) for value in GROWING.values())]
            for name in OURS
        ]
        text += ["Grows with the rows to the power of:", "", *table(("", *GROWING), grown)]
        plot(page.with_name(f"scale-{shape}.png"), results)
        text += [f"![{shape}](scale-{shape}.png)", ""]
    page.write_text("\n".join(text), encoding="utf-8")
    click.echo("\n".join(text))
