"""`sq@d`: every number of a prefix in `bits` bits (4, 6, 8, or 16 for half precision), scanned in full."""

from __future__ import annotations

from indexers.base import FaissIndex, IndexSpec
from indexers.errors import InvalidSpec
from indexers.families.base import Indexer, check_numbers, check_params

QUANTIZERS = {4: "QT_4bit", 6: "QT_6bit", 8: "QT_8bit", 16: "QT_fp16"}


class Scalar(Indexer):
    """IndexScalarQuantizer: d·bits/8 bytes a row; the range of each dimension is trained."""

    family = "sq"

    def resolve(self, spec: IndexSpec, n: int) -> IndexSpec:
        """See `Indexer.resolve`; `bits` is 8 unless given."""
        params = check_params(spec, {"bits": 8}, least={})
        if params["bits"] not in QUANTIZERS:
            raise InvalidSpec(f"{spec}: bits must be one of {', '.join(map(str, QUANTIZERS))}")
        return IndexSpec(self.family, spec.dim, tuple(sorted(params.items())))

    def create(self, spec: IndexSpec) -> FaissIndex:
        """See `Indexer.create`."""
        import faiss

        kind = getattr(faiss.ScalarQuantizer, QUANTIZERS[dict(spec.params)["bits"]])
        return faiss.IndexScalarQuantizer(spec.dim, kind, faiss.METRIC_INNER_PRODUCT)

    def bytes_per_item(self, spec: IndexSpec) -> float:
        """See `Indexer.bytes_per_item`."""
        return spec.dim * dict(spec.params)["bits"] / 8

    def check(self, inner: FaissIndex, spec: IndexSpec, rows: int) -> None:
        """See `Indexer.check`: there is a range for each dimension, where the codes are in need of one."""
        import faiss

        sq = inner.sq
        if sq.trained.size() != (0 if sq.qtype == faiss.ScalarQuantizer.QT_fp16 else 2 * sq.d):
            raise ValueError(f"the ranges of its {sq.d} dimensions are not there")
        check_numbers([faiss.vector_to_array(sq.trained)])
