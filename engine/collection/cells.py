"""Values of the user's columns: of which types they are stored, how two types become one, and what comes back.

A column keeps the Arrow type that it had in its table. Only what Parquet cannot hold changes: an encoding (dictionary,
view, run-end) gives way to what it encodes, an extension type to its storage, seconds and `date64` to the next type
that Parquet has, and what is left (intervals, unions, structs of nothing) to JSON text. Where shards or files have a
column in several types, it gets the one that holds them all (`common_type`).
"""

from __future__ import annotations

import base64
import contextlib
import functools
import json
import math
from collections.abc import Iterable, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

Cell: TypeAlias = bool | int | float | str | pa.Scalar | None
"""One value: plain where that says its type (int64, double, bool, string), else Arrow's scalar, which may be null."""

MOST_NESTED = 32
"""Levels of lists and structs that are kept as such."""

_KINDS = {bool: pa.bool_(), int: pa.int64(), float: pa.float64(), str: pa.string()}
_PLAIN = frozenset(_KINDS.values())
_IN_WORDS = (pa.types.is_interval, pa.types.is_union)
_LISTS = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
_ATOMS = (
    *(pa.types.is_null, pa.types.is_boolean, pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal),
    *(pa.types.is_temporal, pa.types.is_string, pa.types.is_large_string, pa.types.is_binary, pa.types.is_large_binary),
    pa.types.is_fixed_size_binary,
)


def is_list(kind: pa.DataType) -> bool:
    """Whether a type is a list of some kind that nestvec writes."""
    return any(check(kind) for check in _LISTS)


def children(kind: pa.DataType) -> list[pa.DataType]:
    """Return the types that a list, a map or a struct is made of; none for any other."""
    if is_list(kind):
        return [kind.value_type]
    if pa.types.is_map(kind):
        return [kind.key_type, kind.item_type]
    return [field.type for field in kind] if pa.types.is_struct(kind) else []


def is_stored(kind: pa.DataType, *, deep: int = MOST_NESTED) -> bool:
    """Whether a type is one that nestvec writes."""
    if any(check(kind) for check in _IN_WORDS) or deep < 1:
        return False
    inner = children(kind)
    return all(is_stored(one, deep=deep - 1) for one in inner) if inner else any(check(kind) for check in _ATOMS)


def width(kind: pa.DataType) -> int:
    """Return how many bytes a value takes, and of what has no fixed length, its place."""
    if pa.types.is_fixed_size_list(kind):
        return int(kind.list_size) * width(kind.value_type)
    if pa.types.is_struct(kind):
        return sum(map(width, children(kind)))
    if pa.types.is_decimal(kind) or pa.types.is_fixed_size_binary(kind):
        return max(8, int(kind.byte_width))
    return 8


def _encoded(kind: pa.DataType) -> pa.DataType | None:
    """Return the type that an encoding, or an extension type, stands for; None where it is neither."""
    if isinstance(kind, pa.BaseExtensionType):
        return kind.storage_type
    if pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
        return kind.value_type
    if pa.types.is_string_view(kind):
        return pa.large_string()
    if pa.types.is_binary_view(kind):
        return pa.large_binary()
    if pa.types.is_list_view(kind) or pa.types.is_large_list_view(kind):
        return pa.large_list(kind.value_type)
    return None


_NEXT = {pa.date64(): pa.date32(), pa.time32("s"): pa.time32("ms")}


@functools.lru_cache(maxsize=4096)
def stored_type(kind: pa.DataType) -> pa.DataType:
    """Return the type in which a column of some type is stored: the same, where Parquet has it."""
    return _stored(kind, MOST_NESTED) or pa.string()


def _stored(kind: pa.DataType, deep: int) -> pa.DataType | None:
    """Return the type to store, None for text."""
    if deep < 1 or any(check(kind) for check in _IN_WORDS) or kind == pa.binary(0):
        return None
    if (meant := _encoded(kind)) is not None:
        return _stored(meant, deep)
    if pa.types.is_timestamp(kind) and kind.unit == "s":
        return pa.timestamp("ms", kind.tz)
    if not (pa.types.is_nested(kind) or pa.types.is_map(kind)):
        return _NEXT.get(kind, kind)
    inner = [_stored(one, deep - 1) for one in children(kind)]
    return None if not inner or None in inner else _nested(kind, inner)


def _nested(kind: pa.DataType, inner: Sequence[pa.DataType]) -> pa.DataType | None:
    """Return a nested type with others inside."""
    if pa.types.is_map(kind):
        return pa.map_(inner[0], inner[1])
    if pa.types.is_struct(kind):
        names = [field.name for field in kind]
        return pa.struct(list(zip(names, inner, strict=True))) if len({*names}) == len(names) else None
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(inner[0], kind.list_size) if kind.list_size else None
    return pa.large_list(inner[0]) if pa.types.is_large_list(kind) else pa.list_(inner[0])


