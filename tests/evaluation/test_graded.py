"""Our figures equal those of ir-measures, which runs trec_eval's own code."""

from __future__ import annotations

from typing import Any

import ir_measures
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.evaluation.graded import MEASURES, measure, ranked

THEIRS = {
    "nDCG@10": ir_measures.nDCG @ 10,
    "MAP": ir_measures.AP,
    "recall@10": ir_measures.R @ 10,
    "recall@100": ir_measures.R @ 100,
    "P@10": ir_measures.P @ 10,
}
QUERIES = st.sampled_from(["q1", "q2", "q3", "4", "absent"])
DOCUMENTS = st.sampled_from([f"d{n}" for n in range(30)] + ["é", "D", "10", "9"])
# Few scores, so that many tie; two that differ in 64 bits and not in 32.
SCORES = st.sampled_from([-1.5, 0.0, 0.1, 0.1 + 1e-12, 0.5, 1.0, 1.0 + 1e-10, 3.0])
QRELS = st.dictionaries(
    QUERIES, st.dictionaries(DOCUMENTS, st.integers(-1, 3), min_size=1, max_size=25), min_size=1, max_size=4
)
RUNS = st.dictionaries(QUERIES, st.dictionaries(DOCUMENTS, SCORES, min_size=1, max_size=34), min_size=1, max_size=5)


@settings(max_examples=300, deadline=None)
@given(QRELS, RUNS)
def test_equal_to_ir_measures(qrels: dict[str, dict[str, int]], run: dict[str, dict[str, float]]) -> None:
    ours = measure(run, qrels)
    for name, theirs in THEIRS.items():
        expected = {one.query_id: one.value for one in ir_measures.iter_calc([theirs], qrels, run)}
        found = dict(zip(qrels, ours[name], strict=True))
        assert found == pytest.approx({query: expected.get(query, 0.0) for query in qrels}), name
        mean = ir_measures.calc_aggregate([theirs], qrels, run)[theirs]
        assert np.mean(ours[name]) == pytest.approx(mean), name


@settings(max_examples=200, deadline=None)
@given(QRELS, RUNS)
def test_the_reciprocal_rank_is_that_of_trec_eval_cut_at_ten(qrels: Any, run: Any) -> None:
    # ir-measures computes RR@10 with the code of MS MARCO, which breaks ties the other way than trec_eval;
    # the uncut RR comes from trec_eval.
    whole = {one.query_id: one.value for one in ir_measures.iter_calc([ir_measures.RR], qrels, run)}
    expected = [value if (value := whole.get(query, 0.0)) >= 0.1 - 1e-9 else 0.0 for query in qrels]
    assert measure(run, qrels)["MRR@10"] == pytest.approx(expected)


@settings(max_examples=100, deadline=None)
@given(QRELS, st.dictionaries(QUERIES, st.permutations([f"d{n}" for n in range(15)]), min_size=1))
def test_without_ties_it_is_theirs_as_it_is(qrels: Any, orders: dict[str, list[str]]) -> None:
    run = {query: {name: 100.0 - at for at, name in enumerate(order)} for query, order in orders.items()}
    expected = ir_measures.calc_aggregate([ir_measures.RR @ 10], qrels, run)[ir_measures.RR @ 10]
    assert np.mean(measure(run, qrels)["MRR@10"]) == pytest.approx(expected)


def test_a_case_by_hand() -> None:
    found = measure({"q": {"a": 3.0, "b": 2.0, "c": 1.0}}, {"q": {"b": 2, "c": 1, "d": 1}})
    ideal = 2 + 1 / np.log2(3) + 1 / 2
    assert {name: values[0] for name, values in found.items()} == pytest.approx(
        {
            "nDCG@10": (2 / np.log2(3) + 1 / 2) / ideal,
            "MAP": (1 / 2 + 2 / 3) / 3,
            "MRR@10": 1 / 2,
            "recall@10": 2 / 3,
            "recall@100": 2 / 3,
            "P@10": 2 / 10,
        }
    )
    assert list(found) == list(MEASURES)


def test_ties_go_by_name_from_the_last() -> None:
    assert ranked({"a": 1.0, "c": 1.0, "b": 1.0 + 1e-12, "z": 0.0}) == ["c", "b", "a", "z"]
