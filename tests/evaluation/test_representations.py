"""The maps keep what they promise to keep, and every vector goes through the right tower."""

from __future__ import annotations

import numpy as np
import pytest

from engine.evaluation.representations import (
    check_dims,
    default_dims,
    principal_axes,
    random_axes,
    represent,
    sample_items,
)
from engine.heads.model import Head, Tower
from engine.planning.queries import QuerySet
from indexers.errors import InvalidInput, InvalidVectors
from tests.evaluation.made import DIM, items
from tests.helpers import clustered


def head(dim: int = 4) -> Head:
    rng = np.random.default_rng(3)
    towers = [Tower(rng.normal(size=(dim, DIM)).astype(np.float32)) for _ in range(2)]
    return Head("paired", DIM, dim, (2, dim), towers[0], towers[1], {})


def test_the_default_prefixes() -> None:
    assert default_dims(64) == [8, 16, 32, 64]
    assert default_dims(100, [24, 8, 400]) == [8, 16, 24, 32, 64, 100]
    assert default_dims(5) == [5]
    assert default_dims(8) == [8]


def test_prefixes_that_are_not_there() -> None:
    assert check_dims([16, 8, 8], 16) == [8, 16]
    for wrong in ([17], [0], [-1], []):
        with pytest.raises(InvalidInput, match="from 1 to 16"):
            check_dims(wrong, 16)


@pytest.mark.parametrize("n", [5, 300])
def test_rotations_keep_the_scores_at_full_dimension(n: int) -> None:
    base, xq = clustered(n, DIM), clustered(7, DIM, 1)
    for one in represent(base, [QuerySet("items", xq)], names=["pca", "random"], seed=4):
        np.testing.assert_allclose(one.queries[0].xq @ one.base.T, xq @ base.T, atol=2e-6)


def test_the_principal_axes_hold_the_most_that_a_prefix_can() -> None:
    base = clustered(400, DIM) + np.float32(0.1)
    axes = principal_axes(base)
    np.testing.assert_allclose(axes.T @ axes, np.eye(DIM), atol=1e-5)
    centred = base - base.mean(axis=0)
    kept = ((centred @ axes) ** 2).sum(axis=0)
    assert (np.diff(kept) <= 1e-3).all()
    np.testing.assert_allclose(kept, np.linalg.svd(centred, compute_uv=False) ** 2, rtol=1e-3)


def test_random_axes_follow_their_seed() -> None:
    assert np.array_equal(random_axes(8, 1), random_axes(8, 1))
    assert not np.allclose(random_axes(8, 1), random_axes(8, 2))
    np.testing.assert_allclose(random_axes(8, 1).T @ random_axes(8, 1), np.eye(8), atol=1e-6)


def test_items_and_texts_go_through_their_own_tower() -> None:
    base, xq, one = clustered(30, DIM), clustered(4, DIM, 1), head()
    sets = [QuerySet("items", xq), QuerySet("texts", xq, None, "queries")]
    (made,) = represent(base, sets, names=[], heads={"mine": one})
    assert made.name == "nested:mine"
    assert np.array_equal(made.base, one(base, "items"))
    assert np.array_equal(made.queries[0].xq, one(xq, "items"))
    assert np.array_equal(made.queries[1].xq, one(xq, "queries"))
    assert made.measured([2, 4, 8, 16]) == [2, 4]
    assert made.measured([16]) == [4]


def test_the_full_vector_is_one_line() -> None:
    plain, full = represent(clustered(9, DIM), [], names=["truncation", "full"])
    assert plain.measured([2, 8]) == [2, 8]
    assert full.measured([2, 8]) == [DIM]


def test_what_cannot_be_represented() -> None:
    with pytest.raises(InvalidInput, match="truncation, pca, random, full; found 'ica'"):
        list(represent(clustered(9, DIM), [], names=["ica"]))
    with pytest.raises(InvalidVectors):
        list(represent(clustered(9, DIM + 1), [], names=[], heads={"mine": head()}))


def test_the_sample_is_of_different_rows_and_follows_its_seed() -> None:
    base = clustered(50, DIM)
    one, same, other = (sample_items(base, 20, seed) for seed in (1, 1, 2))
    assert one.own is not None and same.own is not None and other.own is not None
    assert len(set(one.own.tolist())) == 20
    assert np.array_equal(one.own, same.own)
    assert not np.array_equal(one.own, other.own)
    assert np.array_equal(one.xq, base[one.own])
    assert len(sample_items(base, 999, 0).xq) == 50
    among = sample_items(base, 3, 0, np.array([4, 5, 6])).own
    assert among is not None
    assert among.tolist() == [4, 5, 6]


def test_only_the_sets_that_are_asked_for() -> None:
    one = items()
    assert one.asked("texts").queries == ()
    assert one.asked("items", "texts").queries == one.queries