def common_type(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    """Return the type that holds what two hold.

    Numbers become the wider of the two, whole numbers beside others `double`, lists, maps and structs what holds their
    values, instants in two zones instants in UTC; all other mixtures text.
    """
    if one == other:
        return one
    if pa.types.is_timestamp(one) and pa.types.is_timestamp(other) and one.tz and other.tz:
        units = ("ms", "us", "ns")
        return pa.timestamp(units[max(units.index(one.unit), units.index(other.unit))], "UTC")
    if {one, other} == {pa.int64(), pa.uint64()}:
        return pa.decimal128(20, 0)
    if pa.types.is_float16(one) or pa.types.is_float16(other):
        one, other = (pa.float32() if pa.types.is_float16(kind) else kind for kind in (one, other))
    try:
        schemas = [pa.schema([("x", kind)]) for kind in (one, other)]
        return stored_type(pa.unify_schemas(schemas, promote_options="permissive").field(0).type)
    except pa.ArrowException:
        return pa.string()


def cast(column: pa.ChunkedArray, kind: pa.DataType, *, safe: bool = False) -> pa.ChunkedArray:
    """Return a column in another type, one that holds it.

    Raises:
        ArrowInvalid: `safe`, and a number would become another.
    """
    if column.type == kind:
        return column
    if isinstance(column.type, pa.BaseExtensionType):
        column = pa.chunked_array([chunk.storage for chunk in column.chunks], column.type.storage_type)
    elif pa.types.is_run_end_encoded(column.type):
        column = pa.chunked_array(map(pc.run_end_decode, column.chunks), column.type.value_type)
    if kind == pa.string() and not _is_written_as_text(column.type):
        return pa.chunked_array([pa.array([as_text(one) for one in column], kind)])
    with contextlib.suppress(pa.ArrowNotImplementedError):
        return column.cast(kind, safe=safe)
    return pa.chunked_array([pa.array([None if one is None else value_of(one) for one in column], kind)])


def _is_written_as_text(kind: pa.DataType) -> bool:
    """Whether Arrow writes a type as text in the way people do."""
    checks = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view, pa.types.is_dictionary)
    return any(check(kind) for check in (*checks, pa.types.is_integer, pa.types.is_null))


def as_text(cell: Cell) -> str | None:
    """Return a value as the text that it becomes in a column of mixed types: as it is in JSON, texts without quotes."""
    value = as_json(value_of(cell))
    return value if value is None or isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def cells(column: pa.ChunkedArray) -> list[Cell]:
    """Return the values of a table's column, in the types in which they are stored."""
    column = cast(column, stored_type(column.type))
    null = pa.scalar(None, column.type)
    if column.type in _PLAIN:
        return [null if one is None else one for one in column.to_pylist()]
    return [one if one.is_valid else null for one in column]


def cell(value: Any) -> Cell:
    """Return a value of Python's as one of a column; what Arrow has no type for becomes text.

    `Decimal`, `bytes`, `datetime` and its relatives, `numpy.datetime64`, and lists and dictionaries of such keep their
    types; a `Path`, a `UUID` or any other object is what `str` says of it.
    """
    if isinstance(value, pa.Scalar):
        return _of_column(value) if value.is_valid else pa.scalar(None, stored_type(value.type))
    if isinstance(value, np.generic) and value.dtype.kind in "biufU":
        kept = {pa.from_numpy_dtype(value.dtype)} - _PLAIN if value.dtype.kind != "U" else None
        value = pa.scalar(value.item(), kept.pop()) if kept else value.item()
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    if value is None or isinstance(value, bool | float | pa.Scalar):
        return value
    if isinstance(value, int):
        return value if -(1 << 63) <= value < 1 << 63 else _whole(value)
    return _scalar(value)


def _of_column(scalar: pa.Scalar) -> Cell:
    """Return a value as it is in a column of its type."""
    return cells(pa.chunked_array([pa.repeat(scalar, 1)]))[0]


def _whole(value: int) -> Cell:
    """Return a whole number of more than 64 bits."""
    with contextlib.suppress(pa.ArrowException, OverflowError):
        return pa.scalar(value, pa.uint64() if value > 0 else pa.decimal128(38, 0))
    return str(value)


def _scalar(value: Any) -> Cell:
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, list | tuple | dict) and _depth(value) > MOST_NESTED:
        return str(value)
    kinds = (Decimal, bytes, bytearray, date, time, timedelta, np.datetime64, np.timedelta64, list, tuple, dict)
    if isinstance(value, kinds):
        with contextlib.suppress(pa.ArrowException, OverflowError, ValueError, TypeError):
            return _of_column(pa.scalar(bytes(value) if isinstance(value, bytearray) else value))
    if isinstance(value, list | tuple | dict):
        with contextlib.suppress(TypeError, ValueError):
            return json.dumps(value, default=str, ensure_ascii=False).encode("utf-8", "replace").decode("utf-8")
    return str(value).encode("utf-8", "replace").decode("utf-8")


