"""The algebra of vectors: checking, normalising, cutting to a prefix.

Everything here takes and gives float32 arrays of shape [n, D], C-contiguous, unit rows
unless said otherwise.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from indexers.errors import InvalidVectors

FloatArray = NDArray[np.float32]
IdArray = NDArray[np.int64]

# From here to there squares add up in float32; shorter and longer rows are measured in float64.
MIN_NORM, MAX_NORM = 1e-12, 1e15
# Rows whose largest number lies outside are scaled before they become float32, which holds few digits of it or none.
SMALL, LARGE = 2.0**-60, 2.0**100


def as_matrix(x: Any, *, name: str = "vectors", dim: int | None = None) -> FloatArray:
    """Return `x` as a float32 matrix, refusing what cannot be searched.

    Args:
        x: array-like of shape [n, D], or [D] for one row; any real dtype.
        name: what the array is called in an error message.
        dim: the D that is expected, or None for any.

    Returns:
        float32 [n, D], C-contiguous (`x` itself when it already is).

    Raises:
        InvalidVectors: not numeric, not 1-D or 2-D, another D, or NaN or infinite values.
    """
    try:
        array = np.asarray(x)
    except ValueError as error:
        raise InvalidVectors(f"{name}: expected rows of one length, found {error}") from error
    if not is_real(array.dtype):
        raise InvalidVectors(f"{name}: expected real numbers, found dtype {array.dtype}")
    if array.ndim == 1:
        array = array[None, :]
    if array.ndim != 2:
        raise InvalidVectors(f"{name}: expected shape [n, D], found {list(array.shape)}")
    if dim is not None and array.shape[1] != dim:
        raise InvalidVectors(f"{name}: expected {dim} dimensions, found {array.shape[1]}")
    matrix = as_float32(array)
    # ∞ − ∞ in the sum is reported below in our own words.
    with np.errstate(over="ignore", invalid="ignore"):
        # One pass: a sum is finite only if every value is (float64 cannot overflow on float32 values).
        finite = math.isfinite(matrix.sum(dtype=np.float64))
    if not finite:
        row = int(np.flatnonzero(~np.isfinite(matrix).all(axis=1))[0])
        raise InvalidVectors(f"{name}: row {row} has NaN or infinite values; remove or repair it")
    return matrix


def is_real(dtype: np.dtype[Any]) -> bool:
    """Whether vectors may come in a type: whole and floating-point numbers, bfloat16 (of ml_dtypes) among them."""
    return dtype.kind in "fiu" or dtype.name == "bfloat16"


def as_float32(array: NDArray[Any]) -> FloatArray:
    """Return rows as float32, each with its direction: what float32 cannot hold is scaled by a power of two first.

    Args:
        array: [n, D] of a type that `is_real`; what is not finite stays so.

    Returns:
        float32 [n, D], C-contiguous (`array` itself when it already is).
    """
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        rows: FloatArray = np.ascontiguousarray(array, dtype=np.float32)
        if array.dtype.kind != "f" or array.dtype.itemsize <= rows.itemsize or not rows.size:
            return rows
        largest = np.maximum(rows.max(axis=1), -rows.min(axis=1))
        odd = np.flatnonzero(~((largest > SMALL) & (largest < LARGE)))
        if len(odd):
            _, exponents = np.frexp(np.abs(array[odd]).max(axis=1))
            rows[odd] = np.ldexp(array[odd], -exponents[:, None])
    return rows


def normalize(x: FloatArray, *, name: str = "vectors") -> FloatArray:
    """Scale every row to unit length.

    Args:
        x: float32 [n, D].
        name: what the array is called in an error message.

    Returns:
        float32 [n, D], a new array.

    Raises:
        InvalidVectors: a row of length zero, which has no direction.
    """
    # einsum sums in float32, in whose range the squares of huge and tiny rows are not.
    norms = np.sqrt(np.einsum("ij,ij->i", x, x, dtype=np.float32))
    odd = ~((norms > MIN_NORM) & (norms < MAX_NORM))
    if odd.any():
        norms = norms.astype(np.float64)
        norms[odd] = np.linalg.norm(x[odd].astype(np.float64), axis=1)
        if (norms == 0).any():
            row = int(np.flatnonzero(norms == 0)[0])
            raise InvalidVectors(f"{name}: row {row} has length zero and so no direction")
    unit: FloatArray = (x / norms[:, None]).astype(np.float32, copy=False)
    return unit


def as_queries(x: Any, *, name: str, dim: int) -> FloatArray:
    """Return queries as unit rows: `as_matrix`, then `normalize`, and in a fifth of the time for a single float32 one.

    Args:
        x: array-like of shape [nq, D], or [D] for one.
        name: what the array is called in an error message.
        dim: the D that is expected.

    Returns:
        float32 [nq, D], C-contiguous.

    Raises:
        InvalidVectors: see `as_matrix` and `normalize`.
    """
    if type(x) is np.ndarray and x.dtype == np.float32 and x.shape in ((1, dim), (dim,)):
        row = x.reshape(dim)
        with np.errstate(over="ignore", invalid="ignore"):
            square = float(np.dot(row, row))
        length = math.sqrt(square) if square >= 0 else math.nan
        # What is not finite has no such length, nor has what is too long or short to square.
        if MIN_NORM < length < MAX_NORM:
            unit: FloatArray = np.divide(row, np.float32(length), dtype=np.float32)[None, :]
            return unit
    return normalize(as_matrix(x, name=name, dim=dim), name=name)


def truncate(x: FloatArray, d: int) -> FloatArray:
    """Cut rows to their first `d` columns and renormalise: the only way a prefix is made.

    A prefix of length zero in float32 stays as it is (its score with anything is 0): a query may
    legitimately have no weight in the leading dimensions. Any other is scaled, however short, since
    FAISS does so to queries (`prefix.wrap`) and `rerank` must agree with both.

    Args:
        x: float32 [n, D] with unit rows.
        d: prefix dimension, 1 ≤ d ≤ D.

    Returns:
        float32 [n, d] with unit (or zero) rows; `x` itself when d = D.

    Raises:
        InvalidVectors: `d` is out of range.
    """
    full = x.shape[1]
    if not 1 <= d <= full:
        raise InvalidVectors(f"a prefix of {d} dimensions was asked of vectors with {full}")
    if d == full:
        return x
    # Always a copy: the prefix of a single row is contiguous as it is, and would be scaled in `x`.
    prefix = x[:, :d].copy()
    norms = np.sqrt(np.einsum("ij,ij->i", prefix, prefix, dtype=np.float32))
    norms[norms == 0] = 1.0
    prefix /= norms[:, None]
    return prefix
