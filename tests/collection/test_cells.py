"""Columns of the user's: every type comes back as it was, from shards, from the lookup and after folding."""

from __future__ import annotations

import datetime as dt
import json
from decimal import Decimal
from enum import IntEnum
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

import engine
from engine.collection import cells, columntypes
from tests.conftest import Carried

UTC = dt.UTC
FINE = np.datetime64("2020-01-02T03:04:05.123456789")
WHEN = dt.datetime(2019, 1, 2, 3, 4, 5, 678901)

COLUMNS: dict[str, tuple[pa.DataType, list[Any]]] = {
    "flag": (pa.bool_(), [True, None, False]),
    "tiny": (pa.int8(), [-5, None, 7]),
    "key": (pa.int64(), [2**60 + 7, None, -1]),
    "most": (pa.uint64(), [2**64 - 1, None, 0]),
    "half": (pa.float16(), [0.5, None, 2.0]),
    "single": (pa.float32(), [0.25, None, float("inf")]),
    "price": (pa.decimal128(10, 2), [Decimal("1.25"), None, Decimal("-3.00")]),
    "huge": (pa.decimal256(60, 3), [Decimal("1234567890123456789012345678901234567890.125"), None, Decimal("0.000")]),
    "day": (pa.date32(), [dt.date(2019, 1, 2), None, dt.date(1900, 2, 3)]),
    "day64": (pa.date64(), [dt.date(2019, 1, 2), None, dt.date(1900, 2, 3)]),
    "when": (pa.timestamp("us"), [WHEN, None, WHEN]),
    "seconds": (pa.timestamp("s"), [WHEN.replace(microsecond=0), None, WHEN.replace(microsecond=0)]),
    "nanos": (pa.timestamp("ns"), [1_546_398_245_678_901_234, None, 1_546_398_245_678_901_000]),
    "instant": (
        pa.timestamp("ms", "UTC"),
        [dt.datetime(2019, 1, 2, tzinfo=UTC), None, dt.datetime(2020, 1, 2, tzinfo=UTC)],
    ),
    "clock": (pa.time32("s"), [dt.time(3, 4, 5), None, dt.time(0, 0)]),
    "clock64": (pa.time64("us"), [dt.time(3, 4, 5, 6), None, dt.time(0, 0)]),
    "took": (pa.duration("ms"), [dt.timedelta(seconds=1.5), None, dt.timedelta(days=400)]),
    "raw": (pa.binary(), [b"\xff\x00", None, b""]),
    "four": (pa.binary(4), [b"\xff\x00ab", None, b"abcd"]),
    "long": (pa.large_string(), ["é", None, ""]),
    "tags": (pa.list_(pa.string()), [["a", None, "b"], None, []]),
    "pair": (pa.list_(pa.int16(), 2), [[1, 2], None, [3, 4]]),
    "lists": (pa.large_list(pa.list_(pa.float64())), [[[1.0], []], None, [None]]),
    "where": (
        pa.struct({"lat": pa.float64(), "names": pa.list_(pa.string())}),
        [{"lat": 1.5, "names": ["x"]}, None, {"lat": None, "names": None}],
    ),
    "map": (pa.map_(pa.string(), pa.int32()), [[("k", 1), ("l", None)], None, []]),
    "nothing": (pa.null(), [None, None, None]),
}


def table_of() -> pa.Table:
    return pa.table({name: pa.array(values, kind) for name, (kind, values) in COLUMNS.items()})


def expected(name: str, row: int) -> Any:
    value = COLUMNS[name][1][row]
    if name == "nanos" and value is not None:
        return np.datetime64(value, "ns") if value % 1000 else WHEN
    return value


def collection(folder: Path) -> Path:
    vectors = np.random.default_rng(5).normal(size=(3, 8)).astype(np.float32)
    np.save(folder / "v.npy", vectors)
    table = table_of().append_column("name", pa.array(["a", "b", "c"]))
    pq.write_table(table, folder / "t.parquet")
    opened = engine.Collection.create(folder / "c.nest", encoder="precomputed", dim=8)
    opened.index([folder / "v.npy"], engine.RunOptions(table=engine.TableOptions(table=folder / "t.parquet")))
    return folder / "c.nest"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return collection(tmp_path_factory.mktemp("cells"))


