"""Writers beside writers, readers beside both, and garbage collection beside all of them."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from engine.api import Collection
from engine.collection.commit import commit, current_version
from engine.collection.garbage import collect
from engine.collection.history import numbers, versions
from engine.collection.snapshot import Snapshot
from engine.storage import disk
from indexers.errors import CommitConflict, CorruptCollection
from tests.faults.states import assert_sound, state_of, strangers
from tests.faults.zygote import ROOT
from tests.helpers import clustered, nestvec, vectors_collection

WRITERS, BATCHES = 3, 6

WRITER = """
import sys
import numpy as np
from pathlib import Path
from engine.api import Collection
from indexers.errors import CommitConflict

root, name, first, last = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
with Collection.open(root, device="cpu") as opened:
    for batch in range(first, last):
        rows = np.eye(8)[[batch % 8]] + 0.01 * batch
        try:
            opened.add_vectors(rows, names=[f"{batch}"], source=name)
        except CommitConflict as error:
            print("told", batch, flush=True)
        else:
            print("done", batch, flush=True)
"""


def python(code: str, *arguments: object, **more: object) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "NESTVEC_THREADS": "1"}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment, **more)  # type: ignore[call-overload, no-any-return]


def test_no_commit_of_writers_that_are_killed_is_lost(tmp_path: Path) -> None:
    """What a writer said is done is there, whoever was killed when; what it said is not done may be tried again."""
    root = vectors_collection(tmp_path)
    rng = random.Random(7)
    todo = {f"writer-{number}": 0 for number in range(WRITERS)}
    said: set[tuple[str, str]] = set()
    kills = 0
    while todo:
        running = {name: python(WRITER, root, name, first, BATCHES) for name, first in todo.items()}
        if kills < 4:
            time.sleep(rng.uniform(0.8, 2.0))
            victim = rng.choice(sorted(running))
            running[victim].kill()
            kills += 1
        for name, process in running.items():
            lines = [line.split() for line in process.communicate(timeout=120)[0].splitlines()]
            finished = [int(batch) for word, batch in lines if word == "done"]
            said |= {(name, str(batch)) for batch in finished}
            todo[name] = max(finished, default=todo[name] - 1) + 1
            assert process.returncode in (0, -9)
        todo = {name: first for name, first in todo.items() if first < BATCHES}
    state = state_of(root)
    assert state is not None
    there = {(source, path) for _, source, path in state.items}
    assert said <= there
    assert {(f"writer-{w}", str(batch)) for w in range(WRITERS) for batch in range(BATCHES)} <= there
    with Collection.open(root) as opened:
        assert len(set(opened.snapshot.ids.tolist())) == len(opened.snapshot.ids)
    assert_sound(root)
    collect(root, older_than=timedelta(0))
    assert strangers(root) == set()
    assert state_of(root) == state


READER = """
import sys, time
from pathlib import Path
import numpy as np
from engine.api import Collection
from tests.conftest import live_scores

root, seconds = Path(sys.argv[1]), float(sys.argv[2])
xq = np.random.default_rng(int(sys.argv[3])).normal(size=(3, 8)).astype(np.float32)
xq /= np.linalg.norm(xq, axis=1, keepdims=True)
end, seen, asked = time.monotonic() + seconds, set(), 0
with Collection.open(root, device="cpu") as opened:
    while time.monotonic() < end or asked < 3:
        opened.refresh()
        truth = live_scores(opened, xq)
        best = -np.sort(-truth, axis=1)[:, :5]
        for exact in (True, False):
            for row, answers in zip(best, opened.search(xq, 5, exact=exact), strict=True):
                assert not exact or np.allclose(answers.scores, row, atol=2e-3), (opened.version, answers.scores, row)
                assert len(set(answers.ids)) == 5 and len(answers.uris) == 5
        seen.add(opened.version)
        asked += 1
print(asked, len(seen))
"""

CHURN = """
import sys, time
from datetime import timedelta
from pathlib import Path
import numpy as np
from engine.api import Collection
from engine.collection.garbage import collect

root, seconds = Path(sys.argv[1]), float(sys.argv[2])
end, turn = time.monotonic() + seconds, 0
with Collection.open(root, device="cpu") as opened:
    while time.monotonic() < end or turn < 4:
        rows = np.random.default_rng(turn).normal(size=(20, 8))
        opened.add_vectors(rows, names=[f"{turn}-{i}" for i in range(20)], source="churn")
        opened.remove([f"{turn}-{i}" for i in range(0, 20, 2)])
        if turn % 3 == 2:
            opened.compact()
        collect(root, older_than=timedelta(0), wait=30)
        turn += 1
