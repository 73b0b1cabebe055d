"""Plans: what they say, and what they refuse to say."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexers.errors import InvalidSpec
from indexers.families.registry import FAMILIES
from indexers.plan import EXACT, SearchPlan, Stage


@st.composite
def plans(draw: st.DrawFn) -> SearchPlan:
    if draw(st.integers(0, 9)) == 0:
        return SearchPlan(EXACT)
    name = draw(st.sampled_from(sorted(FAMILIES)))
    probe = draw(st.integers(0, 9999)) if FAMILIES[name].probe_name else 0
    dims = sorted(draw(st.sets(st.integers(1, 4096), min_size=1, max_size=4)))
    shortlists = sorted(draw(st.lists(st.integers(1, 10**6), min_size=len(dims), max_size=len(dims))), reverse=True)
    stages = tuple(Stage(dim, shortlist) for dim, shortlist in zip(dims, shortlists, strict=True))
    margin = draw(st.integers(0, 2000)) if FAMILIES[name].has_margin else 0
    return SearchPlan(f"{name}@{draw(st.integers(1, 4096))}", probe, stages, margin)


@given(plans())
def test_a_plan_reads_what_it_writes(plan: SearchPlan) -> None:
    assert SearchPlan.parse(str(plan)) == plan


@given(plans(), st.integers(1, 10**6), st.integers(1, 50))
def test_widening_is_a_plan_with_longer_lists(plan: SearchPlan, k: int, factor: int) -> None:
    wider = plan.widened(k, factor)
    assert SearchPlan.parse(str(plan)).widened(k, factor) == wider
    for before, after in zip(plan.stages, wider.stages, strict=True):
        assert after == Stage(before.dim, max(before.shortlist * factor, k))


def test_what_a_plan_may_set() -> None:
    names = {name: one.probe_name for name, one in FAMILIES.items()}
    assert names == {"flat": None, "sq": None, "ivf-flat": "nprobe", "ivf-pq": "nprobe", "hnsw": "efSearch"}
    assert [name for name, one in FAMILIES.items() if one.has_margin] == ["ivf-pq"]


def test_the_example_of_the_docstring() -> None:
    plan = SearchPlan.parse("ivf-pq@64:nprobe=32 | 400@256|100@512")
    assert plan == SearchPlan("ivf-pq@64", 32, (Stage(256, 400), Stage(512, 100)))
    assert str(plan) == "ivf-pq@64:nprobe=32 | 400@256 | 100@512"
    assert SearchPlan.parse("hnsw@64:efSearch=99 | 10@64").probe == 99
    assert SearchPlan.parse("ivf-pq@64:margin=200,nprobe=8 | 10@64") == SearchPlan(
        "ivf-pq@64", 8, (Stage(64, 10),), 200
    )
    assert SearchPlan.parse(" exact ") == SearchPlan(EXACT)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected 'exact' or a plan"),
        ("exact | 10@8", "expected 'exact' or a plan"),
        ("flat@8", "at least one stage"),
        ("flat@8 |", "expected 'exact' or a plan"),
        ("flat@8 | 0@8", "expected 'exact' or a plan"),
        ("flat@8 | 10@0", "expected 'exact' or a plan"),
        ("flat@8 | 10", "expected 'exact' or a plan"),
        ("flat@0 | 10@8", "expected 'exact' or a plan"),
        ("flat@8 | -10@8", "expected 'exact' or a plan"),
        ("flat@8 | 10@16 | 10@16", "more dimensions"),
        ("flat@8 | 10@32 | 5@16", "more dimensions"),
        ("flat@8 | 10@16 | 11@32", "no longer a shortlist"),
        ("ivf-pq@8:nprob=4 | 10@8", "may set nprobe"),
        ("ivf-pq@8:nprobe=0 | 10@8", "at least 1"),
        ("ivf-pq@8:nprobe=4,efSearch=4 | 10@8", "may set nprobe"),
        ("ivf-pq@8:nprobe=4,nprobe=4 | 10@8", "each once"),
        ("ivf-pq@8:efSearch=4 | 10@8", "may set nprobe"),
        ("hnsw@8:nprobe=4 | 10@8", "may set efSearch"),
        ("ivf-pq@8:margin=0 | 10@8", "at least 1"),
        ("ivf-flat@8:margin=9 | 10@8", "may set nprobe, at least"),
        ("hnsw@8:margin=9 | 10@8", "may set efSearch"),
        ("flat@8:nprobe=4 | 10@8", "nothing to set"),
        ("sq@8:bits=4 | 10@8", "nothing to set"),
        ("ivf-pq@8:nprobe=" + "9" * 5000 + " | 10@8", "name=number"),
        ("ivf-pq@8 | " + "9" * 5000 + "@8", "expected 'exact' or a plan"),
        ("flat@٣ | 10@8", "expected 'exact' or a plan"),
    ],
)
def test_what_is_no_plan_is_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidSpec, match=message):
        SearchPlan.parse(text)


@given(st.text(max_size=30))
def test_any_text_is_a_plan_or_refused(text: str) -> None:
    try:
        plan = SearchPlan.parse(text)
    except InvalidSpec:
        return
    assert SearchPlan.parse(str(plan)) == plan


@pytest.mark.parametrize(
    ("index", "probe", "stages"),
    [
        (EXACT, 1, ()),
        (EXACT, 0, (Stage(8, 10),)),
        ("flat@8", 0, ()),
        ("flat@8", 3, (Stage(8, 10),)),
        ("ivf-flat@8", -1, (Stage(8, 10),)),
        ("ivf-flat@8", 0, (Stage(0, 10),)),
        ("ivf-flat@8", 0, (Stage(8, 0),)),
        ("ivf-flat@8", 0, (Stage(-8, -10),)),
    ],
)
def test_plans_made_by_hand_are_checked_too(index: str, probe: int, stages: tuple[Stage, ...]) -> None:
    with pytest.raises(InvalidSpec):
        SearchPlan(index, probe, stages)


def test_a_margin_made_by_hand_is_checked_too() -> None:
    for index, margin, stages in (("hnsw@8", 9, (Stage(8, 10),)), ("ivf-pq@8", -1, (Stage(8, 10),)), (EXACT, 9, ())):
        with pytest.raises(InvalidSpec):
            SearchPlan(index, 0, stages, margin)


def test_reading_a_plan_does_not_load_faiss() -> None:
    code = "import sys, indexers.plan; sys.exit('faiss' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
