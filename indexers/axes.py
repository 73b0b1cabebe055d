"""Principal axes: the rotation that puts most of what vectors are into their leading numbers, without learning."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from indexers.vectors import FloatArray

ROWS_AT_ONCE = 4096


def moments(x: FloatArray, about: FloatArray | None = None) -> NDArray[np.float64]:
    """Return second moments of rows [n, D] about a point (the origin if None), scaled to trace 1 where there is any.

    Accumulated in double precision, so that directions without variance stay orthogonal.
    """
    blocks = (x[start : start + ROWS_AT_ONCE] for start in range(0, len(x), ROWS_AT_ONCE))
    return moments_of(blocks if about is None else (block - about for block in blocks), x.shape[1])


def moments_of(blocks: Iterable[FloatArray], dim: int) -> NDArray[np.float64]:
    """Return second moments about the origin, as `moments` does, of rows [*, dim] that come in blocks."""
    found = np.zeros((dim, dim))
    for block in blocks:
        for start in range(0, len(block), ROWS_AT_ONCE):
            part = block[start : start + ROWS_AT_ONCE]
            found += part.T @ part
    trace = float(np.trace(found))
    return found / trace if trace > 0 else found


def principal_axes(second_moments: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return orthonormal axes as columns [D, D], the most important first."""
    axes: NDArray[np.float64] = np.linalg.eigh(second_moments)[1][:, ::-1]
    return axes


def balanced(
    rows: NDArray[np.float64], queries: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return A and B [D, D] with A Bᵀ = 1, so that q·x = (q B)·(x A), of which leading columns matter most.

    With second moments C of rows and Q of queries, Aᵀ C A = Bᵀ Q B is diagonal and descends: no linear map leaves less
    of both after any number of columns (balanced truncation, Moore 1981, doi:10.1109/TAC.1981.1102568).

    Args:
        rows: second moments C, positive definite.
        queries: second moments Q, positive definite.
    """
    left, right = np.linalg.cholesky(queries), np.linalg.cholesky(rows)
    middle = left.T @ right
    values, vectors = np.linalg.eigh(middle @ middle.T)
    values, vectors = np.maximum(values[::-1], np.finfo(np.float64).tiny), vectors[:, ::-1]
    # middle = U S Vᵀ, these are S² and U; B = right V S^(-1/2), and right V = right middleᵀ U S⁻¹.
    return left @ vectors / values**0.25, right @ (middle.T @ vectors) / values**0.75


def turned_within(axes: NDArray[np.float64], starts: Sequence[int], seed: int) -> NDArray[np.float64]:
    """Turn axes [D, d] at random inside each group of columns, given where each begins.

    Each number of a group then varies as much as the next: codes of a fixed range waste nothing. The groups span what
    they spanned, so prefixes that end with a group are as good as before.
    """
    rng = np.random.default_rng(seed)
    out = np.empty_like(axes)
    for start, stop in pairwise([*starts, axes.shape[1]]):
        size = stop - start
        out[:, start:stop] = axes[:, start:stop] @ np.linalg.qr(rng.normal(size=(size, size)))[0]
    return out
