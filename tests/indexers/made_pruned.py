"""Indexes for exact search, and what this processor can scan them with."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from indexers.pruned import PrunedIndex
from indexers.pruned_file import WIDTH, write_pruned
from indexers.store import Blocks, VectorStore
from indexers.vectors import FloatArray

prune = pytest.importorskip("indexers.kernels._prune").prune

S, WHOLE, N = 6, 2, 10


def arguments(level: int = 0) -> list[object]:
    """Arguments of the compiled scan that fit together."""
    codes, norms = np.zeros((S, N, WIDTH), np.int8), np.zeros((S - (S - WHOLE) // 2, N), np.uint8)
    queries, terms = np.zeros((1, (S + WHOLE) // 2, 2 * WIDTH), np.uint8), np.zeros((1, S, 4), np.float32)
    return [codes, norms, N, WHOLE, queries, terms, np.zeros(1, np.float32), 3, b"", level]


def has(level: int) -> bool:
    """Whether this processor has the instructions of a level."""
    try:
        prune(*arguments(level))
    except NotImplementedError:
        return False
    return True


LEVELS = [level for level in (1, 2, 4) if has(level)]


def opened(
    folder: Path, xb: FloatArray, xt: FloatArray | None = None, queries: FloatArray | None = None, level: int = 0
) -> tuple[PrunedIndex, VectorStore]:
    """Write and open the index of some rows."""
    path, store = folder / "x.pruned", VectorStore(xb)
    blocks = Blocks(xb)
    sample = np.concatenate(list(blocks)) if xt is None else xt
    write_pruned(path, blocks, len(xb), sample, queries)
    return PrunedIndex(path, *xb.shape, level), store
