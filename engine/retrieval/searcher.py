"""Carry out search plans over one space of one version.

The hot path, one coarse index and one rerank at full dimension, is one call into compiled code (`coarse`).
What is done around it in Python is done once per plan and kept.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cached_property
from typing import Any, NamedTuple

import faiss
import numpy as np
from numpy.typing import NDArray

from engine.collection.manifest import IndexEntry
from engine.collection.snapshot import Snapshot
from engine.retrieval.accelerator import Accelerator
from engine.retrieval.coarse import Coarse, Search, coarse_over, prepared, shortlisting
from engine.retrieval.rerank import best, scan_prefix
from engine.storage import layout
from indexers import checks
from indexers.base import AXES, MISSING, Indexer, IndexSpec, Neighbors, positions_mask
from indexers.errors import CorruptCollection, InvalidInput, InvalidSpec, InvalidVectors
from indexers.families.registry import family
from indexers.files import read_index
from indexers.names import did_you_mean
from indexers.plan import EXACT, SearchPlan, Stage
from indexers.pruned import Found, PrunedIndex, is_available
from indexers.store import VectorStore, check_dtype
from indexers.threads import new_lock, on_one_thread
from indexers.vectors import FloatArray, IdArray, as_queries

WIDEN = 4  # times what a search looked at that came back with too few answers
FLOOR_MARGIN = 1e-4
"""By how much FAISS' sum of D products may lie above ours."""

MOST_WAYS = 256
"""Plans and values of k that are kept ready; a server that is asked with any k must not grow for ever."""


class Way(NamedTuple):
    """A plan made ready for one k: everything a search with it needs, found out once.

    Attributes:
        plan: checked, with shortlists of at least k.
        dim: dimensions the answers are scored by.
        run: searches the store; None where the stored vectors are scanned instead.
        is_faiss: whether FAISS may start threads on the way.
    """

    plan: SearchPlan
    dim: int
    run: Search | None
    is_faiss: bool


