"""Carry out search plans over one space of one version.

The hot path, one coarse index and one rerank at full dimension, is one call into FAISS:
`IndexRefine(IndexPreTransform(cut, renormalise, rotate → prefix index), stored vectors)`.
What is done around it in Python is done once per plan and kept.
"""

from __future__ import annotations

import math
import threading
from dataclasses import replace
from functools import cached_property
from typing import Any, NamedTuple

import faiss
import numpy as np

from engine.collection import layout
from engine.collection.snapshot import Snapshot
from engine.retrieval.rerank import best, rerank, scan_prefix
from indexers.base import MISSING, FaissIndex, Indexer, IndexSpec, Neighbors, positions_mask
from indexers.errors import InvalidInput, InvalidSpec
from indexers.files import read_index
from indexers.plan import EXACT, SearchPlan, Stage
from indexers.registry import family
from indexers.store import VectorStore, check_dtype
from indexers.vectors import FloatArray, IdArray, as_matrix, normalize

WIDEN = 4
"""How much more a search looks at when it came back with too few answers."""


class Coarse(NamedTuple):
    """A loaded prefix index."""

    spec: IndexSpec
    index: FaissIndex
    refined: FaissIndex


class Searcher:
    """Search over row numbers; immutable once open, and safe to use from many threads.

    Attributes:
        store: vectors of the rows that are indexed, mapped.
        tail: vectors of the rows added since, in memory; always searched exactly.
    """

    def __init__(self, snapshot: Snapshot, space: str = layout.DEFAULT_SPACE) -> None:
        self.entry = snapshot.manifest.space(space)
        self.dim = self.entry.dim
        self._snapshot = snapshot
        covering = self.entry.vectors
        self.indexed_shards = covering.shards if covering else 0
        self.store = self._open_store()
        self.tail = self._open_tail(space)
        self.rows = len(self.store) + len(self.tail)
        self.deleted = snapshot.deleted
        self.live = self.rows - len(self.deleted)
        self._selectors = self._make_selectors()
        self._coarse: dict[str, Coarse] = {}
        self._parameters: dict[tuple[SearchPlan, int], Any] = {}
        self._loading = threading.Lock()
        self.default_plan = SearchPlan.parse(self.entry.plans[0].plan) if self.entry.plans else SearchPlan(EXACT)

    def _open_store(self) -> VectorStore:
        if self.entry.vectors is None:
            return VectorStore(np.empty((0, self.dim), dtype=check_dtype(self.entry.dtype)))
        store = VectorStore.open(self._snapshot.open_covering(self.entry.vectors))
        if store.rows.shape != (self.entry.vectors.file.rows, self.dim):
            raise InvalidSpec(
                f"{self.entry.vectors.file.path}: expected {self.entry.vectors.file.rows} × {self.dim}, "
                f"found {store.rows.shape}"
            )
        return store

    def _open_tail(self, space: str) -> VectorStore:
        blocks = [stored for _, stored in self._snapshot.stored_vectors(space, first=self.indexed_shards)]
        empty = np.empty((0, self.dim), dtype=check_dtype(self.entry.dtype))
        return VectorStore(np.ascontiguousarray(np.concatenate([empty, *blocks])))

    def _make_selectors(self) -> tuple[Any, Any]:
        """Make the FAISS selectors of live rows in the store and in the tail; None where all live."""
        n = len(self.store)
        parts = self.deleted[self.deleted < n], self.deleted[self.deleted >= n] - n
        sizes = n, len(self.tail)
        store, tail = (
            faiss.IDSelectorBitmap(positions_mask(size, part)) if len(part) else None
            for size, part in zip(sizes, parts, strict=True)
        )
        return store, tail

    # -- indexes -------------------------------------------------------------------------

    @cached_property
    def specs(self) -> dict[str, IndexSpec]:
        """The indexes that can be searched, by their key in a plan."""
        parsed = (IndexSpec.parse(e.spec) for e in self.entry.indexes if e.covering.shards == self.indexed_shards)
        return {spec.key: spec for spec in parsed}

    def coarse(self, key: str) -> Coarse:
        """Return a prefix index by a key of `specs`, loading it the first time."""
        if key in self._coarse:
            return self._coarse[key]
        with self._loading:
            if key not in self._coarse:
                self._coarse[key] = self._load(key)
        return self._coarse[key]

    def _load(self, key: str) -> Coarse:
        entry = next(e for e in self.entry.indexes if IndexSpec.parse(e.spec).key == key)
        path = self._snapshot.open_covering(entry.covering)
        index = read_index(path, full_dim=self.dim, rows=len(self.store))
        return Coarse(IndexSpec.parse(entry.spec), index, faiss.IndexRefine(index, self.store.index))

    def _probe_parameters(self, coarse: Coarse, indexer: Indexer, plan: SearchPlan) -> Any:
        probe = plan.probe or indexer.default_probe(coarse.spec)
        inner = indexer.search_parameters(probe, self._selectors[0])
        if isinstance(coarse.index, faiss.IndexPreTransform):
            return faiss.SearchParametersPreTransform(index_params=inner)
        return inner

    def _prepared(self, plan: SearchPlan, k: int) -> tuple[Coarse, Any, Any]:
        """Return the index of a plan with its FAISS parameters, made once for each (plan, k)."""
        found = self._parameters.get((plan, k))
        if found is None:
            coarse = self.coarse(plan.index)
            base = self._probe_parameters(coarse, family(coarse.spec.family), plan)
            # FAISS computes its shortlist as int(k · k_factor); the half keeps rounding away.
            factor = (plan.stages[0].shortlist + 0.5) / k
            refine = faiss.IndexRefineSearchParameters(k_factor=factor, base_index_params=base)
            found = self._parameters[(plan, k)] = (coarse, base, refine)
        return found

    # -- searching -----------------------------------------------------------------------

    def check_queries(self, xq: Any) -> FloatArray:
        """Return queries as unit float32 [nq, D].

        Raises:
            InvalidVectors: another dimension, NaN or infinite values, or a zero row.
        """
        return normalize(as_matrix(xq, name="queries", dim=self.dim), name="queries")

    def search(self, xq: FloatArray, k: int, plan: SearchPlan | None = None, *, dim: int | None = None) -> Neighbors:
        """Find the k best rows for each query.

        Args:
            xq: unit float32 [nq, D], as `check_queries` returns them.
            k: answers a query, ≥ 1.
            plan: how; the collection's default plan if None.
            dim: stop at this prefix and answer by its cosines; the full dimension if None.

        Returns:
            Neighbors [nq, min(k, live rows)] whose ids are row numbers: never a missing one.

        Raises:
            InvalidInput: k < 1, or a dim that is not the plan's.
            InvalidSpec: the plan names an index the collection does not have.
        """
        if k < 1:
            raise InvalidInput(f"k must be at least 1, found {k}")
        k = min(k, self.live)
        if k == 0 or not len(xq):
            return Neighbors(np.empty((len(xq), k), np.float32), np.empty((len(xq), k), np.int64))
        plan = self.default_for(k, dim or self.dim) if plan is None else self.fit(plan, k)
        return self._search(xq, k, plan, self._last_dim(plan, dim))

    def _last_dim(self, plan: SearchPlan, dim: int | None) -> int:
        wanted = dim or (plan.stages[-1].dim if plan.stages else self.dim)
        if not 1 <= wanted <= self.dim or (plan.stages and plan.stages[-1].dim != wanted):
            raise InvalidInput(f"cannot stop at {wanted} dimensions with plan {plan} on {self.dim}-dimensional vectors")
        return wanted

    def default_for(self, k: int, dim: int) -> SearchPlan:
        """Return the default plan for `k` answers by the first `dim` numbers.

        Plans are measured for some k (10). For more answers shortlists grow in proportion, and
        probes with the square root: the k nearest rows spread over more cells the more they are.
        """
        plan = self.default_plan if dim == self.dim else self._prefix_plan(dim)
        if plan.index == EXACT:
            return plan
        measured = self.entry.plans[0].k if self.entry.plans else k
        factor = max(1, math.ceil(k / measured))
        spec, indexer = self._spec(plan)
        probe = plan.probe or indexer.default_probe(spec)
        most = indexer.most_probes(spec, len(self.store))
        probe = min(math.ceil(probe * math.sqrt(factor)), most)
        return replace(plan, probe=probe).widened(k, factor)

    def _prefix_plan(self, dim: int) -> SearchPlan:
        """Plan a search that stops at a prefix: the longest index within it, reranked at it."""
        below = [spec for spec in self.specs.values() if spec.dim <= dim]
        if not below:
            return SearchPlan(EXACT)
        shortlist = self.default_plan.stages[0].shortlist if self.default_plan.stages else 100
        return SearchPlan(max(below, key=lambda spec: spec.dim).key, 0, (Stage(dim, shortlist),))

    def _spec(self, plan: SearchPlan) -> tuple[IndexSpec, Indexer]:
        spec = self.specs.get(plan.index)
        if spec is None:
            raise InvalidSpec(
                f"no index {plan.index!r} in this collection; it has {', '.join(self.specs) or 'none yet'}"
            )
        return spec, family(spec.family)

    def fit(self, plan: SearchPlan, k: int) -> SearchPlan:
        """Check a plan against the collection, and lengthen shortlists that are shorter than k.

        Raises:
            InvalidSpec: an index or a stage the collection cannot have.
        """
        if plan.index == EXACT:
            return plan
        spec, _ = self._spec(plan)
        if plan.stages[-1].dim > self.dim or plan.stages[0].dim < spec.dim:
            raise InvalidSpec(f"plan {plan}: stages must lie between {spec.dim} and {self.dim} dimensions")
        return plan.widened(k, 1)

    def _search(self, xq: FloatArray, k: int, plan: SearchPlan, dim: int) -> Neighbors:
        found = self._search_store(xq, k, plan, dim)
        if len(self.tail):
            found = self._with_tail(found, xq, k, dim)
        if found.ids[:, -1].min() == MISSING:
            found = self._widen(found, xq, k, plan, dim)
        return found

    def _search_store(self, xq: FloatArray, k: int, plan: SearchPlan, dim: int) -> Neighbors:
        n = len(self.store)
        if plan.index == EXACT or (plan.stages[0].shortlist >= n and dim == self.dim):
            return self._scan(self.store, 0, xq, k, dim)
        if len(plan.stages) == 1 and dim == self.dim:
            coarse, _, parameters = self._prepared(plan, k)
            scores, rows = coarse.refined.search(xq, k, params=parameters)
            return Neighbors(scores, rows)
        return self._funnel(xq, k, plan)

    def _scan(self, store: VectorStore, which: int, xq: FloatArray, k: int, dim: int) -> Neighbors:
        """Score every live row of the store (0) or the tail (1)."""
        if dim == self.dim:
            return store.search(xq, k, self._selectors[which])
        offset = len(self.store) if which else 0
        live = np.setdiff1d(np.arange(len(store)), self.deleted - offset, assume_unique=True)
        return scan_prefix(store, xq, k, dim, live)

    def candidates(self, xq: FloatArray, plan: SearchPlan) -> Neighbors:
        """Return the coarse index's shortlist: prefix scores and row numbers, [nq, shortlist]."""
        coarse, parameters, _ = self._prepared(plan, plan.stages[0].shortlist)
        scores, rows = coarse.index.search(xq, min(plan.stages[0].shortlist, len(self.store)), params=parameters)
        return Neighbors(scores, rows)

    def _funnel(self, xq: FloatArray, k: int, plan: SearchPlan) -> Neighbors:
        found = self.candidates(xq, plan)
        keeps = [*(stage.shortlist for stage in plan.stages[1:]), k]
        for stage, keep in zip(plan.stages, keeps, strict=True):
            found = rerank(self.store, xq, found.ids, stage.dim, keep)
        short = k - found.ids.shape[1]
        if short > 0:
            scores = np.pad(found.scores, ((0, 0), (0, short)), constant_values=-np.inf)
            found = Neighbors(scores, np.pad(found.ids, ((0, 0), (0, short)), constant_values=MISSING))
        return found

    def _with_tail(self, found: Neighbors, xq: FloatArray, k: int, dim: int) -> Neighbors:
        new = self._scan(self.tail, 1, xq, min(k, len(self.tail)), dim)
        rows = np.where(new.ids == MISSING, MISSING, new.ids + len(self.store))
        scores = np.where(new.ids == MISSING, -np.inf, new.scores).astype(np.float32)
        old = np.where(found.ids == MISSING, -np.inf, found.scores).astype(np.float32)
        return best(np.concatenate([old, scores], axis=1), np.concatenate([found.ids, rows], axis=1), k)

    def _widen(self, found: Neighbors, xq: FloatArray, k: int, plan: SearchPlan, dim: int) -> Neighbors:
        """Search again, wider, for the queries that got too few answers; in the end exactly."""
        short = np.flatnonzero(found.ids[:, -1] == MISSING)
        wider = SearchPlan(EXACT)
        if plan.index != EXACT and plan.stages[0].shortlist * WIDEN < len(self.store):
            spec, indexer = self._spec(plan)
            probe = (plan.probe or indexer.default_probe(spec)) * WIDEN
            probe = min(probe, indexer.most_probes(spec, len(self.store)))
            wider = replace(plan, probe=probe).widened(k, WIDEN)
        again = self._search(np.ascontiguousarray(xq[short]), k, wider, dim)
        found.scores[short], found.ids[short] = again
        return found

    # -- vectors -------------------------------------------------------------------------

    def vectors(self, positions: IdArray) -> FloatArray:
        """Return stored vectors by row number, float32 [n, D]."""
        n = len(self.store)
        out = np.empty((len(positions), self.dim), dtype=np.float32)
        indexed = positions < n
        out[indexed] = self.store.gather(positions[indexed])
        out[~indexed] = self.tail.gather(positions[~indexed] - n)
        return out