@pytest.mark.parametrize("name", COLUMNS)
def test_a_value_comes_back_as_it_was(built: Path, name: str) -> None:
    with engine.Collection.open(built) as opened:
        for row in range(3):
            item = opened.snapshot.item(row)
            assert item.path == "abc"[row]
            found = item.meta[name]
            assert found == expected(name, row), name
            assert type(found) is type(expected(name, row))


@pytest.mark.parametrize("name", COLUMNS)
def test_a_column_is_stored_in_its_type(built: Path, name: str) -> None:
    with engine.Collection.open(built) as opened:
        (table,) = opened.snapshot.item_tables()
    wanted = pa.array(COLUMNS[name][1], COLUMNS[name][0])
    stored = table.column(f"meta.{name}").combine_chunks()
    assert stored.type == columntypes.stored_type(COLUMNS[name][0])
    assert stored.cast(wanted.type).equals(wanted) if stored.type != wanted.type else stored.equals(wanted)


@pytest.mark.parametrize(
    ("given", "comes_back", "in_json"),
    [
        (None, None, None),
        (True, True, True),
        (3, 3, 3),
        (2**64 - 1, 2**64 - 1, 2**64 - 1),
        (-(2**70), Decimal(-(2**70)), str(-(2**70))),
        (10**60, str(10**60), str(10**60)),
        (2.5, 2.5, 2.5),
        (float("nan"), float("nan"), None),
        (float("inf"), float("inf"), "inf"),
        ("text", "text", "text"),
        ("half \ud800", "half ?", "half ?"),
        (b"caf\xc3\xff", b"caf\xc3\xff", "Y2Fmw/8="),
        (bytearray(b"a"), b"a", "YQ=="),
        (dt.date(2020, 1, 2), dt.date(2020, 1, 2), "2020-01-02"),
        (
            dt.datetime(2020, 1, 2, 3, 4, tzinfo=dt.UTC),
            dt.datetime(2020, 1, 2, 3, 4, tzinfo=UTC),
            "2020-01-02T03:04:00+00:00",
        ),
        (dt.time(3, 4), dt.time(3, 4), "03:04:00"),
        (dt.timedelta(minutes=2), dt.timedelta(minutes=2), 120.0),
        (Decimal("1.50"), Decimal("1.50"), "1.50"),
        ([1, [2]], "[1, [2]]", "[1, [2]]"),
        ([1, 2], [1, 2], [1, 2]),
        ((1, 2), [1, 2], [1, 2]),
        (np.arange(3), [0, 1, 2], [0, 1, 2]),
        ({"a": 1, "b": {"c": [None, 2.5]}}, {"a": 1, "b": {"c": [None, 2.5]}}, {"a": 1, "b": {"c": [None, 2.5]}}),
        ({}, "{}", "{}"),
        (np.int32(3), 3, 3),
        (np.uint8(3), 3, 3),
        (np.float32(0.5), 0.5, 0.5),
        (np.bool_(True), True, True),
        (np.str_("x"), "x", "x"),
        (
            np.datetime64("2020-01-02T03:04:05.123456789"),
            np.datetime64("2020-01-02T03:04:05.123456789"),
            "2020-01-02T03:04:05.123456789",
        ),
        (np.timedelta64(1500, "ms"), dt.timedelta(seconds=1.5), 1.5),
        (Path("/a/b"), "/a/b", "/a/b"),
        (pa.scalar(7, pa.int16()), 7, 7),
        (pa.scalar(None, pa.list_(pa.int16())), None, None),
    ],
)
def test_any_value_becomes_one_that_can_be_stored_and_written_as_json(
    given: Any, comes_back: Any, in_json: Any
) -> None:
    found = cells.value_of(cells.cell(given))
    assert _shown(found) == _shown(comes_back)
    assert json.loads(json.dumps(cells.as_json(found), allow_nan=False)) == in_json
    column = cells.column_of([cells.cell(given), None])
    assert columntypes.is_stored(column.type)
    assert [_shown(one) for one in cells.values(pa.chunked_array([column]))] == [_shown(comes_back), repr(None)]


