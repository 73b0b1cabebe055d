"""A prefix index made ready to search: coarse search and rerank, in one call where that can be.

For `ivf-pq` that call is our own (`indexers.probing`), where it was compiled. Otherwise it is FAISS'
`IndexRefine(IndexPreTransform(cut, renormalise, rotate → prefix index), stored vectors)`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import faiss

from engine.retrieval.rerank import rerank
from indexers.base import FaissIndex, IndexSpec, Neighbors, cosines
from indexers.families.ivf import refine_bytes
from indexers.families.registry import family
from indexers.mask import Mask
from indexers.plan import SearchPlan, Stage
from indexers.probing import NO_MARGIN, Probed, ProbedIndex, is_available, suits
from indexers.store import VectorStore
from indexers.vectors import FloatArray

Search = Callable[[FloatArray, Mask | None], Neighbors]
"""A search for a number of answers made ready: of unit queries [nq, D], among the rows a mask lets answer, or all."""


class Coarse(NamedTuple):
    """A loaded prefix index over the rows of a store.

    Example:
        >>> coarse = engine.Collection.open("vectors.nest").searcher.coarse("flat@8")
        >>> str(coarse.spec), len(coarse.store)
        ('flat@8', 1200)

    Attributes:
        spec: resolved.
        index: takes full vectors [n, D].
        store: the rows.
        refined: the index with a rerank by the stored vectors behind it.
        probed: the same as one compiled call, for the families that have it.
    """

    spec: IndexSpec
    index: FaissIndex
    store: VectorStore
    refined: FaissIndex
    probed: ProbedIndex | None

    def visits(self, plan: SearchPlan) -> int:
        """Return the cells, or candidates of a graph, a plan looks at: at most, where it has a margin."""
        indexer = family(self.spec.family)
        if plan.margin and not plan.probe:
            return indexer.most_probes(self.spec, len(self.store))
        return min(plan.probe or indexer.default_probe(self.spec), indexer.most_probes(self.spec, len(self.store)))


def coarse_over(spec: IndexSpec, index: FaissIndex, store: VectorStore) -> Coarse:
    """Put the rerank behind an index; `store` holds the rows it was built of."""
    probed = ProbedIndex(index, store) if suits(index) and is_available() else None
    return Coarse(spec, index, store, faiss.IndexRefine(index, store.index), probed)


def shortlisting(coarse: Coarse, plan: SearchPlan, keep: int = 0) -> Search:
    """Return the coarse search of a plan: scores and row numbers [nq, shortlist], −1 where there are fewer.

    Args:
        coarse: the plan's index.
        plan: a plan.
        keep: where the plan has a stage by the bytes of the index (`middle_of`), how many of the shortlist it leaves;
            0: all of it, as the codes order them.
    """
    shortlist = min(plan.stages[0].shortlist, len(coarse.store))
    wanted, first = (keep, shortlist) if keep else (shortlist, 0)
    if coarse.probed is not None:
        return lambda xq, mask: probing(coarse, plan, xq, wanted, 0, first, mask).neighbors
    parameters = _once_a_mask(lambda mask: _faiss_parameters(coarse, plan, _factor(first, wanted), mask))
    return lambda xq, mask: Neighbors(*coarse.index.search(xq, wanted, params=parameters(mask)))


def prepared(coarse: Coarse, plan: SearchPlan, k: int) -> Search:
    """Return the search of a plan, with all found out that can be beforehand.

    Args:
        coarse: the plan's index.
        plan: shortlists are of at least k, and not of all rows.
        k: answers a query.
    """
    first = middle_of(coarse.spec, plan)
    rest = plan.stages[1:] if first else plan.stages
    shortlist = rest[0].shortlist
    if len(rest) > 1 or rest[0].dim < coarse.store.dim:
        found = shortlisting(coarse, plan, shortlist if first else 0)
        return lambda xq, mask: through_stages(coarse.store, xq, found(xq, mask), rest, k)
    if coarse.probed is not None:
        return lambda xq, mask: probing(coarse, plan, xq, k, shortlist, first, mask).neighbors
    parameters = _once_a_mask(
        lambda mask: faiss.IndexRefineSearchParameters(
            k_factor=_factor(shortlist, k),
            base_index_params=_faiss_parameters(coarse, plan, _factor(first, shortlist), mask),
        )
    )
    return lambda xq, mask: cosines(*coarse.refined.search(xq, k, params=parameters(mask)))


def _once_a_mask(make: Callable[[Mask | None], Any]) -> Callable[[Mask | None], Any]:
    """Return a function that makes what FAISS is told when it first hears of a mask, and keeps it as long as that."""
    without, known = make(None), WeakKeyDictionary[Mask, Any]()

    def parameters(mask: Mask | None) -> Any:
        if mask is None:
            return without
        found = known.get(mask)
        if found is None:
            found = known[mask] = make(mask)
        return found

    return parameters


def _factor(shortlist: int, k: int) -> float:
    """Return what FAISS makes a shortlist of: it computes int(k · factor), and the half keeps rounding away."""
    return max(1.0, (shortlist + 0.5) / k)


def probing(
    coarse: Coarse,
    plan: SearchPlan,
    xq: FloatArray,
    k: int,
    shortlist: int,
    middle: int = 0,
    mask: Mask | None = None,
) -> Probed:
    """Search by the compiled call; a shortlist of 0 answers with the scores of codes, or of bytes."""
    assert coarse.probed is not None
    margin = plan.margin / 1000 if plan.margin else NO_MARGIN
    return coarse.probed.search(xq, k, coarse.visits(plan), shortlist, middle=middle, margin=margin, mask=mask)


def _faiss_parameters(coarse: Coarse, plan: SearchPlan, factor: float, mask: Mask | None) -> Any:
    """Return what FAISS is told; `factor`: how many times as many candidates are scored by bytes as are wanted."""
    selector = None if mask is None else mask.selector
    base = family(coarse.spec.family).search_parameters(coarse.visits(plan), selector)
    if refine_bytes(coarse.spec):
        base = faiss.IndexRefineSearchParameters(k_factor=factor, base_index_params=base)
    if isinstance(coarse.index, faiss.IndexPreTransform):
        base = faiss.SearchParametersPreTransform(index_params=base)
    return base


def through_stages(store: VectorStore, xq: FloatArray, found: Neighbors, stages: Sequence[Stage], k: int) -> Neighbors:
    """Rerank a shortlist by stages."""
    keeps = [*(stage.shortlist for stage in stages[1:]), k]
    for stage, keep in zip(stages, keeps, strict=True):
        found = rerank(store, xq, found.ids, stage.dim, keep)
    return found


def middle_of(spec: IndexSpec, plan: SearchPlan) -> int:
    """Return how many rows the first stage scores by the bytes of its index; 0: it scores them by stored vectors."""
    is_middle = refine_bytes(spec) and len(plan.stages) > 1 and plan.stages[0].dim == spec.dim
    return plan.stages[0].shortlist if is_middle else 0
