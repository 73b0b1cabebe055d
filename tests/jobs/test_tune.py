"""Tuning: the plan keeps the recall it was asked for, on queries it was not chosen with, and is remembered."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from blake3 import blake3

from engine.api import Collection
from engine.collection.changes import tuned as tuned_change
from engine.collection.commit import commit
from engine.collection.describe import advice, describe
from engine.collection.manifest import json_of
from engine.collection.plans import read_tuning
from engine.collection.reading import from_json
from engine.jobs.tune import TuneOptions
from engine.planning.candidates import Goal
from engine.planning.curve import searches
from engine.planning.families import FAMILIES
from engine.planning.filtered import kept_under_filters
from engine.planning.judge import make_judge
from engine.planning.queries import QuerySet
from engine.planning.tune import tune
from indexers.errors import CommitConflict, CorruptCollection, InvalidInput, InvalidVectors
from indexers.plan import EXACT, SearchPlan
from indexers.vectors import FloatArray
from tests.conftest import Data, live_scores, recall_of, structured, unit
from tests.parts import add_part

N, D = 6000, 64
TARGET = 0.9


@cache
def data() -> Data:
    """Rows and queries whose numbers come in no order: a prefix must be found."""
    shuffle = np.linalg.qr(np.random.default_rng(3).normal(size=(D, D)))[0].astype(np.float32)
    return Data(*(np.ascontiguousarray(x @ shuffle) for x in structured(N, D, seed=5, nq=400)))


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A collection that was tuned for items and for queries that are not like them; fifty rows were removed before."""
    root = tmp_path_factory.mktemp("tuned") / "c.nest"
    with Collection.create(root, encoder="precomputed", dim=D) as opened:
        opened.add_vectors(data().xb, names=[f"row-{i}" for i in range(N)])
        opened.build(["sq@64"])
        opened.remove(ids=list(range(0, 500, 10)))
        opened.tune(TuneOptions(TARGET, queries=data().xt[:200]))
    return root


@pytest.fixture
def own(tuned: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tuned, tmp_path / "own.nest"))


def test_it_keeps_the_recall_on_queries_nobody_has_seen(tuned: Path) -> None:
    with Collection.open(tuned) as opened:
        for xq in (data().xq[:200], data().xt[200:]):
            found = opened.searcher.search(opened.searcher.check_queries(xq), 10)
            assert recall_of(found.ids, live_scores(opened, xq), 10) >= TARGET - 0.02
            assert not np.isin(found.ids, opened.snapshot.deleted).any()


def test_what_is_stored(tuned: Path) -> None:
    with Collection.open(tuned) as opened:
        space, tuning = opened.space, opened.space.tuning
        assert tuning is not None
        assert (tuning.target, tuning.k, tuning.latency, tuning.rows) == (TARGET, 10, "batch", N - 50)
        assert set(tuning.fresh) == set(tuning.queries) == {"items", "queries"}
        assert tuning.queries == {"items": 1000, "queries": 100}
        for mean, half in tuning.fresh.values():
            assert mean >= TARGET - 0.01
            assert 0 < half < 0.1
        assert opened.searcher.routes.usual == space.plans[0].plan
        assert space.plans[0].plan in [point.plan for point in tuning.curve]
        assert from_json(opened.snapshot.manifest.to_json(), name="again") == opened.snapshot.manifest


def test_what_the_plan_keeps_under_filters_is_stored(tuned: Path) -> None:
    """It is what a search by that plan finds; an older version says nothing of it, and what is none is refused."""
    with Collection.open(tuned) as opened:
        manifest, tuning, plan = opened.snapshot.manifest, opened.space.tuning, opened.space.plans[0].plan
        xq = data().xt[200:240]
        under = kept_under_filters(opened.searcher, [QuerySet("queries", xq)], 10, plan)
    assert plan.index != EXACT
    assert tuning is not None
    assert tuning.filters is not None
    assert set(tuning.filters) == set(FAMILIES) == set(under)
    for family, one in tuning.filters.items():
        assert set(one.recall) == {"items", "queries"}
        assert one.recall["queries"] == pytest.approx(under[family].recall["queries"], abs=0.25)
        assert one.microseconds > 0 < one.exact
    assert tuning.filters["random 10 %"].matching == pytest.approx(0.1, rel=0.2)
    told = json_of(manifest.spaces["main"].tuning)
    assert read_tuning(told) == tuning
    del told["filters"]
    assert read_tuning(told) == replace(tuning, filters=None)
    assert "filters" not in json_of(read_tuning(told))
    for wrong in ({"recall": {}}, {"matching": 1.5}, {"exact": -1.0}, {"microseconds": "many"}):
        broken = {**json_of(tuning.filters["one tag"]), **wrong}
        with pytest.raises(ValueError, match=r"share|recall of nothing|microseconds|float"):
            read_tuning({**told, "filters": {"one tag": broken}})


def test_the_curve_is_of_plans_that_nothing_beats(tuned: Path) -> None:
    with Collection.open(tuned) as opened:
        tuning = opened.space.tuning
    assert tuning is not None
    times = [point.microseconds for point in tuning.curve]
    least = [min(point.recall.values()) for point in tuning.curve]
    assert times == sorted(times)
    assert least == sorted(least)
    assert (tuning.curve[-1].plan, least[-1]) == (SearchPlan(EXACT), 1.0)


