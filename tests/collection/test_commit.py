"""Files appear whole or not at all, versions one at a time, and no change of a race is lost."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3

from engine.collection import commit
from engine.collection.manifest import Manifest
from engine.storage import layout, place
from indexers.errors import CollectionError, CommitConflict, CorruptCollection, DiskFull, NotACollection


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A collection with nothing in it."""
    commit.create(tmp_path / "c.nest", Manifest)
    return tmp_path / "c.nest"


def one_more(base: Manifest) -> Manifest:
    return replace(base, next_id=base.next_id + 1)


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


# -- files ---------------------------------------------------------------------------------


def test_a_file_is_named_by_its_hash(root: Path) -> None:
    with place.new_file(root, "items", ".parquet") as new:
        new.temporary.write_bytes(b"content")
        new.rows = 3
        assert names(root / "items") == [new.temporary.name]
    digest = blake3(b"content").hexdigest()
    assert names(root / "items") == [f"{digest[:32]}.parquet"]
    assert place.written(new) == new.ref
    assert new.ref is not None
    assert (new.ref.size, new.ref.blake3, new.ref.rows) == (7, digest, 3)


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_file_that_was_not_finished_leaves_nothing(root: Path, error: type[BaseException]) -> None:
    with pytest.raises(error), place.new_file(root, "items", ".parquet") as new:
        new.temporary.write_bytes(b"half")
        raise error
    assert names(root / "items") == []
    with pytest.raises(CollectionError, match="not finished"):
        place.written(new)


# -- versions ------------------------------------------------------------------------------


def test_every_commit_is_the_next_version(root: Path) -> None:
    assert commit.current_version(root) == 1
    done = commit.commit(root, one_more, operation="reserve")
    assert (done.version, done.operation, done.next_id) == (2, "reserve", 1)
    assert commit.read_version(root, 2) == done
    assert commit.read_version(root, 1).next_id == 0


def test_a_change_that_changes_nothing_is_no_version(root: Path) -> None:
    assert commit.commit(root, lambda base: base, operation="none").version == 1
    assert names(root / "versions") == ["0000000001.json"]


def test_what_is_left_behind_by_killed_writers_is_ignored(root: Path) -> None:
    for name in (".tmp-abc", "0000000099.json.bak", "99.json", "notes.txt"):
        (root / "versions" / name).write_text("{")
    assert commit.current_version(root) == 1
    assert commit.commit(root, one_more, operation="x").version == 2


def test_a_version_under_another_number_is_refused(root: Path) -> None:
    shutil.copy(root / "versions/0000000001.json", root / "versions/0000000002.json")
    with pytest.raises(CorruptCollection, match="says it is version 1"):
        commit.read_version(root, 2)


@pytest.mark.parametrize("damage", [b"", b"\xff\xfe", None])
def test_a_version_that_cannot_be_read_is_named(root: Path, damage: bytes | None) -> None:
    path = root / "versions/0000000001.json"
    path.unlink()
    if damage is not None:
        path.write_bytes(damage)
    with pytest.raises(CorruptCollection, match=r"version 1 of|0000000001\.json"):
        commit.read_version(root, 1)


RACE = """
import sys
from dataclasses import replace
from pathlib import Path
from engine.collection import commit

for _ in range(8):
    done = commit.commit(Path(sys.argv[1]), lambda base: replace(base, next_id=base.next_id + 1), operation="race")
    print(done.version, done.next_id)
"""


def test_racing_processes_lose_nothing(root: Path) -> None:
    racers = [subprocess.Popen([sys.executable, "-c", RACE, root], stdout=subprocess.PIPE, text=True) for _ in range(4)]
    said = [line.split() for racer in racers for line in racer.communicate(timeout=60)[0].splitlines()]
    assert [racer.returncode for racer in racers] == [0, 0, 0, 0]
    assert sorted(int(version) for version, _ in said) == list(range(2, 34))
    assert sorted(int(id) for _, id in said) == list(range(1, 33))
    newest = commit.read_version(root, commit.current_version(root))
    assert (newest.version, newest.next_id) == (33, 32)
    assert len(names(root / "versions")) == 33


