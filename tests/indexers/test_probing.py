"""The compiled search of `ivf-pq`: FAISS' answers from FAISS' codes, and the oracle's where everything is looked at."""

from __future__ import annotations

import math
from typing import Any

import faiss
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from indexers.base import MISSING, FaissIndex, IndexSpec, Neighbors
from indexers.build import build
from indexers.exact import exact_search, recall
from indexers.families.registry import family, resolve
from indexers.mask import Mask
from indexers.prefix import unwrap
from indexers.probing import ProbedIndex, is_available, suits
from indexers.store import VectorStore
from indexers.vectors import FloatArray
from tests.conftest import structured

pytestmark = pytest.mark.skipif(not is_available(), reason="the search was not compiled, or no AVX2")

LEVELS = [level for level in (2, 4, 5) if is_available(level)]
N = 3000


def made(text: str, xb: FloatArray, level: int = 0, dtype: type = np.float16) -> tuple[FaissIndex, ProbedIndex]:
    """Build an index of some rows, and open it."""
    index = build(resolve(IndexSpec.parse(text), *xb.shape), VectorStore(xb), device="cpu")
    return index, ProbedIndex(index, VectorStore(xb.astype(dtype)), level)


def by_faiss(index: FaissIndex, xq: FloatArray, k: int, nprobe: int) -> tuple[FloatArray, np.ndarray]:
    """Search the codes as FAISS does."""
    parameters = faiss.SearchParametersIVF(nprobe=nprobe)
    if isinstance(index, faiss.IndexPreTransform):
        parameters = faiss.SearchParametersPreTransform(index_params=parameters)
    scores, ids = index.search(xq, k, params=parameters)
    return scores, ids


