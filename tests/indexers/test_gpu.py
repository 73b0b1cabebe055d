"""The GPU side of FAISS. Most of it runs only where there is one."""

from __future__ import annotations

import faiss
import numpy as np
import pytest

from indexers.base import FaissIndex, IndexSpec
from indexers.build import build
from indexers.errors import DependencyMissing
from indexers.families.registry import FAMILIES, family, resolve
from indexers.gpu import clustering, gpu_count, is_out_of_memory, to_cpu, to_gpu
from indexers.store import VectorStore
from indexers.vectors import FloatArray, truncate
from tests.conftest import needs_gpu, prefix_scores, recall_of, structured

N, D = 4000, 64


def spec_of(text: str) -> IndexSpec:
    return resolve(IndexSpec.parse(text), N, D)


def inside(index: FaissIndex) -> FaissIndex:
    """The index behind the transforms; the caller holds what is around it."""
    return faiss.downcast_index(index.index) if isinstance(index, faiss.IndexPreTransform) else index


def set_probes(index: FaissIndex, nprobe: int) -> FaissIndex:
    """Search parameters differ between the two sides; the field of the index does not."""
    if hasattr(index, "nprobe"):
        index.nprobe = nprobe
    return index


@pytest.mark.skipif(gpu_count() > 0, reason="there is a GPU")
def test_without_a_gpu_it_is_said_what_to_install() -> None:
    with pytest.raises(DependencyMissing, match=r"install faiss-gpu in place of faiss-cpu.*nestvec doctor"):
        to_gpu(family("flat").create(IndexSpec("flat", 8)))


def test_families_on_the_device() -> None:
    assert [name for name, one in FAMILIES.items() if one.on_device] == ["flat", "ivf-flat"]


def test_a_family_without_cells_has_nothing_to_cluster() -> None:
    """On any machine: no device is asked for."""
    with clustering(family("flat").create(IndexSpec("flat", 8))):
        pass


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("text", ["flat@64", "flat@24", "ivf-flat@32", "ivf-flat@64"])
def test_a_clone_on_the_device_finds_the_same(text: str) -> None:
    data, spec = structured(N, D, seed=7, nq=200), spec_of(text)
    index = build(spec, VectorStore(data.xb), device="cpu")
    here = inside(index)
    there = to_gpu(here)
    for xq in (data.xq, data.xt):
        truth, prefixes = prefix_scores(data.xb, xq, spec.dim), truncate(xq, spec.dim)
        for nprobe in (2, 20):
            pair = [set_probes(one, nprobe).search(prefixes, 10)[1] for one in (here, there)]
            on_cpu, on_gpu = (recall_of(ids, truth, 10) for ids in pair)
            assert abs(on_cpu - on_gpu) <= 0.005


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("text", ["flat@24", "ivf-flat@32", "ivf-pq@32", "ivf-pq@64", "ivf-pq@31", "sq@32", "hnsw@32"])
def test_an_index_built_on_the_device_is_as_good(text: str) -> None:
    """And lies in host memory: for ivf-pq only the k-means of its cells ran on the device."""
    data, spec = structured(N, D, seed=8, nq=200), spec_of(text)
    most = family(spec.family).most_probes(spec, N)
    built = {device: build(spec, VectorStore(data.xb), device=device) for device in ("cpu", "cuda")}
    assert type(inside(built["cpu"])) is type(inside(built["cuda"]))
    for xq in (data.xq, data.xt):
        truth, prefixes = prefix_scores(data.xb, xq, spec.dim), truncate(xq, spec.dim)
        rotated = [_applied(index, prefixes, xq) for index in built.values()]
        on_cpu, on_gpu = (
            recall_of(set_probes(inside(index), most).search(x, 100)[1], truth, 10)
            for index, x in zip(built.values(), rotated, strict=True)
        )
        assert abs(on_cpu - on_gpu) <= 0.005


def _applied(index: FaissIndex, prefixes: FloatArray, xq: FloatArray) -> FloatArray:
    """Queries as the index inside takes them: through every transform in front of it."""
    if not isinstance(index, faiss.IndexPreTransform):
        return prefixes
    for at in range(index.chain.size()):
        xq = faiss.downcast_VectorTransform(index.chain.at(at)).apply(xq)
    return xq


@pytest.mark.gpu
@needs_gpu
def test_to_the_device_and_back() -> None:
    data, spec = structured(N, D, seed=9), spec_of("ivf-flat@64")
    index = build(spec, VectorStore(data.xb), device="cpu")
    back = to_cpu(to_gpu(index))
    pair = [set_probes(one, 10).search(data.xq, 10)[1] for one in (index, back)]
    np.testing.assert_array_equal(*pair)


@pytest.mark.gpu
@needs_gpu
def test_a_build_that_may_choose_takes_the_device() -> None:
    data, spec = structured(N, D, seed=9), spec_of("ivf-flat@32")
    auto, cuda = (build(spec, VectorStore(data.xb), device=device) for device in ("auto", "cuda"))
    pair = [set_probes(inside(one), 10).search(truncate(data.xq, 32), 10)[1] for one in (auto, cuda)]
    np.testing.assert_array_equal(*pair)


def test_a_full_device_is_told_from_other_errors() -> None:
    full = RuntimeError(
        "StandardGpuResourcesImpl: alloc fail type TemporaryMemoryBuffer (cudaMalloc error out of memory [2])"
    )
    assert is_out_of_memory(full)
    assert not is_out_of_memory(RuntimeError("Error: 'd == index->d' failed"))
