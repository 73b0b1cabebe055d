"""What an adapter is: a system as the benchmark sees it. Cosine is the inner product of unit vectors everywhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from scripts.bench.rivals.records import Params

Floats = NDArray[np.float32]
Ids = NDArray[np.int64]
Lines = Sequence[Sequence[Params]]

MISSING = -1


@dataclass(frozen=True)
class Build:
    """One way to build, and what to try when searching it.

    Attributes:
        params: what `Adapter.build` takes.
        lines: search parameters in lines, each from the cheapest up: a line is followed until it finds enough.
    """

    params: Params
    lines: Lines


class Adapter(Protocol):
    """One system in one process, which either builds or serves.

    Attributes:
        version: of the library.
        can_map: whether `load` can leave the index on disk, mapped.
    """

    version: str
    can_map: bool

    def grid(self, rows: int, dim: int) -> list[Build]:
        """Return what to tune over, the most promising builds first."""

    def build(self, xb: Floats, source: Path, folder: Path, params: Params, threads: int) -> None:
        """Index unit vectors [n, D] (which `source`, a .npy file, holds as well) and save all that serving needs."""

    def load(self, folder: Path, params: Params, threads: int, mapped: bool) -> None:
        """Make ready what `build` saved."""

    def use(self, params: Params) -> None:
        """Set the search parameters."""

    def search(self, xq: Floats, k: int) -> Ids:
        """Return row numbers [nq, k], best first, -1 for none; a single query uses one thread."""

    def used_bytes(self, folder: Path) -> int:
        """Return the bytes on disk that a search needs."""


def all_bytes(folder: Path) -> int:
    """Return the bytes of every file below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def rising(first: int, last: int) -> list[int]:
    """Return first, 2·first, 4·first … as far as `last`, with a step between each from 16 on: 16, 24, 32, 48 …"""
    values = []
    while first <= last:
        values.append(first)
        if first >= 16 and 3 * first // 2 <= last:
            values.append(3 * first // 2)
        first *= 2
    return values


def padded(ids: np.ndarray, k: int) -> Ids:
    """Return ids [nq, at most k] as [nq, k], -1 where there are none."""
    out = np.full((len(ids), k), MISSING, dtype=np.int64)
    out[:, : ids.shape[1]] = ids
    return out


def filled(ids: Sequence[Sequence[int]], k: int) -> Ids:
    """Return rows of at most k ids as a matrix, -1 where there are none."""
    out = np.full((len(ids), k), MISSING, dtype=np.int64)
    for row, found in enumerate(ids):
        out[row, : len(found)] = found[:k]
    return out
