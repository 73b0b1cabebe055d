"""From a d-dimensional index to one that takes full vectors: cut, renormalise, rotate in C++."""

from __future__ import annotations

import faiss

from indexers.base import FaissIndex, IndexSpec

ROTATION_SEED = 20_22


def rotation(spec: IndexSpec) -> FaissIndex | None:
    """Return the random rotation a resolved spec asks for inside its prefix, or None."""
    if not dict(spec.params).get("rotate"):
        return None
    matrix = faiss.RandomRotationMatrix(spec.dim, spec.dim)
    matrix.init(ROTATION_SEED)
    return matrix


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
    steps = []
    if spec.dim < full_dim:
        steps += [
            faiss.RemapDimensionsTransform(full_dim, spec.dim, False),
            faiss.NormalizationTransform(spec.dim, 2.0),
        ]
    if (matrix := rotation(spec)) is not None:
        steps.append(matrix)
    if not steps:
        return inner
    outer = faiss.IndexPreTransform(inner)
    for step in reversed(steps):
        outer.prepend_transform(step)
    outer.is_trained = True
    return outer
