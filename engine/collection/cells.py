"""Values of the user's columns: how they are gathered, and what comes back of them."""

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

from engine.collection.columntypes import MOST_NESTED, children, common_type, is_list, stored_type

Cell: TypeAlias = bool | int | float | str | pa.Scalar | None
"""One value: plain where that says its type (int64, double, bool, string), else Arrow's scalar, which may be null."""

_KINDS = {bool: pa.bool_(), int: pa.int64(), float: pa.float64(), str: pa.string()}
_PLAIN = frozenset(_KINDS.values())


def cast(column: pa.ChunkedArray, kind: pa.DataType, *, safe: bool = False) -> pa.ChunkedArray:
    """Return a column in another type, one that holds it.

    Raises:
        ArrowInvalid: `safe`, and a whole number of more than 53 bits would become another.
    """
    if column.type == kind:
        return column
    if isinstance(column.type, pa.BaseExtensionType):
        column = pa.chunked_array([chunk.storage for chunk in column.chunks], column.type.storage_type)
    elif pa.types.is_run_end_encoded(column.type):
        column = pa.chunked_array(map(pc.run_end_decode, column.chunks), column.type.value_type)
    if kind == pa.string() and not _is_written_as_text(column.type):
        return pa.chunked_array([pa.array([as_text(one) for one in column], kind)])
    if pa.types.is_integer(column.type) and pa.types.is_floating(kind):
        return column.cast(kind, safe=safe)
    # Arrow's own way from decimals to doubles is off in the last digit.
    if not (pa.types.is_decimal(column.type) and pa.types.is_floating(kind)):
        with contextlib.suppress(pa.ArrowNotImplementedError, pa.ArrowInvalid):
            return column.cast(kind)
    values = [value_of(one) for one in column]
    if pa.types.is_floating(kind):
        values = [None if one is None else float(one) for one in values]
    return pa.chunked_array([pa.array(values, kind)])


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
    if isinstance(value, np.longdouble):
        value = float(value)
    if isinstance(value, np.generic) and value.dtype.kind in "biufU":
        kept = {pa.from_numpy_dtype(value.dtype)} - _PLAIN if value.dtype.kind != "U" else None
        value = pa.scalar(value.item(), kept.pop()) if kept else value.item()
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    if value is None or isinstance(value, bool | pa.Scalar):
        return value
    if isinstance(value, float):
        return float(value)
    if isinstance(value, int):
        value = int(value)  # and no member of an enumeration
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