def _depth(value: Any) -> int:
    """Return how deep lists and dictionaries are nested; it stops counting where that is too deep."""
    levels, inside = 0, [value]
    while inside and levels <= MOST_NESTED:
        levels += 1
        found = [one for one in inside if isinstance(one, list | tuple | dict)]
        inside = [part for one in found for part in (one.values() if isinstance(one, dict) else one)]
    return levels


def kind_of(cell: Cell) -> pa.DataType | None:
    """Return the type of a value; None where it says none."""
    if cell is None:
        return None
    if isinstance(cell, pa.Scalar):
        return cell.type
    return _KINDS[type(cell)]


def column_of(values: Sequence[Cell]) -> pa.Array:
    """Return values as a column, of the type that holds all of them; beside other types, a NaN says nothing."""
    kinds = _kinds_in(values)
    if len(kinds) > 1:
        values = [None if isinstance(value, float) and math.isnan(value) else value for value in values]
        kinds = _kinds_in(values)
    kind = functools.reduce(common_type, kinds) if kinds else pa.null()
    if len(kinds) > 1:
        values = [value if kind_of(value) == kind else _as(value, kind) for value in values]
    if not children(kind):
        return pa.array([None if is_nothing(one) else one for one in values], kind)
    # Arrow takes a scalar with others in it for a value of Python's, and stumbles over what is null there.
    return pa.concat_arrays([pa.nulls(1, kind) if is_nothing(one) else pa.repeat(one, 1) for one in values])


def _kinds_in(values: Iterable[Cell]) -> list[pa.DataType]:
    return list(dict.fromkeys(kind for value in values if (kind := kind_of(value)) is not None))


def _as(value: Cell, kind: pa.DataType) -> Cell:
    """Return a value as another type has it."""
    own = kind_of(value)
    if own is None:
        return None
    column = pa.chunked_array([column_of([value])])
    return cast(column, kind)[0]


def is_nothing(cell: Cell) -> bool:
    """Whether a value says nothing."""
    return not cell.is_valid if isinstance(cell, pa.Scalar) else cell is None


def values(column: pa.ChunkedArray) -> list[Any]:
    """Return the values of a column as Python has them."""
    return [value_of(one) for one in cells(column)]


def value_of(cell: Cell) -> Any:
    """Return a value as Python has it.

    What Python's own types cannot hold, instants and durations finer than microseconds or beyond the year 9999, is
    `numpy.datetime64` (in UTC, where it has a zone) or `numpy.timedelta64` (since midnight, of a time of day).
    """
    if not isinstance(cell, pa.Scalar):
        return cell
    kind = cell.type
    if is_nothing(cell):
        return None
    if pa.types.is_map(kind):
        return [(value_of(pair[0]), value_of(pair[1])) for pair in _pairs(cell)]
    if is_list(kind):
        return [value_of(one) for one in cell.values]
    if pa.types.is_struct(kind):
        return {name: value_of(one) for name, one in cell.items()}
    return _moment(cell) if pa.types.is_temporal(kind) else cell.as_py()


def _pairs(cell: pa.Scalar) -> Iterable[tuple[pa.Scalar, pa.Scalar]]:
    pairs = cell.values
    return zip(pairs.field(0), pairs.field(1), strict=True)


def _moment(cell: pa.Scalar) -> Any:
    """Return a date, a time or a duration as Python's own type, else as NumPy's."""
    kind, unit = cell.type, _unit(cell.type)
    fine = unit == "ns" and cell.value % 1000
    if not fine:
        with contextlib.suppress(ValueError, OverflowError, KeyError, LookupError):
            return (cell.cast(_coarse(kind)) if unit == "ns" else cell).as_py()
    if pa.types.is_duration(kind):
        return np.timedelta64(cell.value, unit)
    if pa.types.is_time(kind):
        return np.timedelta64(cell.value, unit)
    if pa.types.is_timestamp(kind) and kind.tz and not fine:
        with contextlib.suppress(ValueError, OverflowError):
            return cell.cast(pa.timestamp(unit, "UTC")).as_py()  # a zone that this machine does not know
    return np.datetime64(cell.value, unit)


def _unit(kind: pa.DataType) -> Any:
    """Return what a temporal type counts; of a date, days."""
    return getattr(kind, "unit", "D")


def _coarse(kind: pa.DataType) -> pa.DataType:
    """Return the type that counts microseconds instead of nanoseconds."""
    if pa.types.is_timestamp(kind):
        return pa.timestamp("us", kind.tz)
    return pa.duration("us") if pa.types.is_duration(kind) else pa.time64("us")


def as_json(value: Any) -> Any:
    """Return a value of Python's as JSON can have it.

    Dates and times are ISO 8601, durations seconds, decimals and infinities text, bytes base64, numbers that are none
    and what is absent null, maps lists of pairs.
    """
    if isinstance(value, dict):
        return {str(name): as_json(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(one) for one in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None if math.isnan(value) else str(value)
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, np.timedelta64):
        return float(value / np.timedelta64(1, "s"))
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    return value if value is None or isinstance(value, bool | int | str) else str(value)
