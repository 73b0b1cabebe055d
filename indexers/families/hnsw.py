"""`hnsw@d`: a navigable small-world graph (Malkov & Yashunin 2018). Fast, and large in memory."""

from __future__ import annotations

from typing import Any

import faiss

from indexers.base import FaissIndex, IndexSpec, check_params
from indexers.errors import InvalidSpec

MOST_LINKS = 512


class Hnsw:
    """IndexHNSWFlat: 4·d bytes and about 8·m of links a row; a query keeps `efSearch` candidates."""

    family = "hnsw"
    probe_name = "efSearch"

    def resolve(self, spec: IndexSpec, n: int) -> IndexSpec:
        """See `Indexer.resolve`; m = 32 links, efConstruction = 80."""
        params = check_params(spec, {"efConstruction": 80, "m": 32}, least={"m": 2})
        if params["m"] > MOST_LINKS:
            raise InvalidSpec(f"{spec}: m must be at most {MOST_LINKS}; each row would take {8 * params['m']} bytes")
        return IndexSpec(self.family, spec.dim, tuple(sorted(params.items())))

    def create(self, spec: IndexSpec) -> FaissIndex:
        """See `Indexer.create`."""
        params = dict(spec.params)
        index = faiss.IndexHNSWFlat(spec.dim, params["m"], faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = params["efConstruction"]
        return index

    def default_probe(self, spec: IndexSpec) -> int:
        """See `Indexer.default_probe`."""
        return 128

    def most_probes(self, spec: IndexSpec, n: int) -> int:
        """See `Indexer.most_probes`."""
        return max(n, 1)

    def search_parameters(self, probe: int, selector: Any | None) -> Any:
        """See `Indexer.search_parameters`."""
        return faiss.SearchParametersHNSW(efSearch=probe, sel=selector)

    def bytes_per_item(self, spec: IndexSpec) -> float:
        """See `Indexer.bytes_per_item`: the vector, 2·m links on the ground floor, m above for one in m."""
        m = dict(spec.params)["m"]
        return 4.0 * spec.dim + 4 * (2 * m + 1)