def _shown(value: Any) -> str:
    """Write a value with its type; a NaN is like another, and one zone called UTC like another."""
    return repr(value.astimezone(dt.UTC) if isinstance(value, dt.datetime) and value.tzinfo else value)


def test_types_of_values_are_kept() -> None:
    kinds = [
        cells.kind_of(cells.cell(value))
        for value in (np.int8(1), np.float32(1), 1, [np.int16(1)][0], pa.scalar(1, pa.uint32()))
    ]
    assert kinds == [pa.int8(), pa.float32(), pa.int64(), pa.int16(), pa.uint32()]


def test_what_is_nested_too_deep_is_text() -> None:
    deep: Any = 1
    for _ in range(columntypes.MOST_NESTED + 1):
        deep = [deep]
    assert cells.kind_of(cells.cell(deep)) == pa.string()
    assert columntypes.is_stored(cells.kind_of(cells.cell(deep[0][0])))


MIXED = [
    (pa.int8(), pa.int64(), pa.int64()),
    (pa.int64(), pa.uint64(), pa.decimal128(20, 0)),
    (pa.int64(), pa.float32(), pa.float64()),
    (pa.float16(), pa.int8(), pa.float32()),
    (pa.null(), pa.list_(pa.int8()), pa.list_(pa.int8())),
    (pa.timestamp("ms", "UTC"), pa.timestamp("us", "Europe/Berlin"), pa.timestamp("us", "UTC")),
    (pa.timestamp("ms", "UTC"), pa.timestamp("us"), pa.string()),
    (pa.list_(pa.int8()), pa.list_(pa.int64()), pa.list_(pa.int64())),
    (pa.list_(pa.int8()), pa.string(), pa.string()),
    (pa.struct({"a": pa.int8()}), pa.struct({"a": pa.int64()}), pa.struct({"a": pa.int64()})),
    (pa.string(), pa.binary(), pa.string()),
    (pa.string(), pa.large_string(), pa.large_string()),
    (pa.int32(), pa.uint64(), pa.decimal128(20, 0)),
    (pa.int8(), pa.uint8(), pa.int16()),
    (pa.int64(), pa.uint16(), pa.int64()),
    (pa.list_(pa.uint64()), pa.list_(pa.int64()), pa.list_(pa.decimal128(20, 0))),
    (pa.struct({"a": pa.uint64()}), pa.struct({"a": pa.int64()}), pa.struct({"a": pa.decimal128(20, 0)})),
    (pa.struct({"a": pa.int8()}), pa.struct({"a": pa.string()}), pa.string()),
    (pa.timestamp("us"), pa.timestamp("ns"), pa.string()),
    (pa.timestamp("ms"), pa.timestamp("us"), pa.timestamp("us")),
    (pa.duration("s"), pa.duration("ns"), pa.string()),
    (pa.time32("ms"), pa.time64("ns"), pa.time64("ns")),
    (pa.decimal128(20, 3), pa.int64(), pa.decimal128(23, 3)),
    (pa.decimal128(10, 2), pa.decimal128(20, 5), pa.decimal128(20, 5)),
    (pa.decimal128(10, 2), pa.float32(), pa.float64()),
    (pa.decimal128(20, 2), pa.float64(), pa.string()),
    (pa.decimal256(76, 0), pa.decimal128(38, 30), pa.string()),
    (pa.int16(), pa.float32(), pa.float32()),
    (pa.map_(pa.string(), pa.int8()), pa.map_(pa.string(), pa.int64()), pa.map_(pa.string(), pa.int64())),
    (pa.bool_(), pa.int8(), pa.string()),
    (pa.date32(), pa.timestamp("us"), pa.string()),
]


@pytest.mark.parametrize(("one", "other", "wanted"), MIXED)
def test_two_types_become_one_that_holds_both(one: pa.DataType, other: pa.DataType, wanted: pa.DataType) -> None:
    assert columntypes.common_type(one, other) == columntypes.common_type(other, one) == wanted
    for kind in (one, other):
        column = pa.chunked_array([pa.nulls(2, kind)])
        assert cells.cast(column, wanted).type == wanted


