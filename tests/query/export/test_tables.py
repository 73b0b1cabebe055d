"""Parquet as DuckDB and polars read it, Lance as pylance does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import engine
from indexers.errors import DependencyMissing, InvalidInput
from tests.query.export.made import FIRST_ID, N, exact, vectors_of

SOME = "n BETWEEN 2 AND 8"


def told(opened: engine.Collection, where: str | None = None) -> pa.Table:
    """Return the columns that leave, as a scan gives them."""
    names = [one for one in opened.get([]).column_names if one not in ("folder", "name", "suffix")]
    return pa.Table.from_batches(list(opened.scan(where, names)), opened.get([], columns=names).schema)


@pytest.mark.parametrize("where", [None, SOME, "n < 0"])
def test_parquet_has_columns_in_their_types_and_vectors(
    vectors: engine.Collection, tmp_path: Path, where: str | None
) -> None:
    path = tmp_path / "v.parquet"
    done = vectors.export(path, "parquet", where=where)
    back, scan = pq.read_table(path), told(vectors, where)
    assert done == engine.Exported(str(path), "parquet", vectors.version, scan.num_rows)
    own = back.drop_columns(["vector"]).rename_columns(scan.column_names)
    assert own.schema.equals(scan.schema)
    assert str(own.to_pydict()) == str(scan.to_pydict())  # a NaN is written like a NaN
    assert back.schema.field("vector").type == pa.list_(pa.float32(), 16)
    assert "meta.vector" in back.column_names
    if where is None:
        assert back.num_rows == N - 2 and min(back.column("id").to_pylist()) == FIRST_ID
    if scan.num_rows:
        ids, xb = vectors_of(vectors, where)
        assert back.column("id").to_pylist() == ids.tolist()
        np.testing.assert_array_equal(np.stack(back.column("vector").to_pylist()), xb)


def test_duckdb_and_polars_search_parquet_as_we_do(vectors: engine.Collection, tmp_path: Path) -> None:
    path = tmp_path / "v.parquet"
    vectors.export(path, "parquet")
    xq, ids, scores = exact(vectors, 7)
    for one, wanted, score in zip(xq, ids, scores, strict=True):
        question = "SELECT id, list_inner_product(vector::FLOAT[], $1::FLOAT[]) AS s FROM $2 ORDER BY s DESC LIMIT 7"
        found = duckdb.execute(question.replace("$2", f"'{path}'"), [one.tolist()]).fetchall()
        assert [row[0] for row in found] == wanted.tolist()
        np.testing.assert_allclose([row[1] for row in found], score, atol=1e-5)
    frame = pl.read_parquet(path)
    by = {row["id"]: row for row in frame.iter_rows(named=True)}
    assert by[FIRST_ID + 1]["tags"] == ["t1", "ä"] and by[FIRST_ID + 1]["place"]["city"] == "Köln"
    assert by[FIRST_ID]["caption"] is None and by[FIRST_ID]["day"] is None


def test_another_space_and_chosen_columns(vectors: engine.Collection, tmp_path: Path) -> None:
    options = engine.ExportOptions(columns=["name", "place.city", "n"])
    vectors.export(tmp_path / "t.parquet", "parquet", where=SOME, space="text", options=options)
    back = pq.read_table(tmp_path / "t.parquet")
    assert back.column_names == ["id", "name", "place.city", "n", "vector"]
    with engine.Collection.open(vectors.root, space="text") as other:
        ids, xb = vectors_of(other, SOME)
    assert back.column("id").to_pylist() == ids.tolist()
    np.testing.assert_array_equal(np.stack(back.column("vector").to_pylist()), xb)
    with pytest.raises(InvalidInput, match=r"has no space 'txet'.* did you mean 'text'"):
        vectors.export(tmp_path / "x.parquet", "parquet", space="txet")
    with pytest.raises(engine.InvalidFilter, match="no column 'nam'"):
        vectors.export(tmp_path / "x", "parquet", options=engine.ExportOptions(columns=["nam"]))


@pytest.mark.parametrize("where", [None, SOME, "n < 0"])
def test_lance_reads_and_searches_it(vectors: engine.Collection, tmp_path: Path, where: str | None) -> None:
    lance = pytest.importorskip("lance")
    vectors.export(tmp_path / "v.lance", "lance", where=where)
    data, scan = lance.dataset(str(tmp_path / "v.lance")), told(vectors, where)
    back = data.to_table()
    own = back.drop_columns(["vector"])
    assert own.column_names == [name.replace("meta.vector", "meta_vector") for name in pq_names(scan)]
    assert str(own.rename_columns(scan.column_names).to_pydict()) == str(scan.to_pydict())
    if not scan.num_rows:
        return
    ids, xb = vectors_of(vectors, where)
    np.testing.assert_array_equal(np.stack(back.column("vector").to_pylist()), xb)
    k = min(7, len(ids))
    xq, wanted, scores = exact(vectors, k, where)
    for one, best, score in zip(xq, wanted, scores, strict=True):
        nearest = {"column": "vector", "q": one, "k": k, "metric": "dot", "use_index": False}
        found = data.to_table(nearest=nearest, columns=["id", "_distance"])
        assert found.column("id").to_pylist() == best.tolist()
        np.testing.assert_allclose(1 - np.array(found.column("_distance")), score, atol=1e-5)


def pq_names(scan: pa.Table) -> list[str]:
    """Return what columns are called beside one of vectors."""
    return [f"meta.{name}" if name == "vector" else name for name in scan.column_names]


def test_what_lance_does_not_have_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("lance")
    with engine.Collection.create(tmp_path / "c.nest", encoder="precomputed", dim=2) as made:
        pairs = pa.scalar(["a", None], pa.list_(pa.string(), 2))
        made.add_vectors(np.eye(2), meta=[{"two": pairs, "a.b": 1, "a_b": 2}, {}])
        with pytest.raises(InvalidInput, match=r"column 'two' is of type fixed_size_list.*Lance does not have"):
            made.export(tmp_path / "c.lance", "lance")
        made.export(tmp_path / "c.lance", "lance", options=engine.ExportOptions(columns=["a.b", "a_b"]))
        import lance

        assert lance.dataset(str(tmp_path / "c.lance")).to_table().column_names == ["id", "a_b", "a_b_", "vector"]
        monkeypatch.setitem(__import__("sys").modules, "lance", None)
        with pytest.raises(DependencyMissing, match=r"pip install 'nestvec\[lance\]'"):
            made.export(tmp_path / "d.lance", "lance")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["c.lance", "c.nest"]


def test_nothing_at_all(empty: engine.Collection, tmp_path: Path) -> None:
    assert empty.export(tmp_path / "e.parquet", "parquet").items == 0
    back = pq.read_table(tmp_path / "e.parquet")
    assert (back.num_rows, back.schema.field("id").type) == (0, pa.int64())
    told: Any = pl.read_parquet(tmp_path / "e.parquet").height
    assert told == 0