def test_losing_too_often_is_said(root: Path) -> None:
    def beaten(base: Manifest) -> Manifest:
        shutil.copy(root / layout.version_file(base.version), root / layout.version_file(base.version + 1))
        text = replace(base, version=base.version + 1).to_json()
        (root / layout.version_file(base.version + 1)).write_text(text)
        return one_more(base)

    with pytest.raises(CommitConflict, match="faster 100 times"):
        commit.commit(root, beaten, operation="x")


# -- a file system without links -----------------------------------------------------------


@pytest.fixture
def no_links(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)


@pytest.fixture
def no_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)


@pytest.mark.parametrize("lacking", [("no_links",), ("no_links", "no_locks")])
def test_without_links_versions_are_still_exclusive(
    root: Path, lacking: tuple[str, ...], request: pytest.FixtureRequest
) -> None:
    for name in lacking:
        request.getfixturevalue(name)
    tries = 0

    def overtaken_once(base: Manifest) -> Manifest:
        nonlocal tries
        tries += 1
        if tries == 1:
            commit.commit(root, one_more, operation="first")
        return one_more(base)

    done = commit.commit(root, overtaken_once, operation="second")
    assert (tries, done.version, done.next_id) == (2, 3, 2)
    assert names(root / "versions") == [f"{number:010d}.json" for number in (1, 2, 3)]


@pytest.mark.usefixtures("no_links", "no_locks")
def test_without_links_a_full_disk_leaves_no_half_version(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = iter([None, OSError(errno.ENOSPC, "No space left on device")])

    def fsync(_: int) -> None:
        if (error := next(calls)) is not None:
            raise error

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(DiskFull, match=r"no space left .* needs [0-9]+ bytes, and [0-9,]+ are free"):
        commit.commit(root, one_more, operation="x")
    monkeypatch.undo()
    assert names(root / "versions") == ["0000000001.json"]
    assert commit.commit(root, one_more, operation="x").version == 2


# -- making one ----------------------------------------------------------------------------


def test_a_collection_is_made_in_an_empty_or_missing_folder(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("empty", "missing/below"):
        assert commit.create(tmp_path / name, Manifest).version == 1
        assert commit.exists(tmp_path / name)


def test_nothing_else_is_overwritten(tmp_path: Path, root: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/photo.jpg").write_text("mine")
    for path in (tmp_path / "file", tmp_path / "full", root):
        with pytest.raises(CollectionError, match="choose another name"):
            commit.create(path, Manifest)
    assert (tmp_path / "file").read_text() == "mine"
    assert names(tmp_path / "full") == ["photo.jpg"]


def test_what_a_killed_create_left_is_taken_over(tmp_path: Path) -> None:
    (tmp_path / "c/versions").mkdir(parents=True)
    (tmp_path / "c/versions/.tmp-1").write_text("{")
    (tmp_path / "c/spaces/main/encoder").mkdir(parents=True)
    assert not commit.exists(tmp_path / "c")
    assert commit.create(tmp_path / "c", Manifest).version == 1


def test_two_that_make_the_same_collection(tmp_path: Path) -> None:
    def beaten() -> Manifest:
        commit.create(tmp_path / "c", lambda: Manifest(next_id=7))
        return Manifest()

    with pytest.raises(CommitConflict, match="another process made"):
        commit.create(tmp_path / "c", beaten)
    assert commit.read_version(tmp_path / "c", 1).next_id == 7


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.write_text("x"), lambda path: path.mkdir()])
def test_what_is_no_collection_says_how_to_make_one(tmp_path: Path, make: Any) -> None:
    make(tmp_path / "c")
    with pytest.raises(NotACollection, match="nestvec index"):
        commit.current_version(tmp_path / "c")
