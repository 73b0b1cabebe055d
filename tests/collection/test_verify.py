"""Whatever is damaged is found and named, and what can be built again is said to be."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine.api import Collection
from engine.collection.commit import commit, current_version
from engine.collection.manifest import Manifest
from engine.collection.verify import verify
from engine.storage.place import new_file, written
from indexers.errors import CorruptCollection, NotACollection
from tests.helpers import clustered, flip_bit, index, save, vectors_collection

KINDS = ("items", "deletes", "failures", "lookup", "embeddings", "vectors", "indexes")
DERIVED = {"lookup", "vectors", "indexes"}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A collection with a file of every kind."""
    folder = tmp_path_factory.mktemp("whole")
    root = vectors_collection(folder)
    with Collection.open(root) as opened, pytest.MonkeyPatch.context() as patch:
        patch.setattr("engine.collection.tombstones.MOST_DEAD", 0)
        opened.add_vectors(np.vstack([clustered(5, 8, 1), np.zeros(8)]))
        opened.remove(["v.npy#3"])
    return root


@pytest.fixture
def root(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "c.nest"))


def one_of(root: Path, kind: str) -> Path:
    with Collection.open(root) as opened:
        return next(root / ref.path for ref in opened.snapshot.manifest.files() if ref.path.split("/")[-2] == kind)


def flipped(path: Path) -> None:
    flip_bit(path, path.stat().st_size // 2)


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def test_a_whole_collection_has_no_problems(root: Path) -> None:
    seen: list[int] = []
    assert list(verify(root, seen.append)) == []
    with Collection.open(root) as opened:
        assert sum(seen) == sum(ref.size for ref in opened.snapshot.manifest.files())


@pytest.mark.parametrize("damage", [flipped, truncated, Path.unlink], ids=["flipped", "truncated", "deleted"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_file_is_named(root: Path, kind: str, damage: Callable[[Path], None]) -> None:
    path = one_of(root, kind)
    damage(path)
    (problem,) = verify(root)
    assert problem.path == path.relative_to(root).as_posix()
    assert problem.derived == (kind in DERIVED)
    reason = {flipped: "hash does not match", truncated: "expected", Path.unlink: "missing"}[damage]
    assert reason in problem.reason


@pytest.mark.parametrize("kind", sorted(DERIVED))
def test_what_is_derived_can_be_built_again(root: Path, whole: Path, kind: str) -> None:
    flipped(one_of(root, kind))
    index(root, whole.parent / "v.npy", rebuild=True)
    assert list(verify(root)) == []


def test_a_damaged_newest_version_is_an_error(root: Path) -> None:
    flip_bit(root / f"versions/{current_version(root):010d}.json", 200)
    with pytest.raises(CorruptCollection):
        list(verify(root))


def test_a_damaged_version_before_it_is_named(root: Path) -> None:
    before = root / f"versions/{current_version(root) - 1:010d}.json"
    flip_bit(before, 200)
    (problem,) = verify(root)
    assert str(current_version(root) - 1) in problem.path
    before.unlink()
    assert list(verify(root)) == []


def test_what_is_no_collection(tmp_path: Path) -> None:
    with pytest.raises(NotACollection):
        list(verify(tmp_path))


def _with_embeddings(root: Path, ids: np.ndarray, vectors: np.ndarray) -> None:
    """Put in other vectors for the last shard, all hashes right: what a bug of ours could do."""
    column = pa.FixedSizeListArray.from_arrays(pa.array(vectors.astype(np.float16).reshape(-1)), 8)
    with new_file(root, "spaces/main/embeddings", ".parquet") as new:
        pq.write_table(pa.table({"id": pa.array(ids), "vector": column}), new.temporary)
        new.rows = len(ids)

    def change(base: Manifest) -> Manifest:
        from dataclasses import replace

        space = base.space()
        space = replace(space, embeddings=(*space.embeddings[:-1], written(new)))
        return replace(base, spaces={"main": space})

    commit(root, change, operation="bug")


def test_vectors_of_other_items_are_noticed(root: Path) -> None:
    _with_embeddings(root, np.array([60, 61, 62, 63, 99]), clustered(5, 8))
    assert [problem.reason for problem in verify(root)] == ["its ids are not those of the items beside it"]


def test_vectors_that_are_not_finite_are_noticed(root: Path) -> None:
    vectors = clustered(5, 8)
    vectors[2, 2] = np.nan
    _with_embeddings(root, np.arange(60, 65), vectors)
    assert [problem.reason for problem in verify(root)] == ["it holds NaN or infinite values"]


def test_ids_that_were_never_handed_out_are_noticed(root: Path) -> None:
    def change(base: Manifest) -> Manifest:
        from dataclasses import replace

        return replace(base, next_id=60)

    commit(root, change, operation="bug")
    assert ["never handed out" in problem.reason for problem in verify(root)] == [True]


def test_a_precomputed_collection_has_no_canaries(tmp_path: Path) -> None:
    index(tmp_path / "d.nest", save(tmp_path / "w.npy", clustered(10, 4)))
    assert not list((tmp_path / "d.nest").rglob("encoder/*"))
