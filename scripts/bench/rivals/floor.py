"""How far from the floor: what nestvec's winners read for a query, beside how fast this machine reads memory.

And what of a build is the index: everybody else builds nothing but that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np

from engine.api import Collection
from engine.heads.training.options import Examples, TrainOptions
from engine.heads.training.train import train
from engine.retrieval.coarse import Coarse, middle_of, probing
from indexers.base import AXES, IndexSpec
from indexers.families.ivf import refine_bytes
from indexers.families.registry import family
from indexers.plan import EXACT, SearchPlan
from indexers.prefix import matrix_of
from indexers.vectors import FloatArray
from scripts.bench.rivals.alone import build_seconds
from scripts.bench.rivals.choice import TARGETS, of_winners, winners
from scripts.bench.rivals.inputs import FRESH, Inputs
from scripts.bench.rivals.nestvec_ import DEFAULT, ROOT
from scripts.bench.rivals.records import BATCH, Book, Floor, Trial, key_of
from scripts.bench.rivals.systems import OURS
from scripts.bench.timing import clocked, median_seconds

QUERIES = 200
BYTES = 1 << 30
ROUNDS = 5
HALF = 2
LEARNED_ROWS = 100_000


def bandwidth(threads: int) -> float:
    """Return bytes a second that so many threads read from memory together: dot products of what no cache holds."""
    parts = np.array_split(np.ones(BYTES // 4, np.float32), threads)
    with ThreadPoolExecutor(threads) as pool:
        return BYTES / median_seconds(lambda: list(pool.map(lambda x: np.dot(x, x), parts)), ROUNDS)


def read_bytes(coarse: Coarse, plan: SearchPlan, xq: np.ndarray, k: int) -> float:
    """Return bytes a query: the matrix before the index, centroids, codes of cells, and stored vectors, each once."""
    middle = middle_of(coarse.spec, plan)
    shortlist = plan.stages[-1].shortlist
    stored = shortlist * coarse.store.row_bytes + middle * coarse.spec.dim
    if coarse.probed is None:
        return stored + family(coarse.spec.family).bytes_read(coarse.spec, coarse.visits(plan), len(coarse.store))
    matrix = matrix_of(coarse.index)
    front = 0 if matrix is None else matrix.size * HALF
    cells = dict(coarse.spec.params)["nlist"] * coarse.spec.dim * HALF
    visited = float(probing(coarse, plan, xq, k, shortlist, middle).visited.mean())
    scanned = family(coarse.spec.family).bytes_per_item(coarse.spec) - refine_bytes(coarse.spec)
    return front + cells + visited * scanned + stored


def learned_seconds(spec: IndexSpec, xb: FloatArray) -> float:
    """Return how long it takes with the rotation that `train --objective rotation` learns for this prefix.

    It learns from a sample; all rows are turned, and then trained and added as ever.
    """
    rows = np.sort(np.random.default_rng(0).choice(len(xb), min(len(xb), LEARNED_ROWS), replace=False))
    sample = Examples(np.ascontiguousarray(xb[rows]))
    options = TrainOptions("rotation", (spec.dim,))
    head, learning = clocked(train, sample, options, encoder={"name": "precomputed"})
    turned, turning = clocked(head, np.ascontiguousarray(xb))
    plain = replace(spec, params=tuple((name, value) for name, value in spec.params if name != AXES))
    return learning + turning + build_seconds(plain, turned)


def floors(
    inputs: Inputs, book: Book, folder: Path, threads: int, k: int, alone: Callable[[IndexSpec], float]
) -> Iterator[Floor]:
    """Yield what each of nestvec's winners reads, for those that are not in the book yet.

    Args:
        inputs: the data.
        book: with the winners' trials.
        folder: where nestvec's builds lie.
        threads: of a batch.
        k: answers a query.
        alone: returns how many seconds a resolved spec takes to build alone; others may be built there as well.
    """
    known = {(one.target, one.mode) for one in of_winners(book.all(Floor), book.all(Trial), OURS)}
    speeds: dict[int, float] = {}
    built: dict[str, float] = {}
    for (target, mode), trial in winners(book.all(Trial), OURS).items():
        root = folder / key_of(trial.build) / ROOT
        if (target, mode) in known or not root.exists():
            continue
        used = threads if mode == BATCH else 1
        if used not in speeds:
            speeds[used] = bandwidth(used)
        with Collection.open(root) as opened:
            searcher = opened.searcher
            text = str(trial.search["plan"])
            plan = searcher.routes.usual if text == DEFAULT else SearchPlan.parse(text)
            if plan.index == EXACT:
                continue
            spec = searcher.specs[plan.index]
            read = {
                kind: read_bytes(searcher.coarse(plan.index), plan, part.queries[:QUERIES], k)
                for kind, part in inputs.half(FRESH).items()
            }
        # Closed: its folder may be made anew.
        if str(spec) not in built:
            built[str(spec)] = alone(spec)
        # Minutes: for one winner of each data set.
        learns = (target, mode) == (TARGETS[0], BATCH) and spec.dim < inputs.xb.shape[1]
        learned = learned_seconds(spec, inputs.xb) if learns else 0.0
        yield Floor(OURS, trial.build, trial.search, target, mode, read, speeds[used], built[str(spec)], learned)
