"""Scoring candidates again by longer prefixes, against brute force."""

from __future__ import annotations

import numpy as np
import pytest

from engine.retrieval.rerank import best, rerank, scan_prefix
from indexers.store import DTYPES, VectorStore
from tests.conftest import assert_answers, prefix_scores, structured

N, D = 300, 33


def store_of(dtype: str) -> VectorStore:
    return VectorStore(structured(N, D, seed=3).xb.astype(dtype))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("dim", [1, 8, 32, 33])
def test_all_rows_as_candidates_is_brute_force(dtype: str, dim: int) -> None:
    store, xq = store_of(dtype), structured(N, D, seed=3).xq
    shuffled = np.stack([np.random.default_rng(i).permutation(N) for i in range(len(xq))])
    truth = prefix_scores(store.rows.astype(np.float32), xq, dim)
    assert_answers(rerank(store, xq, shuffled, dim, 10), truth, 10)
    assert_answers(scan_prefix(store, xq, 10, dim, np.arange(N)), truth, 10)
    assert_answers(rerank(store, xq, shuffled, dim, N), truth, N)


@pytest.mark.parametrize("dim", [8, 33])
def test_only_candidates_are_answered_and_missing_ones_come_last(dim: int) -> None:
    store, xq = store_of("float32"), structured(N, D, seed=3).xq[:3]
    candidates = np.array([[5, -1, 9, -1], [-1, -1, -1, -1], [1, 2, 3, 4]])
    truth = prefix_scores(store.rows, xq, dim)
    scores, ids = rerank(store, xq, candidates, dim, 9)
    assert ids.shape == (3, 4)
    assert set(ids[0].tolist()) == {5, 9, -1}
    assert (ids[0, 2:] == -1).all()
    assert (ids[1] == -1).all()
    assert np.isneginf(scores[ids == -1]).all()
    assert sorted(ids[2]) == [1, 2, 3, 4]
    own = np.take_along_axis(truth, np.maximum(ids, 0), axis=1)
    np.testing.assert_allclose(scores[ids >= 0], own[ids >= 0], rtol=0, atol=1e-6)
    assert rerank(store, xq, candidates, dim, 1).ids.shape == (3, 1)


def test_blocks_make_no_difference() -> None:
    """A limit so low that each query, and each row, is a block of its own."""
    store, xq = store_of("float16"), structured(N, D, seed=3).xq
    candidates = np.tile(np.arange(0, N, 2), (len(xq), 1))
    whole = rerank(store, xq, candidates, 8, 10), scan_prefix(store, xq, 10, 8, np.arange(N))
    cut = (
        rerank(store, xq, candidates, 8, 10, block_bytes=1),
        scan_prefix(store, xq, 10, 8, np.arange(N), block_bytes=1),
    )
    for one, other in zip(whole, cut, strict=True):
        np.testing.assert_allclose(one.scores, other.scores, rtol=0, atol=1e-6)


def test_prefixes_of_length_zero_score_zero() -> None:
    rows = np.zeros((3, 4), np.float32)
    rows[:, 3] = 1
    rows[0, :2] = [1e-14, 0]
    xq = np.array([[1, 0, 0, 0]], np.float32)
    found = rerank(VectorStore(rows), xq, np.array([[0, 1, 2]]), 2, 3)
    np.testing.assert_allclose(found.scores, [[1, 0, 0]], atol=1e-6)
    scanned = scan_prefix(VectorStore(rows), xq, 3, 2, np.arange(3))
    np.testing.assert_allclose(scanned.scores, found.scores, atol=1e-6)
    nothing = rerank(VectorStore(rows), np.array([[0, 0, 1, 0]], np.float32), np.array([[0, 1, 2]]), 2, 3)
    np.testing.assert_array_equal(nothing.scores, [[0, 0, 0]])


def test_fewer_rows_than_answers() -> None:
    store, xq = store_of("float32"), structured(N, D, seed=3).xq
    found = scan_prefix(store, xq, 5, 8, np.array([7, 3]))
    assert (np.sort(found.ids[:, :2], axis=1) == [3, 7]).all()
    assert (found.ids[:, 2:] == -1).all()
    assert (scan_prefix(store, xq, 5, 8, np.empty(0, np.int64)).ids == -1).all()


def test_best_keeps_the_order_of_ties() -> None:
    scores = np.array([[1, 3, 3, 2], [0, 0, 0, -np.inf]], np.float32)
    rows = np.array([[10, 11, 12, 13], [7, 6, 5, -1]])
    found = best(scores, rows, 3)
    assert found.ids.tolist() == [[11, 12, 13], [7, 6, 5]]
    assert found.scores.tolist() == [[3, 3, 2], [0, 0, 0]]
