"""What is asked of a family of indexes; nobody else knows one by its name.

FAISS is imported only where it is needed: a plan is read without it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
from numpy.typing import NDArray

from indexers.base import AXES, FaissIndex, IndexSpec
from indexers.errors import InvalidSpec, did_you_mean
from indexers.vectors import FloatArray

RANDOM_ACCESS = 3.0
"""A row fetched at random costs about what three read in order do."""


class Indexer(ABC):
    """One family of FAISS indexes over d-dimensional unit vectors, inner product.

    Instances have no state: a family is its facts under one name. What is said here holds for one that is scanned in
    full, and has no indexes inside. Specs are resolved ones, but for those of `resolve`, `unsized` and `cells`.

    Attributes:
        family: its name in a spec.
        probe_name: the search parameter that trades speed for recall (`nprobe`, `efSearch`), if any.
        has_margin: whether the compiled search visits its cells one after the other, by how near they are.
        is_graph: whether a query keeps as many candidates as its probes say, and a build takes longer than any other's.
        needs_training: whether anything is learned, unless it is of principal axes.
        on_device: whether its FAISS class exists on a GPU as it is. Fast-scan codes and graphs do not; for them only
            the k-means of the cells runs on the device.
        inside: what FAISS calls the indexes in one of its class, if it has any.
        parameters: FAISS' class for what a search is told, the probes among it.
    """

    family: str
    probe_name: str | None = None
    has_margin: bool = False
    is_graph: bool = False
    needs_training: bool = True
    on_device: bool = False
    inside: tuple[str, ...] = ()
    parameters: str = "SearchParameters"

    @abstractmethod
    def resolve(self, spec: IndexSpec, n: int) -> IndexSpec:
        """Fill in the parameters that were left out, for `n` rows, and check the others.

        Raises:
            InvalidSpec: an unknown parameter, or values that cannot be built.
        """

    def unsized(self, spec: IndexSpec) -> IndexSpec:
        """Return a spec without what depends on the number of rows, to be resolved for another."""
        return spec

    # -- building ------------------------------------------------------------------------

    @abstractmethod
    def create(self, spec: IndexSpec) -> FaissIndex:
        """Make the empty, untrained index; it takes [n, d] float32."""

    def cells(self, spec: IndexSpec) -> int:
        """Return how many cells rows are sorted into; 0 where there are none, or it was not said."""
        return 0

    def train(self, inner: FaissIndex, x: FloatArray) -> None:
        """Train what `create` made on rows [nt, d], at least as many as there are cells."""
        inner.train(x)

    def adding(self, inner: FaissIndex) -> AbstractContextManager[None]:
        """Return a block in which rows are added to what `train` trained, if that takes something of its own."""
        return nullcontext()

    def parts(self, inner: FaissIndex) -> tuple[FaissIndex, ...]:
        """Return the indexes inside, or itself; the last holds something of each row, but for cells in their order."""
        import faiss

        inside = (getattr(inner, name) for name in self.inside if hasattr(inner, name))
        return tuple(map(faiss.downcast_index, inside)) or (inner,)

    def arrays(self, inner: FaissIndex, spec: IndexSpec, rows: int) -> list[tuple[Any, int]]:
        """Return the arrays that grow as rows are added, and how long they become; not those of cells."""
        import faiss

        codes = self.parts(inner)[-1]
        return [(codes.codes, rows * codes.code_size)] if isinstance(codes, faiss.IndexFlatCodes) else []

    # -- searching -----------------------------------------------------------------------

    def default_probe(self, spec: IndexSpec) -> int:
        """Return a middling value of the probe parameter; 0 where there is none."""
        return 0

    def most_probes(self, spec: IndexSpec, n: int) -> int:
        """Return the value at which raising the probe parameter stops helping: every cell, if there are any."""
        return self.cells(spec)

    def probes(self, spec: IndexSpec, *, many: bool) -> Sequence[int]:
        """Return values of the probe parameter worth trying, ascending: a few, or as many as there is time for."""
        return (0,)

    def search_parameters(self, probe: int, selector: Any | None) -> Any:
        """Make FAISS search parameters; `selector` is a faiss.IDSelector of allowed rows or None."""
        import faiss

        probes = {} if self.probe_name is None else {self.probe_name: probe}
        return getattr(faiss, self.parameters)(sel=selector, **probes)

    # -- what it takes -------------------------------------------------------------------

    @abstractmethod
    def bytes_per_item(self, spec: IndexSpec) -> float:
        """Return the bytes of one row in the index."""

    def index_bytes(self, spec: IndexSpec, n: int) -> int:
        """Return what an index of n rows takes in memory."""
        return int(n * self.bytes_per_item(spec)) + self.cells(spec) * spec.dim * 4

    def growing_bytes(self, spec: IndexSpec, n: int) -> int:
        """Return the most an index takes in memory while n rows are added to it."""
        return self.index_bytes(spec, n)

    def bytes_read(self, spec: IndexSpec, probe: float, n: int) -> float:
        """Return what a query reads of n rows: centroids and the codes of the cells it visits, or nodes of a graph."""
        return n * self.bytes_per_item(spec)

    # -- its files -----------------------------------------------------------------------

    @abstractmethod
    def check(self, inner: FaissIndex, spec: IndexSpec, rows: int) -> None:
        """Check an index from a file: what `create` makes by classes and sizes, trained, and with codes of all rows.

        Raises:
            ValueError: it holds numbers that no index of ours holds, or leads a search outside.
        """


def check_params(spec: IndexSpec, defaults: Mapping[str, int], *, least: Mapping[str, int]) -> dict[str, int]:
    """Merge a spec's parameters over a family's defaults.

    Args:
        spec: what was asked for.
        defaults: every parameter of the family's own, with the value for "left out".
        least: the smallest value each may take (1 where not named).

    Returns:
        every parameter with its value; `axes` only where it is 1.

    Raises:
        InvalidSpec: a parameter the family does not have, or below its least value.
    """
    for name, value in spec.params:
        if name == AXES:
            if value > 1:
                raise InvalidSpec(f"{spec}: {AXES} is 0 or 1")
            continue
        if name not in defaults:
            known = (*defaults, AXES)
            near = did_you_mean(name, known)
            raise InvalidSpec(f"{spec}: {spec.family} has no parameter {name!r}; it has {', '.join(known)}{near}")
        if value < least.get(name, 1):
            raise InvalidSpec(f"{spec}: {name} must be at least {least.get(name, 1)}, found {value}")
    found = {**defaults, **dict(spec.params)}
    if not found.get(AXES):
        found.pop(AXES, None)
    return found


def check_numbers(parts: Iterable[NDArray[np.float32]]) -> None:
    """Check what scores are computed from: rotations, centroids, code books and ranges of unit vectors are small.

    Raises:
        ValueError: they are not.
    """
    if not all((np.abs(part) <= np.finfo(np.float16).max).all() for part in parts):
        raise ValueError("it holds NaN, or larger numbers than there are in unit vectors")
