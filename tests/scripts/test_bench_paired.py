"""The benchmark of two checkouts, on few rows: this one beside itself."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from indexers.probing import is_available

ROOT = Path(__file__).parents[2]
SMALL = ("--rows", "2000", "--dim", "32", "--queries", "7", "--rounds", "2")


def paired(other: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "scripts.bench", "paired", str(other), *SMALL]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.skipif(not is_available(), reason="no compiled search on this processor")
def test_a_checkout_beside_itself_gives_the_same_answers() -> None:
    done = paired(ROOT)
    assert done.returncode == 0, done.stderr
    line = r"\| (items|texts) \| .* \| [0-9.]+ \| [0-9.]+ \| \*\*[0-9.]+\*\* \| [0-9.]+ to [0-9.]+ \| (\d+) of 7 \|"
    found = re.findall(line, done.stdout)
    assert len(found) == 8, done.stdout
    assert {same for _, same in found} == {"7"}


def test_what_has_no_compiled_search_is_not_timed(tmp_path: Path) -> None:
    done = paired(tmp_path)
    assert done.returncode == 1
    assert f"{tmp_path} has no compiled searches" in done.stderr
