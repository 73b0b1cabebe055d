"""The losses against their definitions, written out in NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from engine.heads.training.losses import info_nce, kept_similarity, matryoshka_cross_entropy, neighbourhood, prefix
from indexers.vectors import truncate
from tests.helpers import clustered

DIMS, WEIGHTS = (2, 5), (0.5, 1.5)
X, Y = clustered(6, 8, 1), clustered(6, 8, 2)


def cut(x: np.ndarray, d: int) -> np.ndarray:
    return x[..., :d] / np.linalg.norm(x[..., :d], axis=-1, keepdims=True)


def log_softmax(scores: np.ndarray) -> np.ndarray:
    result: np.ndarray = scores - np.log(np.exp(scores).sum(-1, keepdims=True))
    return result


def test_a_prefix_is_the_one_that_is_searched() -> None:
    np.testing.assert_allclose(prefix(torch.from_numpy(X), 3), truncate(X, 3), atol=1e-6)


def test_neighbourhood() -> None:
    rng = np.random.default_rng(0)
    near, others = clustered(12, 8, 3).reshape(6, 2, 8), clustered(4, 8, 4)
    wanted = rng.dirichlet(np.ones(6), size=6).astype(np.float32)
    masked = np.zeros((6, 4), dtype=bool)
    masked[0, 1] = True
    wanted[0] = [0.5, 0.2, 0.2, 0, 0.1, 0]
    expected = 0.0
    for d, weight in zip(DIMS, WEIGHTS, strict=True):
        scores = np.concatenate([np.einsum("bd,bkd->bk", cut(X, d), cut(near, d)), cut(X, d) @ cut(others, d).T], 1)
        scores[:, 2:][masked] = -1e4
        expected += weight * -(wanted * log_softmax(scores.astype(np.float64) / 0.1)).sum(1).mean()
    arguments = (torch.from_numpy(part) for part in (wanted, X, near, others, masked))
    loss = neighbourhood(*arguments, dims=DIMS, weights=WEIGHTS, temperature=0.1)
    assert float(loss) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("shared", [False, True])
def test_matryoshka_cross_entropy(shared: bool) -> None:
    rng = np.random.default_rng(0)
    labels = np.array([0, 1, 2, 0, 1, 2])
    classifiers = [rng.normal(size=(3, d)).astype(np.float32) for d in ((8,) if shared else DIMS)]
    scales = np.log(np.array([4.0, 9.0], dtype=np.float32))
    expected = 0.0
    for n, (d, weight) in enumerate(zip(DIMS, WEIGHTS, strict=True)):
        logits = cut(X, d) @ cut(classifiers[0 if shared else n], d).T * np.exp(scales[n])
        expected -= weight * log_softmax(logits)[np.arange(6), labels].mean()
    loss = matryoshka_cross_entropy(
        torch.from_numpy(X),
        torch.from_numpy(labels),
        [torch.from_numpy(one) for one in classifiers],
        torch.from_numpy(scales),
        dims=DIMS,
        weights=WEIGHTS,
    )
    assert float(loss) == pytest.approx(expected, rel=1e-5)


def test_info_nce_leaves_out_what_is_right_as_well() -> None:
    same = np.zeros((6, 6), dtype=bool)
    same[0, 3] = same[3, 0] = True
    scales = np.log(np.array([5.0, 20.0], dtype=np.float32))
    expected = 0.0
    for n, (d, weight) in enumerate(zip(DIMS, WEIGHTS, strict=True)):
        logits = (cut(X, d) @ cut(Y, d).T * np.exp(scales[n])).astype(np.float64)
        logits[same] = -np.inf
        own = np.arange(6)
        both = log_softmax(logits)[own, own].mean() + log_softmax(logits.T)[own, own].mean()
        expected -= weight * both / 2
    arguments = (torch.from_numpy(part) for part in (X, Y, same, scales))
    assert float(info_nce(*arguments, dims=DIMS, weights=WEIGHTS)) == pytest.approx(expected, rel=1e-5)


def test_kept_similarity() -> None:
    near, after_near = clustered(12, 8, 3).reshape(6, 2, 8), clustered(12, 8, 4).reshape(6, 2, 8)
    expected = 0.0
    for d, weight in zip(DIMS, WEIGHTS, strict=True):
        topk = np.einsum("bd,bkd->bk", cut(Y, d), cut(after_near, d)) - np.einsum("bd,bkd->bk", X, near)
        expected += weight * (np.abs(topk).mean() + 0.5 * np.abs(cut(Y, d) @ cut(Y, d).T - X @ X.T).mean())
    arguments = (torch.from_numpy(part) for part in (X, Y, near, after_near))
    assert float(kept_similarity(*arguments, dims=DIMS, weights=WEIGHTS, pairwise=0.5)) == pytest.approx(
        expected, rel=1e-5
    )


def test_a_head_that_changes_nothing_keeps_every_similarity() -> None:
    x, near = torch.from_numpy(X), torch.from_numpy(clustered(12, 8, 3).reshape(6, 2, 8))
    assert float(kept_similarity(x, x, near, near, dims=(8,), weights=(1.0,), pairwise=1.0)) < 1e-6
