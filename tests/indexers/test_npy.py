"""Arrays in `.npy` files: what is there is mapped, and whatever else a header says is one named error."""

from __future__ import annotations

import io
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.cli.search import load_vectors
from engine.collection.manifest import Source
from engine.ingest.vector_files import VectorFile
from engine.ingest.vectors import VectorFiles
from indexers.errors import CorruptCollection, InvalidVectors, NestvecError, SourceError
from indexers.npy import map_array
from indexers.store import VectorStore


def file(text: str | bytes, data: bytes = b"", version: tuple[int, int] = (1, 0), length: int | None = None) -> bytes:
    """Return a file with this header."""
    header = text.encode() if isinstance(text, str) else text
    count = len(header) if length is None else length
    return b"\x93NUMPY" + bytes(version) + count.to_bytes(2 if version == (1, 0) else 4, "little") + header + data


def said(shape: str = "(2, 3)", descr: str = "'<f4'", order: str = "False") -> str:
    return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}\n"


def mapped(path: Path) -> Any:
    with open(path, "rb") as opened:
        return map_array(opened)


@pytest.mark.parametrize("dtype", ["<f2", ">f4", "f8", "i1", "u8", "?", "c8"])
@pytest.mark.parametrize("shape", [(5, 3), (4,), (0, 8), (3, 0), (), (2, 2, 2)])
@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_what_numpy_writes_is_mapped(tmp_path: Path, dtype: str, shape: Any, version: Any) -> None:
    x = np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(dtype)
    for array in (x, np.asfortranarray(x)):
        with open(tmp_path / "x.npy", "wb") as out:
            np.lib.format.write_array(out, array, version=version)
        found = mapped(tmp_path / "x.npy")
        assert found.dtype == array.dtype
        np.testing.assert_array_equal(found, array)
        assert not found.size or not found.flags.writeable


HOSTILE = {
    "more rows than there are numbers": (file(said("(1000000000, 24)")), "takes 96,000,000,000 bytes, and 0 follow"),
    "rows beyond any": (file(said("(100000000000000000000, 24)")), "no array has the shape"),
    "a product beyond 64 bits": (
        file(said("(1 << 40, 1 << 40)".replace("1 << 40", str(1 << 40)))),
        "bytes, and 0 foll",
    ),
    "digits without end": (file(said(f"({'9' * 5000}, 24)")), "no array has the shape|cannot be read"),
    "less than nothing": (file(said("(-2, -3)"), bytes(24)), "no array has the shape"),
    "truth for a number": (file(said("(True, 6)"), bytes(24)), "no array has the shape"),
    "many axes": (file(said(f"({'1, ' * 70})"), bytes(4)), "no array has the shape"),
    "no tuple": (file(said("6"), bytes(24)), "cannot be read"),
    "cut short": (file(said(), bytes(23)), r"takes 24 bytes, and 23 follow its header: the file was cut short"),
    "more than it says": (file(said(), bytes(48)), "the file holds something else as well"),
    "objects": (file(said(descr="'|O'"), bytes(48)), "expected an array of numbers, found object"),
    "records": (file(said(descr="[('a', '<f4')]"), bytes(24)), "expected an array of numbers"),
    "nothing": (file(said(descr="'|V0'")), "expected an array of numbers"),
    "no type": (file(said(descr="'nonsense'"), bytes(24)), "cannot be read"),
    "a type that nests": (file(said(descr="[" * 80 + "]" * 80), bytes(24)), "cannot be read"),
    "half a header": (file("{'descr': '<f4', 'fortran_order': False, 'shape': (2, ", bytes(24)), "cannot be read"),
    "no end of it": (file("{'descr': '''<f4", bytes(24)), "cannot be read"),
    "indented": (file("  {\n 'a':\n1}", bytes(24)), "cannot be read"),
    "brackets": (file("(" * 9000), "cannot be read"),
    "signs": (file("-" * 9000 + "1"), "cannot be read"),
    "sums": (file("1" + "+1" * 4000), "cannot be read"),
    "a call": (file("__import__('os').getpid()"), "cannot be read"),
    "no text": (file(b"\xff\xfe" * 40, version=(3, 0)), "cannot be read"),
    "empty": (file(""), "cannot be read"),
    "a long header": (file(" " * 20_000), "at most 10,000 bytes, found one of 20,000"),
    "a header longer than any memory": (file("", version=(2, 0), length=(1 << 32) - 1), "found one of 4,294,967,295"),
    "a version there is not": (file(said(), bytes(24), version=(9, 9)), "expected the header of a"),
    "an archive": (b"PK\x03\x04" + bytes(40), "expected the header of a"),
    "a pickle": (b"\x80\x04\x95" + bytes(40), "expected the header of a"),
    "no byte": (b"", "expected the header of a"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_headers(tmp_path: Path, name: str) -> None:
    data, match = HOSTILE[name]
    (tmp_path / "x.npy").write_bytes(data)
    with pytest.raises(ValueError, match=match) as found:
        mapped(tmp_path / "x.npy")
    assert len(str(found.value)) < 500
    for reader, kind in READERS.items():
        with pytest.raises(kind, match=r"x\.npy is not a (whole )?\.npy file of vectors: "):
            reader(tmp_path / "x.npy")


def indexed(path: Path) -> None:
    for _ in VectorFiles(
        Source("v", "vectors", "/v"), [VectorFile(path, None)], name_column=None, caption=None
    ).blocks():
        pass


READERS: dict[Any, type[NestvecError]] = {
    indexed: SourceError,
    load_vectors: InvalidVectors,
    VectorStore.open: CorruptCollection,
}


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_header_changed_anyhow_is_an_array_or_a_named_error(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    out = io.BytesIO()
    np.save(out, np.ones((3, 4), np.float32))
    whole = bytearray(out.getvalue())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, 90))
        part = data.draw(
            st.binary(min_size=1, max_size=6) | st.sampled_from([b"9" * 12, b"((", b"[[", b"'", b"-", b"\\"])
        )
        whole[at : at + data.draw(st.integers(0, 6))] = part
    path = tmp_path_factory.getbasetemp() / "changed.npy"
    path.write_bytes(whole)
    tracemalloc.start()
    try:
        for reader in READERS:
            try:
                reader(path)
            except NestvecError:
                continue
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def test_columns_of_nothing_are_no_vectors(tmp_path: Path) -> None:
    """Whoever goes over so many rows of no bytes is never done."""
    (tmp_path / "x.npy").write_bytes(file(said(f"({1 << 47}, 0)")))
    with pytest.raises(SourceError, match=r"expected numbers of shape \[n, D\]"):
        indexed(tmp_path / "x.npy")
    with pytest.raises(CorruptCollection):
        VectorStore.open(tmp_path / "x.npy")
