"""The folder where nestvec keeps, on this machine and for this user, what it can lose."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """Return where nestvec keeps what it can lose: `NESTVEC_CACHE`, or the XDG cache folder."""
    if own := os.environ.get("NESTVEC_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nestvec"
