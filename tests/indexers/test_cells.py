"""Many cells: found in two levels, and as good as those that take much longer."""

from __future__ import annotations

import faiss
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexers.base import IndexSpec
from indexers.build import build
from indexers.cells import FROM, centroids_of, quick_quantizer, shared, sorted_quickly
from indexers.families.registry import resolve
from indexers.store import VectorStore
from indexers.vectors import FloatArray
from tests.conftest import structured


@pytest.fixture(scope="module")
def x() -> FloatArray:
    return structured(40_000, 32, seed=3).xb


@given(st.lists(st.integers(0, 500), min_size=1, max_size=60), st.integers(1, 2000))
def test_cells_are_shared_out_by_rows(sizes: list[int], cells: int) -> None:
    rows = sum(sizes)
    filled = sum(size > 0 for size in sizes)
    if not filled <= cells <= rows:
        return
    found = shared(np.array(sizes), cells)
    assert found.sum() == cells
    assert (found <= sizes).all()
    assert ((found > 0) == (np.array(sizes) > 0)).all()


def test_they_are_nearly_as_near_as_those_of_one_level(x: FloatArray) -> None:
    cells = 1200
    found = centroids_of(x, cells, 0)
    assert found.shape == (cells, 32)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    flat = faiss.Kmeans(32, cells, niter=10, seed=0, spherical=True, min_points_per_centroid=1)
    flat.train(x)

    def near(centroids: FloatArray) -> float:
        index = faiss.IndexFlatIP(32)
        index.add(centroids)
        return float(index.search(x, 1)[0].mean())

    assert near(found) > near(flat.centroids) - 0.01


def test_rows_find_their_cell_by_groups(x: FloatArray) -> None:
    centroids = centroids_of(x, 1200, 0)
    exact = faiss.IndexFlatIP(32)
    exact.add(centroids)
    assert (quick_quantizer(centroids).assign(x, 1) == exact.assign(x, 1)).mean() > 0.95


@pytest.mark.parametrize("residual", [0, 1])
def test_an_index_is_whole_and_has_its_own_quantizer_again(x: FloatArray, residual: int) -> None:
    spec = resolve(IndexSpec.parse(f"ivf-pq@32:nlist={FROM},residual={residual}"), len(x), 32)
    index = build(spec, VectorStore(x), device="cpu")
    ivf = faiss.extract_index_ivf(index)
    assert isinstance(faiss.downcast_index(ivf.quantizer), faiss.IndexFlat)
    assert ivf.own_fields
    assert sum(ivf.invlists.list_size(cell) for cell in range(FROM)) == len(x)
    faiss.ParameterSpace().set_index_parameter(index, "nprobe", 64)
    _, ids = index.search(x[:500], 10)
    assert (ids == np.arange(500)[:, None]).any(axis=1).mean() > 0.9


def test_the_quantizer_is_put_back_after_an_error(x: FloatArray) -> None:
    spec = resolve(IndexSpec.parse(f"ivf-flat@32:nlist={FROM}"), len(x), 32)
    index = build(spec, VectorStore(x), device="cpu")
    ivf = faiss.extract_index_ivf(index)
    before = int(ivf.quantizer.this)
    with pytest.raises(ZeroDivisionError), sorted_quickly(ivf):
        assert int(ivf.quantizer.this) != before
        raise ZeroDivisionError
    assert int(ivf.quantizer.this) == before


def test_rows_that_are_all_alike(x: FloatArray) -> None:
    same = np.repeat(x[:1], 3000, axis=0)
    found = centroids_of(same, 1100, 0)
    assert np.isfinite(found).all()
    spec = resolve(IndexSpec.parse("ivf-pq@32:nlist=1100"), 3000, 32)
    assert build(spec, VectorStore(same), device="cpu").ntotal == 3000
