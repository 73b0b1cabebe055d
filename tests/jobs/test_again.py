"""Items that become again what they once were, and collections of which little is left."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

import engine
from engine.collection.verify import verify
from tests.helpers import clustered, draw, index

A, B = np.eye(4, dtype=np.float32)[:2]


def test_a_vector_that_is_put_back(tmp_path: Path) -> None:
    """The same shard again would be the same file, with the tombstone of its first life on it."""
    collection = engine.Collection.create(tmp_path / "c", encoder="precomputed", dim=4)
    for vector in (A, B, A, B, A):
        collection.add_vectors(vector[None], names=["x"])
        assert len(collection) == 1
        assert collection.search(vector, k=1).scores[0] > 0.999
    assert not list(verify(tmp_path / "c"))


def test_a_file_whose_time_is_put_back(tmp_path: Path) -> None:
    path = draw(tmp_path / "p/a.png", 0)
    before = path.stat().st_mtime_ns
    for time in (before, 1, before, 1):
        os.utime(path, ns=(time, time))
        index(tmp_path / "c", tmp_path / "p")
        with engine.Collection.open(tmp_path / "c") as collection:
            assert len(collection) == 1


def test_more_cells_than_rows_are_left(tmp_path: Path) -> None:
    x = clustered(300, 8)
    names = [f"n{number}" for number in range(300)]
    collection = engine.Collection.create(tmp_path / "c", encoder="precomputed", dim=8)
    collection.add_vectors(x, names=names)
    collection.build(["ivf-pq@4:nlist=300"])
    collection.remove(names[20:290])
    collection.build()
    assert len(collection.search(x[0], k=50).ids) == 30
    collection.compact()
    assert [entry.spec.key for entry in collection.space.indexes] == ["ivf-pq@4"]
    assert len(collection.search(x[0], k=50).ids) == 30


def test_ids_of_answers_are_ids(tmp_path: Path) -> None:
    collection = engine.Collection.create(tmp_path / "c", encoder="precomputed", dim=8)
    collection.add_vectors(clustered(30, 8), names=[f"{29 - number}" for number in range(30)])
    ids = collection.search(clustered(30, 8)[3], k=3).ids
    assert collection.similar(ids[0], k=2).query == 3
    assert [one.query for one in collection.similar(ids, k=2)] == ids.tolist()
    collection.remove(ids=ids[:2])
    assert len(collection) == 28


def test_a_collection_that_is_refreshed_while_it_answers(tmp_path: Path) -> None:
    """What is left out of its own answers is the item, whatever row it has by then."""
    collection = engine.Collection.create(tmp_path / "c", encoder="precomputed", dim=8, dtype="float32")
    collection.add_vectors(np.eye(8, dtype=np.float32), names=list("abcdefgh"))
    reader = engine.Collection.open(tmp_path / "c")

    class Item(str):
        """A name that lets the collection be compacted in the middle of the question."""

        def __str__(self) -> str:
            if not removed:
                removed.append(True)
                collection.remove(["a"])
                collection.compact()
                reader.refresh()
            return "c"

    removed: list[bool] = []
    for _ in range(2):
        assert "c" not in [item.path for item in reader.similar(Item("c"), k=7).items]
    assert removed
