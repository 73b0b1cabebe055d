"""Searches among the items that a filter lets through: exactly those that a scan of them finds."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import engine
from engine.query.ask import Query
from engine.query.terms import Term
from indexers.errors import InvalidFilter, InvalidInput
from tests.conftest import Carried
from tests.helpers import clustered

ROWS, DIM = 3000, 16
X = clustered(ROWS, DIM, 3)
NUMBERS = np.random.default_rng(4).integers(0, 1000, ROWS)


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> engine.Collection:
    """Items in an index, items added later, and some that were removed."""
    root = tmp_path_factory.mktemp("filtered") / "c.nest"
    made = engine.Collection.create(root, encoder="precomputed", dim=DIM, dtype="float32")
    meta = [{"n": int(number), "word": "even" if number % 2 == 0 else "odd"} for number in NUMBERS]
    names = [f"v{row}" for row in range(ROWS)]
    made.add_vectors(X[:2500], names=names[:2500], meta=meta[:2500])
    made.build(["ivf-pq@16", "flat@8"])
    made.add_vectors(X[2500:], names=names[2500:], meta=meta[2500:])
    made.remove(ids=list(range(0, ROWS, 37)))
    return made


def truth(allowed: np.ndarray, q: np.ndarray, k: int) -> list[float]:
    live = np.ones(ROWS, bool)
    live[::37] = False
    scores = np.sort((X @ q / np.linalg.norm(X, axis=1))[allowed & live])[::-1]
    return [round(float(score), 4) for score in scores[:k]]


FILTERS = [
    ("n < 500", NUMBERS < 500),
    ("n < 100 AND word = 'even'", (NUMBERS < 100) & (NUMBERS % 2 == 0)),
    ("n = 7", NUMBERS == 7),
    ("n IN (1, 2, 3)", np.isin(NUMBERS, [1, 2, 3])),
    ("NOT word = 'odd'", NUMBERS % 2 == 0),
    ("n < 0", NUMBERS < 0),
    ("id >= 2400", np.arange(ROWS) >= 2400),
    ("TRUE", np.ones(ROWS, bool)),
]


@pytest.mark.parametrize(("where", "allowed"), FILTERS)
@pytest.mark.parametrize("k", [1, 10, 400])
def test_it_is_brute_force_over_the_matching_rows(
    opened: engine.Collection, where: str, allowed: np.ndarray, k: int
) -> None:
    queries = np.random.default_rng(k).normal(size=(3, DIM)).astype(np.float32)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    for q in queries:
        answers = opened.search(q, k, where=where)
        assert [round(float(score), 4) for score in answers.scores] == pytest.approx(truth(allowed, q, k), abs=2e-4)
        assert all(allowed[item] for item in answers.ids)
    both = opened.search(queries, k, where=where)
    assert both.ids.shape == (3, min(k, int((allowed & (np.arange(ROWS) % 37 != 0)).sum())))


def test_a_plan_of_ones_own_sees_the_filter_too(opened: engine.Collection) -> None:
    for plan in ("ivf-pq@16:nprobe=2 | 50@16", "flat@8 | 100@16", "exact"):
        answers = opened.search(X[1], 10, plan=plan, where="n < 30")
        assert len(answers) == 10
        assert all(NUMBERS[item] < 30 for item in answers.ids)


def test_an_item_is_not_its_own_answer_under_a_filter(opened: engine.Collection) -> None:
    answers = opened.similar(5, 3, where=f"n = {NUMBERS[5]}")
    assert 5 not in answers.ids
    assert opened.similar(5, 1, where=f"n = {NUMBERS[5]}", include_self=True).ids.tolist() == [5]
    two = Query((Term.of_item(5), Term.of_item(6)), 5, where="n >= 0")
    assert not {5, 6} & {*opened.ask(two).ids.tolist()}


def test_a_recall_that_was_promised_is_kept_under_a_filter(opened: engine.Collection) -> None:
    """A curve of the whole says nothing of a part: the search is exact."""
    found = opened.search(X[1], 10, recall=0.5, where="n < 40")
    assert found.ids.tolist() == opened.search(X[1], 10, exact=True, where="n < 40").ids.tolist()


def test_rows_that_come_later_see_it(tmp_path: Path) -> None:
    with engine.Collection.create(tmp_path / "c.nest", encoder="precomputed", dim=4) as opened:
        opened.add_vectors(np.eye(4)[:2], names=["a", "b"], meta=[{"n": 1}, {"n": 2}])
        assert opened.matching("n = 1").tolist() == [0]
        opened.add_vectors(np.eye(4)[2:3], names=["c"], meta=[{"n": 1}])
        assert opened.matching("n = 1").tolist() == [0, 2]
        assert sorted(opened.search(np.ones(4), 9, where="n = 1").ids.tolist()) == [0, 2]
        opened.remove(["a"])
        assert opened.matching("n = 1").tolist() == [2]


def test_json_and_text_are_the_same_question(opened: engine.Collection) -> None:
    tree = {"<": [{"column": "n"}, 500]}
    assert opened.search(X[1], 5, where=tree).ids.tolist() == opened.search(X[1], 5, where="n < 500").ids.tolist()
    assert Query(where="n<500").filter.digest == Query(where=tree).filter.digest  # type: ignore[union-attr]


@pytest.mark.parametrize("wrong", ["n <", "m = 1", 5, {"or": 1}, "n = 'x'"])
def test_what_is_no_filter_is_refused(opened: engine.Collection, wrong: object) -> None:
    with pytest.raises(InvalidFilter):
        opened.search(X[1], 5, where=wrong)
    with pytest.raises(InvalidFilter):
        opened.matching(wrong)


def test_it_is_explained(opened: engine.Collection) -> None:
    found = opened.explain(X[1], 5, where="n < 500")
    assert (found.plan, found.recall, found.rows) == ("exact", 1.0, len(opened.matching("n < 500")))
    staged = opened.explain(X[1], 5, plan="flat@8 | 100@16", where="n < 500")
    assert [step.name for step in staged.steps] == ["flat@8", "rerank@16"]
    with pytest.raises(InvalidInput, match="no item through"):
        opened.explain(X[1], 5, where="n < 0")


def test_the_command_filters(opened: engine.Collection, carried_out: Carried, tmp_path: Path) -> None:
    np.save(tmp_path / "q.npy", X[1])
    root = opened.root
    done = carried_out("search", root, "--vectors", "q.npy", "--where", "n < 50", "-k", "5", "--json", cwd=tmp_path)
    assert all(one["meta"]["n"] < 50 for one in json.loads(done.stdout)["results"])
    done = carried_out("similar", root, "5", "--where", "n < 0", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "")
    assert "no item matches" in done.stderr
    done = carried_out("explain", root, "5", "--item", "--where", "n < 50", cwd=tmp_path)
    assert "exact" in done.stdout
    done = carried_out("similar", root, "5", "--where", "m < 50", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].strip() == "^"


def test_what_matches_is_taken_out(tmp_path: Path, carried_out: Carried) -> None:
    root = tmp_path / "c.nest"
    with engine.Collection.create(root, encoder="precomputed", dim=4) as opened:
        opened.add_vectors(np.eye(4), names=[*"abcd"], meta=[{"n": row} for row in range(4)])
        assert opened.remove(where="n > 2").removed == 1
        assert opened.remove(where="n > 2").removed == 0
        assert opened.remove(["a"], where="n = 1").removed == 2
        with pytest.raises(InvalidFilter):
            opened.remove(where="m > 2")
        assert [opened.snapshot.item(int(row)).path for row in opened.snapshot.live.numbers] == ["c"]
        summary, held = opened.purge(where="n = 17")
        assert (summary.removed, held) == (0, ())
    done = carried_out("remove", root, "--where", "n = 17", cwd=tmp_path)
    assert (done.returncode, "no item matches" in done.stdout + done.stderr) == (0, True)
    done = carried_out("remove", root, "--where", "n = 2", "--json", cwd=tmp_path)
    assert json.loads(done.stdout)["removed"] == 1
