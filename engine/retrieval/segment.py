"""A part of a space's rows, searched by itself: an exact scan of it, or a plan over its indexes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np

from engine.retrieval.coarse import Coarse, Search, coarse_over, prepared
from engine.retrieval.rerank import scan_prefix
from indexers.base import MISSING, FaissIndex, IndexSpec, Neighbors
from indexers.errors import InvalidSpec
from indexers.mask import Mask
from indexers.plan import SearchPlan
from indexers.pruned import Found, PrunedIndex
from indexers.store import BlockScan, VectorStore
from indexers.threads import new_lock
from indexers.vectors import FloatArray, IdArray

if TYPE_CHECKING:
    from engine.retrieval.accelerator import Accelerator

COMPARED, TRIED, TRIED_ROWS, ROWS_A_K = 64, 16, 32, 8
"""From so many queries on two exact searches are compared: with so many queries, and one row of so many."""

LARGE = 128
"""Answers from which on it is found out whether bounds pay for few queries, too."""

FEW_BYTES, FEWER, SCANNED = 16 << 20, 20, 32
"""Rows that may answer of so few bytes, and so small a share of all, are copied together when the same mask comes
again, kept as long as it is, and scanned; where they are more, but one in so many, they are scanned where they lie.
Bounds would take longer."""

AT_ONCE = 200
"""One row in so many is copied the first time already: to look at every row's bit takes longer than to copy these."""

FEW_IN_ALL = 128 << 20
"""Bytes of such copies that are kept."""

TURNS, PLAIN = 4, 3
"""So many searches of a mask go by turns through bounds and through a scan, then by what took less time; where one of
the first two took so many times as long as the other, that is plain already."""

FLOOR_MARGIN = 1e-4
"""By how much FAISS' sum of D products may lie above ours."""


