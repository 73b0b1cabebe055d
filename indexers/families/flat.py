"""`flat@d`: every prefix as it is, float32, scanned in full. Exact at its dimension."""

from __future__ import annotations

from typing import Any

import faiss

from indexers.base import FaissIndex, IndexSpec, check_params


class Flat:
    """IndexFlatIP: 4·d bytes a row, no training."""

    family = "flat"
    probe_name = None

    def resolve(self, spec: IndexSpec, n: int) -> IndexSpec:
        """See `Indexer.resolve`; there are no parameters of its own."""
        return IndexSpec(self.family, spec.dim, tuple(check_params(spec, {}, least={}).items()))

    def create(self, spec: IndexSpec) -> FaissIndex:
        """See `Indexer.create`."""
        return faiss.IndexFlatIP(spec.dim)

    def default_probe(self, spec: IndexSpec) -> int:
        """See `Indexer.default_probe`."""
        return 0

    def most_probes(self, spec: IndexSpec, n: int) -> int:
        """See `Indexer.most_probes`."""
        return 0

    def search_parameters(self, probe: int, selector: Any | None) -> Any:
        """See `Indexer.search_parameters`."""
        return faiss.SearchParameters(sel=selector)

    def bytes_per_item(self, spec: IndexSpec) -> float:
        """See `Indexer.bytes_per_item`."""
        return 4.0 * spec.dim
