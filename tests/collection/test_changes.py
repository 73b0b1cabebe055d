"""Which changes survive another one that came first: the table in `commit`, row by row."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.api import Collection
from engine.collection import changes, tombstones
from engine.collection.commit import commit
from engine.collection.describe import list_failures
from engine.collection.failures import Failure, record_failures
from engine.collection.manifest import Manifest, Source
from engine.collection.snapshot import Snapshot
from engine.jobs.build import BuildOptions, build_space
from engine.jobs.compact import compact
from engine.jobs.remove import remove
from engine.progress import Silent
from indexers.errors import CommitConflict
from tests.helpers import clustered, index, newest, save, vectors_collection


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return vectors_collection(tmp_path)


def add_elsewhere(root: Path, tmp_path: Path, name: str = "w.npy", seed: int = 1) -> None:
    index(root, save(tmp_path / name, clustered(7, 8, seed)), add=True)


def appending(root: Path, path: str, on: Manifest) -> changes.Change:
    """A shard with one row called `path`, prepared on a version."""
    import numpy as np

    from engine.collection.shards import write_embeddings, write_table
    from engine.ingest.entries import Entry
    from engine.ingest.writer import Pending, Row

    pending = Pending(np.dtype("float32"))
    entry = Entry("v.npy", path)
    pending.add(Row(entry, 10_000, "b3:" + "0" * 32, 0, 0, clustered(1, 8, 3)[0]))
    items = write_table(root, "items", pending.items.table())
    embeddings = write_embeddings(root, "main", np.array([10_000]), clustered(1, 8, 3), "float16")
    return changes.append(root, items, {"main": embeddings}, {entry.key}, on)


# -- appends -------------------------------------------------------------------------------


def test_an_append_goes_after_another_append(root: Path, tmp_path: Path) -> None:
    change = appending(root, "new", newest(root))
    add_elsewhere(root, tmp_path)
    assert commit(root, change, operation="add").rows == 60 + 7 + 1


def test_an_append_of_the_same_item_is_refused(root: Path) -> None:
    on = newest(root)
    commit(root, appending(root, "new", on), operation="add")
    with pytest.raises(CommitConflict, match="another process is indexing the same files"):
        commit(root, appending(root, "new", on), operation="add")


def test_an_append_survives_a_compaction(root: Path) -> None:
    change = appending(root, "new", newest(root))
    remove(root, ["v.npy#0"])
    compact(root)
    assert commit(root, change, operation="add").rows == 60


# -- tombstones ----------------------------------------------------------------------------


def test_tombstones_add_up(root: Path) -> None:
    shard = newest(root).items[0].path
    one, other = tombstones.bury(root, [(shard, 1), (shard, 2)]), tombstones.bury(root, [(shard, 2), (shard, 5)])
    commit(root, one, operation="remove")
    commit(root, other, operation="remove")
    with Snapshot.open(root) as snapshot:
        assert snapshot.deleted.tolist() == [1, 2, 5]
        assert snapshot.manifest.dead_rows == 3


def test_burying_what_is_buried_is_no_version(root: Path) -> None:
    shard = newest(root).items[0].path
    done = commit(root, tombstones.bury(root, [(shard, 1)]), operation="remove")
    assert commit(root, tombstones.bury(root, [(shard, 1)]), operation="remove") == done
    assert commit(root, tombstones.bury(root, []), operation="remove") == done


def test_tombstones_into_compacted_shards_are_refused(root: Path) -> None:
    change = tombstones.bury(root, [(newest(root).items[0].path, 1)])
    remove(root, ["v.npy#0"])
    compact(root)
    with pytest.raises(CommitConflict, match="compacted meanwhile"):
        commit(root, change, operation="remove")


# -- ids and sources -----------------------------------------------------------------------


def test_reservations_add_up(root: Path) -> None:
    on = newest(root)
    blocks = [changes.reserve(root, [Source(f"s{n}", "folder", f"/{n}")], 10, on) for n in range(3)]
    for change, _ in blocks:
        commit(root, change, operation="reserve")
    assert [first for _, first in blocks] == [[on.next_id], [on.next_id + 10], [on.next_id + 20]]
    assert [source.name for source in newest(root).sources] == ["v.npy", "s0", "s1", "s2"]


def test_two_sources_cannot_take_the_same_name(root: Path) -> None:
    on = newest(root)
    one, _ = changes.reserve(root, [Source("photos", "folder", "/a/photos")], 1, on)
    other, _ = changes.reserve(root, [Source("photos", "folder", "/b/photos")], 1, on)
    commit(root, one, operation="reserve")
    with pytest.raises(CommitConflict, match="'photos'"):
        commit(root, other, operation="reserve")


def test_a_source_can_move(root: Path) -> None:
    change, _ = changes.reserve(root, [Source("v.npy", "vectors", "/elsewhere/v.npy")], 0, newest(root))
    assert commit(root, change, operation="reserve").sources == (Source("v.npy", "vectors", "/elsewhere/v.npy"),)


# -- derived files -------------------------------------------------------------------------


def test_derived_files_survive_an_append(root: Path, tmp_path: Path) -> None:
    with Snapshot.open(root) as snapshot:
        change = build_space(snapshot, "main", BuildOptions(), Silent())
    add_elsewhere(root, tmp_path)
    done = commit(root, change, operation="build")
    covering = done.space().vectors
    assert covering is not None
    assert (covering.shards, done.rows) == (1, 67)


def test_a_build_that_covers_more_stands(root: Path, tmp_path: Path) -> None:
    with Snapshot.open(root) as snapshot:
        late = build_space(snapshot, "main", BuildOptions(), Silent())
    add_elsewhere(root, tmp_path)
    with Collection.open(root) as collection:
        collection.build(["flat@4"])
    built = newest(root)
    assert commit(root, late, operation="build") == built


def test_derived_files_of_other_shards_are_refused(root: Path) -> None:
    with Snapshot.open(root) as snapshot:
        change = build_space(snapshot, "main", BuildOptions(), Silent())
    remove(root, ["v.npy#0"])
    compact(root)
    with pytest.raises(CommitConflict, match="compacted while its indexes were built"):
        commit(root, change, operation="build")


# -- failures ------------------------------------------------------------------------------


def test_failures_are_those_of_the_latest_run_of_their_source(root: Path) -> None:
    def record(
        sources: set[str], *failures: tuple[str, str, str], paths: frozenset[tuple[str, str]] = frozenset()
    ) -> list[str]:
        new = [Failure(*one) for one in failures]
        commit(root, record_failures(root, sources, new, paths=paths), operation="x")
        return [f"{row['source']}/{row['path']}: {row['reason']}" for row in list_failures(root)]

    assert record({"a"}, ("a", "1", "bad"), ("a", "2", "bad")) == ["a/1: bad", "a/2: bad"]
    assert record({"b"}, ("b", "1", "bad")) == ["a/1: bad", "a/2: bad", "b/1: bad"]
    assert record({"a"}, ("a", "2", "worse")) == ["b/1: bad", "a/2: worse"]
    assert record(set(), ("b", "2", "bad"), paths=frozenset({("b", "2")})) == ["b/1: bad", "a/2: worse", "b/2: bad"]
    assert record(set(), paths=frozenset({("b", "1")})) == ["a/2: worse", "b/2: bad"]
    assert record({"a", "b"}) == []
    assert newest(root).failures is None


def test_changes_of_a_chain_come_together_or_not_at_all(root: Path) -> None:
    on = newest(root)
    buried = tombstones.bury(root, [(on.items[0].path, 1)])
    twice = changes.chain(buried, appending(root, "new", on))
    done = commit(root, twice, operation="add")
    assert (done.version, done.rows, done.dead_rows) == (on.version + 1, 61, 1)
    with pytest.raises(CommitConflict):
        buried = tombstones.bury(root, [(on.items[0].path, 2)])
        commit(root, changes.chain(buried, appending(root, "new", on)), operation="x")
    assert newest(root) == done


def test_a_collection_knows_all_changes_after_them(root: Path, tmp_path: Path) -> None:
    add_elsewhere(root, tmp_path)
    remove(root, ["w.npy#0"])
    with Collection.open(root) as opened:
        assert len(opened) == 66
        assert opened.search(clustered(7, 8, 1)[1], k=1).uris == ["w.npy#1"]
