"""How long nestvec's index alone takes to build: rotation, training and adding, given vectors. Others build no more.

    python -m rivals.alone VECTORS.npy SPEC THREADS

Prints seconds. In a process of its own, on as many cores as it has threads: as everybody builds.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from indexers.base import IndexSpec
from indexers.build import build
from indexers.store import VectorStore
from indexers.vectors import FloatArray
from rivals.measuring import Bench
from rivals.session import THREADS
from rivals.worker import own_cores

BUILDS = 5
ROOT = Path(__file__).resolve().parents[2]


def build_seconds(spec: IndexSpec, xb: FloatArray) -> float:
    """Return how long rotation, training and adding take, given vectors [n, D], for a resolved spec."""
    store = VectorStore(np.ascontiguousarray(xb))
    started = time.perf_counter()
    build(spec, store, device="cpu")
    return time.perf_counter() - started


def alone_seconds(spec: IndexSpec, source: Path, threads: int) -> float:
    """Return `build_seconds` of the vectors in a .npy file, in a process of its own."""
    environment = {**os.environ, **dict.fromkeys(THREADS, str(threads))}
    environment["PYTHONPATH"] = os.pathsep.join((str(ROOT), str(ROOT / "scripts")))
    order = [sys.executable, "-m", "rivals.alone", str(source), str(spec), str(threads)]
    return float(subprocess.run(order, env=environment, check=True, capture_output=True, text=True).stdout)


def in_turn(bench: Bench, names: Sequence[str], spec: IndexSpec) -> float:
    """Return the median of `alone_seconds`, in turn with the builds of all winners: a ratio is of the same minutes.

    Args:
        bench: says how often.
        names: of the systems to build.
        spec: resolved.
    """
    taken = []
    for _ in range(max(BUILDS, bench.options.build_rounds)):
        bench.rebuild(names)
        taken.append(alone_seconds(spec, bench.inputs.source, bench.options.threads))
    return statistics.median(taken)


if __name__ == "__main__":
    own_cores(int(sys.argv[3]))
    print(build_seconds(IndexSpec.parse(sys.argv[2]), np.load(sys.argv[1])))
