"""Measure searches under filters beside FAISS with selectors, and write docs/benchmarks/filters.md.

    python -m scripts.bench filters FOLDER [--rows N]

One query at a time on one thread. A filter is near if its rows are among those most like the query, far if they are
among those least like it: of the same share of all rows, what finds one may find nothing of the other.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import duckdb
import faiss
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from engine.api import Collection
from engine.ingest.joined import TableOptions
from engine.jobs.index import RunOptions
from engine.planning.families import Case, Drawn
from engine.query.where.tree import Filter
from indexers.threads import on_one_thread
from indexers.vectors import FloatArray, IdArray
from scripts.bench import DOCS
from scripts.bench.datasets import load
from scripts.bench.machine import cpu_name
from scripts.bench.rivals.filtered import FILTERED, Rival
from scripts.bench.rivals.session import RivalError
from scripts.bench.timing import clocked
from scripts.markdown_table import table

K, QUERIES, ROUNDS = 10, 30, 3
DATA, SIZES = "clip-768", (100_000, 500_000)
NPROBE, EF = 64, 256


@dataclass(frozen=True)
class Line:
    """What one way of searching did under the filters of a family.

    Attributes:
        rows, kind, family: of the base, of the queries, of the filters.
        matching: items that match, median.
        way: what searched.
        recall: of the k best matching rows, mean; short: answers fewer than k though k match, share of queries.
        p50, p99: milliseconds a query, over queries the median of the rounds.
    """

    rows: int
    kind: str
    family: str
    matching: int
    way: str
    recall: float
    short: float
    p50: float
    p99: float


def columns(rows: int) -> pa.Table:
    """Return the columns of a set: what `families.Drawn` draws."""
    drawn = Drawn(rows)
    tags = [[f"t{tag}" for tag in sorted({*some})] for some in drawn.tags.tolist()]
    return pa.table({"part": pa.array(drawn.part), "tags": tags})


def said(case: Case) -> tuple[Any, dict[str, Any]]:
    """Return a filter as nestvec is asked with it, and as `rivals.filtered` has it."""
    tags = [f"t{tag}" for tag in case.tags]
    if case.below is not None:
        return f"part < {case.below}", {"below": case.below}
    if not tags:
        ids = np.flatnonzero(case.allowed).tolist()
        return {"in": [{"column": "id"}, ids]}, {"ids": ids}
    one = f"contains(tags, '{tags[0]}')"
    return (one if len(tags) == 1 else f"contains_all(tags, ['{tags[0]}', '{tags[1]}'])"), {"tags": tags}


def truth(scores: FloatArray, allowed: np.ndarray) -> float:
    """Return the score that the k-th best matching row has; −∞ where fewer match."""
    found = np.sort(scores[allowed])[::-1]
    return float(found[min(K, len(found)) - 1]) if len(found) else -np.inf


class Rivals:
    """FAISS' indexes over the same rows, searched with a bitmap as selector, and a table in DuckDB."""

    def __init__(self, xb: FloatArray, said: pa.Table) -> None:
        n, dim = xb.shape
        cells = int(4 * np.sqrt(n))
        self.flat = faiss.IndexFlatIP(dim)
        self.ivf = faiss.index_factory(dim, f"IVF{cells},SQfp16", faiss.METRIC_INNER_PRODUCT)
        self.ivf.train(xb[: 40 * cells])
        self.hnsw = faiss.IndexHNSWFlat(dim, 32, faiss.METRIC_INNER_PRODUCT)
        self.hnsw.hnsw.efConstruction = 100
        for index in (self.flat, self.ivf, self.hnsw):
            index.add(xb)
        self.duck = duckdb.connect(config={"threads": 1})
        vectors = pa.FixedSizeListArray.from_arrays(pa.array(xb.reshape(-1)), dim)
        rows = pa.table({"id": pa.array(np.arange(n)), "part": said.column("part"), "tags": said.column("tags")})
        self.duck.register("given", rows.append_column("x", vectors))
        self.duck.execute(f"CREATE TABLE t AS SELECT id, part, tags, x::FLOAT[{dim}] AS x FROM given")
        self.dim = dim

    def by_duckdb(self, where: Any) -> Callable[[FloatArray], Any]:
        """Return a search that scores every row that matches, as a database does without an index."""
        if isinstance(where, str):
            expression = where.replace("contains_all(", "list_has_all(").replace("contains(", "list_contains(")
        else:
            self.duck.execute(
                "CREATE OR REPLACE TEMP TABLE wanted AS SELECT unnest(?::BIGINT[]) AS id", [where["in"][1]]
            )
            expression = "id IN (SELECT id FROM wanted)"
        order = f"ORDER BY array_inner_product(x, ?::FLOAT[{self.dim}]) DESC LIMIT {K}"
        text = f"SELECT id FROM t WHERE {expression} {order}"
        return lambda q: self.duck.execute(text, [q[0].tolist()]).fetchnumpy()["id"]

    def ways(self, where: Any, allowed: np.ndarray) -> dict[str, Callable[[FloatArray], Any]]:
        """Return searches that let only some rows answer."""
        self._bits = np.packbits(allowed, bitorder="little")
        sel = faiss.IDSelectorBitmap(self._bits)
        flat, ivf = faiss.SearchParameters(sel=sel), faiss.SearchParametersIVF(sel=sel, nprobe=NPROBE)
        hnsw = faiss.SearchParametersHNSW(sel=sel, efSearch=EF)
        return {
            "FAISS flat": lambda q: self.flat.search(q, K, params=flat)[1],
            f"FAISS IVF, nprobe {NPROBE}": lambda q: self.ivf.search(q, K, params=ivf)[1],
            f"FAISS HNSW32, ef {EF}": lambda q: self.hnsw.search(q, K, params=hnsw)[1],
            "DuckDB, ORDER BY": self.by_duckdb(where),
        }


