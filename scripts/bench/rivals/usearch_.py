"""usearch: a graph over vectors stored as f32, f16 or i8, loaded or viewed in place."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import numpy as np
from usearch.index import Index

from scripts.bench.rivals.base import Build, Floats, Ids, Params, all_bytes, padded

FILE = "index.usearch"
EXPANSION = (16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)


class Usearch:
    """`usearch.index.Index`; i8 with its cosine, which does not mind how bytes are scaled."""

    version = version("usearch")
    can_map = True

    def __init__(self, dtype: str) -> None:
        self._dtype = dtype
        self._threads = 1
        self._index: Index | None = None

    def grid(self, rows: int, dim: int) -> list[Build]:
        """See `Adapter.grid`."""
        line = [{"expansion_search": one} for one in EXPANSION]
        return [Build({"connectivity": m, "expansion_add": 200}, [line]) for m in (16, 32)]

    def build(self, xb: Floats, source: Path, folder: Path, params: Params, threads: int) -> None:
        """See `Adapter.build`."""
        index = Index(
            ndim=xb.shape[1],
            metric="cos" if self._dtype == "i8" else "ip",
            dtype=self._dtype,
            connectivity=int(params["connectivity"]),
            expansion_add=int(params["expansion_add"]),
        )
        index.add(np.arange(len(xb)), xb, threads=threads)
        index.save(str(folder / FILE))

    def load(self, folder: Path, params: Params, threads: int, mapped: bool) -> None:
        """See `Adapter.load`."""
        self._threads = threads
        self._index = Index.restore(str(folder / FILE), view=mapped)

    def use(self, params: Params) -> None:
        """See `Adapter.use`."""
        self._index.expansion_search = int(params["expansion_search"])

    def search(self, xq: Floats, k: int) -> Ids:
        """See `Adapter.search`."""
        if len(xq) == 1:
            keys = np.asarray(self._index.search(xq[0], k, threads=1).keys)[None]
        else:
            keys = self._index.search(xq, k, threads=self._threads).keys
        return padded(keys, k)

    def used_bytes(self, folder: Path) -> int:
        """See `Adapter.used_bytes`."""
        return all_bytes(folder)


def make(variant: str) -> Usearch:
    """Return the adapter: "f32", "f16" or "i8"."""
    return Usearch(variant)
