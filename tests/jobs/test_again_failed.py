"""Runs over what failed before: it is not tried again, nothing is written, and no model is loaded."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from engine.api import Collection
from engine.collection.commit import commit, current_version
from engine.collection.describe import list_failures
from engine.collection.failures import Failure, failures_of, record_failures
from engine.collection.history import versions
from engine.collection.shards import FAILURE_SCHEMA, write_table
from engine.encoders import formats
from engine.ingest.options import EncodeOptions
from engine.jobs.index import RunOptions
from engine.jobs.index import index as run_index
from engine.progress import Silent, Summary
from indexers.errors import CorruptCollection
from tests.helpers import clustered, draw, index, needs_bundled, nestvec, newest, save


@pytest.fixture(scope="module")
def encoded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two pictures, one that is broken and one that is none, indexed in place."""
    folder = tmp_path_factory.mktemp("failing")
    draw(folder / "p/a.png", 0)
    draw(folder / "p/b.png", 1)
    whole = (folder / "p/a.png").read_bytes()
    (folder / "p/cut.png").write_bytes(whole[: len(whole) // 2])
    (folder / "p/gone.gif").symlink_to("nowhere")
    first = index(folder / "c.nest", folder / "p")
    assert (first.added, first.failed, first.failed_before) == (2, 2, 0)
    return folder


def told(album: Path, **options: Any) -> tuple[Summary, bool]:
    """Index, and return whether the encoder was loaded to encode with."""
    said: list[str] = []

    class Notes(Silent):
        def say(self, text: str) -> None:
            said.append(text)

    summary = run_index(album / "c.nest", [album / "p"], RunOptions(device="cpu", **options), Notes())
    return summary, any("encoding with" in one for one in said)


@needs_bundled
def test_a_run_that_changes_nothing_writes_nothing(encoded: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in (encoded / "c.nest").rglob("*")}
    for _ in range(2):
        summary, loaded = told(encoded)
        assert (summary.failed, summary.failed_before, summary.unchanged, loaded) == (2, 2, 2, False)
    assert {path: path.stat().st_mtime_ns for path in (encoded / "c.nest").rglob("*")} == before


@needs_bundled
def test_exit_codes(encoded: Path) -> None:
    arguments = ("index", "p", "c.nest", "--device", "cpu")
    done = nestvec(*arguments, cwd=encoded)
    assert (done.returncode, done.stdout.split(b" in ")[0].partition(b": ")[2]) == (
        0,
        b"nothing to do; 2 unchanged, 2 known failures",
    )
    assert b"could not be indexed" not in done.stderr
    assert nestvec(*arguments, "--strict", cwd=encoded).returncode == 3
    assert nestvec("add", "c.nest", "p", "--strict", cwd=encoded).returncode == 3


@needs_bundled
def test_a_file_that_was_mended_is_tried_again(encoded: Path, tmp_path: Path) -> None:
    folder = tmp_path
    shutil.copytree(encoded / "p", folder / "p", symlinks=True)
    index(folder / "c.nest", folder / "p")
    (folder / "p/new.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    summary, loaded = told(folder)
    assert (summary.failed, summary.failed_before, loaded) == (3, 2, True)
    assert told(folder)[0].failed_before == 3
    draw(folder / "p/cut.png", 5)
    summary, loaded = told(folder)
    assert (summary.added, summary.failed, summary.failed_before, loaded) == (1, 2, 2, True)
    # Other readers, and an explicit wish.
    assert told(folder, encode=EncodeOptions(max_pixels=10**6))[1]
    assert not told(folder, encode=EncodeOptions(max_pixels=10**6))[1]
    assert told(folder, encode=EncodeOptions(max_pixels=10**6, again=True))[1]


@needs_bundled
def test_what_could_not_be_read_is_tried_again_and_loads_no_encoder(encoded: Path, tmp_path: Path) -> None:
    shutil.copytree(encoded / "p", tmp_path / "p", symlinks=True)
    index(tmp_path / "c.nest", tmp_path / "p")
    (tmp_path / "p/unreadable.png").symlink_to("/proc/self/mem")
    summary, loaded = told(tmp_path)
    assert (summary.failed, summary.failed_before, loaded) == (3, 2, False)
    (failure,) = (
        one for one in failures_of(tmp_path / "c.nest", newest(tmp_path / "c.nest")) if one.path == "unreadable.png"
    )
    assert (failure.size, failure.readers) == (None, None)
    (tmp_path / "p/unreadable.png").unlink()
    assert told(tmp_path)[0].failed == 2


@needs_bundled
def test_touched_and_moved_pictures_load_no_encoder(encoded: Path, tmp_path: Path) -> None:
    shutil.copytree(encoded / "p", tmp_path / "p", symlinks=True)
    index(tmp_path / "c.nest", tmp_path / "p")
    os.utime(tmp_path / "p/a.png", ns=(1, 1))
    (tmp_path / "p/b.png").rename(tmp_path / "p/c.png")
    summary, loaded = told(tmp_path)
    assert (summary.moved, summary.unchanged, summary.encoded, loaded) == (1, 1, 0, False)
    shutil.copy(tmp_path / "p/a.png", tmp_path / "p/copy.png")
    summary, loaded = told(tmp_path)
    assert (summary.added, summary.encoded, loaded) == (1, 0, False)


def test_readers_are_told_apart() -> None:
    assert formats.readers(5) != formats.readers(6)
    assert "Pillow" in formats.readers(5)


# -- vectors -----------------------------------------------------------------------------------


def test_rows_that_fail_again_are_no_news(tmp_path: Path) -> None:
    bad = clustered(5, 8)
    bad[2] = np.nan
    root = tmp_path / "c.nest"
    index(root, save(tmp_path / "v.npy", bad))
    version = current_version(root)
    again = index(root, tmp_path / "v.npy")
    assert (again.failed, again.failed_before, again.version) == (1, 1, version)
    bad[2] = 0
    more = index(root, save(tmp_path / "v.npy", bad))
    assert (more.failed, more.failed_before) == (1, 0)  # for another reason


def test_sources_that_take_turns_write_nothing(tmp_path: Path) -> None:
    root, paths = tmp_path / "c.nest", []
    for number in range(3):
        rows = clustered(5, 8, number)
        rows[number] = np.nan
        paths.append(save(tmp_path / f"{number}.npy", rows))
        index(root, paths[-1])
    version = current_version(root)
    for path in paths:
        assert index(root, path).version == version
    assert index(root, *paths).version == version


# -- versions ----------------------------------------------------------------------------------


def test_versions_that_only_set_ids_aside_are_not_shown(tmp_path: Path) -> None:
    root = tmp_path / "c.nest"
    index(root, save(tmp_path / "v.npy", clustered(5, 8)))
    with Collection.open(root):  # what is open is not forgotten
        index(root, save(tmp_path / "w.npy", clustered(5, 8, 1)))
    shown = [one.operation for one in versions(root)]
    assert "reserve" not in shown
    assert "reserve" not in nestvec("versions", root).stdout.decode()
    everything = [one.operation for one in versions(root, every=True)]
    assert set(shown) <= set(everything)


# -- the file ----------------------------------------------------------------------------------


def test_failures_of_an_older_collection(tmp_path: Path) -> None:
    root = tmp_path / "c.nest"
    index(root, save(tmp_path / "v.npy", clustered(5, 8)))
    old = write_table(root, "failures", pa.table([["v.npy"], ["x"], ["bad"]], schema=FAILURE_SCHEMA))
    commit(root, lambda base: replace(base, failures=old), operation="x")
    assert failures_of(root, newest(root)) == [Failure("v.npy", "x", "bad")]
    assert list_failures(root) == [{"source": "v.npy", "path": "x", "reason": "bad"}]
    commit(root, record_failures(root, set(), [Failure("v.npy", "y", "bad", 1, 2, "r")]), operation="x")
    assert failures_of(root, newest(root)) == [
        Failure("v.npy", "x", "bad"),
        Failure("v.npy", "y", "bad", 1, 2, "r"),
    ]
    assert [list(row) for row in list_failures(root)] == [["source", "path", "reason"]] * 2


def test_a_column_of_another_type_is_refused(tmp_path: Path) -> None:
    root = tmp_path / "c.nest"
    index(root, save(tmp_path / "v.npy", clustered(5, 8)))
    table = pa.table([["v.npy"], ["x"], ["bad"]], schema=FAILURE_SCHEMA).append_column("size", pa.array(["big"]))
    commit(root, lambda base: replace(base, failures=write_table(root, "failures", table)), operation="x")
    with pytest.raises(CorruptCollection, match="column 'size' is of another type"):
        failures_of(root, newest(root))