def opened(folder: Path, dim: int, rows: int) -> Collection:
    """Open the collection of a set, made the first time."""
    root = folder / f"filters-{rows}.nest"
    if not root.exists():
        Collection.create(root, encoder="precomputed", dim=dim, dtype="float16").close()
        with Collection.open(root) as one:
            one.index(folder / "filters.npy", RunOptions(table=TableOptions(folder / "filters.parquet")))
    return Collection.open(root)


def others(stack: ExitStack, folder: Path, rows: int) -> list[Rival]:
    """Start the rivals with environments of their own; those that are not installed are told and left out."""
    started = []
    for name, system in FILTERED.items():
        try:
            one = stack.enter_context(Rival(system, 1, folder / f"{name}.log"))
            given = {"vectors": folder / "filters.npy", "columns": folder / "filters.parquet"}
            places = {key: str(path) for key, path in {**given, "folder": folder / f"{name}-{rows}"}.items()}
            version = one.order("open", places)["version"]
        except RivalError as error:
            click.echo(f"left out: {error}", err=True)
            continue
        click.echo(f"{name} {version}", err=True)
        started.append(one)
    return started


def asked_of(several: Sequence[Rival], q: FloatArray, where: Mapping[str, Any]) -> Iterator[tuple[str, IdArray, float]]:
    """Ask rivals one query; yield way, ids and seconds, the median of the rounds."""
    order = {"query": q.tolist(), "k": K, "where": where, "rounds": ROUNDS + 1}
    for one in several:
        for way, found in one.order("search", order)["found"].items():
            yield way, np.array(found["ids"], np.int64), statistics.median(found["seconds"][1:])


def measured(
    here: Collection, rivals: Rivals, several: Sequence[Rival], xb: FloatArray, kind: str, xq: FloatArray
) -> Iterator[Line]:
    """Ask every query under a filter of each family, everybody in turn."""
    drawn = Drawn(len(xb))
    taken: dict[tuple[str, str], list[tuple[float, float, bool, int]]] = {}
    for number, q in enumerate(xq):
        scores = xb @ q
        for case in drawn.cases(scores, number):
            (where, plain), allowed, family = said(case), case.allowed, case.family
            read = Filter.parse(where)
            ways = {"nestvec": lambda q, read=read: here.search(q[0], K, where=read).ids, **rivals.ways(where, allowed)}
            least, wanted = truth(scores, allowed), min(K, int(allowed.sum()))
            answers = [(way, *_timed(search, q[None])) for way, search in ways.items()]
            for way, found, seconds in (*answers, *asked_of(several, q, plain)):
                ids = found[found >= 0]
                good = int((scores[ids] >= least - 1e-3).sum()) if len(ids) else 0
                milliseconds = 1e3 * seconds
                share = min(1.0, good / wanted) if wanted else 1.0
                taken.setdefault((family, way), []).append((share, milliseconds, len(ids) < wanted, int(allowed.sum())))
    for (family, way), several in taken.items():
        recalls, times, short, matching = (np.array(part, float) for part in zip(*several, strict=True))
        p50, p99 = (float(np.percentile(times, point)) for point in (50, 99))
        yield Line(len(xb), kind, family, int(np.median(matching)), way, recalls.mean(), short.mean(), p50, p99)


