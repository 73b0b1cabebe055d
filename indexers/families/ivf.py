"""`ivf-flat@d` and `ivf-pq@d`: rows sorted into `nlist` cells, of which a query visits `nprobe`.

Inverted file after Sivic & Zisserman (2003) and Jégou et al. (2011); the product codes are
four bits each and scanned in SIMD registers (FastScan, after André et al. 2015).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace

import numpy as np

from indexers.base import FaissIndex, IndexSpec
from indexers.errors import InvalidSpec
from indexers.families.base import Indexer, check_numbers, check_params
from indexers.families.scalar import Scalar
from indexers.vectors import FloatArray

NPROBE = "nprobe"
ID_BYTES = 8
ROTATE = "rotate"
RESIDUAL = "residual"
REFINE = "refine"
REFINE_BITS = 8
SCALAR = Scalar()
FEW_SHARES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.4)
MANY = tuple(round(2 ** (step / 2)) for step in range(4, 21))  # 4, 6, 8, 11, 16, … 1024
MOST_OF_THE_CELLS = 0.5
MORE_FROM, MOST_MORE = 500_000, 2.0


def default_nlist(n: int) -> int:
    """Return 2·√n cells, few enough that each has some 39 training rows (FAISS' own minimum).

    From half a million rows on there are more, up to 4·√n from two million: cells of a thousand rows and more leave too
    much to be scanned, and to be told apart by codes.
    """
    more = min(MOST_MORE, max(1.0, math.sqrt(n / MORE_FROM)))
    return max(1, min(int(2 * math.sqrt(n) * more), n // 39))


def refine_bytes(spec: IndexSpec) -> int:
    """Return the bytes of a row that are not scanned but only looked at for a shortlist."""
    return spec.dim if dict(spec.params).get(REFINE) else 0


class _Inverted(Indexer):
    """What the two families share: the cells, and how many of them are visited."""

    probe_name = NPROBE
    parameters = "SearchParametersIVF"
    # A cell is a list that grows by doubling: what it was and what it becomes exist at once, some of it stays empty.
    growing: float

    def unsized(self, spec: IndexSpec) -> IndexSpec:
        """See `Indexer.unsized`."""
        return replace(spec, params=tuple(one for one in spec.params if one[0] != "nlist"))

    def cells(self, spec: IndexSpec) -> int:
        """See `Indexer.cells`."""
        return dict(spec.params).get("nlist", 0)

    def train(self, inner: FaissIndex, x: FloatArray) -> None:
        """See `Indexer.train`."""
        self.train_cells(inner, x)
        inner.train(x)

    def train_cells(self, inner: FaissIndex, x: FloatArray) -> None:
        """Find the cells, where there are so many that FAISS would take long for them."""
        from indexers.cells import FROM, centroids_of

        ivf = self.parts(inner)[0]
        # FAISS would warn on stderr about small collections: `default_nlist` already saw to it.
        ivf.cp.min_points_per_centroid = 1
        if ivf.nlist >= FROM:
            ivf.quantizer.add(centroids_of(x, ivf.nlist, ivf.cp.seed))

    def adding(self, inner: FaissIndex) -> AbstractContextManager[None]:
        """See `Indexer.adding`: with many cells, rows are sorted into them by groups of cells."""
        from indexers.cells import sorted_quickly

        return sorted_quickly(self.parts(inner)[0])

    def default_probe(self, spec: IndexSpec) -> int:
        """See `Indexer.default_probe`: a tenth of the cells, at least 8."""
        return min(self.cells(spec), max(8, self.cells(spec) // 10))

    def probes(self, spec: IndexSpec, *, many: bool) -> Sequence[int]:
        """See `Indexer.probes`."""
        nlist = self.cells(spec)
        if many:
            return [probe for probe in MANY if probe <= max(1, round(nlist * MOST_OF_THE_CELLS))]
        return sorted({max(1, round(nlist * share)) for share in FEW_SHARES})

    def growing_bytes(self, spec: IndexSpec, n: int) -> int:
        """See `Indexer.growing_bytes`."""
        # Bytes beside the codes lie in one array, for which there is room from the start.
        fixed = n * refine_bytes(spec)
        return int((self.index_bytes(spec, n) - fixed) * self.growing) + fixed

    def bytes_read(self, spec: IndexSpec, probe: float, n: int) -> float:
        """See `Indexer.bytes_read`."""
        nlist, scanned = self.cells(spec), self.bytes_per_item(spec) - refine_bytes(spec)
        return nlist * spec.dim * 4 + n * min(probe / nlist, 1.0) * scanned

    def check(self, inner: FaissIndex, spec: IndexSpec, rows: int) -> None:
        """See `Indexer.check`: the cells hold each row once, for the rerank reads memory at these numbers."""
        import faiss

        ivf = self.parts(inner)[0]
        quantizer, lists = faiss.downcast_index(ivf.quantizer), faiss.downcast_InvertedLists(ivf.invlists)
        if not quantizer.is_trained or quantizer.codes.size() != ivf.nlist * quantizer.code_size:
            raise ValueError(f"it has not the centroids of {ivf.nlist} cells")
        books = [faiss.vector_to_array(ivf.pq.centroids)] if hasattr(ivf, "pq") else []
        check_numbers([quantizer.reconstruct_n(0, ivf.nlist), *books])
        if not isinstance(lists, faiss.ArrayInvertedLists | faiss.BlockInvertedLists) or lists.nlist != ivf.nlist:
            raise ValueError("its cells are not in it")
        seen, count = np.zeros(rows, dtype=bool), 0
        for cell in range(ivf.nlist):
            size = lists.list_size(cell)
            if size:
                ids = faiss.rev_swig_ptr(lists.get_ids(cell), size)
                if ids.min() < 0 or ids.max() >= rows:
                    raise ValueError(f"cell {cell} holds rows that do not exist")
                seen[ids] = True
                count += size
        if count != rows or not seen.all():
            raise ValueError("its cells hold a row twice, or not at all")

    def _check_cells(self, spec: IndexSpec, n: int, nlist: int) -> None:
        if n and nlist > n:
            raise InvalidSpec(f"{spec}: nlist must not exceed the number of rows, {n}")


class IvfFlat(_Inverted):
    """IndexIVFFlat: 4·d bytes and an id a row."""

    family = "ivf-flat"
    on_device = True
    growing = 2.0

    def resolve(self, spec: IndexSpec, n: int) -> IndexSpec:
        """See `Indexer.resolve`."""
        params = check_params(spec, {"nlist": default_nlist(n)}, least={})
        self._check_cells(spec, n, params["nlist"])
        return IndexSpec(self.family, spec.dim, tuple(sorted(params.items())))

    def create(self, spec: IndexSpec) -> FaissIndex:
        """See `Indexer.create`."""
        import faiss

        return faiss.index_factory(spec.dim, f"IVF{self.cells(spec)},Flat", faiss.METRIC_INNER_PRODUCT)

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
    has_margin = True
    inside = ("base_index", "refine_index")
    growing = 2.5

    def resolve(self, spec: IndexSpec, n: int) -> IndexSpec:
        """See `Indexer.resolve`; by default a code for every two dimensions."""
        per_code = next(width for width in (2, 1, spec.dim) if spec.dim % width == 0)
        defaults = {"m": spec.dim // per_code, "nlist": default_nlist(n), ROTATE: 1, RESIDUAL: 0, REFINE: 0}
        params = check_params(spec, defaults, least={ROTATE: 0, RESIDUAL: 0, REFINE: 0})
        if spec.dim % params["m"]:
            raise InvalidSpec(f"{spec}: m must divide the dimension {spec.dim}")
        for name in (ROTATE, RESIDUAL):
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
        import faiss

        params = dict(spec.params)
        name = f"IVF{params['nlist']},PQ{params['m']}x4fs"
        index = faiss.index_factory(spec.dim, name, faiss.METRIC_INNER_PRODUCT)
        index.by_residual = bool(params.get(RESIDUAL))
        if not params.get(REFINE):
            return index
        return faiss.IndexRefine(index, SCALAR.create(IndexSpec(SCALAR.family, spec.dim, (("bits", REFINE_BITS),))))

    def train(self, inner: FaissIndex, x: FloatArray) -> None:
        """See `Indexer.train`."""
        import faiss

        from indexers import codebooks

        self.train_cells(inner, x)
        cells = self.parts(inner)[0]
        cells.pq.cp.min_points_per_centroid = 1
        cells.train_q1(len(x), faiss.swig_ptr(x), False, cells.metric_type)
        codebooks.begin(cells, x)
        inner.train(x)

    def bytes_per_item(self, spec: IndexSpec) -> float:
        """See `Indexer.bytes_per_item`; FAISS packs codes two to a byte, padded to whole bytes."""
        return math.ceil(dict(spec.params)["m"] / 2) + ID_BYTES + refine_bytes(spec)

    def check(self, inner: FaissIndex, spec: IndexSpec, rows: int) -> None:
        """See `Indexer.check`."""
        for refine in self.parts(inner)[1:]:
            SCALAR.check(refine, spec, rows)
        super().check(inner, spec, rows)
