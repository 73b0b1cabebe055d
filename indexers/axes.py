"""Principal axes: the rotation that puts most of what vectors are into their leading numbers, without learning."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from indexers.vectors import FloatArray

ROWS_AT_ONCE = 4096


def moments(x: FloatArray, about: FloatArray | None = None) -> NDArray[np.float64]:
    """Return second moments of rows [n, D] about a point (the origin if None), scaled to trace 1 where there is any.

    Accumulated in double precision, so that directions without variance stay orthogonal.
    """
    found = np.zeros((x.shape[1], x.shape[1]))
    for start in range(0, len(x), ROWS_AT_ONCE):
        part = x[start : start + ROWS_AT_ONCE]
        centred = part if about is None else part - about
        found += centred.T @ centred
    trace = float(np.trace(found))
    return found / trace if trace > 0 else found


def principal_axes(second_moments: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return orthonormal axes as columns [D, D], the most important first."""
    axes: NDArray[np.float64] = np.linalg.eigh(second_moments)[1][:, ::-1]
    return axes


def turned_within(axes: NDArray[np.float64], width: int, seed: int) -> NDArray[np.float64]:
    """Turn axes [D, d] at random inside each group of `width` columns.

    Each number of a group then varies as much as the next: codes of a fixed range waste nothing. The groups span what
    they spanned, so prefixes that end with a group are as good as before.
    """
    rng = np.random.default_rng(seed)
    out = np.empty_like(axes)
    for start in range(0, axes.shape[1], width):
        part = axes[:, start : start + width]
        size = part.shape[1]
        out[:, start : start + width] = part @ np.linalg.qr(rng.normal(size=(size, size)))[0]
    return out
