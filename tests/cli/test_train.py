"""`nestvec train`, as it is installed: train, apply, search; and what is wrong leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest

from engine.api import Collection
from engine.heads.model import load_head
from tests.helpers import COMMAND, clustered, index, save

DIM = 16


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return save(tmp_path / "v.npy", clustered(2000, DIM))


def nestvec(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [COMMAND, *map(str, arguments)], capture_output=True, text=True, check=False, cwd=cwd, timeout=300
    )


def test_from_vectors_to_a_search_by_a_prefix(tmp_path: Path, source: Path) -> None:
    done = nestvec(
        "train",
        source,
        "--objective",
        "rotation",
        "--dims",
        "4,8",
        "--steps",
        "40",
        "--json",
        "-o",
        "h.safetensors",
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    head = load_head(tmp_path / "h.safetensors")
    assert said["digest"] == head.digest
    assert said["dims"] == [4, 8]
    assert said["training"]["figures"]["after"]["items shortlist@4"] > 0
    assert "step 40 of 40" in done.stderr
    root = tmp_path / "c.nest"
    index(root, source, dtype="float32")
    assert nestvec("apply-head", root, "h.safetensors", "--use", cwd=tmp_path).returncode == 0
    with Collection.open(root) as opened, Collection.open(root, space="main") as plain:
        xq = clustered(20, DIM, 4)
        found, before = opened.search(head(xq), exact=True), plain.search(xq, exact=True)
        for ours, theirs in zip(found, before, strict=True):
            np.testing.assert_allclose(ours.scores, theirs.scores, atol=1e-5)
        assert len(opened.search(head(xq[0])[0], dim=4)) == 10


def test_the_table_says_before_and_after(tmp_path: Path, source: Path) -> None:
    done = nestvec(
        "train", source, "--objective", "adaptor", "--dims", "4", "--steps", "20", "-o", "h.safetensors", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert "before" in done.stdout
    assert "shortlist@4" in done.stdout
    assert "16 → 16 dimensions" in done.stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_interrupted_it_goes_on(tmp_path: Path, source: Path, number: int) -> None:
    """SIGINT writes where it is; after SIGKILL it begins again or goes on, and ends the same."""
    arguments = ["train", source, "--objective", "rotation", "--dims", "4,8", "--steps", "200", "--batch", "64"]
    output = ["-o", "h.safetensors"]
    with subprocess.Popen([COMMAND, *arguments, *output], stderr=subprocess.PIPE, text=True, cwd=tmp_path) as started:
        assert started.stderr is not None
        while not (line := started.stderr.readline()).startswith("step 30 "):
            assert line, "it ended before it could be interrupted"
        started.send_signal(number)
        rest = started.stderr.read()
        assert started.wait(timeout=60) == (130 if number == signal.SIGINT else -9)
    assert "Traceback" not in rest
    assert not (tmp_path / "h.safetensors").exists()
    assert (tmp_path / "h.safetensors.partial").exists() == (number == signal.SIGINT)
    again = nestvec(*arguments, *output, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert not (tmp_path / "h.safetensors.partial").exists()
    assert ("step 10 of 200" in again.stderr) == (number == signal.SIGKILL)
    assert sorted(os.listdir(tmp_path)) == ["h.safetensors", "v.npy"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["v.npy", "--objective", "rotation", "--dims", "4,99"], "no prefix can have 99"),
        (["v.npy", "--objective", "rotation", "--dims", "four"], "expected numbers with commas"),
        (["v.npy", "--objective", "supervised", "--dims", "4"], "needs labels"),
        (["nan.npy", "--objective", "rotation", "--dims", "4"], "row 3 has NaN"),
        (["v.npy", "--objective", "rotation", "--dims", "4", "-o", "h.bin"], "a .safetensors file"),
        (["v.npy", "--objective", "rotation", "--dims", "4", "-o", "there.safetensors"], "exists already"),
        (["v.npy", "--objective", "rotation", "--dims", "4", "-o", "no/h.safetensors"], "no folder"),
        (["cut.npy", "--objective", "rotation", "--dims", "4"], "cut.npy"),
    ],
)
def test_bad_input_leaves_nothing_behind(tmp_path: Path, source: Path, arguments: list[str], said: str) -> None:
    spoilt = clustered(50, DIM)
    spoilt[3] = np.nan
    save(tmp_path / "nan.npy", spoilt)
    (tmp_path / "cut.npy").write_bytes(source.read_bytes()[:500])
    (tmp_path / "there.safetensors").write_bytes(b"mine")
    before = sorted(os.listdir(tmp_path))
    output = [] if "-o" in arguments else ["-o", "h.safetensors"]
    done = nestvec("train", *arguments, *output, cwd=tmp_path)
    assert done.returncode in (1, 2)
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(os.listdir(tmp_path)) == before
    assert (tmp_path / "there.safetensors").read_bytes() == b"mine"
