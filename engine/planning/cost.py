"""What a plan makes the machine read, in bytes a query: a model, the same on every machine."""

from __future__ import annotations

from engine.retrieval.coarse import middle_of
from indexers.base import IndexSpec
from indexers.families.ivf import refine_bytes
from indexers.families.registry import family
from indexers.plan import SearchPlan

RANDOM_ACCESS = 3.0
"""A row fetched at random costs about what three read in order do."""


def coarse_bytes(spec: IndexSpec, probe: float, n: int) -> float:
    """Return what the coarse search reads: centroids and the codes of the cells it visits, or the nodes of a graph.

    Args:
        spec: resolved.
        probe: `nprobe`, `efSearch`, or 0 where there is nothing to set.
        n: rows.
    """
    indexer = family(spec.family)
    bytes_per_item = indexer.bytes_per_item(spec) - refine_bytes(spec)
    if indexer.probe_name == "nprobe":
        nlist = dict(spec.params)["nlist"]
        return nlist * spec.dim * 4 + n * min(probe / nlist, 1.0) * bytes_per_item
    if indexer.probe_name == "efSearch":
        return probe * dict(spec.params)["m"] * bytes_per_item * RANDOM_ACCESS
    return n * bytes_per_item


def rerank_bytes(spec: IndexSpec, plan: SearchPlan, number_bytes: int) -> float:
    """Return what the reranks read, counted as if it lay in order; a byte a number where the index has them."""
    middle = middle_of(spec, plan)
    widths = (1 if middle and stage is plan.stages[0] else number_bytes for stage in plan.stages)
    return sum(
        stage.shortlist * stage.dim * width * RANDOM_ACCESS for stage, width in zip(plan.stages, widths, strict=True)
    )
