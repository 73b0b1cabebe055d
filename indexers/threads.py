"""How many cores there are to share.

The one rule: whoever works on a batch uses every core, and nothing inside it starts more.
A search of many queries runs on all OpenMP threads, a search of one query on the thread
that called it, and while pictures are encoded on a CPU each core has one worker whose
decoder and network are single-threaded. `NESTVEC_THREADS` lowers the number for all three.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

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
    # Not str.isdigit, to which "²" is a digit; and int() refuses thousands of them.
    if not re.fullmatch("[0-9]{1,9}", wanted) or int(wanted) < 1:
        raise InvalidInput(f"{VARIABLE} must be a positive whole number, found {wanted!r}")
    return min(int(wanted), allowed)


def in_parts(work: Callable[[slice], None], n: int, size: int) -> None:
    """Work on slices of [0, n), on every core; on the calling thread where there is but one slice or one core.

    Args:
        work: on one slice; must let go of the interpreter lock for this to be of use.
        n: end of the last slice.
        size: of all slices but the last, ≥ 1.
    """
    parts = [slice(start, min(start + size, n)) for start in range(0, n, size)]
    cores = available_cores()
    if len(parts) <= 1 or cores == 1:
        for part in parts:
            work(part)
    else:
        with ThreadPoolExecutor(cores) as pool:
            list(pool.map(work, parts))


@contextmanager
def on_one_thread() -> Iterator[None]:
    """Let FAISS compute on the calling thread alone while in this block; other threads are not touched.

    FAISS would share the cells of a single query among all cores. Starting and joining them takes
    longer than most searches, and hundreds of times longer where the cores have other work: on a
    busy machine of two a search of 0.1 ms took 8.
    """
    import faiss

    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)
