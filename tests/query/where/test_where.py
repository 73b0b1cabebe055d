"""Filters: read from SQL and JSON, refused in words, and carried out as DuckDB carries them out."""

from __future__ import annotations

import datetime as dt
import json
from decimal import Decimal
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.collection.lookup import Lookup
from engine.query.where.columns import SCANNED, Columns
from engine.query.where.evaluate import mask_of
from engine.query.where.tree import MOST_DEPTH, MOST_VALUES, OPERATORS, Call, Column, Filter, Value
from indexers.errors import InvalidFilter, NestvecError
from tests.query.where.expressions import Drawn, made


def columns_of(table: pa.Table, chunk: int = 150) -> Columns:
    ours = {"path", "mtime_ns", "size", "id"}
    named = table.rename_columns([name if name in ours else f"meta.{name}" for name in table.column_names])
    return Columns(Lookup(named.to_batches(max_chunksize=chunk)))


def rows(text: Any, table: pa.Table) -> list[int]:
    found: list[int] = mask_of(Filter.parse(text), columns_of(table)).numbers.tolist()
    return found


@pytest.mark.parametrize("seed", range(4))
def test_random_expressions_as_duckdb_answers_them(seed: int) -> None:
    """Also as JSON, there and back."""
    table, drawn = made(seed), Drawn(seed)
    columns = columns_of(table)
    with duckdb.connect() as connection:
        connection.execute("set TimeZone = 'UTC'")
        connection.register("items", table.append_column("row", pa.array(range(len(table)))))
        for _ in range(120):
            text = drawn.expression()
            answer = connection.execute(f"select row from items where {text} order by row").fetchall()
            read = Filter.parse(text)
            assert mask_of(read, columns).numbers.tolist() == [row for (row,) in answer], text
            again = Filter.parse(json.loads(json.dumps(read.to_json())))
            assert (again.root, again.digest) == (read.root, read.digest)


EXIF = {"iso": 400, "lens": {"mm": 85.0}}
TABLE = pa.table(
    {
        "path": ["2019/Italy/a.JPG", "2019/b.png", "c", "2020/d.tar.gz"],
        "mtime_ns": pa.array([0, 10**18, None, 2 * 10**18], pa.int64()),
        "id": [5, 6, 7, 8],
        "Camera": ["Pixel 7", None, "Nikon", "pixel"],
        "my col": [1, 2, None, 4],
        "size": [10, 20, 30, 40],
        "exif": [{"iso": 100, "lens": {"mm": 35.0}}, {"iso": None, "lens": None}, None, EXIF],
        "latitude": [48.137, 48.2, None, -33.9],
        "longitude": [11.575, 16.37, 3.0, 179.9],
        "raw": [b"a", b"b", None, b""],
        "naive": pa.array([0, 1, None, 2], pa.timestamp("us")),
        "half": pa.array([0.1, 0.5, None, 2.0], pa.float32()),
        "clock": pa.array([dt.time(8), dt.time(18, 30), None, dt.time(0)], pa.time64("us")),
        "took": pa.array([1500, 2000, None, 0], pa.duration("ms")),
        "name": ["x", "y", None, "z"],
        "nothing": pa.nulls(4),
        "zero": [0.0, -0.0, 1.0, None],
        "zeros": [[0.0], [1.0, -0.0], [1.0], None],
        "Size": [1, 2, 3, 4],
        "meta": [1, 2, 3, 4],
        "berlin": pa.array([1546297200, 1577836800, None, 10**9], pa.timestamp("s", "Europe/Berlin")),
        "price": pa.array([Decimal("5.00"), Decimal("6.25"), None, Decimal("1.00")]),
    }
)  # fmt: skip


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("folder = '2019'", [1]),
        ("folder LIKE '2019%'", [0, 1]),
        ("folder = ''", [2]),
        ("suffix = '.jpg'", [0]),
        ("suffix IS NULL OR suffix = ''", [2]),
        ("name = 'b.png'", [1]),
        ("meta.name = 'y'", [1]),
        ("mtime < '1990-01-01'", [0]),
        ("mtime >= '2001-09-09T01:46:40Z'", [1, 3]),
        ("mtime >= '2001-09-09T03:46:40+02:00'", [1, 3]),
        ("id IN (5, 8)", [0, 3]),
        ("camera ILIKE 'pixel%'", [0, 3]),
        ("CAMERA = 'Nikon'", [2]),
        ('"my col" > 1', [1, 3]),
        ("size BETWEEN 20 AND 30", [1, 2]),
        ("exif.iso >= 100", [0, 3]),
        ("exif.lens.mm > 40", [3]),
        ("exif.iso IS NULL", [1, 2]),
        ("within_km(48.14, 11.58, 5)", [0]),
        ("within_km(latitude, longitude, 48.14, 11.58, 500)", [0, 1]),
        ("NOT within_km(48.14, 11.58, 5)", [1, 3]),
        ("in_box(48, 11, 49, 12)", [0]),
        ("in_box(-40, 170, -30, -170)", [3]),
        ("half = 0.1", [0]),
        ("half > 0.1", [1, 3]),
        ("clock > '12:00'", [1]),
        ("clock = '08:00:00'", [0]),
        ("took >= 1.5", [0, 1]),
        ("nothing = 1", []),
        ("nothing IS NULL", [0, 1, 2, 3]),
        ("nothing IN (1) OR nothing LIKE 'a'", []),
        ("TRUE", [0, 1, 2, 3]),
        ("1 = 1 AND 2 > 1", [0, 1, 2, 3]),
        ("NULL", []),
        ("NOT (id = NULL)", []),
        ("id > 1e300", []),
        ("id < 1e300", [0, 1, 2, 3]),
        ("id >= 5.5 AND id <= 7.5", [1, 2]),
        ("id <> 5.5", [0, 1, 2, 3]),
        ("weekday(mtime) = 7", [1]),
        ("camera = 'Nikon' -- a remark", [2]),
        ("contains(camera, 'ix')", [0, 3]),
        ("zero IN (0)", [0, 1]),
        ("zero IN (-0.0)", [0, 1]),
        ("zero NOT IN (0)", [2]),
        ("contains(zeros, 0)", [0, 1]),
        ("contains_all(zeros, [1, 0])", [1]),
        ("SIZE = 20", [1]),
        ("Size = 3", [2]),
        ("meta.name = 'z'", [3]),
        ("hour(mtime) = 1", [1]),
        ("hour(berlin) = 23", [0]),
        ("berlin < '2019-01-01'", [0, 3]),
        ("id = price", [0]),
        ("half < price", [0, 1]),
        ("id > half", [0, 1, 3]),
        ("mtime < berlin", [0, 1]),
        ("nothing = nothing", []),
        ("nothing IS NOT DISTINCT FROM nothing", [0, 1, 2, 3]),
    ],
)
def test_what_is_let_through(text: str, wanted: list[int]) -> None:
    assert rows(text, TABLE) == wanted


