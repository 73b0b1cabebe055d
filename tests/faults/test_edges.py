"""What is no vector, no query and no number of answers: refused, or handled as docs/reliability.md says.

Under `python -O` as well: none of it may hang on an assert.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.api import Collection
from engine.jobs.tune import TuneOptions
from indexers.errors import InvalidInput, InvalidVectors, NestvecError
from tests.faults.states import assert_sound
from tests.helpers import clustered, nestvec, save

DIM = 4
COMPONENTS = st.one_of(
    st.floats(-2, 2, width=32),
    st.sampled_from([0.0, -0.0, np.nan, np.inf, -np.inf, 1e-40, 3e38, 1e-20]),
)
ROWS = st.lists(st.lists(COMPONENTS, min_size=DIM, max_size=DIM), max_size=6)


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Collection:
    root = tmp_path_factory.mktemp("edges") / "c.nest"
    collection = Collection.create(root, encoder="precomputed", dim=DIM, dtype="float32", device="cpu")
    collection.add_vectors(clustered(30, DIM), names=[f"{i}" for i in range(30)])
    collection.build(["flat@2"])
    return collection


def has_direction(row: list[float]) -> bool:
    """Whether a row can be normalised."""
    values = np.array(row, np.float32)
    return bool(np.isfinite(values).all() and np.linalg.norm(values.astype(np.float64)) > 0)


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(rows=ROWS)
def test_rows_without_a_direction_cost_a_line_of_the_report(opened: Collection, rows: list[list[float]]) -> None:
    before = len(opened)
    names = [f"version {opened.version}, row {number}" for number in range(len(rows))]
    summary = opened.add_vectors(np.array(rows, np.float32).reshape(-1, DIM), names=names, source="odd")
    clear = [row for row in rows if has_direction(row)]
    assert (summary.added, summary.failed) == (len(clear), len(rows) - len(clear))
    for scores in opened.search(np.eye(DIM, dtype=np.float32), 50, exact=True):
        assert np.isfinite(scores.scores).all()
    if summary.added:
        opened.remove(ids=[int(one) for one in opened.snapshot.ids[-summary.added :]])
    assert len(opened) == before


@settings(max_examples=80, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(rows=ROWS, k=st.integers(-2, 70), exact=st.booleans())
def test_queries_are_answered_or_refused(opened: Collection, rows: list[list[float]], k: int, exact: bool) -> None:
    xq = np.array(rows, np.float32).reshape(-1, DIM)
    try:
        found = opened.search(xq, k, exact=exact)
    except InvalidInput as error:
        wrong = k < 1 or not all(map(has_direction, rows)) or any(np.linalg.norm(row) < 1e-6 for row in rows)
        assert wrong, error
        return
    assert k >= 1
    assert len(found) == len(rows)
    for answers in found:
        assert len(answers.ids) == min(k, len(opened)) == len(set(answers.ids.tolist()))
        assert np.isfinite(answers.scores).all()


ODD: list[Any] = [
    np.zeros((2, DIM), complex),
    np.array([["a"] * DIM]),
    np.zeros((1, 1, DIM)),
    np.zeros((2, DIM + 1)),
    np.zeros((2, 0)),
    np.float32(1.0),
    np.array([[None] * DIM]),
    "",
    "   ",
    [1, "two"],
    {"a": 1},
    None,
]


@pytest.mark.parametrize("query", ODD, ids=lambda one: type(one).__name__)
def test_what_is_no_query_is_refused(opened: Collection, query: Any) -> None:
    with pytest.raises(NestvecError):
        opened.search(query)


@pytest.mark.parametrize("k", [0, -1, 1.5, "3", None, 1 << 70, True])
def test_what_is_no_number_of_answers_is_refused(opened: Collection, k: Any) -> None:
    with pytest.raises(InvalidInput):
        opened.search(np.eye(DIM)[0], k)


def test_of_no_queries_there_are_no_answers(opened: Collection) -> None:
    for answers in (opened.search(np.empty((0, DIM), np.float32)), opened.search([]), opened.similar([])):
        assert len(answers) == 0 and list(answers) == []


def test_an_empty_collection_answers_nothing(tmp_path: Path) -> None:
    with Collection.create(tmp_path / "c.nest", encoder="precomputed", dim=DIM, device="cpu") as empty:
        for exact in (True, False):
            assert len(empty.search(np.eye(DIM)[0], 5, exact=exact)) == 0
        assert empty.compact().version >= 1
        assert empty.build().version >= 1
        with pytest.raises(InvalidInput):
            empty.tune(TuneOptions())
    assert_sound(tmp_path / "c.nest")


def test_of_rows_of_the_same_name_the_first_is_taken(opened: Collection) -> None:
    summary = opened.add_vectors(clustered(2, DIM), names=["same", "same"])
    assert (summary.added, summary.failed) == (1, 1)
    assert opened.remove(["same"]).removed == 1


def test_vectors_of_another_dimension_or_kind_are_refused(opened: Collection, tmp_path: Path) -> None:
    with pytest.raises(InvalidVectors):
        opened.add_vectors(clustered(2, DIM + 1))
    with pytest.raises(InvalidVectors):
        opened.add_vectors(np.zeros((2, DIM), complex))
    done = nestvec("add", opened.root, save(tmp_path / "v.npy", clustered(3, DIM + 1)))
    assert done.returncode == 1
    assert b"dimensions" in done.stderr
