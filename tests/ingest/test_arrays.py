"""Vectors handed over in memory: `Collection.add_vectors`."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.api import Collection
from engine.collection.changes import reserve
from engine.collection.commit import commit
from engine.collection.describe import list_failures
from engine.collection.manifest import Source
from indexers.errors import InvalidInput, InvalidVectors
from tests.helpers import clustered

X = clustered(30, 8)


@pytest.fixture
def opened(tmp_path: Path) -> Any:
    with Collection.create(tmp_path / "c.nest", encoder="precomputed", dim=8) as collection:
        yield collection


def test_rows_are_found_by_their_names(opened: Collection) -> None:
    summary = opened.add_vectors(X[:3], names=["a", "b", "c"], captions=["x", None, "z"], meta=[{"n": 1}, {}, {"n": 3}])
    assert (summary.added, len(opened)) == (3, 3)
    answers = opened.search(X[0], k=3)
    assert answers.items[0].path == "a"
    assert {item.path: (item.caption, item.meta) for item in answers.items} == {
        **{"a": ("x", {"n": 1}), "b": (None, {"n": None}), "c": ("z", {"n": 3})},
    }


def test_a_name_that_is_there_is_replaced(opened: Collection) -> None:
    opened.add_vectors(X[:3], names=["a", "b", "c"])
    first = opened.search(X[1], k=1)
    summary = opened.add_vectors(X[7:8], names=["b"])
    assert (summary.changed, summary.added, len(opened)) == (1, 0, 3)
    again = opened.search(X[7], k=1)
    assert (again.uris, again.ids.tolist()) == (["b"], first.ids.tolist())
    assert opened.add_vectors(X[7:8], names=["b"]).unchanged == 1


def test_without_names_the_same_vector_is_the_same_item(opened: Collection) -> None:
    assert opened.add_vectors(X[:5]).added == 5
    summary = opened.add_vectors(X[3:8])
    assert (summary.unchanged, summary.added) == (2, 3)


def test_nothing_is_removed_and_only_own_failures_are_replaced(opened: Collection) -> None:
    bad = np.zeros((2, 8))
    assert opened.add_vectors(bad, names=["a", "b"]).failed == 2
    assert opened.add_vectors(X[:2], names=["b", "c"]).added == 2
    assert [row["path"] for row in list_failures(opened.root)] == ["a"]
    assert len(opened) == 2


def test_any_real_matrix_is_taken(opened: Collection) -> None:
    whole = np.round(X[:4] * 100)
    for number, given in enumerate((whole.astype(np.int8), whole.tolist(), np.asfortranarray(whole), whole[::2])):
        opened.add_vectors(given, source=f"s{number}")
    assert len(opened) == 14
    assert opened.add_vectors(np.empty((0, 8))).added == 0


@pytest.mark.parametrize("wrong", [X[0], X[:, :4], X[:2].astype(complex), [["a"] * 8], X[None]])
def test_what_is_no_matrix_of_that_dimension(opened: Collection, wrong: Any) -> None:
    with pytest.raises(InvalidVectors, match=r"expected numbers of shape \[n, 8\]"):
        opened.add_vectors(wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        *({"names": ["a"]}, {"captions": []}, {"meta": [{}]}, {"names": [1, 2]}, {"names": ["a", "\ud800"]}),
        *({"captions": [b"x", None]}, {"source": "\ud800"}, {"meta": [{"\ud800": 1}, {}]}),
    ],
)
def test_what_does_not_lie_beside_the_rows(opened: Collection, wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput):
        opened.add_vectors(X[:2], **wrong)
    assert len(opened) == 0


def test_columns_of_any_type(opened: Collection) -> None:
    odd = {"when": datetime.date(2020, 1, 2), "list": [1, 2], "nan": float("nan"), "none": None, "np": np.int16(3)}
    opened.add_vectors(X[:2], names=["a", "b"], meta=[{**odd, 5: "key"}, {"list": "text"}])
    found = opened.search(X[0], k=1).items[0].meta
    assert np.isnan(found.pop("nan"))
    assert found == {"when": datetime.date(2020, 1, 2), "list": "[1, 2]", "np": 3, "5": "key"}
    opened.add_vectors(X[2:4], names=["c", "d"], meta=[{"np": 2.5}, {"list": 7}])
    opened.build()
    nothing = dict.fromkeys(["when", "list", "nan", "np", "5"])
    assert opened.search(X[2], k=1).items[0].meta == {**nothing, "np": 2.5}
    assert opened.search(X[3], k=1).items[0].meta == {**nothing, "list": "7"}
    assert opened.search(X[0], k=1).items[0].meta["np"] == 3


def test_names_are_those_of_their_source(opened: Collection) -> None:
    opened.add_vectors(X[:1], names=["a"], source="one")
    opened.add_vectors(X[1:2], names=["a"], source="two")
    assert len(opened) == 2
    assert {item.source for item in opened.search(X[0], k=2).items} == {"one", "two"}


def test_a_source_of_pictures_cannot_be_taken_over(opened: Collection) -> None:
    pictures = Source("photos", "folder", "/photos")
    change, _ = reserve(opened.root, [pictures], 0, opened.snapshot.manifest)
    commit(opened.root, change, operation="reserve")
    opened.refresh()
    with pytest.raises(InvalidInput, match="'photos' is a source of pictures"):
        opened.add_vectors(X[:1], source="photos")
    assert opened.add_vectors(X[:1], source="other").added == 1
    assert opened.snapshot.manifest.sources[0] == pictures
