"""A question is a value: checked when it is made, equal to its like, and answered in one way wherever it comes from."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import FrozenInstanceError, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine import Answers, Collection, Query, Reader, Term
from indexers.errors import CorruptCollection, InvalidInput, InvalidSpec, InvalidVectors, ItemNotFound
from indexers.plan import EXACT, SearchPlan
from tests.conftest import structured

ROWS, D = 300, 16
X = structured(ROWS, D, seed=5)


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collection]:
    root = tmp_path_factory.mktemp("ask") / "c.nest"
    with Collection.create(root, encoder="precomputed", dim=D, dtype="float32") as made:
        made.add_vectors(
            X.xb, names=[f"row-{row}" for row in range(ROWS)], captions=[f"no. {row}" for row in range(ROWS)]
        )
        made.build(["flat@8"])
        yield made


def carried(one: Any) -> Any:
    """To another process and back."""
    return pickle.loads(pickle.dumps(one))  # noqa: S301 - our own


# -- the value -------------------------------------------------------------------------------


def test_it_is_frozen_equal_and_hashable() -> None:
    one = Query((Term.of_text("a dog"), Term.of_item(3, weight=-0.5)), k=5, plan="flat@8 | 20@16")
    assert one == Query([Term("text", "a dog"), Term("item", np.int64(3), -0.5)], 5, SearchPlan.parse("flat@8 | 20@16"))  # type: ignore[arg-type]
    assert hash(one) == hash(replace(one))
    assert one != replace(one, k=6)
    with pytest.raises(FrozenInstanceError):
        one.k = 6  # type: ignore[misc]
    assert carried(one) == one
    vector = Query((Term.of_vector(X.xq[0]),))
    assert vector == Query((Term.of_vector(X.xq[0].tolist()),))
    assert (one.name, vector.name, Query((Term.of_item(Path("a.png")),)).name) == ("a dog - 3", None, "a.png")


@pytest.mark.parametrize(
    "odd",
    [
        *({"k": k} for k in (0, -1, 1.5, "5", None)),
        *({"plan": EXACT, "exact": True}, {"exact": True, "recall": 0.9}, {"plan": EXACT, "recall": 0.5}),
        *({"recall": 0}, {"recall": 2}, {"exact": "no"}, {"dim": "4"}, {"include_self": 1}, {"terms": "a dog"}),
        *({"terms": ["a dog"]}, {"terms": Term.of_text("a dog")}),
    ],
)
def test_odd_ones_are_refused_when_they_are_made(odd: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        Query(**odd)


def test_so_are_odd_terms() -> None:
    for kind, value in (("text", 3), ("item", 2.5), ("item", ""), ("word", "dog"), ("text", None)):
        with pytest.raises(InvalidInput):
            Term(kind, value)  # type: ignore[arg-type]
    for value in (np.ones((2, 3)), "abc", [np.nan], [[1], [1, 2]], []):
        with pytest.raises((InvalidVectors, InvalidInput)):
            Term.of_vector(value)
    for weight in (0, np.nan, np.inf, "1", None, True):
        with pytest.raises(InvalidInput, match="weight"):
            Term.of_text("a", weight=weight)
    with pytest.raises(InvalidSpec):
        Query(plan="nonsense")


# -- one way in --------------------------------------------------------------------------------


def same(one: Answers, other: Answers) -> bool:
    return one.ids.tolist() == other.ids.tolist() and np.allclose(one.scores, other.scores, rtol=0, atol=1e-5)


def test_the_short_ways_ask_the_same(opened: Collection) -> None:
    how: dict[str, Any] = {"k": 7, "plan": "flat@8 | 40@16"}
    assert same(opened.ask(Query((Term.of_vector(X.xq[0]),), **how)), opened.search(X.xq[0], **how))
    assert same(opened.ask(Query((Term.of_item("row-3"),), **how)), opened.similar("row-3", **how))
    with_self = opened.ask(Query((Term.of_item(3),), **how, include_self=True))
    assert same(with_self, opened.similar(3, **how, include_self=True))
    found = opened.ask_all([Query((Term.of_item(row),), **how) for row in (3, 9, 200)])
    assert all(same(one, other) for one, other in zip(found, opened.similar([3, 9, 200], **how), strict=True))
    assert len(opened.ask_all([])) == 0
    told = opened.explain(Query((Term.of_item(3),), **how))
    assert (told.plan, told.k) == ("flat@8 | 40@16", 7)


def test_several_terms_are_one_direction(opened: Collection) -> None:
    """Their unit vectors, by weight; and what is asked with is no answer."""
    terms = Term.of_item(3), Term.of_item(9, weight=2.0), Term.of_vector(5 * X.xq[1], weight=-0.5)
    query = Query(terms, k=20, exact=True)
    wanted = X.xb[3] + 2 * X.xb[9] - 0.5 * X.xq[1]
    found = opened.ask(query)
    assert not {3, 9} & set(found.ids.tolist())
    assert found.query == "3 + 9"
    with_self = opened.ask(replace(query, include_self=True))
    assert same(with_self, opened.search(wanted / np.linalg.norm(wanted), 20, exact=True))
    others = [id for id in with_self.ids.tolist() if id not in (3, 9)]
    assert found.ids.tolist()[: len(others)] == others
    both = opened.ask_all([query, replace(query, terms=(Term.of_vector(X.xq[2]),))])
    assert same(both[0], found)
    assert same(both[1], opened.search(X.xq[2], 20, exact=True))
    unlike = opened.ask(Query((Term.of_vector(X.xq[0], weight=-1),), k=1, exact=True))
    assert unlike.ids[0] == (X.xb @ X.xq[0]).argmin()


def test_what_cannot_be_asked(opened: Collection) -> None:
    with pytest.raises(InvalidInput, match="query 0 has no terms"):
        opened.ask(Query())
    with pytest.raises(InvalidInput, match="differ in their terms and words alone"):
        opened.ask_all([Query((Term.of_item(1),)), Query((Term.of_item(1),), k=3)])
    with pytest.raises(InvalidVectors):
        opened.ask(Query((Term.of_vector(np.ones(D + 1)),)))
    with pytest.raises(InvalidVectors, match="has length zero"):
        opened.ask(Query((Term.of_item(1), Term.of_item(1, weight=-1))))
    with pytest.raises(ItemNotFound):
        opened.ask(Query((Term.of_item(10**6),)))
    for odd in (None, "a dog", [Query()], 3):
        with pytest.raises(InvalidInput):
            opened.ask(odd)  # type: ignore[arg-type]


# -- a reader ----------------------------------------------------------------------------------


def asked_elsewhere(reader: Reader, item: int) -> tuple[int, list[int]]:
    return reader.version, reader.similar(item, 5).ids.tolist()


def test_it_pickles_as_path_version_and_options(tmp_path: Path) -> None:
    with Collection.create(tmp_path / "c.nest", encoder="precomputed", dim=D) as made:
        made.add_vectors(X.xb[:50])
        with Reader.open(tmp_path / "c.nest", search_device="cpu", space="main") as reader:
            made.add_vectors(X.xb[50:60])
            expected = asked_elsewhere(reader, 3)
            assert expected[0] < made.version
            assert len(pickle.dumps(reader)) < 1000
            for again in (carried(reader), copy.copy(reader), copy.deepcopy(reader)):
                with again:
                    assert type(again) is Reader
                    assert asked_elsewhere(again, 3) == expected
                    assert again.refresh()
                    assert again.version == made.version
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
                assert pool.submit(asked_elsewhere, reader, 3).result() == expected
        assert type(carried(made)) is Collection
    with pytest.raises(CorruptCollection, match="has no version 99"):
        Reader.open(tmp_path / "c.nest", version=99)


def test_a_reader_changes_nothing() -> None:
    public = {name for name in dir(Reader) if not name.startswith("_")}
    assert not public & {
        "index",
        "add",
        "add_vectors",
        "build",
        "remove",
        "compact",
        "purge",
        "rollback",
        "tune",
        "use",
    }


def test_what_they_are_is_told_on_one_screen(opened: Collection) -> None:
    told = repr(opened)
    assert told.startswith("<Collection '") and "300 items, version " in told
    assert "space 'main' of 16 dimensions by precomputed" in told
    answers = opened.similar(3, 25)
    lines = repr(answers).split("\n")
    assert lines[0] == "<25 answers to 3>"
    assert lines[-1] == "  … and 15 more"
    assert len(lines) == 12 and all(len(line) < 160 for line in lines)
    assert f"{answers.ids[0]}  row-{answers.ids[0]}  no. {answers.ids[0]}" in lines[1]
    assert repr(opened.similar([3, 9], 4)) == "<answers to 2 queries (3, 9), 4 each>"
    assert repr(opened.search(X.xq[0], 1)).startswith("<1 answer to a vector>")
    assert copy.copy(answers).ids is answers.ids
    again = carried(answers)
    assert again.ids.tolist() == answers.ids.tolist() and again.captions == answers.captions


def test_it_is_told_even_where_files_are_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.collection.tombstones.MOST_DEAD", 0)
    with Collection.create(tmp_path / "c.nest", encoder="precomputed", dim=D) as made:
        made.add_vectors(X.xb[:20])
        made.remove(ids=[3])
    (deletes,) = (tmp_path / "c.nest/deletes").iterdir()
    deletes.chmod(0o644)
    deletes.write_bytes(b"x")
    with Reader.open(tmp_path / "c.nest") as reader:
        assert ": damaged, version " in repr(reader)
