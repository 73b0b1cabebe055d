"""Measure searches by tags in the shape of BigANN's filter track, beside its FAISS baseline's method: tags.md.

    python -m scripts.bench tags FOLDER [--rows N]

The track (NeurIPS'23, big-ann-benchmarks): 192 dimensions, a vocabulary of 200,386 tags, one or two a query, recall@10.
Its data are not here; these are made: rows about centres, bags of tags whose frequencies are Zipf's, half of them drawn
by what a row lies near to. A query is asked with one or two tags of a row beside it, as there.

Its FAISS baseline keeps the rows of every tag in a list. Where few rows are expected to match, the lists are
intersected and all they have in common is scored; else an IVF index of 8-bit codes is searched with what matches as
selector. There a signature in the high bits of a row's number rules most others out; here it is a bitmap, made for each
query.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import faiss
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from engine.api import Collection
from engine.ingest.joined import TableOptions
from engine.jobs.index import RunOptions
from indexers.threads import on_one_thread
from indexers.vectors import FloatArray, IdArray, normalize
from scripts.bench import DOCS
from scripts.bench.machine import cpu_name
from scripts.bench.timing import clocked
from scripts.markdown_table import table

ROWS, DIM, VOCABULARY, BAG, SEED = 1_000_000, 192, 200_000, 10, 26
CENTRES, SPREAD, BESIDE = 2000, 0.7, 0.5
"""Around so many directions rows lie, with noise of that length beside them; queries lie with such beside rows."""

K, QUERIES, FEW = 10, 400, 1e-3
"""Where fewer than so many of all rows are expected to match, the baseline scores them all; its own threshold."""

NPROBES = (16, 64, 256)
AT_ONCE = 50_000


@dataclass(frozen=True)
class Tagged:
    """A set: unit vectors, and the tags of each row, sorted.

    Attributes:
        xb: float32 [n, DIM].
        tags: int64 [values], those of row r from starts[r] to before starts[r + 1].
        starts: int64 [n + 1].
        owners: int64 [values], rows by tag: those of tag t from firsts[t] to before firsts[t + 1].
        firsts: int64 [VOCABULARY + 1].
    """

    xb: FloatArray
    tags: IdArray
    starts: IdArray
    owners: IdArray
    firsts: IdArray

    def having(self, wanted: Sequence[int]) -> IdArray:
        """Return the rows that have all of some tags, ascending."""
        rows = self.owners[self.firsts[wanted[0]] : self.firsts[wanted[0] + 1]]
        for tag in wanted[1:]:
            rows = np.intersect1d(rows, self.owners[self.firsts[tag] : self.firsts[tag + 1]], assume_unique=True)
        return rows


def made(rows: int) -> Tagged:
    """Draw a set."""
    rng = np.random.default_rng([SEED, rows])
    centres = normalize(rng.normal(size=(CENTRES, DIM)).astype(np.float32))
    near = rng.integers(0, CENTRES, rows)
    xb = np.empty((rows, DIM), np.float32)
    for start in range(0, rows, AT_ONCE):
        part = near[start : start + AT_ONCE]
        noise = rng.normal(size=(len(part), DIM)).astype(np.float32) / DIM**0.5
        xb[start : start + AT_ONCE] = normalize(centres[part] + SPREAD * noise)
    sizes = np.maximum(1, rng.poisson(BAG, rows))
    owner = np.repeat(np.arange(rows), sizes)
    ranks = _zipf(rng, len(owner))
    # Half of a row's tags are those that rows about its centre have: the vocabulary in another order.
    moved = (ranks * 7919 + near[owner] * 104_729) % VOCABULARY
    tags = np.where(rng.random(len(owner)) < 0.5, ranks, moved)
    both = np.unique(owner * VOCABULARY + tags)
    owner, tags = np.divmod(both, VOCABULARY)
    by_tag = np.argsort(tags, kind="stable")
    firsts = np.searchsorted(tags[by_tag], np.arange(VOCABULARY + 1))
    return Tagged(xb, tags, np.searchsorted(owner, np.arange(rows + 1)), owner[by_tag], firsts)


def _zipf(rng: np.random.Generator, values: int) -> IdArray:
    shares = np.cumsum(1 / np.arange(1, VOCABULARY + 1))
    return np.searchsorted(shares, rng.random(values) * shares[-1])


Asked = tuple[FloatArray, tuple[int, ...]]
"""A vector, float32 [DIM], and the tags that answers must have."""


def queries(data: Tagged) -> list[Asked]:
    """Draw queries beside rows, every other one of two tags, of which K rows or more have all."""
    rng = np.random.default_rng([SEED, len(data.xb), 1])
    out: list[Asked] = []
    while len(out) < QUERIES:
        row = int(rng.integers(0, len(data.xb)))
        bag = data.tags[data.starts[row] : data.starts[row + 1]]
        wanted = tuple(sorted(rng.permutation(bag)[: 1 + len(out) % 2].tolist()))
        if len(data.having(wanted)) >= K:
            noise = rng.normal(size=DIM).astype(np.float32) / DIM**0.5
            out.append((normalize((data.xb[row] + BESIDE * noise)[None])[0], wanted))
    return out


class Baseline:
    """The method of the track's FAISS baseline."""

    def __init__(self, data: Tagged) -> None:
        self._data, rows = data, len(data.xb)
        cells = int(2 ** np.round(np.log2(16 * np.sqrt(rows))))  # 32,768 of ten million rows there, as many a cell here
        cells = min(cells, rows // 256)
        self.index = faiss.index_factory(DIM, f"IVF{cells},SQ8", faiss.METRIC_INNER_PRODUCT)
        self.index.train(data.xb[: 40 * cells])
        self.index.add(data.xb)
        self.named = f"IVF{cells},SQ8"

    def search(self, q: FloatArray, wanted: tuple[int, ...], nprobe: int) -> IdArray:
        """Return the rows that are found, at most K."""
        data = self._data
        expected = np.prod([(data.firsts[tag + 1] - data.firsts[tag]) / len(data.xb) for tag in wanted])
        rows = data.having(wanted)
        if expected < FEW:
            return rows[np.argsort(data.xb[rows] @ -q)[:K]]
        allowed = np.zeros(len(data.xb), bool)
        allowed[rows] = True
        bits = np.packbits(allowed, bitorder="little")
        params = faiss.SearchParametersIVF(sel=faiss.IDSelectorBitmap(bits), nprobe=nprobe)
        found: IdArray = self.index.search(q[None], K, params=params)[1][0]
        return found[found >= 0]


def opened(folder: Path, data: Tagged) -> Collection:
    """Open the collection of a set, made the first time."""
    root = folder / f"tags-{len(data.xb)}.nest"
    if not root.exists():
        texts = pa.array([f"t{tag}" for tag in range(VOCABULARY)]).take(pa.array(data.tags))
        said = pa.table({"tags": pa.ListArray.from_arrays(pa.array(data.starts, pa.int32()), texts)})
        np.save(folder / "tags.npy", data.xb)
        pq.write_table(said, folder / "tags.parquet")
        Collection.create(root, encoder="precomputed", dim=DIM, dtype="float16").close()
        with Collection.open(root) as one:
            one.index(folder / "tags.npy", RunOptions(table=TableOptions(folder / "tags.parquet")))
    return Collection.open(root)


def expression(wanted: tuple[int, ...]) -> dict[str, Any]:
    """Return a filter as programs write it."""
    return {"contains_all": [{"column": "tags"}, [f"t{tag}" for tag in wanted]]}


def ways(here: Collection, rival: Baseline) -> dict[str, Callable[[FloatArray, tuple[int, ...]], Any]]:
    """Return what searches."""
    return {
        "nestvec": lambda q, wanted: here.search(q, K, where=expression(wanted)).ids,
        **{
            f"FAISS, {rival.named} and lists, nprobe {nprobe}": lambda q, wanted, nprobe=nprobe: rival.search(
                q, wanted, nprobe
            )
            for nprobe in NPROBES
        },
    }


def measured(data: Tagged, here: Collection, rival: Baseline) -> Iterator[list[str]]:
    """Ask every query of everybody in turn, each filter for the first time; yield lines of the table."""
    asked, searches = queries(data), ways(here, rival)
    for q, wanted in asked[-20:]:  # a column that is asked for again and again is turned about by then
        for search in searches.values():
            search(q, wanted)
    taken: dict[tuple[int, str], list[tuple[float, float, float]]] = {}
    for q, wanted in asked[:-20]:
        rows = data.having(wanted)
        scores = data.xb[rows] @ q
        least = np.sort(scores)[-K]
        for way, search in searches.items():
            ids, seconds = clocked(search, q, wanted)
            good = float((data.xb[np.asarray(ids)] @ q >= least - 1e-3).sum()) / K
            taken.setdefault((len(wanted), way), []).append((min(1.0, good), 1e3 * seconds, len(rows)))
    for (tags, way), several in sorted(taken.items(), key=lambda one: one[0][0]):
        recalls, times, matching = (np.array(part) for part in zip(*several, strict=True))
        p50, p99 = (float(np.percentile(times, point)) for point in (50, 99))
        rate = 1e3 / statistics.fmean(times)
        told = (f"{len(data.xb):,}", str(tags), f"{int(np.median(matching)):,}", way, f"{recalls.mean():.3f}")
        yield [*told, f"{p50:.2f} ({p99:.2f})", f"{rate:,.0f}"]


def first_looks(here: Collection) -> str:
    """Say what a filter takes while the lists are scanned, while they are turned about, and afterwards."""
    from engine.query.where.columns import SCANNED
    from engine.query.where.kept import Filters
    from engine.query.where.tree import Filter

    filters = Filters(here.snapshot)
    taken = [1e3 * clocked(filters.mask, Filter.parse(expression((tag,))))[1] for tag in range(SCANNED + 20)]
    turned = next(iter(filters.columns._turned.values()))
    scanned, after = statistics.median(taken[1:SCANNED]), statistics.median(taken[SCANNED + 1 :])
    size = 0 if turned is None else turned.nbytes / 1e6
    return (
        f"At {len(here):,} rows a filter takes {scanned:.0f} ms while every list is looked into, {taken[SCANNED]:.0f} "
        f"ms when the column is turned about, once, and {after:.1f} ms from then on; it takes {size:.0f} MB then."
    )


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--rows", type=int, multiple=True, help="How many rows; a million by default.")
def main(folder: Path, rows: tuple[int, ...]) -> None:
    """Measure searches by tags and write the page."""
    folder.mkdir(parents=True, exist_ok=True)
    lines, said = [], []
    for size in rows or (ROWS,):
        data = made(size)
        rival = Baseline(data)
        with opened(folder, data) as here, on_one_thread():
            lines += measured(data, here, rival)
            said.append(first_looks(here))
    names = ("rows", "tags", "match", "searched by", "recall@10", "ms", "a second")
    page = "\n".join([
        "# Searches by tags",
        "",
        f"Made by `python -m scripts.bench tags` on {cpu_name()}: the shape of BigANN's filter track, made up "
        f"({DIM} dimensions, {VOCABULARY:,} tags whose frequencies are Zipf's, about {BAG} a row, one or two a query), "
        f"{QUERIES - 20} queries, one at a time on one thread, beside the method of that track's FAISS baseline (FAISS "
        f"{faiss.__version__}: lists of rows by tag, scored whole where few are expected to match, else an IVF index "
        "with what matches as selector). nestvec is `Collection.search(q, where={\"contains_all\": …})`; everybody is "
        "asked with every filter for the first time, and what it takes to find what matches is counted. Median (99th "
        "percentile) over queries; *a second* is one by the mean time.",
        "",
        *table(names, lines, left=(3,)),
        *said,
        "",
    ])  # fmt: skip
    (DOCS / "tags.md").write_text(page)
    click.echo(page)
