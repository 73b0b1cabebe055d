"""Searching a collection: exact where it claims to be, never short, never a deleted row."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from engine.api import Collection
from indexers.plan import EXACT, SearchPlan
from indexers.store import DTYPES
from tests.conftest import (
    Data,
    MakeCollection,
    assert_answers,
    live_scores,
    recall_of,
    stored_rows,
    structured,
    unit,
)

N, TAIL, D = 500, 40, 48
SPECS = ("flat@7", "sq@16", "sq@48", "ivf-flat@16", "ivf-pq@32", "hnsw@24")
# Shortlists of every row there is: nothing is left to chance.
FULL = [
    EXACT,
    *(f"{spec} | 9999@48" for spec in SPECS),
    "flat@7 | 9999@20 | 9999@48",
    "sq@16 | 9999@16 | 9999@33 | 9999@48",
]
STATES = ("indexed", "tail", "deleted", "tail and deleted", "deleted, not pruned")


def data() -> Data:
    return structured(N + TAIL, D, seed=11)


def dead_rows() -> np.ndarray:
    """The three nearest rows of every query, and a few more."""
    xb, xq, _ = data()
    return np.unique([*np.argsort(-(xq @ xb[:N].T), axis=1)[:, :3].ravel(), 0, 17, N - 1])


@pytest.fixture(scope="module", params=[(dtype, state) for dtype in DTYPES for state in STATES], ids="-".join)
def collection(request: pytest.FixtureRequest, make_collection: MakeCollection) -> Collection:
    dtype, state = request.param
    xb = data().xb
    tail = xb[N:] if "tail" in state else None
    deleted = [*dead_rows(), *((N + 1, N + TAIL - 1) if tail is not None else ())] if "deleted" in state else ()
    pruned = "not pruned" not in state
    return make_collection(xb[:N], SPECS, dtype=dtype, tail=tail, deleted=deleted, pruned=pruned)


def queries() -> np.ndarray:
    return np.concatenate([data().xq[:8], data().xt[:8]])


def test_the_state_is_what_it_says(collection: Collection, request: pytest.FixtureRequest) -> None:
    assert (collection.searcher.first.pruned is None) == ("not pruned" in request.node.callspec.id)


# -- exactness -------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [1, 10, 60])
@pytest.mark.parametrize("plan", FULL)
def test_a_full_shortlist_is_brute_force(collection: Collection, plan: str, k: int) -> None:
    found = collection.searcher.search(queries(), k, SearchPlan.parse(plan))
    assert_answers(found, live_scores(collection, queries()), k)


@pytest.mark.parametrize(
    "plan",
    ["flat@7 | 499@48", "sq@16 | 499@33 | 499@48", "hnsw@24:efSearch=500 | 499@48", "ivf-pq@32:nprobe=99 | 499@48"],
)
def test_all_rows_but_one_through_the_funnel_is_nearly_brute_force(collection: Collection, plan: str) -> None:
    """One row less, so that it is the funnel that answers, and not a scan in its place."""
    found = collection.searcher.search(queries(), 10, SearchPlan.parse(plan))
    truth = live_scores(collection, queries())
    assert recall_of(found.ids, truth, 10, tol=2e-6) >= 0.99
    own = np.take_along_axis(truth, found.ids, axis=1)
    np.testing.assert_allclose(found.scores, own, rtol=0, atol=2e-6)


@pytest.mark.parametrize("dim", [1, 7, 16, 31, 47, 48])
def test_a_prefix_is_brute_force_over_truncated_rows(collection: Collection, dim: int) -> None:
    truth = live_scores(collection, queries(), dim)
    searcher = collection.searcher
    assert_answers(searcher.search(queries(), 10, SearchPlan(EXACT), dim=dim), truth, 10)
    usable = [spec for spec in SPECS if int(spec.partition("@")[2]) <= dim]
    for spec in usable:
        plan = SearchPlan.parse(f"{spec} | 9999@{dim}")
        assert_answers(searcher.search(queries(), 10, plan), truth, 10)
        assert_answers(searcher.search(queries(), 10, plan, dim=dim), truth, 10)


@pytest.mark.parametrize("dim", [7, 20, 32])
def test_a_prefix_without_a_plan(collection: Collection, dim: int) -> None:
    """Scores are those of the prefix, and most of the best rows are found."""
    found = collection.searcher.search(queries(), 10, dim=dim)
    truth = live_scores(collection, queries(), dim)
    np.testing.assert_allclose(found.scores, np.take_along_axis(truth, found.ids, axis=1), rtol=0, atol=2e-6)
    assert recall_of(found.ids, truth, 10) >= 0.9


def test_the_store_holds_what_the_shards_hold(collection: Collection) -> None:
    rows = stored_rows(collection)
    order = np.random.default_rng(0).permutation(len(rows))
    np.testing.assert_array_equal(collection.searcher.vectors(order), rows[order])
    exactly = data().xb[: len(rows)]
    tolerance = 1e-6 if collection.space.dtype == "float32" else 5e-4
    np.testing.assert_allclose(rows, exactly, rtol=0, atol=tolerance)


# -- rows that were added, rows that were deleted ---------------------------------------------


@pytest.mark.parametrize("plan", [None, *FULL, *(f"{spec} | 20@48" for spec in SPECS)])
def test_deleted_rows_never_come_and_new_ones_do(collection: Collection, plan: str | None) -> None:
    searcher = collection.searcher
    rows = stored_rows(collection)
    used = None if plan is None else SearchPlan.parse(plan)
    gone = collection.snapshot.deleted
    if len(gone):
        found = searcher.search(unit(rows[gone]), 20, used)
        assert not np.isin(found.ids, gone).any()
    new = np.setdiff1d(np.arange(N, len(rows)), gone)
    if len(new):
        found = searcher.search(unit(rows[new]), 1, used)
        np.testing.assert_array_equal(found.ids[:, 0], new)


@pytest.mark.parametrize("k", [30, 100, 400, 10_000])
@pytest.mark.parametrize("plan", [None, EXACT, *(f"{spec} | 5@48" for spec in SPECS), "flat@7 | 5@20 | 3@48"])
def test_k_answers_whenever_there_are_k_rows(collection: Collection, plan: str | None, k: int) -> None:
    """More than the shortlist holds, more than there are."""
    searcher = collection.searcher
    found = searcher.search(queries(), k, None if plan is None else SearchPlan.parse(plan))
    wanted = min(k, searcher.live.count)
    assert found.ids.shape == (16, wanted)
    assert found.ids.min() >= 0
    assert all(len(set(row)) == wanted for row in found.ids.tolist())
    assert (np.diff(found.scores, axis=1) <= 0).all()
    assert not np.isin(found.ids, collection.snapshot.deleted).any()
    if wanted == searcher.live.count:
        assert_answers(found, live_scores(collection, queries()), wanted)


@pytest.mark.parametrize("plan", [f"{spec} | 10@48" for spec in SPECS])
@pytest.mark.parametrize("live", [1, 7, 40])
def test_when_most_neighbours_are_deleted(make_collection: MakeCollection, plan: str, live: int) -> None:
    """The rows that are left point away from the queries: no pad may rank before them."""
    xb, xq, _ = data()
    centre = unit(xb.mean(axis=0, keepdims=True))
    order = np.argsort(-(xb[:N] @ centre[0]))
    collection = make_collection(xb[:N], [plan.partition(" ")[0]], deleted=order[: N - live])
    away = np.concatenate([centre, xq[:5]])
    found = collection.searcher.search(away, 10, SearchPlan.parse(plan))
    assert_answers(found, live_scores(collection, away), min(10, live)) if live <= 10 else None
    assert found.ids.shape == (6, min(10, live))
    assert np.isin(found.ids, order[N - live :]).all()


def test_everything_deleted(make_collection: MakeCollection) -> None:
    xb, xq, _ = data()
    collection = make_collection(xb[:30], ["sq@16"], deleted=range(30))
    for plan in (None, SearchPlan(EXACT), SearchPlan.parse("sq@16 | 10@48")):
        assert collection.searcher.search(xq, 10, plan).ids.shape == (20, 0)
    assert len(collection.search(xq[0], 10)) == 0


# -- small, empty and odd collections -----------------------------------------------------------


def test_an_empty_collection(make_collection: MakeCollection) -> None:
    collection = make_collection(np.empty((0, 8), np.float32))
    assert collection.searcher.search(structured(5, 8, seed=0).xq, 10).scores.shape == (20, 0)
    assert len(collection.search(np.ones(8), 10).items) == 0


def test_rows_that_were_never_built(tmp_path: Path) -> None:
    xb, xq, _ = structured(50, 8, seed=1)
    collection = Collection.create(tmp_path / "c", encoder="precomputed", dim=8, dtype="float32")
    with Collection.open(tmp_path / "c") as opened:
        assert len(opened.search(xq[0])) == 0
    collection.add_vectors(xb)
    assert_answers(collection.searcher.search(xq, 10), live_scores(collection, xq), 10)
    collection.close()


@pytest.mark.parametrize("spec", ["flat", "sq", "ivf-flat", "ivf-pq", "hnsw"])
@pytest.mark.parametrize(("n", "D"), [(1, 8), (2, 8), (3, 1), (20, 1), (60, 13)])
def test_few_rows_and_odd_dimensions(make_collection: MakeCollection, spec: str, n: int, D: int) -> None:
    xb, xq, xt = structured(n, D, seed=n + D)
    d = max(1, D // 2)
    collection = make_collection(xb, [f"{spec}@{d}", f"{spec}@{D}"] if d < D else [f"{spec}@{D}"])
    for queries in (xq, xt):
        truth = live_scores(collection, queries)
        for text in (None, f"{spec}@{d} | {n}@{D}", f"{spec}@{d} | 1@{D}"):
            plan = None if text is None else SearchPlan.parse(text)
            found = collection.searcher.search(queries, n, plan)
            assert_answers(found, truth, n)


@pytest.mark.parametrize("spec", SPECS)
def test_rows_that_are_the_same(make_collection: MakeCollection, spec: str) -> None:
    """Duplicates are rows of their own, and each is answered."""
    xb, xq, _ = structured(60, D, seed=5)
    collection = make_collection(np.repeat(xb, 10, axis=0), [spec])
    found = collection.searcher.search(xb[:5], 10, SearchPlan.parse(f"{spec} | 100@48"))
    truth = live_scores(collection, xb[:5])
    own = np.take_along_axis(truth, found.ids, axis=1)
    np.testing.assert_allclose(found.scores, own, rtol=0, atol=2e-6)
    assert all(len(set(row)) == 10 for row in found.ids.tolist())
    # Hundreds of equal codes leave to chance which come; a graph need not reach all of them.
    if not spec.startswith("hnsw"):
        assert (own > 0.999).mean() >= 0.95
    full = collection.searcher.search(xq, 25, SearchPlan.parse(f"{spec} | 600@48"))
    assert_answers(full, live_scores(collection, xq), 25)
