"""Files are hashed once, and again as soon as anything about them has changed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from engine.storage.layout import FileRef
from engine.storage.place import new_file, written
from engine.storage.verified import Verified
from indexers.errors import CorruptCollection
from tests.helpers import flip_bit


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NESTVEC_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "c"


def put(root: Path, content: bytes = b"content") -> FileRef:
    with new_file(root, "items", ".parquet") as new:
        new.temporary.write_bytes(content)
    return written(new)


def forget(cache: Path) -> None:
    for path in cache.rglob("*.jsonl"):
        path.unlink()


def lines(cache: Path) -> int:
    return sum(len(path.read_text().splitlines()) for path in cache.rglob("*.jsonl"))


def test_what_this_machine_wrote_is_not_hashed_again(root: Path, cache: Path) -> None:
    ref = put(root)
    assert lines(cache) == 1
    Verified(root).ensure([ref])
    assert lines(cache) == 1


def test_what_it_sees_first_is_hashed_and_remembered(root: Path, cache: Path) -> None:
    ref = put(root)
    forget(cache)
    Verified(root).ensure([ref, ref])
    assert lines(cache) == 1


def test_a_flipped_bit_is_noticed_though_size_and_time_are_the_same(root: Path) -> None:
    ref = put(root)
    before = (root / ref.path).stat()
    flip_bit(root / ref.path, 3)
    os.utime(root / ref.path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(CorruptCollection, match=r"has changed since it was written.*nestvec verify"):
        Verified(root).ensure([ref])


def test_another_size_and_no_file_are_noticed(root: Path) -> None:
    ref = put(root)
    (root / ref.path).write_bytes(b"contents")
    with pytest.raises(CorruptCollection, match="expected 7 bytes, found 8"):
        Verified(root).ensure([ref])
    (root / ref.path).unlink()
    with pytest.raises(CorruptCollection, match="is missing"):
        Verified(root).ensure([ref])


def test_a_copy_of_a_collection_is_hashed_for_itself(root: Path, tmp_path: Path, cache: Path) -> None:
    ref = put(root)
    root.rename(tmp_path / "moved")
    Verified(tmp_path / "moved").ensure([ref])
    assert lines(cache) == 2


@pytest.mark.parametrize("line", ["{", "[]", '["x"]', "null", '["a", 1, 2]', "\udce9"])
def test_a_damaged_cache_costs_a_hash_and_nothing_else(root: Path, cache: Path, line: str) -> None:
    ref = put(root)
    for path in cache.rglob("*.jsonl"):
        path.write_text(line, errors="surrogateescape")
    Verified(root).ensure([ref])


def test_a_cache_that_cannot_be_written_is_no_reason_to_fail(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NESTVEC_CACHE", "/dev/null/cache")
    ref = put(root)
    Verified(root).ensure([ref])
