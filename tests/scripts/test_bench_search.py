"""The benchmark of search, on few rows: what Python adds to the one compiled call."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from indexers.probing import is_available


@pytest.mark.parametrize(("rows", "plan"), [(500, "exact"), (25_000, "ivf-pq@64")])
def test_a_small_run_writes_its_page(rows: int, plan: str, tmp_path: Path) -> None:
    page = tmp_path / "search.md"
    command = [sys.executable, "-m", "scripts.bench", "search", "--page", str(page)]
    asked = ["--rows", str(rows), "--dim", "64", "--queries", "60"]
    subprocess.run([*command, *asked], check=True, capture_output=True, text=True)
    told = page.read_text()
    shares = [float(share) for share in re.findall(r"\| (?:like the base|like texts) \| ([0-9.]+)", told)]
    assert len(shares) == 2 and min(shares) >= 0.9
    assert re.search(r"\| Collection.search, ids and scores \| [0-9]+ \| [0-9]+ \|", told)
    assert f"Default plan: `{plan}" in told
    if plan != "exact" and is_available():
        assert re.search(r"\| the one call into compiled code \| [0-9]+ \| [0-9]+ \|", told)
