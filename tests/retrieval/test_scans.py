"""Exact searches of many queries, and of many answers: whichever way is taken, the answers are NumPy's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from engine.api import Collection
from engine.retrieval import segment
from indexers import store
from indexers.exact import exact_search
from indexers.mask import Mask
from indexers.plan import EXACT, SearchPlan
from indexers.pruned import is_available
from indexers.store import BlockScan, VectorStore
from tests.conftest import MakeCollection, assert_answers, structured

N, D = 21_000, 16


@pytest.fixture(scope="module")
def opened(make_collection: MakeCollection) -> Collection:
    return make_collection(structured(N, D, seed=5).xb, ["flat@8"], dtype="float16")


@pytest.mark.parametrize("k", [1, 10, 300])
@pytest.mark.parametrize("nq", [1, 19, 20, 64, 130])
def test_however_many_are_asked_the_answers_are_exact(opened: Collection, nq: int, k: int) -> None:
    xq = np.ascontiguousarray(np.tile(structured(N, D, seed=5, nq=65).xq, (2, 1))[:nq])
    rows = np.asarray(opened.searcher.first.store.rows, dtype=np.float64)
    assert_answers(opened.searcher.search(xq, k, SearchPlan(EXACT)), np.clip(xq @ rows.T, -1, 1), k)


@pytest.mark.skipif(not is_available(), reason="the compiled scan is not installed")
@pytest.mark.parametrize("slow", ["bounds", "blocks"])
def test_both_ways_are_taken(opened: Collection, slow: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that makes one of them slow: the first and the third look at it are before bounds, and before blocks."""
    ticks = iter([0.0, 1000.0, 1000.0, 1000.001] if slow == "bounds" else [0.0, 0.0, 0.0, 1000.0])
    monkeypatch.setattr(segment.time, "perf_counter", lambda: next(ticks))
    read: list[int] = []
    whole = BlockScan.read
    monkeypatch.setattr(BlockScan, "read", lambda self, rows: read.append(rows) or whole(self, rows))
    xq = structured(N, D, seed=5, nq=100).xq
    found = opened.searcher.first.scan(10, D, None, xq, None)
    assert (N in read) is (slow == "bounds")
    rows = np.asarray(opened.searcher.first.store.rows, dtype=np.float64)
    assert_answers(found, np.clip(xq @ rows.T, -1, 1), 10)


def test_blocks_shorter_than_k(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "BLOCK_BYTES", 4 * D * 7)
    xb = structured(60, D, seed=6).xb.astype(np.float16)
    xq = structured(60, D, seed=6, nq=store.MANY).xq
    found = VectorStore(xb).search(xq, 20)
    right = exact_search(xb.astype(np.float32), xq, 20)
    np.testing.assert_allclose(found.scores, right.scores, atol=1e-6)


@pytest.mark.skipif(not is_available(), reason="the compiled scan is not installed")
@pytest.mark.parametrize(
    ("seconds", "ways"),
    [
        ((9.0, 1.0), "bsss"),  # the first pair says it: nothing is tried twice
        ((1.0, 9.0), "bsbb"),
        ((2.0, 1.0), "bsbsss"),
        ((1.0, 2.0), "bsbsbb"),
    ],
)
def test_a_mask_is_searched_by_turns_until_it_is_plain(
    opened: Collection, seconds: tuple[float, float], ways: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clock that says what bounds take and what a scan does."""
    now, taken = [0.0], ""
    monkeypatch.setattr(segment.time, "perf_counter", lambda: now[0])
    one = opened.searcher.first
    bounds, scan = one.search_pruned, one.store.search

    def by(way: str, search: Callable[..., Any], cost: float) -> Callable[..., Any]:
        def timed(*given: Any) -> Any:
            nonlocal taken
            taken, now[0] = taken + way, now[0] + cost
            return search(*given)

        return timed

    monkeypatch.setattr(one, "search_pruned", by("b", bounds, seconds[0]))
    monkeypatch.setattr(one.store, "search", by("s", scan, seconds[1]))
    mask = Mask.of(np.arange(N) % 2 == 0)
    xq = structured(N, D, seed=5, nq=1).xq
    rows = np.asarray(one.store.rows, dtype=np.float64)
    for _ in ways:
        found = one.scan(10, D, None, xq, mask)
        assert_answers(found, np.where(mask.allowed, np.clip(xq @ rows.T, -1, 1), -np.inf), 10)
    assert taken == ways
