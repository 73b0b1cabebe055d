"""How many cores there are to share, and what is left of them after a fork.

The one rule: whoever works on a batch uses every core, and nothing inside it starts more.
A search of many queries runs on all OpenMP threads, a search of one query on the thread
that called it, and while pictures are encoded on a CPU each core has one worker whose
decoder and network are single-threaded. `NESTVEC_THREADS` lowers the number for all three.

A forked child has none of its parent's threads, and OpenMP, which FAISS and torch compute with, does not notice: it
waits for them without end. So a child of a process that had loaded one of the two computes on one thread, and whoever
wants all cores starts processes with `spawn` or `forkserver`. A lock that another thread of the parent held would
never be released either: `new_lock` makes those that a fork opens.
"""

from __future__ import annotations

import os
import re
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from weakref import WeakSet

from indexers.errors import InvalidInput

VARIABLE = "NESTVEC_THREADS"

_locks: WeakSet[threading.Lock] = WeakSet()
_forked: list[int] = []
"""Process ids of children, from the first to this one, that were forked after FAISS or torch had been loaded."""


def new_lock() -> threading.Lock:
    """Return a lock that is open in a forked child, whoever held it in the parent."""
    lock = threading.Lock()
    _locks.add(lock)
    return lock


def _after_fork() -> None:
    for lock in list(_locks):
        lock._at_fork_reinit()  # type: ignore[attr-defined]  # as the standard library does with its own
    loaded = [sys.modules[name] for name in ("faiss", "torch") if name in sys.modules]
    if not loaded:
        return
    _forked.append(os.getpid())
    for module in loaded:
        # Both have an OpenMP of their own. Without a parallel region there is nobody to wait for.
        limit = getattr(module, "omp_set_num_threads", None) or getattr(module, "set_num_threads", None)
        if limit is not None:  # else the fork came in the middle of its import
            limit(1)


os.register_at_fork(after_in_child=_after_fork)


def available_cores() -> int:
    """Return the cores this process may use, or fewer where `NESTVEC_THREADS` says so; one in a forked child.

    Raises:
        InvalidInput: the variable is set and is not a positive whole number.
    """
    wanted = os.environ.get(VARIABLE, "").strip()
    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    allowed = 1 if _forked else there
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
    others = min(available_cores(), len(parts)) - 1
    left, failed = iter(parts), list[BaseException]()
    taking = threading.Lock()

    def take() -> None:
        try:
            while not failed:
                with taking:
                    part = next(left, None)
                if part is None:
                    return
                work(part)
        except BaseException as error:  # told on the calling thread
            failed.append(error)

    # The calling thread works as well: one that only waits is one more to start.
    threads = [threading.Thread(target=take, daemon=True) for _ in range(others)]
    for thread in threads:
        thread.start()
    take()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]


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
