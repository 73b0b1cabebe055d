"""Axes: matrices that change no inner product, and put first what matters most."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from indexers.axes import balanced, moments, principal_axes, turned_within
from tests.conftest import structured

Matrix = NDArray[np.float64]
D = 96


@pytest.fixture(scope="module")
def both() -> tuple[Matrix, Matrix]:
    """Second moments of rows, centred, and of queries beside them."""
    data = structured(4000, D, seed=3, nq=2000)
    little = 0.01 / D * np.eye(D)
    return moments(data.xb, data.xb.mean(axis=0)) + little, moments(data.xt) + little


def left(a: Matrix, b: Matrix, rows: Matrix, queries: Matrix, after: int) -> float:
    """The product of the root mean square lengths of what follows some columns: what a bound is made of."""
    parts = np.trace(a[:, after:].T @ rows @ a[:, after:]), np.trace(b[:, after:].T @ queries @ b[:, after:])
    return float(np.sqrt(parts[0] * parts[1]))


def test_a_balanced_pair_changes_no_inner_product(both: tuple[Matrix, Matrix]) -> None:
    a, b = balanced(*both)
    np.testing.assert_allclose(a @ b.T, np.eye(D), atol=1e-9)
    x, q = np.random.default_rng(0).normal(size=(2, 50, D))
    np.testing.assert_allclose((q @ b) @ (x @ a).T, q @ x.T, atol=1e-9)


def test_rows_and_queries_vary_alike_and_most_in_front(both: tuple[Matrix, Matrix]) -> None:
    rows, queries = both
    a, b = balanced(rows, queries)
    varied = a.T @ rows @ a
    np.testing.assert_allclose(varied, b.T @ queries @ b, atol=1e-9)
    spread = np.diag(varied)
    np.testing.assert_allclose(varied, np.diag(spread), atol=1e-9)
    assert (np.diff(spread) <= 1e-12).all()


@pytest.mark.parametrize("after", [8, 16, 32, 64])
def test_no_orthonormal_axes_leave_less(both: tuple[Matrix, Matrix], after: int) -> None:
    rows, queries = both
    ours = left(*balanced(rows, queries), rows, queries, after)
    for moment in (rows, queries, rows + queries, 2 * rows + queries):
        axes = principal_axes(moment)
        assert ours < left(axes, axes, rows, queries, after)


def test_turning_keeps_what_groups_span() -> None:
    axes = np.linalg.qr(np.random.default_rng(1).normal(size=(D, D)))[0]
    turned = turned_within(axes, [0, 10, 64], seed=5)
    for start, stop in ((0, 10), (10, 64), (64, D)):
        part, before = turned[:, start:stop], axes[:, start:stop]
        np.testing.assert_allclose(part @ part.T, before @ before.T, atol=1e-12)
        assert np.abs(part - before).max() > 0.01
