"""The representations that are compared: the same vectors, cut plainly, rotated, or through a head.

A representation is made ready one at a time (`represent` is a generator), so that memory holds the
main vectors and one other copy of them however many are compared.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from engine.heads import layers
from engine.heads.model import Head
from engine.planning.queries import QuerySet
from indexers.errors import InvalidInput
from indexers.names import did_you_mean
from indexers.vectors import FloatArray, IdArray, normalize

PLAIN = ("truncation", "pca", "random", "full")
FIRST_DIM = 8


@dataclass(frozen=True)
class Representation:
    """Vectors whose prefixes are measured, with the queries in the same space.

    Attributes:
        name: what the tables call it.
        base: unit float32 [n, D], the rows that are searched.
        queries: one set or more, each [nq, D].
        dims: the prefixes to measure instead of those asked for; None to take those.
    """

    name: str
    base: FloatArray
    queries: tuple[QuerySet, ...]
    dims: tuple[int, ...] | None = None

    @property
    def dim(self) -> int:
        """Full dimension D."""
        return int(self.base.shape[1])

    def measured(self, dims: Sequence[int]) -> list[int]:
        """Return which of `dims` are measured on it: those it has, and its own full dimension."""
        wanted = dims if self.dims is None else self.dims
        kept = sorted({d for d in wanted if d <= self.dim})
        return kept or [self.dim]

    def asked(self, *names: str) -> Representation:
        """Return it with only the query sets of these names."""
        return replace(self, queries=tuple(one for one in self.queries if one.name in names))


def sample_items(base: FloatArray, queries: int, seed: int, among: IdArray | None = None) -> QuerySet:
    """Draw rows of the base as queries that are left out of their own answers.

    Args:
        base: unit float32 [n, D].
        queries: how many; all where there are no more.
        seed: of the draw.
        among: int64, rows to draw from; all by default.
    """
    rows = np.arange(len(base)) if among is None else among
    drawn = np.random.default_rng(seed).choice(rows, min(queries, len(rows)), replace=False)
    own = np.sort(drawn).astype(np.int64)
    return QuerySet("items", np.ascontiguousarray(base[own]), own)


def default_dims(dim: int, trained: Sequence[int] = ()) -> list[int]:
    """Return the prefixes measured by default: powers of two from 8 up, the trained ones, and D."""
    powers = [FIRST_DIM << step for step in range(max(1, dim.bit_length())) if FIRST_DIM << step <= dim]
    return sorted({*powers, *(d for d in trained if 1 <= d <= dim), dim})


def check_dims(dims: Sequence[int], dim: int) -> list[int]:
    """Return prefix dimensions in order.

    Args:
        dims: as they were asked for.
        dim: D of the vectors.

    Raises:
        InvalidInput: none, or one below 1 or above D.
    """
    if wrong := [d for d in dims if not 1 <= d <= dim]:
        raise InvalidInput(f"expected prefix dimensions from 1 to {dim}, found {wrong[0]}")
    if not dims:
        raise InvalidInput(f"expected at least one prefix dimension from 1 to {dim}, found none")
    return sorted(set(dims))


def represent(
    base: FloatArray,
    queries: Sequence[QuerySet],
    *,
    names: Sequence[str] = PLAIN,
    heads: Mapping[str, Head] | None = None,
    seed: int = 0,
) -> Iterator[Representation]:
    """Make the representations of some vectors, one after another.

    Args:
        base: unit float32 [n, D].
        queries: sets in the same space.
        names: which of PLAIN. "truncation" is the vectors as they are, "full" the same at D alone, "pca" a
            rotation onto the principal axes of the base (`principal_axes`), "random" onto random ones.
        heads: by name; each becomes "nested:NAME", the base through its side "items", queries through theirs.
        seed: of the random axes.

    Raises:
        InvalidInput: a name that is not in PLAIN.
        InvalidVectors: a head for vectors of another dimension.
    """
    if unknown := [name for name in names if name not in PLAIN]:
        raise InvalidInput(
            f"expected representations among {', '.join(PLAIN)}; found {unknown[0]!r}{did_you_mean(unknown[0], PLAIN)}"
        )
    for name in names:
        if name in ("truncation", "full"):
            yield Representation(name, base, tuple(queries), (base.shape[1],) if name == "full" else None)
            continue
        axes = principal_axes(base) if name == "pca" else random_axes(base.shape[1], seed)
        turned = tuple(replace(one, xq=rotate(one.xq, axes)) for one in queries)
        yield Representation(name, rotate(base, axes), turned)
    for name, head in (heads or {}).items():
        through = tuple(replace(one, xq=head(one.xq, one.side)) for one in queries)
        yield Representation(f"nested:{name}", head(base, "items"), through)


def principal_axes(base: FloatArray) -> FloatArray:
    """Return the principal axes of vectors about their mean, the strongest first: orthogonal float32 [D, D] in columns.

    The vectors are turned onto them and the mean is not subtracted: the map is a rotation, so that scores at the
    full dimension stay as they are. They are fitted to the very rows that are searched: with fewer rows than
    dimensions a prefix of rank n holds them all, which says nothing of rows that come later.
    """
    return np.ascontiguousarray(layers.principal_axes(layers.moments(base)).T, dtype=np.float32)


def random_axes(dim: int, seed: int) -> FloatArray:
    """Return random orthogonal axes, float32 [D, D]: the control that says what a prefix is worth in itself."""
    axes, triangle = np.linalg.qr(np.random.default_rng(seed).normal(size=(dim, dim)))
    return np.ascontiguousarray(axes * np.sign(np.diag(triangle)), dtype=np.float32)


def rotate(x: FloatArray, axes: FloatArray) -> FloatArray:
    """Give unit float32 [n, D] in the coordinates of orthogonal axes, renormalised against rounding."""
    return normalize(x @ axes, name="rotated vectors") if len(x) else x
