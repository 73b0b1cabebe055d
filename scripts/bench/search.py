"""Measure the default plan on structured data: recall, latency, what Python adds, bytes.

Writes docs/benchmarks/search.md. The data imitates image-text embeddings: clusters of clusters with
a decaying spectrum, rotated so that no axis order is given away, and queries of two kinds, some like the base and
some on the other side of a modality gap (mean cosine with the base about 0.25).

    python -m scripts.bench search --rows 100000 --dim 512 --seed 0
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import click
import faiss
import numpy as np

from engine.api import Collection
from engine.collection.describe import describe
from engine.jobs.index import RunOptions
from engine.retrieval.searcher import ReadyPlan, Searcher
from indexers.exact import exact_search, recall
from indexers.vectors import FloatArray, normalize
from scripts.bench import DOCS
from scripts.bench.machine import cpu_name, peak_bytes
from scripts.bench.timing import clocked, median_seconds
from scripts.markdown_table import table

REPEATS = 7


@dataclass(frozen=True)
class Data:
    """Unit float32 rows: base [n, D], queries like the base and queries like texts [nq, D]."""

    base: FloatArray
    items: FloatArray
    texts: FloatArray


def structured(n: int, dim: int, queries: int, seed: int) -> Data:
    """Draw a base with two levels of clusters, a power-law spectrum and a random rotation."""
    rng = np.random.default_rng(seed)
    spectrum = np.arange(1, dim + 1, dtype=np.float32) ** -0.45
    rotation = np.linalg.qr(rng.normal(size=(dim, dim)))[0].astype(np.float32)
    coarse = rng.normal(size=(60, dim))
    fine = coarse[rng.integers(0, 60, 3000)] + 0.7 * rng.normal(size=(3000, dim))

    def draw(count: int, noise: float) -> FloatArray:
        rows = fine[rng.integers(0, len(fine), count)] + noise * rng.normal(size=(count, dim))
        return (rows * spectrum).astype(np.float32)

    def finish(rows: FloatArray) -> FloatArray:
        return normalize(np.ascontiguousarray(normalize(rows) @ rotation))

    mean = (rng.normal(size=dim) * spectrum).astype(np.float32)
    mean /= np.linalg.norm(mean)
    gap = (rng.normal(size=dim) * spectrum).astype(np.float32)
    gap -= (gap @ mean) * mean
    gap /= np.linalg.norm(gap)
    # A cone around `mean`, as embeddings have; texts lie in a cone of their own.
    base = finish(normalize(draw(n, 0.8)) + 0.8 * mean)
    items = finish(normalize(draw(queries, 0.8)) + 0.8 * mean)
    texts = finish(0.6 * normalize(draw(queries, 1.2)) + 0.5 * mean + 0.85 * gap)
    return Data(base, items, texts)


Search = Callable[[FloatArray], object]


def one_by_one(searches: dict[str, Search], xq: FloatArray) -> dict[str, float]:
    """Return median microseconds of single queries.

    All searches take turns, so that noise hits each alike, and who begins rotates: each query is asked
    once before it counts, so that none pays for bringing its rows into the cache.
    """
    names = list(searches)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for number in range(len(xq)):
        query = xq[number : number + 1]
        searches[names[0]](query)
        for turn in range(len(names)):
            name = names[(number + turn) % len(names)]
            seconds[name].append(clocked(searches[name], query)[1])
    return {name: statistics.median(taken) * 1e6 for name, taken in seconds.items()}


@click.command()
@click.option("--rows", default=100_000, show_default=True)
@click.option("--dim", default=512, show_default=True)
@click.option("--queries", default=500, show_default=True)
@click.option("--seed", default=0, show_default=True)
@click.option("--page", type=click.Path(path_type=Path), default=DOCS / "search.md")
def main(rows: int, dim: int, queries: int, seed: int, page: Path) -> None:
    """Build a collection of structured vectors and measure its default plan."""
    data = structured(rows, dim, queries, seed)
    gap = float((data.texts[:200] @ data.base[:2000].T).mean())
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "bench.nest"
        np.save(Path(folder) / "base.npy", data.base)
        Collection.create(root, encoder="precomputed", dim=dim).close()
        with Collection.open(root) as collection:
            _, built = clocked(collection.index, Path(folder) / "base.npy", RunOptions())
            report = measure(collection, data)
            report = [f"Ingest and build of {rows:,} × {dim}: {built:.1f} s.", *report, *sizes(root)]
    head = [
        "# The default plan on structured data",
        "",
        f"Made by `python -m scripts.bench search --rows {rows} --dim {dim} --queries {queries} --seed {seed}` on "
        f"{faiss.omp_get_max_threads()} threads of {cpu_name()}, FAISS {faiss.__version__}.",
        f"Mean cosine of texts with the base: {gap:.2f}. Recall is beside a scan of the stored float16 values.",
        "",
    ]
    text = "\n".join(
        [*head, *report, f"Peak memory of the whole run, data and oracle included: {peak_bytes() / 2**20:.0f} MB.", ""]
    )
    page.write_text(text)
    print(text)


def measure(collection: Collection, data: Data) -> list[str]:
    """Return the lines of the two tables: recall by kind and k, and microseconds a query."""
    searcher = collection.searcher
    stored = np.asarray(searcher.first.store.rows, dtype=np.float32)
    rows = []
    for name, xq in (("like the base", data.items), ("like texts", data.texts)):
        shares = []
        for k in (10, 100):
            found = searcher.search(xq, k)
            truth = exact_search(stored, xq, k)
            shares.append(recall(found.ids, truth, scores=found.scores))
        rows.append((name, *(f"{share:.3f}" for share in shares)))
    recalls = table(("queries", "recall@10", "recall@100"), rows)
    return [f"Default plan: `{searcher.routes.usual}`.", "", *recalls, *latencies(collection, data.items)]


def latencies(collection: Collection, xq: FloatArray) -> list[str]:
    """Return the table of microseconds, with what lies around the call into compiled code."""
    searcher = collection.searcher
    ready = searcher._ready(10, None, None)
    searches: dict[str, Search] = {
        "Searcher.search": lambda q: searcher.search(q, 10),
        "Collection.search, ids and scores": lambda q: collection.search(q, 10),
        "Collection.search and every item's metadata": lambda q: [a.items for a in collection.search(q, 10)],
    }
    if not searcher.first.is_scanned(ready.plan):
        searches = {"the one call into compiled code": compiled(searcher, ready), **searches}
    for search in searches.values():
        search(xq[:1])
    single = one_by_one(searches, xq)
    scan = "Collection.search, exact"
    searches[scan] = lambda q: collection.search(q, 10, exact=True)
    single |= one_by_one({scan: searches[scan]}, xq[:50])
    batch = {name: median_seconds(partial(search, xq), REPEATS) / len(xq) * 1e6 for name, search in searches.items()}
    rows = ((name, f"{single[name]:.0f}", f"{batch[name]:.0f}") for name in searches)
    return table(("µs a query", "one by one", "in a batch"), rows)


def compiled(searcher: Searcher, ready: ReadyPlan) -> Search:
    """Return the one call that a search comes down to, a single query on one thread as there."""
    coarse, run = searcher.coarse(ready.plan.index), ready.runs[0]
    if coarse.probed is None:
        return lambda xq: run(xq, None)
    # What it is told is taken from a search, not worked out again here: it goes with whatever the engine tells it.
    probed, cells, told = coarse.probed, coarse.probed._cells, []
    probed._cells = SimpleNamespace(search=lambda *arguments: told.append(arguments))
    run(np.zeros((1, searcher.dim), np.float32), None)
    probed._cells = cells
    [(_, *rest)] = told
    return lambda xq: cells.search(xq, *rest) if len(xq) == 1 else run(xq, None)


def sizes(root: Path) -> list[str]:
    """Return the table of bytes an item."""
    space = describe(root)["spaces"]["main"]
    rows = [("vectors for the rerank", str(space["vectors"]["bytes_per_item"]))]
    rows += [(f"index `{index['spec']}`", str(index["bytes_per_item"])) for index in space["indexes"]]
    return table(("", "bytes an item"), rows)
