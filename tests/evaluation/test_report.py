"""What is printed, and what programs read."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from engine.evaluation.report import COLUMNS, as_json, text_tables, write_parquet
from engine.evaluation.rows import Row
from indexers.errors import SourceError

ROWS = [
    Row("neighbours", "truncation", "items", 8, None, "recall@10", 0.5, 0.01, 100),
    Row("neighbours", "truncation", "items", 8, None, "recall@10 in 100", 0.75, 0.02, 100),
    Row("neighbours", "nested:a long name", "items", 128, None, "recall@10", 1.0, None, 100),
    Row("trec", "some.run", "texts", 0, None, "MAP", 0.25, 0.125, 4),
    Row("adaptive", "pca", "items", 8, 8, "1-NN", 0.5, 0.1, 100),
    Row("adaptive", "pca", "items", 8, 8, "mAP@10", 0.4, 0.1, 100),
    Row("adaptive", "pca", "items", 8, 8, "ms", 0.125, None, 20),
    Row("adaptive", "pca", "items", 8, 16, "1-NN", 0.6, 0.1, 100),
    Row("adaptive", "pca", "items", 8, 16, "mAP@10", 0.45, 0.1, 100),
    Row("adaptive", "pca", "items", 8, 16, "ms", 1.5, None, 20),
    Row("adaptive", "pca", "items", 16, 16, "1-NN", 0.6, 0.1, 100),
    Row("adaptive", "pca", "items", 16, 16, "mAP@10", 0.45, 0.1, 100),
    Row("adaptive", "pca", "items", 16, 16, "ms", 12.0, None, 20),
]

GOLDEN = """\
neighbours, queries: items (100); ± standard error
representation      dim     recall@10  recall@10 in 100
truncation            8  0.500 ±0.010      0.750 ±0.020
nested:a long name  128         1.000                 -

trec, queries: texts (4); ± standard error
representation  dim           MAP
some.run          -  0.250 ±0.125

adaptive, pca, queries: items; shortlist by ↓, rerank by →: mAP@10, 1-NN
              8           16
8   0.400 0.500  0.450 0.600
16               0.450 0.600
adaptive, pca: ms a query, one at a time on one thread
       8     16
8   0.12   1.50
16        12.00"""


def test_the_tables_are_aligned() -> None:
    assert "\n".join(text_tables(ROWS)) == GOLDEN


def test_the_columns_are_stable() -> None:
    names = ("table", "representation", "queries", "dim", "rerank", "metric", "value", "error", "count")
    assert names == COLUMNS
    values = [getattr(ROWS[0], name) for name in names]
    assert as_json(ROWS[:1]) == [dict(zip(names, values, strict=True))]
    assert as_json(ROWS[2:3])[0]["error"] is None


def test_parquet_holds_the_same(tmp_path: Path) -> None:
    write_parquet(tmp_path / "a.parquet", ROWS)
    table = pq.read_table(tmp_path / "a.parquet")
    assert table.to_pylist() == as_json(ROWS)
    kinds = ["string", "string", "string", "int32", "int32", "string", "double", "double", "int64"]
    assert [str(field.type) for field in table.schema] == kinds
    assert [one.name for one in tmp_path.iterdir()] == ["a.parquet"]
    with pytest.raises(SourceError, match="cannot be written"):
        write_parquet(tmp_path / "none/a.parquet", ROWS)
