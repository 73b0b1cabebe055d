"""The oracle against a plainer one, and recall against counting by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from indexers.base import Neighbors
from indexers.exact import exact_search, recall
from indexers.vectors import FloatArray
from tests.conftest import structured

# Small whole numbers: products are exact, and there are many ties.
WHOLE = st.integers(-2, 2).map(float)


@settings(max_examples=60)
@given(
    st.integers(0, 9).flatmap(lambda n: arrays(np.float32, (n, 3), elements=WHOLE)),
    arrays(np.float32, (2, 3), elements=WHOLE),
    st.integers(1, 12),
    st.integers(1, 5),
)
def test_exact_search_is_argsort(xb: FloatArray, xq: FloatArray, k: int, block: int) -> None:
    """However the rows are cut into blocks, and with ties by lower row first."""
    scores, ids = exact_search(xb, xq, k, block=block)
    assert scores.shape == ids.shape == (2, k)
    products = xq @ xb.T
    order = np.argsort(-products, axis=1, kind="stable")[:, :k]
    found = min(k, len(xb))
    np.testing.assert_array_equal(ids[:, :found], order)
    np.testing.assert_array_equal(scores[:, :found], np.clip(np.take_along_axis(products, order, axis=1), -1, 1))
    assert (ids[:, found:] == -1).all()
    assert np.isneginf(scores[:, found:]).all()


def test_ids_name_the_rows() -> None:
    xb, xq, _ = structured(50, 8, seed=0)
    ids = np.arange(50)[::-1] * 7 + 3
    np.testing.assert_array_equal(exact_search(xb, xq, 5, ids=ids).ids, ids[exact_search(xb, xq, 5).ids])
    padded = exact_search(xb[:2], xq, 4, ids=ids[:2]).ids
    assert set(padded[0].tolist()) == {-1, ids[0], ids[1]}


def test_nothing_to_search() -> None:
    empty = np.empty((0, 8), np.float32)
    found = exact_search(empty, structured(9, 8, seed=0).xq, 3, ids=np.empty(0, np.int64))
    assert (found.ids == -1).all()
    assert exact_search(structured(9, 8, seed=0).xb, empty, 3).ids.shape == (0, 3)


def neighbors(scores: list[list[float]], ids: list[list[int]]) -> Neighbors:
    return Neighbors(np.array(scores, np.float32), np.array(ids, np.int64))


@pytest.mark.parametrize(
    ("found", "scores", "share"),
    [
        ([[1, 2]], None, 1.0),
        ([[2, 1]], None, 1.0),
        ([[1, 9]], None, 0.5),
        ([[8, 9]], None, 0.0),
        ([[-1, -1]], None, 0.0),
        # 9 ties with the second of the true ones, 8 does not.
        ([[1, 9]], [[0.9, 0.8]], 1.0),
        ([[1, 8]], [[0.9, 0.7]], 0.5),
        # More was found than was asked: it counts once.
        ([[1, 2, 9]], [[0.9, 0.8, 0.8]], 1.0),
        ([[7, 8, 1]], [[0.1, 0.1, 0.9]], 0.5),
    ],
)
def test_recall(found: list[list[int]], scores: list[list[float]] | None, share: float) -> None:
    truth = neighbors([[0.9, 0.8]], [[1, 2]])
    given = None if scores is None else np.array(scores, np.float32)
    assert recall(np.array(found, np.int64), truth, scores=given) == share


def test_recall_where_there_is_less_to_find_than_k() -> None:
    truth = neighbors([[0.9, -np.inf], [0.8, 0.7]], [[1, -1], [3, 4]])
    assert recall(np.array([[1, -1], [3, 4]]), truth) == 1.0
    assert recall(np.array([[1, -1], [3, 9]]), truth) == pytest.approx(2 / 3)
    assert recall(np.array([[-1, -1], [3, 4]]), truth) == pytest.approx(2 / 3)
    nothing = neighbors([[-np.inf]], [[-1]])
    assert recall(np.array([[-1]]), nothing, scores=np.array([[-np.inf]], np.float32)) == 1.0
    assert recall(np.empty((0, 3), np.int64), neighbors([], [])._replace(ids=np.empty((0, 3), np.int64))) == 1.0
