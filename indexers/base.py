"""What an index is, how one is named, and what a search returns."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from indexers import checks
from indexers.errors import InvalidInput, InvalidSpec
from indexers.vectors import FloatArray, IdArray

# A live FAISS object. The wheels carry no type information, so this alias is documentation.
FaissIndex = Any

MISSING = -1
"""The id of an answer that does not exist, because fewer rows exist than were asked for."""


class Neighbors(NamedTuple):
    """The answers to a batch of queries, best first.

    Example:
        >>> store = engine.VectorStore(np.eye(3, dtype=np.float32))
        >>> store.search(np.float32([[0.8, 0, 0.6]]), k=2)
        Neighbors(scores=array([[0.8, 0.6]], dtype=float32), ids=array([[0, 2]]))

    Attributes:
        scores: float32 [nq, k], cosine similarities in [−1, 1], higher is better; −inf where missing.
        ids: int64 [nq, k]; −1 where missing.
    """

    scores: FloatArray
    ids: IdArray


def cosines(scores: FloatArray, ids: IdArray) -> Neighbors:
    """Return answers with their scores brought within [−1, 1], in place.

    A stored vector is of unit length before it is rounded: with itself it may score 1.0002. What is best was decided
    by then, so that rows beyond 1 keep their order.

    Args:
        scores: float32 [nq, k], inner products of unit vectors, best first.
        ids: int64 [nq, k]; −1 where missing.
    """
    np.minimum(scores, 1, out=scores)
    np.maximum(scores, -1, out=scores, where=ids != MISSING)
    return Neighbors(scores, ids)


# Nine digits: every number that parses fits the 32 bits FAISS has for most of them.
_SPEC = re.compile(r"(?P<family>[a-z][a-z0-9-]*)@(?P<dim>[1-9][0-9]{0,8})(?::(?P<params>.+))?")
_PARAM = re.compile(r"(?P<name>[a-zA-Z_]+)=(?P<value>[0-9]{1,9})")


def parse_params(text: str, *, whole: str) -> dict[str, int]:
    """Read `nlist=680,m=64` into a dict.

    Raises:
        InvalidSpec: not of that form, or a name twice; `whole` is quoted in the message.
    """
    params: dict[str, int] = {}
    for part in text.split(","):
        match = _PARAM.fullmatch(part.strip())
        if match is None or match["name"] in params:
            raise InvalidSpec(
                f"in {whole!r}: expected name=number parameters, each once, like nlist=680,m=64; found {part!r}"
            )
        params[match["name"]] = int(match["value"])
    return params


@dataclass(frozen=True)
class IndexSpec:
    """Which index: family, prefix dimension, and build parameters.

    Written `family@dim` or `family@dim:name=number,…`, for example `ivf-pq@128:nlist=680,m=64`.
    Parameters left out are chosen by the family from the number of rows.

    Example:
        >>> spec = engine.IndexSpec.parse("ivf-pq@128:nlist=680,m=64")
        >>> spec.family, spec.dim, spec.params
        ('ivf-pq', 128, (('m', 64), ('nlist', 680)))

    Attributes:
        family: a name in `indexers.families.registry.FAMILIES`.
        dim: prefix dimension d of the vectors it holds.
        params: build parameters, sorted by name.
    """

    family: str
    dim: int
    params: tuple[tuple[str, int], ...] = ()

    def __post_init__(self) -> None:
        checks.settle(
            self,
            family=checks.text("family", self.family),
            dim=checks.signed("dim", self.dim),
            params=tuple(checks.several("params", self.params, _param)),
        )
        if self.dim < 1:
            raise InvalidSpec(f"{self}: a prefix has at least 1 dimension")

    @classmethod
    def parse(cls, text: str) -> IndexSpec:
        """Read the written form.

        Raises:
            InvalidSpec: it does not parse. (The family is checked where it is used.)
        """
        match = _SPEC.fullmatch(text.strip())
        if match is None:
            raise InvalidSpec(
                f"expected an index such as flat@64, sq@128:bits=8 or ivf-pq@128:nlist=680,m=64; found {text!r}"
            )
        params = parse_params(match["params"], whole=text) if match["params"] else {}
        return cls(match["family"], int(match["dim"]), tuple(sorted(params.items())))

    def __str__(self) -> str:
        params = ",".join(f"{name}={value}" for name, value in self.params)
        return f"{self.family}@{self.dim}" + (f":{params}" if params else "")

    @property
    def key(self) -> str:
        """`family@dim`: what a plan calls the index by; at most one of each is kept."""
        return f"{self.family}@{self.dim}"


def read_specs(specs: Sequence[str | IndexSpec] | None) -> list[IndexSpec] | None:
    """Return prefix indexes as specs, whether they are written out or not; None for those a build chooses.

    Raises:
        InvalidInput: it is no list of them.
        InvalidSpec: one does not parse.
    """
    return checks.optional("specs", specs, lambda name, given: checks.several(name, given, _spec))


def _spec(name: str, given: Any) -> IndexSpec:
    return IndexSpec.parse(given) if isinstance(given, str) else checks.instance(name, given, IndexSpec)


def _param(name: str, given: Any) -> tuple[str, int]:
    if not isinstance(given, tuple) or len(given) != 2:
        raise InvalidInput(f"{name}: expected pairs of a name and a number, found {checks.brief(given)}")
    return checks.text(name, given[0]), checks.signed(str(given[0]), given[1])


AXES = "axes"
"""The parameter that every family has: 1 for a prefix of principal axes and not of the vector's own numbers."""