@pytest.mark.parametrize(
    ("text", "says", "under"),
    [
        ("", "expected an expression", None),
        ("stars ==", "expected an expression", "=="),
        ("id = 1; DROP TABLE x", "expected an expression", "DROP"),
        ("id = 'x", "quote", None),
        ("id > (SELECT 1)", "subquery", None),
        ("id IN (SELECT 1)", "in is not for filters", None),
        ("read_csv('/etc/passwd') = 1", "is not for filters", None),
        ("camera SIMILAR TO 'a'", "is not for filters", "camera SIMILAR TO 'a'"),
        ("camera ~ 'a+'", "is not for filters", None),
        ("id::text = '1'", "a column is not converted", "id"),
        ("count(id) > 1", "is not for filters", None),
        ("CASE WHEN id = 1 THEN true END", "is not for filters", None),
        ("id = ?", "is not for filters", None),
        ("camra = 'x'", "no column 'camra'.*did you mean 'Camera'", "camra"),
        ('camera = "Nikon"', "no column 'Nikon'.*single quotes: .Nikon.", '"Nikon"'),
        ("id = 'five'", "id is a number.*without quotes", "id"),
        ("camera = 5", "Camera|camera is text.*single quotes", "camera"),
        ("mtime > 2019", "point in time.*'2019-01-31'", "mtime"),
        ("mtime > 'yesterday'", "point in time", "mtime"),
        ("mtime > '2019-02-30'", "point in time", "mtime"),
        ("clock = '25:61'", "time of day", "clock"),
        ("id", "is a number, and no condition", "id"),
        ("'x'", "expected a condition", None),
        ("id LIKE '5%'", "LIKE is for text", "id"),
        ("camera LIKE id", "pattern in single quotes", None),
        ("camera LIKE 'a!' ESCAPE '!'", "ends with its ESCAPE", None),
        ("exif.isoo = 1", "no field 'isoo': iso, lens", None),
        ("exif = 1", "is not compared|name of a field", "exif"),
        ("raw = 'a'", "is not", "raw"),
        ("camera = id", "camera is text, and id is a number", None),
        ("mtime < naive", "is a point in time", None),
        ("id BETWEEN 1 AND 2 BETWEEN false AND true", "column, and not of a condition", None),
        ("contains_any(camera, ['x'])", "no list", "camera"),
        ("contains(id, 5)", "no list", "id"),
        ("year(camera) = 2019", "has no year", "camera"),
        ("lower(id) = 'x'", "has no lower", "id"),
        ("within_km(1, 2)", "expected", None),
        ("within_km(camera, longitude, 1, 2, 3)", "columns of numbers", None),
        ("'a' = 1", "cannot be compared", None),
        ("id = 1e99999999999", "digits", None),
    ],
)
def test_what_is_refused_says_where_and_what_was_expected(text: str, says: str, under: str | None) -> None:
    with pytest.raises(InvalidFilter, match=says) as found:
        rows(text, TABLE)
    if under is not None:
        _, line, marks = str(found.value).splitlines()
        assert line[marks.index("^") : marks.rindex("^") + 1] == under


