"""The benchmark on a GPU: that it says so where there is none. What it measures only a GPU can tell."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from indexers.gpu import gpu_count
from tests.conftest import needs_gpu

COMMAND = (sys.executable, "-m", "scripts.bench", "gpu")


@pytest.mark.skipif(gpu_count() > 0, reason="there is a GPU")
def test_without_a_gpu_nothing_is_measured_and_nothing_written(tmp_path: Path) -> None:
    page = tmp_path / "gpu.md"
    command = [*COMMAND, str(tmp_path / "data"), "--page", str(page)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "FAISS sees no GPU here: run scripts/setup gpu" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.gpu
@needs_gpu
def test_a_small_run_writes_its_page(tmp_path: Path) -> None:
    page = tmp_path / "gpu.md"
    command = [*COMMAND, str(tmp_path / "data"), "--rows", "60000", "--page", str(page)]
    subprocess.run(command, check=True)
    text = page.read_text(encoding="utf-8")
    assert "| nestvec |" in text
    assert "| GpuIndexFlat |" in text
