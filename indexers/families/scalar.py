"""`sq@d`: every number of a prefix in `bits` bits (4, 6, 8, or 16 for half precision), scanned in full."""

from __future__ import annotations

from typing import Any

import faiss

from indexers.base import FaissIndex, IndexSpec, check_params
from indexers.errors import InvalidSpec

QUANTIZERS = {
    4: faiss.ScalarQuantizer.QT_4bit,
    6: faiss.ScalarQuantizer.QT_6bit,
    8: faiss.ScalarQuantizer.QT_8bit,
    16: faiss.ScalarQuantizer.QT_fp16,
}


class Scalar:
    """IndexScalarQuantizer: d·bits/8 bytes a row; the range of each dimension is trained."""

    family = "sq"
    probe_name = None

    def resolve(self, spec: IndexSpec, n: int) -> IndexSpec:
        """See `Indexer.resolve`; `bits` is 8 unless given."""
        params = check_params(spec, {"bits": 8}, least={})
        if params["bits"] not in QUANTIZERS:
            raise InvalidSpec(f"{spec}: bits must be one of {', '.join(map(str, QUANTIZERS))}")
        return IndexSpec(self.family, spec.dim, tuple(sorted(params.items())))

    def create(self, spec: IndexSpec) -> FaissIndex:
        """See `Indexer.create`."""
        bits = dict(spec.params)["bits"]
        return faiss.IndexScalarQuantizer(spec.dim, QUANTIZERS[bits], faiss.METRIC_INNER_PRODUCT)

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
        return spec.dim * dict(spec.params)["bits"] / 8
