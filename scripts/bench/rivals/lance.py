"""LanceDB: IVF_PQ with a refine step and IVF_HNSW_SQ, over a table on disk."""

from __future__ import annotations

import math
from importlib.metadata import version
from pathlib import Path
from typing import Any

import lancedb
import numpy as np
import pyarrow as pa
from lancedb.index import HnswSq, IvfPq

from scripts.bench.rivals.base import Build, Floats, Ids, Params, all_bytes, filled, rising

TABLE = "vectors"
REFINE = (2, 5, 10, 20, 50)
EF = (16, 32, 64, 128, 256, 512)
CELL = 1_000_000  # rows a graph may have


class Lance:
    """A table of ids and vectors. It has no resident index: what it reads it keeps in a cache of its own."""

    version = version("lancedb")
    can_map = False

    def __init__(self) -> None:
        self._table: Any = None
        self._params: Params = {}

    def grid(self, rows: int, dim: int) -> list[Build]:
        """See `Adapter.grid`."""
        cells = max(1, min(int(math.sqrt(rows)), rows // 256))
        probes = [{"nprobes": n} for n in rising(2, cells)]
        pq = [[one | {"refine_factor": n} for one in probes] for n in REFINE]
        graph = [[{"nprobes": max(1, rows // CELL), "ef": ef, "refine_factor": n} for ef in EF] for n in (1, 4)]
        return [
            *(
                Build({"index": "IVF_PQ", "partitions": cells, "sub_vectors": dim // width}, pq)
                for width in (8, 4)
                if dim % width == 0
            ),
            Build({"index": "IVF_HNSW_SQ", "partitions": max(1, rows // CELL), "m": 20, "ef_construction": 300}, graph),
        ]

    def build(self, xb: Floats, source: Path, folder: Path, params: Params, threads: int) -> None:
        """See `Adapter.build`."""
        vectors = pa.FixedSizeListArray.from_arrays(pa.array(xb.ravel()), xb.shape[1])
        rows = pa.table({"id": pa.array(np.arange(len(xb))), "vector": vectors})
        table = lancedb.connect(str(folder)).create_table(TABLE, rows)
        partitions = int(params["partitions"])
        if params["index"] == "IVF_PQ":
            config = IvfPq(
                distance_type="cosine", num_partitions=partitions, num_sub_vectors=int(params["sub_vectors"])
            )
        else:
            config = HnswSq(
                distance_type="cosine",
                num_partitions=partitions,
                m=int(params["m"]),
                ef_construction=int(params["ef_construction"]),
            )
        table.create_index("vector", config=config)

    def load(self, folder: Path, params: Params, threads: int, mapped: bool) -> None:
        """See `Adapter.load`; threads are set by the variables of the environment alone."""
        self._table = lancedb.connect(str(folder)).open_table(TABLE)

    def use(self, params: Params) -> None:
        """See `Adapter.use`."""
        self._params = params

    def search(self, xq: Floats, k: int) -> Ids:
        """See `Adapter.search`; a list of queries comes back as one table."""
        single = len(xq) == 1
        asked = self._table.search(xq[0] if single else list(xq)).distance_type("cosine").limit(k)
        asked = asked.nprobes(self._params["nprobes"])
        if self._params["refine_factor"] != 1:
            asked = asked.refine_factor(self._params["refine_factor"])
        if "ef" in self._params:
            asked = asked.ef(max(k, self._params["ef"]))
        found = asked.select(["id", "_distance"]).to_arrow()
        ids = found["id"].to_numpy()
        if single:
            return filled([ids], k)
        return filled(np.split(ids, np.searchsorted(found["query_index"].to_numpy(), np.arange(1, len(xq)))), k)

    def used_bytes(self, folder: Path) -> int:
        """See `Adapter.used_bytes`."""
        return all_bytes(folder)


def make(variant: str) -> Lance:
    """Return the adapter; it has no variants."""
    return Lance()
