"""Exact search by pruning: the oracle's answers, whatever the rows, and fewer bytes where they have structure."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from indexers.base import MISSING, Neighbors
from indexers.exact import exact_search
from indexers.mask import Mask
from indexers.pruned import Found, is_available
from indexers.pruned_file import WIDTH
from indexers.vectors import FloatArray
from tests.conftest import structured, unit
from tests.indexers.made_pruned import LEVELS, arguments, opened, prune

pytestmark = pytest.mark.skipif(not is_available(), reason="nestvec was installed without a C compiler")


def assert_exact(found: Found, xb: FloatArray, xq: FloatArray, k: int, dead: np.ndarray | None = None) -> None:
    """Compare ids and scores with the oracle; rows that tie may stand for each other."""
    alive = np.arange(len(xb)) if dead is None else np.setdiff1d(np.arange(len(xb)), dead)
    truth = exact_search(np.asarray(xb, np.float32)[alive], xq, k, ids=alive)
    np.testing.assert_allclose(found.neighbors.scores, truth.scores, rtol=0, atol=2e-6)
    assert ((found.neighbors.ids == MISSING) == (truth.ids == MISSING)).all()
    own = np.clip(np.einsum("qd,qkd->qk", xq, np.asarray(xb, np.float32)[found.neighbors.ids]), -1, 1)
    there = truth.ids != MISSING
    np.testing.assert_allclose(own[there], truth.scores[there], rtol=0, atol=2e-6)
    for row in found.neighbors.ids.tolist():
        kept = [i for i in row if i != MISSING]
        assert len(set(kept)) == len(kept)
        assert set(kept) <= set(alive.tolist())


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("dim", [1, 2, 63, 64, 65, 130, 384])
def test_answers_are_those_of_a_scan(tmp_path: Path, dim: int, dtype: type) -> None:
    data = structured(3000, dim, seed=dim)
    xb = data.xb.astype(dtype)
    index, store = opened(tmp_path, xb)
    xq = np.concatenate([data.xq, data.xt])
    for k in (1, 10, 3000):
        assert_exact(index.search(store, xq, k), xb, xq, k)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("n", [1, 15, 33, 4097, 5999])
def test_all_instructions_find_the_answers(tmp_path: Path, n: int, level: int) -> None:
    """Whole groups of rows and single ones; blocks that are read whole, and those that are not."""
    data = structured(max(n, 20), 200, seed=7)
    xb, dead = data.xb[:n], np.arange(n)[::3]
    index, store = opened(tmp_path, xb, level=level)
    xq = np.concatenate([data.xq, data.xt, data.xb[:20]])
    for gone in (np.arange(0), dead):
        mask = Mask.without(n, gone)
        assert_exact(index.search(store, xq, min(10, n), mask=mask), xb, xq, min(10, n), gone)
        floors = index.search(store, xq, 1, mask=mask).neighbors.scores[:, 0]
        known = index.search(store, xq, 1, floors=floors - np.float32(1e-5), mask=mask)
        assert_exact(known, xb, xq, 1, gone)


def test_all_instructions_drop_the_same_rows(tmp_path: Path) -> None:
    data = structured(6000, 256, seed=11)
    floors = exact_search(data.xb, data.xt, 10).scores[:, -1] - np.float32(0.01)
    scanned = []
    for level in LEVELS:
        index, store = opened(tmp_path, data.xb, level=level)
        scanned.append(index.search(store, data.xt, 10, floors=floors).bytes_read)
        assert (scanned[-1] < 6000 * 256).all()
    for other in scanned[1:]:
        # A bound may be rounded another way.
        np.testing.assert_allclose(other, scanned[0], rtol=1e-3)


def test_unknown_instructions_are_refused() -> None:
    with pytest.raises(NotImplementedError, match="level 3"):
        prune(*arguments(3))


@pytest.mark.parametrize("n", [1, 2, 7, 2048, 4095, 4096, 4097, 5000])
def test_any_number_of_rows(tmp_path: Path, n: int) -> None:
    data = structured(max(n, 20), 40, seed=n)
    xb = data.xb[:n]
    index, store = opened(tmp_path, xb)
    k = min(10, n)
    assert_exact(index.search(store, data.xq, k), xb, data.xq, k)


def test_a_batch_is_answered_as_one_by_one(tmp_path: Path) -> None:
    data = structured(4000, 100, seed=3, nq=200)
    index, store = opened(tmp_path, data.xb)
    batch = index.search(store, data.xq, 5)
    assert_exact(batch, data.xb, data.xq, 5)
    for i in (0, 63, 64, 150, 199):
        one = index.search(store, data.xq[i : i + 1], 5)
        np.testing.assert_array_equal(one.neighbors.ids[0], batch.neighbors.ids[i])


@pytest.mark.parametrize("known", [0.0, 1e-4, 0.3])
def test_a_floor_changes_no_answer_and_saves_work(tmp_path: Path, known: float) -> None:
    data = structured(6000, 256, seed=5)
    index, store = opened(tmp_path, data.xb)
    plain = index.search(store, data.xq, 10)
    floors = plain.neighbors.scores[:, -1] - np.float32(known)
    with_floor = index.search(store, data.xq, 10, floors=floors)
    assert_exact(with_floor, data.xb, data.xq, 10)
    assert (with_floor.bytes_read <= plain.bytes_read).all()


def test_rows_that_may_not_be_answered(tmp_path: Path) -> None:
    data = structured(5000, 96, seed=8)
    dead = np.unique(np.argsort(-(data.xq @ data.xb.T), axis=1)[:, :40])
    index, store = opened(tmp_path, data.xb)
    found = index.search(store, data.xq, 10, mask=Mask.without(5000, dead))
    assert_exact(found, data.xb, data.xq, 10, dead)


def test_fewer_rows_than_asked_for(tmp_path: Path) -> None:
    data = structured(100, 96, seed=8)
    dead = np.arange(5, 100)
    index, store = opened(tmp_path, data.xb)
    found = index.search(store, data.xq, 10, mask=Mask.without(100, dead))
    assert_exact(found, data.xb, data.xq, 10, dead)
    assert (found.neighbors.ids[:, 5:] == MISSING).all()


def test_rows_that_are_all_the_same(tmp_path: Path) -> None:
    xb = np.tile(structured(20, 70, seed=1).xb[:1], (300, 1))
    index, store = opened(tmp_path, xb)
    found = index.search(store, xb[:1], 4)
    np.testing.assert_array_equal(found.neighbors.ids, [[0, 1, 2, 3]])
    np.testing.assert_allclose(found.neighbors.scores, 1, atol=1e-6)


def test_rows_unlike_the_sample(tmp_path: Path) -> None:
    """Axes and scales come from rows of another kind: slower, and still exact."""
    data, other = structured(3000, 150, seed=1), structured(40, 150, seed=99)
    narrow = unit(other.xb[:1] + 0.01 * other.xb[:30])
    index, store = opened(tmp_path, data.xb, xt=narrow)
    assert_exact(index.search(store, data.xq, 10), data.xb, data.xq, 10)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_anything(tmp_path: Path, data: st.DataObject) -> None:
    """Few values, so that scores tie; outliers; samples of any size; floors that are true."""
    n, dim = data.draw(st.integers(1, 60)), data.draw(st.integers(1, 140))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    spread = data.draw(st.sampled_from([0.0, 0.3, 3.0]))
    x = rng.integers(-1, 2, (n, dim)) * np.exp(spread * rng.normal(size=dim))
    x[:, 0] += 1e-3
    xb, xq = unit(x.astype(np.float32)), unit(rng.normal(size=(5, dim)).astype(np.float32))
    size = data.draw(st.integers(1, n))
    index, store = opened(tmp_path, xb, xt=xb[:size], queries=xq if data.draw(st.booleans()) else None)
    k = data.draw(st.integers(1, n))
    truth: Neighbors = exact_search(xb, xq, k)
    floors = truth.scores[:, -1] - np.float32(data.draw(st.sampled_from([1e-5, 0.1, 3.0])))
    assert_exact(index.search(store, xq, k, floors=floors), xb, xq, k)


def test_structure_saves_bytes_and_the_rest_is_never_more_than_the_codes(tmp_path: Path) -> None:
    data = structured(20_000, 384, seed=2)
    index, store = opened(tmp_path, data.xb)
    all_codes = 20_000 * 6 * (WIDTH + 1)
    read = index.search(store, data.xq, 10).bytes_read
    assert np.median(read) < all_codes / 2
    noise = unit(np.random.default_rng(0).normal(size=(2500, 384)).astype(np.float32))
    index, store = opened(tmp_path, noise)
    xq = unit(np.random.default_rng(1).normal(size=(5, 384)).astype(np.float32))
    found = index.search(store, xq, 10)
    assert_exact(found, noise, xq, 10)
    assert (found.bytes_read <= 2500 * (6 * (WIDTH + 1) + 4 * 384)).all()


def test_what_is_asked_decides_what_is_read_first(tmp_path: Path) -> None:
    """Queries beside the rows read less from an index that knows some like them; no answer changes."""
    data = structured(20_000, 384, seed=6, nq=1020)
    known, asked = data.xt[:1000], data.xt[1000:]
    floors = exact_search(data.xb, asked, 10).scores[:, -1] - np.float32(1e-3)
    read = []
    for queries in (None, known):
        index, store = opened(tmp_path, data.xb, queries=queries)
        found = index.search(store, asked, 10, floors=floors)
        assert_exact(found, data.xb, asked, 10)
        read.append(found.bytes_read.mean())
    assert read[1] < 0.9 * read[0]
