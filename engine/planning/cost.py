"""What a plan makes the machine read, in bytes a query: a model, the same on every machine."""

from __future__ import annotations

from engine.retrieval.coarse import middle_of
from indexers.base import IndexSpec
from indexers.families.base import RANDOM_ACCESS
from indexers.plan import SearchPlan


def rerank_bytes(spec: IndexSpec, plan: SearchPlan, number_bytes: int) -> float:
    """Return what the reranks read, counted as if it lay in order; a byte a number where the index has them."""
    middle = middle_of(spec, plan)
    widths = (1 if middle and stage is plan.stages[0] else number_bytes for stage in plan.stages)
    return sum(
        stage.shortlist * stage.dim * width * RANDOM_ACCESS for stage, width in zip(plan.stages, widths, strict=True)
    )
