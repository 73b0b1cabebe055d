"""What a searcher refuses, plans made once, many threads, damaged files."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import faiss
import numpy as np
import pytest

from engine.api import Collection
from engine.retrieval.searcher import MOST_READY, Searcher
from engine.storage import layout
from indexers.errors import CorruptCollection, InvalidInput, InvalidSpec, InvalidVectors
from indexers.plan import EXACT, SearchPlan
from indexers.vectors import FloatArray
from tests.conftest import Data, MakeCollection, assert_answers, live_scores, recall_of, structured, unit

N, TAIL, D = 500, 40, 48
SPECS = ("flat@7", "sq@16", "sq@48", "ivf-flat@16", "ivf-pq@32", "hnsw@24")


def data() -> Data:
    return structured(N + TAIL, D, seed=11)


def queries() -> FloatArray:
    return np.concatenate([data().xq[:8], data().xt[:8]])


# -- queries and arguments that are wrong ---------------------------------------------------------


@pytest.fixture(scope="module")
def plain(make_collection: MakeCollection) -> Collection:
    return make_collection(data().xb[:N], SPECS)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (np.full(D, np.nan), "row 0 has NaN"),
        ([[1.0] * D, [np.inf] + [0.0] * (D - 1)], "row 1 has NaN or infinite"),
        (np.zeros(D), "row 0 has length zero"),
        (np.ones(D - 1), f"expected {D} dimensions, found {D - 1}"),
        (np.ones((2, D + 1)), f"expected {D} dimensions, found {D + 1}"),
        (np.ones((1, 1, D)), "expected shape"),
        (np.ones(D, dtype=complex), "expected real numbers"),
        (["a"] * D, "expected real numbers"),
    ],
)
def test_queries_that_cannot_be_searched_with(plain: Collection, query: Any, message: str) -> None:
    with pytest.raises(InvalidVectors, match=message):
        plain.searcher.check_queries(query)


@pytest.mark.parametrize("dtype", [np.float64, np.float16, np.int32])
def test_queries_of_any_length_and_real_dtype(plain: Collection, dtype: Any) -> None:
    raw = (data().xq[:3] * 100).astype(dtype)
    found = plain.searcher.search(plain.searcher.check_queries(raw), 5, SearchPlan(EXACT))
    assert_answers(found, live_scores(plain, unit(raw)), 5)


@pytest.mark.parametrize("k", [0, -1, -(10**9), 1.5, "10", None])
def test_k_must_be_a_positive_whole_number(plain: Collection, k: Any) -> None:
    with pytest.raises(InvalidInput, match="k must be"):
        plain.searcher.search(queries(), k)


@pytest.mark.parametrize("plan", [None, EXACT, "sq@16 | 20@48", "sq@16 | 20@20 | 10@48"])
def test_no_queries(plain: Collection, plan: str | None) -> None:
    used = None if plan is None else SearchPlan.parse(plan)
    found = plain.searcher.search(np.empty((0, D), np.float32), 7, used)
    assert found.ids.shape == found.scores.shape == (0, 7)


def test_queries_that_were_not_checked(plain: Collection) -> None:
    """NaN finds nothing, however wide the search: it must say so and come to an end."""
    bad = np.full((2, D), np.nan, np.float32)
    for plan in (
        None,
        SearchPlan(EXACT),
        SearchPlan.parse("ivf-pq@32 | 10@48"),
        SearchPlan.parse("flat@7 | 9@9 | 9@48"),
    ):
        with pytest.raises(InvalidVectors, match="NaN in the queries"):
            plain.searcher.search(bad, 5, plan)
    for wrong in (np.ones((2, D + 1), np.float32), np.ones(D, np.float32)):
        with pytest.raises(InvalidVectors, match=rf"expected shape \[nq, {D}\]"):
            plain.searcher.search(wrong, 5)


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        ("sq@17 | 10@48", "no index 'sq@17' in this collection; it has flat@7, sq@16"),
        ("foo@16 | 10@48", "no index 'foo@16'"),
        ("sq@16 | 10@49", "between 16 and 48 dimensions"),
        ("sq@16 | 10@8 | 10@48", "between 16 and 48 dimensions"),
        ("sq@48 | 10@47", "between 48 and 48"),
    ],
)
def test_plans_the_collection_cannot_carry_out(plain: Collection, plan: str, message: str) -> None:
    with pytest.raises(InvalidSpec, match=message):
        plain.searcher.search(queries(), 10, SearchPlan.parse(plan))
    with pytest.raises(InvalidSpec, match=message):
        plain.search(queries()[0], 10, plan=plan)


@pytest.mark.parametrize("dim", [0, -1, D + 1, 10**9])
def test_dimensions_there_are_not(plain: Collection, dim: int) -> None:
    for plan in (None, SearchPlan(EXACT)):
        with pytest.raises(InvalidInput, match=f"cannot stop at {dim} dimensions"):
            plain.searcher.search(queries(), 10, plan, dim=dim)
    with pytest.raises(InvalidInput, match="cannot stop at 20 dimensions"):
        plain.searcher.search(queries(), 10, SearchPlan.parse("sq@16 | 10@32"), dim=20)


@pytest.mark.parametrize("plan", ["hnsw@24:efSearch=999999999 | 20@48", "ivf-flat@16:nprobe=999999999 | 20@48"])
def test_more_probes_than_there_are_cost_nothing(plain: Collection, plan: str) -> None:
    """FAISS would make room for every one of them."""
    found = plain.searcher.search(queries(), 10, SearchPlan.parse(plan))
    assert recall_of(found.ids, live_scores(plain, queries()), 10) > 0.5
    assert plain.searcher.routes.fit(SearchPlan.parse(plan), 10).probe <= N


def test_more_probes_find_more(plain: Collection) -> None:
    truth = live_scores(plain, queries())
    few, all_ = (
        recall_of(
            plain.searcher.search(queries(), 10, SearchPlan.parse(f"ivf-flat@16:nprobe={p} | 400@48")).ids, truth, 10
        )
        for p in (1, 12)
    )
    assert few < 0.9 < 0.99 <= all_


# -- plans made once, many threads ------------------------------------------------------------------


def test_a_plan_given_by_hand_is_only_lengthened_to_k(plain: Collection) -> None:
    searcher = plain.searcher
    by_hand = searcher.routes.fit(SearchPlan.parse("ivf-pq@32:nprobe=2 | 20@48"), 100)
    assert str(by_hand) == "ivf-pq@32:nprobe=2 | 100@48"


def test_a_searcher_asked_in_every_way_does_not_grow(plain: Collection) -> None:
    searcher = Searcher(plain.snapshot)
    xq = queries()[:1]
    first = searcher.search(xq, 5, SearchPlan.parse("sq@16 | 30@48"))
    for shortlist in range(30, 30 + MOST_READY + 20):
        searcher.search(xq, 5, SearchPlan.parse(f"sq@16 | {shortlist}@48"))
    kept = [value for value in vars(searcher).values() if isinstance(value, dict)]
    assert kept
    assert all(len(value) <= MOST_READY for value in kept)
    again = searcher.search(xq, 5, SearchPlan.parse("sq@16 | 30@48"))
    np.testing.assert_array_equal(first.ids, again.ids)


def test_many_threads_get_the_answers_of_one(make_collection: MakeCollection) -> None:
    xb, xq, xt = structured(N + TAIL, D, seed=11, nq=60)
    collection = make_collection(xb[:N], SPECS, tail=xb[N:], deleted=range(0, 300, 3))
    texts = [None, EXACT, *(f"{spec} | 20@48" for spec in SPECS), "flat@7 | 60@20 | 20@48"]
    jobs = [
        (x[None], k, None if t is None else SearchPlan.parse(t)) for x in (*xq, *xt) for t in texts for k in (3, 40)
    ]
    fresh = Searcher(collection.snapshot)
    expected = [collection.searcher.search(x, k, plan) for x, k, plan in jobs]
    with ThreadPoolExecutor(8) as pool:
        # Indexes are loaded and parameters made by whoever comes first.
        found = list(pool.map(lambda job: fresh.search(*job), jobs))
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_array_equal(one.ids, other.ids)
        np.testing.assert_array_equal(one.scores, other.scores)


def test_a_batch_gets_the_answers_of_single_queries(plain: Collection) -> None:
    for text in (EXACT, *(f"{spec} | 20@48" for spec in SPECS), "flat@7 | 60@20 | 20@48"):
        plan = SearchPlan.parse(text)
        whole = plain.searcher.search(queries(), 10, plan)
        single = [plain.searcher.search(xq[None], 10, plan) for xq in queries()]
        np.testing.assert_allclose(whole.scores, np.concatenate([one.scores for one in single]), rtol=0, atol=2e-6)


def test_answers_do_not_depend_on_the_number_of_threads(plain: Collection) -> None:
    plan = SearchPlan.parse("ivf-flat@16 | 50@48")
    one = plain.searcher.search(queries(), 10, plan)
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(4)
    try:
        four = plain.searcher.search(queries(), 10, plan)
    finally:
        faiss.omp_set_num_threads(threads)
    np.testing.assert_array_equal(one.ids, four.ids)


def test_a_single_query_starts_no_threads(make_collection: MakeCollection) -> None:
    """Where cores have other work, waiting for them takes longer than the search.

    It was the matrix in front of a long prefix that started them: it is worth it to OpenBLAS.
    """
    collection = make_collection(structured(200, 200, seed=6).xb, ["ivf-flat@192:nlist=4,axes=1"])
    code = f"""