def test_what_is_empty_is_empty_in_any_type(tmp_path: Path) -> None:
    texts, nothing = pa.list_(pa.string()), pa.list_(pa.null())
    assert columntypes.common_type(texts, nothing) == columntypes.common_type(nothing, texts) == texts
    with engine.Collection.create(tmp_path / "c.nest", encoder="precomputed", dim=4) as opened:
        meta = [{"tags": ["x"], "s": {"a": "q"}}, {"tags": ["xy"]}, {"tags": []}, {"tags": [None]}, {}]
        opened.add_vectors(np.eye(5, 4) + 1, names=[*"abcde"], meta=meta)
        assert opened.matching("contains(tags, 'x')").tolist() == [0]
        opened.update("name = 'b'", {"tags": [], "s": {"a": None}})
        opened.add_vectors(np.eye(1, 4), names=["f"], meta=[{"tags": []}])
        assert opened.matching("contains(tags, 'x')").tolist() == [0]
        assert opened.matching("s.a = 'q'").tolist() == [0]
        opened.compact()
        assert opened.facets("tags", "name = 'a'") == {("x",): 1} or opened.snapshot.item(0).meta["tags"] == ["x"]


def test_structs_of_other_fields_get_those_of_both() -> None:
    both = columntypes.common_type(pa.struct({"a": pa.int8()}), pa.struct({"b": pa.string()}))
    assert both == pa.struct({"a": pa.int8(), "b": pa.string()})
    found = cells.cast(pa.chunked_array([pa.array([{"b": "x"}])]), both)
    assert found.to_pylist() == [{"a": None, "b": "x"}]


def test_files_with_other_types_in_a_column(tmp_path: Path) -> None:
    """A number, a day and a list: each file says something else, and nothing of it is lost."""
    with engine.Collection.create(tmp_path / "c.nest", encoder="precomputed", dim=4) as opened:
        for number, value in enumerate([7, dt.date(2019, 1, 2), [1, None]]):
            opened.add_vectors(np.eye(4)[[number]], names=[f"n{number}"], meta=[{"x": value}], source=f"s{number}")
        opened.build()
        assert [opened.snapshot.item(row).meta["x"] for row in range(3)] == ["7", "2019-01-02", "[1, null]"]


def test_rows_added_one_by_one_are_folded_with_their_types(tmp_path: Path) -> None:
    with engine.Collection.create(tmp_path / "c.nest", encoder="precomputed", dim=4) as opened:
        for number in range(20):
            said = {"when": WHEN, "tags": [str(number)], "price": Decimal(number), "where": {"lat": number / 2}}
            opened.add_vectors(np.random.default_rng(number).normal(size=(1, 4)), names=[str(number)], meta=[said])
        assert len(opened.snapshot.manifest.items) < 20
        for row in range(20):
            item = opened.snapshot.item(row)
            where = {"lat": int(item.path) / 2}
            wanted = {"when": WHEN, "tags": [item.path], "price": Decimal(item.path), "where": where}
            assert item.meta == wanted


@pytest.mark.parametrize(
    ("scalar", "wanted"),
    [
        (pa.scalar(0, pa.timestamp("us", "Nowhere/Land")), dt.datetime(1970, 1, 1, tzinfo=UTC)),
        (pa.scalar(2**60, pa.timestamp("ms")), np.datetime64(2**60, "ms")),
        (pa.scalar(2**60, pa.timestamp("ms", "UTC")), np.datetime64(2**60, "ms")),
        (pa.scalar(10**7, pa.int32()).cast(pa.date32()), np.datetime64(10**7, "D")),
        (pa.scalar(2**62, pa.duration("s")), np.timedelta64(2**62, "s")),
        (pa.scalar(5, pa.time64("ns")), np.timedelta64(5, "ns")),
    ],
)
def test_what_python_has_no_type_for(scalar: pa.Scalar, wanted: Any) -> None:
    found = cells.value_of(scalar)
    assert found == wanted
    assert type(found) is type(wanted)
    json.dumps(cells.as_json(found), allow_nan=False)


