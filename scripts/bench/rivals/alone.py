"""How long nestvec's index alone takes to build: rotation, training and adding, given vectors. Others build no more.

    python -m scripts.bench.rivals.alone VECTORS.npy SPEC THREADS

Prints seconds. In a process of its own, on as many cores as it has threads: as everybody builds.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from indexers.base import IndexSpec
from indexers.build import build
from indexers.store import VectorStore
from indexers.vectors import FloatArray
from scripts.bench.rivals.measuring import Bench
from scripts.bench.rivals.session import surroundings
from scripts.bench.rivals.worker import own_cores
from scripts.bench.timing import clocked

BUILDS = 5


def build_seconds(spec: IndexSpec, xb: FloatArray) -> float:
    """Return how long rotation, training and adding take, given vectors [n, D], for a resolved spec."""
    store = VectorStore(np.ascontiguousarray(xb))
    return clocked(build, spec, store, device="cpu")[1]


def alone_seconds(spec: IndexSpec, source: Path, threads: int) -> float:
    """Return `build_seconds` of the vectors in a .npy file, in a process of its own."""
    order = [sys.executable, "-m", "scripts.bench.rivals.alone", str(source), str(spec), str(threads)]
    done = subprocess.run(order, env=surroundings(threads), check=True, capture_output=True, text=True)
    return float(done.stdout)


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
