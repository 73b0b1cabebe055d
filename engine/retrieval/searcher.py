"""Search the parts of a space and make one answer of theirs.

The hot path, one coarse index and one rerank at full dimension, is one call into compiled code (`coarse`).
What is done around it in Python is done once per plan and kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np

from engine.collection.manifest import Part
from engine.collection.snapshot import Snapshot
from engine.retrieval.coarse import Coarse, Search, shortlisting
from engine.retrieval.rerank import best
from engine.retrieval.route import Routes
from engine.retrieval.segment import Segment
from engine.storage import layout
from indexers import checks
from indexers.base import MISSING, FaissIndex, IndexSpec, Neighbors
from indexers.errors import CorruptCollection, InvalidInput, InvalidVectors
from indexers.families.registry import family
from indexers.files import read_index
from indexers.mask import Mask
from indexers.plan import EXACT, SearchPlan
from indexers.pruned import PrunedIndex, is_available
from indexers.store import VectorStore, check_dtype
from indexers.threads import on_one_thread
from indexers.vectors import FloatArray, IdArray, as_queries
from indexers.without_own import without_own

if TYPE_CHECKING:
    from engine.retrieval.accelerator import Accelerator

MOST_READY = 256
"""Plans and values of k that are kept ready; a server that is asked with any k must not grow for ever."""

Masks = tuple[Mask | None, ...]
"""A mask cut along the segments; None for one whose rows may all answer."""


class ReadyPlan(NamedTuple):
    """A plan made ready for one k: everything a search with it needs, found out once.

    Attributes:
        plan: checked, with shortlists of at least k.
        dim: dimensions the answers are scored by.
        runs: the search of each segment.
        is_faiss: whether FAISS may start threads meanwhile.
    """

    plan: SearchPlan
    dim: int
    runs: tuple[Search, ...]
    is_faiss: bool


def _on_device(store: VectorStore, device: str, memory: int | None, share: float) -> Accelerator:
    from engine.retrieval.accelerator import Accelerator

    return Accelerator(store, device=device, memory=memory, share=share)


def _load(snapshot: Snapshot, part: Part, store: VectorStore, key: str) -> FaissIndex:
    """Load an index of a part; no method of a searcher, which would then hold itself, and its version, for ever."""
    entry = next(entry for entry in part.indexes if entry.spec.key == key)
    path = snapshot.open_covering(entry.covering)
    return read_index(path, spec=entry.spec, full_dim=store.dim, rows=len(store))


class Searcher:
    """Search over row numbers; immutable once open, and safe to use from many threads.

    Example:
        >>> searcher = engine.Collection.open("vectors.nest").searcher
        >>> searcher.search(np.load("vectors.npy")[:2], k=1, plan=engine.SearchPlan("exact")).ids.tolist()
        [[0], [1]]

    Args:
        snapshot: the version.
        space: whose vectors.
        device: where to search, "cpu" or "cuda".
        gpu_memory: bytes of it that may be used; most of what is free if None.

    Attributes:
        space: name of the space that is searched.
        entry: what the version says of it.
        dim: full dimension D.
        rows: how many rows there are, removed ones included.
        live: which of them may answer where no mask is given: those without a tombstone.
        segments: the parts that are indexed, in the order of their rows, and last the rows that came since, whose
            vectors are held in memory and always scanned; it may have none.
        routes: the plans of the space.
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
        indexed = list(self._indexed(device, gpu_memory))
        self.segments = (*indexed, self._tail(indexed[-1].stop if indexed else 0))
        self.rows = self.segments[-1].stop
        self.live = Mask.without(self.rows, snapshot.deleted)
        self._live = self._cut(self.live)
        self._cut_masks = WeakKeyDictionary[Mask, tuple[Mask, Masks]]()
        self._made: dict[tuple[SearchPlan | None, int, int | None], ReadyPlan] = {}
        specs: dict[str, IndexSpec] = {}
        for segment in indexed:  # of each index that of the part with the most cells: what a plan may visit
            for key, spec in segment.specs.items():
                if key not in specs or family(spec.family).cells(spec) > family(spec.family).cells(specs[key]):
                    specs[key] = spec
        most = max((len(segment) for segment in indexed), default=0)
        self.routes = Routes(space, self.entry, specs, most)

    def __reduce__(self) -> Any:
        """Open the same again where it is copied to, to search on the CPU."""
        return Searcher, (self._snapshot, self.space)

    # -- opening -------------------------------------------------------------------------

    def _indexed(self, device: str, gpu_memory: int | None) -> Iterator[Segment]:
        first, parts = 0, self.entry.parts
        for part in parts:
            store = self._open_store(part)
            share = len(store) / max(1, sum(one.vectors.file.rows for one in parts))
            yield Segment(
                first,
                store,
                specs={entry.spec.key: entry.spec for entry in part.indexes},
                load=partial(_load, self._snapshot, part, store),
                pruned=self._open_pruned(part, store),
                accelerator=_on_device(store, device, gpu_memory, share) if device != "cpu" and len(store) else None,
            )
            first += len(store)

    def _open_store(self, part: Part) -> VectorStore:
        file = part.vectors.file
        store = VectorStore.open(self._snapshot.open_covering(part.vectors))
        if store.rows.shape != (file.rows, self.dim):
            raise CorruptCollection(f"{file.path}: expected {file.rows} × {self.dim}, found {store.rows.shape}")
        return store

    def _open_pruned(self, part: Part, store: VectorStore) -> PrunedIndex | None:
        """Open the index for exact search, if there is one beside these vectors and code to read it with."""
        if part.pruned is None or not is_available():
            return None
        return PrunedIndex(self._snapshot.open_covering(part.pruned), len(store), self.dim)

    def _tail(self, first: int) -> Segment:
        """Read the vectors that lie behind the indexed parts."""
        blocks = [stored for _, stored in self._snapshot.stored_vectors(self.space, first=self.entry.covered)]
        empty = np.empty((0, self.dim), dtype=check_dtype(self.entry.dtype))
        return Segment(first, VectorStore(np.ascontiguousarray(np.concatenate([empty, *blocks]))))

    # -- what is there -------------------------------------------------------------------

    @property
    def specs(self) -> dict[str, IndexSpec]:
        """The indexes that can be searched, by their key in a plan."""
        return dict(self.routes.specs)

    @property
    def first(self) -> Segment:
        """The first part: all rows but the tail, where the collection was built at once."""
        return self.segments[0]

    @property
    def tail(self) -> Segment:
        """The rows that no index covers."""
        return self.segments[-1]

    def coarse(self, key: str) -> Coarse:
        """Return a prefix index of the first part that has it, by a key of `specs`, loading it the first time."""
        return next(segment for segment in self.segments if key in segment.specs).coarse(key)

    def warm(self) -> None:
        """Open what a search by the default plan needs, so that none has to wait for it."""
        for segment in self.segments:
            if self.routes.usual.index in segment.specs:
                segment.coarse(self.routes.usual.index)

    def _cut(self, mask: Mask) -> Masks:
        parts = (mask.part(segment.first, segment.stop) for segment in self.segments)
        return tuple(None if part.bits is None else part for part in parts)

    # -- plans ---------------------------------------------------------------------------

    def _ready(self, k: int, plan: SearchPlan | None, dim: int | None) -> ReadyPlan:
        """Return what `search` needs for its arguments, made the first time they are seen."""
        ready = self._made.get((plan, k, dim))
        if ready is None:
            if len(self._made) >= MOST_READY:
                self._made.clear()
            if plan is None:
                wanted = self._on_device(self.routes.default(k, self.dim if dim is None else dim))
            else:
                wanted = self.routes.fit(plan, k)
            ready = self._made[(plan, k, dim)] = self._prepare(wanted, k, self.routes.last_dim(wanted, dim))
        return ready

    def _on_device(self, plan: SearchPlan) -> SearchPlan:
        """Return a plan that nobody named, or where the device cannot carry it out a scan: they are good at those."""
        devices = [one.accelerator for one in self.segments if one.accelerator is not None]
        return SearchPlan(EXACT) if any(one.refusal(plan) is not None for one in devices) else plan

    def _prepare(self, plan: SearchPlan, k: int, dim: int) -> ReadyPlan:
        usual = self._helpful(k) if dim == self.dim else None
        runs = tuple(segment.searching(plan, k, dim, usual) for segment in self.segments)
        ours = (len(one) == 0 or (not one.is_scanned(plan) and one.is_compiled(plan)) for one in self.segments)
        return ReadyPlan(plan, dim, runs, not all(ours))

    def _helpful(self, k: int) -> SearchPlan | None:
        """Return the default plan, which tells an exact search what score there is to reach.

        One that cannot be carried out, or ends in a prefix, is no reason not to answer exactly.
        """
        usual = self.routes.usual
        helps = usual.index in self.routes.specs and usual.stages[-1].dim == self.dim
        return self.routes.default(k, self.dim) if helps else None

    def exact_bytes(self, xq: FloatArray, k: int, mask: Mask | None = None) -> int:
        """Return how many bytes of the indexed parts an exact search reads for one query, unit float32 [1, D]."""
        usual = self._helpful(k)
        parts = zip(self.segments[:-1], self._masked(mask)[1], strict=False)
        return sum(segment.exact_bytes(xq, k, own, usual) for segment, own in parts)

    # -- searching -----------------------------------------------------------------------

    def check_queries(self, xq: Any) -> FloatArray:
        """Return queries as unit float32 [nq, D].

        Raises:
            InvalidVectors: another dimension, NaN or infinite values, or a zero row.
        """
        return as_queries(xq, name="queries", dim=self.dim)

    def search(
        self,
        xq: FloatArray,
        k: int,
        plan: SearchPlan | None = None,
        *,
        dim: int | None = None,
        mask: Mask | None = None,
        own: IdArray | None = None,
    ) -> Neighbors:
        """Find the k best rows for each query.

        Args:
            xq: unit float32 [nq, D], as `check_queries` returns them.
            k: answers a query, ≥ 1.
            plan: how; the collection's default plan if None.
            dim: stop at this prefix and answer by its cosines; the full dimension if None.
            mask: over all rows, which of the live ones may answer; all of them if None.
            own: int64 [nq], the row that each query is and that must not answer it, −1 for none; no query is if None.

        Returns:
            Neighbors [nq, min(k, rows that may answer)] whose ids are row numbers, never a missing one; but where
            `own` took out what would have been the last: id −1 and score −∞ then.

        Raises:
            InvalidInput: k < 1, a dim that is not the plan's, or a mask of another number of rows.
            InvalidSpec: the plan names an index the collection does not have.
        """
        if xq.ndim != 2 or xq.shape[1] != self.dim:
            raise InvalidVectors(f"queries: expected shape [nq, {self.dim}], found {list(xq.shape)}")
        k = checks.whole("k", k)
        if own is not None and np.shape(own) != (len(xq),):
            raise InvalidInput(f"own: expected a row for each of {len(xq)} queries, found shape {list(np.shape(own))}")
        live, masks = self._masked(mask)
        asked = min(k + (own is not None), live.count)
        if asked == 0 or not len(xq):
            return Neighbors(np.empty((len(xq), asked), np.float32), np.empty((len(xq), asked), np.int64))
        ready = self._ready(asked, plan, dim)
        if len(xq) > 1 or not ready.is_faiss:
            found = self._search(xq, asked, ready, masks)
        else:
            with on_one_thread():
                found = self._search(xq, asked, ready, masks)
        return found if own is None else without_own(found, own, min(k, asked))

    def _masked(self, mask: Mask | None) -> tuple[Mask, Masks]:
        """Return which live rows a mask lets through, in all and cut along the segments; None lets all of them."""
        if mask is None:
            return self.live, self._live
        if checks.instance("mask", mask, Mask).rows != self.rows:
            raise InvalidInput(f"mask: expected one of {self.rows} rows, found {mask.rows}")
        kept = self._cut_masks.get(mask)
        if kept is None:
            both = self.live & mask
            kept = self._cut_masks[mask] = both, self._cut(both)
        return kept

    def _search(self, xq: FloatArray, k: int, ready: ReadyPlan, masks: Masks) -> Neighbors:
        if len(self.tail) or len(self.segments) > 2:
            found = self._merged(xq, k, ready, masks)
        else:
            found = ready.runs[0](xq, masks[0])
        if (found.ids.item(-1) if len(xq) == 1 else found.ids[:, -1].min()) == MISSING:
            found = self._widen(found, xq, k, ready, masks)
        return found

    def _merged(self, xq: FloatArray, k: int, ready: ReadyPlan, masks: Masks) -> Neighbors:
        """Search every segment, and keep the best of what they found; of equal ones those of lower rows."""
        scores, ids = [], []
        for segment, run, mask in zip(self.segments, ready.runs, masks, strict=True):
            if len(segment):
                found = run(xq, mask)
                missing = found.ids == MISSING
                ids.append(np.where(missing, MISSING, found.ids + segment.first))
                scores.append(np.where(missing, -np.inf, found.scores).astype(np.float32))
        return best(np.concatenate(scores, axis=1), np.concatenate(ids, axis=1), k)

    def _widen(self, found: Neighbors, xq: FloatArray, k: int, ready: ReadyPlan, masks: Masks) -> Neighbors:
        """Search again, wider, for the queries that got too few answers; in the end exactly."""
        if all(segment.is_scanned(ready.plan) for segment in self.segments):
            raise InvalidVectors(
                "a scan of everything found too few rows: expected finite numbers, found NaN in the queries, "
                "or in the stored vectors (see `nestvec verify`)"
            )
        short = np.flatnonzero(found.ids[:, -1] == MISSING)
        wider = self._on_device(self.routes.wider(ready.plan, k))
        again = self._search(np.ascontiguousarray(xq[short]), k, self._ready(k, wider, ready.dim), masks)
        found.scores[short], found.ids[short] = again
        return found

    def candidates(
        self, xq: FloatArray, plan: SearchPlan, keep: int = 0, mask: Mask | None = None
    ) -> Iterator[tuple[Segment, Neighbors]]:
        """Yield what each part's coarse index shortlists of the rows that may answer: prefix scores, the part's rows.

        Neighbors are [nq, shortlist], see `shortlisting`. Where fewer rows were found the row number is −1, and the
        score means nothing.
        """
        for segment, own in zip(self.segments, self._masked(mask)[1], strict=True):
            if plan.index in segment.specs:
                yield segment, shortlisting(segment.coarse(plan.index), plan, keep)(xq, own)

    # -- vectors -------------------------------------------------------------------------

    def vectors(self, positions: IdArray | Sequence[int]) -> FloatArray:
        """Return stored vectors by row number, float32 [n, D]."""
        rows = np.asarray(positions, dtype=np.int64)
        if len(self.segments) == 2 and not len(self.tail):
            return self.first.store.gather(rows)
        out = np.empty((len(rows), self.dim), dtype=np.float32)
        for segment in self.segments:
            here = (rows >= segment.first) & (rows < segment.stop)
            if here.any():
                out[here] = segment.store.gather(rows[here] - segment.first)
        return out
