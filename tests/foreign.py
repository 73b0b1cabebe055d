"""Programs of others that read what nestvec writes, where they must not be in the environment that nestvec runs in.

`datasets` and `embedding-reader` need pandas, which Arrow imports wherever it finds it. So `scripts/setup` puts them
into a folder of their own, and they run in a process of their own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

FOREIGN = Path(sys.prefix) / "foreign"
needs_foreign = pytest.mark.skipif(not FOREIGN.is_dir(), reason="scripts/setup has not put others' readers there")


def read_by(code: str, *arguments: str | Path, scratch: Path) -> Any:
    """Run Python with those packages, offline, and return what it prints as JSON.

    Args:
        code: what runs.
        arguments: its `sys.argv[1:]`.
        scratch: a folder for whatever it keeps.
    """
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": str(scratch)}
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, **offline, "PYTHONPATH": f"{FOREIGN}:{os.environ.get('PYTHONPATH', '')}"},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
