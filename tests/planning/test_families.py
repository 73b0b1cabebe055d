"""Families of filters: how many rows each lets through and which, and what is measured under them."""

from __future__ import annotations

import numpy as np
import pytest

from engine.api import Collection
from engine.planning.families import FAMILIES, FAR, NEAR, ONE_TAG, RANDOM, TWO_TAGS, Case, Drawn
from engine.planning.filtered import under_filters
from engine.planning.queries import ITEMS, QuerySet
from indexers.mask import Mask
from indexers.plan import EXACT, SearchPlan
from tests.conftest import MakeCollection, live_scores, recall_of, structured

N, D, NQ, K = 6000, 32, 12, 10
ROUGH = SearchPlan.parse(f"ivf-flat@16:nprobe=2 | 60@{D}")


def cases(number: int = 0) -> tuple[np.ndarray, dict[str, Case]]:
    scores = np.random.default_rng(number).normal(size=N).astype(np.float32)
    return scores, {case.family: case for case in Drawn(N).cases(scores, number)}


def test_each_family_lets_through_what_its_name_says() -> None:
    scores, found = cases()
    assert tuple(found) == FAMILIES
    for family, share in RANDOM.items():
        assert found[family].allowed.mean() == pytest.approx(share, rel=0.4)
    order = np.argsort(np.argsort(-scores))
    assert order[found[NEAR].allowed].max() <= 0.05 * N
    assert order[found[FAR].allowed].min() >= 0.5 * N - 1
    assert found[NEAR].allowed.sum() == found[FAR].allowed.sum() == N // 100
    drawn, (one, two) = Drawn(N), found[TWO_TAGS].tags
    assert found[ONE_TAG].tags == (one,)
    wanted = [{one, two} <= {*tags} for tags in drawn.tags.tolist()]
    assert found[TWO_TAGS].allowed.tolist() == wanted
    assert found["random 1 %"].allowed.tolist() == (drawn.part < 100).tolist()


def test_the_same_query_is_always_asked_the_same() -> None:
    (_, one), (_, again), (_, other) = cases(), cases(), cases(1)
    assert all((one[family].allowed == again[family].allowed).all() for family in FAMILIES)
    assert (one["random 1 %"].allowed == other["random 1 %"].allowed).all()
    assert not (one[NEAR].allowed == other[NEAR].allowed).all()


@pytest.fixture(scope="module")
def collection(make_collection: MakeCollection) -> Collection:
    xb = structured(N, D, seed=41).xb
    return make_collection(xb[:-40], ["ivf-flat@16:nlist=60"], tail=xb[-40:], deleted=range(0, N - 40, 50), pruned=True)


def test_exact_searches_find_all_and_a_plan_what_it_finds(collection: Collection) -> None:
    """Recall of a plan is what NumPy says of its answers, an item itself not among them; far is worse than near."""
    data, searcher = structured(N, D, seed=41, nq=NQ), collection.searcher
    own = np.array([row for row in range(3, N - 50, 500) if row % 50][:NQ])
    sets = [QuerySet(ITEMS, searcher.check_queries(searcher.vectors(own)), own), QuerySet("texts", data.xt)]
    shown = list(under_filters(searcher, sets, K, (SearchPlan(EXACT), ROUGH)))
    assert {(one.family, one.kind) for one in shown} == {
        (family, kind) for family in FAMILIES for kind in (ITEMS, "texts")
    }
    assert all(one.recall.min() == 1 and not one.short.any() for one in shown if one.plan.index == EXACT)
    rough = {(one.family, one.kind): one for one in shown if one.plan == ROUGH}
    assert all(not one.short.any() for one in rough.values())
    assert rough[FAR, ITEMS].recall.mean() < rough[NEAR, ITEMS].recall.mean()
    drawn, scores = Drawn(N), live_scores(collection, sets[0].xq)
    for number, row in enumerate(own):
        [case] = [one for one in drawn.cases(scores[number], number) if one.family == ONE_TAG]
        found = searcher.search(
            sets[0].xq[number : number + 1], K, ROUGH, mask=Mask.of(case.allowed), own=own[[number]]
        )
        among = np.where(case.allowed & (np.arange(N) != row), scores[number], -np.inf)[None]
        assert rough[ONE_TAG, ITEMS].recall[number] == pytest.approx(recall_of(found.ids, among, K))
