"""One call, compiled by us or FAISS': the same plans mean the same thing."""

from __future__ import annotations

import numpy as np
import pytest

from engine.api import Collection
from engine.planning.curve import plans, read_bytes
from engine.planning.judge import Judge
from engine.planning.queries import QuerySet
from engine.query.explain import explain
from engine.retrieval import coarse
from engine.retrieval.searcher import Searcher
from indexers import probing
from indexers.exact import exact_search, recall
from indexers.plan import SearchPlan, Stage
from tests.conftest import Data, MakeCollection, structured

pytestmark = pytest.mark.skipif(not probing.is_available(), reason="the search was not compiled, or no AVX2")

N, D = 6000, 48
KEY, REFINED = "ivf-pq@32", "ivf-pq@40"
SPECS = [f"{KEY}:nlist=60", f"{REFINED}:axes=1,m=10,nlist=60,refine=8"]


def data() -> Data:
    return structured(N, D, seed=21)


@pytest.fixture(scope="module", params=["all", "deleted and tail"])
def collection(request: pytest.FixtureRequest, make_collection: MakeCollection) -> Collection:
    xb = data().xb
    if request.param == "all":
        return make_collection(xb, SPECS)
    return make_collection(xb[:-50], SPECS, tail=xb[-50:], deleted=range(0, N, 7))


@pytest.fixture
def by_faiss(collection: Collection) -> Searcher:
    """The same collection as it is where nothing was compiled."""
    searcher = Searcher(collection.snapshot)
    for key in (KEY, REFINED):
        assert collection.searcher.coarse(key).probed is not None
        searcher.first._coarse[key] = searcher.coarse(key)._replace(probed=None)
    return searcher


def queries() -> np.ndarray:
    return np.concatenate([data().xq, data().xt])


@pytest.mark.parametrize(
    "text",
    [
        *(f"{KEY}:nprobe=60 | 300@48", f"{KEY}:nprobe=10 | 100@48", f"{KEY}:nprobe=60 | 300@40 | 100@48"),
        *(f"{REFINED}:nprobe=60 | 300@40 | 50@48", f"{REFINED}:nprobe=9 | 90@40 | 40@48", f"{REFINED} | 200@48"),
        *(f"{REFINED}:nprobe=60 | 300@40 | 100@44 | 30@48", f"{REFINED}:nprobe=60 | 300@44 | 60@48"),
    ],
)
def test_plans_find_what_they_find_in_faiss(collection: Collection, by_faiss: Searcher, text: str) -> None:
    ours = collection.searcher
    xq, plan = ours.check_queries(queries()), SearchPlan.parse(text)
    here, there = ours.search(xq, 10, plan), by_faiss.search(xq, 10, plan)
    assert recall(here.ids, there, scores=here.scores) > 0.97
    assert not np.isin(here.ids, collection.snapshot.deleted).any()
    rows = ours.vectors(here.ids.ravel()).reshape(*here.ids.shape, D)
    np.testing.assert_allclose(here.scores, np.einsum("qd,qkd->qk", xq, rows), atol=2e-6)


def test_where_nothing_was_compiled_a_margin_ends_nothing(collection: Collection, by_faiss: Searcher) -> None:
    """FAISS visits every cell it may: slower, and no worse."""
    ours = collection.searcher
    xq = ours.check_queries(queries())
    live = ours.live.numbers
    truth = exact_search(ours.vectors(live), xq, 10, ids=live)
    for margin in (40, 150, 400):
        plan = SearchPlan.parse(f"{KEY}:margin={margin} | 200@48")
        here, there = (one.search(xq, 10, plan) for one in (ours, by_faiss))
        assert recall(there.ids, truth, scores=there.scores) >= recall(here.ids, truth, scores=here.scores) - 0.01
    assert recall(here.ids, truth, scores=here.scores) > 0.95
    few = SearchPlan.parse(f"{KEY}:nprobe=1,margin=400 | 200@48")
    assert recall(ours.search(xq, 10, few).ids, truth) < recall(here.ids, truth)