def _timed(search: Callable[[FloatArray], Any], xq: FloatArray) -> tuple[IdArray, float]:
    found = [clocked(search, xq) for _ in range(ROUNDS + 1)][1:]
    return np.asarray(found[0][0]).reshape(-1), statistics.median(seconds for _, seconds in found)


def expressions(here: Collection, rows: int) -> list[list[str]]:
    """Measure what an expression takes by itself: the first time, and again."""
    from engine.query.where.kept import Filters

    out = []
    for text in ("part < 1000", "part >= 100 AND part < 300", "contains(tags, 't3')", "folder LIKE 'f%' OR part = 7"):
        filters, read = Filters(here.snapshot), Filter.parse(text)
        first, again = clocked(filters.mask, read)[1], clocked(filters.mask, read)[1]
        columns_known = Filters.__new__(Filters)
        columns_known.__dict__.update({**filters.__dict__, "_masks": type(filters._masks)()})
        warm = clocked(columns_known.mask, read)[1]
        out.append([f"`{text}`", f"{rows:,}", f"{1e3 * first:.1f}", f"{1e3 * warm:.1f}", f"{1e6 * again:.0f}"])
    return out


def report(lines: list[Line], told: list[list[str]]) -> str:
    """Return the page."""
    rows = [
        [
            f"{one.rows:,}",
            one.kind,
            one.family,
            f"{one.matching:,}",
            one.way,
            f"{one.recall:.3f}",
            f"{100 * one.short:.0f} %",
            f"{one.p50:.2f} ({one.p99:.2f})",
        ]
        for one in lines
    ]
    names = ("rows", "queries", "filter", "match", "searched by", "recall@10", "short", "ms")
    return "\n".join([
        "# Searches under filters",
        "",
        f"Made by `python -m scripts.bench filters` on {cpu_name()}: {QUERIES} queries of each kind, one at a time on "
        f"one thread, {DATA} of [data.md](data.md), beside FAISS {faiss.__version__} over the same float32 rows with "
        f"a bitmap as selector, and DuckDB {duckdb.__version__}, which evaluates the filter in the query. nestvec is "
        "`Collection.search(q, where=…)` as it comes, from the vector to ids; its "
        "filter was asked for before, and what a new expression takes stands below. Times are medians of the rounds, "
        "median (99th percentile) over queries. Recall is of the best ten matching rows; *short* are queries with "
        "fewer answers than match.",
        "",
        "*Near* filters match 1 % of the rows, drawn from the twentieth most like the query; *far* ones as many, from "
        "the half that is least like it. Tags are three a row, their frequencies Zipf's over 2,000.",
        "",
        *table(names, rows, left=(1, 2, 4)),
        "## What an expression takes",
        "",
        *table(("expression", "rows", "first, ms", "columns known, ms", "again, µs"), told, left=(0,)),
    ])  # fmt: skip


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--rows", type=int, multiple=True, help="How many rows; 100,000 and 500,000 by default.")
def main(folder: Path, rows: tuple[int, ...]) -> None:
    """Measure every family of filters and write the page."""
    lines: list[Line] = []
    told: list[list[str]] = []
    for size in rows or SIZES:
        data = load(DATA, folder, size)
        xb, table_ = np.ascontiguousarray(data.xb, np.float32), columns(size)
        rivals = Rivals(xb, table_)
        np.save(folder / "filters.npy", xb)
        pq.write_table(table_, folder / "filters.parquet")
        with opened(folder, xb.shape[1], size) as here, ExitStack() as stack, on_one_thread():
            several = others(stack, folder, size)
            for kind, xq in data.queries.items():
                lines += measured(here, rivals, several, xb, kind, np.ascontiguousarray(xq[:QUERIES], np.float32))
            told += expressions(here, size)
        (folder / f"filters-{size}.json").write_text(json.dumps([asdict(one) for one in lines]))
    (DOCS / "filters.md").write_text(report(lines, told))
    click.echo(report(lines, told))
