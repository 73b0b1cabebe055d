"""Building: blocks, training samples, and collections too small to train on."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from indexers.base import FaissIndex, IndexSpec
from indexers.build import MAX_TRAINING_BYTES, build, sample_blocks, training_rows
from indexers.errors import InvalidSpec, InvalidVectors
from indexers.gpu import gpu_count
from indexers.registry import FAMILIES, resolve
from indexers.vectors import FloatArray
from tests.conftest import structured, unit


def built(text: str, xb: FloatArray) -> FaissIndex:
    spec = resolve(IndexSpec.parse(text), len(xb), xb.shape[1])
    return build(spec, [xb], xb, device="cpu")


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
    scores, ids = index.search(xb[:2], 5)
    assert ids.min() >= 0
    np.testing.assert_allclose(scores, 1, atol=2e-2)


def test_as_many_cells_as_rows() -> None:
    xb = structured(60, 8, seed=1).xb
    assert built("ivf-flat@8:nlist=60", xb).ntotal == 60
    with pytest.raises(InvalidVectors, match="60 cells need at least as many training rows, found 59"):
        build(IndexSpec.parse("ivf-flat@8:nlist=60"), [xb], xb[:59], device="cpu")


def test_how_the_rows_are_cut_makes_no_difference() -> None:
    xb, xq, _ = structured(300, 16, seed=2)
    spec = resolve(IndexSpec.parse("ivf-pq@8"), 300, 16)
    whole = build(spec, [xb], xb, device="cpu").search(xq, 10)
    cut = build(spec, (xb[i : i + 7] for i in range(0, 300, 7)), xb, device="cpu").search(xq, 10)
    np.testing.assert_array_equal(whole[1], cut[1])
    np.testing.assert_array_equal(whole[0], cut[0])


def test_a_build_gives_the_same_index_twice() -> None:
    xb, xq, _ = structured(300, 16, seed=3)
    for name in FAMILIES:
        first, second = built(f"{name}@8", xb), built(f"{name}@8", xb)
        np.testing.assert_array_equal(first.search(xq, 10)[1], second.search(xq, 10)[1])


def test_blocks_of_another_dimension_are_refused() -> None:
    """FAISS would check it with an assert, and a prefix would hide it."""
    xb = structured(50, 16, seed=4).xb
    with pytest.raises(InvalidVectors, match="blocks of 16 dimensions, found 12"):
        build(IndexSpec("flat", 8), [xb, unit(xb[:, :12])], xb, device="cpu")


def test_a_device_that_is_not_there_is_refused() -> None:
    if gpu_count():
        pytest.skip("there is a GPU")
    xb = structured(50, 16, seed=4).xb
    with pytest.raises(InvalidSpec, match="FAISS sees no GPU"):
        build(IndexSpec("flat", 8), [xb], xb, device="cuda")


def test_the_training_sample_is_bounded() -> None:
    codes, cells = IndexSpec("sq", 8), IndexSpec("ivf-flat", 8, (("nlist", 1000),))
    assert training_rows(codes, 100, 512) == 100
    assert training_rows(codes, 10**7, 512) == 65_536
    assert [training_rows(IndexSpec(name, 8), 10**7, 512) for name in ("flat", "hnsw")] == [0, 0]
    assert training_rows(IndexSpec("flat", 8, (("axes", 1),)), 10**7, 512) == 65_536
    assert training_rows(cells, 10**7, 512) == 256_000
    assert training_rows(cells, 10**7, 4096) == MAX_TRAINING_BYTES // (4 * 4096)


@pytest.mark.parametrize("size", [1, 10, 99, 100, 101, 500])
def test_a_sample_is_drawn_without_repeats_in_order(size: int) -> None:
    rows = np.arange(100, dtype=np.float32)[:, None]
    blocks = [rows[:1], rows[1:1], rows[1:64], rows[64:]]
    drawn = sample_blocks(iter(blocks), 100, size, seed=5)[:, 0]
    assert len(drawn) == min(size, 100)
    assert (np.diff(drawn) > 0).all()
    np.testing.assert_array_equal(drawn, sample_blocks(iter(blocks), 100, size, seed=5)[:, 0])
    assert size >= 100 or (drawn != sample_blocks(iter(blocks), 100, size, seed=6)[:, 0]).any() or size == 99


def test_checks_do_not_rest_on_assert() -> None:
    """Under `python -O` asserts are gone, FAISS' own among them, and it would read past the block."""
    code = """
import numpy as np
from indexers.base import IndexSpec
from indexers.build import build
from indexers.errors import InvalidVectors
x = np.eye(16, dtype=np.float32)
try:
    build(IndexSpec("flat", 8), [np.ascontiguousarray(x[:, :4])], x, device="cpu")
except InvalidVectors:
    raise SystemExit(0)
raise SystemExit(1)
"""
    assert subprocess.run([sys.executable, "-O", "-c", code], check=False).returncode == 0
