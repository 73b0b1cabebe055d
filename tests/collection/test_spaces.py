"""Derived spaces on disk: what is in them follows from their base and their head, and nothing else passes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engine.api import Collection
from engine.collection import changes, spaces
from engine.collection.commit import commit
from engine.collection.describe import describe
from engine.collection.manifest import Manifest, Words
from engine.collection.snapshot import Snapshot
from engine.collection.verify import verify
from engine.encoders.base import Fingerprint
from engine.encoders.headed import headed_fingerprint
from engine.heads.model import Head
from engine.jobs.build import BuildOptions, build_indexes
from engine.jobs.compact import compact
from engine.jobs.remove import remove
from engine.jobs.spaces import HeadOptions, apply_head, remove_space
from engine.progress import Silent
from indexers.errors import CommitConflict, CorruptCollection, HeadError, InvalidInput
from tests.collection.test_changes import add_elsewhere, appending
from tests.helpers import clustered, flip_bit, inside, newest, vectors_collection
from tests.made_heads import fingerprint_of, linear, rotation, saved, two_towers

DIM = 8


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return vectors_collection(tmp_path)


@pytest.fixture
def head(root: Path) -> Head:
    return two_towers(fingerprint_of(root), 6)


@pytest.fixture
def nested(root: Path, head: Head, tmp_path: Path) -> Path:
    """The collection with a derived space "nested"."""
    apply_head(root, saved(head, tmp_path / "h.safetensors"))
    return root


def assert_derived(root: Path, head: Head, space: str = "nested", base: str = "main") -> None:
    """Every shard of a space holds its base's stored values after the head, row for row."""
    with Snapshot.open(root) as snapshot:
        wanted, found = list(snapshot.stored_vectors(base)), list(snapshot.stored_vectors(space))
        dtype = snapshot.manifest.space(space).dtype
        assert len(wanted) == len(found) == len(snapshot.manifest.items)
    for (ids, stored), (own, vectors) in zip(wanted, found, strict=True):
        assert np.array_equal(ids, own)
        assert vectors.dtype == dtype
        expected = head(stored.astype(np.float32), "items")
        np.testing.assert_allclose(vectors, expected, rtol=0, atol=5e-4 if dtype == "float16" else 1e-6)


# -- appends -----------------------------------------------------------------------------------


def test_an_append_of_somebody_who_did_not_know_of_the_space(root: Path, head: Head, tmp_path: Path) -> None:
    change = appending(root, "new", newest(root))
    apply_head(root, saved(head, tmp_path / "h.safetensors"))
    assert commit(root, change, operation="add").rows == 61
    assert_derived(root, head)


def test_a_space_goes_after_an_append(root: Path, head: Head, tmp_path: Path) -> None:
    """And a change that is tried again derives nothing twice."""
    apply_head(root, saved(head, tmp_path / "h.safetensors"))
    entry = newest(root).space("nested")
    shards = newest(root).space().embeddings
    remove_space(root, "nested")
    change = changes.add_space(root, "nested", entry, shards)
    add_elsewhere(root, tmp_path)
    first = change(newest(root))
    written = inside(root, first.space("nested").embeddings[-1])
    stamp = written.stat().st_ino
    assert commit(root, change, operation="x").space("nested").embeddings == first.space("nested").embeddings
    assert written.stat().st_ino == stamp
    assert_derived(root, head)


def test_a_space_is_refused_after_a_compaction_or_another_of_its_name(nested: Path) -> None:
    entry, shards = newest(nested).space("nested"), newest(nested).space().embeddings
    with pytest.raises(CommitConflict, match="just made a space called 'nested'"):
        commit(nested, changes.add_space(nested, "nested", entry, shards), operation="x")
    remove(nested, ["v.npy#0"])
    compact(nested)
    with pytest.raises(CommitConflict, match="was compacted while a head was applied"):
        commit(nested, changes.add_space(nested, "other", entry, shards), operation="x")


def test_items_need_a_vector_in_every_space(root: Path) -> None:
    alone = replace(newest(root).space(), plans=())

    def beside(base: Manifest) -> Manifest:
        return replace(base, spaces={**base.spaces, "alone": alone})

    commit(root, beside, operation="x")
    with pytest.raises(CommitConflict, match="only with a vector in each of its spaces"):
        commit(root, appending(root, "new", newest(root)), operation="add")


def test_a_vector_that_loses_its_direction_names_the_space(root: Path, tmp_path: Path) -> None:
    fingerprint = fingerprint_of(root)
    head = linear(fingerprint, 6)
    assert head.items.weight is not None
    head.items.weight[:] = 0
    head.items.weight[:, 0] = 1  # what has nothing in its first dimension is mapped to zero
    apply_head(root, saved(head, tmp_path / "h.safetensors"))
    before = newest(root)
    with Collection.open(root) as opened, pytest.raises(HeadError, match=r"'nested'.*nestvec remove .* --space nested"):
        opened.add_vectors(np.eye(DIM)[1:2])
    assert newest(root).items == before.items
    remove_space(root, "nested")
    with Collection.open(root) as opened:
        assert opened.add_vectors(np.eye(DIM)[1:2]).added == 1


# -- other changes -----------------------------------------------------------------------------


def test_indexes_of_a_space_that_came_back_with_another_head_are_refused(nested: Path, tmp_path: Path) -> None:
    entry = newest(nested).space("nested")
    lookup = newest(nested).lookup
    assert entry.vectors is not None
    assert lookup is not None
    late = changes.list_built(
        nested,
        "nested",
        embeddings=entry.embeddings,
        head=entry.head,
        lookup=lookup,
        words=Words(),
        vectors=entry.vectors,
        indexes=entry.indexes,
        pruned=None,
        plans=(),
    )
    remove_space(nested, "nested")
    with pytest.raises(CommitConflict, match="was removed while its indexes were built"):
        commit(nested, late, operation="build")
    with pytest.raises(CommitConflict, match="was removed before its indexes were built"):
        build_indexes(nested, "nested", BuildOptions(), Silent())
    apply_head(nested, saved(linear(fingerprint_of(nested), 6, seed=9), tmp_path / "other.safetensors"))
    with pytest.raises(CommitConflict, match="was removed while its indexes were built"):
        commit(nested, late, operation="build")


