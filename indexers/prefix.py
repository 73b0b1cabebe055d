"""From a d-dimensional index to one that takes full vectors: cut, renormalise, rotate in C++.

A prefix is a vector's own first d numbers, or with `axes=1` its first d principal axes: for vectors that nobody
trained to be cut, and that no head has turned. Either way it is renormalised (`vectors.truncate`).
"""

from __future__ import annotations

from dataclasses import dataclass

import faiss
import numpy as np
from numpy.typing import NDArray

from indexers.axes import turned_within
from indexers.base import AXES, FaissIndex, IndexSpec
from indexers.families.ivf import ROTATE
from indexers.vectors import FloatArray, truncate

ROTATION_SEED = 20_22


def _flag(spec: IndexSpec, name: str) -> bool:
    return bool(dict(spec.params).get(name))


@dataclass(frozen=True)
class Front:
    """What a full vector goes through before the index of a resolved spec.

    Attributes:
        spec: resolved.
        full_dim: dimension D of the vectors.
        axes: float32 [d, D], rows orthonormal; None where the vector's own prefix is taken.
    """

    spec: IndexSpec
    full_dim: int
    axes: FloatArray | None = None

    def __call__(self, x: FloatArray) -> FloatArray:
        """Return what the index holds of rows [n, D]: float32 [n, d]."""
        if self.axes is None:
            prefixes = truncate(x, self.spec.dim)
            matrix = self._rotation(drawn=True)
            turned: FloatArray = prefixes if matrix is None else matrix.apply(prefixes)
            return turned
        # FAISS multiplies, not NumPy: what comes next is FAISS too, and the threads of NumPy's BLAS would go on
        # spinning beside its own for a while, which made adding rows take half as long again.
        # A row with nothing along these axes stays zero: it is as far from any query as it can be.
        turned = _linear(self.axes).apply(x)
        faiss.normalize_L2(turned)
        return turned

    def _rotation(self, *, drawn: bool) -> FaissIndex | None:
        """Return the random rotation the spec asks for inside its prefix, or None; drawing it takes d³ steps."""
        if self.axes is not None or not _flag(self.spec, ROTATE):
            return None
        matrix = faiss.RandomRotationMatrix(self.spec.dim, self.spec.dim)
        if drawn:
            matrix.init(ROTATION_SEED)
        return matrix

    def steps(self, *, drawn: bool = True) -> list[FaissIndex]:
        """Return the same as FAISS transforms, in order; not drawn they say only what they would be."""
        d, found = self.spec.dim, []
        if self.axes is not None:
            found = [_linear(self.axes), faiss.NormalizationTransform(d, 2.0)]
        elif d < self.full_dim:
            found = [faiss.RemapDimensionsTransform(self.full_dim, d, False), faiss.NormalizationTransform(d, 2.0)]
        if (matrix := self._rotation(drawn=drawn)) is not None:
            found.append(matrix)
        return found


def front_along(spec: IndexSpec, axes: NDArray[np.float64]) -> Front:
    """Return the front of a resolved spec, with principal axes [D, D], columns in order, if it wants any."""
    full_dim = len(axes)
    if not _flag(spec, AXES):
        return Front(spec, full_dim)
    axes = axes[:, : spec.dim]
    if _flag(spec, ROTATE):
        axes = turned_within(axes, [0], ROTATION_SEED)
    return Front(spec, full_dim, np.ascontiguousarray(axes.T, dtype=np.float32))


def blank_front(spec: IndexSpec, full_dim: int) -> Front:
    """Return a front of the same shape with no numbers in it, to compare a file with."""
    return Front(spec, full_dim, np.zeros((spec.dim, full_dim), np.float32) if _flag(spec, AXES) else None)


def _linear(axes: FloatArray) -> FaissIndex:
    matrix = faiss.LinearTransform(axes.shape[1], axes.shape[0], False)
    faiss.copy_array_to_vector(np.ascontiguousarray(axes).ravel(), matrix.A)
    matrix.is_trained = True
    return matrix


def wrap(inner: FaissIndex, front: Front) -> FaissIndex:
    """Put a front before a trained index over [n, d].

    Returns:
        a faiss.IndexPreTransform over [n, D], or `inner` itself when nothing is needed. It owns `inner`.
    """
    chain = front.steps()
    if not chain:
        return inner
    outer = faiss.IndexPreTransform(inner)
    for step in reversed(chain):
        outer.prepend_transform(step)
    outer.is_trained = True
    return outer


def unwrap(index: FaissIndex) -> tuple[list[FaissIndex], FaissIndex]:
    """Return the transforms in front of an index, and the index itself: what `wrap` was given."""
    if not isinstance(index, faiss.IndexPreTransform):
        return [], index
    chain = [faiss.downcast_VectorTransform(index.chain.at(i)) for i in range(index.chain.size())]
    return chain, faiss.downcast_index(index.index)


def matrix_of(index: FaissIndex) -> FloatArray | None:
    """Return the one matrix [d, w] that the first w numbers of a query go through before an index of ours.

    The product is to be normalised. Cutting comes before any rotation, and a rotation keeps lengths: so this, and when
    it is done, make no difference. None where there is none: then the first d numbers are to be.
    """
    matrices = [step for step in unwrap(index)[0] if isinstance(step, faiss.LinearTransform)]
    if not matrices:
        return None
    (matrix,) = matrices
    found: FloatArray = faiss.vector_to_array(matrix.A).reshape(matrix.d_out, matrix.d_in)
    return found
