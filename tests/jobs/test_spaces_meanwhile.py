"""Heads are applied while others write and read, and are interrupted: one whole version or the other is there."""

from __future__ import annotations

import signal
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from engine.api import Collection
from engine.collection.verify import verify
from engine.jobs import spaces as heads
from engine.jobs.spaces import HeadOptions, apply_head
from indexers.base import IndexSpec
from indexers.errors import CommitConflict
from tests.collection.test_spaces import assert_derived
from tests.helpers import COMMAND, Hears, clustered, index, newest, save
from tests.jobs.headed import DIM, ROWS, assert_searched, numbered
from tests.made_heads import fingerprint_of, linear, saved, two_towers


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return numbered(tmp_path)


def test_rows_that_arrive_while_a_head_is_applied_are_in_the_space(root: Path) -> None:
    head = two_towers(fingerprint_of(root), 8)
    rounds = iter(range(100))

    def add(_: Any = None) -> None:
        with Collection.open(root) as opened:
            opened.add_vectors(clustered(9, DIM, next(rounds)), source=f"round-{next(rounds)}")

    specs = [IndexSpec("flat", 4), IndexSpec("flat", 8)]
    apply_head(root, saved(head, root.parent / "h.safetensors"), HeadOptions(specs=specs), Hears(add, add))
    assert newest(root).rows > ROWS
    assert len(newest(root).items) > 2
    assert newest(root).space("nested").vectors.shards == 1  # type: ignore[union-attr]
    assert_searched(root, head)
    assert list(verify(root)) == []


def test_a_compaction_meanwhile_is_a_conflict(root: Path) -> None:
    def compact() -> None:
        with Collection.open(root) as opened:
            opened.remove(ids=[3])
            opened.compact()

    path = saved(linear(fingerprint_of(root), 8), root.parent / "h.safetensors")
    with pytest.raises(CommitConflict, match="compacted while a head was applied"):
        apply_head(root, path, None, Hears(advanced=compact))
    assert list(newest(root).spaces) == ["main"]
    assert list(verify(root)) == []


def test_an_error_or_an_interrupt_leaves_the_collection_as_it_was(root: Path) -> None:
    def stop(_: Any = None) -> None:
        raise KeyboardInterrupt

    before = newest(root)
    path = saved(linear(fingerprint_of(root), 8), root.parent / "h.safetensors")
    for listener in (Hears(advanced=stop), Hears(lambda text: stop() if text.startswith("building") else None)):
        with pytest.raises(KeyboardInterrupt):
            apply_head(root, path, None, listener)
        assert newest(root) == before
    apply_head(root, path)
    assert list(verify(root)) == []


MANY = 200_000  # four shards


@pytest.mark.parametrize(("number", "code"), [(signal.SIGKILL, -9), (signal.SIGINT, 130)])
def test_a_killed_apply_head_leaves_the_old_version_whole(tmp_path: Path, number: int, code: int) -> None:
    root = tmp_path / "c.nest"
    index(root, save(tmp_path / "v.npy", clustered(MANY, 8)), specs=["flat@8"])
    before = newest(root)
    path = saved(two_towers(fingerprint_of(root), 64), tmp_path / "h.safetensors")
    arguments = [COMMAND, "apply-head", root, path, "--index", "flat@8"]
    started = subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not list(root.glob("spaces/nested/embeddings/*.parquet")):
        assert started.poll() is None, "it ended before it could be interrupted"
        assert time.monotonic() < deadline
        time.sleep(0.002)
    started.send_signal(number)
    _, said = started.communicate(timeout=60)
    assert started.returncode == code
    assert "Traceback" not in said
    assert newest(root) == before
    assert list(verify(root)) == []
    with Collection.open(root) as opened:
        assert opened.search(clustered(MANY, 8)[5], k=1, exact=True).ids.tolist() == [5]
    done = subprocess.run(arguments, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert list(newest(root).spaces) == ["main", "nested"]
    assert list(verify(root)) == []


def test_adding_in_one_process_and_applying_in_another(tmp_path: Path) -> None:
    root = tmp_path / "c.nest"
    index(root, save(tmp_path / "v.npy", clustered(70_000, 8)), specs=["flat@8"])
    head = two_towers(fingerprint_of(root), 32)
    path = saved(head, tmp_path / "h.safetensors")
    started = subprocess.Popen([COMMAND, "apply-head", root, path, "--index", "flat@4"], stderr=subprocess.PIPE)
    added = 0
    while started.poll() is None or not added:
        index(root, save(tmp_path / f"w{added}.npy", clustered(20, 8, added)), add=True)
        added += 1
    assert started.communicate(timeout=60)[1].count(b"Traceback") == 0
    assert started.returncode == 0
    assert newest(root).rows == 70_000 + 20 * added
    assert_derived(root, head)
    assert list(verify(root)) == []


def test_searching_while_heads_come_and_go(root: Path) -> None:
    """Every answer belongs to one version and one space of it, though the default changes all the time."""
    head = linear(fingerprint_of(root), DIM)  # of the same dimension: only the numbers tell the spaces apart
    path = saved(head, root.parent / "h.safetensors")
    stop = threading.Event()
    wrong: list[BaseException] = []

    def search() -> None:
        with Collection.open(root) as opened:
            while not stop.is_set():
                opened.refresh()
                try:
                    item = opened.similar(5, k=1, include_self=True, exact=True)
                    assert item.ids.tolist() == [5]
                    assert item.scores[0] == pytest.approx(1, abs=1e-5)
                except BaseException as error:
                    wrong.append(error)
                    return

    reader = threading.Thread(target=search)
    reader.start()
    for _ in range(3):
        apply_head(root, path, HeadOptions(use=True, specs=[IndexSpec("flat", 4)]))
        heads.remove_space(root, "nested")
    stop.set()
    reader.join()
    assert not wrong
