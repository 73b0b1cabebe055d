"""Measure exact search beside FAISS' IndexFlatIP, one query on one thread, and write docs/benchmarks/exact.md.

    python -m scripts.bench exact FOLDER

FOLDER is that of `data`, which makes them, and keeps the collections; they hold float32, as
FAISS does, so that answers can be compared number for number.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import faiss
import numpy as np

from engine.api import Collection
from engine.jobs.index import RunOptions
from engine.jobs.tune import TuneOptions
from indexers.base import IndexSpec
from indexers.threads import on_one_thread
from indexers.vectors import FloatArray, normalize
from scripts.bench import DOCS
from scripts.bench.datasets import load
from scripts.bench.timing import clocked
from scripts.markdown_table import table

K = 10
QUERIES = 100
OTHERS = 1000  # queries from here on are told to `tune`, the first hundred are asked
ROUNDS = 5
CASES = (("glosses-384", None), ("clip-768", 300_000), ("resnet-2048", 100_000), ("flat-768", 100_000))
WANTED = {"glosses-384": "≥ 3", "clip-768": "≥ 5", "flat-768": "≥ 0.9"}


@dataclass(frozen=True)
class Line:
    """What was measured of one kind of query.

    Attributes:
        flat, ours: milliseconds a query, median and 99th percentile over queries of the median of the rounds.
        ratio: of each query's two times; median, and least over queries.
        read: bytes a query over those of a scan, mean.
        same: queries whose answers are the same but for ties.
    """

    data: str
    rows: int
    dim: int
    kind: str
    flat: tuple[float, float]
    ours: tuple[float, float]
    ratio: tuple[float, float]
    read: float
    same: int


def flat_spectrum(rows: int, dim: int) -> tuple[FloatArray, dict[str, FloatArray]]:
    """Draw directions at random, all alike: the worst there is for pruning, and for no other use."""
    rng = np.random.default_rng(0)
    x = normalize(rng.normal(size=(rows + QUERIES, dim)).astype(np.float32))
    return x[:rows], {"items": x[rows:]}


def material(folder: Path, name: str, rows: int | None) -> tuple[FloatArray, dict[str, FloatArray]]:
    """Return base and queries of a case."""
    if name == "flat-768":
        return flat_spectrum(rows or 100_000, 768)
    data = load(name, folder, rows)
    return data.xb, dict(data.queries)


def collection(folder: Path, name: str, xb: FloatArray, queries: dict[str, FloatArray]) -> Collection:
    """Open the collection of a case, made the first time: indexed, and tuned for its kinds of queries."""
    root = folder / f"exact-{name}-{len(xb)}.nest"
    if not root.exists():
        source = folder / f"exact-{name}.npy"
        np.save(source, xb)
        Collection.create(root, encoder="precomputed", dim=xb.shape[1], dtype="float32").close()
        with Collection.open(root) as one:
            one.index(source, RunOptions(dtype="float32", specs=[IndexSpec.parse("ivf-pq@64:axes=1")]))
            shifted = [xq[OTHERS:] for kind, xq in queries.items() if kind != "items"]
            one.tune(TuneOptions(recall=0.9, latency="single", queries=shifted[0] if shifted else None))
        source.unlink()
    return Collection.open(root)


def same(flat: tuple[FloatArray, np.ndarray], found: object) -> bool:
    """Whether scores are the same, and ids but for rows that tie with the last."""
    scores, ids = flat[0][0], flat[1][0]
    ours = np.asarray(found.scores), np.asarray(found.ids)  # type: ignore[attr-defined]
    close = np.allclose(ours[0], scores, rtol=0, atol=2e-6)
    return bool(close and (np.isin(ours[1], ids) | (ours[0] <= scores[-1] + 2e-6)).all())


def measure(name: str, opened: Collection, xb: FloatArray, kind: str, xq: FloatArray) -> Line:
    """Ask every query of both in turn, several rounds; who begins alternates."""
    flat = faiss.IndexFlatIP(xb.shape[1])
    flat.add(np.ascontiguousarray(xb))
    searcher = opened.searcher
    if searcher.first.pruned is None:
        raise click.ClickException("nestvec was installed without its compiled scan; see `nestvec doctor`")
    taken = np.empty((ROUNDS, len(xq), 2))
    alike, read = 0, []
    with on_one_thread():
        for turn in range(ROUNDS):
            for i in range(len(xq)):
                query = xq[i : i + 1]
                asked = (lambda q=query: flat.search(q, K), lambda q=query: opened.search(q[0], K, exact=True))
                answers: list[object] = [None, None]
                for one in (0, 1) if (turn + i) % 2 else (1, 0):
                    answers[one], taken[turn, i, one] = clocked(asked[one])
                if turn == 0:
                    alike += same(answers[0], answers[1])  # type: ignore[arg-type]
                    read.append(searcher.exact_bytes(query, K))
    each = np.median(taken, axis=0) * 1e3
    ratio = each[:, 0] / each[:, 1]
    spread = [(float(np.median(one)), float(np.percentile(one, 99))) for one in each.T]
    whole = xb.shape[0] * xb.shape[1] * 4
    found = (float(np.median(ratio)), float(ratio.min()))
    return Line(name, *xb.shape, kind, spread[0], spread[1], found, float(np.mean(read)) / whole, alike)


def report(lines: list[Line]) -> str:
    """Return the page."""
    rows = [
        [
            one.data,
            f"{one.rows:,} × {one.dim}",
            one.kind,
            f"{one.flat[0]:.2f} ({one.flat[1]:.2f})",
            f"{one.ours[0]:.2f} ({one.ours[1]:.2f})",
            f"**{one.ratio[0]:.1f}**",
            f"{one.ratio[1]:.1f}",
            WANTED.get(one.data, ""),
            f"{100 * one.read:.1f} %",
            f"{one.same} of {QUERIES}",
        ]
        for one in lines
    ]
    times = ("FAISS, ms", "nestvec, ms", "times faster", "least", "wanted")
    return "\n".join([
        "# Exact search beside a scan",
        "",
        "Made by `python -m scripts.bench exact`: one query at a time on one thread, `Collection.search(exact=True)` "
        f"from vector to ids and scores beside `IndexFlatIP.search` of FAISS {faiss.__version__} over the same float32 "
        f"rows, in turn, {QUERIES} queries, {ROUNDS} rounds; times are medians of the rounds, median (99th percentile) "
        "over queries. The data are those of [data.md](data.md); `flat-768` is random directions, where no number says "
        "more than another and little can be pruned. Each collection was tuned for recall 0.9 with other queries of "
        "both kinds: the plan that found tells what score there is to reach, and the shifted kind shaped what is read "
        "first.",
        "",
        *table(("data", "rows", "queries", *times, "bytes", "same answers"), rows, left=(0, 2)),
        "Bytes are codes, lengths and stored vectors looked at, beside those of a scan; the query that finds the score "
        "to reach (the default plan) is in the time and not in the bytes. `indexers/pruned.py` says how it works.",
        "",
    ])  # fmt: skip


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--only", help="One data set; the others keep their figures.")
def main(folder: Path, only: str | None) -> None:
    """Measure every case and write the page."""
    lines = []
    for name, rows in CASES:
        kept = folder / f"exact-{name}.json"
        if only in (None, name):
            xb, queries = material(folder, name, rows)
            with collection(folder, name, xb, queries) as opened:
                found = [measure(name, opened, xb, kind, xq[:QUERIES]) for kind, xq in queries.items()]
            kept.write_text(json.dumps([asdict(one) for one in found]))
        if kept.exists():
            lines += [Line(**one) for one in json.loads(kept.read_text())]
    (DOCS / "exact.md").write_text(report(lines))
    click.echo(report(lines))
