"""A search under a mask is brute force over the rows that it lets answer, whatever the plan and the mask."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.api import Collection
from indexers.errors import InvalidInput
from indexers.mask import Mask
from indexers.plan import EXACT, SearchPlan
from indexers.vectors import FloatArray
from tests.conftest import MakeCollection, Scores, assert_answers, live_scores, recall_of, structured

N, TAIL, D = 1500, 40, 32
SPECS = (
    "flat@8",
    "sq@16",
    "ivf-flat@16:nlist=20",
    "ivf-pq@16:nlist=20",
    "ivf-pq@24:axes=1,m=12,nlist=20,refine=8",
    "hnsw@16",
)
KEYS = [spec.partition(":")[0] for spec in SPECS]
# Shortlists of next to all rows, in every cell: nothing is left to chance but what a graph cannot reach.
WHOLE = [f"{key} | {N - 1}@{D}" for key in KEYS if not key.startswith(("hnsw", "ivf"))]
WHOLE += [f"{key}:nprobe=20 | {N - 1}@{D}" for key in KEYS if key.startswith("ivf")]


@pytest.fixture(scope="module", params=["pruned", "scanned", "tail and deleted"])
def collection(request: pytest.FixtureRequest, make_collection: MakeCollection) -> Collection:
    xb = structured(N + TAIL, D, seed=31).xb
    if request.param == "tail and deleted":
        deleted = [*range(0, N, 9), N + 3]
        return make_collection(xb[:N], SPECS, tail=xb[N:], deleted=deleted, pruned=True)
    return make_collection(xb[:N], SPECS, dtype="float16", pruned=request.param == "pruned")


def queries() -> FloatArray:
    data = structured(N + TAIL, D, seed=31)
    return np.concatenate([data.xq[:6], data.xt[:6]])


def under(collection: Collection, xq: FloatArray, mask: Mask, dim: int | None = None) -> Scores:
    scores = live_scores(collection, xq, dim)
    scores[:, ~mask.allowed] = -np.inf
    return scores


def mask_of(collection: Collection, share: float, seed: int) -> Mask:
    """Scattered rows, or neighbouring ones: a filter on a folder looks so."""
    rng = np.random.default_rng(seed)
    rows = collection.searcher.rows
    if seed % 2:
        return Mask.of(rng.random(rows) < share)
    first = int(rng.integers(0, rows))
    return Mask.of(np.roll(np.arange(rows) < max(1, round(share * rows)), first))


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    share=st.sampled_from([0.0, 0.001, 0.01, 0.05, 0.3, 0.9, 1.0]),
    seed=st.integers(0, 1000),
    plan=st.sampled_from([EXACT, *WHOLE]),
    k=st.sampled_from([1, 10, 60, 5000]),
    one=st.booleans(),
)
def test_an_exact_answer_is_brute_force_over_the_mask(
    collection: Collection, share: float, seed: int, plan: str, k: int, one: bool
) -> None:
    mask = mask_of(collection, share, seed)
    xq = queries()[:1] if one else queries()
    truth = under(collection, xq, mask)
    found = collection.searcher.search(xq, k, SearchPlan.parse(plan), mask=mask)
    assert_answers(found, truth, min(k, int(np.isfinite(truth[0]).sum())))


@pytest.mark.parametrize("dim", [5, 16, 31])
@pytest.mark.parametrize("share", [0.004, 0.4])
def test_so_is_a_prefix(collection: Collection, dim: int, share: float) -> None:
    mask = mask_of(collection, share, 7)
    truth = under(collection, queries(), mask, dim)
    k = min(10, int(np.isfinite(truth[0]).sum()))
    assert_answers(collection.searcher.search(queries(), 10, SearchPlan(EXACT), dim=dim, mask=mask), truth, k)


@pytest.mark.parametrize("share", [0.002, 0.02, 0.2, 0.7])
@pytest.mark.parametrize("plan", [None, *(f"{key} | 60@{D}" for key in KEYS)])
def test_a_plan_finds_most_and_never_what_may_not_answer(
    collection: Collection, plan: str | None, share: float
) -> None:
    """Never fewer than k either, and of those that may answer most of the best."""
    for seed in range(4):
        mask = mask_of(collection, share, seed)
        truth = under(collection, queries(), mask)
        wanted = min(10, int(np.isfinite(truth[0]).sum()))
        used = None if plan is None else SearchPlan.parse(plan)
        found = collection.searcher.search(queries(), 10, used, mask=mask)
        assert found.ids.shape == (12, wanted)
        if wanted:
            own = np.take_along_axis(truth, found.ids, axis=1)
            np.testing.assert_allclose(found.scores, own, rtol=0, atol=2e-6)
            assert recall_of(found.ids, truth, wanted) >= 0.6


def test_a_mask_is_no_state(collection: Collection) -> None:
    """A search with one leaves nothing behind for the next without."""
    searcher = collection.searcher
    for plan in (None, *(SearchPlan.parse(f"{key} | 60@{D}") for key in KEYS)):
        before = searcher.search(queries(), 10, plan)
        searcher.search(queries(), 10, plan, mask=mask_of(collection, 0.3, 1))
        after = searcher.search(queries(), 10, plan)
        np.testing.assert_array_equal(before.ids, after.ids)
        # A scan and a search by bounds take turns until it is known which is faster: the last bit may be another.
        np.testing.assert_allclose(before.scores, after.scores, rtol=0, atol=2e-7)


def test_a_mask_brings_no_row_back(collection: Collection) -> None:
    searcher = collection.searcher
    found = searcher.search(queries(), 10_000, SearchPlan(EXACT), mask=Mask.every(searcher.rows))
    assert sorted(found.ids[0].tolist()) == searcher.live.numbers.tolist()


def test_rows_are_left_out_of_their_own_answers(collection: Collection) -> None:
    searcher = collection.searcher
    own = searcher.live.numbers[5:300:50]
    xq = searcher.check_queries(searcher.vectors(own))
    for plan in (None, SearchPlan(EXACT), SearchPlan.parse(f"flat@8 | {N - 1}@{D}")):
        truth = live_scores(collection, xq)
        truth[np.arange(len(own)), own] = -np.inf
        assert_answers(searcher.search(xq, 10, SearchPlan(EXACT), own=own), truth, 10)
        found = searcher.search(xq, 10, plan, own=own)
        assert not (found.ids == own[:, None]).any()
    some = np.where(np.arange(len(own)) % 2, own, -1)
    found = searcher.search(xq, 1, SearchPlan(EXACT), own=some)
    np.testing.assert_array_equal(found.ids[::2, 0], own[::2])
    assert (found.ids[1::2, 0] != own[1::2]).all()


def test_a_mask_of_other_rows_is_refused(collection: Collection) -> None:
    with pytest.raises(InvalidInput, match=f"mask: expected one of {collection.searcher.rows} rows, found 3"):
        collection.searcher.search(queries(), 10, mask=Mask.every(3))


def test_what_does_not_fit_the_queries_is_refused(collection: Collection) -> None:
    searcher, xq = collection.searcher, queries()[:1]
    for own in (np.array([1, 2]), np.empty(0, np.int64)):
        with pytest.raises(InvalidInput, match="own: expected a row for each of 1 queries"):
            searcher.search(xq, 3, own=own)
    with pytest.raises(InvalidInput, match="mask: expected Mask"):
        searcher.search(xq, 3, mask=np.ones(searcher.rows, bool))  # type: ignore[arg-type]