def test_a_margin_looks_at_more_for_harder_queries(collection: Collection) -> None:
    ready = collection.searcher.coarse(KEY)
    plan = SearchPlan.parse(f"{KEY}:margin=150 | 50@48")
    items, texts = (
        coarse.probing(ready, plan, collection.searcher.check_queries(xq), 10, 50).visited.mean()
        for xq in (data().xq, data().xt)
    )
    assert items < texts


def test_the_shortlist_is_what_is_scored_again(collection: Collection) -> None:
    searcher = collection.searcher
    xq = searcher.check_queries(queries())
    plan = SearchPlan.parse(f"{KEY}:nprobe=60 | 80@48")
    ((_, found),) = searcher.candidates(xq, plan)
    assert found.ids.shape == (len(xq), 80)
    assert (np.diff(found.scores, axis=1) <= 0).all()
    if not len(searcher.tail):
        answers = searcher.search(xq, 10, plan).ids
        assert all(np.isin(ids, shortlist).all() for ids, shortlist in zip(answers, found.ids, strict=True))


def test_a_stage_by_bytes_finds_what_a_long_shortlist_does(collection: Collection) -> None:
    """Short shortlists by codes alone lose what long ones keep; bytes tell which of those are worth a stored vector."""
    searcher = collection.searcher
    xq = searcher.check_queries(queries())
    live = searcher.live.numbers
    truth = exact_search(searcher.vectors(live), xq, 10, ids=live)
    short, middle, long = (
        recall(found.ids, truth, scores=found.scores)
        for stages in ("40@48", "400@40 | 40@48", "400@48")
        for found in (searcher.search(xq, 10, SearchPlan.parse(f"{REFINED}:nprobe=60 | {stages}")),)
    )
    assert short < middle <= long
    assert long - middle < (long - short) / 3


def test_the_stage_by_bytes_is_explained(collection: Collection) -> None:
    searcher = collection.searcher
    xq = searcher.check_queries(queries())[:1]
    plan = SearchPlan.parse(f"{REFINED}:nprobe=60 | 300@40 | 50@48")
    told = explain(searcher, xq, 10, plan)
    assert [(step.name, step.dim, step.candidates) for step in told.steps] == [
        (str(searcher.specs[REFINED]), 40, 300),
        ("rerank@40", 40, 50),
        ("rerank@48", 48, 10),
    ]
    shares = [step.recall for step in told.steps]
    assert shares == sorted(shares, reverse=True)
    ((_, kept),) = searcher.candidates(xq, plan, 50)
    ((_, whole),) = searcher.candidates(xq, plan)
    assert kept.ids.shape == (1, 50)
    assert np.isin(kept.ids, whole.ids).all()


def test_plans_worth_measuring_end_in_stored_vectors(collection: Collection) -> None:
    ready = collection.searcher.coarse(REFINED)
    found = {plan.stages for plan in plans(ready, [5, 50, 100, N], 11, [20, 40, 80])}
    shapes = {tuple((stage.shortlist, stage.dim) for stage in stages) for stages in found}
    assert shapes == {
        ((first, 40), (last, 48)) for first, last in [(50, 20), (50, 40), (100, 20), (100, 40), (100, 80)]
    }
    assert {plan.stages for plan in plans(ready, [50], 11)} == {(Stage(48, 50),)}
    judge = Judge(10, {"all": QuerySet("all", collection.searcher.check_queries(queries()))}, {})
    for margin in ("nprobe=20", "margin=100"):
        short, long = (
            read_bytes(ready, SearchPlan.parse(f"{REFINED}:{margin} | {stages}"), judge)
            for stages in ("100@40 | 30@48", "100@48")
        )
        assert short < long


def test_a_plan_that_reads_less_costs_less(collection: Collection) -> None:
    ready = collection.searcher.coarse(KEY)
    judge = Judge(10, {"all": QuerySet("all", collection.searcher.check_queries(queries()))}, {})
    read = [read_bytes(ready, SearchPlan.parse(f"{KEY}:margin={margin} | 50@48"), judge) for margin in (20, 100, 300)]
    assert read == sorted(read)
    assert read[0] < read[-1]
