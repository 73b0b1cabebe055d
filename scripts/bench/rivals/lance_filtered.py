"""LanceDB under filters: a table for each index over vectors, indexes over its columns, filtered before the search."""

from __future__ import annotations

import math
from importlib.metadata import version
from pathlib import Path
from typing import Any

import lancedb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from lancedb.index import BTree, HnswSq, IvfPq, LabelList

from scripts.bench.rivals.filtered import Search, Where

PQ, GRAPH = "ivf_pq", "ivf_hnsw_sq"
NPROBE, REFINE, EF, WIDTH = 64, 10, 256, 8
CELL = 1_000_000  # rows a graph may have


class Lance:
    """Cosine is the inner product of unit vectors here as well."""

    version = version("lancedb")

    def __init__(self) -> None:
        self._tables: dict[str, Any] = {}

    def open(self, vectors: Path, columns: Path, folder: Path, threads: int) -> None:
        """See `Filtered.open`."""
        database = lancedb.connect(str(folder / "lance"))
        if not (folder / "whole").exists():
            xb = np.load(vectors)
            said = pq.read_table(columns).select(["part", "tags"])
            lists = pa.FixedSizeListArray.from_arrays(pa.array(xb.ravel()), xb.shape[1])
            rows = said.append_column("id", pa.array(np.arange(len(xb)))).append_column("vector", lists)
            for name, config in _configs(*xb.shape).items():
                table = database.create_table(name, rows, mode="overwrite")
                table.create_index("vector", config=config)
                for column, kind in (("id", BTree()), ("part", BTree()), ("tags", LabelList())):
                    table.create_index(column, config=kind)
            (folder / "whole").touch()
        self._tables = {name: database.open_table(name) for name in (PQ, GRAPH)}

    def ways(self, where: Where) -> dict[str, Search]:
        """See `Filtered.ways`."""
        wanted = _expression(where)

        def asked(name: str, q: Any, k: int) -> Any:
            return self._tables[name].search(q).distance_type("cosine").where(wanted, prefilter=True).limit(k)

        def ids(query: Any) -> Any:
            return query.select(["id", "_distance"]).to_arrow()["id"].to_pylist()

        return {
            f"LanceDB IVF_PQ, nprobe {NPROBE}, refine {REFINE}": lambda q, k: ids(
                asked(PQ, q, k).nprobes(NPROBE).refine_factor(REFINE)
            ),
            f"LanceDB IVF_HNSW_SQ, ef {EF}": lambda q, k: ids(asked(GRAPH, q, k).ef(EF).refine_factor(4)),
            "LanceDB, flat": lambda q, k: ids(asked(PQ, q, k).bypass_vector_index()),
        }


def _configs(rows: int, dim: int) -> dict[str, Any]:
    cells = max(1, min(int(math.sqrt(rows)), rows // 256))
    return {
        PQ: IvfPq(distance_type="cosine", num_partitions=cells, num_sub_vectors=dim // WIDTH),
        GRAPH: HnswSq(distance_type="cosine", num_partitions=max(1, rows // CELL), m=20, ef_construction=300),
    }


def _expression(where: Where) -> str:
    if "below" in where:
        return f"part < {where['below']}"
    if "ids" in where:
        return f"id IN ({', '.join(map(str, where['ids']))})"
    return " AND ".join(f"array_has(tags, '{tag}')" for tag in where["tags"])


def make() -> Lance:
    """Return the adapter."""
    return Lance()
