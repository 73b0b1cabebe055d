"""The vectors, queries and true answers of one comparison, as files that every worker reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from indexers.base import Neighbors
from indexers.exact import exact_search
from indexers.vectors import FloatArray, normalize

K = 10
TUNE, FRESH = "tune", "fresh"
SEED = 0
BLOCK = 65_536


@dataclass(frozen=True)
class Part:
    """Some queries of one kind: their file, and the true k best of each."""

    path: Path
    queries: FloatArray
    truth: Neighbors


@dataclass(frozen=True)
class Inputs:
    """What is searched and with what.

    Attributes:
        folder: where results go.
        xb: unit float32 [n, D], mapped from `source`.
        parts: by ("tune" or "fresh", kind).
    """

    name: str
    folder: Path
    source: Path
    xb: FloatArray
    parts: Mapping[tuple[str, str], Part]

    def half(self, which: str) -> dict[str, Part]:
        """Return the queries of one half, by kind."""
        return {kind: part for (half, kind), part in self.parts.items() if half == which}


@dataclass(frozen=True)
class Asked:
    """Queries [nq, D] of one kind, and the true answers where somebody knows them."""

    queries: FloatArray
    truth: Neighbors | None = None


def make_inputs(name: str, root: Path, source: Path, rows: int | None, kinds: Mapping[str, Asked]) -> Inputs:
    """Write what workers read below `root`, once, and split the queries of each kind into two halves.

    Args:
        name: of the data.
        root: the results of all data sets.
        source: .npy of unit float32 [N, D].
        rows: how many of them; all if None.
        kinds: queries by kind; answers that are given must be those among just these rows.
    """
    whole = np.load(source, mmap_mode="r")
    rows = len(whole) if rows is None else min(rows, len(whole))
    folder = root / f"{name}-{rows}"
    folder.mkdir(parents=True, exist_ok=True)
    if rows < len(whole):
        part = folder / "xb.npy"
        if not part.exists():
            np.save(part, whole[:rows])
        source = part
    xb = np.load(source, mmap_mode="r")
    parts: dict[tuple[str, str], Part] = {}
    for kind, asked in kinds.items():
        order = np.random.default_rng(SEED).permutation(len(asked.queries))
        for half, which in ((TUNE, order[::2]), (FRESH, order[1::2])):
            parts[half, kind] = _part(folder / f"{kind}-{half}", xb, asked, np.sort(which))
    return Inputs(name, folder, source, xb, parts)


def _part(stem: Path, xb: FloatArray, asked: Asked, which: np.ndarray) -> Part:
    queries = normalize(np.ascontiguousarray(asked.queries[which], dtype=np.float32))
    path, known = stem.with_suffix(".npy"), stem.with_suffix(".truth.npz")
    if asked.truth is not None:
        truth = Neighbors(asked.truth.scores[which, :K], asked.truth.ids[which, :K])
    elif known.exists() and path.exists() and np.array_equal(np.load(path), queries):
        stored = np.load(known)
        truth = Neighbors(stored["scores"], stored["ids"])
    else:
        truth = exact_search(xb, queries, K, block=BLOCK)
        np.savez(known, scores=truth.scores, ids=truth.ids)
    np.save(path, queries)
    return Part(path, queries, truth)
