"""Search on a GPU: prefix indexes and stored vectors lie in its memory, and what is shortlisted is scored there.

A GPU reads memory so fast that a scan of a short prefix beats cells and graphs up to some million rows; what it does
not have is much of it. So `flat` and `ivf-flat` indexes are held as long as they fit a budget, the least used goes
first, and the stored vectors are held as float16, or where they do not fit fetched from the host for each shortlist.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import faiss
import numpy as np

from indexers.base import FaissIndex, IndexSpec, Neighbors, cosines
from indexers.errors import DependencyMissing, InvalidSpec
from indexers.families.registry import FAMILIES, family
from indexers.gpu import LOCK, MOST_K, gpu_count, is_out_of_memory, to_gpu
from indexers.mask import Mask
from indexers.plan import SearchPlan
from indexers.prefix import matrix_of, unwrap
from indexers.store import VectorStore
from indexers.vectors import FloatArray, IdArray

if TYPE_CHECKING:
    import torch

FLAT = "flat"
# Rows gathered, or scanned, at once: as float32.
GATHERED_BYTES = 256 << 20
# Of the memory that is free when nothing is said; FAISS and torch need some to work in.
SHARE = 0.8


@dataclass(frozen=True)
class DeviceIndex:
    """An index in device memory.

    Attributes:
        index: over prefixes [n, d].
        matrix: [w, d], what a query's first w numbers are multiplied with before it is normalised; None for nothing.
        size: bytes.
    """

    index: FaissIndex
    matrix: torch.Tensor | None
    size: int


class Accelerator:
    """The stored vectors of one space on a device, and prefix indexes beside them; safe to use from many threads.

    Example:
        >>> store = engine.VectorStore(np.load("vectors.npy"))
        >>> engine.Accelerator(store, device="cpu").scan(store.rows[:2], 1).ids.tolist()
        [[0], [1]]

    Args:
        store: the stored vectors.
        device: "cuda"; "cpu" does the same without one, much slower than FAISS does it there.
        memory: bytes of it that may be used; most of what is free if None.
        share: of that memory, where others hold the rest.

    Raises:
        DependencyMissing: there is no such device, or FAISS or torch cannot use it.
    """

    def __init__(
        self, store: VectorStore, *, device: str = "cuda", memory: int | None = None, share: float = 1.0
    ) -> None:
        import torch

        self._torch = torch
        if device == "cuda" and not (torch.cuda.is_available() and gpu_count()):
            raise DependencyMissing(
                "search on cuda needs a GPU that both torch and FAISS can use (faiss-gpu in place of faiss-cpu); "
                "see `nestvec doctor`"
            )
        # The one FAISS takes.
        self._device = torch.device("cuda:0" if device == "cuda" else device)
        self._store = store
        self._process = os.getpid()
        if device == "cuda":
            torch.cuda.empty_cache()
        free = torch.cuda.mem_get_info(0)[0] if device == "cuda" else len(store) * store.row_bytes
        self._left = int(share * (SHARE * free if memory is None else memory))
        self._indexes: OrderedDict[str, DeviceIndex] = OrderedDict()
        self._lock = LOCK
        self._rows = self._resident()
        self._masks: WeakKeyDictionary[Mask, torch.Tensor] = WeakKeyDictionary()

    @property
    def is_resident(self) -> bool:
        """Whether the stored vectors lie on the device."""
        return self._rows is not None

    @property
    def held(self) -> tuple[str, ...]:
        """Keys of the indexes on the device, the least used first."""
        return tuple(self._indexes)

    def _resident(self) -> torch.Tensor | None:
        """Copy the stored vectors to the device if they take no more than half of what may be used."""
        size = len(self._store) * self._store.row_bytes
        if 2 * size > self._left:
            return None
        self._left -= size
        # A copy: the mapping is read-only, which torch has no tensors for.
        return self._torch.from_numpy(np.array(self._store.rows)).to(self._device)

    # -- indexes -------------------------------------------------------------------------

    def refusal(self, plan: SearchPlan) -> str | None:
        """Return why a plan cannot be carried out here, or None: then it can."""
        name, dim = plan.index.partition("@")[0], self._store.dim
        able = [name for name, one in FAMILIES.items() if one.on_device]
        if name not in able:
            others = " or ".join(f"{one}@128" for one in able)
            return f"{name} is searched on the CPU only; build {others}, or open the collection without search_device"
        if len(plan.stages) != 1 or plan.stages[0].dim != dim:
            return f"on a GPU there is one stage, at all {dim} dimensions"
        if max(plan.stages[0].shortlist, plan.probe) > MOST_K:
            return f"a GPU has shortlists and probes of {MOST_K} at most"
        return None

    def _hold(self, spec: IndexSpec, index: FaissIndex) -> DeviceIndex:
        """Return an index on the device; the first time it is copied there, and others go if they must."""
        if spec.key in self._indexes:
            self._indexes.move_to_end(spec.key)
            return self._indexes[spec.key]
        # A flat index is held in float16 there.
        size = int(len(self._store) * family(spec.family).bytes_per_item(spec)) // (2 if spec.family == FLAT else 1)
        if size > self._left + sum(one.size for one in self._indexes.values()):
            raise InvalidSpec(f"{spec} takes {size:,} bytes of the GPU, more than there are left; give it more memory")
        while size > self._left:
            self._left += self._indexes.popitem(last=False)[1].size
        matrix = matrix_of(index)
        held = DeviceIndex(
            self._copied(spec, unwrap(index)[1]),
            None if matrix is None else self._torch.from_numpy(np.ascontiguousarray(matrix.T)).to(self._device),
            size,
        )
        self._left -= size
        self._indexes[spec.key] = held
        return held

    def _copied(self, spec: IndexSpec, inner: FaissIndex) -> FaissIndex:
        if self._device.type != "cuda":
            return inner
        try:
            return to_gpu(inner, half=spec.family == FLAT)
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise InvalidSpec(f"{spec}: the GPU is full; give searching less of it (gpu_memory)") from error
            raise

    # -- searching -----------------------------------------------------------------------

    @contextmanager
    def _computing(self) -> Iterator[None]:
        """Have the device for oneself.

        Raises:
            DependencyMissing: this process was forked from the one that opened it.
        """
        if self._device.type == "cuda" and self._process != os.getpid():
            raise DependencyMissing(
                "a forked process cannot use the GPU of its parent: open the collection in the process that searches "
                "it, and start that with multiprocessing's `spawn` or `forkserver`"
            )
        with self._lock, self._torch.inference_mode():
            yield

    def search(
        self,
        spec: IndexSpec,
        index: FaissIndex,
        xq: FloatArray,
        k: int,
        plan: SearchPlan,
        mask: Mask | None = None,
    ) -> Neighbors:
        """Carry out a plan.

        Args:
            spec: of its index, resolved.
            index: over full vectors, in host memory; copied the first time.
            xq: unit float32 [nq, D].
            k: answers a query, at most the plan's shortlist.
            plan: one without a `refusal`.
            mask: which rows may answer; all if None.

        Returns:
            Neighbors [nq, k], id −1 where fewer rows were found.

        Raises:
            InvalidSpec: the index is larger than all that may be used.
        """
        with self._computing():
            held = self._hold(spec, index)
            queries = self._torch.from_numpy(np.ascontiguousarray(xq)).to(self._device)
            if hasattr(held.index, "nprobe"):
                held.index.nprobe = min(plan.probe or family(spec.family).default_probe(spec), MOST_K)
            ids = self._shortlist(held, queries, min(plan.stages[0].shortlist, len(self._store)), spec.dim)
            scores, ids = self._rescored(queries, ids, k, mask)
            return cosines(scores.cpu().numpy(), ids.cpu().numpy())

    def rescore(self, xq: FloatArray, ids: IdArray, k: int, mask: Mask | None = None) -> Neighbors:
        """Score shortlists that something else found, int64 [nq, s], −1 where there is nothing, and keep the k best."""
        with self._computing():
            queries, rows = (self._torch.from_numpy(np.ascontiguousarray(x)).to(self._device) for x in (xq, ids))
            scores, found = self._rescored(queries, rows, k, mask)
            return cosines(scores.cpu().numpy(), found.cpu().numpy())

    def _shortlist(self, held: DeviceIndex, queries: torch.Tensor, wanted: int, dim: int) -> torch.Tensor:
        """Return row numbers [nq, wanted]: one call into FAISS, which reads and writes the device's memory."""
        empty, normalize = self._torch.empty, self._torch.nn.functional.normalize
        if held.matrix is None:
            cut = queries[:, :dim]
        else:
            cut = queries[:, : len(held.matrix)] @ held.matrix
        cut = normalize(cut, dim=1).contiguous()
        scores = empty((len(queries), wanted), dtype=self._torch.float32, device=self._device)
        ids: torch.Tensor = empty((len(queries), wanted), dtype=self._torch.int64, device=self._device)
        held.index.search_c(
            len(cut),
            faiss.cast_integer_to_float_ptr(cut.data_ptr()),
            wanted,
            faiss.cast_integer_to_float_ptr(scores.data_ptr()),
            faiss.cast_integer_to_idx_t_ptr(ids.data_ptr()),
        )
        return ids

    def _allowed(self, mask: Mask | None) -> torch.Tensor | None:
        """Return which rows may answer on the device, bool [n]; None where all may. It is kept as long as the mask."""
        if mask is None or mask.bits is None:
            return None
        if mask not in self._masks:
            self._masks[mask] = self._torch.from_numpy(mask.allowed).to(self._device)
        return self._masks[mask]

    def _rescored(
        self, queries: torch.Tensor, ids: torch.Tensor, k: int, mask: Mask | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Score shortlists [nq, s] by the stored vectors and return the k best: scores and ids [nq, k]."""
        torch = self._torch
        step = max(1, GATHERED_BYTES // (4 * self._store.dim * ids.shape[1]))
        parts = [self._scores(queries[at : at + step], ids[at : at + step]) for at in range(0, len(queries), step)]
        scores = torch.cat(parts) if parts else torch.empty(ids.shape, device=self._device)
        missing = ids < 0
        if (allowed := self._allowed(mask)) is not None:
            missing |= ~allowed[ids.clamp(min=0)]
        best = scores.masked_fill(missing, -torch.inf).topk(k, dim=1)
        found = ids.gather(1, best.indices).masked_fill(torch.isneginf(best.values), -1)
        return best.values, found

    def _scores(self, queries: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        kept = ids.clamp(min=0)
        rows = self._fetched(kept) if self._rows is None else self._rows[kept]
        scores: torch.Tensor = self._torch.bmm(rows.float(), queries[:, :, None])[:, :, 0]
        return scores

    def _fetched(self, ids: torch.Tensor) -> torch.Tensor:
        """Gather stored vectors on the host and send them over as they are stored."""
        rows = self._torch.from_numpy(self._store.rows[ids.cpu().numpy()])
        if self._device.type == "cuda":
            rows = rows.pin_memory()
        return rows.to(self._device, non_blocking=True)

    def scan(self, xq: FloatArray, k: int, mask: Mask | None = None) -> Neighbors:
        """Score every row that may answer in float32: the exact answer over the stored values, [nq, k]."""
        torch = self._torch
        with self._computing():
            queries = torch.from_numpy(np.ascontiguousarray(xq)).to(self._device)
            best: Any = torch.full((len(xq), k), -torch.inf, device=self._device)
            ids = torch.full((len(xq), k), -1, dtype=torch.int64, device=self._device)
            step = max(1, GATHERED_BYTES // (4 * max(self._store.dim, len(xq))))
            allowed = self._allowed(mask)
            for start in range(0, len(self._store), step):
                part = slice(start, min(start + step, len(self._store)))
                scores = queries @ self._block(part).T
                if allowed is not None:
                    scores.masked_fill_(~allowed[part], -torch.inf)
                block = scores.topk(min(k, scores.shape[1]), dim=1)
                merged = torch.cat([best, block.values], dim=1).topk(k, dim=1)
                ids = torch.cat([ids, block.indices + part.start], dim=1).gather(1, merged.indices)
                best = merged.values
            ids.masked_fill_(torch.isneginf(best), -1)
            return cosines(best.cpu().numpy(), ids.cpu().numpy())

    def _block(self, part: slice) -> torch.Tensor:
        if self._rows is not None:
            return self._rows[part].float()
        return self._torch.from_numpy(self._store.rows[part].astype(np.float32)).to(self._device)
