"""`hnsw@d`: a navigable small-world graph (Malkov & Yashunin 2018). Fast, and large in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from indexers.base import FaissIndex, IndexSpec
from indexers.errors import InvalidSpec
from indexers.families.base import RANDOM_ACCESS, Indexer, check_params

MOST_LINKS = 512
# Links of a row above the ground floor of a graph, by how many more there may be than expected.
MORE_LINKS = 1.05
# A lock, a level and an offset for each node of a graph, while it is built.
NODE = 24
FEW = (32, 64, 128, 256, 512)
MANY = (16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)


class Hnsw(Indexer):
    """IndexHNSWFlat: 4·d bytes and about 8·m of links a row; a query keeps `efSearch` candidates."""

    family = "hnsw"
    probe_name = "efSearch"
    is_graph = True
    inside = ("storage",)
    parameters = "SearchParametersHNSW"
    needs_training = False

    def resolve(self, spec: IndexSpec, n: int) -> IndexSpec:
        """See `Indexer.resolve`; m = 32 links, efConstruction = 80."""
        params = check_params(spec, {"efConstruction": 80, "m": 32}, least={"m": 2})
        if params["m"] > MOST_LINKS:
            raise InvalidSpec(f"{spec}: m must be at most {MOST_LINKS}; each row would take {8 * params['m']} bytes")
        return IndexSpec(self.family, spec.dim, tuple(sorted(params.items())))

    def create(self, spec: IndexSpec) -> FaissIndex:
        """See `Indexer.create`."""
        import faiss

        params = dict(spec.params)
        index = faiss.IndexHNSWFlat(spec.dim, params["m"], faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = params["efConstruction"]
        return index

    def arrays(self, inner: FaissIndex, spec: IndexSpec, rows: int) -> list[tuple[Any, int]]:
        """See `Indexer.arrays`."""
        m = dict(spec.params)["m"]
        links = int(rows * (2 * m + m / (m - 1) * MORE_LINKS)) + 64 * m
        return [*super().arrays(inner, spec, rows), (inner.hnsw.neighbors, links)]

    def default_probe(self, spec: IndexSpec) -> int:
        """See `Indexer.default_probe`."""
        return 128

    def most_probes(self, spec: IndexSpec, n: int) -> int:
        """See `Indexer.most_probes`."""
        return max(n, 1)

    def probes(self, spec: IndexSpec, *, many: bool) -> Sequence[int]:
        """See `Indexer.probes`."""
        return MANY if many else FEW

    def bytes_per_item(self, spec: IndexSpec) -> float:
        """See `Indexer.bytes_per_item`: the vector, 2·m links on the ground floor, m above for one in m."""
        m = dict(spec.params)["m"]
        return 4.0 * spec.dim + 4 * (2 * m + 1)

    def growing_bytes(self, spec: IndexSpec, n: int) -> int:
        """See `Indexer.growing_bytes`."""
        return self.index_bytes(spec, n) + NODE * n

    def bytes_read(self, spec: IndexSpec, probe: float, n: int) -> float:
        """See `Indexer.bytes_read`."""
        return probe * dict(spec.params)["m"] * self.bytes_per_item(spec) * RANDOM_ACCESS

    def check(self, inner: FaissIndex, spec: IndexSpec, rows: int) -> None:
        """See `Indexer.check`: each row has room for its links, and they lead to rows that have links on that floor."""
        import faiss

        if not rows:
            return
        hnsw, blank = inner.hnsw, self.create(spec)
        room = faiss.vector_to_array(hnsw.cum_nneighbor_per_level)
        levels, offsets = faiss.vector_to_array(hnsw.levels), faiss.vector_to_array(hnsw.offsets).astype(np.int64)
        if not np.array_equal(room, faiss.vector_to_array(blank.hnsw.cum_nneighbor_per_level)):
            raise ValueError("its graph is of other links than its spec asks for")
        if len(levels) != rows or levels.min() < 1 or levels.max() >= len(room) or len(offsets) != rows + 1:
            raise ValueError(f"its graph is not one of {rows} rows")
        count = hnsw.neighbors.size()
        if offsets[0] or offsets[-1] != count or not np.array_equal(np.diff(offsets), room[levels]):
            raise ValueError("the links of its graph are not where they should be")
        links = faiss.rev_swig_ptr(hnsw.neighbors.data(), count)
        if links.min(initial=0) < -1 or links.max(initial=0) >= rows:
            raise ValueError("its graph leads to rows that do not exist")
        top = int(levels.max())
        if not 0 <= hnsw.entry_point < rows or hnsw.max_level != top - 1 or levels[hnsw.entry_point] != top:
            raise ValueError("its graph is entered where it has no links")
        for floor in range(1, top):
            high = np.flatnonzero(levels > floor)
            found = links[offsets[high, None] + np.arange(room[floor], room[floor + 1])]
            if levels[found[found >= 0]].min(initial=top) <= floor:
                raise ValueError(f"its graph leads to rows that have no links on floor {floor}")
