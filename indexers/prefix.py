"""From a d-dimensional index to one that takes full vectors: cut, renormalise, rotate in C++."""

from __future__ import annotations

import faiss

from indexers.base import FaissIndex, IndexSpec

ROTATION_SEED = 20_22


def rotation(spec: IndexSpec, *, drawn: bool = True) -> FaissIndex | None:
    """Return the random rotation a resolved spec asks for inside its prefix, or None.

    Args:
        spec: resolved.
        drawn: whether to draw it too, which takes d³ steps; without, it only says what it would be.
    """
    if not dict(spec.params).get("rotate"):
        return None
    matrix = faiss.RandomRotationMatrix(spec.dim, spec.dim)
    if drawn:
        matrix.init(ROTATION_SEED)
    return matrix


def steps(spec: IndexSpec, full_dim: int, *, drawn: bool = True) -> list[FaissIndex]:
    """Return what a query goes through before the index of a resolved spec, in order; see `wrap`."""
    found = []
    if spec.dim < full_dim:
        found += [
            faiss.RemapDimensionsTransform(full_dim, spec.dim, False),
            faiss.NormalizationTransform(spec.dim, 2.0),
        ]
    if (matrix := rotation(spec, drawn=drawn)) is not None:
        found.append(matrix)
    return found


def wrap(inner: FaissIndex, spec: IndexSpec, full_dim: int) -> FaissIndex:
    """Put `vectors.truncate` (and the spec's rotation) in front of an index.

    Args:
        inner: a trained index over [n, d].
        spec: its resolved spec.
        full_dim: dimension D of the vectors that will be searched with.

    Returns:
        a faiss.IndexPreTransform over [n, D], or `inner` itself when nothing is needed. It owns
        `inner`.
    """
    chain = steps(spec, full_dim)
    if not chain:
        return inner
    outer = faiss.IndexPreTransform(inner)
    for step in reversed(chain):
        outer.prepend_transform(step)
    outer.is_trained = True
    return outer
