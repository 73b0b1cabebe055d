"""How many cores there are to share.

The one rule: whoever works on a batch uses every core, and nothing inside it starts more.
A search of many queries runs on all OpenMP threads, a search of one query on the thread
that called it, and while pictures are encoded on a CPU each core has one worker whose
decoder and network are single-threaded. `NESTVEC_THREADS` lowers the number for all three.
"""

from __future__ import annotations

import os

from indexers.errors import InvalidInput

VARIABLE = "NESTVEC_THREADS"


def available_cores() -> int:
    """Return the cores this process may use, or fewer where `NESTVEC_THREADS` says so.

    Raises:
        InvalidInput: the variable is set and is not a positive whole number.
    """
    wanted = os.environ.get(VARIABLE, "").strip()
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if not wanted:
        return allowed
    if not wanted.isdigit() or int(wanted) < 1:
        raise InvalidInput(f"{VARIABLE} must be a positive whole number, found {wanted!r}")
    return min(int(wanted), allowed)