print(turn, opened.version)
"""


def test_readers_answer_from_one_whole_version_while_everything_changes(tmp_path: Path) -> None:
    root = vectors_collection(tmp_path)
    readers = [python(READER, root, 4, seed) for seed in range(2)]
    churn = python(CHURN, root, 4)
    turns, version = map(int, churn.communicate(timeout=120)[0].split())
    for reader in readers:
        asked, seen = map(int, reader.communicate(timeout=120)[0].split())
        assert reader.returncode == 0
        assert asked >= seen > 1
    assert churn.returncode == 0
    assert (turns > 3, version) == (True, current_version(root))
    assert_sound(root)


# -- garbage and who still needs it ------------------------------------------------------------


def grown(tmp_path: Path) -> Path:
    root = vectors_collection(tmp_path)
    with Collection.open(root, device="cpu") as opened:
        opened.add_vectors(clustered(20, 8, 3), names=[f"n{i}" for i in range(20)])
        opened.remove(["n3"])
        opened.compact()
    return root


def test_what_a_reader_has_open_stays(tmp_path: Path) -> None:
    root = grown(tmp_path)
    old = current_version(root) - 1
    before = state_of(root, old)
    with Snapshot.open(root, old) as held:
        found = collect(root, older_than=timedelta(0))
        assert found.held == (old,)
        assert old in numbers(root)
        assert held.live_rows == 79
        assert state_of(root, old) == before
        found = collect(root, older_than=timedelta(0), dry_run=True)
        assert (found.held, found.files) == ((old,), ())
    found = collect(root, older_than=timedelta(0), dry_run=True)
    assert (found.versions, len(found.files) > 3, old in numbers(root)) == ((old,), True, True)
    done = collect(root, older_than=timedelta(0))
    assert done == found
    assert numbers(root) == [current_version(root)]
    assert strangers(root) == set()
    with pytest.raises(CorruptCollection, match="has no version"):
        Snapshot.open(root, old)
    assert_sound(root)


def test_young_versions_and_other_peoples_files_stay(tmp_path: Path) -> None:
    root = grown(tmp_path)
    (root / "items" / "notes.txt").write_text("mine")
    (root / "items" / ".tmp-left-behind.parquet").write_bytes(b"half")
    before = numbers(root)
    found = collect(root)
    assert (found.versions, found.files, numbers(root)) == ((), ("items/.tmp-left-behind.parquet",), before)
    assert (root / "items" / "notes.txt").exists()


def test_a_run_keeps_the_listing_of_its_last_shard_only(tmp_path: Path) -> None:
    root = tmp_path / "c.nest"
    with Collection.create(root, encoder="precomputed", dim=2, device="cpu") as opened:
        angles = np.arange(140_000) / 20_000
        opened.add_vectors(np.stack([np.cos(angles), np.sin(angles)], axis=1))
        assert len(opened.snapshot.manifest.items) > 2
    operations = [one.operation for one in reversed(versions(root, every=True))]
    assert operations == ["create", "index", "build"]
    assert_sound(root)


def test_garbage_waits_for_writers_and_then_gives_up(tmp_path: Path) -> None:
    root = grown(tmp_path)
    with disk.writing(root), pytest.raises(CommitConflict, match="another process is writing"):
        collect(root, older_than=timedelta(0), wait=0.1)
    assert len(numbers(root)) > 1


def test_a_reader_that_waited_for_a_version_that_went_opens_the_newest(tmp_path: Path) -> None:
    """A thousand opens beside commits and collections: none finds a version that is gone."""
    root = vectors_collection(tmp_path)
    code = """
import sys, time
from pathlib import Path
from engine.collection.snapshot import Snapshot
end, n = time.monotonic() + 2, 0
while time.monotonic() < end:
    Snapshot.open(Path(sys.argv[1])).close()
    n += 1
print(n)
"""
    reader = python(code, root)
    for _ in range(40):
        commit(root, lambda base: replace(base, next_id=base.next_id + 1), operation="x")
        collect(root, older_than=timedelta(0))
    opens = int(reader.communicate(timeout=60)[0])
    assert (reader.returncode, opens > 50) == (0, True)


# -- purging -----------------------------------------------------------------------------------


def traces(root: Path, needles: list[bytes]) -> list[str]:
    """Return the files that hold any of some bytes."""
    return [
        path.name for path in root.rglob("*") if path.is_file() and any(one in path.read_bytes() for one in needles)
    ]


def test_of_an_item_that_was_purged_no_byte_is_left(tmp_path: Path) -> None:
    root = tmp_path / "c.nest"
    rng = np.random.default_rng(5)
    rows = rng.normal(size=(40, 16)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    with Collection.create(root, encoder="precomputed", dim=16, dtype="float32", device="cpu") as opened:
        captions = [f"caption of {i}" if i != 7 else "a private caption" for i in range(40)]
        names = [f"name-{i}" if i != 7 else "private-name" for i in range(40)]
        opened.add_vectors(rows, names=names, captions=captions)
        opened.build(["flat@16", "flat@4"])
        stored = opened.snapshot.find_path("private-name")
        vector = next(v for _, v in opened.snapshot.stored_vectors("main"))[stored]
    needles = [b"private-name", b"a private caption", vector.tobytes(), vector[:4].tobytes()]
    assert len(traces(root, needles)) >= 4
    done = nestvec("remove", root, "private-name", "--purge")
    assert done.returncode == 0, done.stderr
    assert traces(root, needles) == []
    assert_sound(root)
    again = nestvec("remove", root, "private-name", "--purge")
    assert again.returncode == 1
    assert b"gc" in again.stderr
