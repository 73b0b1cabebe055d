"""A prefix index made ready: coarse search and rerank, in one call into FAISS where that can be.

`IndexRefine(IndexPreTransform(cut, renormalise, rotate → prefix index), stored vectors)` is that call.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import faiss

from engine.retrieval.rerank import rerank
from indexers.base import FaissIndex, IndexSpec, Neighbors
from indexers.plan import SearchPlan
from indexers.registry import family
from indexers.store import VectorStore
from indexers.vectors import FloatArray


class Coarse(NamedTuple):
    """A loaded prefix index.

    Attributes:
        spec: resolved.
        index: takes full vectors [n, D].
        refined: the same with a rerank by the stored vectors behind it.
    """

    spec: IndexSpec
    index: FaissIndex
    refined: FaissIndex


def coarse_over(spec: IndexSpec, index: FaissIndex, store: VectorStore) -> Coarse:
    """Put the rerank behind an index; `store` holds the rows it was built of."""
    return Coarse(spec, index, faiss.IndexRefine(index, store.index))


def base_parameters(coarse: Coarse, probe: int, selector: Any | None) -> Any:
    """Return FAISS parameters of the coarse search; probe 0 is the family's default."""
    indexer = family(coarse.spec.family)
    base = indexer.search_parameters(probe or indexer.default_probe(coarse.spec), selector)
    if isinstance(coarse.index, faiss.IndexPreTransform):
        base = faiss.SearchParametersPreTransform(index_params=base)
    return base


def refine_parameters(base: Any, shortlist: int, k: int) -> Any:
    """Return FAISS parameters of coarse search and rerank in one call."""
    # FAISS computes its shortlist as int(k · k_factor); the half keeps rounding away.
    return faiss.IndexRefineSearchParameters(k_factor=(shortlist + 0.5) / k, base_index_params=base)


def prepared(
    coarse: Coarse, store: VectorStore, plan: SearchPlan, k: int, selector: Any | None
) -> Callable[[FloatArray], Neighbors]:
    """Return a search with all found out beforehand, as `Searcher` keeps it: for measuring plans.

    Args:
        coarse: the plan's index, over all rows of `store`.
        store: the rows.
        plan: shortlists are of at least k, and not of all rows.
        k: answers a query.
        selector: a faiss.IDSelector of rows that may be answered, or None.
    """
    base = base_parameters(coarse, plan.probe, selector)
    if len(plan.stages) == 1:
        parameters = refine_parameters(base, plan.stages[0].shortlist, k)
        return lambda xq: Neighbors(*coarse.refined.search(xq, k, params=parameters))
    first = plan.stages[0].shortlist
    return lambda xq: through_stages(store, xq, Neighbors(*coarse.index.search(xq, first, params=base)), plan, k)


def through_stages(store: VectorStore, xq: FloatArray, found: Neighbors, plan: SearchPlan, k: int) -> Neighbors:
    """Rerank a shortlist by every stage of a plan."""
    keeps = [*(stage.shortlist for stage in plan.stages[1:]), k]
    for stage, keep in zip(plan.stages, keeps, strict=True):
        found = rerank(store, xq, found.ids, stage.dim, keep)
    return found