@pytest.mark.parametrize(
    "text",
    [
        "(" * 5000 + "id = 1" + ")" * 5000,
        "NOT " * 3000 + "id = 1",
        "- " * 3000 + "1 = id",
        " AND ".join(["id = 1"] * 12_000),
        "id IN (" + ",".join(map(str, range(40_000))) + ")",
        "id = " + "9" * 5000,
        "camera = '" + "x" * 70_000 + "'",
        "[" * 99 + "]" * 99,
        "a." * 3000 + "b = 1",
        "id = 1" + " OR (id = 1" * 3000 + ")" * 3000,
        "id BETWEEN 1 AND 2" + " BETWEEN false AND true" * 60,
    ],
)
def test_what_nobody_writes_is_refused(text: str) -> None:
    with pytest.raises(InvalidFilter):
        rows(text, TABLE)


def test_a_long_chain_and_a_long_list_are_fine() -> None:
    assert rows(" OR ".join(f"id = {number}" for number in range(2000)), TABLE) == [0, 1, 2, 3]
    assert rows({"in": [{"column": "id"}, [*range(MOST_VALUES)]]}, TABLE) == [0, 1, 2, 3]
    with pytest.raises(InvalidFilter, match="at most"):
        rows({"in": [{"column": "id"}, [*range(MOST_VALUES + 1)]]}, TABLE)


def deep(levels: int) -> Any:
    tree: Any = {"=": [{"column": "id"}, 5]}
    for _ in range(levels):
        tree = {"not": tree}
    return tree


@pytest.mark.parametrize(
    "tree",
    [
        {},
        {"=": []},
        {"=": [1, 2, 3]},
        {"eval": ["x"]},
        {"=": [{"column": 5}, 1]},
        {"=": [{"column": []}, 1]},
        {"=": [{"column": "id", "more": 1}, 1]},
        {"=": [{"column": "id"}, {"decimal": "x"}]},
        {"=": [{"column": "id"}, float("nan")]},
        {"in": [{"column": "id"}, 5]},
        {"in": [{"column": "id"}, [[5]]]},
        {"and": [True]},
        {"like": [{"column": "camera"}, 5]},
        {"like": [{"column": "camera"}, "a%", "!!"]},
        {"like": [{"column": "camera"}, "a%", 5]},
        {"like": [{"column": "camera"}, "a%", {"column": "camera"}]},
        [{"=": [1, 1]}],
        5,
        b"id = 1",
        deep(MOST_DEPTH + 1),
        deep(5000),
    ],
)
def test_trees_that_are_none(tree: Any) -> None:
    with pytest.raises(InvalidFilter):
        rows(tree, TABLE)


def test_a_decimal_keeps_its_digits_in_json() -> None:
    text = "price = 0.1000000000000000000000000001"
    tree = Filter.parse(text).to_json()
    assert tree == {"=": [{"column": "price"}, {"decimal": "0.1000000000000000000000000001"}]}
    assert Filter.parse(tree).root == Filter.parse(text).root
    prices = pa.table({"price": pa.array([Decimal("0.1"), Decimal("0.1000000000000000000000000001")])})
    assert rows(text, prices) == [1]


def test_the_same_tree_has_the_same_digest() -> None:
    written = ["id = 5 AND size > 2", "((id=5)) and (size>2)", "id = 5 AND size > 2 -- x"]
    assert len({Filter.parse(text).digest for text in written}) == 1
    assert Filter.parse("id = 6").digest != Filter.parse("id = 5").digest


def test_batches_of_several_types_and_without_a_column() -> None:
    """A column that is a number in one shard, text in another and missing in a third is text."""
    parts = [pa.table({"meta.x": [7, 8]}), pa.table({"meta.x": ["7", None]}), pa.table({"meta.y": [1]})]
    columns = Columns(Lookup([part.to_batches()[0] for part in parts]))
    assert mask_of(Filter.parse("x = '7'"), columns).numbers.tolist() == [0, 2]
    assert mask_of(Filter.parse("x IS NULL"), columns).numbers.tolist() == [3, 4]


