"""A run that is told to stop keeps what it has, and one that is told twice stops at once; then it is run again."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from engine.api import Collection
from engine.cli.signals import Signals
from engine.collection.commit import current_version, exists, read_version
from engine.collection.verify import verify
from tests.helpers import COMMAND, clustered, draw, index, needs_bundled, nestvec, python, save

ROWS = 140_000  # two shards and a bit
PICTURES = 150
STOPPING = "stopping after this shard; press Ctrl-C again to stop now"


class Run:
    """The installed command, and the lines it says."""

    def __init__(self, *arguments: str | Path) -> None:
        self.process = subprocess.Popen(
            [COMMAND, *arguments], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, bufsize=1
        )
        self.said: list[str] = []
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as lines:
            self.said.extend(iter(lines.readline, ""))

    def has_said(self, pattern: str) -> bool:
        return any(re.search(pattern, line) for line in list(self.said))

    def wait_for(self, happened: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 60
        while not happened():
            assert self.process.poll() is None, ("it ended before it could be interrupted", self.said)
            assert time.monotonic() < deadline
            time.sleep(0.001)

    def send(self, *numbers: int, apart: float = 0.0) -> None:
        for number in numbers:
            self.process.send_signal(number)
            time.sleep(apart)

    def end(self, seconds: float = 60) -> int:
        code = self.process.wait(timeout=seconds)
        self._reader.join()
        assert "Traceback" not in "".join(self.said), self.said
        return code


def rows_of(root: Path) -> int:
    return read_version(root, current_version(root)).rows if exists(root) else 0


def is_writing(root: Path, folder: str) -> Callable[[], bool]:
    def look() -> bool:
        where = root / folder
        return where.is_dir() and any(name.startswith(".tmp-") for name in os.listdir(where))

    return look


def has_begun(root: Path) -> bool:
    """Whether the first run of a collection has set its ids aside, the last thing before it encodes."""
    if not read_version(root, current_version(root)).next_id:
        return False
    time.sleep(0.05)
    return True


def check(root: Path, least: int) -> int:
    """Check that a collection is whole and has kept its rows, and return how many there are."""
    assert list(verify(root)) == []
    with Collection.open(root) as opened:
        ids = opened.snapshot.ids.tolist()
        assert len(opened) == len(set(ids)) == rows_of(root)
    assert rows_of(root) >= least
    return rows_of(root)


def completed(command: Sequence[str | Path], kept: int, total: int) -> dict[str, int]:
    """Run the same command again and check that it did what was missing and nothing else."""
    done = nestvec(*command, "--json")
    assert done.returncode == 0, done.stderr.decode()
    summary: dict[str, int] = json.loads(done.stdout)
    assert (summary["unchanged"], summary["added"], summary["removed"]) == (kept, total - kept, 0)
    return summary


def test_interrupted_wherever_it_is(tmp_path: Path) -> None:
    """One collection, whose run is stopped at each stage in turn before it may end."""
    root, source = tmp_path / "c.nest", save(tmp_path / "v.npy", clustered(ROWS, 8))
    command = ("index", source, root, "--index", "ivf-flat@8:nlist=2000")

    listing = Run(*command)
    listing.wait_for(lambda: exists(root))
    listing.send(signal.SIGINT)
    assert listing.end() == 130
    assert check(root, 0) == 0

    encoding = Run(*command)
    encoding.wait_for(lambda: has_begun(root))
    encoding.send(signal.SIGINT)
    assert encoding.end() == 130
    assert encoding.has_said(STOPPING)
    kept = check(root, 4096)
    assert kept < ROWS

    writing = Run(*command)
    writing.wait_for(is_writing(root, "spaces/main/embeddings"))
    writing.send(signal.SIGTERM)
    assert writing.end() == 143
    more = check(root, kept + 4096)

    twice = Run(*command)
    twice.wait_for(lambda: twice.has_said(f"^{ROWS} found"))
    twice.send(signal.SIGINT, signal.SIGINT, apart=0.01)
    assert twice.end() == 130
    kept = check(root, more)

    building = Run(*command)
    building.wait_for(lambda: building.has_said("^building ivf"))
    version = current_version(root)
    building.send(signal.SIGINT)
    assert building.end() == 130
    assert not building.has_said(STOPPING), "there is nothing to finish"
    assert (current_version(root), check(root, ROWS)) == (version, ROWS)

    completed(command, ROWS, ROWS)
    assert [str(entry.spec) for entry in read_version(root, current_version(root)).space().indexes] == [
        "ivf-flat@8:nlist=2000"
    ]
    assert check(root, ROWS) == ROWS


def test_stopped_at_once_while_a_shard_is_committed(tmp_path: Path) -> None:
    root, source = tmp_path / "c.nest", save(tmp_path / "v.npy", clustered(70_000, 8))
    command = ("index", source, root, "--index", "flat@8")
    run = Run(*command)
    run.wait_for(is_writing(root, "items"))
    run.send(signal.SIGINT, signal.SIGINT)
    assert run.end() == 130
    kept = check(root, 0)
    completed(command, kept, 70_000)
    assert check(root, 70_000) == 70_000


def test_stopped_at_once_where_python_does_not_hear(tmp_path: Path) -> None:
    """An index is trained in one call, which looks for no signals; the second one ends it all the same."""
    root, source = tmp_path / "c.nest", save(tmp_path / "v.npy", clustered(30_000, 256))
    run = Run("index", source, root, "--index", "hnsw@256:efConstruction=2000,m=64")
    run.wait_for(lambda: run.has_said("^building hnsw"))
    time.sleep(1)
    run.send(signal.SIGINT, signal.SIGINT, apart=0.2)
    started = time.monotonic()
    assert run.end() == 130
    assert time.monotonic() - started < 5
    assert check(root, 30_000) == 30_000


LOST = """
import contextlib, os, signal, time
from engine.cli.signals import Signals
try:
    with Signals().installed():
        with contextlib.suppress(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
        with contextlib.suppress(KeyboardInterrupt):
            time.sleep(30)
        time.sleep(30)
except KeyboardInterrupt:
    print("heard")
"""


def test_an_interrupt_that_got_lost_comes_again() -> None:
    """Extension modules ignore every error while they are imported, numpy.random's for one."""
    started = time.monotonic()
    assert python(LOST) == ["heard"]
    assert time.monotonic() - started < 20


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_tune_leaves_what_was_there(tmp_path: Path, number: int, code: int) -> None:
    root = tmp_path / "c.nest"
    index(root, save(tmp_path / "v.npy", clustered(6000, 32)), specs=["sq@32"])
    version = current_version(root)
    run = Run("tune", root)
    run.wait_for(lambda: run.has_said("^shortlists"))
    run.send(number)
    assert run.end() == code
    assert current_version(root) == version
    assert check(root, 6000) == 6000


@needs_bundled
def test_pictures_that_were_encoded_are_kept(tmp_path: Path) -> None:
    for number in range(PICTURES):
        draw(tmp_path / "photos" / f"{number}.png", number)
    root, command = tmp_path / "c.nest", ("index", tmp_path / "photos", tmp_path / "c.nest", "--batch-size", "8")
    once = Run(*command)
    once.wait_for(lambda: exists(root) and has_begun(root))
    time.sleep(0.5)
    once.send(signal.SIGINT)
    assert once.end() == 130
    assert once.has_said(STOPPING)
    kept = check(root, 8)
    assert kept < PICTURES
    twice = Run(*command)
    twice.wait_for(lambda: twice.has_said(f"^{PICTURES} found"))
    twice.send(signal.SIGTERM, signal.SIGINT, apart=0.05)
    assert twice.end() == 143
    kept = check(root, kept)
    summary = completed(command, kept, PICTURES)
    assert summary["encoded"] == PICTURES - kept
    assert check(root, PICTURES) == PICTURES


def test_a_signal_that_is_ignored_stays_ignored(tmp_path: Path) -> None:
    """As `nohup` and shells do for what runs in the background."""
    root, source = tmp_path / "c.nest", save(tmp_path / "v.npy", clustered(3000, 8))
    started = subprocess.Popen(
        [COMMAND, "index", source, root],
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    )
    deadline = time.monotonic() + 60
    while not exists(root):
        assert time.monotonic() < deadline
        time.sleep(0.002)
    started.send_signal(signal.SIGINT)
    said = started.communicate(timeout=60)[1]
    assert started.returncode == 0, said
    assert check(root, 3000) == 3000
    shutil.rmtree(root)


def test_from_python_an_interrupt_is_an_exception(tmp_path: Path) -> None:
    """Nobody's handlers are replaced where nestvec is a library."""
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    index(tmp_path / "c.nest", save(tmp_path / "v.npy", np.eye(8, dtype=np.float32)))
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_only_a_run_that_keeps_what_it_did_says_so() -> None:
    signals = Signals()
    assert signals.told("interrupted") == "nestvec: interrupted"  # a search, or an export
    with signals.held():
        pass
    assert signals.told("stopped") == "nestvec: stopped; what was finished is kept: run the same command again"
