"""Scores are cosines: never outside of [−1, 1], however stored vectors were rounded, whichever way they are reached."""

from __future__ import annotations

import numpy as np
import pytest

from engine.evaluation.nearest import nearest, scores_of
from engine.evaluation.representations import Representation
from engine.planning.queries import QuerySet
from engine.retrieval.accelerator import Accelerator
from indexers.base import Neighbors, cosines
from indexers.exact import exact_search
from indexers.plan import SearchPlan
from indexers.store import VectorStore
from indexers.vectors import FloatArray
from tests.conftest import MakeCollection, assert_answers, live_scores, stored_rows, unit

N, D = 600, 8
SPECS = ["flat@4", "sq@4", "ivf-flat@4:nlist=4", "ivf-pq@4:m=4,nlist=4,refine=8", "hnsw@4"]
PLANS = [
    "exact",
    "flat@4 | 600@8",
    "sq@4 | 600@8",
    "ivf-flat@4:nprobe=4 | 600@8",
    "ivf-pq@4:nprobe=4 | 600@8",
    "ivf-pq@4:nprobe=4 | 600@4 | 500@8",
    "hnsw@4:efSearch=600 | 600@8",
    "flat@4 | 600@6 | 500@8",
]


@pytest.fixture(scope="module")
def rows() -> FloatArray:
    return unit(np.random.default_rng(1).normal(size=(N, D)))


@pytest.fixture(scope="module")
def xq(rows: FloatArray) -> FloatArray:
    """Rows that score most with themselves once they are stored, and their opposites."""
    own = (rows.astype(np.float16).astype(np.float64) * rows).sum(axis=1)
    long = rows[np.argsort(-own)[:8]]
    assert np.sort(own)[-8] > 1.0001
    return np.concatenate([long, -long])


@pytest.mark.parametrize("nq", [1, 16])
@pytest.mark.parametrize("plan", PLANS)
def test_no_plan_scores_more_than_one(
    make_collection: MakeCollection, rows: FloatArray, xq: FloatArray, plan: str, nq: int
) -> None:
    collection = make_collection(rows, SPECS, dtype="float16", tail=rows[:20] * np.float32(-1), pruned=True)
    truth = live_scores(collection, xq)
    assert np.abs(stored_rows(collection).astype(np.float64) @ xq.T).max() > 1.0001
    for start in range(0, len(xq), nq):
        part = slice(start, start + nq)
        found = collection.searcher.search(xq[part], N + 20, plan=SearchPlan.parse(plan))
        assert np.abs(found.scores).max(axis=1).tolist() == [1.0] * len(found.scores)
        assert_answers(Neighbors(found.scores[:, :5], found.ids[:, :5]), truth[part], 5, atol=2e-6)


def test_nor_does_a_prefix_or_a_scan(make_collection: MakeCollection, rows: FloatArray, xq: FloatArray) -> None:
    collection = make_collection(rows, SPECS, dtype="float16")
    for dim in (1, 3, 4, 8):
        scores = collection.search(xq, k=N, dim=dim).scores
        assert np.abs(scores).max() == 1.0
    stored = stored_rows(collection)
    worst = exact_search(stored, xq, N).scores
    assert (worst.min(), worst.max()) == (-1.0, 1.0)
    for row in range(5):
        assert collection.similar(row, k=3, include_self=True).scores[0] <= 1.0


def test_nor_a_device(rows: FloatArray, xq: FloatArray) -> None:
    stored = rows.astype(np.float16)
    accelerator = Accelerator(VectorStore(stored), device="cpu")
    everything = np.broadcast_to(np.arange(N), (len(xq), N)).copy()
    everything[:, -1] = -1
    for found in (accelerator.scan(xq, N), accelerator.rescore(xq, everything, N)):
        real = found.scores[found.ids >= 0]
        assert (real.min(), real.max()) == (-1.0, 1.0)
        assert np.isneginf(found.scores[found.ids < 0]).all()


def test_nor_an_evaluation(rows: FloatArray, xq: FloatArray) -> None:
    base = rows.astype(np.float16).astype(np.float32)
    queries = QuerySet("items", xq, None)
    one = Representation("plain", base, (queries,))
    found = nearest(one, queries, D, N)
    assert (found.scores.min(), found.scores.max()) == (-1.0, 1.0)
    assert np.abs(scores_of(base, xq, found.ids)).max() == 1.0


def test_what_is_missing_stays_so() -> None:
    scores = np.array([[1.25, 0.5, -1.5, -np.inf, np.nan]], np.float32)
    found = cosines(scores, np.array([[3, 1, 2, -1, 0]]))
    assert found.scores is scores
    np.testing.assert_array_equal(scores, np.array([[1, 0.5, -1, -np.inf, np.nan]], np.float32))
