"""The figures of merit, against hand-made cases and the project's own oracle."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.evaluation.ranking import average_precision, found_share, rank_of_first
from indexers.base import MISSING, Neighbors
from indexers.exact import exact_search, recall


@given(st.integers(0, 10_000), st.integers(1, 6), st.integers(0, 5))
def test_the_share_found_is_the_recall_of_the_oracle(seed: int, k: int, more: int) -> None:
    rng = np.random.default_rng(seed)
    # Few values, so that many scores tie.
    xb = rng.integers(-1, 2, size=(int(rng.integers(1, 12)), 3)).astype(np.float32)
    xq = rng.integers(-1, 2, size=(5, 3)).astype(np.float32)
    truth = exact_search(xb, xq, k)
    found = exact_search(xb, xq + rng.integers(-1, 2, size=xq.shape).astype(np.float32), k + more).ids
    scores = np.where(found == MISSING, -np.inf, np.take_along_axis(xq @ xb.T, np.maximum(found, 0), 1))
    share = found_share(found, truth, scores.astype(np.float32))
    wanted = (truth.ids != MISSING).sum(axis=1)
    expected = recall(found, truth, scores=scores.astype(np.float32))
    assert (share * wanted).sum() / wanted.sum() == pytest.approx(expected)


def test_nothing_to_find_is_found() -> None:
    truth = Neighbors(np.full((1, 2), -np.inf, np.float32), np.full((1, 2), MISSING))
    assert found_share(np.array([[MISSING]]), truth, np.array([[-np.inf]], np.float32)).tolist() == [1.0]


@pytest.mark.parametrize(
    ("right", "expected"),
    [
        ([1, 1, 1, 1], 1.0),
        ([0, 0, 0, 0], 0.0),
        ([1, 0, 0, 0], 1 / 4),
        ([0, 1, 0, 1], (1 / 2 + 2 / 4) / 4),
        ([1, 0, 1, 0], (1 + 2 / 3) / 4),
    ],
)
def test_average_precision_is_divided_by_k(right: list[int], expected: float) -> None:
    assert average_precision(np.array([right], dtype=bool))[0] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("scores", "relevant", "rank"),
    [
        ([0.9, 0.5, 0.1], [0], 1),
        ([0.9, 0.5, 0.1], [2], 3),
        ([0.9, 0.5, 0.1], [1, 2], 2),
        ([0.5, 0.5, 0.5], [1], 2),  # in the middle of two that tie
        ([0.5, 0.5, 0.1], [0, 1], 1),  # ties with another right one
        ([0.9, 0.5, 0.5], [2], 2.5),
        ([0.0], [0], 1),
    ],
)
def test_the_rank_of_the_first_right_one(scores: list[float], relevant: list[int], rank: float) -> None:
    assert rank_of_first(np.array(scores, np.float32), np.array(relevant)) == rank
