"""Runs that are killed go on where they stopped, and two at once do not harm each other."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from engine.api import Collection
from engine.collection.commit import current_version, exists, read_version
from engine.collection.verify import verify
from engine.jobs import index as run
from engine.jobs.index import RunOptions
from engine.progress import Silent
from indexers.errors import CommitConflict
from tests.helpers import COMMAND, clustered, draw, index, needs_bundled, save

ROWS = 140_000  # two shards and a bit


@pytest.mark.parametrize(("number", "code"), [(signal.SIGKILL, -9), (signal.SIGINT, 130)])
def test_an_interrupted_run_goes_on_from_its_last_shard(tmp_path: Path, number: int, code: int) -> None:
    root, source = tmp_path / "c.nest", save(tmp_path / "v.npy", clustered(ROWS, 8))
    started = subprocess.Popen([COMMAND, "index", source, root, "--index", "flat@8"], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not (exists(root) and read_version(root, current_version(root)).items):
        assert started.poll() is None, "it ended before it could be interrupted"
        assert time.monotonic() < deadline
        time.sleep(0.002)
    started.send_signal(number)
    _, said = started.communicate(timeout=60)
    assert started.returncode == code
    assert "Traceback" not in said
    kept = read_version(root, current_version(root)).rows
    assert 65_536 <= kept < ROWS
    summary = index(root, source, specs=["flat@8"])
    assert (summary.unchanged, summary.added) == (kept, ROWS - kept)
    assert list(verify(root)) == []
    with Collection.open(root) as opened:
        assert len(opened) == len(set(opened.snapshot.ids.tolist())) == ROWS


def test_two_runs_at_once(tmp_path: Path) -> None:
    """Different sources both go in; the same source goes in once."""
    sources = [save(tmp_path / f"{name}.npy", clustered(3000, 8, seed)) for seed, name in enumerate("ab")]
    root = tmp_path / "c.nest"
    index(root, save(tmp_path / "first.npy", clustered(10, 8, 9)))
    runs = [
        subprocess.Popen([COMMAND, "add", root, source], stderr=subprocess.PIPE, text=True)
        for source in [*sources, sources[0]]
    ]
    said = [one.communicate(timeout=60)[1] for one in runs]
    assert runs[1].returncode == 0
    assert 0 in (runs[0].returncode, runs[2].returncode)
    for one, text in zip(runs, said, strict=True):
        assert one.returncode == 0 or "another process" in text, text
        assert "Traceback" not in text
    with Collection.open(root) as opened:
        assert len(opened) == 6010
    assert list(verify(root)) == []


def test_two_runs_that_make_the_same_collection(tmp_path: Path) -> None:
    source = save(tmp_path / "v.npy", clustered(3000, 8))
    root = tmp_path / "c.nest"
    runs = [subprocess.Popen([COMMAND, "index", source, root], stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = [one.communicate(timeout=60)[1] for one in runs]
    assert 0 in [one.returncode for one in runs]
    assert all(one.returncode == 0 or "another process" in text for one, text in zip(runs, said, strict=True)), said
    assert index(root, source).unchanged == 3000
    assert list(verify(root)) == []


@needs_bundled
def test_a_collection_that_is_made_while_a_run_that_would_make_it_begins(tmp_path: Path) -> None:
    draw(tmp_path / "photos" / "a.png", 0)
    root, source = tmp_path / "c.nest", save(tmp_path / "v.npy", clustered(10, 8))

    class Racing(Silent):
        def say(self, text: str) -> None:
            if not exists(root):
                index(root, source)

    with pytest.raises(CommitConflict, match="another process made"):
        run.index(root, [tmp_path / "photos"], RunOptions(device="cpu"), Racing())
    with Collection.open(root) as opened:
        assert len(opened) == 10


def test_a_disk_that_cannot_be_written_to_says_so(tmp_path: Path) -> None:
    source = save(tmp_path / "v.npy", clustered(10, 8))
    done = subprocess.run([COMMAND, "index", source, "/proc/c.nest"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "/proc" in done.stderr
    assert "Traceback" not in done.stderr
    assert os.listdir(tmp_path) == ["v.npy"]