class Searcher:
    """Search over row numbers; immutable once open, and safe to use from many threads.

    Args:
        snapshot: the version.
        space: whose vectors.
        device: where to search, "cpu" or "cuda".
        gpu_memory: bytes of it that may be used; most of what is free if None.

    Attributes:
        space: name of the space that is searched.
        store: vectors of the rows that are indexed, mapped.
        tail: vectors of the rows added since, in memory; always searched exactly.
    """

    def __init__(
        self,
        snapshot: Snapshot,
        space: str = layout.DEFAULT_SPACE,
        *,
        device: str = "cpu",
        gpu_memory: int | None = None,
    ) -> None:
        self.space = space
        self.entry = snapshot.manifest.space(space)
        self.dim = self.entry.dim
        self._snapshot = snapshot
        covering = self.entry.vectors
        self.indexed_shards = covering.shards if covering else 0
        self.store = self._open_store()
        self.pruned = self._open_pruned()
        self.tail = self._open_tail(space)
        self.rows = len(self.store) + len(self.tail)
        self.deleted = snapshot.deleted
        self.live = self.rows - len(self.deleted)
        self._masks = self._make_masks()
        self._selectors = [None if mask is None else faiss.IDSelectorBitmap(mask) for mask in self._masks]
        self._coarse: dict[str, Coarse] = {}
        self._ways: dict[tuple[SearchPlan | None, int, int | None], Way] = {}
        self._loading = new_lock()
        self.accelerator: Accelerator | None = None
        if device != "cpu" and len(self.store):
            self.accelerator = Accelerator(self.store, self.deleted, device=device, memory=gpu_memory)
        self.default_plan = self.entry.plans[0].plan if self.entry.plans else SearchPlan(EXACT)

    def _open_store(self) -> VectorStore:
        if self.entry.vectors is None:
            return VectorStore(np.empty((0, self.dim), dtype=check_dtype(self.entry.dtype)))
        store = VectorStore.open(self._snapshot.open_covering(self.entry.vectors))
        if store.rows.shape != (self.entry.vectors.file.rows, self.dim):
            raise CorruptCollection(
                f"{self.entry.vectors.file.path}: expected {self.entry.vectors.file.rows} × {self.dim}, "
                f"found {store.rows.shape}"
            )
        return store

    def _open_pruned(self) -> PrunedIndex | None:
        """Open the index for exact search, if there is one beside these vectors and code to read it with."""
        covering = self.entry.pruned
        if covering is None or covering.shards != self.indexed_shards or not is_available():
            return None
        return PrunedIndex(self._snapshot.open_covering(covering), len(self.store), self.dim)

    def _open_tail(self, space: str) -> VectorStore:
        blocks = [stored for _, stored in self._snapshot.stored_vectors(space, first=self.indexed_shards)]
        empty = np.empty((0, self.dim), dtype=check_dtype(self.entry.dtype))
        return VectorStore(np.ascontiguousarray(np.concatenate([empty, *blocks])))

    def _make_masks(self) -> tuple[NDArray[np.uint8] | None, NDArray[np.uint8] | None]:
        """Make the bitmaps of live rows in the store and in the tail; None where all live."""
        n = len(self.store)
        parts = self.deleted[self.deleted < n], self.deleted[self.deleted >= n] - n
        sizes = n, len(self.tail)
        store, tail = (
            positions_mask(size, part) if len(part) else None for size, part in zip(sizes, parts, strict=True)
        )
        return store, tail

    @property
    def mask(self) -> NDArray[np.uint8] | None:
        """The bitmap of live rows of the store; None where all live."""
        return self._masks[0]

    # -- indexes -------------------------------------------------------------------------

    @cached_property
    def specs(self) -> dict[str, IndexSpec]:
        """The indexes that can be searched, by their key in a plan."""
        return {key: entry.spec for key, entry in self._entries.items()}

    @cached_property
    def _entries(self) -> dict[str, IndexEntry]:
        beside = (entry for entry in self.entry.indexes if entry.covering.shards == self.indexed_shards)
        return {entry.spec.key: entry for entry in beside}

    def coarse(self, key: str) -> Coarse:
        """Return a prefix index by a key of `specs`, loading it the first time."""
        if key in self._coarse:
            return self._coarse[key]
        with self._loading:
            if key not in self._coarse:
                self._coarse[key] = self._load(key)
        return self._coarse[key]

    def _load(self, key: str) -> Coarse:
        spec = self.specs[key]
        path = self._snapshot.open_covering(self._entries[key].covering)
        index = read_index(path, spec=spec, full_dim=self.dim, rows=len(self.store))
        return coarse_over(spec, index, self.store, self.mask)

    # -- plans ---------------------------------------------------------------------------

    def _way(self, k: int, plan: SearchPlan | None, dim: int | None) -> Way:
        """Return what `search` needs for its arguments, made the first time they are seen."""
        way = self._ways.get((plan, k, dim))
        if way is None:
            if len(self._ways) >= MOST_WAYS:
                self._ways.clear()
            if plan is None:
                wanted = self.default_for(k, self.dim if dim is None else dim)
                if self.accelerator is not None and self.accelerator.refusal(wanted) is not None:
                    wanted = SearchPlan(EXACT)  # nobody named that plan, and GPUs are good at scans
            else:
                wanted = self.fit(plan, k)
            way = self._ways[(plan, k, dim)] = self._prepare(wanted, k, self._last_dim(wanted, dim))
        return way

    def _prepare(self, plan: SearchPlan, k: int, dim: int) -> Way:
        if plan.index == EXACT or plan.stages[0].shortlist >= len(self.store):
            return Way(plan, dim, None, True)
        coarse = self.coarse(plan.index)
        if (on_device := self.accelerator) is None:
            return Way(plan, dim, prepared(coarse, plan, k), coarse.probed is None or len(self.tail) > 0)
        if (reason := on_device.refusal(plan)) is not None:
            raise InvalidSpec(f"plan {plan}: {reason}")
        return Way(plan, dim, lambda xq: on_device.search(coarse.spec, coarse.index, xq, k, plan), True)

    def _last_dim(self, plan: SearchPlan, dim: int | None) -> int:
        last = plan.stages[-1].dim if plan.stages else None
        wanted = dim if dim is not None else last or self.dim
        if not 1 <= wanted <= self.dim or last not in (None, wanted):
            raise InvalidInput(f"cannot stop at {wanted} dimensions with plan {plan} on {self.dim}-dimensional vectors")
        return wanted

    def default_for(self, k: int, dim: int) -> SearchPlan:
        """Return the default plan for `k` answers by the first `dim` numbers.

        Plans are measured for some k (10). For more answers shortlists grow in proportion, and
        probes with the square root: the k nearest rows spread over more cells the more they are.
        """
        plan = self.default_plan if dim == self.dim else self._prefix_plan(dim)
        return self._scaled(plan, k, self.entry.plans[0].k if self.entry.plans else k)

    def _scaled(self, plan: SearchPlan, k: int, measured: int) -> SearchPlan:
        """Return a plan that was measured for `measured` answers as it should be for k."""
        if plan.index == EXACT:
            return plan
        factor = max(1, math.ceil(k / measured))
        return self._with_probes(plan, math.sqrt(factor)).widened(k, factor)

    def _with_probes(self, plan: SearchPlan, factor: float) -> SearchPlan:
        """Return a plan with so many times the probes; one that a margin alone ends may visit all already."""
        if plan.margin and not plan.probe:
            return plan
        spec, indexer = self._spec(plan)
        probe = math.ceil((plan.probe or indexer.default_probe(spec)) * factor)
        return replace(plan, probe=min(probe, indexer.most_probes(spec, len(self.store))))

    def plan_for_recall(self, recall: float, k: int) -> SearchPlan:
        """Return the fastest plan of the tuned curve that keeps a recall on every kind of query, for `k` answers.

        A recall of 1 is promised only by an exact search, whatever else found everything when it was measured.

        Raises:
            InvalidInput: the space was not tuned, or the recall is not between 0 and 1.
        """
        tuning = self.entry.tuning
        if tuning is None:
            raise InvalidInput(f"space {self.space!r} was not tuned: run `nestvec tune` first, or name a plan")
        if not 0 < recall <= 1:
            raise InvalidInput(f"recall: expected more than 0 and at most 1, found {recall}")
        kept = (point.plan for point in tuning.curve if min(point.recall.values()) >= recall and recall < 1)
        return self._scaled(next(kept, SearchPlan(EXACT)), k, tuning.k)

    def _prefix_plan(self, dim: int) -> SearchPlan:
        """Plan a search that stops at a prefix: the longest index within it, reranked at it."""
        below = [spec for spec in self.specs.values() if spec.dim <= dim and AXES not in dict(spec.params)]
        if not below:
            return SearchPlan(EXACT)
        shortlist = self.default_plan.stages[0].shortlist if self.default_plan.stages else 100
        return SearchPlan(max(below, key=lambda spec: spec.dim).key, 0, (Stage(dim, shortlist),))

    def _spec(self, plan: SearchPlan) -> tuple[IndexSpec, Indexer]:
        spec = self.specs.get(plan.index)
        if spec is None:
            known = f"{', '.join(self.specs) or 'none yet'}{did_you_mean(plan.index, self.specs)}"
            raise InvalidSpec(f"no index {plan.index!r} in this collection; it has {known}")
        return spec, family(spec.family)

    def fit(self, plan: SearchPlan, k: int) -> SearchPlan:
        """Check a plan against the collection, lengthen shortlists shorter than k, and cut needless probes.

        Raises:
            InvalidSpec: an index or a stage the collection cannot have.
        """
        if plan.index == EXACT:
            return plan
        spec, indexer = self._spec(plan)
        if plan.stages[-1].dim > self.dim or plan.stages[0].dim < spec.dim:
            raise InvalidSpec(f"plan {plan}: stages must lie between {spec.dim} and {self.dim} dimensions")
        # FAISS sets aside memory for as many probes as it is told, also for those that cannot be made.
        probe = min(plan.probe, indexer.most_probes(spec, len(self.store)))
        return replace(plan, probe=probe).widened(k, 1)

    # -- searching -----------------------------------------------------------------------

    def check_queries(self, xq: Any) -> FloatArray:
        """Return queries as unit float32 [nq, D].

        Raises:
            InvalidVectors: another dimension, NaN or infinite values, or a zero row.
        """
        return as_queries(xq, name="queries", dim=self.dim)

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
        if xq.ndim != 2 or xq.shape[1] != self.dim:
            raise InvalidVectors(f"queries: expected shape [nq, {self.dim}], found {list(xq.shape)}")
        k = min(checks.whole("k", k), self.live)
        if k == 0 or not len(xq):
            return Neighbors(np.empty((len(xq), k), np.float32), np.empty((len(xq), k), np.int64))
        way = self._way(k, plan, dim)
        if len(xq) > 1 or not way.is_faiss:
            return self._search(xq, k, way)
        with on_one_thread():
            return self._search(xq, k, way)

    def _search(self, xq: FloatArray, k: int, way: Way) -> Neighbors:
        found = self._search_store(xq, k, way)
        if len(self.tail):
            found = self._with_tail(found, xq, k, way.dim)
        if (found.ids.item(-1) if len(xq) == 1 else found.ids[:, -1].min()) == MISSING:
            found = self._widen(found, xq, k, way)
        return found

    def _search_store(self, xq: FloatArray, k: int, way: Way) -> Neighbors:
        if way.run is None:
            if self.accelerator is not None and way.dim == self.dim:
                return self.accelerator.scan(xq, k)
            if self.pruned is not None and way.dim == self.dim:
                return self.search_pruned(self.pruned, xq, k).neighbors
            return self._scan(self.store, 0, xq, k, way.dim)
        return way.run(xq)

    def search_pruned(self, pruned: PrunedIndex, xq: FloatArray, k: int) -> Found:
        """Search the store exactly; the default plan, where it is another, tells what score there is to reach.

        Args:
            pruned: the index.
            xq: unit float32 [nq, D].
            k: answers a query, ≥ 1.
        """
        live = len(self.store) - int(np.searchsorted(self.deleted, len(self.store)))
        wanted = min(k, live)
        floors = None
        # A plan that cannot be carried out, or ends in a prefix, is no reason not to answer exactly.
        usable = wanted and self.default_plan.index in self.specs and self.default_plan.stages[-1].dim == self.dim
        if usable and (way := self._way(wanted, None, None)).run is not None:
            found = self._search_store(xq, wanted, way)
            ordered = np.sort(found.ids, axis=1)
            known = (ordered[:, 0] >= 0) & (np.diff(ordered, axis=1) > 0).all(axis=1)
            known &= found.scores[:, -1] > -1  # what scores −1 may have been less, before it was made a cosine
            floors = np.where(known, found.scores[:, -1] - FLOOR_MARGIN, -np.inf).astype(np.float32)
        return pruned.search(self.store, xq, k, floors=floors, allowed=self.mask)

    def _scan(self, store: VectorStore, which: int, xq: FloatArray, k: int, dim: int) -> Neighbors:
        """Score every live row of the store (0) or the tail (1)."""
        if dim == self.dim:
            return store.search(xq, k, self._selectors[which])
        live = np.ones(self.rows, dtype=bool)
        live[self.deleted] = False
        part = live[len(self.store) :] if which else live[: len(self.store)]
        return scan_prefix(store, xq, k, dim, np.flatnonzero(part))

    def candidates(self, xq: FloatArray, plan: SearchPlan, keep: int = 0) -> Neighbors:
        """Return the coarse index's shortlist: prefix scores and row numbers, [nq, shortlist]; see `shortlisting`.

        Where fewer rows were found the row number is −1, and the score means nothing.
        """
        return shortlisting(self.coarse(plan.index), plan, keep)(xq)

    def _with_tail(self, found: Neighbors, xq: FloatArray, k: int, dim: int) -> Neighbors:
        new = self._scan(self.tail, 1, xq, min(k, len(self.tail)), dim)
        rows = np.where(new.ids == MISSING, MISSING, new.ids + len(self.store))
        scores = np.where(new.ids == MISSING, -np.inf, new.scores).astype(np.float32)
        old = np.where(found.ids == MISSING, -np.inf, found.scores).astype(np.float32)
        return best(np.concatenate([old, scores], axis=1), np.concatenate([found.ids, rows], axis=1), k)

    def _widen(self, found: Neighbors, xq: FloatArray, k: int, way: Way) -> Neighbors:
        """Search again, wider, for the queries that got too few answers; in the end exactly."""
        if way.run is None:
            raise InvalidVectors(
                "a scan of everything found too few rows: expected finite numbers, found NaN in the queries, "
                "or in the stored vectors (see `nestvec verify`)"
            )
        short = np.flatnonzero(found.ids[:, -1] == MISSING)
        plan = way.plan
        wider = SearchPlan(EXACT)
        if plan.stages[0].shortlist * WIDEN < len(self.store):
            wider = self._with_probes(plan, WIDEN).widened(k, WIDEN)
            if self.accelerator is not None and self.accelerator.refusal(wider) is not None:
                wider = SearchPlan(EXACT)
        again = self._search(np.ascontiguousarray(xq[short]), k, self._way(k, wider, way.dim))
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
