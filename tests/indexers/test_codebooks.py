"""Codebooks that begin at those of the normal distribution: as good as long trained ones, and defined for any rows."""

from __future__ import annotations

import faiss
import numpy as np
import pytest

from indexers import codebooks
from indexers.axes import moments, principal_axes
from indexers.base import FaissIndex, IndexSpec
from indexers.build import build
from indexers.families.registry import family, resolve
from indexers.mask import Mask
from indexers.prefix import front_along
from indexers.store import VectorStore
from indexers.vectors import FloatArray
from tests.conftest import structured

# Mean squared errors of the best 16 levels for a normal number (Max 1960, table I).
MAX_1960 = 0.009497


def left_over(pq: FaissIndex, x: FloatArray) -> float:
    """Return the share of the squares of rows [n, d] that codes lose."""
    lost = pq.decode(pq.compute_codes(x)) - x
    return float((lost**2).sum() / (x**2).sum())


def quantizer(dim: int, m: int, books: FloatArray) -> FaissIndex:
    pq = faiss.ProductQuantizer(dim, m, 4)
    faiss.copy_array_to_vector(books.ravel(), pq.centroids)
    return pq


def test_of_normal_numbers_they_are_the_best_there_are() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((40_000, 6), dtype=np.float32) * np.float32([1, 9, 0.01, 3, 1, 1])
    assert left_over(quantizer(6, 6, codebooks.normal_codebooks(x, 6)), x) == pytest.approx(MAX_1960, rel=0.05)


def test_they_follow_mean_and_spread_and_how_numbers_of_a_part_go_together() -> None:
    rng = np.random.default_rng(1)
    x = rng.standard_normal((20_000, 4), dtype=np.float32)
    base = left_over(quantizer(4, 2, codebooks.normal_codebooks(x, 2)), x)
    mixed = np.zeros((4, 4), np.float32)
    # Each part is turned by 45° and scaled, so that it is as round as it was.
    mixed[:2, :2] = mixed[2:, 2:] = np.float32([[5, 5], [-5, 5]])
    moved = x @ mixed + np.float32([30, -10, 0, 4])
    pq = quantizer(4, 2, codebooks.normal_codebooks(moved, 2))
    lost = ((pq.decode(pq.compute_codes(moved)) - moved) ** 2).sum() / ((moved - moved.mean(axis=0)) ** 2).sum()
    assert lost == pytest.approx(base, rel=0.05)
    # Numbers that say the same: a part is a line, which 16 levels cut as finely as they cut one number.
    same = np.repeat(x[:, :1], 2, axis=1)
    line = codebooks.normal_codebooks(same, 1)[0]
    np.testing.assert_allclose(line[:, 0], line[:, 1], atol=1e-3)


@pytest.mark.parametrize(
    "text",
    ["ivf-pq@32:axes=1,m=16", "ivf-pq@32:axes=1,m=16,residual=1", "ivf-pq@32:axes=1,m=8", "ivf-pq@32:axes=1,m=32",
     "ivf-pq@32:m=16", "ivf-pq@32:axes=1,m=16,rotate=0", "ivf-pq@32:axes=1,m=16,refine=8,residual=1"],
)  # fmt: skip
def test_an_index_codes_as_finely_as_after_long_training(text: str) -> None:
    """FAISS' 25 rounds from random centroids, on the same cells, are at most 5 % better on rows of so few clusters."""
    xb = structured(12_000, 64, seed=3).xb
    spec = resolve(IndexSpec.parse(text), *xb.shape)
    index = build(spec, VectorStore(xb), mask=Mask.without(12_000, np.arange(6000, 12_000)), device="cpu")
    inner = faiss.downcast_index(index.index) if isinstance(index, faiss.IndexPreTransform) else index
    cells = family("ivf-pq").parts(inner)[0]
    front = front_along(spec, principal_axes(moments(xb[:6000])))
    sample, others = (of_cells(cells, front(part)) for part in (xb[:6000], xb[6000:]))
    trained = faiss.ProductQuantizer(spec.dim, cells.pq.M, 4)
    trained.train(sample)
    assert left_over(cells.pq, others) < 1.05 * left_over(trained, others)


def of_cells(cells: FaissIndex, x: FloatArray) -> FloatArray:
    """Return what an index of cells codes of rows [n, d]."""
    if not cells.by_residual:
        return x
    centroids = cells.quantizer.reconstruct_n(0, cells.nlist)
    own = cells.quantizer.search(x, 1)[1][:, 0]
    return np.ascontiguousarray(x - centroids[own])


@pytest.mark.parametrize("rows", [1, 3, 16])
def test_few_rows_and_numbers_that_never_vary(rows: int) -> None:
    x = np.zeros((rows, 6), np.float32)
    x[:, 1] = 7
    found = codebooks.normal_codebooks(x, 3)
    assert found.shape == (3, 16, 2)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, np.broadcast_to(x[:1].reshape(3, 1, 2), found.shape))


def test_the_same_rows_give_the_same_codebooks() -> None:
    xb = structured(500, 16, seed=4).xb
    spec = resolve(IndexSpec.parse("ivf-pq@16:residual=1"), *xb.shape)
    first, again = (faiss.serialize_index(build(spec, VectorStore(xb), device="cpu")) for _ in range(2))
    np.testing.assert_array_equal(first, again)
