"""ScaNN: k-means tree, anisotropic 4-bit codes, exact reordering (Guo et al. 2020), SOAR spilling (Sun et al. 2023)."""

from __future__ import annotations

import math
from importlib.metadata import version
from pathlib import Path
from typing import Any

from scann.scann_ops.py import scann_ops_pybind
from scann.scann_ops.py.scann_builder import ReorderType

from scripts.bench.rivals.base import Build, Floats, Ids, Params, all_bytes, padded, rising

REORDER = (30, 50, 100, 200, 400)
SAMPLE = 100_000


class Scann:
    """`scann_ops_pybind.builder(…).tree(…).score_ah(2).reorder(…)`."""

    version = version("scann")
    can_map = False

    def __init__(self) -> None:
        self._threads = 1
        self._searcher: Any = None
        self._leaves = self._reorder = 0

    def grid(self, rows: int, dim: int) -> list[Build]:
        """See `Adapter.grid`."""
        root = math.sqrt(rows)
        builds = []
        for factor, soar, reorder in (
            (2, 1.5, "f32"),
            (2, 0.0, "f32"),
            (1, 1.5, "f32"),
            (4, 1.5, "f32"),
            (2, 1.5, "bf16"),
        ):
            leaves = max(1, min(int(factor * root), rows // 40))
            line = [{"leaves": n} for n in (*rising(1, leaves - 1), leaves)]
            lines = [[one | {"reorder": n} for one in line] for n in REORDER]
            builds.append(Build({"num_leaves": leaves, "soar_lambda": soar, "reorder": reorder}, lines))
        return builds

    def build(self, xb: Floats, source: Path, folder: Path, params: Params, threads: int) -> None:
        """See `Adapter.build`."""
        builder = scann_ops_pybind.builder(xb, 10, "dot_product").set_n_training_threads(threads)
        builder = builder.tree(
            num_leaves=int(params["num_leaves"]),
            num_leaves_to_search=max(1, int(params["num_leaves"]) // 20),
            training_sample_size=min(len(xb), SAMPLE),
            soar_lambda=float(params["soar_lambda"]) or None,
        )
        builder = builder.score_ah(2, anisotropic_quantization_threshold=0.2, training_sample_size=min(len(xb), SAMPLE))
        kind = ReorderType.BFLOAT16 if params["reorder"] == "bf16" else ReorderType.FLOAT32
        searcher = builder.reorder(max(REORDER), quantize=kind).build()
        searcher.serialize(str(folder), relative_path=True)

    def load(self, folder: Path, params: Params, threads: int, mapped: bool) -> None:
        """See `Adapter.load`."""
        self._threads = threads
        self._searcher = scann_ops_pybind.load_searcher(str(folder))
        self._searcher.set_num_threads(threads)

    def use(self, params: Params) -> None:
        """See `Adapter.use`."""
        self._leaves, self._reorder = int(params["leaves"]), int(params["reorder"])

    def search(self, xq: Floats, k: int) -> Ids:
        """See `Adapter.search`."""
        if len(xq) == 1:
            ids = self._searcher.search(xq[0], k, self._reorder, self._leaves)[0][None]
        elif self._threads > 1:
            size = max(1, min(256, len(xq) // self._threads))
            ids = self._searcher.search_batched_parallel(xq, k, self._reorder, self._leaves, batch_size=size)[0]
        else:
            ids = self._searcher.search_batched(xq, k, self._reorder, self._leaves)[0]
        return padded(ids, k)

    def used_bytes(self, folder: Path) -> int:
        """See `Adapter.used_bytes`."""
        return all_bytes(folder)


def make(variant: str) -> Scann:
    """Return the adapter; it has no variants."""
    return Scann()
