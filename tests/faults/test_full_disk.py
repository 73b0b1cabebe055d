"""A disk that is full, at any size: the command says how much was needed, and the last version is whole.

Two ways to fill it: no file may grow beyond a limit, which fails the very write that reaches it, in whichever library
that happens; and a file system of a few kilobytes, where that is allowed.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.collection.commit import exists
from tests.faults.states import assert_sound, history_of, state_of
from tests.faults.stories import NAME, STORIES, copied
from tests.faults.zygote import ROOT, Zygote, zygote
from tests.helpers import COMMAND, clustered, save

TOLD = ("index", "update", "compact", "apply-head", "tune", "repair")


@pytest.fixture(scope="module")
def started() -> Iterator[Zygote]:
    with zygote() as one:
        yield one


@pytest.mark.parametrize("name", TOLD)
def test_no_file_can_grow_beyond_a_limit(name: str, tmp_path: Path, started: Zygote) -> None:
    story, place, root = STORIES[name], tmp_path / "place", tmp_path / "place" / NAME
    place.mkdir()
    story.prepare(place)
    start = None if name == "repair" else state_of(root)
    copied(place, tmp_path / "start")
    before = set(root.rglob("*"))
    assert started.run(root, *story.arguments(place)).status == 0
    end, allowed = state_of(root), [start, *history_of(root)]
    # Every file that the command wrote, cut at its first byte, in the middle, and at its last.
    sizes = {path.stat().st_size for path in set(root.rglob("*")) - before if path.is_file()}
    failed = 0
    for limit in sorted({part for size in sizes for part in (1, size // 2, size - 1)}):
        copied(tmp_path / "start", place)
        outcome = started.run(root, *story.arguments(place), limit=limit)
        assert outcome.status in (0, 1), (limit, outcome.said)
        assert "Traceback" not in outcome.said, (limit, outcome.said)
        assert not list(root.rglob(".tmp-*")), limit
        failed += outcome.status
        if outcome.status:
            told = r"file too large: .* (needs [0-9,]+ bytes|could not be written whole)"
            assert re.search(told, outcome.said), (limit, outcome.said)
        if name == "repair" and outcome.status:
            continue  # as damaged as before
        assert_sound(root, older=name != "repair")
        assert state_of(root) in (allowed if outcome.status else [end])
    assert failed > len(sizes)


FILL = """
import os, shutil, subprocess, sys
from pathlib import Path

from tests.faults.states import assert_sound
from engine.collection.commit import exists

folder, command, source = map(Path, sys.argv[1:4])
for size in map(int, sys.argv[4:]):
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "none", folder], check=True)
    try:
        done = subprocess.run([command, "index", source, folder / "c.nest"], capture_output=True, text=True)
        assert_sound(folder / "c.nest")
        left = [path.name for path in folder.rglob(".tmp-*")]
        print(size, done.returncode, exists(folder / "c.nest"), len(left), " ".join(done.stderr.split()), flush=True)
    finally:
        subprocess.run(["umount", "-l", folder], check=True)
"""


def can_mount() -> bool:
    """Whether a user may mount a file system in a name space of its own here."""
    if shutil.which("unshare") is None:
        return False
    probe = ["unshare", "-Urm", "sh", "-c", "mount -t tmpfs none /mnt"]
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not can_mount(), reason="no file system can be mounted here (unshare -Urm)")
def test_a_small_file_system(tmp_path: Path) -> None:
    source = save(tmp_path / "v.npy", clustered(2000, 32))
    (tmp_path / "small").mkdir()
    sizes = [f"{kb << 10}" for kb in (16, 160, 320, 480, 4096)]
    arguments = ["unshare", "-Urm", sys.executable, "-c", FILL, tmp_path / "small", COMMAND, source, *sizes]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "NESTVEC_THREADS": "1"}
    run = subprocess.run(arguments, capture_output=True, text=True, cwd=ROOT, env=environment, timeout=120, check=False)
    assert run.returncode == 0, run.stderr
    lines = [line.split(" ", 4) for line in run.stdout.splitlines()]
    assert [line[0] for line in lines] == sizes
    for size, code, _, left, said in lines:
        assert left == "0", said
        if code == "1":
            assert re.search(r"no space left on device: .* and [0-9,]+ are free", said), said
        else:
            assert (code, size) == ("0", sizes[-1]) or "version" in said
    assert lines[0][1] == "1" and lines[-1][1] == "0"


def test_a_collection_that_could_not_be_made_can_be_made_in_its_place(tmp_path: Path, started: Zygote) -> None:
    source, root = save(tmp_path / "v.npy", clustered(60, 8)), tmp_path / NAME
    assert started.run(root, "index", source, root, limit=1).status == 1
    assert not exists(root)
    assert started.run(root, "index", source, root).status == 0
    assert_sound(root)


PRUNED = """
import subprocess, sys
from pathlib import Path

import numpy as np

from indexers.pruned_file import pruned_bytes, write_pruned

folder = Path(sys.argv[1])
xb = np.eye(64, dtype=np.float32)[np.arange(20_000) % 64]
subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={pruned_bytes(20_000, 64) // 2}", "none", folder], check=True)
try:
    write_pruned(folder / "index", iter([xb]), len(xb), xb[:100])
except OSError as error:
    print(error.errno)
finally:
    subprocess.run(["umount", "-l", folder], check=True)
"""


@pytest.mark.skipif(not can_mount(), reason="no file system can be mounted here (unshare -Urm)")
def test_an_index_that_is_written_through_a_mapping_needs_its_room_first(tmp_path: Path) -> None:
    (tmp_path / "small").mkdir()
    arguments = ["unshare", "-Urm", sys.executable, "-c", PRUNED, tmp_path / "small"]
    run = subprocess.run(arguments, capture_output=True, text=True, cwd=ROOT, timeout=60, check=False)
    assert (run.returncode, run.stdout.strip()) == (0, str(errno.ENOSPC)), run.stderr
