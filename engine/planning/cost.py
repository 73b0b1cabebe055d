"""What a plan makes the machine read, in bytes a query: a model, the same on every machine; and what it is for."""

from __future__ import annotations

from dataclasses import dataclass

from engine.retrieval.coarse import middle_of
from indexers.base import AXES, IndexSpec
from indexers.families.base import RANDOM_ACCESS
from indexers.families.ivf import REFINE, RESIDUAL
from indexers.plan import SearchPlan, Stage


def rerank_bytes(spec: IndexSpec, plan: SearchPlan, number_bytes: int) -> float:
    """Return what the reranks read, counted as if it lay in order; a byte a number where the index has them."""
    middle = middle_of(spec, plan)
    widths = (1 if middle and stage is plan.stages[0] else number_bytes for stage in plan.stages)
    return sum(
        stage.shortlist * stage.dim * width * RANDOM_ACCESS for stage, width in zip(plan.stages, widths, strict=True)
    )


@dataclass(frozen=True)
class IndexCandidate:
    """An index that may do: its spec, the stages it needs after it, and modelled bytes a query."""

    spec: IndexSpec
    stages: tuple[Stage, ...]
    cost: float


def is_weaker(candidate: IndexCandidate, built: IndexSpec) -> bool:
    """Whether a candidate can find no more than an index that was built: by as long a prefix, in no more codes."""
    spec, done = dict(candidate.spec.params), dict(built.params)
    if candidate.spec.dim != built.dim or candidate.spec.family != built.family:
        return candidate.spec.dim < built.dim
    same = spec.get(AXES) == done.get(AXES) and spec.get(RESIDUAL, 0) <= done.get(RESIDUAL, 0)
    return same and spec.get("m", 0) <= done.get("m", 0) and spec.get(REFINE, 0) <= done.get(REFINE, 0)
