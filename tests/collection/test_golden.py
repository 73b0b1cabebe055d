"""Collections of every format there ever was still open, verify and search."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from engine.api import Collection
from engine.collection.describe import describe, list_failures
from engine.collection.verify import verify
from tests.golden.make import LATER, TURN, VECTORS

GOLDEN = Path(__file__).parents[1] / "golden" / "format-1" / "compass"


@pytest.fixture
def golden(tmp_path: Path) -> Path:
    """A copy: what is checked in is never written to."""
    return Path(shutil.copytree(GOLDEN, tmp_path / "compass"))


def test_it_is_whole(golden: Path) -> None:
    assert list(verify(golden)) == []
    found = describe(golden)
    assert (found["items"], found["deleted"], found["failures"], found["shards"]) == (7, 1, 1, 2)
    assert [failure["path"] for failure in list_failures(golden)] == ["zero"]


def test_it_is_searched_by_index_and_exactly(golden: Path) -> None:
    with Collection.open(golden) as opened:
        assert [str(index.spec) for index in opened.space.indexes] == ["flat@2"]
        for plan in ("exact", "flat@2 | 5@4"):
            answers = opened.search(np.array([0.8, 0.6, 0, 0]), k=2, plan=plan)
            assert answers.uris == ["north-east", "caf\u00e9 %41.jpg"]
            np.testing.assert_allclose(answers.scores, [1.0, 0.96], atol=1e-3)


def test_its_items_are_known(golden: Path) -> None:
    with Collection.open(golden) as opened:
        snapshot = opened.snapshot
        item = snapshot.item(snapshot.find_path("caf\u00e9 %41.jpg"))
        assert (item.caption, item.meta) == ("a caf\u00e9", {"rating": 1.0, "place": "Lyon"})
        assert snapshot.item(snapshot.find_path("north")).meta == {"rating": 5.0, "place": None}
        assert snapshot.ids.tolist() == list(range(8))


def test_it_can_be_added_to(golden: Path) -> None:
    with Collection.open(golden) as opened:
        summary = opened.add_vectors(VECTORS[:1], names=["again"], source="new")
        assert (summary.added, len(opened)) == (1, 8)
        assert opened.search(VECTORS[0], k=2).uris == ["north", "again"]
        assert opened.snapshot.ids[-1] >= 8
        opened.compact()
        assert [str(index.spec) for index in opened.space.indexes] == ["flat@2"]
        assert opened.search(LATER[0], k=1).uris == ["t"]


# -- with a head -------------------------------------------------------------------------------


@pytest.fixture
def nested(tmp_path: Path) -> Path:
    return Path(shutil.copytree(GOLDEN.with_name("nested"), tmp_path / "moved" / "nested"))


def test_a_collection_with_a_head_is_whole_and_searched_through_it(nested: Path) -> None:
    assert list(verify(nested)) == []
    with Collection.open(nested) as opened:
        assert (opened.space_name, opened.space.base, len(opened)) == ("turned", "main", 8)
        assert [str(index.spec) for index in opened.space.indexes] == ["flat@2"]
        query = TURN @ np.array([0.8, 0.6, 0, 0], np.float32)
        for plan in ("exact", "flat@2 | 5@4"):
            answers = opened.search(query, k=3, plan=plan)
            assert set(answers.uris[:2]) == {"after", "north-east"}
            np.testing.assert_allclose(answers.scores, [1.0, 1.0, 0.96], atol=1e-3)
        assert set(opened.similar("after", k=1).uris) == {"north-east"}


def test_a_collection_with_a_head_goes_on(nested: Path) -> None:
    with Collection.open(nested) as opened:
        opened.add_vectors(VECTORS[1:2], names=["east again"], source="new")
        assert opened.search(TURN @ VECTORS[1], k=1).uris == ["east again"]
        opened.compact()
        assert opened.search(TURN @ VECTORS[1], k=1).uris == ["east again"]
        assert opened.space.plans[0].recall.keys() == {"items", "shifted"}
    assert list(verify(nested)) == []
