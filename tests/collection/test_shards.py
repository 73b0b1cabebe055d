"""Parquet shards give back what was written, and never anything else."""

from __future__ import annotations

import re
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.collection import shards
from engine.collection.shards import (
    ITEM_SCHEMA,
    check_vectors_finite,
    read_embeddings,
    read_table,
    vector_shard_rows,
    write_embeddings,
    write_table,
)
from engine.ingest.entries import Entry
from engine.ingest.writer import Pending, Row
from engine.storage.layout import FileRef
from engine.storage.place import new_file, written
from indexers.errors import CorruptCollection, InvalidInput, InvalidSpec
from tests.helpers import clustered, flip_bit


def put(root: Path, table: pa.Table, folder: str = "spaces/main/embeddings", **options: Any) -> FileRef:
    """Write a Parquet file as somebody else might have."""
    with new_file(root, folder, ".parquet") as new:
        pq.write_table(table, new.temporary, **options)
        new.rows = table.num_rows
    return written(new)


VALUES = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text(max_size=9)
TEXTS = st.text(max_size=12)
ROWS = st.lists(
    st.tuples(TEXTS, st.none() | TEXTS, st.dictionaries(TEXTS, VALUES, max_size=3)), min_size=1, max_size=12
)


@settings(max_examples=40)
@given(rows=ROWS)
def test_items_are_read_as_they_were_written(rows: list[tuple[str, str | None, dict[str, Any]]]) -> None:
    pending = Pending(np.dtype("float32"))
    for number, (path, caption, meta) in enumerate(rows):
        entry = Entry("source", path, 5, 1_700_000_000_123_456_789, caption, meta)
        pending.add(Row(entry, number, "b3:" + "0" * 32, 3, 4, np.zeros(2, np.float32)))
    with tempfile.TemporaryDirectory() as folder:
        found = read_table(Path(folder), write_table(Path(folder), "items", pending.items.table()))
    assert found.column("path").to_pylist() == [path for path, _, _ in rows]
    assert found.column("caption").to_pylist() == [caption for _, caption, _ in rows]
    assert found.column("mtime_ns").to_pylist() == [1_700_000_000_123_456_789] * len(rows)
    for name in {name for _, _, meta in rows for name in meta}:
        wanted = [meta.get(name) for _, _, meta in rows]
        stored = found.column(f"meta.{name}").to_pylist()
        assert [value is None for value in stored] == [value is None for value in wanted]
        if len({type(value) for value in wanted if value is not None}) == 1:
            assert stored == wanted


@settings(max_examples=30)
@given(
    n=st.integers(0, 40), dim=st.integers(1, 9), dtype=st.sampled_from(["float16", "float32"]), seed=st.integers(0, 9)
)
def test_vectors_are_read_as_they_were_written(n: int, dim: int, dtype: str, seed: int) -> None:
    vectors = clustered(n, dim, seed)
    ids = np.arange(n, dtype=np.int64) * 3 + 7
    with tempfile.TemporaryDirectory() as folder:
        ref = write_embeddings(Path(folder), "main", ids, vectors, dtype)
        found_ids, found = read_embeddings(Path(folder), ref, dim, dtype)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found_ids, ids)
    np.testing.assert_array_equal(found, vectors.astype(dtype))


@pytest.fixture
def ref(tmp_path: Path) -> FileRef:
    """Fifty vectors of sixteen dimensions."""
    return write_embeddings(tmp_path, "main", np.arange(50), clustered(50, 16), "float32")


@pytest.mark.parametrize(("dim", "dtype"), [(16, "float16"), (8, "float32"), (32, "float32")])
def test_another_type_than_declared_is_refused(tmp_path: Path, ref: FileRef, dim: int, dtype: str) -> None:
    with pytest.raises(CorruptCollection, match="expected id and vector"):
        read_embeddings(tmp_path, ref, dim, dtype)


def test_another_number_of_rows_than_declared_is_refused(tmp_path: Path, ref: FileRef) -> None:
    with pytest.raises(CorruptCollection, match="expected 49 rows, found 50"):
        read_embeddings(tmp_path, replace(ref, rows=49), 16, "float32")


@pytest.mark.parametrize("missing", ["a vector", "a number"])
def test_missing_vectors_are_refused(tmp_path: Path, missing: str) -> None:
    kind = pa.list_(pa.float32(), 2)
    rows = [[1.0, 0.0], None] if missing == "a vector" else [[1.0, 0.0], [0.0, None]]
    table = pa.table({"id": pa.array([0, 1]), "vector": pa.array(rows, kind)})
    with pytest.raises(CorruptCollection, match="missing"):
        read_embeddings(tmp_path, put(tmp_path, table), 2, "float32")


