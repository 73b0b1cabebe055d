"""HDF5 as ann-benchmarks reads it: its neighbours are those that FAISS finds, its distances those it computes."""

from __future__ import annotations

import sys
from pathlib import Path

import faiss
import h5py
import numpy as np
import pytest

import engine
from engine.query.export import hdf5
from indexers.errors import DependencyMissing, InvalidInput
from indexers.vectors import normalize
from tests.helpers import clustered
from tests.query.export.made import DIM, N, vectors_of


def angular(a: np.ndarray, b: np.ndarray) -> float:
    """The distance, written as in ann_benchmarks/distance.py."""
    return float(1 - np.dot(a, b) / (np.linalg.norm(a) * np.linalg.norm(b)))


def check(path: Path, k: int) -> dict[str, np.ndarray]:
    """Read what the benchmark reads and check that the neighbours are the nearest; return it."""
    with h5py.File(path, "r") as file:
        assert dict(file.attrs) == {"type": "dense", "distance": "angular", "dimension": DIM, "point_type": "float"}
        found = {name: np.array(file[name]) for name in file}
    train, test = found["train"], found["test"]
    flat = faiss.IndexFlatIP(DIM)
    flat.add(normalize(train))
    scores, rows = flat.search(normalize(test), k)
    assert found["neighbors"].tolist() == rows.tolist()
    np.testing.assert_allclose(found["distances"], 1 - scores, atol=2e-6)
    for query in range(0, len(test), 7):
        for at in (0, k - 1):
            own = angular(test[query], train[found["neighbors"][query, at]])
            assert abs(own - found["distances"][query, at]) < 2e-6
    assert (np.diff(found["distances"], axis=1) >= -1e-6).all()
    return found


@pytest.mark.parametrize("at_once", [256, 7])
def test_rows_that_are_held_out_are_asked_with(
    vectors: engine.Collection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(hdf5, "QUERIES_AT_ONCE", at_once)
    monkeypatch.setattr("engine.query.export.selection.BLOCK_BYTES", 4 * DIM * 37)  # many blocks
    options = engine.ExportOptions(held_out=40, k=11, seed=3)
    assert vectors.export(tmp_path / "v.hdf5", "hdf5", options=options).items == N - 2
    found = check(tmp_path / "v.hdf5", 11)
    ids, xb = vectors_of(vectors)
    by = dict(zip(ids.tolist(), xb, strict=True))
    assert sorted([*found["train_ids"], *found["test_ids"]]) == ids.tolist()
    for name, count in (("train", N - 2 - 40), ("test", 40)):
        assert found[name].shape == (count, DIM)
        np.testing.assert_array_equal(found[name], np.stack([by[int(one)] for one in found[f"{name}_ids"]]))
    vectors.export(tmp_path / "again.hdf5", "hdf5", options=options)
    assert check(tmp_path / "again.hdf5", 11)["test_ids"].tolist() == found["test_ids"].tolist()
    other = engine.ExportOptions(held_out=40, k=11, seed=4)
    vectors.export(tmp_path / "other.hdf5", "hdf5", options=other)
    assert check(tmp_path / "other.hdf5", 11)["test_ids"].tolist() != found["test_ids"].tolist()


def test_queries_of_ones_own_search_all_items(vectors: engine.Collection, tmp_path: Path) -> None:
    xq = 3 * clustered(5, DIM, seed=8)
    vectors.export(tmp_path / "v.hdf5", "hdf5", where="n < 60", options=engine.ExportOptions(queries=xq))
    found = check(tmp_path / "v.hdf5", 59)  # fewer than the hundred that are usual
    assert sorted(found) == ["distances", "neighbors", "test", "train", "train_ids"]
    np.testing.assert_allclose(found["test"], normalize(xq), atol=1e-6)
    assert found["train_ids"].tolist() == vectors.matching("n < 60").tolist()


def test_as_many_are_held_out_by_itself_as_is_sensible(vectors: engine.Collection, tmp_path: Path) -> None:
    vectors.export(tmp_path / "v.hdf5", "hdf5")
    assert check(tmp_path / "v.hdf5", 100)["test"].shape == (29, DIM)
    for where in ("n < 0", "n = 1"):
        options = engine.ExportOptions(overwrite=True)
        vectors.export(tmp_path / "v.hdf5", "hdf5", where=where, options=options)
        with h5py.File(tmp_path / "v.hdf5") as file:
            assert file["test"].shape == (0, DIM) and file["neighbors"].shape[0] == 0
            assert len(file["train"]) == len(vectors.matching(where))


def test_what_cannot_be_is_refused(vectors: engine.Collection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for options, said in (
        (engine.ExportOptions(held_out=N - 2), "298 rows cannot be held out of 298"),
        (engine.ExportOptions(queries=np.ones((2, 3))), "queries: expected 16 dimensions, found 3"),
        (engine.ExportOptions(queries=np.zeros((1, DIM))), "length zero"),
    ):
        with pytest.raises(InvalidInput, match=said):
            vectors.export(tmp_path / "v.hdf5", "hdf5", options=options)
    with pytest.raises(InvalidInput, match="not both"):
        engine.ExportOptions(held_out=3, queries=np.ones((1, DIM)))
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(DependencyMissing, match=r"pip install 'nestvec\[hdf5\]'"):
        vectors.export(tmp_path / "v.hdf5", "hdf5")
    assert not list(tmp_path.iterdir())
