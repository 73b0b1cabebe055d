"""Search on a device: what it computes with torch on the CPU too, that a GPU does it only where there is one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from engine.api import Collection
from engine.query.explain import explain
from engine.retrieval.accelerator import Accelerator
from engine.retrieval.searcher import Searcher
from indexers.base import MISSING
from indexers.errors import DependencyMissing, InvalidInput, InvalidSpec
from indexers.exact import exact_search, recall
from indexers.gpu import MOST_K, gpu_count
from indexers.mask import Mask
from indexers.plan import EXACT, SearchPlan
from indexers.vectors import FloatArray
from tests.conftest import needs_gpu, structured

N, D = 3000, 64
ROWS_BYTES = N * D * 2
STREAMED = 500_000  # bytes: not enough for the vectors, enough for each index
DEVICES = ["cpu", pytest.param("cuda", marks=[pytest.mark.gpu, needs_gpu])]
PLANS = ["flat@24 | 100@64", "ivf-flat@32:nprobe=20 | 100@64", "flat@16 | 200@64", "flat@64 | 10@64"]
SPECS = ["flat@24", "ivf-flat@32:nlist=20", "flat@16:axes=1", "flat@64", "ivf-pq@32:nlist=10"]

Open = Callable[..., Searcher]


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("device") / "c.nest"
    data = structured(N, D, seed=11)
    with Collection.create(root, encoder="precomputed", dim=D) as opened:
        opened.add_vectors(data.xb, names=[f"{i}" for i in range(N)])
        opened.build(SPECS)
    return root


@pytest.fixture
def searching(collection: Path) -> Open:
    def searcher(device: str, memory: int = 1 << 30) -> Searcher:
        found = Searcher(Collection.open(collection).snapshot)
        found.first.accelerator = Accelerator(found.first.store, device=device, memory=memory)
        return found

    return searcher


def stored(searcher: Searcher) -> FloatArray:
    return searcher.first.store.rows.astype(np.float32)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("memory", [1 << 30, STREAMED])
@pytest.mark.parametrize("plan", PLANS)
def test_it_finds_what_the_cpu_finds(searching: Open, collection: Path, plan: str, memory: int, device: str) -> None:
    with Collection.open(collection) as opened:
        data = structured(N, D, seed=11)
        xq = opened.searcher.check_queries(np.concatenate([data.xq, data.xt]))
        here = opened.searcher.search(xq, 10, SearchPlan.parse(plan))
    there = searching(device, memory)
    assert there.first.accelerator is not None
    assert there.first.accelerator.is_resident == (memory > STREAMED)
    found = there.search(xq, 10, SearchPlan.parse(plan))
    assert recall(found.ids, here, scores=found.scores) > (0.99 if device == "cuda" else 0.999)
    own = np.einsum("qd,qkd->qk", xq, stored(there)[found.ids])
    np.testing.assert_allclose(found.scores, own, atol=2e-6)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("memory", [1 << 30, STREAMED])
def test_a_scan_is_exact(searching: Open, memory: int, device: str) -> None:
    there = searching(device, memory)
    xq = there.check_queries(structured(N, D, seed=11).xq)
    truth = exact_search(stored(there), xq, 10)
    found = there.search(xq, 10, SearchPlan(EXACT))
    np.testing.assert_allclose(found.scores, truth.scores, atol=2e-6)
    assert recall(found.ids, truth, scores=found.scores) == 1.0


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("plan", [*PLANS[:2], "exact"])
def test_rows_that_are_gone_are_not_found(searching: Open, plan: str, device: str) -> None:
    """The index still holds them: what they leave empty is searched for again, wider, in the end exactly."""
    there = searching(device)
    xq = there.check_queries(structured(N, D, seed=11).xq)
    before = there.search(xq, 10, SearchPlan.parse(plan))
    dead = np.unique(np.concatenate([before.ids.ravel(), np.arange(N - 100)]))
    found = there.search(xq, 10, SearchPlan.parse(plan), mask=Mask.without(N, dead))
    assert (found.ids != MISSING).all()
    assert not np.isin(found.ids, dead).any()


@pytest.mark.parametrize("device", DEVICES)
def test_indexes_share_what_memory_there_is(searching: Open, device: str) -> None:
    """Vectors take half; beside them there is room for two of the indexes."""
    there = searching(device, 2 * ROWS_BYTES)
    on = there.first.accelerator
    assert on is not None
    assert on.is_resident
    xq = there.check_queries(structured(N, D, seed=11).xq)
    answers = {}
    for plan in (*PLANS[:3:2], PLANS[1], *PLANS[:3:2]):
        try:
            found = there.search(xq, 10, SearchPlan.parse(plan))
        except InvalidSpec as error:
            assert "more than there are left" in str(error)
            assert plan == PLANS[1]
            continue
        np.testing.assert_array_equal(answers.setdefault(plan, found.ids), found.ids)
    assert on.held == ("flat@24", "flat@16")
    there.search(xq, 10, SearchPlan.parse(PLANS[0]))
    assert on.held == ("flat@16", "flat@24")
    there.search(xq, 10, SearchPlan.parse(PLANS[3]))
    assert on.held == ("flat@64",), "the least used go first"


@pytest.mark.parametrize(
    ("plan", "reason"),
    [
        ("ivf-pq@32 | 100@64", "searched on the CPU only; build flat@128 or ivf-flat@128"),
        ("flat@16 | 100@32 | 50@64", "one stage"),
        ("flat@16 | 100@48", "one stage"),
        (f"flat@16 | {MOST_K + 1}@64", "at most"),
    ],
)
def test_plans_that_are_not_for_a_device_are_refused(searching: Open, plan: str, reason: str) -> None:
    there = searching("cpu")
    with pytest.raises(InvalidSpec, match=reason):
        there.search(there.check_queries(np.ones((1, D))), 5, SearchPlan.parse(plan))


@pytest.mark.parametrize("device", DEVICES)
def test_where_nobody_names_a_plan_it_scans(searching: Open, device: str) -> None:
    """The collection's own plan is for the CPU: `ivf-pq`, most often."""
    there = searching(device)
    there.default_plan = SearchPlan.parse("ivf-pq@32:margin=100 | 100@64")
    xq = there.check_queries(structured(N, D, seed=11).xq)
    truth = exact_search(stored(there), xq, 10)
    found = there.search(xq, 10)
    assert recall(found.ids, truth, scores=found.scores) == 1.0
    assert there.search(xq, 5, dim=32).ids.shape == (len(xq), 5)
    assert there.search(xq, 3000).ids.shape == (len(xq), 3000)
    assert explain(there, xq[:1], 10, SearchPlan.parse(PLANS[0])).recall > 0.5


@pytest.mark.skipif(gpu_count() > 0, reason="there is a GPU")
def test_without_a_gpu_it_is_said(collection: Path) -> None:
    with (
        Collection.open(collection, search_device="cuda") as opened,
        pytest.raises(DependencyMissing, match="a GPU that both torch and FAISS can use"),
    ):
        opened.search(np.ones((1, D)), plan=PLANS[0])


def test_a_device_nobody_has_is_refused(collection: Path) -> None:
    with pytest.raises(InvalidInput, match="search_device: expected cpu or cuda"):
        Collection.open(collection, search_device="tpu")


@pytest.mark.gpu
@needs_gpu
def test_a_collection_is_searched_on_a_gpu(collection: Path) -> None:
    data = structured(N, D, seed=11)
    with Collection.open(collection) as here, Collection.open(collection, search_device="cuda") as there:
        for plan in (*PLANS, "exact"):
            ours, theirs = ([a.ids for a in one.search(data.xq, 10, plan=plan)] for one in (here, there))
            shared = [len(set(a) & set(b)) / 10 for a, b in zip(ours, theirs, strict=True)]
            assert np.mean(shared) > 0.98