def test_the_lookup_of_a_longer_build_stands(nested: Path, tmp_path: Path) -> None:
    entry, lookup = newest(nested).space("nested"), newest(nested).lookup
    assert entry.vectors is not None
    assert lookup is not None
    late = changes.list_built(
        nested,
        "nested",
        embeddings=entry.embeddings,
        head=entry.head,
        lookup=lookup,
        words=Words(),
        vectors=entry.vectors,
        indexes=(),
        pruned=None,
        plans=(),
    )
    add_elsewhere(nested, tmp_path)
    with Collection.open(nested) as opened:
        opened.build()
    assert newest(nested).lookup != lookup
    done = commit(nested, late, operation="build")
    assert done.space("nested").indexes == ()
    assert done.lookup is not None
    assert done.lookup.shards == 2


def test_what_can_be_removed(nested: Path, tmp_path: Path) -> None:
    second = rotation(fingerprint_of(nested, "nested"))
    apply_head(nested, saved(second, tmp_path / "second.safetensors"), HeadOptions("second", use=True))
    assert newest(nested).space("second").base == "nested"
    for name, said in (("main", "not derived"), ("other", "it has main, nested, second"), ("nested", "remove that")):
        with pytest.raises(InvalidInput, match=said):
            remove_space(nested, name)
    assert newest(nested).default == "second"
    remove_space(nested, "second")
    assert newest(nested).default == "main"
    remove_space(nested, "nested")
    assert list(newest(nested).spaces) == ["main"]
    assert list(verify(nested)) == []


def test_a_space_of_a_space_follows_both(nested: Path, head: Head, tmp_path: Path) -> None:
    second = linear(fingerprint_of(nested, "nested"), 4, seed=3)
    apply_head(nested, saved(second, tmp_path / "second.safetensors"), HeadOptions("second"))
    add_elsewhere(nested, tmp_path)
    remove(nested, ["v.npy#4"])
    for _ in range(2):
        assert_derived(nested, head)
        assert_derived(nested, second, "second", "nested")
        compact(nested)
    xq = clustered(3, DIM, 8)
    mapped = spaces.map_queries(nested, newest(nested), "second", xq)
    np.testing.assert_array_equal(mapped, second(head(xq, "queries"), "queries"))
    assert spaces.map_queries(nested, newest(nested), "main", xq) is xq


# -- hostile files -----------------------------------------------------------------------------


def test_a_flipped_bit_in_a_head_is_named_and_refused(nested: Path) -> None:
    ref = newest(nested).space("nested").head
    assert ref is not None
    flip_bit(inside(nested, ref), -5)
    (problem,) = verify(nested)
    assert (problem.path, problem.derived) == (ref.path, False)
    with Collection.open(nested, space="nested") as opened:
        with pytest.raises(CorruptCollection, match="hash does not match"):
            _ = opened.encoder
        with pytest.raises(CorruptCollection, match="hash does not match"):
            opened.search("text")
    with Collection.open(nested) as opened, pytest.raises(CorruptCollection, match="hash does not match"):
        opened.add_vectors(clustered(1, DIM, 5))
    inside(nested, ref).unlink()
    with pytest.raises(CorruptCollection, match="is missing"):
        spaces.head_of(nested, newest(nested), "nested")


@pytest.mark.parametrize("which", ["no head", "of another encoder", "of other weights", "of another dimension"])
def test_a_head_that_did_not_make_its_space_is_refused(nested: Path, head: Head, which: str) -> None:
    """The hashes are right: whoever wrote this version means harm, or made a mistake."""
    fingerprint = fingerprint_of(nested)
    other = Fingerprint("other", "none", "none", DIM)
    hostile = {
        "of another encoder": two_towers(other, 6),
        "of other weights": two_towers(fingerprint, 6, seed=1),
        "of another dimension": two_towers(fingerprint, 5),
        "no head": head,
    }[which]
    ref = spaces.write_head(nested, "nested", hostile)
    if which == "no head":
        ref = replace(newest(nested).items[0], path="x")
        data = inside(nested, newest(nested).items[0]).read_bytes()
        ref = replace(newest(nested).items[0], path=f"spaces/nested/heads/{ref.blake3[:32]}.safetensors")
        inside(nested, ref).write_bytes(data)

    def change(base: Manifest) -> Manifest:
        return replace(base, spaces={**base.spaces, "nested": replace(base.space("nested"), head=ref)})

    commit(nested, change, operation="x")
    with pytest.raises(CorruptCollection):
        spaces.head_of(nested, newest(nested), "nested")
    assert [problem.path for problem in verify(nested)] == [ref.path]
    with pytest.raises(CorruptCollection):
        commit(nested, appending(nested, "new", newest(nested)), operation="add")


def test_the_fingerprint_tells_the_head(nested: Path, head: Head) -> None:
    base = fingerprint_of(nested)
    assert fingerprint_of(nested, "nested") == headed_fingerprint(base, head)
    found = describe(nested)
    assert found["default"] == "main"
    assert [(space["base"], space["objective"]) for space in found["spaces"].values()] == [
        (None, None),
        ("main", "paired"),
    ]
    with pytest.raises(CorruptCollection, match="not derived from another"):
        spaces.head_of(nested, newest(nested), "main")
