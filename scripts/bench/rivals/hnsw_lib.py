"""hnswlib: the graph of its authors (Malkov & Yashunin 2018) over float32 vectors."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import hnswlib
import numpy as np

from scripts.bench.rivals.base import Build, Floats, Ids, Params, all_bytes

FILE, DIM = "index.hnsw", "dim"
EF = (16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)


class Hnswlib:
    """`hnswlib.Index("ip")`."""

    version = version("hnswlib")
    can_map = False

    def __init__(self) -> None:
        self._threads = 1
        self._index: hnswlib.Index | None = None

    def grid(self, rows: int, dim: int) -> list[Build]:
        """See `Adapter.grid`."""
        return [Build({"M": m, "ef_construction": 200}, [[{"ef": ef} for ef in EF]]) for m in (16, 32)]

    def build(self, xb: Floats, source: Path, folder: Path, params: Params, threads: int) -> None:
        """See `Adapter.build`."""
        index = hnswlib.Index("ip", xb.shape[1])
        index.init_index(len(xb), M=int(params["M"]), ef_construction=int(params["ef_construction"]))
        index.add_items(xb, np.arange(len(xb)), num_threads=threads)
        index.save_index(str(folder / FILE))
        (folder / DIM).write_text(str(xb.shape[1]))

    def load(self, folder: Path, params: Params, threads: int, mapped: bool) -> None:
        """See `Adapter.load`."""
        self._threads = threads
        self._index = hnswlib.Index("ip", int((folder / DIM).read_text()))
        self._index.load_index(str(folder / FILE))

    def use(self, params: Params) -> None:
        """See `Adapter.use`."""
        self._index.set_ef(int(params["ef"]))

    def search(self, xq: Floats, k: int) -> Ids:
        """See `Adapter.search`."""
        found = self._index.knn_query(xq, k, num_threads=1 if len(xq) == 1 else self._threads)[0]
        return found.astype(np.int64)

    def used_bytes(self, folder: Path) -> int:
        """See `Adapter.used_bytes`."""
        return all_bytes(folder)


def make(variant: str) -> Hnswlib:
    """Return the adapter; it has no variants."""
    return Hnswlib()
