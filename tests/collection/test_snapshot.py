"""A pinned version: items by number, id and path, and none that was deleted."""

from __future__ import annotations

import fcntl
import os
import shutil
import timeit
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.api import Collection
from engine.collection.manifest import Manifest
from engine.collection.snapshot import Snapshot
from engine.collection.tombstones import tombstones_of
from engine.jobs.remove import remove
from indexers.errors import CorruptCollection, ItemNotFound, NotACollection
from indexers.vectors import IdArray
from tests.helpers import clustered, flip_bit, vectors_collection


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Sixty rows in an index, five after it, two removed."""
    path = vectors_collection(tmp_path)
    with Collection.open(path) as opened:
        names = ["plain", "caf\u00e9.jpg", "caf%E9.jpg", "50%41.jpg", "50%2541.jpg"]
        opened.add_vectors(clustered(5, 8, 1), names=names, captions=["a", "b", None, "d", "e"], source="api")
        opened.remove(["v.npy#3", "plain"])
    return path


def test_rows_and_live_rows(root: Path) -> None:
    with Snapshot.open(root) as snapshot:
        assert (snapshot.rows, snapshot.live_rows) == (65, 63)
        assert snapshot.deleted.tolist() == [3, 60]
        assert snapshot.ids.tolist() == list(range(65))
        assert snapshot.shard_starts.tolist() == [0, 60, 65]
        shards = [ref.path for ref in snapshot.manifest.items]
        assert tombstones_of(root, snapshot.manifest) == {(shards[0], 3), (shards[1], 0)}
        assert np.flatnonzero(~snapshot.live.allowed).tolist() == [3, 60]
        assert [snapshot.locate(row)[1] for row in (0, 59, 60, 64)] == [0, 59, 0, 4]


def test_items_by_number(root: Path) -> None:
    with Snapshot.open(root) as snapshot:
        item = snapshot.item(61)
        assert (item.id, item.uri, item.source, item.path) == (61, "caf\u00e9.jpg", "api", "caf\u00e9.jpg")
        assert (item.caption, item.width, item.height, item.meta) == ("b", 0, 0, {})


def test_items_by_id(root: Path) -> None:
    with Snapshot.open(root) as snapshot:
        assert snapshot.find_id(61) == 61
        for gone in (3, 60, 65, -1, 1 << 70):
            with pytest.raises(ItemNotFound, match=str(gone)):
                snapshot.find_id(gone)


def snapshot_of(ids: Sequence[int] | IdArray, deleted: set[int]) -> Snapshot:
    """A version of these rows, without files."""
    snapshot = Snapshot.draft(Path("nowhere"), Manifest())
    snapshot.__dict__["ids"] = np.array(ids, dtype=np.int64)
    snapshot.__dict__["deleted"] = np.array(sorted(deleted), dtype=np.int64)
    return snapshot


@given(data=st.data(), ids=st.lists(st.integers(0, 9), max_size=12), ascending=st.booleans())
def test_an_id_is_that_of_its_first_living_row(data: st.DataObject, ids: list[int], ascending: bool) -> None:
    """Whatever order ids are in, and in however many rows one is."""
    ids = sorted(ids) if ascending else ids
    deleted = data.draw(st.sets(st.integers(0, len(ids) - 1))) if ids else set()
    snapshot = snapshot_of(ids, deleted)
    for wanted in (*range(-1, 11), -(1 << 70), 1 << 70):
        rows = [row for row, id in enumerate(ids) if id == wanted and row not in deleted]
        if rows:
            assert snapshot.find_id(wanted) == rows[0]
        else:
            with pytest.raises(ItemNotFound, match=f"no item with id {wanted} in nowhere"):
                snapshot.find_id(wanted)


@pytest.mark.parametrize("turned", [0, 7], ids=["ascending", "in another order"])
def test_an_id_is_found_without_looking_at_every_row(turned: int) -> None:
    """After the first, a hundred take less than it takes to look at all ten times."""
    ids = np.roll(np.arange(4_000_000), turned)
    snapshot = snapshot_of(ids, {5})
    wanted = range(100, 4_000_000, 40_000)
    assert [snapshot.find_id(one) for one in wanted] == [one + turned for one in wanted]
    halving = min(timeit.repeat(lambda: [snapshot.find_id(one) for one in wanted], number=1, repeat=5))
    assert halving < 10 * min(timeit.repeat(lambda: ids == 100, number=1, repeat=5))


@pytest.mark.parametrize(
    ("asked", "row"),
    [
        ("v.npy#0", 0),
        ("caf\u00e9.jpg", 61),
        ("caf\udce9.jpg", 62),  # as the file system knows it
        ("caf%E9.jpg", 62),  # as it is printed
        ("50%41.jpg", 63),  # as it is stored, which goes before what the file would be called
        ("50%2541.jpg", 64),
        ("./v.npy#0", 0),
    ],
)
def test_items_by_path(root: Path, asked: str, row: int) -> None:
    with Snapshot.open(root) as snapshot:
        assert snapshot.find_path(asked) == row


@pytest.mark.parametrize("asked", ["v.npy#3", "plain", "nothing", "", "a\0b", "\ud800", "../v.npy#0"])
def test_paths_that_are_not_there(root: Path, asked: str) -> None:
    with Snapshot.open(root) as snapshot, pytest.raises(ItemNotFound, match="is not in"):
        snapshot.find_path(asked)


def test_an_open_version_stays_as_it_is(root: Path) -> None:
    with Snapshot.open(root) as before:
        remove(root, ["v.npy#5"])
        assert before.find_path("v.npy#5") == 5
        with Snapshot.open(root) as after, pytest.raises(ItemNotFound):
            after.find_path("v.npy#5")
        with Snapshot.open(root, before.manifest.version) as again:
            assert again.find_path("v.npy#5") == 5


def test_a_version_is_pinned_while_it_is_open(root: Path) -> None:
    snapshot = Snapshot.open(root)
    other = os.open(root / f"versions/{snapshot.manifest.version:010d}.json", os.O_RDONLY)
    with pytest.raises(BlockingIOError):
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    snapshot.close()
    snapshot.close()
    fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(other)


def test_a_collection_can_be_moved(root: Path, tmp_path: Path) -> None:
    moved = Path(shutil.move(root, tmp_path / "elsewhere.nest"))
    with Snapshot.open(moved) as snapshot:
        assert snapshot.item(0).path == "v.npy#0"


def test_what_is_not_there(tmp_path: Path, root: Path) -> None:
    with pytest.raises(NotACollection):
        Snapshot.open(tmp_path / "nothing")
    with pytest.raises(CorruptCollection, match="has no version 99"):
        Snapshot.open(root, 99)


def test_tombstones_must_point_at_something(root: Path) -> None:
    with Snapshot.open(root) as snapshot:
        orphaned = Snapshot.draft(root, snapshot.manifest)
        object.__setattr__(orphaned.manifest, "items", snapshot.manifest.items[:1])
        with pytest.raises(CorruptCollection, match="not listed"):
            _ = orphaned.deleted


def test_a_damaged_shard_is_noticed_before_it_is_read(root: Path) -> None:
    with Snapshot.open(root) as snapshot:
        ref = snapshot.manifest.space().embeddings[1]
        flip_bit(root / ref.path, 100)
        stored = snapshot.stored_vectors("main")
        ids, rows = next(stored)
        assert (len(ids), rows.shape) == (60, (60, 8))
        with pytest.raises(CorruptCollection, match="hash does not match"):
            next(stored)


def test_vectors_come_in_the_order_of_the_items(root: Path) -> None:
    with Snapshot.open(root) as snapshot:
        rows = np.concatenate(list(snapshot.vectors("main")))
        np.testing.assert_allclose(rows[:60], clustered(60, 8), atol=1e-3)
        np.testing.assert_allclose(rows[60:], clustered(5, 8, 1), atol=1e-3)
        assert len(np.concatenate(list(snapshot.vectors("main", stop=1)))) == 60
