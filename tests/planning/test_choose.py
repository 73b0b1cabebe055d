"""The default plan: chosen by measuring, and as good as it says on queries it has not seen."""

from __future__ import annotations

import numpy as np
import pytest

from engine.api import Collection
from engine.planning.choose import TARGET, K, calibrate, candidates, judge_of, judged_by, wanted
from indexers.plan import EXACT, SearchPlan, Stage
from indexers.vectors import FloatArray
from tests.conftest import Data, MakeCollection, live_scores, recall_of, structured, unit

N, D = 3000, 64


def data() -> Data:
    """N base rows, and 200 queries of both kinds drawn with them."""
    return structured(N, D, seed=21, nq=200)


def new_queries() -> tuple[FloatArray, FloatArray]:
    """Queries like the rows, and others on the far side of a gap that rows do not vary along."""
    rng, found = np.random.default_rng(22), data()
    near = found.xb[rng.integers(N, size=200)]
    gap = np.linalg.eigh(found.xb.T @ found.xb)[1][:, 3]
    return found.xq, unit(0.35 * near + 0.2 * unit(rng.normal(size=(200, N)) @ found.xb) + 0.9 * gap)


@pytest.fixture(scope="module", params=[None, ["ivf-pq@32", "ivf-flat@64"]], ids=str)
def collection(request: pytest.FixtureRequest, make_collection: MakeCollection) -> Collection:
    return make_collection(data().xb, request.param, dtype="float32")


def test_the_default_plan_keeps_its_promise(collection: Collection) -> None:
    """On queries it was not measured with, of both kinds; and it is no exact scan."""
    (entry,) = collection.space.plans
    assert entry.plan.index != EXACT
    assert entry.k == K
    assert set(entry.recall) == {"items", "shifted"}
    assert all(recall >= wanted(name) for name, recall in entry.recall.items())
    for xq in new_queries():
        found = collection.searcher.search(xq, 10)
        assert recall_of(found.ids, live_scores(collection, xq), 10) >= 0.95


def test_more_answers_keep_it_too(collection: Collection) -> None:
    xq = unit(collection.searcher.vectors(np.arange(0, N, 40)))
    for k in (1, 50, 100):
        found = collection.searcher.search(xq, k)
        assert recall_of(found.ids, live_scores(collection, xq), k) >= 0.95


def test_the_default_plan_grows_with_k(collection: Collection) -> None:
    searcher = collection.searcher
    measured = searcher.routes.usual
    assert searcher.routes.default(1, D) == searcher.routes.default(10, D) == measured
    grown = searcher.routes.default(90, D)
    assert grown.index == measured.index
    assert grown.stages == (Stage(D, 9 * measured.stages[0].shortlist),)
    most = dict(searcher.specs[measured.index].params).get("nlist", 0)
    assert grown.probe == min(3 * measured.probe, most)
    prefix = searcher.routes.default(50, 40)
    assert searcher.specs[prefix.index].dim == 32
    assert prefix.stages == (Stage(40, 5 * measured.stages[0].shortlist),)


def test_what_was_measured_is_measured_again(collection: Collection) -> None:
    """Same seed, same plan, same recall."""
    searcher = collection.searcher
    again = calibrate(searcher, judge_of(searcher, None, seed=0))
    assert (again,) == collection.space.plans


def test_the_cheapest_that_keeps_the_target(collection: Collection) -> None:
    searcher = collection.searcher
    judge = judge_of(searcher, None)
    entry = calibrate(searcher, judge)
    ordered = sorted(candidates(searcher, judge), key=lambda one: one.cost)
    chosen = next(one for one in ordered if one.plan == entry.plan)
    sets = {name: one.xq for name, one in judge.sets.items()}
    truths = {name: live_scores(collection, xq) for name, xq in sets.items()}
    for cheaper in ordered[: ordered.index(chosen)]:
        worst = min(recall_of(searcher.search(xq, 10, cheaper.plan).ids, truths[name], 10) for name, xq in sets.items())
        # What an item finds of itself is left out there and counted here: a tenth at most.
        assert worst < TARGET + 0.1 * (1 - TARGET) + 0.01, f"{cheaper.plan} would have done"


def test_an_item_is_no_answer_to_itself(make_collection: MakeCollection) -> None:
    """Counted, every plan would seem a tenth better than it is."""
    searcher = make_collection(data().xb, ["ivf-flat@8:nlist=70"]).searcher
    asked = judge_of(searcher, None).sets["items"]
    items = asked.xq
    entry = calibrate(searcher, judged_by(searcher, [asked], K))
    truth = items.astype(np.float64) @ searcher.vectors(np.arange(N)).T.astype(np.float64)
    itself = truth.argmax(axis=1)
    found = searcher.search(items, K + 1, entry.plan).ids
    assert (found[:, 0] == itself).all()
    counted = recall_of(found[:, :K], truth, K)
    np.put_along_axis(truth, itself[:, None], -np.inf, axis=1)
    left_out = recall_of(found[:, 1:], truth, K)
    assert left_out < counted - 1e-3, "no plan to tell the two apart"
    assert entry.recall["items"] == pytest.approx(left_out, abs=1e-4)


def test_texts_take_the_place_of_mixtures(collection: Collection) -> None:
    texts = data().xt
    sets = {name: one.xq for name, one in judge_of(collection.searcher, texts).sets.items()}
    assert set(sets) == {"items", "texts"}
    assert {row.tobytes() for row in sets["texts"]} == {row.tobytes() for row in texts}
    none = judge_of(collection.searcher, np.empty((0, D), np.float32))
    empty = {name: one.xq for name, one in none.sets.items()}
    assert set(empty) == {"items", "shifted"}
    for xq in (*sets.values(), *empty.values()):
        np.testing.assert_allclose(np.linalg.norm(xq, axis=1), 1, atol=1e-5)


def test_candidates_are_cheaper_than_a_scan(collection: Collection) -> None:
    searcher = collection.searcher
    found = list(candidates(searcher, judge_of(searcher, None)))
    assert found
    scan = N * D * 4
    for one in found:
        assert 0 < one.cost < scan / 2
        assert SearchPlan.parse(str(one.plan)) == one.plan
        assert searcher.routes.fit(one.plan, K) == one.plan


@pytest.mark.parametrize("n", [1, 2, 12, 60])
def test_few_rows_are_scanned(make_collection: MakeCollection, n: int) -> None:
    collection = make_collection(structured(n, 8, seed=n).xb)
    (entry,) = collection.space.plans
    assert entry.plan.index == EXACT
    assert set(entry.recall.values()) == {1.0}


def test_deleted_rows_are_no_queries(make_collection: MakeCollection) -> None:
    xb = structured(60, 8, seed=0).xb
    collection = make_collection(xb, deleted=range(50))
    items = judge_of(collection.searcher, None).sets["items"].xq
    assert len(items) == 10
    np.testing.assert_allclose(items @ xb[:50].T < 0.9999, True)


def test_rows_that_are_all_the_same_have_a_plan(make_collection: MakeCollection) -> None:
    """Every answer ties with every other: all are right."""
    collection = make_collection(np.repeat(structured(1, 16, seed=0).xb, 2000, axis=0), ["sq@8"])
    (entry,) = collection.space.plans
    assert set(entry.recall.values()) == {1.0}
