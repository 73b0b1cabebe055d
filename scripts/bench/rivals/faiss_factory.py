"""FAISS by its factory strings: flat, HNSW, and everything with a reduction, cells, 4-bit codes and a refine step."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from scripts.bench.rivals.base import Build, Floats, Ids, Lines, Params, all_bytes, rising

FILE = "index.faiss"
K_FACTORS = (2, 4, 8, 16, 32, 64)
EF_SEARCH = (16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
PCA_DIMS = (192, 256, 128, 384, 96, 64)
SCANNED = 200_000  # up to here scanning every code may be faster than visiting cells


class Faiss:
    """`faiss.index_factory(D, string)`, saved with `write_index`."""

    version = faiss.__version__
    can_map = True

    def __init__(self, variant: str) -> None:
        self._variant = variant
        self._threads = 1
        self._index: Any = None

    def grid(self, rows: int, dim: int) -> list[Build]:
        """See `Adapter.grid`."""
        if self._variant == "flat":
            return [Build({"factory": "Flat"}, [[{}]])]
        keys = hnsw_keys() if self._variant == "hnsw" else reduced_keys(rows, dim)
        return [Build({"factory": key}, lines(key)) for key in keys]

    def build(self, xb: Floats, source: Path, folder: Path, params: Params, threads: int) -> None:
        """See `Adapter.build`."""
        faiss.omp_set_num_threads(threads)
        key = str(params["factory"])
        index = faiss.index_factory(xb.shape[1], key, faiss.METRIC_INNER_PRODUCT)
        if "HNSW" in key and "_HNSW" not in key:
            faiss.ParameterSpace().set_index_parameter(index, "efConstruction", 200)
        index.train(xb)
        index.add(xb)
        faiss.write_index(index, str(folder / FILE))

    def load(self, folder: Path, params: Params, threads: int, mapped: bool) -> None:
        """See `Adapter.load`."""
        self._threads = threads
        self._index = faiss.read_index(str(folder / FILE), faiss.IO_FLAG_MMAP_IFC if mapped else 0)

    def use(self, params: Params) -> None:
        """See `Adapter.use`."""
        if params:
            text = ",".join(f"{name}={value}" for name, value in params.items())
            faiss.ParameterSpace().set_index_parameters(self._index, text)

    def search(self, xq: Floats, k: int) -> Ids:
        """See `Adapter.search`."""
        faiss.omp_set_num_threads(1 if len(xq) == 1 else self._threads)
        ids: Ids = np.asarray(self._index.search(xq, k)[1])
        return ids

    def used_bytes(self, folder: Path) -> int:
        """See `Adapter.used_bytes`."""
        return all_bytes(folder)


def hnsw_keys() -> list[str]:
    """Return the graphs over whole vectors."""
    return ["HNSW32,Flat", "HNSW16,Flat"]


def reduced_keys(rows: int, dim: int) -> list[str]:
    """Return strings with a PCA or OPQ reduction of their own, and their neighbours without one."""
    few, many = nlist(rows, 2), nlist(rows, 4)
    # What won wherever it was tried comes first, for those who do not wait for all.
    keys = [f"IVF{few},PQ{dim // width}x4fs,Refine(SQfp16)" for width in (4, 2) if dim % width == 0]
    known = [d for d in PCA_DIMS if d < dim]
    keys += [f"PCAR{d},L2norm,IVF{few},PQ{d // 4}x4fs,Refine(SQfp16)" for d in known if d >= 192]
    keys += [f"PCA{d},L2norm,IVF{few},PQ{d // 2}x4fs,Refine(SQfp16)" for d in known]
    keys += [f"PCAR{d},L2norm,IVF{few},PQ{d // 2}x4fs,Refine(SQfp16)" for d in known if d >= 128]
    keys += [f"PCA{d},L2norm,IVF{many},PQ{d // 2}x4fs,Refine({refine})" for d in known for refine in ("SQfp16", "SQ8")]
    for d in (d for d in (128, 256) if d < dim):
        keys += [f"PCA{d},L2norm,HNSW{m},Refine(SQfp16)" for m in (32, 16)]
        if rows <= SCANNED:
            keys += [f"PCA{d},L2norm,PQ{d // 2}x4fs,Refine(SQfp16)", f"PCA{d},L2norm,SQ8,Refine(SQfp16)"]
        keys.append(f"OPQ{d // 2}_{d},L2norm,IVF{many},PQ{d // 2}x4fs,Refine(SQfp16)")
    return keys


def nlist(rows: int, factor: int) -> int:
    """Return factor·√n cells, few enough that each has FAISS' minimum of 39 rows to learn from."""
    return max(1, min(int(factor * math.sqrt(rows)), rows // 39))


def lines(key: str) -> Lines:
    """Return the search parameters a factory string has, a line for each length of the shortlist."""
    probes: list[dict[str, int]] = [{}]
    if found := re.search(r"IVF(\d+)(_HNSW)?", key):
        probes = [{"nprobe": n} for n in rising(1, min(int(found[1]), 1024))]
        if found[2]:
            probes = [one | {"quantizer_efSearch": max(32, 2 * one["nprobe"])} for one in probes]
    elif "HNSW" in key:
        probes = [{"efSearch": ef} for ef in EF_SEARCH]
    if "Refine" not in key and "RFlat" not in key:
        return [probes]
    if probes == [{}]:
        return [[{"k_factor_rf": factor} for factor in K_FACTORS]]
    return [[one | {"k_factor_rf": factor} for one in probes] for factor in K_FACTORS]


def make(variant: str) -> Faiss:
    """Return the adapter: "flat", "hnsw" or "reduced"."""
    return Faiss(variant)
