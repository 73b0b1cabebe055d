"""Many calls, one version."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from engine.api import Collection
from engine.collection.verify import verify
from indexers.errors import InvalidInput, InvalidVectors, ItemNotFound
from tests.helpers import clustered, index, newest, save

DIM = 8


@pytest.fixture
def root(tmp_path: Path) -> Path:
    index(tmp_path / "c.nest", save(tmp_path / "v.npy", clustered(40, DIM)))
    return tmp_path / "c.nest"


def names(opened: Collection) -> set[str]:
    return {opened.snapshot.item(int(row)).path for row in opened.snapshot.live.numbers}


def test_many_calls_are_one_version(root: Path) -> None:
    before = newest(root).version
    x = clustered(30, DIM, 1)
    with Collection.open(root) as opened:
        with opened.batch() as batch:
            for row, vector in enumerate(x):
                batch.add_vectors([vector], names=[f"b{row}"], captions=[f"caption {row}"], meta=[{"row": row}])
            batch.remove("v.npy#3")
            batch.remove(ids=4)
        assert (batch.summary.added, batch.summary.removed) == (30, 2)
        assert newest(root).version == before + 1
        assert len(opened) == 68
        assert not {"v.npy#3", "v.npy#4"} & names(opened)
        item = opened.search(x[7], k=1).items[0]
        assert (item.path, item.caption, item.meta) == ("b7", "caption 7", {"row": 7})
    assert list(verify(root)) == []


def test_it_is_as_if_the_calls_had_come_one_by_one(root: Path) -> None:
    x = np.eye(DIM, dtype=np.float32)
    with Collection.open(root) as opened:
        kept = opened.snapshot.item(opened.snapshot.find_path("v.npy#5")).id
        with opened.batch() as batch:
            batch.add_vectors(x[:2], names=["a", "b"])
            batch.add_vectors(x[2:4], names=["b", "c"])  # takes the place of the first b
            batch.remove("a")
            batch.add_vectors(np.zeros((1, DIM)), names=["c"])  # fails, and displaces nothing
            batch.remove("v.npy#5")
            batch.add_vectors(x[4:5], names=["v.npy#5"], source="v.npy")
        assert (batch.summary.added, batch.summary.changed, batch.summary.failed) == (2, 1, 1)
        assert "a" not in names(opened)
        for name, vector in (("b", x[2]), ("c", x[3]), ("v.npy#5", x[4])):
            found = opened.search(vector, k=1).items[0]
            assert found.path == name
        assert found.id == kept


def test_an_error_in_the_block_leaves_all_as_it_was(root: Path) -> None:
    before = newest(root)
    with Collection.open(root) as opened:
        with pytest.raises(ZeroDivisionError), opened.batch() as batch:
            batch.add_vectors(np.eye(DIM))
            batch.remove("v.npy#1")
            raise ZeroDivisionError
        assert newest(root) == before


def test_what_cannot_be_meant_is_told_by_the_call(root: Path) -> None:
    with Collection.open(root) as opened, opened.batch() as batch:
        with pytest.raises(ItemNotFound, match="nowhere"):
            batch.remove(["v.npy#1", "nowhere"])
        with pytest.raises(InvalidInput, match="name at least one"):
            batch.remove()
        with pytest.raises(InvalidVectors):
            batch.add_vectors(np.eye(DIM + 1))
    assert newest(root).dead_rows == 0


def test_an_empty_batch_is_no_version(root: Path) -> None:
    before = newest(root)
    with Collection.open(root) as opened, opened.batch():
        pass
    assert newest(root) == before
