"""Building: blocks, training samples, and collections too small to train on."""

from __future__ import annotations

from dataclasses import replace

import faiss
import numpy as np
import pytest

from indexers.base import FaissIndex, IndexSpec
from indexers.build import MAX_TRAINING_BYTES, build, training_rows
from indexers.errors import InvalidSpec, InvalidVectors
from indexers.families.registry import FAMILIES, resolve
from indexers.gpu import gpu_count
from indexers.mask import Mask
from indexers.store import BLOCK_ROWS, VectorStore
from indexers.vectors import FloatArray
from tests.conftest import structured


def built(text: str, xb: FloatArray) -> FaissIndex:
    spec = resolve(IndexSpec.parse(text), len(xb), xb.shape[1])
    return build(spec, VectorStore(xb), device="cpu")


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("n", [1, 2, 15, 17, 45])
def test_few_rows_are_enough_for_every_family(capfd: pytest.CaptureFixture[str], name: str, n: int) -> None:
    """Down to one row, and without FAISS complaining on stderr."""
    xb = structured(n, 8, seed=n).xb
    for d in (1, 5, 8):
        index = built(f"{name}@{d}", xb)
        assert (index.ntotal, index.d) == (n, 8)
        scores, ids = index.search(xb[:1], 1)
        if name != "ivf-pq" or n > 2:
            # One row is its cell's centroid, nothing is left for codes to tell, and FAISS answers NaN.
            assert 0 <= ids[0, 0] < n
            assert np.isfinite(scores).all()
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("name", FAMILIES)
def test_rows_that_are_all_the_same(name: str) -> None:
    xb = np.repeat(structured(1, 8, seed=0).xb, 200, axis=0)
    index = built(f"{name}@4", xb)
    if (ivf := faiss.try_extract_index_ivf(index)) is not None:
        ivf.nprobe = ivf.nlist  # cells are alike as well, and rounding says which of them a row is nearest to
    scores, ids = index.search(xb[:2], 5)
    assert ids.min() >= 0
    np.testing.assert_allclose(scores, 1, atol=2e-2)


def test_as_many_cells_as_rows() -> None:
    xb = structured(60, 8, seed=1).xb
    assert built("ivf-flat@8:nlist=60", xb).ntotal == 60
    with pytest.raises(InvalidVectors, match="60 cells need at least as many training rows, found 59"):
        build(IndexSpec.parse("ivf-flat@8:nlist=60"), VectorStore(xb[:59]), device="cpu")


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("axes", [0, 1])
@pytest.mark.parametrize("text", ["flat@8", "sq@8", "ivf-flat@8:nlist=4", "ivf-pq@8:nlist=4,m=8"])
def test_each_row_is_where_it_belongs(text: str, axes: int, dtype: type) -> None:
    """Whether the sample is all rows or some, and whether there are queries after them."""
    n, dead = 2 * BLOCK_ROWS + 100, np.arange(7, 107)
    xb, _, queries = structured(n, 8, seed=2, nq=300)
    store, asked = VectorStore(xb.astype(dtype)), np.r_[0, 6:8, BLOCK_ROWS - 1 : BLOCK_ROWS + 1, n - 1]
    spec = IndexSpec.parse(text)
    spec = resolve(replace(spec, params=(("axes", axes), *spec.params)), n, 8)
    for some, more in ((np.empty(0, np.int64), None), (dead, None), (np.empty(0, np.int64), queries), (dead, queries)):
        index = build(spec, store, mask=Mask.without(len(store), some), queries=more, device="cpu")
        assert index.ntotal == n
        scores, ids = index.search(store.gather(asked), 1)
        found = (xb[ids[:, 0]] * xb[asked]).sum(axis=1)
        np.testing.assert_allclose(scores[:, 0], found, atol=0.1)
        assert (found > 0.85).all(), found


def test_a_build_gives_the_same_index_twice() -> None:
    xb, xq, _ = structured(300, 16, seed=3)
    for name in FAMILIES:
        first, second = built(f"{name}@8", xb), built(f"{name}@8", xb)
        np.testing.assert_array_equal(first.search(xq, 10)[1], second.search(xq, 10)[1])


def test_a_device_that_is_not_there_is_refused() -> None:
    if gpu_count():
        pytest.skip("there is a GPU")
    xb = structured(50, 16, seed=4).xb
    with pytest.raises(InvalidSpec, match="FAISS sees no GPU"):
        build(IndexSpec("flat", 8), VectorStore(xb), device="cuda")


def test_the_training_sample_is_bounded() -> None:
    codes, cells = IndexSpec("sq", 8), IndexSpec("ivf-flat", 8, (("nlist", 1000),))
    assert training_rows(codes, 100) == 100
    assert training_rows(codes, 10**7) == 65_536
    assert [training_rows(IndexSpec(name, 8), 10**7) for name in ("flat", "hnsw")] == [0, 0]
    assert training_rows(IndexSpec("flat", 8, (("axes", 1),)), 10**7) == 65_536
    assert training_rows(cells, 10**7) == 256_000
    assert training_rows(IndexSpec("ivf-flat", 8, (("nlist", 2000),)), 10**7) == 256_000
    assert training_rows(IndexSpec("ivf-flat", 4096, (("nlist", 2000),)), 10**7) == MAX_TRAINING_BYTES // (4 * 4096)