@pytest.mark.parametrize(
    ("kind", "wanted"),
    [
        (pa.dictionary(pa.int8(), pa.string()), pa.string()),
        (pa.list_(pa.dictionary(pa.int8(), pa.string())), pa.list_(pa.string())),
        (pa.string_view(), pa.large_string()),
        (pa.run_end_encoded(pa.int32(), pa.int64()), pa.int64()),
        (pa.uuid(), pa.binary(16)),
        (pa.month_day_nano_interval(), pa.string()),
        (pa.struct([]), pa.string()),
        (pa.struct({"a": pa.struct([])}), pa.string()),
        (pa.list_view(pa.int8()), pa.large_list(pa.int8())),
    ],
)
def test_what_parquet_has_no_type_for(kind: pa.DataType, wanted: pa.DataType) -> None:
    assert columntypes.stored_type(kind) == wanted
    assert columntypes.is_stored(wanted)


def test_encoded_columns_are_read() -> None:
    words = pa.array(["a", "b", None, "a"])
    for given in (words.dictionary_encode(), words.cast(pa.string_view()), pc.run_end_encode(words)):
        assert cells.values(pa.chunked_array([given])) == ["a", "b", None, "a"]
    lists = pa.ListArray.from_arrays(pa.array([0, 2, 4]), words.dictionary_encode())
    assert cells.values(pa.chunked_array([lists])) == [["a", "b"], [None, "a"]]
    interval = pa.array([(1, 2, 3), None], pa.month_day_nano_interval())
    assert cells.values(pa.chunked_array([interval])) == ["[1, 2, 3]", None]
    assert cells.values(pa.chunked_array([pa.array([{}, None], pa.struct([]))])) == ["{}", None]


def test_the_command_writes_them_as_json(built: Path, carried_out: Carried) -> None:
    said = json.loads(carried_out("similar", built, "b", "-k", "3", "--json", cwd=built.parent).stdout)
    rows = {one["uri"]: one["meta"] for one in said["results"]}
    assert rows["a"]["price"] == "1.25"
    assert rows["a"]["when"] == "2019-01-02T03:04:05.678901"
    assert rows["a"]["raw"] == "/wA="
    assert rows["a"]["map"] == [["k", 1], ["l", None]]
    assert rows["a"]["key"] == 2**60 + 7
    assert rows["c"]["single"] == "inf"


@pytest.mark.parametrize(
    ("first", "second", "wanted"),
    [
        (2**64 - 1, np.int32(-1), [Decimal(2**64 - 1), Decimal(-1)]),
        (dt.datetime(9999, 12, 31), FINE, ["9999-12-31T00:00:00", "2020-01-02T03:04:05.123456789"]),
        (Decimal("19.99"), 5, [Decimal("19.99"), Decimal("5.00")]),
        (Decimal("19.99"), 2.5, [19.99, 2.5]),
        (Decimal("12345678901234567.25"), 2.5, ["12345678901234567.25", "2.5"]),
        ("x", b"\xff", ["x", "/w=="]),
        (pa.scalar([2**64 - 1], pa.list_(pa.uint64())), [-1], [[Decimal(2**64 - 1)], [Decimal(-1)]]),
    ],
)
def test_no_value_becomes_another_beside_one_of_another_type(
    tmp_path: Path, first: Any, second: Any, wanted: list[Any]
) -> None:
    """In one add, in two, and when all is written anew."""
    with engine.Collection.create(tmp_path / "c.nest", encoder="precomputed", dim=4) as opened:
        opened.add_vectors(np.eye(4)[:1], names=["a"], meta=[{"x": first}])
        opened.add_vectors(np.eye(4)[1:2], names=["b"], meta=[{"x": second}])
        opened.build()
        assert [opened.snapshot.item(row).meta["x"] for row in range(2)] == wanted
        assert opened.matching("x IS NOT NULL").tolist() == [0, 1]
        opened.compact()
        assert [opened.snapshot.item(row).meta["x"] for row in range(2)] == wanted
    with engine.Collection.create(tmp_path / "d.nest", encoder="precomputed", dim=4) as opened:
        opened.add_vectors(np.eye(4)[:2], names=["a", "b"], meta=[{"x": first}, {"x": second}])
        assert [opened.snapshot.item(row).meta["x"] for row in range(2)] == wanted


class Rank(IntEnum):
    """Whole numbers with names."""

    TOP = 1


def test_what_only_looks_like_a_number_of_pythons() -> None:
    assert type(cells.cell(Rank.TOP)) is int
    assert cells.kind_of(cells.cell(np.longdouble(1.5))) == pa.float64()
