"""`ivf-flat@d` and `ivf-pq@d`: rows sorted into `nlist` cells, of which a query visits `nprobe`.

Inverted file after Sivic & Zisserman (2003) and Jégou et al. (2011); the product codes are
four bits each and scanned in SIMD registers (FastScan, after André et al. 2015).
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import faiss

from indexers.base import FaissIndex, IndexSpec, check_params
from indexers.errors import InvalidSpec

ID_BYTES = 8
RESIDUAL = "residual"
REFINE = "refine"
REFINE_BITS = 8


def default_nlist(n: int) -> int:
    """Return 2·√n cells, few enough that each has some 39 training rows (FAISS' own minimum)."""
    return max(1, min(int(2 * math.sqrt(n)), n // 39))


def refine_bytes(spec: IndexSpec) -> int:
    """Return the bytes of a row that are not scanned but only looked at for a shortlist."""
    return spec.dim if dict(spec.params).get(REFINE) else 0


class Parts(NamedTuple):
    """What an index of cells is made of.

    Attributes:
        cells: the IndexIVF.
        refine: IndexScalarQuantizer of the same rows; None where there is none.
    """

    cells: FaissIndex
    refine: FaissIndex | None


def parts_of(inner: FaissIndex) -> Parts:
    """Take apart an index as `create` made it, without transforms."""
    if not isinstance(inner, faiss.IndexRefine):
        return Parts(inner, None)
    return Parts(faiss.downcast_index(inner.base_index), faiss.downcast_index(inner.refine_index))


class _Inverted:
    """What the two families share: the cells, and how many of them are visited."""

    family = ""
    probe_name = "nprobe"

    def default_probe(self, spec: IndexSpec) -> int:
        """See `Indexer.default_probe`: a tenth of the cells, at least 8."""
        nlist = dict(spec.params)["nlist"]
        return min(nlist, max(8, nlist // 10))

    def most_probes(self, spec: IndexSpec, n: int) -> int:
        """See `Indexer.most_probes`: every cell."""
        return dict(spec.params)["nlist"]

    def search_parameters(self, probe: int, selector: Any | None) -> Any:
        """See `Indexer.search_parameters`."""
        return faiss.SearchParametersIVF(nprobe=probe, sel=selector)

    def _check_cells(self, spec: IndexSpec, n: int, nlist: int) -> None:
        if n and nlist > n:
            raise InvalidSpec(f"{spec}: nlist must not exceed the number of rows, {n}")


class IvfFlat(_Inverted):
    """IndexIVFFlat: 4·d bytes and an id a row."""

    family = "ivf-flat"

    def resolve(self, spec: IndexSpec, n: int) -> IndexSpec:
        """See `Indexer.resolve`."""
        params = check_params(spec, {"nlist": default_nlist(n)}, least={})
        self._check_cells(spec, n, params["nlist"])
        return IndexSpec(self.family, spec.dim, tuple(sorted(params.items())))

    def create(self, spec: IndexSpec) -> FaissIndex:
        """See `Indexer.create`."""
        nlist = dict(spec.params)["nlist"]
        return faiss.index_factory(spec.dim, f"IVF{nlist},Flat", faiss.METRIC_INNER_PRODUCT)

    def bytes_per_item(self, spec: IndexSpec) -> float:
        """See `Indexer.bytes_per_item`."""
        return 4.0 * spec.dim + ID_BYTES


class IvfPq(_Inverted):
    """IndexIVFPQFastScan: `m` codes of four bits and an id a row.

    `rotate=1` multiplies the prefix by a random orthogonal matrix first. It changes no inner
    product, and spreads the variance evenly over the codes: leading dimensions of a nested
    vector carry most of it, and left in order they would starve the others.

    `residual=1` codes what is left of a row when its centroid is taken off. Where cells hold what is alike (pictures,
    say) codes are then finer, and shortlists half as long; where they do not (single sentences) it gains nothing.

    `refine=8` keeps the same prefix once more, in eight bits a number. A plan whose first stage is at the dimension of
    the index, as in `ivf-pq@256 | 400@256 | 50@768`, scores a long shortlist by these bytes, and only a short one by
    stored vectors: those lie all over memory, and six times as long.
    """

    family = "ivf-pq"

    def resolve(self, spec: IndexSpec, n: int) -> IndexSpec:
        """See `Indexer.resolve`; by default a code for every two dimensions."""
        per_code = next(width for width in (2, 1, spec.dim) if spec.dim % width == 0)
        defaults = {"m": spec.dim // per_code, "nlist": default_nlist(n), "rotate": 1, RESIDUAL: 0, REFINE: 0}
        params = check_params(spec, defaults, least={"rotate": 0, RESIDUAL: 0, REFINE: 0})
        if spec.dim % params["m"]:
            raise InvalidSpec(f"{spec}: m must divide the dimension {spec.dim}")
        for name in ("rotate", RESIDUAL):
            if params[name] > 1:
                raise InvalidSpec(f"{spec}: {name} is 0 or 1")
        if params[REFINE] not in (0, REFINE_BITS):
            raise InvalidSpec(f"{spec}: {REFINE} is 0 or {REFINE_BITS}")
        # Not written where they are off: specs from before there were any stay what they are.
        params = {name: value for name, value in params.items() if value or name not in (RESIDUAL, REFINE)}
        self._check_cells(spec, n, params["nlist"])
        return IndexSpec(self.family, spec.dim, tuple(sorted(params.items())))

    def create(self, spec: IndexSpec) -> FaissIndex:
        """See `Indexer.create`."""
        params = dict(spec.params)
        name = f"IVF{params['nlist']},PQ{params['m']}x4fs"
        index = faiss.index_factory(spec.dim, name, faiss.METRIC_INNER_PRODUCT)
        index.by_residual = bool(params.get(RESIDUAL))
        if not params.get(REFINE):
            return index
        codes = faiss.IndexScalarQuantizer(spec.dim, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT)
        return faiss.IndexRefine(index, codes)

    def bytes_per_item(self, spec: IndexSpec) -> float:
        """See `Indexer.bytes_per_item`; FAISS packs codes two to a byte, padded to whole bytes."""
        return math.ceil(dict(spec.params)["m"] / 2) + ID_BYTES + refine_bytes(spec)
