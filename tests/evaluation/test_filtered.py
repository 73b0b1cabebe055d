"""Searches under filters, as an evaluation measures them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from engine.api import Collection
from engine.evaluation.evaluate import evaluate
from engine.evaluation.options import EvaluateOptions
from engine.evaluation.report import as_json, text_tables, write_parquet
from engine.evaluation.rows import Row
from engine.planning.families import FAMILIES
from indexers.errors import InvalidInput, InvalidSpec
from tests.conftest import structured

N, D = 4000, 32
PLAN = f"ivf-flat@16:nprobe=1 | 20@{D}"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("filtered") / "c.nest"
    with Collection.create(path, encoder="precomputed", dim=D) as opened:
        opened.add_vectors(structured(N, D, seed=51).xb)
        opened.build(["ivf-flat@16:nlist=40"])
        opened.remove(ids=opened.snapshot.ids[::9].tolist())
    return path


@pytest.fixture(scope="module")
def rows(root: Path) -> tuple[Row, ...]:
    with Collection.open(root) as opened:
        options = EvaluateOptions(dims=(D,), k=5, queries=60, representations=("truncation",), filters=True, plan=PLAN)
        return evaluate(opened, options).rows


def test_what_is_searched_by_itself_finds_all_and_a_plan_what_it_finds(rows: tuple[Row, ...]) -> None:
    under = {(row.filter, row.representation, row.metric): row for row in rows if row.table == "filters"}
    assert {family for family, _, _ in under} == set(FAMILIES)
    assert {row.queries for row in under.values()} == {"items"}
    for family in FAMILIES:
        assert under[family, "exact", "recall@5"].value == 1
        assert under[family, "exact", "short"].value == under[family, PLAN, "short"].value == 0
        assert under[family, "exact", "ms"].value > 0
    assert under["random 10 %", "exact", "match"].value == pytest.approx(0.1, rel=0.2)
    assert np.mean([under[family, PLAN, "recall@5"].value for family in FAMILIES]) < 0.95
    assert under["one tag", PLAN, "recall@5"].count == 40


def test_tables_json_and_parquet_say_of_which_family_a_figure_is(rows: tuple[Row, ...], tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    told = list(text_tables(rows))
    at = told.index("filters, queries: items (40), one at a time on one thread")
    assert told[at + 1].split() == ["filter", "searched", "by", "recall@5", "short", "match", "ms"]
    assert [line.startswith(family) for line, family in zip(told[at + 2 :: 2], FAMILIES, strict=True)] == [True] * 7
    assert {one.get("filter") for one in as_json(rows)} == {None, *FAMILIES}
    write_parquet(tmp_path / "a.parquet", rows)
    assert set(pq.read_table(tmp_path / "a.parquet")["filter"].to_pylist()) == {None, *FAMILIES}


def test_what_cannot_be_meant_is_refused(root: Path) -> None:
    with pytest.raises(InvalidInput, match="ask for these"):
        EvaluateOptions(plan=PLAN)
    with Collection.open(root) as opened, pytest.raises(InvalidSpec, match="no index 'sq@16'"):
        evaluate(opened, EvaluateOptions(dims=(D,), filters=True, plan=f"sq@16 | 20@{D}"))
