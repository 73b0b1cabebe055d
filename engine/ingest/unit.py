"""Vectors as they were handed over, made unit length; what has no direction is told apart."""

from __future__ import annotations

import numpy as np
from blake3 import blake3

from indexers.errors import InvalidVectors
from indexers.vectors import FloatArray, as_matrix, normalize

_NOT_FINITE = "the vector has NaN or infinite values"


def unit_rows(vectors: FloatArray, dim: int) -> tuple[FloatArray, dict[int, str]]:
    """Normalise rows, together where they are all right.

    Args:
        vectors: float32 [n, D].
        dim: the D expected.

    Returns:
        unit float32 [n, D], zero where a row is wrong, and what is wrong by row number.
    """
    try:
        return normalize(as_matrix(vectors, dim=dim)), {}
    except InvalidVectors:
        unit = np.zeros_like(vectors)
        wrong: dict[int, str] = {}
        for row, vector in enumerate(vectors):
            try:
                unit[row] = normalize(as_matrix(vector, dim=dim))[0]
            except InvalidVectors:
                finite = np.isfinite(vector).all()
                wrong[row] = "the vector has length zero, and so no direction" if finite else _NOT_FINITE
        return unit, wrong


def contents_of(vectors: FloatArray) -> list[str]:
    """Hash each row as it was handed over, float32 [n, D]."""
    rows = np.ascontiguousarray(vectors)
    return [f"b3:{blake3(row.data).hexdigest(length=16)}" for row in rows.view(np.uint8)]