def test_one_list_beside_columns_of_two_types() -> None:
    some = Value((Decimal("0.1"), 1))
    asked = [Call("in", (Column((name,)), some)) for name in ("half", "price")]
    assert mask_of(Filter(Call("or", tuple(asked))), columns_of(TABLE)).numbers.tolist() == [0, 3]
    with pytest.raises(InvalidFilter, match="Camera is text"):
        mask_of(Filter(Call("or", (asked[0], Call("in", (Column(("Camera",)), some))))), columns_of(TABLE))


def test_no_rows() -> None:
    assert mask_of(Filter.parse("id = 1"), Columns(Lookup([]))).rows == 0


SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(TABLE.column_names)
)
COLUMNS = st.sampled_from([*TABLE.column_names, "exif.iso", "nowhere"]).map(lambda name: {"column": name.split(".")})


def calls(inner: Any) -> Any:
    return st.sampled_from([*OPERATORS, "other"]).flatmap(
        lambda name: st.lists(inner, max_size=4).map(lambda args: {name: args})
    )


TREES = st.recursive(SCALARS | COLUMNS | st.lists(SCALARS, max_size=3), calls, max_leaves=12)


@settings(max_examples=300, deadline=None)
@given(TREES)
def test_any_json_is_carried_out_or_refused_in_words(tree: Any) -> None:
    try:
        found = mask_of(Filter.parse(tree), columns_of(TABLE))
    except NestvecError as error:
        assert str(error)
    else:
        assert found.rows == 4


WORDS = st.sampled_from(
    "id camera mtime exif.iso my tags = < >= <> LIKE ILIKE IN NOT AND OR IS NULL BETWEEN ( ) , ' '%' 'a' 1 2.5 -1 [ ] "
    "contains year lower TRUE ANY DATE '2019-01-01' :: ; -- /* */ SELECT . * + ESCAPE DISTINCT FROM".split()
)


@settings(max_examples=300, deadline=None)
@given(st.lists(WORDS, max_size=14).map(" ".join) | st.text(max_size=40))
def test_any_text_is_carried_out_or_refused_in_words(text: str) -> None:
    try:
        found = mask_of(Filter.parse(text), columns_of(TABLE))
    except NestvecError as error:
        assert str(error)
    else:
        assert found.rows == 4
        assert np.array_equal(
            found.allowed, mask_of(Filter.parse(Filter.parse(text).to_json()), columns_of(TABLE)).allowed
        )


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.int16(), pa.float64()])
def test_a_column_of_lists_that_is_asked_again_and_again_is_turned_about(kind: pa.DataType) -> None:
    """The answers stay what Python says they are: with lists that are null or empty, values that are, and twice."""
    rng = np.random.default_rng(7)
    lists: list[list[int | None] | None] = [
        None if n % 11 == 0 else [None if one > 40 else int(one) for one in rng.zipf(1.5, n % 7)] for n in range(500)
    ]
    said = pa.array(lists, pa.list_(pa.int16())).cast(pa.list_(kind))
    columns = columns_of(pa.table({"id": range(500), "tags": said}))
    quoted = "'{}'" if pa.types.is_string(kind) or pa.types.is_large_string(kind) else "{}"
    there = [(n, {*has}) for n, has in enumerate(lists) if has is not None]
    for _ in range(2 * SCANNED):
        pair = {int(value) for value in rng.integers(1, 12, 2)}
        one, several = min(pair), f"[{', '.join(map(quoted.format, pair))}]"
        assert _found(f"contains(tags, {quoted.format(one)})", columns) == [n for n, has in there if one in has]
        assert _found(f"NOT contains_any(tags, {several})", columns) == [n for n, has in there if not pair & has]
        assert _found(f"contains_all(tags, {several})", columns) == [n for n, has in there if pair <= has]
        asked = (
            f"contains(tags, {quoted.format(one)}) AND contains_any(tags, {several}) AND contains_all(tags, {several})"
        )
        assert _found(asked, columns) == [n for n, has in there if one in has and pair <= has]
        assert _found(f"contains_any(tags, []) AND {asked}", columns) == []
        assert _found(f"{asked} AND id < 100", columns) == [n for n, has in there if pair <= has and n < 100]
    turned = columns.turned(Column(("tags",)))
    assert (turned is None) is pa.types.is_floating(kind)
    assert turned is None or turned.nbytes < 4 * sum(len(has) for has in lists if has) + 2000


def _found(text: str, columns: Columns) -> list[int]:
    found: list[int] = mask_of(Filter.parse(text), columns).numbers.tolist()
    return found
