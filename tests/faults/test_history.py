"""Going back and forth between versions, and what repair, gc and purge make of a history with rollbacks in it."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from engine.api import Collection
from engine.collection import commit
from engine.collection.garbage import collect
from engine.collection.history import diff, numbers, rollback, versions
from engine.collection.verify import verify
from engine.jobs import compact
from engine.jobs.index import RunOptions
from engine.jobs.repair import Repaired, repair
from engine.progress import Silent
from indexers.errors import CommitConflict, CorruptCollection, ItemNotFound, NotACollection
from tests.faults.states import assert_sound, state_of, strangers
from tests.faults.stories import with_head
from tests.helpers import clustered, draw, flip_bit, index, needs_bundled, nestvec, save, vectors_collection

DIM = 8


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return vectors_collection(tmp_path, n=12)


def names(root: Path) -> set[str]:
    """Return the paths of what is there."""
    state = state_of(root)
    assert state is not None
    return {path for _, _, path in state.items}


def row(number: int) -> str:
    return f"v.npy#{number}"


def damage(root: Path, kind: str) -> None:
    """Flip a bit in every file of a kind that the newest version lists."""
    with Collection.open(root) as opened:
        files = [ref.path for ref in opened.snapshot.manifest.files() if ref.path.split("/")[-2] == kind]
    for path in files:
        flip_bit(root / path, (root / path).stat().st_size // 2)


def mended(root: Path, *, accept_loss: bool = False) -> Repaired:
    return repair(root, RunOptions(device="cpu"), Silent(), accept_loss=accept_loss)


# -- rollback and diff -------------------------------------------------------------------------


def test_a_rollback_can_be_rolled_back(root: Path) -> None:
    with Collection.open(root) as opened:
        before = opened.version
        opened.remove([row(3)])
        opened.add_vectors(clustered(2, DIM, 9), names=["a", "b"], source="more")
        after, next_id = opened.version, opened.snapshot.manifest.next_id
        opened.rollback(before)
        assert (row(3) in names(root), "a" in names(root)) == (True, False)
        assert opened.snapshot.manifest.next_id == next_id
        opened.rollback(after)
        assert (row(3) in names(root), "a" in names(root)) == (False, True)
        assert opened.rollback(after).version == opened.version
    assert_sound(root)
    kinds = [(one.kind, one.path) for one in diff(root, before, after)]
    assert kinds == [("added", "a"), ("added", "b"), ("removed", row(3))]
    assert diff(root, after) == []
    assert versions(root)[0].items == 13


def test_every_kind_of_difference_is_told(tmp_path: Path) -> None:
    root = tmp_path / "c.nest"
    rows = clustered(6, DIM)
    with Collection.create(root, encoder="precomputed", dim=DIM, device="cpu") as opened:
        opened.add_vectors(rows[:3], names=["same", "other", "label"], captions=["x", "y", "z"])
        old = opened.version
        opened.add_vectors(rows[[3, 2]], names=["other", "label"], captions=["y", "new"])
        opened.add_vectors(rows[4:5], names=["more"])
        opened.remove(["same"])
    assert [(one.kind, one.path) for one in diff(root, old)] == [
        *(("added", "more"), ("removed", "same"), ("changed", "other"), ("relabelled", "label")),
    ]
    said = nestvec("diff", root, str(old)).stdout.decode().splitlines()
    assert said == ["+ api: more", "- api: same", "~ api: other", "# api: label"]


@needs_bundled
def test_a_picture_that_moved_is_told_with_its_old_name(tmp_path: Path) -> None:
    root = tmp_path / "c.nest"
    for number in range(2):
        draw(tmp_path / "photos" / f"{number}.png", number)
    index(root, tmp_path / "photos", encoder="bundled")
    old = commit.current_version(root)
    (tmp_path / "photos" / "1.png").rename(tmp_path / "photos" / "one.png")
    index(root, tmp_path / "photos")
    (one,) = diff(root, old)
    assert (one.kind, one.path, one.was) == ("moved", "one.png", "1.png")


def test_what_is_derived_and_damaged_bars_no_rollback(root: Path) -> None:
    old = commit.current_version(root)
    before = state_of(root)
    damage(root, "vectors")
    rollback(root, old)  # the newest: nothing to go back to but itself, without what is damaged
    assert state_of(root) == before
    assert_sound(root, older=False)
    with Collection.open(root) as opened:
        assert opened.space.vectors is None
        opened.build()
    damage(root, "items")
    with pytest.raises(CorruptCollection):
        rollback(root, old)


def test_a_lookup_that_a_rollback_left_out_is_built_by_the_next_index(root: Path) -> None:
    damage(root, "lookup")
    rollback(root, commit.current_version(root))
    assert len(names(root)) == 12
    index(root, root.parent / "v.npy")
    with Collection.open(root) as opened:
        assert opened.snapshot.manifest.lookup is not None
    assert_sound(root, older=False)


def test_a_space_that_a_rollback_takes_away_is_no_longer_searched(tmp_path: Path) -> None:
    with_head(tmp_path)
    root = tmp_path / "c.nest"
    with Collection.open(root, space="nested", device="cpu") as opened:
        opened.rollback(4)
        assert (opened.space_name, len(opened.search(np.eye(DIM)[0], 3).ids)) == ("main", 3)


def test_items_that_a_rollback_brings_back_are_not_added_again(tmp_path: Path, root: Path) -> None:
    """A run compared its source with a version in which an item was deleted; it lives again when the run commits."""
    whole = commit.current_version(root)
    with Collection.open(root, device="cpu") as opened:
        opened.remove([row(1)])
        prepared_on = opened.snapshot.manifest
    rollback(root, whole)
    from engine.collection import changes
    from engine.collection.shards import as_new_shard, read_table, write_embeddings, write_table

    ref = prepared_on.items[0]
    table = read_table(root, ref).slice(1, 1)
    items = write_table(root, "items", as_new_shard(table))
    embeddings = write_embeddings(root, "main", np.array([99]), clustered(1, DIM), "float16")
    change = changes.append(root, items, {"main": embeddings}, set(table.column("key").to_pylist()), prepared_on)
    with pytest.raises(CommitConflict, match="rolled back"):
        commit.commit(root, change, operation="add")


def test_there_is_nothing_to_do_to_what_is_no_collection(tmp_path: Path) -> None:
    for verb in (["versions"], ["rollback", "3"], ["gc"], ["repair"], ["diff", "3"]):
        done = nestvec(verb[0], tmp_path / "none", *verb[1:])
        assert (done.returncode, b"is not a nestvec collection" in done.stderr) == (1, True), done.stderr
    with pytest.raises(NotACollection):
        mended(tmp_path / "none")


# -- repair beside a history -------------------------------------------------------------------


def test_removals_of_a_history_that_was_rolled_back_are_not_taken(root: Path) -> None:
    whole = commit.current_version(root)
    with Collection.open(root, device="cpu") as opened:
        opened.remove([row(1)])
        opened.rollback(whole)
        opened.remove([row(2)])
    damage(root, "deletes")
    done = mended(root)
    assert (len(done.lost) > 0, done.restored) == (True, [])
    mended(root, accept_loss=True)
    assert row(1) in names(root)
    assert_sound(root)


def test_removals_that_follow_from_the_rows_are_found(root: Path) -> None:
    rows = clustered(12, DIM)
    rows[4] = -rows[4]
    index(root, save(root.parent / "v.npy", rows))
    before = state_of(root)
    damage(root, "deletes")
    assert mended(root).lost == []
    assert state_of(root) == before


def test_rows_of_replaced_items_stay_dead_though_items_were_put_together_again(root: Path) -> None:
    with Collection.open(root, device="cpu") as opened:
        rows = clustered(12, DIM)
        rows[4] = -rows[4]
        index(root, save(root.parent / "v.npy", rows))
        opened.refresh()
        opened.build()
    before = state_of(root)
    for kind in ("items", "deletes"):
        damage(root, kind)
    done = mended(root, accept_loss=True)
    assert state_of(root) == before, done
    assert_sound(root)


def test_removals_are_found_under_the_names_that_shards_had_before_they_were_relabelled(root: Path) -> None:
    rows = clustered(3, DIM, 3)
    with Collection.open(root, device="cpu") as opened:
        opened.add_vectors(rows, names=["x", "y", "z"], source="more")
        opened.remove(["x"])
        opened.add_vectors(rows[1:], names=["y", "z"], captions=["new", "new"], source="more")
        assert opened.snapshot.rows == 15
    before = state_of(root)
    damage(root, "deletes")
    done = mended(root)
    assert (done.lost, len(done.restored)) == ([], 1)
    assert state_of(root) == before
    assert_sound(root)


def test_a_lost_shard_of_items_takes_no_other_vectors_with_it(root: Path) -> None:
    with Collection.open(root, device="cpu") as opened:
        opened.add_vectors(clustered(2, DIM, 3), names=["x", "y"], source="more")
        manifest = opened.snapshot.manifest
    for ref in (manifest.items[-1], manifest.space().embeddings[0]):
        flip_bit(root / ref.path, 200)
    done = mended(root, accept_loss=True)
    assert len(done.lost) == 1
    assert names(root) == {row(number) for number in range(12)}
    assert_sound(root)


def test_older_versions_go_only_where_loss_is_accepted(root: Path) -> None:
    with Collection.open(root, device="cpu") as opened:
        opened.remove([row(number) for number in range(6)])
    kept = numbers(root)
    damage(root, "items")
    done = mended(root)
    assert done.lost == []
    assert set(kept) < set(numbers(root))
    assert any("rollback" in line for line in done.left)


def test_an_older_version_that_is_whole_is_named_before_anything_is_given_up(root: Path) -> None:
    with Collection.open(root, device="cpu") as opened:
        opened.remove([row(1)])
        opened.compact()
    for kind in ("items", "lookup"):
        damage(root, kind)
    done = mended(root)
    number = next(one.number for one in versions(root) if one.operation == "remove")
    assert (len(done.lost), done.whole) == (1, number)
    assert f"nestvec rollback {root} {number}".encode() in nestvec("repair", root).stdout
    rollback(root, number)
    assert len(names(root)) == 11
    assert_sound(root, older=False)


def test_two_items_of_one_name_are_noticed(root: Path) -> None:
    def undone(base: commit.Manifest) -> commit.Manifest:
        return replace(base, deletes=None)

    with Collection.open(root, device="cpu") as opened:
        opened.remove([row(1)])
        index(root, root.parent / "v.npy")  # it is still in its source
        assert row(1) in names(root)
    commit.commit(root, undone, operation="wrong")
    assert any("same path" in problem.reason for problem in verify(root))
    done = mended(root)
    assert any("same path" in line for line in done.left)


# -- garbage and clocks ------------------------------------------------------------------------


def test_clocks_that_are_wrong_keep_nothing_from_being_purged(root: Path) -> None:
    path = root / f"versions/{commit.current_version(root):010d}.json"
    found = commit.read_version(root, commit.current_version(root))
    late = (datetime.now(UTC) + timedelta(days=900)).isoformat()
    path.write_text(replace(found, created=late).to_json())
    with Collection.open(root, device="cpu") as opened:
        summary, held = opened.purge([row(5)])
    assert (summary.removed, held, len(numbers(root)), strangers(root)) == (1, (), 1, set())


def test_ages_beyond_all_calendars(root: Path) -> None:
    assert collect(root, older_than=timedelta(days=999_999)).versions == ()
    assert nestvec("gc", root, "--older-than", "999999d").returncode == 0


def test_a_young_version_that_cannot_be_read_is_not_deleted(root: Path) -> None:
    path = root / f"versions/{commit.current_version(root) - 1:010d}.json"
    path.write_bytes(b"{")
    with pytest.raises(CorruptCollection):
        collect(root)
    assert path.exists()
    collect(root, older_than=timedelta(0))
    assert not path.exists()


# -- purging -----------------------------------------------------------------------------------


def test_names_of_what_failed_are_purged_too(root: Path) -> None:
    with Collection.open(root, device="cpu") as opened:
        bad = np.vstack([np.zeros(DIM), np.eye(DIM)[0], np.zeros(DIM)])
        opened.add_vectors(bad, names=["private/bad", "private/good", "public/bad"], source="more")
        opened.purge(below=["private"])
        left = b"".join(path.read_bytes() for path in root.rglob("*") if path.is_file())
        assert (b"private/" in left, b"public/bad" in left) == (False, True)
        opened.purge(["public/bad"])
        with pytest.raises(ItemNotFound):
            opened.purge(["public/bad"])
    assert not list((root).glob("failures/*"))


def test_a_rollback_beside_a_purge_is_noticed(root: Path) -> None:
    old = commit.current_version(root)
    with Collection.open(root, device="cpu") as opened:
        opened.remove([row(5)])
        opened.compact()
        compacted = opened.snapshot.manifest
        rollback(root, old)
        opened.refresh()
    with pytest.raises(CommitConflict, match="rolled the collection back"):
        compact.expire_all(root, compacted)


def test_what_is_still_open_is_told_in_json(root: Path) -> None:
    old = Collection.open(root)
    done = nestvec("remove", root, row(5), "--purge", "--json")
    assert (done.returncode, json.loads(done.stdout)["held"]) == (1, [old.version])
    old.close()