def test_another_point_of_the_curve(tuned: Path) -> None:
    with Collection.open(tuned) as opened:
        tuning = opened.space.tuning
        assert tuning is not None
        searcher = opened.searcher
        for recall in (0.3, 0.8, 0.99):
            first = next(p for p in tuning.curve if min(p.recall.values()) >= recall)
            assert searcher.routes.for_recall(recall, 10) == first.plan
            (answers,) = opened.search(data().xq[:1], 10, recall=recall)
            assert len(answers) == 10
        assert str(searcher.routes.for_recall(1.0, 10)) == EXACT
        grown = searcher.routes.for_recall(0.8, 40)
        assert grown.stages[0].shortlist == 4 * searcher.routes.for_recall(0.8, 10).stages[0].shortlist
        for wrong in (0.0, 1.5, float("nan")):
            with pytest.raises(InvalidInput, match="recall: expected a number above 0"):
                opened.search(data().xq[:1], recall=wrong)
        with pytest.raises(InvalidInput, match="exclude each other"):
            opened.search(data().xq[:1], recall=0.9, exact=True)


def test_a_recall_needs_a_curve(tmp_path: Path) -> None:
    with Collection.create(tmp_path / "c.nest", encoder="precomputed", dim=D) as opened:
        opened.add_vectors(data().xb[:100])
        with pytest.raises(InvalidInput, match="was not tuned"):
            opened.search(data().xq[:1], recall=0.9)


def test_a_plan_that_fails_on_fresh_queries_is_not_stored(tmp_path: Path) -> None:
    """Every query to choose with is easy, most fresh ones are hard: the next plan is tried, in the end the scan."""
    x = structured(6000, 128, seed=9)
    rng = np.random.default_rng(0)
    easy = x.xb[rng.integers(0, 6000, 300)]
    noise = rng.normal(size=(300, 128)).astype(np.float32)
    hard = 0.02 * easy + noise / np.linalg.norm(noise, axis=1, keepdims=True)
    with Collection.create(tmp_path / "c.nest", encoder="precomputed", dim=128) as opened:
        opened.add_vectors(x.xb)
        opened.build(["sq@128"])
        searcher = opened.searcher
        chosen, fresh = [QuerySet("queries", unit(easy))], [QuerySet("queries", unit(hard))]
        by_scan = partial(searcher.search, plan=SearchPlan(EXACT))
        judge, fresh_judge = (make_judge(part, 10, by_scan) for part in (chosen, fresh))
        found = tune(searcher, Goal(0.95, 10, "batch"), judge, fresh_judge, None, lambda _: None)
        assert str(found.front[-1].plan) == EXACT
        assert min(mean for mean, _ in found.fresh.values()) >= 0.94
        first = next(point for point in found.front if point.keeps(0.95))
        assert found.chosen != first, "the fresh queries were not hard"
        if found.measured is not None and found.chosen.plan.index != EXACT:
            made = searches(found.measured.coarse, found.chosen.plan, fresh_judge)
            assert min(fresh_judge.recall(name, one)[0] for name, one in made.items()) >= 0.94


# -- afterwards --------------------------------------------------------------------------------


def more_rows(opened: Collection, size: int, seed: int) -> None:
    """Add rows of the same kind."""
    shuffle = np.linalg.qr(np.random.default_rng(seed).normal(size=(D, D)))[0].astype(np.float32)
    x: FloatArray = structured(size, D, seed=5).xb @ shuffle
    opened.add_vectors(np.ascontiguousarray(x), names=[f"more-{i}" for i in range(size)])


def test_a_rebuild_keeps_index_and_curve_and_measures_them(own: Path) -> None:
    with Collection.open(own) as opened:
        before = opened.space
        more_rows(opened, 1000, seed=3)
        opened.build()
        after = opened.space
        assert [e.spec.key for e in after.indexes] == [e.spec.key for e in before.indexes]
        assert after.tuning is not None
        assert before.tuning is not None
        assert [p.plan for p in after.tuning.curve] == [p.plan for p in before.tuning.curve]
        assert after.tuning.now is not None
        assert min(after.plans[0].recall.values()) >= TARGET
        assert advice(opened.snapshot.manifest, after.tuning) is None


def test_growth_is_told(own: Path) -> None:
    with Collection.open(own) as opened:
        more_rows(opened, 4000, seed=3)
    told = describe(own)["spaces"]["main"]["tuning"]["advice"]
    assert told == "it was tuned on 5,950 items, and there are 9,950 now"


def test_a_compaction_keeps_it(own: Path) -> None:
    with Collection.open(own) as opened:
        plan = opened.space.plans[0].plan
        opened.compact()
        assert opened.space.tuning is not None
        assert plan in [point.plan for point in opened.space.tuning.curve]
        assert min(opened.space.plans[0].recall.values()) >= TARGET


