"""The index families by name, and which one to take when nobody said."""

from __future__ import annotations

from collections.abc import Iterable

from indexers.base import IndexSpec
from indexers.errors import InvalidSpec
from indexers.families.base import Indexer
from indexers.families.flat import Flat
from indexers.families.hnsw import Hnsw
from indexers.families.ivf import IvfFlat, IvfPq
from indexers.families.scalar import Scalar
from indexers.names import did_you_mean

FAMILIES: dict[str, Indexer] = {one.family: one for one in (Flat(), IvfFlat(), Scalar(), IvfPq(), Hnsw())}

# Below this many rows a scan of 8-bit prefixes beats visiting cells, and needs no k-means.
SMALL = 20_000
SMALLEST_PREFIX = 32


def family(name: str) -> Indexer:
    """Return a family by its name.

    Raises:
        InvalidSpec: there is none of that name.
    """
    if name not in FAMILIES:
        raise InvalidSpec(f"no index family {name!r}; there are {', '.join(FAMILIES)}{did_you_mean(name, FAMILIES)}")
    return FAMILIES[name]


def resolve(spec: IndexSpec, n: int, full_dim: int) -> IndexSpec:
    """Complete a spec for `n` rows of `full_dim` dimensions.

    Raises:
        InvalidSpec: unknown family or parameter, or a prefix longer than the vectors.
    """
    if spec.dim > full_dim:
        raise InvalidSpec(f"{spec}: the vectors have only {full_dim} dimensions")
    return family(spec.family).resolve(spec, n)


def resolve_all(specs: Iterable[IndexSpec], n: int, full_dim: int) -> list[IndexSpec]:
    """Complete the specs of one collection.

    Raises:
        InvalidSpec: one of them is wrong, or two have the family and dimension in common: a plan could
            not tell them apart.
    """
    found = [resolve(spec, n, full_dim) for spec in specs]
    keys = [spec.key for spec in found]
    if twice := sorted({key for key in keys if keys.count(key) > 1}):
        raise InvalidSpec(f"{', '.join(twice)}: a collection has one index of each family and dimension")
    return found


def default_dims(full_dim: int, trained: tuple[int, ...] = ()) -> tuple[int, ...]:
    """Return the prefix dimensions to index: the trained ones, else powers of two from 32 up.

    The full dimension is always among them: where a prefix is not good enough, a plan can
    still be.
    """
    below = [d for d in trained if d < full_dim]
    if not below:
        d = SMALLEST_PREFIX
        while d < full_dim:
            below.append(d)
            d *= 2
    return (*sorted(set(below)), full_dim)


def default_specs(n: int, full_dim: int, trained: tuple[int, ...] = ()) -> tuple[IndexSpec, ...]:
    """Return one spec per default dimension, of the family that suits `n` rows."""
    name = "sq" if n < SMALL else "ivf-pq"
    return tuple(IndexSpec(name, d) for d in default_dims(full_dim, trained))
