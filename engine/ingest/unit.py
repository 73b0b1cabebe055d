"""Vectors as they were handed over, made unit length; what has no direction is told apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

from engine.storage import layout
from indexers.errors import InvalidVectors
from indexers.vectors import FloatArray, as_matrix, normalize

Number = TypeVar("Number", bound=np.generic)

_NOT_FINITE = "the vector has NaN or infinite values"


def unit_rows(vectors: FloatArray, dims: Mapping[str, int]) -> tuple[FloatArray, dict[int, str]]:
    """Normalise rows, of each space by itself.

    Args:
        vectors: float32 [n, D], the vectors of several spaces beside each other.
        dims: how many of the D numbers belong to each space, in order, the main one first.

    Returns:
        unit float32 [n, D], zero where a vector is wrong, and what is wrong by row number.

    Raises:
        InvalidVectors: they are of other dimensions.
    """
    if vectors.ndim != 2 or vectors.shape[1] != sum(dims.values()):
        raise InvalidVectors(f"vectors: expected [n, {sum(dims.values())}], found {list(vectors.shape)}")
    parts: list[FloatArray] = []
    wrong: dict[int, str] = {}
    for (space, dim), part in zip(dims.items(), split(vectors, dims), strict=True):
        unit, of_space = _unit(part, dim)
        parts.append(unit)
        wrong |= {row: in_space(space, why) for row, why in of_space.items() if row not in wrong}
    return beside(parts), wrong


def split(vectors: NDArray[Number], dims: Mapping[str, int]) -> list[NDArray[Number]]:
    """Return the vectors of each space, which lie beside each other in [n, D]."""
    return np.split(vectors, np.cumsum(list(dims.values()))[:-1], axis=1)


def beside(parts: Sequence[FloatArray]) -> FloatArray:
    """Put the vectors of several spaces beside each other, [n, D]."""
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)


def in_space(space: str, why: str) -> str:
    """Say what is wrong with a vector of a space."""
    return why if space == layout.DEFAULT_SPACE else f"in space {space}: {why}"


def _unit(vectors: FloatArray, dim: int) -> tuple[FloatArray, dict[int, str]]:
    """Normalise rows, together where they are all right."""
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
