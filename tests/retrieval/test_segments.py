"""A space in several parts is searched as if it were one: each part by its own indexes, the rest by scanning."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.api import Collection
from engine.jobs.build import BuildOptions, build_indexes
from engine.progress import Silent
from engine.query.explain import explain
from indexers.base import IndexSpec
from indexers.mask import Mask
from indexers.plan import EXACT, SearchPlan
from indexers.pruned import is_available
from indexers.vectors import FloatArray
from tests.conftest import assert_answers, live_scores, recall_of, stored_rows, structured, unit
from tests.parts import add_part

SIZES, TAIL, D = (700, 90, 400), 25, 32
N = sum(SIZES) + TAIL
SPECS = ["flat@8", "sq@16", "ivf-flat@16:nlist=8", "ivf-pq@16:nlist=8", "hnsw@16"]
KEYS = [spec.partition(":")[0] for spec in SPECS]
FULL = [EXACT, *(f"{key}:nprobe=8 | 9999@{D}" if key.startswith("ivf") else f"{key} | 9999@{D}" for key in KEYS)]
NEARLY = [f"flat@8 | 699@{D}", f"sq@16 | 699@20 | 699@{D}", f"ivf-pq@16:nprobe=8 | 699@{D}"]


@pytest.fixture(scope="module", params=[False, True], ids=["all there", "tail and deleted"])
def collection(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Collection:
    root: Path = tmp_path_factory.mktemp("segments") / "c.nest"
    x, start = structured(N, D, seed=41).xb, 0
    opened = Collection.create(root, encoder="precomputed", dim=D, dtype="float32")
    for number, size in enumerate(SIZES):
        opened.add_vectors(x[start : start + size], names=[f"{row}" for row in range(start, start + size)])
        start += size
        # The second part lacks most of the indexes: there its rows are scanned.
        specs = SPECS if number != 1 else SPECS[:1]
        if number == 0:
            options = BuildOptions([IndexSpec.parse(spec) for spec in specs], prune_from=1)
            build_indexes(root, "main", options, Silent())
        else:
            add_part(root, specs, pruned=is_available() and number == 2)
    opened.refresh()
    if request.param:
        opened.add_vectors(x[start:], names=[f"{row}" for row in range(start, N)])
        opened.remove([f"{row}" for row in (0, 13, 699, 700, 789, 790, 1189, N - 1)])
    return opened


def queries() -> FloatArray:
    data = structured(N, D, seed=41)
    return np.concatenate([data.xq[:8], data.xt[:8]])


def test_the_segments_are_what_was_built(collection: Collection) -> None:
    searcher = collection.searcher
    assert [len(one) for one in searcher.segments[:-1]] == list(SIZES)
    assert [one.first for one in searcher.segments] == [0, 700, 790, 1190]
    assert list(searcher.segments[1].specs) == ["flat@8"]
    assert searcher.rows == len(stored_rows(collection))
    rows = np.random.default_rng(0).permutation(searcher.rows)
    np.testing.assert_array_equal(searcher.vectors(rows), stored_rows(collection)[rows])


@pytest.mark.parametrize("k", [1, 10, 60, 5000])
@pytest.mark.parametrize("plan", FULL)
def test_all_rows_shortlisted_is_brute_force(collection: Collection, plan: str, k: int) -> None:
    truth = live_scores(collection, queries())
    found = collection.searcher.search(queries(), k, SearchPlan.parse(plan))
    assert_answers(found, truth, min(k, collection.searcher.live.count))
    alone = collection.searcher.search(queries()[:1], k, SearchPlan.parse(plan))
    np.testing.assert_array_equal(alone.ids[0], found.ids[0])


@pytest.mark.parametrize("plan", NEARLY)
def test_so_is_nearly_all_through_the_funnel(collection: Collection, plan: str) -> None:
    found = collection.searcher.search(queries(), 10, SearchPlan.parse(plan))
    assert recall_of(found.ids, live_scores(collection, queries()), 10, tol=2e-6) >= 0.99


@pytest.mark.parametrize("plan", [None, EXACT, *NEARLY, f"flat@8 | 5@{D}"])
def test_a_mask_goes_over_all_of_them(collection: Collection, plan: str | None) -> None:
    searcher, used = collection.searcher, None if plan is None else SearchPlan.parse(plan)
    rng = np.random.default_rng(3)
    for share in (0.0, 0.01, 0.3, 1.0):
        mask = Mask.of(rng.random(searcher.rows) < share)
        truth = live_scores(collection, queries())
        truth[:, ~mask.allowed] = -np.inf
        k = min(10, int(np.isfinite(truth[0]).sum()))
        found = searcher.search(queries(), 10, used, mask=mask)
        assert found.ids.shape == (16, k)
        if plan == EXACT:
            assert_answers(found, truth, k)
        elif k:
            assert np.isfinite(np.take_along_axis(truth, found.ids, axis=1)).all()
            assert recall_of(found.ids, truth, k) >= (0.5 if plan == f"flat@8 | 5@{D}" else 0.8)


@pytest.mark.skipif(not is_available(), reason="bounds are compiled")
@pytest.mark.parametrize("slow", ["bounds", "scan"])
def test_a_mask_that_is_searched_again_is_searched_by_what_takes_less(
    collection: Collection, slow: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    searcher = collection.searcher
    segment = searcher.segments[0]
    calls: list[str] = []
    bounds, scan = segment.search_pruned, segment.store.search

    def counted(name: str, search: Any) -> Any:
        def call(*given: Any) -> Any:
            calls.append(name)
            time.sleep(0.02 if name == slow else 0)
            return search(*given)

        return call

    monkeypatch.setattr(segment, "search_pruned", counted("bounds", bounds))
    monkeypatch.setattr(type(segment.store), "search", lambda own, *given: counted("scan", scan)(*given))
    allowed = np.random.default_rng(3).random(searcher.rows) < 0.4
    mask, truth = Mask.of(allowed[: len(segment)]), live_scores(collection, queries())
    truth[:, ~allowed] = -np.inf
    truth[:, len(segment) :] = -np.inf
    gone = [row for row in (0, 13, 699) if not np.isfinite(truth[0, row])]
    mask = Mask.of(mask.allowed & ~np.isin(np.arange(len(segment)), gone))
    for number in range(9):
        found = segment.scan(10, D, None, queries()[number : number + 1], mask)
        assert_answers(found, truth[number : number + 1, : len(segment)], 10)
    assert calls[:2] == ["bounds", "scan"]
    assert set(calls[2:]) == {"scan" if slow == "bounds" else "bounds"}


@pytest.mark.parametrize("dim", [5, 16, 31])
def test_a_prefix(collection: Collection, dim: int) -> None:
    found = collection.searcher.search(queries(), 10, SearchPlan(EXACT), dim=dim)
    assert_answers(found, live_scores(collection, queries(), dim), 10)


def test_items_find_their_likes_in_every_part(collection: Collection) -> None:
    x = structured(N, D, seed=41).xb
    for row in (5, 701, 800, 1100):
        found = collection.search(unit(x[row : row + 1])[0], 1, exact=True)
        assert found.items[0].path == str(row)
        assert str(row) not in [item.path for item in collection.similar(str(row), 5).items]


def test_the_stages_are_told_of_all_parts_together(collection: Collection) -> None:
    searcher = collection.searcher
    told = explain(searcher, searcher.check_queries(queries()[:1]), 10, SearchPlan.parse(f"flat@8 | 80@16 | 40@{D}"))
    assert [(step.name, step.candidates) for step in told.steps] == [
        ("flat@8", 3 * 80),
        ("rerank@16", 3 * 40),
        (f"rerank@{D}", 3 * 10),
    ]
    assert told.steps[-1].recall >= told.recall - 0.1 or searcher.live.count < searcher.rows
    assert told.unindexed == len(searcher.tail)
    assert 0 < told.exact_bytes <= 1.6 * told.scan_bytes


def test_a_plan_for_an_index_that_only_some_have(collection: Collection) -> None:
    """The part without it is scanned."""
    found = collection.searcher.search(queries(), 10, SearchPlan.parse(f"sq@16 | 300@{D}"))
    assert recall_of(found.ids, live_scores(collection, queries()), 10) >= 0.95


def test_a_part_with_more_cells_is_visited_as_it_needs(tmp_path: Path) -> None:
    """A plan is cut to what the part with the most cells has, and each part goes no further than its own."""
    x = structured(1400, D, seed=7).xb
    with Collection.create(tmp_path / "c.nest", encoder="precomputed", dim=D, dtype="float32") as opened:
        opened.add_vectors(x[:500], names=[f"{row}" for row in range(500)])
        opened.build(["ivf-pq@16:nlist=5"])
        opened.add_vectors(x[500:], names=[f"{row}" for row in range(500, 1400)])
        add_part(tmp_path / "c.nest", ["ivf-pq@16:nlist=60"])
        opened.refresh()
        plan = SearchPlan.parse(f"ivf-pq@16:nprobe=60 | 400@{D}")
        assert opened.searcher.routes.fit(plan, 10).probe == 60
        found = opened.searcher.search(x[500:540], 10, plan)
        assert recall_of(found.ids, live_scores(opened, x[500:540]), 10) >= 0.97
