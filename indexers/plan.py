"""A search plan: which index proposes candidates, and which dimensions put them in order.

The funnel is that of Matryoshka Representation Learning (Kusupati et al. 2022, section
4.3): a short prefix shortlists, longer prefixes rerank ever fewer, the full vector decides.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from indexers import checks
from indexers.base import parse_params
from indexers.errors import InvalidSpec
from indexers.families.ivf import NPROBE
from indexers.families.registry import FAMILIES

EXACT = "exact"
MARGIN = "margin"

_COARSE = re.compile(r"(?P<key>[a-z][a-z0-9-]*@[1-9][0-9]{0,8})(?::(?P<params>.+))?")
_STAGE = re.compile(r"(?P<shortlist>[1-9][0-9]{0,8})@(?P<dim>[1-9][0-9]{0,8})")


@dataclass(frozen=True)
class Stage:
    """One rerank: the best `shortlist` so far are scored again by their first `dim` numbers.

    Example:
        >>> print(engine.SearchPlan("flat@64", stages=(engine.Stage(dim=512, shortlist=100),)))
        flat@64 | 100@512
    """

    dim: int
    shortlist: int

    def __post_init__(self) -> None:
        for name in ("dim", "shortlist"):
            checks.settle(self, **{name: checks.signed(name, getattr(self, name))})


@dataclass(frozen=True)
class SearchPlan:
    """How to search, as data.

    Written `exact`, or `index:probe | shortlist@dim | …`: for example
    `ivf-pq@64:nprobe=32 | 400@256 | 100@512` asks the index `ivf-pq@64` for 400 candidates,
    keeps the best 100 by the first 256 numbers, and orders those by all 512. Where the index keeps
    bytes beside its codes (`refine=8`), the first of several stages is scored by them if it is at the
    dimension of the index. With `margin=200` a query visits the nearest cells, and of the others those
    whose centroid's score, plus 0.200, reaches the shortlist by then: an easy query few, a hard one
    many.

    Example:
        >>> plan = engine.SearchPlan.parse("ivf-pq@64:nprobe=32 | 400@256 | 100@512")
        >>> plan.index, plan.probe, plan.stages
        ('ivf-pq@64', 32, (Stage(dim=256, shortlist=400), Stage(dim=512, shortlist=100)))

    Attributes:
        index: the coarse index as `family@dim`, or "exact" for a scan of the stored vectors.
        probe: `nprobe` or `efSearch`; 0 for the family's default, or for every cell where there is a margin.
        stages: reranks in order, dimensions ascending and shortlists descending.
        margin: how much more than its cell's centroid a row is taken to score, in thousandths; 0 for any.
            FAISS, where the compiled search is missing, does not know it and visits all it may.
    """

    index: str
    probe: int = 0
    stages: tuple[Stage, ...] = ()
    margin: int = 0

    def __post_init__(self) -> None:
        checks.settle(
            self,
            index=checks.text("index", self.index),
            probe=checks.signed("probe", self.probe),
            stages=tuple(checks.several("stages", self.stages, lambda name, one: checks.instance(name, one, Stage))),
            margin=checks.signed("margin", self.margin),
        )
        if self.index == EXACT:
            if self.stages or self.probe or self.margin:
                raise InvalidSpec(f"plan {self}: an exact scan has no probes and no stages")
            return
        if not self.stages:
            raise InvalidSpec(f"plan {self}: at least one stage is needed, such as 100@512")
        if self.margin < 0 or self.probe < 0 or any(stage.dim < 1 or stage.shortlist < 1 for stage in self.stages):
            raise InvalidSpec(f"plan {self}: probes, shortlists and dimensions must be positive")
        if self.probe and _probe_name(self.index) is None:
            raise InvalidSpec(f"plan {self}: {self.index} is scanned in full and has no {NPROBE} to set")
        if self.margin and not _has_margin(self.index):
            having = ", ".join(name for name, one in FAMILIES.items() if one.has_margin)
            raise InvalidSpec(f"plan {self}: {self.index} has no {MARGIN} to set, only {having} has")
        for before, after in zip(self.stages, self.stages[1:], strict=False):
            if after.dim <= before.dim or after.shortlist > before.shortlist:
                raise InvalidSpec(
                    f"plan {self}: each stage needs more dimensions than the one before and no longer a shortlist"
                )

    @classmethod
    def parse(cls, text: str) -> SearchPlan:
        """Read the written form.

        Raises:
            InvalidSpec: it does not parse, or the stages are out of order.
        """
        return _parse(text)

    def __str__(self) -> str:
        given = {_probe_name(self.index) or NPROBE: self.probe, MARGIN: self.margin}
        params = ",".join(f"{name}={value}" for name, value in given.items() if value)
        coarse = f"{self.index}:{params}" if params else self.index
        return " | ".join([coarse, *(f"{stage.shortlist}@{stage.dim}" for stage in self.stages)])

    def widened(self, k: int, factor: int) -> SearchPlan:
        """Return the plan with shortlists × `factor`, and of at least `k`."""
        stages = tuple(replace(s, shortlist=max(s.shortlist * factor, k)) for s in self.stages)
        return replace(self, stages=stages)


def as_plan(name: str, given: Any) -> SearchPlan:
    """Return a plan that somebody gave, as one or written out.

    Raises:
        InvalidSpec: it does not parse.
        InvalidInput: it is something else, called by a name.
    """
    return SearchPlan.parse(given) if isinstance(given, str) else checks.instance(name, given, SearchPlan)


def _probe_name(index: str) -> str | None:
    """Return the search parameter of an index in a plan; a family nobody knows is refused by the search."""
    found = FAMILIES.get(index.partition("@")[0])
    return NPROBE if found is None else found.probe_name


def _has_margin(index: str) -> bool:
    found = FAMILIES.get(index.partition("@")[0])
    return found is not None and found.has_margin


def _parse_params(index: str, params: str, *, whole: str) -> tuple[int, int]:
    found = parse_params(params, whole=whole)
    names = [name for name in (_probe_name(index), MARGIN if _has_margin(index) else None) if name is not None]
    if not set(found) <= set(names) or min(found.values()) < 1:
        may = f"may set {' and '.join(names)}, at least 1" if names else "has nothing to set"
        raise InvalidSpec(f"in {whole!r}: {index} {may}; found {params}")
    return found.get(names[0], 0), found.get(MARGIN, 0)


@lru_cache(maxsize=256)
def _parse(text: str) -> SearchPlan:
    """Read a plan; a server is asked with the same few again and again."""
    coarse, *rest = [part.strip() for part in text.split("|")]
    if coarse == EXACT and not rest:
        return SearchPlan(EXACT)
    match = _COARSE.fullmatch(coarse)
    stages = [_STAGE.fullmatch(part) for part in rest]
    if match is None or None in stages:
        raise InvalidSpec(
            f"expected 'exact' or a plan such as 'ivf-pq@64:nprobe=32 | 400@256 | 100@512'; found {text!r}"
        )
    probe, margin = _parse_params(match["key"], match["params"], whole=text) if match["params"] else (0, 0)
    parsed = tuple(Stage(int(m["dim"]), int(m["shortlist"])) for m in stages if m is not None)
    return SearchPlan(match["key"], probe, parsed, margin)
