"""Qdrant Edge under filters: a shard in the process, its graph made, its columns indexed."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from qdrant_edge import (
    Distance,
    EdgeConfig,
    EdgeOptimizersConfig,
    EdgeShard,
    EdgeVectorParams,
    FieldCondition,
    Filter,
    HasIdCondition,
    HnswIndexConfig,
    MatchValue,
    PayloadSchemaType,
    Point,
    Query,
    QueryRequest,
    RangeFloat,
    SearchParams,
    UpdateOperation,
)

from scripts.bench.rivals.base import Floats
from scripts.bench.rivals.filtered import Search, Where

NAME = "x"
M, EF_CONSTRUCT, EF = 32, 100, 256
SCANNED_KB = 10_000  # what Qdrant has: of fewer kilobytes that match all are scored
INDEXED_KB = 1000
AT_ONCE = 2000


class Edge:
    """One segment, as all rows come before they are indexed."""

    version = version("qdrant-edge-py")

    def __init__(self) -> None:
        self._shard: Any = None

    def open(self, vectors: Path, columns: Path, folder: Path, threads: int) -> None:
        """See `Filtered.open`."""
        whole = folder / "whole"
        if whole.exists():
            self._shard = EdgeShard.load(str(folder / "shard"))
            return
        xb = np.load(vectors, mmap_mode="r")
        graph = HnswIndexConfig(m=M, ef_construct=EF_CONSTRUCT, full_scan_threshold=SCANNED_KB)
        config = EdgeConfig(
            vectors={NAME: EdgeVectorParams(size=xb.shape[1], distance=Distance.Dot, on_disk=False)},
            hnsw_config=graph,
            optimizers=EdgeOptimizersConfig(default_segment_number=1, indexing_threshold=INDEXED_KB),
            max_search_threads=threads,
        )
        (folder / "shard").mkdir(parents=True, exist_ok=True)
        self._shard = EdgeShard.create(str(folder / "shard"), config)
        # Before the graph is made, which then has edges for what is filtered by.
        for name, kind in (("part", PayloadSchemaType.Integer), ("tags", PayloadSchemaType.Keyword)):
            self._shard.update(UpdateOperation.create_field_index(name, kind))
        for points in _points(xb, columns):
            self._shard.update(UpdateOperation.upsert_points(points))
        while self._shard.optimize():
            pass
        self._shard.flush()
        told = self._shard.info()
        if told.indexed_vectors_count < len(xb):
            raise RuntimeError(f"the graph is not made: {told}")
        whole.touch()

    def ways(self, where: Where) -> dict[str, Search]:
        """See `Filtered.ways`."""
        wanted = Filter(must=list(_conditions(where)))

        def searching(params: SearchParams) -> Search:
            return lambda q, k: [
                point.id
                for point in self._shard.query(
                    QueryRequest(limit=k, query=Query.Nearest(q.tolist(), using=NAME), filter=wanted, params=params)
                )
            ]

        approximate, exact = SearchParams(hnsw_ef=EF), SearchParams(exact=True)
        return {f"Qdrant Edge, ef {EF}": searching(approximate), "Qdrant Edge, exact": searching(exact)}


def _points(xb: Floats, columns: Path) -> Iterator[list[Point]]:
    said = pq.read_table(columns)
    for start in range(0, len(xb), AT_ONCE):
        part = said.slice(start, AT_ONCE)
        columns_of = (part[name].to_pylist() for name in ("part", "tags"))
        told = zip(xb[start : start + AT_ONCE].tolist(), *columns_of, strict=True)
        yield [Point(start + row, {NAME: x}, {"part": one, "tags": tags}) for row, (x, one, tags) in enumerate(told)]


def _conditions(where: Where) -> Iterator[Any]:
    if "below" in where:
        yield FieldCondition(key="part", range=RangeFloat(lt=where["below"]))
    for tag in where.get("tags", ()):
        yield FieldCondition(key="tags", match=MatchValue(value=tag))
    if "ids" in where:
        yield HasIdCondition({*where["ids"]})


def make() -> Edge:
    """Return the adapter."""
    return Edge()
