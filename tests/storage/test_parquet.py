"""Parquet files whose pages are counted before they are expanded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine.storage.pages import Page, pages, read_footer
from engine.storage.parquet import parquet_batches, read_parquet

COLUMNS: dict[str, Any] = {
    "n": [1, 2, 3],
    "flag": [True, None, False],
    "text": ["x", "y" * 3000, None],
    "large": pa.array(["x", "y", None], pa.large_string()),
    "coded": pa.array(["x", "y", "x"]).dictionary_encode(),
    "bytes": pa.array([b"1", None, b"22"]),
    "fixed": pa.array([b"12"] * 3, pa.binary(2)),
    "half": pa.array(np.float16([1, 2, 3])),
    "time": pa.array([time(1, 2)] * 3),
    "money": pa.array([Decimal("1.5")] * 3),
    "nothing": pa.nulls(3),
    "list": pa.array([["p", "q"], [], None]),
    "struct": pa.array([{"a": "u", "b": 1}, None, {"a": None, "b": 2}]),
    "map": pa.array([[("k", "v")], None, []], pa.map_(pa.string(), pa.string())),
    "deep": pa.array([[{"z": ["u"]}], None, []]),
    "vector": pa.array([[1.0, 2.0]] * 3, pa.list_(pa.float32(), 2)),
}

POOLS: list[pa.MemoryPool] = []
"""They must outlive whatever was made in them."""


def walked(path: Path) -> list[Page]:
    with open(path, "rb") as file:
        footer = read_footer(file)
        return [page for group in range(len(footer.groups)) for page in pages(file, footer, None, group)]


@contextmanager
def counted() -> Iterator[pa.MemoryPool]:
    """Count what Arrow sets aside meanwhile."""
    before = pa.default_memory_pool()
    pool = pa.proxy_memory_pool(before)
    POOLS.append(pool)
    pa.set_memory_pool(pool)
    try:
        yield pool
    finally:
        pa.set_memory_pool(before)


@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("coded", [False, True])
def test_pages_say_what_the_footer_sums_up(tmp_path: Path, version: str, coded: bool) -> None:
    table = pa.table({"n": np.arange(5000) % 7, "text": [f"{i % 90}" * 40 for i in range(5000)]})
    path = tmp_path / "x.parquet"
    pq.write_table(
        table, path, use_dictionary=coded, data_page_version=version, data_page_size=2000, row_group_size=2100,
        compression="zstd", write_batch_size=64,
    )  # fmt: skip
    found = pq.read_metadata(path)
    said = sum(found.row_group(g).column(c).total_uncompressed_size for g in range(3) for c in range(2))
    walk = walked(path)
    assert len(walk) > 12
    # The footer counts the headers as well, each some ten bytes and its statistics.
    assert said * 0.5 - 200 * len(walk) < sum(page.unpacked for page in walk) <= said
    assert 5000 * (8 + 8) < sum(page.decoded for page in walk) < 2 * 5000 * (10 + 10)


@pytest.mark.parametrize("name", COLUMNS)
@pytest.mark.parametrize("options", [{}, {"store_schema": False}, {"use_dictionary": False, "compression": "zstd"}])
def test_whatever_can_be_in_a_file_comes_out_as_it_is(tmp_path: Path, name: str, options: dict[str, Any]) -> None:
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({name: COLUMNS[name]}), path, **options)
    expected = pq.read_table(path)
    assert read_parquet(path).equals(expected)
    assert pa.concat_tables(parquet_batches(path, 2, lambda schema: None)).equals(expected)


@pytest.mark.parametrize("rows", [7, 100, 150, 1000])
def test_texts_in_lists_and_structs_are_read_across_row_groups(tmp_path: Path, rows: int) -> None:
    written = pa.table({"tags": [["a", "b"], ["c"], None] * 100, "place": [{"city": "k"}] * 300, "n": range(300)})
    pq.write_table(written, tmp_path / "t.parquet", row_group_size=100)
    assert read_parquet(tmp_path / "t.parquet").equals(written)
    batches = list(parquet_batches(tmp_path / "t.parquet", rows, lambda schema: None))
    assert max(map(len, batches)) <= rows
    assert pa.concat_tables(batches).equals(written)


def test_views_become_texts(tmp_path: Path) -> None:
    pq.write_table(pa.table({"v": pa.array(["x", None, "y"], pa.string_view())}), tmp_path / "x.parquet")
    assert read_parquet(tmp_path / "x.parquet").to_pydict() == {"v": ["x", None, "y"]}


# -- bombs -------------------------------------------------------------------------------------


def bomb(path: Path, columns: int, size: int, kind: pa.DataType | None = None) -> Path:
    """Write two rows with one long text in each of some columns."""
    text = pa.array(["x" * size])
    texts = pa.DictionaryArray.from_arrays(pa.array([0, 0], pa.int32()), text if kind is None else text.cast(kind))
    table = pa.table({"n": [0, 1], **{f"c{number}": texts for number in range(columns)}})
    pq.write_table(table, path, compression="zstd", store_schema=False, write_statistics=False)
    return path


def lie(path: Path) -> None:
    """Make a footer say that the columns are small."""
    found, data = pq.read_metadata(path), path.read_bytes()
    for number in range(1, found.num_columns):
        size = found.row_group(0).column(number).total_uncompressed_size
        said = varint(2 * size)
        data = data.replace(said, bytes([0x80 | 70, *[0x80] * (len(said) - 2), 0]))
    path.write_bytes(data)
    changed = pq.read_metadata(path).row_group(0)
    assert sum(changed.column(number).total_uncompressed_size for number in range(1, found.num_columns)) < 10_000


def varint(value: int) -> bytes:
    out = []
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def test_a_long_text_in_each_of_many_columns_is_refused_unread(tmp_path: Path) -> None:
    path = bomb(tmp_path / "x.parquet", 30, 20 << 20)
    assert path.stat().st_size < 100_000
    for _ in ("as it is", "with a footer that lies"):
        for columns in (None, [f"c{number}" for number in range(20)]):
            with counted() as pool, pytest.raises(pa.ArrowInvalid, match="expand to more"):
                read_parquet(path, columns=columns)
            with pytest.raises(pa.ArrowInvalid, match="expand to more"):
                list(parquet_batches(path, 4096, lambda schema: None))
            assert pool.max_memory() < 1 << 20
        assert read_parquet(path, columns=["n"]).to_pydict() == {"n": [0, 1]}
        lie(path)


@pytest.mark.parametrize("values", [pa.array(["x" * (1 << 20)]), pa.array([b"x" * (1 << 20)])])
@pytest.mark.parametrize("nested", [False, True])
def test_a_text_many_times_is_refused_before_it_is_written_out(tmp_path: Path, values: pa.Array, nested: bool) -> None:
    texts: pa.Array = pa.DictionaryArray.from_arrays(pa.array(np.zeros(4000, np.int32)), values)
    if nested:
        texts = pa.ListArray.from_arrays(pa.array(np.arange(4001, dtype=np.int32)), texts)
    pq.write_table(pa.table({"c": texts}), tmp_path / "x.parquet", compression="zstd", store_schema=False)
    with counted() as pool, pytest.raises(pa.ArrowInvalid, match="bytes of text are more than"):
        read_parquet(tmp_path / "x.parquet")
    assert pool.max_memory() < 16 << 20
    with counted() as pool, pytest.raises(pa.ArrowInvalid, match="bytes of text are more than"):
        list(parquet_batches(tmp_path / "x.parquet", 4096, lambda schema: None))
    assert pool.max_memory() < 16 << 20


def test_a_number_many_times_is_refused_unread(tmp_path: Path) -> None:
    pq.write_table(pa.table({"n": np.zeros(40_000_000)}), tmp_path / "x.parquet", write_statistics=False)
    assert (tmp_path / "x.parquet").stat().st_size < 1 << 18
    with counted() as pool, pytest.raises(pa.ArrowInvalid, match="expand to more"):
        read_parquet(tmp_path / "x.parquet")
    assert pool.max_memory() < 1 << 20


@pytest.mark.parametrize("way", ["DELTA_BYTE_ARRAY", "DELTA_LENGTH_BYTE_ARRAY"])
def test_texts_of_other_writers_are_read_and_not_ours(tmp_path: Path, way: str) -> None:
    path, table = tmp_path / "x.parquet", pa.table({"c": ["x" * 1000, None, "x" * 999 + "y"] * 3000, "d": [7] * 9000})
    pq.write_table(table, path, use_dictionary=False, column_encoding={"c": way, "d": "DELTA_BINARY_PACKED"})
    assert read_parquet(path).equals(table)
    assert pa.concat_tables(parquet_batches(path, 4096, lambda schema: None)).equals(table)
    with pytest.raises(pa.ArrowInvalid, match="nestvec does not write"):
        read_parquet(path, own=True)


def test_texts_that_begin_like_the_one_before_are_counted_a_few_at_a_time(tmp_path: Path) -> None:
    """Few bytes say of many long texts that each is the one before."""
    path, parts = tmp_path / "x.parquet", pa.array(["x" * 100_000] * 500)
    kinds = pa.schema([("c", pa.string())])
    with pq.ParquetWriter(
        path, kinds, use_dictionary=False, column_encoding={"c": "DELTA_BYTE_ARRAY"}, write_statistics=False
    ) as writer:
        for _ in range(6):
            writer.write_table(pa.table({"c": parts}, kinds))
    assert path.stat().st_size < 90_000
    with counted() as pool, pytest.raises(pa.ArrowInvalid, match="texts are more than"):
        read_parquet(path)
    assert pool.max_memory() < 300 << 20


def test_what_does_not_fit_into_memory_is_refused_with_the_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"n": np.zeros(27_000_000)}), path, write_statistics=False)
    monkeypatch.setenv("NESTVEC_MEMORY", "1MB")
    with pytest.raises(pa.ArrowInvalid, match=r"takes .*, and .* are left: NESTVEC_MEMORY is 1MB"):
        read_parquet(path)


def test_headers_of_pages_that_are_none(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"n": [1, 2, 3]}), path, use_dictionary=False, write_statistics=False, compression="none")
    whole = path.read_bytes()
    for header in (
        bytes(8),
        b"\xff" * 12,
        b"\x15\x00" * 8,
        b"\x19\xfc" + b"\xff" * 9,
        b"\x1c" * 40,
        b"\x15\x01\x15\x01",
    ):
        path.write_bytes(whole[:4] + header + whole[4 + len(header) :])
        with pytest.raises(pa.ArrowInvalid):
            read_parquet(path)
    for at in range(4, 24):
        for value in (0, 0x15, 0x1C, 0x7F, 0xFF):
            path.write_bytes(whole[:at] + bytes([value]) + whole[at + 1 :])
            try:
                read_parquet(path)
            except (pa.ArrowException, OSError):
                continue
