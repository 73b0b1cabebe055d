"""The lookup gives any row of any shard, as the Parquet shards hold it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from engine.collection import lookup
from engine.collection.lookup import Lookup, conform, union_schema, write_lookup
from engine.collection.shards import ITEM_SCHEMA
from engine.ingest.entries import Entry
from engine.ingest.writer import Pending, Row
from indexers.errors import CorruptCollection
from tests.helpers import flip_bit


def shard(first: int, metas: Sequence[dict[str, Any]]) -> pa.Table:
    pending = Pending(np.dtype("float32"))
    for row, meta in enumerate(metas):
        entry = Entry("s", f"{first + row}.jpg", size=first + row, caption=f"number {first + row}", meta=meta)
        pending.add(Row(entry, first + row, "b3:" + "0" * 32, 1, 2, np.zeros(1, np.float32)))
    return pending.items.table()


SHARDS = [shard(0, [{}] * 30), shard(30, [{"rating": n} for n in range(50)]), shard(80, [{"place": "x"}] * 7)]


def written(folder: Path, tables: Sequence[pa.Table], *, tail: Sequence[pa.Table] = ()) -> Lookup:
    ref = write_lookup(folder, tables, union_schema(table.schema for table in tables))
    assert ref.rows == sum(table.num_rows for table in tables)
    return Lookup.open(folder / ref.path, ref.rows, tail)


@pytest.mark.parametrize("covered", [0, 1, 3])
@pytest.mark.parametrize("batch", [8, 30, 1000])
def test_every_row_is_as_in_its_shard(
    tmp_path: Path, covered: int, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookup, "BATCH_ROWS", batch)
    if covered:
        found = written(tmp_path, SHARDS[:covered], tail=SHARDS[covered:])
    else:
        found = Lookup.open(None, 0, SHARDS)
    wanted = [row for table in SHARDS for row in table.to_pylist()]
    assert len(found) == len(wanted) == 87
    for position in np.random.default_rng(0).permutation(87).tolist():
        row = {name: value for name, value in found.row(position).items() if value is not None}
        told = {name: value for name, value in wanted[position].items() if name not in lookup.COMPARED}
        assert row == {name: value for name, value in told.items() if value is not None}
    for name in ("key", "size", "mtime_ns", "meta_key"):
        np.testing.assert_array_equal(found.column(name), [row[name] for row in wanted])
    np.testing.assert_array_equal(found.column("id"), np.arange(87))


def test_nothing_has_no_rows(tmp_path: Path) -> None:
    found = Lookup.open(None, 0, [])
    assert len(found) == 0
    assert found.column("id").dtype == np.int64


@pytest.mark.parametrize(
    ("first", "second", "kind", "values"),
    [
        (1, 2, pa.int64(), [1, 2]),
        (1, 2.5, pa.float64(), [1.0, 2.5]),
        (2**60 + 1, 2.5, pa.float64(), [float(2**60), 2.5]),
        (1, "two", pa.string(), ["1", "two"]),
        (True, "yes", pa.string(), ["true", "yes"]),
        (True, 2, pa.string(), ["true", "2"]),
        ("one", None, pa.string(), ["one", None]),
        (None, 2, pa.int64(), [None, 2]),
    ],
)
def test_a_column_may_change_its_type(tmp_path: Path, first: Any, second: Any, kind: Any, values: list[Any]) -> None:
    tables = [
        shard(0, [{"x": first} if first is not None else {}]),
        shard(1, [{"x": second} if second is not None else {}]),
    ]
    schema = union_schema(table.schema for table in tables)
    assert schema.field("meta.x").type == kind
    assert schema.field("meta.x").nullable
    found = written(tmp_path, tables)
    assert [found.row(position)["meta.x"] for position in (0, 1)] == values


def test_conforming_adds_nulls_and_keeps_our_columns_first() -> None:
    schema = union_schema([SHARDS[2].schema, SHARDS[1].schema])
    assert schema.names == [*ITEM_SCHEMA.names, "meta.place", "meta.rating"]
    table = conform(SHARDS[1], schema)
    assert table.schema == schema
    assert table.column("meta.place").null_count == 50


def test_another_number_of_rows_is_refused(tmp_path: Path) -> None:
    ref = write_lookup(tmp_path, SHARDS[:1], SHARDS[0].schema)
    with pytest.raises(CorruptCollection, match="expected 31 rows"):
        Lookup.open(tmp_path / ref.path, 31, [])


def test_a_file_with_other_columns_is_refused(tmp_path: Path) -> None:
    table = SHARDS[0].drop_columns(["path"])
    with pa.OSFile(str(tmp_path / "x.arrow"), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    with pytest.raises(CorruptCollection, match="column 'path' is missing"):
        Lookup.open(tmp_path / "x.arrow", 30, [])


@pytest.mark.parametrize("content", [b"", b"ARROW1\0\0", b"\0" * 100])
def test_what_is_no_arrow_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.arrow").write_bytes(content)
    with pytest.raises(CorruptCollection, match="cannot be read"):
        Lookup.open(tmp_path / "x.arrow", 30, [])


def test_text_that_is_none_is_refused(tmp_path: Path) -> None:
    ref = write_lookup(tmp_path, SHARDS[:1], SHARDS[0].schema)
    path = tmp_path / ref.path
    flip_bit(path, path.read_bytes().index(b"number 0"), bit=7)
    with pytest.raises(CorruptCollection, match="row 0"):
        Lookup.open(path, 30, []).row(0)