class Segment:
    """The rows [first, first + len(store)) of a version; immutable once open, and safe to use from many threads.

    Row numbers it is asked with and answers with are its own: 0 is its first row.

    Example:
        >>> [(one.first, len(one), list(one.specs)) for one in engine.Collection.open("vectors.nest").searcher.segments]
        [(0, 1200, ['ivf-pq@16', 'flat@8']), (1200, 0, [])]

    Args:
        first: number of its first row in the version.
        store: its stored vectors.
        specs: its indexes, resolved, by their key in a plan; none where its rows are always scanned.
        load: opens one of them.
        pruned: its index for exact search, if it has one.
        accelerator: a device that holds its vectors, if it is searched there.
    """

    def __init__(
        self,
        first: int,
        store: VectorStore,
        *,
        specs: Mapping[str, IndexSpec] | None = None,
        load: Callable[[str], FaissIndex] | None = None,
        pruned: PrunedIndex | None = None,
        accelerator: Accelerator | None = None,
    ) -> None:
        self.first = first
        self.store = store
        self.specs = dict(specs or {})
        self.pruned = pruned
        self.accelerator = accelerator
        self._load = load
        self._coarse: dict[str, Coarse] = {}
        self._loading = new_lock()
        self._scan_is_faster: dict[int, bool] = {}
        self._few = WeakKeyDictionary[Mask, tuple[VectorStore, IdArray] | None]()
        self._taken = WeakKeyDictionary[Mask, dict[tuple[int, int], list[float]]]()

    def __len__(self) -> int:
        return len(self.store)

    @property
    def stop(self) -> int:
        """Number in the version of the first row behind it."""
        return self.first + len(self.store)

    def coarse(self, key: str) -> Coarse:
        """Return a prefix index by a key of `specs`, loading it the first time."""
        if key not in self._coarse:
            with self._loading:
                if key not in self._coarse:
                    if self._load is None:
                        raise InvalidSpec(f"no index {key!r} over rows {self.first} to {self.stop}")
                    self._coarse[key] = coarse_over(self.specs[key], self._load(key), self.store)
        return self._coarse[key]

    def is_scanned(self, plan: SearchPlan) -> bool:
        """Whether a plan comes to scoring every row here: it says so, has no index here, or shortlists all."""
        return plan.index not in self.specs or plan.stages[0].shortlist >= len(self.store)

    def is_compiled(self, plan: SearchPlan) -> bool:
        """Whether a plan that is not scanned is carried out here without FAISS."""
        return self.accelerator is None and self.coarse(plan.index).probed is not None

    def searching(self, plan: SearchPlan, k: int, dim: int, usual: SearchPlan | None = None) -> Search:
        """Return the search of a plan that fits (`Routes.fit`), with all found out that can be beforehand.

        Args:
            plan: how.
            k: answers a query.
            dim: dimensions the answers are scored by.
            usual: a plan for k that tells an exact search what score there is to reach; None where there is none.

        Raises:
            InvalidSpec: a plan that cannot be carried out on the device.
        """
        if self.is_scanned(plan):
            helps = self.pruned is not None and self.accelerator is None and dim == self.store.dim
            return partial(self.scan, k, dim, self._hint(usual, k) if helps else None)
        coarse = self.coarse(plan.index)
        if (on_device := self.accelerator) is not None:
            if (reason := on_device.refusal(plan)) is not None:
                raise InvalidSpec(f"plan {plan}: {reason}")
            return lambda xq, mask: on_device.search(coarse.spec, coarse.index, xq, k, plan, mask)
        return prepared(coarse, plan, k)

    def scan(self, k: int, dim: int, hint: Search | None, xq: FloatArray, mask: Mask | None) -> Neighbors:
        """Score every row that may answer by the first `dim` numbers; the arguments are those of `searching`."""
        if dim < self.store.dim:
            rows = np.arange(len(self.store)) if mask is None else mask.numbers
            return scan_prefix(self.store, xq, k, dim, rows)
        if self.accelerator is not None:
            return self.accelerator.scan(xq, k, mask)
        if mask is not None and mask.count * self.store.row_bytes <= FEW_BYTES and FEWER * mask.count <= len(self):
            return self._scan_few(xq, k, mask)
        if mask is not None and SCANNED * mask.count <= len(self):
            return self.store.search(xq, k, mask)
        if self.pruned is None:
            return self.store.search(xq, k, mask)
        if mask is not None:
            return self._scan_masked(self.pruned, k, hint, xq, mask)
        if len(xq) >= COMPARED:
            return self._scan_many(self.pruned, k, hint, xq)
        if k >= LARGE and self._is_scan_faster(self.pruned, k, hint, xq[:1]):
            return self.store.search(xq, k)
        return self.search_pruned(self.pruned, xq, k, None, hint).neighbors

    def _scan_masked(self, pruned: PrunedIndex, k: int, hint: Search | None, xq: FloatArray, mask: Mask) -> Neighbors:
        """Search exactly among many rows that may answer: by bounds, or by a scan where these are of no use.

        Of rows that all lie far from what is asked, as a filter may leave them, bounds rule out hardly any. Which takes
        less time is found out as the same mask is searched again: nothing is done twice for one that is not.
        """
        size = k.bit_length(), min(len(xq), COMPARED).bit_length()
        taken = self._taken.setdefault(mask, {}).setdefault(size, [])
        is_open = _is_open(taken)
        by_bounds = len(taken) % 2 == 0 if is_open else sum(taken[0::2]) <= sum(taken[1::2])
        started = time.perf_counter()
        if by_bounds:
            found = self.search_pruned(pruned, xq, k, mask, hint).neighbors
        else:
            found = self.store.search(xq, k, mask)
        if is_open:
            taken.append((time.perf_counter() - started) / len(xq))
        return found

    def _scan_few(self, xq: FloatArray, k: int, mask: Mask) -> Neighbors:
        """Scan the few rows that may answer."""
        kept = self._few.get(mask, ())
        if kept == () and AT_ONCE * mask.count > len(self):  # one that is asked for once is not worth the copy
            self._few[mask] = None
            return self.store.search(xq, k, mask)
        if not kept:
            rows = mask.numbers
            held = sum(one[0].rows.nbytes for one in list(self._few.values()) if one is not None)
            if held + len(rows) * self.store.row_bytes > FEW_IN_ALL:
                self._few.clear()
            kept = self._few[mask] = VectorStore(np.ascontiguousarray(self.store.rows[rows])), rows
        few, rows = kept
        found = few.search(xq, k)
        there = found.ids != MISSING
        found.ids[there] = rows[found.ids[there]]
        return found

    def _is_scan_faster(self, pruned: PrunedIndex, k: int, hint: Search | None, xq: FloatArray) -> bool:
        """Whether bounds do not pay for one query and so many answers: found out with the first, and remembered."""
        size = k.bit_length()
        if size not in self._scan_is_faster:
            started = time.perf_counter()
            self.search_pruned(pruned, xq, k, None, hint)
            between = time.perf_counter()
            self.store.search(xq, k)
            self._scan_is_faster[size] = time.perf_counter() - between < between - started
        return self._scan_is_faster[size]

    def _scan_many(self, pruned: PrunedIndex, k: int, hint: Search | None, xq: FloatArray) -> Neighbors:
        """Search exactly by the pruned index or by blocks of rows, whichever takes less time here, for these queries.

        How far bounds help depends on the data, on the queries and on k; what either takes is found out with a few of
        the queries, and with a few of the rows.
        """
        tried, started = max(1, min(TRIED, TRIED * LARGE // k)), time.perf_counter()
        first = self.search_pruned(pruned, xq[:tried], k, None, hint).neighbors
        bounded = (time.perf_counter() - started) / tried
        rest = np.ascontiguousarray(xq[tried:])
        scan, started = BlockScan(self.store, rest, k), time.perf_counter()
        # Of a block hardly longer than k most rows are kept for a while, which takes longer than to multiply them.
        scan.read(min(len(self), max(len(self) // TRIED_ROWS, ROWS_A_K * k)))
        if (time.perf_counter() - started) / scan.rows * len(self) < bounded * len(rest):
            scan.read(len(self))
            last = scan.neighbors()
        else:
            last = self.search_pruned(pruned, rest, k, None, hint).neighbors
        return Neighbors(np.concatenate([first.scores, last.scores]), np.concatenate([first.ids, last.ids]))

    def exact_bytes(self, xq: FloatArray, k: int, mask: Mask | None, usual: SearchPlan | None) -> int:
        """Return how many bytes of it an exact search reads for one query: of codes, lengths and stored vectors."""
        if self.pruned is None:
            return len(self) * self.store.row_bytes
        return int(self.search_pruned(self.pruned, xq, k, mask, self._hint(usual, k)).bytes_read[0])

    def _hint(self, usual: SearchPlan | None, k: int) -> Search | None:
        """Return the approximate search that tells an exact one what score there is to reach, if there is one."""
        return None if usual is None or self.is_scanned(usual) else self.searching(usual, k, self.store.dim)

    def search_pruned(
        self, pruned: PrunedIndex, xq: FloatArray, k: int, mask: Mask | None = None, hint: Search | None = None
    ) -> Found:
        """Search exactly by the pruned index; `hint`, an approximate search, tells what score there is to reach."""
        floors = None
        if hint is not None:
            found = hint(xq, mask)
            ordered = np.sort(found.ids, axis=1)
            known = (ordered[:, 0] >= 0) & (np.diff(ordered, axis=1) > 0).all(axis=1)
            known &= found.scores[:, -1] > -1  # what scores −1 may have been less, before it was made a cosine
            floors = np.where(known, found.scores[:, -1] - FLOOR_MARGIN, -np.inf).astype(np.float32)
        return pruned.search(self.store, xq, k, floors=floors, mask=mask)


def _is_open(taken: Sequence[float]) -> bool:
    """Whether searches by turns do not say yet which way takes less time."""
    return len(taken) < 2 or (len(taken) < TURNS and max(taken[:2]) < PLAIN * min(taken[:2]))
