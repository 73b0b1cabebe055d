"""What one search tells of many plans is what each of them finds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from engine.planning.curve import plans, searches
from engine.planning.judge import Judge, make_judge
from engine.planning.places import recalls_of, undominated
from engine.planning.queries import ITEMS, QuerySet
from engine.retrieval.coarse import Coarse, coarse_over
from indexers.base import IndexSpec
from indexers.build import build
from indexers.exact import exact_search
from indexers.families.registry import resolve
from indexers.plan import SearchPlan, Stage
from indexers.store import VectorStore
from tests.helpers import clustered, save

SHORTLISTS = (20, 30, 60, 120)


def made(text: str, tmp_path: Path, *, copies: int = 1) -> tuple[Coarse, Judge]:
    x = np.repeat(clustered(3000 // copies, 32), copies, axis=0).astype(np.float16)
    store = VectorStore.open(save(tmp_path / "x.npy", x))
    spec = resolve(IndexSpec.parse(text), *store.rows.shape)
    own = np.arange(0, len(x), 37)
    rows = store.gather(np.arange(len(x)))
    sets = [QuerySet(ITEMS, rows[own], own), QuerySet("others", clustered(50, 32, 7))]
    return coarse_over(spec, build(spec, store, device="cpu"), store), make_judge(
        sets, 5, lambda xq, k: exact_search(rows, xq, k)
    )


@pytest.mark.parametrize("text", ["ivf-pq@16", "ivf-pq@16:residual=1", "ivf-pq@16:refine=8", "flat@8", "hnsw@16"])
@pytest.mark.parametrize("copies", [1, 12])
def test_they_are_what_each_plan_finds(text: str, copies: int, tmp_path: Path) -> None:
    coarse, judge = made(text, tmp_path, copies=copies)
    last = (10, 25) if "refine" in text else ()
    every = [plan for plan in plans(coarse, SHORTLISTS, 6, last) if not plan.margin]
    found = recalls_of(coarse, every, judge)
    assert len(found) > 3
    for plan, shares in found.items():
        made_ready = searches(coarse, plan, judge)
        for name, share in shares.items():
            assert share == pytest.approx(judge.recall(name, made_ready[name])[0], abs=0.004), (plan, name)
    # There is something to tell apart, and what was left out finds no more than what does less.
    assert min(min(shares.values()) for shares in found.values()) < 0.9
    for plan in set(every) - set(found):
        made_ready = searches(coarse, plan, judge)
        alike = [one for one in found if one.stages == plan.stages and one.probe < plan.probe]
        for name in judge.sets:
            assert judge.recall(name, made_ready[name])[0] <= max(found[one][name] for one in alike) + 0.004


def test_with_a_margin_they_are_nearly_so(tmp_path: Path) -> None:
    coarse, judge = made("ivf-pq@16", tmp_path)
    every = [plan for plan in plans(coarse, SHORTLISTS, 6) if plan.margin]
    for plan, shares in recalls_of(coarse, every, judge).items():
        made_ready = searches(coarse, plan, judge)
        for name, share in shares.items():
            real = judge.recall(name, made_ready[name])[0]
            assert real - 0.01 <= share <= real + 0.1, (plan, name)


def test_no_plan_is_left_that_does_more_and_finds_no_more() -> None:
    def plan(probe: int, shortlist: int) -> SearchPlan:
        return SearchPlan("ivf-pq@8", probe, (Stage(32, shortlist),))

    shares = {plan(4, 20): 0.5, plan(8, 20): 0.6, plan(8, 30): 0.6, plan(4, 30): 0.7, plan(16, 60): 0.9}
    left = undominated({one: {"items": 1.0, "texts": share} for one, share in shares.items()})
    assert left == {plan(4, 20): 0.5, plan(8, 20): 0.6, plan(4, 30): 0.7, plan(16, 60): 0.9}