SPECS = [
    "ivf-pq@32:nlist=20,m=16",
    "ivf-pq@32:nlist=20,m=16,axes=1",
    "ivf-pq@32:nlist=65,m=16,rotate=0",
    "ivf-pq@64:nlist=1,m=32",
    "ivf-pq@64:nlist=30,m=32,rotate=0",
    "ivf-pq@15:nlist=20,m=5,axes=1",
    "ivf-pq@7:nlist=20,m=7",
    "ivf-pq@1:nlist=3,m=1",
    "ivf-pq@60:nlist=20,m=6",
    "ivf-pq@32:nlist=20,m=16,residual=1",
    "ivf-pq@48:nlist=9,m=12,axes=1,residual=1",
]


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("text", SPECS)
def test_codes_score_what_faiss_says(text: str, level: int) -> None:
    data = structured(N, 64, seed=3)
    index, probed = made(text, data.xb, level)
    params = dict(resolve(IndexSpec.parse(text), N, 64).params)
    # Entries of the tables are rounded here and there: by 1/63 of their range and less, by 1/255.
    most, wanted = 0.01 * params["m"] ** 0.5, 100
    all_scores, all_ids = by_faiss(index, data.xq, N, params["nlist"])
    for nprobe in {1, max(1, params["nlist"] // 4), params["nlist"]}:
        _, reached = by_faiss(index, data.xq, N, nprobe)
        found = probed.search(data.xq, wanted, nprobe, 0).neighbors
        strange = 0
        for i in range(len(data.xq)):
            known = dict(zip(all_ids[i].tolist(), all_scores[i].tolist(), strict=True))
            kept = found.ids[i][found.ids[i] != MISSING]
            apart = np.abs(found.scores[i][: len(kept)] - [known[row] for row in kept.tolist()])
            assert apart.max() < most
            assert apart.mean() < most / 2
            strange += int((~np.isin(kept, reached[i])).sum())
            if nprobe == params["nlist"]:
                # None was left out for one that is clearly worse.
                assert len(kept) == wanted
                assert min(known[row] for row in kept.tolist()) > sorted(known.values())[-wanted] - 2 * most
        # Cells that are as near as each other may change places: their centroids are of float16 here.
        assert strange <= 0.05 * (found.ids != MISSING).sum()


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("dim", [5, 16, 33, 64, 100])
def test_a_shortlist_of_everything_is_the_exact_answer(dim: int, level: int, dtype: type) -> None:
    data = structured(N, dim, seed=dim)
    _, probed = made(f"ivf-pq@{dim}:nlist=10", data.xb, level, dtype)
    stored = data.xb.astype(dtype).astype(np.float32)
    for xq in (data.xq, data.xt):
        truth = exact_search(stored, xq, 10)
        found = probed.search(xq, 10, 10, N)
        np.testing.assert_allclose(found.neighbors.scores, truth.scores, atol=2e-6)
        assert recall(found.neighbors.ids, truth, scores=found.neighbors.scores) == 1.0
        assert (found.visited == N).all()


def test_all_kinds_of_instructions_find_the_same_candidates() -> None:
    if len(LEVELS) < 2:
        pytest.skip("this processor has only one of them")
    data = structured(N, 64, seed=4)
    for m in (1, 2, 3, 5, 8, 9, 16, 24, 31):
        text = f"ivf-pq@{m * 2}:m={m},nlist=12"
        first, *others = (made(text, data.xb, level)[1].search(data.xq, 50, 5, 0) for level in LEVELS)
        for other in others:
            np.testing.assert_array_equal(first.neighbors.ids, other.neighbors.ids)
            np.testing.assert_array_equal(first.neighbors.scores, other.neighbors.scores)
            np.testing.assert_array_equal(first.visited, other.visited)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(
    "text", ["ivf-pq@32:m=8,axes=1", "ivf-pq@33:m=11", "ivf-pq@7:m=7", "ivf-pq@48:m=12,residual=1"]
)
def test_bytes_score_what_they_stand_for(text: str, level: int) -> None:
    data = structured(N, 48, seed=5)
    index, probed = made(f"{text},refine=8,nlist=20", data.xb, level)
    chain, inner = unwrap(index)
    codes = family("ivf-pq").parts(inner)[1]
    decoded = codes.sa_decode(faiss.vector_to_array(codes.codes).reshape(N, -1))
    turned = data.xq
    for step in chain:
        turned = step.apply(turned)
    truth = turned @ decoded.T
    best = -np.sort(-truth, axis=1)[:, :10]
    found = probed.search(data.xq, 10, 20, 0, middle=N).neighbors
    np.testing.assert_allclose(found.scores, best, atol=2e-4)  # matrices are of float16 there
    np.testing.assert_allclose(found.scores, np.take_along_axis(truth, found.ids, axis=1), atol=2e-4)
    # Fewer are found by codes first, as FAISS does it.
    parameters: Any = faiss.IndexRefineSearchParameters(
        k_factor=10.05, base_index_params=faiss.SearchParametersIVF(nprobe=20)
    )
    if isinstance(index, faiss.IndexPreTransform):
        parameters = faiss.SearchParametersPreTransform(index_params=parameters)
    theirs = Neighbors(*index.search(data.xq, 10, params=parameters))
    ours = probed.search(data.xq, 10, 20, 0, middle=100).neighbors
    assert recall(ours.ids, theirs, scores=ours.scores) > 0.97
    np.testing.assert_allclose(ours.scores, np.take_along_axis(truth, ours.ids, axis=1), atol=2e-4)
    # And of all of them, the stored vectors have the last word.
    stored = data.xb.astype(np.float16).astype(np.float32)
    last = probed.search(data.xq, 10, 20, 400, middle=N).neighbors
    np.testing.assert_allclose(last.scores, np.take_along_axis(data.xq @ stored.T, last.ids, axis=1), atol=2e-6)
    assert recall(last.ids, exact_search(stored, data.xq, 10), scores=last.scores) > (0.99 if "@7" not in text else 0.5)


def test_rows_that_may_not_be_answered_are_not() -> None:
    data = structured(N, 32, seed=6)
    _, probed = made("ivf-pq@32:nlist=10", data.xb)
    dead = np.random.default_rng(0).choice(N, N - 40, replace=False)
    alive = np.setdiff1d(np.arange(N), dead)
    found = probed.search(data.xq, 10, 10, 30, mask=Mask.without(N, dead)).neighbors
    assert np.isin(found.ids, alive).all()
    few = probed.search(data.xq, 50, 10, 60, mask=Mask.without(N, dead)).neighbors
    assert ((few.ids != MISSING).sum(axis=1) == 40).all()
    assert np.isneginf(few.scores[few.ids == MISSING]).all()


def test_rows_that_are_all_alike_are_found_as_often_as_they_are_there() -> None:
    """Every candidate then falls into one bin, and the threshold never rises."""
    one = structured(1, 32, seed=7).xb
    xb = np.ascontiguousarray(np.repeat(one, 5000, axis=0))
    index = build(resolve(IndexSpec.parse("ivf-pq@32:nlist=1"), *xb.shape), VectorStore(xb), device="cpu")
    found = ProbedIndex(index, VectorStore(xb)).search(one, 10, 1, 20).neighbors
    assert len(set(found.ids[0].tolist())) == 10
    np.testing.assert_allclose(found.scores, 1.0, atol=1e-6)


def test_a_margin_ends_easy_searches_early_and_loses_little() -> None:
    data = structured(20_000, 64, seed=8)
    _, probed = made("ivf-pq@64:nlist=200", data.xb)
    truth = exact_search(data.xb.astype(np.float16).astype(np.float32), data.xq, 10)
    visited, shares = [], []
    for margin in (0.02, 0.1, 0.3, 3.0):
        found = probed.search(data.xq, 10, 200, 100, margin=margin)
        visited.append(found.visited.mean())
        shares.append(recall(found.neighbors.ids, truth, scores=found.neighbors.scores))
    assert visited == sorted(visited)
    assert visited[0] < 0.2 * visited[-1]
    assert visited[-1] == 20_000
    assert shares[2] > 0.95
    np.testing.assert_array_equal(
        found.neighbors.ids, probed.search(data.xq, 10, 200, 100).neighbors.ids, "a margin of 3 is none"
    )


@settings(deadline=None, max_examples=40, suppress_health_check=list(HealthCheck))
@given(
    k=st.integers(1, 40),
    more=st.integers(0, 60),
    middle=st.one_of(st.none(), st.integers(0, 150)),
    nprobe=st.integers(1, 12),
    margin=st.floats(0, 1),
    dead=st.integers(0, 35),
    nq=st.integers(1, 5),
)
def test_any_search_gives_true_scores_in_order(
    k: int, more: int, middle: int | None, nprobe: int, margin: float, dead: int, nq: int
) -> None:
    data = structured(300, 24, seed=9)
    _, probed = made("ivf-pq@24:nlist=8,refine=8", data.xb, dtype=np.float32)
    first = 0 if middle is None else k + more + middle
    mask = Mask.without(300, np.arange(dead))
    xq = data.xq[:nq]
    found = probed.search(xq, k, nprobe, k + more, middle=first, margin=margin, mask=mask).neighbors
    for q, scores, ids in zip(xq, found.scores, found.ids, strict=True):
        kept = ids[ids != MISSING]
        assert len(set(kept.tolist())) == len(kept)
        assert (kept >= dead).all()
        assert (ids[len(kept) :] == MISSING).all()
        np.testing.assert_allclose(scores[: len(kept)], data.xb[kept] @ q, atol=1e-5)
        assert (np.diff(scores[: len(kept)]) <= 0).all()


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("margin", [math.inf, 0.15])
@pytest.mark.parametrize(
    ("text", "middle", "shortlist"),
    [
        ("ivf-pq@32:nlist=16", 0, 0),
        ("ivf-pq@32:nlist=16", 0, 20),
        ("ivf-pq@32:nlist=16", 0, 1500),  # more than are scored together
        ("ivf-pq@32:nlist=16,refine=8", 60, 0),
        ("ivf-pq@32:nlist=16,refine=8", 400, 40),
    ],
)
def test_batches_answer_as_each_of_their_queries_does(
    text: str, middle: int, shortlist: int, margin: float, level: int
) -> None:
    data = structured(N, 48, seed=10)
    _, probed = made(text, data.xb, level)
    xq = np.tile(np.concatenate([data.xb[:400], data.xq, data.xt]), (3, 1))
    batch = probed.search(xq, 5, 14, shortlist, middle=middle, margin=margin)
    for i in [*range(0, len(xq), 61), len(xq) - 1]:
        one = probed.search(xq[i : i + 1], 5, 14, shortlist, middle=middle, margin=margin)
        np.testing.assert_array_equal(batch.neighbors.ids[i], one.neighbors.ids[0])
        np.testing.assert_array_equal(batch.neighbors.scores[i], one.neighbors.scores[0])
    # Cells may still be passed over once it is known what the query has found.
    assert (batch.visited > 0).all()


def test_batches_with_more_cells_to_visit_than_there_is_room_for() -> None:
    data = structured(N, 16, seed=12)
    _, probed = made("ivf-pq@16:nlist=600,m=8", data.xb)
    xq = data.xb[:700]
    for nprobe in (300, 600):  # times 512 queries: several parts
        batch = probed.search(xq, 5, nprobe, 20).neighbors
        for i in range(0, 700, 53):
            one = probed.search(xq[i : i + 1], 5, nprobe, 20).neighbors
            np.testing.assert_array_equal(batch.ids[i], one.ids[0])


def test_only_what_it_reads_suits_it() -> None:
    data = structured(500, 16, seed=1)
    for text, answer in (
        ("ivf-pq@16:nlist=4", True),
        ("ivf-pq@16:nlist=4,refine=8", True),
        ("ivf-flat@16:nlist=4", False),
        ("hnsw@16", False),
        ("flat@8", False),
    ):
        index = build(resolve(IndexSpec.parse(text), 500, 16), VectorStore(data.xb), device="cpu")
        assert suits(index) == answer
