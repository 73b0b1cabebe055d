"""The mapped vectors: scanned and gathered from the file itself, and hostile files."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from indexers.base import Neighbors
from indexers.errors import CorruptCollection, InvalidSpec
from indexers.mask import Mask
from indexers.store import BLOCK_ROWS, Blocks, VectorStore, check_dtype
from tests.conftest import assert_answers, prefix_scores, structured

DTYPES = ("float16", "float32")


def saved(path: Path, n: int, D: int, dtype: str) -> Path:
    np.save(path, structured(max(n, 1), D, seed=D).xb[:n].astype(dtype))
    return path


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("n", "D"), [(1, 1), (1, 7), (200, 31), (200, 48)])
def test_a_scan_of_the_mapping_is_brute_force(tmp_path: Path, dtype: str, n: int, D: int) -> None:
    store = VectorStore.open(saved(tmp_path / "v.npy", n, D, dtype))
    assert (len(store), store.dim, store.rows.dtype.name) == (n, D, dtype)
    assert isinstance(store.rows, np.memmap)
    assert not store.rows.flags.writeable
    xq = structured(200, D, seed=1).xq
    truth = prefix_scores(store.rows.astype(np.float32), xq, D)
    assert_answers(store.search(xq, min(n, 10)), truth, min(n, 10))


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_selector_and_too_large_a_k(tmp_path: Path, dtype: str) -> None:
    store = VectorStore.open(saved(tmp_path / "v.npy", 50, 16, dtype))
    selector = Mask.without(50, np.arange(0, 50, 2))
    found = store.search(store.gather(np.arange(3)), 60, selector)
    assert (found.ids[:, 25:] == -1).all()
    assert (np.sort(found.ids[:, :25]) == np.arange(1, 50, 2)).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_are_gathered_in_any_shape(tmp_path: Path, dtype: str) -> None:
    store = VectorStore.open(saved(tmp_path / "v.npy", 50, 16, dtype))
    rows = np.array([[3, 3, 49], [0, 7, 1]])
    for dim in (None, 1, 5, 16):
        found = store.gather(rows, dim)
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, store.rows[rows][..., :dim].astype(np.float32))


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_store_of_no_rows(tmp_path: Path, dtype: str) -> None:
    for store in (VectorStore.open(saved(tmp_path / "v.npy", 0, 8, dtype)), VectorStore(np.empty((0, 8), dtype))):
        assert len(store) == 0
        assert (store.search(np.ones((2, 8), np.float32), 3).ids == -1).all()


def test_the_index_reads_the_mapping_and_holds_no_copy(tmp_path: Path) -> None:
    """A change of the file must show through: the codes are the mapping's pages."""
    path = saved(tmp_path / "v.npy", 50, 16, "float32")
    store = VectorStore.open(path)
    query = np.zeros((1, 16), np.float32)
    query[0, 0] = query[0, 15] = 0.5
    with path.open("r+b") as file:
        file.seek(path.stat().st_size - 50 * 64 + 7 * 64)
        file.write(np.full(16, 0.75, np.float32).tobytes())
    found = store.search(query, 1)
    assert (found.ids[0, 0], found.scores[0, 0]) == (7, 0.75)


def test_the_memory_outlives_names(tmp_path: Path) -> None:
    index_of = VectorStore(structured(2000, 32, seed=0).xb.copy())
    query = index_of.gather(np.array([5]))
    copies = [structured(2000, 32, seed=s).xb for s in range(1, 4)]
    assert index_of.search(query, 1).ids[0, 0] == 5
    assert len(copies) == 3


def header(shape: str, descr: str = "'<f4'", order: str = "False") -> bytes:
    text = f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()


BAD = {
    "empty": b"",
    "magic only": b"\x93NUMPY",
    "text": b"not a matrix at all",
    "zip": b"PK\x03\x04" + bytes(60),
    "pickle": b"\x80\x04K\x01.",
    "cut header": header("(8, 16)")[:50],
    "cut data": header("(8, 16)") + bytes(511),
    "unbalanced": header("(8, 16"),
    "negative": header("(-1, 16)") + bytes(512),
    "huge": header("(99999999999999999999, 16)") + bytes(512),
    "overflow": header("(9223372036854775807, 16)") + bytes(512),
    "one dimension": header("(8,)") + bytes(512),
    "three dimensions": header("(2, 4, 16)") + bytes(512),
    "no columns": header("(8, 0)") + bytes(512),
    "no dimension": header("()") + bytes(512),
    "doubles": header("(8, 16)", "'<f8'") + bytes(1024),
    "swapped float32": header("(8, 16)", "'>f4'") + bytes(512),
    "swapped float16": header("(8, 16)", "'>f2'") + bytes(512),
    "objects": header("(8, 16)", "'O'") + bytes(1024),
    "records": header("(8, 16)", "[('a', '<f4')]") + bytes(512),
    "columns first": header("(8, 16)", order="True") + bytes(512),
    "code": header("(__import__('os').getpid(), 16)") + bytes(512),
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
def test_files_that_are_not_vectors(tmp_path: Path, name: str) -> None:
    path = tmp_path / "v.npy"
    path.write_bytes(BAD[name])
    with pytest.raises(CorruptCollection, match="vectors"):
        VectorStore.open(path)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(CorruptCollection, match=r"not a whole \.npy file"):
        VectorStore.open(tmp_path / "v.npy")
    with pytest.raises(CorruptCollection, match=r"not a whole \.npy file"):
        VectorStore.open(tmp_path)


def test_damaged_headers_never_raise_anything_else(tmp_path: Path) -> None:
    good = saved(tmp_path / "v.npy", 8, 16, "float32").read_bytes()
    path = tmp_path / "bad.npy"
    opened = 0
    for seed in range(300):
        rng = np.random.default_rng(seed)
        data = bytearray(good)
        if seed % 2:
            data = data[: rng.integers(len(data))]
        for at in rng.integers(min(len(data), 80) or 1, size=2):
            data[at : at + 1] = rng.bytes(1)
        path.write_bytes(data)
        try:
            opened += len(VectorStore.open(path)) > 0
        except CorruptCollection:
            continue
    assert opened < 150


def test_storage_types() -> None:
    assert [check_dtype(name) for name in DTYPES] == [np.float16, np.float32]
    for name in ("float64", "int8", "", "f2", "object"):
        with pytest.raises(InvalidSpec, match="float16 or float32"):
            check_dtype(name)


def test_a_matrix_that_faiss_would_misread_is_refused() -> None:
    x = structured(8, 16, seed=0).xb
    for rows in (x.T, x[:, ::2], x.astype(">f4"), x.astype(np.float64), x[0]):
        with pytest.raises(CorruptCollection, match="C-ordered"):
            VectorStore(rows)
    assert isinstance(VectorStore(x).search(x[:1], 1), Neighbors)


def test_blocks_are_the_rows_and_can_be_read_again() -> None:
    rows = structured(BLOCK_ROWS + 5, 4, seed=0).xb.astype(np.float16)
    blocks = Blocks(rows)
    for _ in range(2):
        found = list(blocks)
        assert all(block.dtype == np.float32 for block in found)
        np.testing.assert_array_equal(np.concatenate(found), rows.astype(np.float32))
