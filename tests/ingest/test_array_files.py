"""Vectors in .npz, safetensors and bfloat16: compared with NumPy, the safetensors package and ml_dtypes."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_torch

from engine.api import Collection
from engine.jobs.index import RunOptions
from engine.jobs.index import index as run_index
from indexers.errors import NestvecError, SourceError
from tests.helpers import Hears, clustered, save
from tests.ingest.made import Found, listing, read

X = clustered(5000, 6)
NAMES = np.array([f"n{at}" for at in range(5000)])

# -- .npz ----------------------------------------------------------------------------------


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int8", ">f4"])
def test_npz_of_one_array(tmp_path: Path, compressed: bool, dtype: str) -> None:
    x = (X * 100).astype(dtype)
    (np.savez_compressed if compressed else np.savez)(tmp_path / "x.npz", x)
    found = read(tmp_path / "x.npz")
    np.testing.assert_array_equal(found.vectors, np.load(tmp_path / "x.npz")["arr_0"].astype(np.float32))
    assert (found.names[4999], found.wrong) == ("x.npz#4999", {})
    assert listing(tmp_path / "x.npz").dim == 6


def test_npz_with_names_captions_and_columns(tmp_path: Path) -> None:
    ids, stars = np.arange(5000, dtype=">i8") + 2**60, np.arange(5000, dtype=np.int16)
    np.savez(tmp_path / "x.npz", vectors=X, names=NAMES, ids=ids, captions=NAMES, stars=stars, other=np.zeros(3))
    found = read(tmp_path / "x.npz")
    assert (found.names[4999], found.captions[4999]) == ("n4999", "n4999")
    assert found.meta[4999] == {"id": 4999 + 2**60, "stars": 4999}
    np.savez(tmp_path / "y.npz", emb=X, ids=ids)
    assert read(tmp_path / "y.npz").names[1] == str(2**60 + 1)


def test_what_lies_beside_the_vectors_and_cannot_be_a_column_is_told(tmp_path: Path) -> None:
    structured = np.zeros(3, dtype=[("a", "<i4")])
    beside = {
        "phase": np.ones(3, complex),
        "parts": structured,
        "boxes": np.zeros((3, 2, 2)),
        "once": np.ones(4, complex),
    }
    np.savez(tmp_path / "x.npz", vectors=X[:3], n=np.arange(3), **beside)
    assert listing(tmp_path / "x.npz").unread == (
        "phase (complex128 [3])",
        "parts ([('a', '<i4')] [3])",
        "boxes (float64 [3, 2, 2])",
    )
    assert read(tmp_path / "x.npz").meta == [{"n": 0}, {"n": 1}, {"n": 2}]
    said: list[str] = []
    run_index(tmp_path / "c.nest", [tmp_path / "x.npz"], RunOptions(device="cpu"), Hears(said.append))
    assert [one for one in said if "no column can hold it: phase (complex128 [3]), parts" in one]


def test_npz_of_several_arrays_asks_which(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", image=X, text=-X, names=NAMES)
    with pytest.raises(SourceError, match="several arrays of vectors: image, text; name one with --vectors"):
        listing(tmp_path / "x.npz").dim  # noqa: B018
    found = read(tmp_path / "x.npz", "text")
    np.testing.assert_array_equal(found.vectors, -X)
    assert found.meta[0] == {}
    with pytest.raises(SourceError, match=r"expected numbers of shape \[n, D\] in 'names'"):
        listing(tmp_path / "x.npz", "names").dim  # noqa: B018
    with pytest.raises(SourceError, match="no column 'txt' of vectors; it has image, text, names"):
        listing(tmp_path / "x.npz", "txt").dim  # noqa: B018


def test_npz_in_columns_first_order(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", np.asfortranarray(X))
    np.testing.assert_array_equal(read(tmp_path / "x.npz").vectors, X)


@pytest.mark.parametrize(
    ("arrays", "match"),
    [
        ({"x": np.zeros(4)}, r"expected an array of numbers of shape \[n, D\], found x"),
        ({"x": np.zeros((4, 2), complex)}, r"expected an array of numbers of shape \[n, D\]"),
        ({"x": X[:3], "names": np.array(["a", "b"])}, "'names' has 2 rows beside 3 vectors"),
        ({"x": X[:2], "names": np.array([{}, None])}, "is of Python objects, which are not read"),
        ({"x": np.zeros((0, 8))}, "holds no vectors"),
    ],
)
def test_npz_that_holds_something_else(tmp_path: Path, arrays: dict[str, Any], match: str) -> None:
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(SourceError, match=match):
        Found(listing(tmp_path / "x.npz")) if "holds no" not in match else listing(tmp_path / "x.npz").dim


def zipped(path: Path, name: str, data: bytes, method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr(name, data)
    return path


def npy(header: dict[str, Any], body: bytes) -> bytes:
    text = (repr(header) + "\n").encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + body


def test_npz_that_expands_to_more_than_anybody_meant(tmp_path: Path) -> None:
    shape = (1 << 17, 1 << 10)
    body = bytes(shape[0] * shape[1] * 4)
    path = zipped(tmp_path / "x.npz", "x.npy", npy({"descr": "<f4", "fortran_order": False, "shape": shape}, body))
    assert path.stat().st_size < 1 << 20
    with pytest.raises(SourceError, match="expand to more than"):
        listing(path).dim  # noqa: B018


@pytest.mark.parametrize(
    ("header", "size"),
    [
        ({"descr": "<f4", "fortran_order": False, "shape": (1 << 40, 1 << 40)}, 64),
        ({"descr": "<f4", "fortran_order": False, "shape": (4, 4)}, 63),
        ({"descr": "<f4", "fortran_order": False, "shape": (4, 4)}, 65),
        ({"descr": "<f4", "fortran_order": False, "shape": (4, -4)}, 64),
        ({"descr": "|O", "fortran_order": False, "shape": (4, 4)}, 64),
    ],
)
def test_npz_whose_headers_lie(tmp_path: Path, header: dict[str, Any], size: int) -> None:
    with pytest.raises(SourceError, match=r"cannot be read as \.npz"):
        listing(zipped(tmp_path / "x.npz", "x.npy", npy(header, bytes(size)))).dim  # noqa: B018
    with pytest.raises(SourceError, match="compressed in a way that NumPy does not"):
        listing(zipped(tmp_path / "y.npz", "x.npy", npy(header, bytes(size)), zipfile.ZIP_LZMA)).dim  # noqa: B018


# -- safetensors ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int8])
def test_safetensors_of_any_type(tmp_path: Path, kind: torch.dtype) -> None:
    x = (torch.from_numpy(X) * 100).to(kind)
    save_torch({"emb": x, "ids": torch.arange(5000) + 2**60}, tmp_path / "x.safetensors", {"made": "by hand"})
    found = read(tmp_path / "x.safetensors")
    np.testing.assert_array_equal(found.vectors, x.to(torch.float32).numpy())
    assert (found.names[1], found.meta[1]) == (str(2**60 + 1), {"id": 2**60 + 1})


def test_safetensors_of_several_tensors_asks_which(tmp_path: Path) -> None:
    save_file({"a": X, "b": -X, "scale": np.ones(3, np.float32)}, tmp_path / "x.safetensors")
    with pytest.raises(SourceError, match="several arrays of vectors: a, b; name one with --vectors"):
        listing(tmp_path / "x.safetensors").dim  # noqa: B018
    np.testing.assert_array_equal(read(tmp_path / "x.safetensors", "b").vectors, -X)


@pytest.mark.parametrize(
    "header",
    [
        {"a": {"dtype": "F32", "shape": [2, 4], "data_offsets": [0, 64]}},
        {"a": {"dtype": "F32", "shape": [2, 4], "data_offsets": [8, 40]}},
        {"a": {"dtype": "F32", "shape": [2, -4], "data_offsets": [0, 32]}},
        {"a": {"dtype": "F32", "shape": [1 << 60, 1 << 60], "data_offsets": [0, 32]}},
        {"a": {"dtype": ["F32"], "shape": [2, 4], "data_offsets": [0, 32]}},
        {"a": {"dtype": "F32", "shape": 8, "data_offsets": [0, 32]}},
        *({"a": 3}, [], 7, {"__metadata__": 1}),
    ],
)
def test_safetensors_whose_headers_lie(tmp_path: Path, header: Any) -> None:
    text = json.dumps(header).encode()
    (tmp_path / "x.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + bytes(32))
    with pytest.raises(SourceError):
        listing(tmp_path / "x.safetensors").dim  # noqa: B018


# -- bfloat16 ------------------------------------------------------------------------------


def test_bfloat16_in_npy_and_npz_and_from_memory(tmp_path: Path) -> None:
    x = X.astype(ml_dtypes.bfloat16)
    expected = x.astype(np.float32)
    np.savez(tmp_path / "x.npz", x)
    for path in (save(tmp_path / "x.npy", x), tmp_path / "x.npz"):
        np.testing.assert_array_equal(read(path).vectors, expected)
    with Collection.create(tmp_path / "c.nest", encoder="precomputed", dim=6) as made:
        assert made.add_vectors(x[:9]).added == 9
        assert made.search(x[3], k=1).scores[0] > 0.999


# -- bytes of anybody's --------------------------------------------------------------------


def made(kind: str) -> bytes:
    out = io.BytesIO()
    if kind == "npz":
        np.savez(out, emb=X[:20], names=NAMES[:20])
    elif kind == "packed":
        np.savez_compressed(out, emb=X[:20], ids=np.arange(20))
    else:
        from safetensors.numpy import save as save_bytes

        return save_bytes({"emb": X[:20], "ids": np.arange(20)})
    return out.getvalue()


@settings(max_examples=150, deadline=None)
@given(
    kind=st.sampled_from(["npz", "packed", "safetensors"]),
    changes=st.lists(st.tuples(st.integers(0, 1 << 16), st.binary(min_size=1, max_size=8)), min_size=1, max_size=4),
    cut=st.integers(0, 1 << 16) | st.none(),
)
def test_a_file_changed_anyhow_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, kind: str, changes: list[tuple[int, bytes]], cut: int | None
) -> None:
    data = bytearray(made(kind))
    for at, piece in changes:
        data[at % len(data) : at % len(data) + len(piece)] = piece
    path = tmp_path_factory.mktemp("any") / f"x.{'safetensors' if kind == 'safetensors' else 'npz'}"
    path.write_bytes(data if cut is None else data[: cut % len(data)])
    try:
        found = read(path)
    except NestvecError as error:
        assert str(path) in str(error)
    else:
        assert len(found.names) == len(found.vectors)


def test_times_and_truths_beside_vectors(tmp_path: Path) -> None:
    """Whatever NumPy counts time in."""
    months = np.array(["2019-01", "NaT"], "M8[M]")
    days, nanos = np.array(["2019-01-02"] * 2, "M8[D]"), np.array(["2019-01-02T03:04:05"] * 2, "M8[ns]")
    times = {
        "months": months,
        "days": days,
        "nanos": nanos,
        "took": np.array([1, 2], "m8[D]"),
        "flag": np.array([True, False]),
    }
    np.savez(tmp_path / "x.npz", vectors=X[:2], **times)
    assert read(tmp_path / "x.npz").meta == [
        {
            "months": datetime(2019, 1, 1),
            "days": date(2019, 1, 2),
            "nanos": datetime(2019, 1, 2, 3, 4, 5),
            "took": timedelta(days=1),
            "flag": True,
        },
        {"days": date(2019, 1, 2), "nanos": datetime(2019, 1, 2, 3, 4, 5), "took": timedelta(days=2), "flag": False},
    ]
    save_file({"v": X[:2], "flag": np.array([True, False])}, tmp_path / "x.safetensors")
    assert read(tmp_path / "x.safetensors").meta == [{"flag": True}, {"flag": False}]
