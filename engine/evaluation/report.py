"""Figures as aligned text, as JSON values, and as Parquet."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from engine.evaluation.filtered import TABLE as FILTERS
from engine.evaluation.labelled import ADAPTIVE
from engine.evaluation.rows import Row
from indexers.errors import SourceError

COLUMNS = tuple(field.name for field in fields(Row) if field.name != "filter")
DIGITS = 3


def as_json(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return the figures in the stable shape of `--json`: one object each, with the keys COLUMNS.

    Those under filters have the key "filter" as well.
    """
    return [{name: value for name, value in asdict(row).items() if name != "filter" or value} for row in rows]


def write_parquet(path: Path, rows: Sequence[Row]) -> None:
    """Write the figures as a Parquet table with the columns COLUMNS; a file of that name is replaced.

    Where some are of filters, there is a column "filter" as well.

    Raises:
        SourceError: it cannot be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = {"dim": pa.int32(), "rerank": pa.int32(), "count": pa.int64(), "value": pa.float64(), "error": pa.float64()}
    names = [*COLUMNS, *(["filter"] if any(row.filter for row in rows) else [])]
    schema = pa.schema([(name, kinds.get(name, pa.string())) for name in names])
    temporary = path.with_name(f".tmp-{os.getpid()}-{path.name}")
    try:
        pq.write_table(pa.Table.from_pylist(as_json(rows), schema=schema), temporary)
        temporary.replace(path)
    except OSError as error:
        raise SourceError(f"{path} cannot be written: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def text_tables(rows: Sequence[Row]) -> Iterator[str]:
    """Yield the figures as lines of aligned tables, those of one kind and one kind of queries together."""
    first = True
    for table, queries in dict.fromkeys((row.table, row.queries) for row in rows):
        part = [row for row in rows if (row.table, row.queries) == (table, queries)]
        if not first:
            yield ""
        first = False
        shown = {ADAPTIVE: _grids, FILTERS: _filters}.get(table)
        yield from shown(part) if shown else _table(f"{table}, {_asked(table, queries)}", part)


def _asked(table: str, queries: str) -> str:
    if table == "captions":
        return {"texts": "text → image", "items": "image → text"}.get(queries, queries)
    return f"queries: {queries}"


def _table(title: str, rows: Sequence[Row]) -> Iterator[str]:
    """Yield a line a representation and prefix, a column a metric, each with its standard error."""
    metrics = list(dict.fromkeys(row.metric for row in rows))
    yield f"{title} ({max(row.count for row in rows)}); ± standard error"
    lines = [["representation", "dim", *metrics]]
    cells = {(row.representation, row.dim, row.metric): row for row in rows}
    for name, dim in dict.fromkeys((row.representation, row.dim) for row in rows):
        lines.append([name, str(dim or "-"), *(_figure(cells.get((name, dim, metric))) for metric in metrics)])
    yield from _aligned(lines)


def _figure(row: Row | None) -> str:
    if row is None:
        return "-"
    return f"{row.value:.{DIGITS}f}" + ("" if row.error is None else f" ±{row.error:.{DIGITS}f}")


def _filters(rows: Sequence[Row]) -> Iterator[str]:
    """Yield a line a family of filters and plan."""
    metrics = list(dict.fromkeys(row.metric for row in rows))
    yield f"filters, queries: {rows[0].queries} ({max(row.count for row in rows)}), one at a time on one thread"
    lines = [["filter", "searched by", *metrics]]
    cells = {(row.filter or "", row.representation, row.metric): row for row in rows}
    for name, plan in dict.fromkeys((name, plan) for name, plan, _ in cells):
        lines.append([name, plan, *(f"{cells[name, plan, metric].value:.{DIGITS}f}" for metric in metrics)])
    yield from _aligned(lines)


def _grids(rows: Sequence[Row]) -> Iterator[str]:
    """Yield two grids a representation: shortlist by the line's prefix, reranked by the column's."""
    (average,) = {row.metric for row in rows if row.metric.startswith("mAP")}
    for number, name in enumerate(dict.fromkeys(row.representation for row in rows)):
        part = {(row.dim, row.rerank, row.metric): row.value for row in rows if row.representation == name}
        if number:
            yield ""
        yield f"adaptive, {name}, queries: {rows[0].queries}; shortlist by ↓, rerank by →: {average}, 1-NN"
        yield from _grid(part, (average, "1-NN"), f".{DIGITS}f")
        yield f"adaptive, {name}: ms a query, one at a time on one thread"
        yield from _grid(part, ("ms",), ".2f")


def _grid(part: Mapping[tuple[int, int | None, str], float], metrics: Sequence[str], form: str) -> Iterator[str]:
    dims = sorted({dim for dim, _, _ in part})
    lines = [["", *map(str, dims)]]
    for dim in dims:
        pairs = [[part.get((dim, finer, metric)) for metric in metrics] for finer in dims]
        cells = (" ".join(format(value, form) for value in found if value is not None) for found in pairs)
        lines.append([str(dim), *cells])
    yield from _aligned(lines)


def _aligned(lines: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield lines of cells, the first column to the left and the others to the right."""
    widths = [max(len(line[at]) for line in lines) for at in range(len(lines[0]))]
    for line in lines:
        cells = [
            line[0].ljust(widths[0]),
            *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)),
        ]
        yield "  ".join(cells).rstrip()
