"""`flat@d`: every prefix as it is, float32, scanned in full. Exact at its dimension."""

from __future__ import annotations

from indexers.base import FaissIndex, IndexSpec
from indexers.families.base import Indexer, check_params


class Flat(Indexer):
    """IndexFlatIP: 4·d bytes a row, no training."""

    family = "flat"
    needs_training = False
    on_device = True

    def resolve(self, spec: IndexSpec, n: int) -> IndexSpec:
        """See `Indexer.resolve`; there are no parameters of its own."""
        return IndexSpec(self.family, spec.dim, tuple(check_params(spec, {}, least={}).items()))

    def create(self, spec: IndexSpec) -> FaissIndex:
        """See `Indexer.create`."""
        import faiss

        return faiss.IndexFlatIP(spec.dim)

    def bytes_per_item(self, spec: IndexSpec) -> float:
        """See `Indexer.bytes_per_item`."""
        return 4.0 * spec.dim

    def check(self, inner: FaissIndex, spec: IndexSpec, rows: int) -> None:
        """See `Indexer.check`: there is nothing but the rows."""