import os
import numpy as np
from engine.api import Collection
from indexers.plan import SearchPlan
def threads():
    return len(os.listdir("/proc/self/task"))
searcher = Collection.open({str(collection.root)!r}).searcher
plan = SearchPlan.parse("ivf-flat@192:nprobe=4 | 60@200")
xq = searcher.check_queries(np.eye(200)[:40] + 0.1)
searcher.coarse("ivf-flat@192")
before = threads()
searcher.search(xq[:1], 10, plan)
assert threads() == before, "a single query started threads"
searcher.search(xq, 10, plan)
assert threads() > before, "a batch did not, so this test could not have told"
"""
    environment = {**os.environ, "OMP_NUM_THREADS": "4", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# -- damage ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", [layout.INDEXES, layout.VECTORS])
@pytest.mark.parametrize("damage", ["cut", "garbage", "flip", "gone"])
def test_damaged_files_are_found_out(make_collection: MakeCollection, what: str, damage: str) -> None:
    collection = make_collection(data().xb[:100], ["sq@16"])
    space = collection.space
    covering = space.vectors if what == layout.VECTORS else space.indexes[0].covering
    assert covering is not None
    path = collection.root / covering.file.path
    good = path.read_bytes()
    flipped = bytearray(good)
    flipped[len(good) // 2] ^= 1
    garbage = np.random.default_rng(0).bytes(len(good))
    path.unlink()
    if damage != "gone":
        path.write_bytes({"cut": good[:-7], "garbage": garbage, "flip": flipped}[damage])
    with Collection.open(collection.root) as opened, pytest.raises(CorruptCollection):
        opened.search(data().xq[0], 5, plan="sq@16 | 20@48")


def test_searching_does_not_rest_on_assert(plain: Collection) -> None:
    """Under `python -O` FAISS has no asserts either and reads past a query that is too short."""
    code = f"""
import numpy as np
from engine.api import Collection
from engine.storage import layout
from indexers.errors import InvalidVectors
from indexers.plan import SearchPlan
collection = Collection.open({str(plain.root)!r})
for query in (np.ones((1, {D - 8}), np.float32), np.ones({D}, np.float32), np.full((1, {D}), np.nan, np.float32)):
    try:
        collection.searcher.search(query, 5, SearchPlan.parse("sq@16 | 20@48"))
    except InvalidVectors:
        continue
    raise SystemExit(3)
assert False, "asserts are on"
"""
    assert subprocess.run([sys.executable, "-O", "-c", code], check=False).returncode == 0