def test_other_indexes_end_it(own: Path) -> None:
    with Collection.open(own) as opened:
        opened.build(["flat@16"])
        assert opened.space.tuning is None
        with pytest.raises(InvalidInput, match="was not tuned"):
            opened.search(data().xq[:1], recall=0.9)


def test_rows_added_before_are_indexed_first(own: Path) -> None:
    with Collection.open(own) as opened:
        more_rows(opened, 500, seed=3)
        assert len(opened.searcher.tail) == 500
        tuning = opened.tune(TuneOptions(0.8))
        assert len(opened.searcher.tail) == 0
        assert tuning.rows == N - 50 + 500
        assert set(tuning.fresh) == {"items"}


def test_an_index_is_chosen_for_all_parts(own: Path) -> None:
    with Collection.open(own) as opened:
        more_rows(opened, 500, seed=3)
        add_part(own, ["flat@16"])
        opened.refresh()
        assert len(opened.space.parts) == 2
        tuning = opened.tune(TuneOptions(0.8))
        assert (len(opened.space.parts), tuning.rows) == (1, N - 50 + 500)


def test_a_build_meanwhile_is_a_conflict(own: Path) -> None:
    with Collection.open(own) as opened:
        before = opened.space
        assert before.tuning is not None
        late = tuned_change("main", before, before.indexes, None, before.plans[0], before.tuning)
        opened.build(["flat@16"])
        with pytest.raises(CommitConflict, match="built anew while it was tuned"):
            commit(own, late, operation="tune")


@pytest.mark.parametrize(
    "wrong",
    [
        {"curve": []},
        {"fresh": {}},
        {"now": {}},
        {"k": 0},
        {"rows": -1},
        {"memory": -1},
        {"latency": "soon"},
        {"target": 1.5},
        {"target": float("nan")},
        {"fresh": {"items": [2.0, 0.0]}},
        {"curve": [{"plan": EXACT, "recall": {}, "microseconds": 1.0, "read": 1}]},
        {"curve": [{"plan": EXACT, "recall": {"items": 1.0}, "microseconds": float("inf"), "read": 1}]},
        {"curve": [{"plan": "soon", "recall": {"items": 1.0}, "microseconds": 1.0, "read": 1}]},
    ],
    ids=str,
)
def test_a_tuning_that_cannot_be_is_refused(tuned: Path, wrong: dict[str, object]) -> None:
    with Collection.open(tuned) as opened:
        text = opened.snapshot.manifest.to_json()
    body = json.loads(text)["body"]
    body["spaces"]["main"]["tuning"].update(wrong)
    written = json.dumps(body, separators=(",", ":"))
    with pytest.raises(CorruptCollection):
        from_json(f'{{"blake3":"{blake3(written.encode()).hexdigest()}","body":{written}}}\n', name="it")


# -- what is asked for -------------------------------------------------------------------------


def test_no_memory_for_an_index_leaves_the_scan(own: Path) -> None:
    with Collection.open(own) as opened:
        tuning = opened.tune(TuneOptions(0.9, memory=1000))
        assert [point.plan for point in tuning.curve] == [SearchPlan(EXACT)]
        assert opened.space.indexes == ()
        assert tuning.memory == 0
        (answers,) = opened.search(data().xq[:1], 5)
        np.testing.assert_allclose(answers.scores, -np.sort(-live_scores(opened, data().xq[:1]))[0, :5], atol=2e-6)


def test_an_index_within_its_memory(own: Path) -> None:
    with Collection.open(own) as opened:
        tuning = opened.tune(TuneOptions(0.8, memory=400_000))
        assert tuning.memory <= 400_000


def test_single_queries_are_timed_one_by_one(own: Path) -> None:
    with Collection.open(own) as opened:
        tuning = opened.tune(TuneOptions(0.9, k=5, latency="single"))
        assert (tuning.latency, tuning.k) == ("single", 5)
        assert opened.space.plans[0].k == 5


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"recall": 0.0}, "recall: expected a number above 0 and at most 1"),
        ({"recall": 1.01}, "recall: expected a number above 0 and at most 1"),
        ({"recall": float("nan")}, "recall: expected a number above 0 and at most 1"),
        ({"k": 0}, "k must be at least 1"),
        ({"memory": 0}, "memory must be at least 1"),
        ({"latency": "soon"}, "latency: expected batch or single"),
        ({"queries": np.ones((50, D + 1), np.float32)}, "expected"),
        ({"queries": np.ones((5, D), np.float32)}, "at least 40 queries"),
        ({"queries": ["a dog"] * 50}, "takes no texts"),
    ],
)
def test_what_cannot_be_meant(tuned: Path, options: dict[str, Any], said: str) -> None:
    with Collection.open(tuned) as opened:
        before = opened.version
        with pytest.raises((InvalidInput, InvalidVectors), match=said):
            opened.tune(TuneOptions(**options))
        assert not opened.refresh()
        assert opened.version == before


def test_too_few_items(tmp_path: Path) -> None:
    with Collection.create(tmp_path / "c.nest", encoder="precomputed", dim=D) as opened:
        opened.add_vectors(data().xb[:999])
        with pytest.raises(InvalidInput, match="has 999 items: below 1000"):
            opened.tune()