@pytest.mark.parametrize("damage", ["dropped", "retyped"])
def test_an_item_shard_needs_all_its_columns(tmp_path: Path, damage: str) -> None:
    full = pa.table([[1]] + [[0] if pa.types.is_integer(f.type) else ["x"] for f in list(ITEM_SCHEMA)[1:]], ITEM_SCHEMA)
    table = full.drop_columns(["key"])
    if damage == "retyped":
        table = table.append_column("key", pa.array(["x"]))
    with pytest.raises(CorruptCollection, match="column 'key' is missing or of another type"):
        read_table(tmp_path, put(tmp_path, table, "items"))
    assert read_table(tmp_path, put(tmp_path, full, "items")).equals(full)


@settings(max_examples=150, deadline=None)
@given(at=st.integers(0, 1 << 20), bit=st.integers(0, 7))
def test_a_flipped_bit_never_changes_what_is_read(at: int, bit: int) -> None:
    """Without the file's hash: Parquet's own checksums must refuse it, or the data must be the same."""
    vectors, ids = clustered(20, 16), np.arange(20)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        ref = write_embeddings(root, "main", ids, vectors, "float32")
        flip_bit(root / ref.path, at, bit)
        try:
            found_ids, found = read_embeddings(root, ref, 16, "float32")
        except CorruptCollection:
            return
    np.testing.assert_array_equal(found_ids, ids)
    np.testing.assert_array_equal(found, vectors)


def test_flipped_bits_in_the_values_are_noticed(tmp_path: Path, ref: FileRef) -> None:
    path = tmp_path / ref.path
    whole = path.read_bytes()
    at = whole.index(clustered(50, 16)[7].tobytes())
    flip_bit(path, at + 5)
    with pytest.raises(CorruptCollection, match="cannot be read"):
        read_embeddings(tmp_path, ref, 16, "float32")
    # The check is worth something: without it the wrong number would have come back.
    wrong = pq.read_table(path).column("vector").combine_chunks().flatten().to_numpy()
    assert (wrong != clustered(50, 16).reshape(-1)).any()


def test_a_damaged_name_of_a_column_is_noticed(tmp_path: Path, ref: FileRef) -> None:
    path = tmp_path / ref.path
    whole = path.read_bytes()
    # No checksum covers the footer; of the places a name is in, only the schema's is read.
    for match in re.finditer(b"vector|ZWN0b3I", whole):
        flip_bit(path, match.start(), bit=7)
        try:
            ids, _ = read_embeddings(tmp_path, ref, 16, "float32")
        except CorruptCollection as error:
            seen = str(error)
        else:
            assert ids.tolist() == list(range(50))
        path.write_bytes(whole)
    assert "codec can't decode" in seen


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1" * 100, None])
def test_what_is_no_parquet_is_refused(tmp_path: Path, ref: FileRef, content: bytes | None) -> None:
    path = tmp_path / ref.path
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CorruptCollection, match="is missing" if content is None else "cannot be read"):
        read_table(tmp_path, replace(ref, size=len(content or b"")))


def test_shards_of_ready_vectors_are_bounded_in_bytes_and_rows() -> None:
    assert vector_shard_rows(1024, "float16") == 32_768
    assert vector_shard_rows(4, "float16") == shards.MOST_SHARD_ROWS
    assert vector_shard_rows(100_000, "float32") == shards.SHARD_ROWS
    with pytest.raises(InvalidSpec):
        vector_shard_rows(4, "float64")


def test_finite_means_neither_nan_nor_infinite() -> None:
    assert check_vectors_finite(np.ones((2, 2), np.float16))
    assert not check_vectors_finite(np.array([[1, np.nan]], np.float16))
    assert not check_vectors_finite(np.array([[1, np.inf]], np.float32))


def test_what_nobody_would_read_again_is_not_written(tmp_path: Path) -> None:
    table = pa.table({"reason": pa.array(["x" * 70_000]).take(pa.array(np.zeros(4096, np.int32)))})
    with pytest.raises(InvalidInput, match=r"4096 rows of captions and columns take 273.*Shorten them"):
        write_table(tmp_path, "failures", table)
    assert not list(tmp_path.rglob("*.parquet"))
