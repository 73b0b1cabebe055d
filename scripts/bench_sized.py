"""The CLIP-like vectors of scripts/bench_data.py in other sizes, for benchmarks whose size is part of the question."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from bench_data import SHAPES, Dataset, synthetic

from engine.api import Collection
from engine.jobs.index import RunOptions
from indexers.base import IndexSpec
from indexers.vectors import FloatArray

SHAPE = "clip-768"


def sized(folder: Path, rows: int, dim: int) -> Dataset:
    """Return `rows` vectors of `dim` dimensions and queries to them, made under `folder` the first time."""
    kept = folder / f"{rows}x{dim}"
    if not kept.exists():
        partial = kept.with_suffix(".partial")
        partial.mkdir(parents=True, exist_ok=True)
        synthetic(replace(SHAPES[SHAPE], rows=rows, dim=dim), partial)
        partial.rename(kept)
    queries = {path.stem.removeprefix("queries-"): np.load(path) for path in sorted(kept.glob("queries-*.npy"))}
    return Dataset(SHAPE, np.load(kept / "xb.npy", mmap_mode="r"), queries, kept)


def half(queries: Mapping[str, FloatArray], which: int) -> dict[str, FloatArray]:
    """Return every second query of each kind: 0 to choose settings with, 1 to measure them."""
    return {kind: np.ascontiguousarray(xq[which::2], dtype=np.float32) for kind, xq in queries.items()}


def indexed(data: Dataset, specs: Sequence[IndexSpec] | None = None) -> Path:
    """Return the collection of a data set, which lies beside it; made the first time."""
    root = data.folder.with_suffix(".nest")
    if not root.exists():
        with Collection.create(root, encoder="precomputed", dim=data.xb.shape[1]) as made:
            made.index(data.folder / "xb.npy", RunOptions(device="cpu", specs=specs))
    return root
