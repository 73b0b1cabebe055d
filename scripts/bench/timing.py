"""How long things take. Needs nothing but Python: workers in the environments of rivals use it too."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


def clocked(work: Callable[..., T], *arguments: Any, **options: Any) -> tuple[T, float]:
    """Return what some work gives, and the seconds it took."""
    started = time.perf_counter()
    given = work(*arguments, **options)
    return given, time.perf_counter() - started


def median_seconds(work: Callable[[], object], repeats: int) -> float:
    """Return the median seconds of a few runs after one that is not counted."""
    work()
    return statistics.median(clocked(work)[1] for _ in range(repeats))
