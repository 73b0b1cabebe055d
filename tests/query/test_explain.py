"""What a plan does, stage by stage."""

from __future__ import annotations

import numpy as np
import pytest

from engine.api import Collection
from engine.query.explain import explain
from indexers.errors import InvalidInput, InvalidSpec
from indexers.plan import EXACT, SearchPlan
from tests.conftest import MakeCollection, live_scores, recall_of, structured

N, D = 500, 48


@pytest.fixture(scope="module")
def collection(make_collection: MakeCollection) -> Collection:
    xb = structured(N + 30, D, seed=31).xb
    return make_collection(xb[:N], ["sq@8", "ivf-flat@16"], tail=xb[N:], deleted=[0, 1, N + 2])


def one_query() -> np.ndarray:
    return structured(N + 30, D, seed=31).xq[:1]


def test_a_funnel_stage_by_stage(collection: Collection) -> None:
    plan = SearchPlan.parse("sq@8 | 100@20 | 40@48")
    told = explain(collection.searcher, one_query(), 10, plan)
    assert told.plan == str(plan)
    assert [(step.name, step.dim, step.candidates) for step in told.steps] == [
        ("sq@8:bits=8", 8, 100),
        ("rerank@20", 20, 40),
        ("rerank@48", 48, 10),
    ]
    assert (told.k, told.rows, told.unindexed) == (10, N + 30 - 3, 30)
    found = collection.searcher.search(one_query(), 10, plan)
    assert told.recall == pytest.approx(recall_of(found.ids, live_scores(collection, one_query()), 10))
    assert all(step.seconds > 0 for step in told.steps)
    assert told.seconds > 0
    assert told.exact_seconds > 0
    assert told.exact_bytes == told.scan_bytes == N * D * collection.searcher.first.store.rows.itemsize
    # Who is lost at one stage cannot come back at the next.
    shares = [step.recall for step in told.steps]
    assert shares == sorted(shares, reverse=True)


def test_full_shortlists_lose_nobody(collection: Collection) -> None:
    told = explain(collection.searcher, one_query(), 10, SearchPlan.parse("ivf-flat@16:nprobe=99 | 500@48"))
    assert told.recall == 1.0
    assert [step.recall for step in told.steps] == [1.0, 1.0]


def test_a_scan_has_no_stages(collection: Collection) -> None:
    for plan in (SearchPlan(EXACT), None):
        told = explain(collection.searcher, one_query(), 10, plan)
        assert (told.plan, told.steps, told.recall) == (EXACT, [], 1.0)


def test_short_lists_are_shown_as_they_are_carried_out(collection: Collection) -> None:
    told = explain(collection.searcher, one_query(), 30, SearchPlan.parse("sq@8 | 10@48"))
    assert told.plan == "sq@8 | 30@48"
    assert [step.candidates for step in told.steps] == [30, 30]


def test_a_plan_that_stops_at_a_prefix(collection: Collection) -> None:
    told = explain(collection.searcher, one_query(), 10, SearchPlan.parse("sq@8 | 100@20"))
    assert [step.dim for step in told.steps] == [8, 20]
    assert 0 <= told.recall <= 1


def test_more_answers_than_rows(collection: Collection) -> None:
    told = explain(collection.searcher, one_query(), 10_000, SearchPlan.parse("sq@8 | 10@48"))
    assert told.k == N + 27
    assert told.recall == 1.0


def test_what_cannot_be_explained(collection: Collection) -> None:
    with pytest.raises(InvalidSpec, match="no index"):
        explain(collection.searcher, one_query(), 10, SearchPlan.parse("hnsw@8 | 10@48"))
    for k in (0, -3):
        with pytest.raises(InvalidInput, match="k must be at least 1"):
            explain(collection.searcher, one_query(), k, None)


def test_nothing_to_explain_it_on(make_collection: MakeCollection) -> None:
    empty = make_collection(np.empty((0, D), np.float32))
    told = explain(empty.searcher, one_query(), 10, None)
    assert (told.rows, told.recall, told.steps) == (0, 1.0, [])
    gone = make_collection(structured(20, D, seed=0).xb, ["sq@8"], deleted=range(20))
    told = explain(gone.searcher, one_query(), 10, SearchPlan.parse("sq@8 | 10@48"))
    assert (told.rows, told.recall) == (0, 1.0)


def test_the_bytes_of_a_pruned_search(make_collection: MakeCollection) -> None:
    data = structured(4000, 256, seed=2)
    searcher = make_collection(data.xb, ["sq@64"], pruned=True).searcher
    told = explain(searcher, data.xq[:1], 10, None)
    assert told.scan_bytes == 4000 * 256 * 4
    assert 4000 * 64 < told.exact_bytes < told.scan_bytes / 2
