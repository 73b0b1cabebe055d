"""A value beside a column: what it is in the column's own type, so that no column is ever converted.

A value may lie between two that the column can have: 3.5 beside whole numbers, noon beside dates. It is then placed: at
the next lower value the column can have, and not upon it. Comparisons go by that, and are right where a conversion of
either side would round.
"""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Iterable
from decimal import Decimal
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from engine.collection import columntypes
from engine.query.where.tree import Scalar
from indexers import checks
from indexers.errors import InvalidFilter


class Placed(NamedTuple):
    """Where a value lies among those that a column can have.

    Attributes:
        floor: the largest of them that is not above it; None below all of them.
        exact: whether it is that one.
        above: whether it is above all of them.
    """

    floor: pa.Scalar | None
    exact: bool = True
    above: bool = False


BELOW, ABOVE = Placed(None, False), Placed(None, False, True)

_MOMENT = re.compile(
    r"\s*(?P<date>\d{4}(?:-\d{1,2}(?:-\d{1,2})?)?)"
    r"(?:[T ]\s*(?P<time>\d{1,2}:\d{2}(?::\d{2}(?:[.,]\d{1,9})?)?)\s*(?P<zone>Z|UTC|[+-]\d{2}(?::?\d{2})?)?)?\s*",
    re.IGNORECASE,
)
_CLOCK = re.compile(r"\s*(\d{1,2}):(\d{2})(?::(\d{2})(?:[.,](\d{1,9}))?)?\s*")
_UNITS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
DAY = 86_400 * 10**9


def place(value: Scalar, kind: pa.DataType, named: str) -> Placed:
    """Return where a value lies among those of a column's type.

    Args:
        value: not null.
        kind: the column's type.
        named: the column, for messages.

    Raises:
        InvalidFilter: they have nothing to do with each other.
    """
    for check, read in _READ:
        if check(kind):
            found = read(value, kind)
            if found is not None:
                return found
            break
    raise InvalidFilter(f"{named} is {shown_type(kind)}, and {checks.brief(value)} is not: {_example(kind)}")


def value_set(placed: Iterable[Placed], kind: pa.DataType) -> pa.Array:
    """Return those of some values that a column of a type can have, in that type, to be looked for in it."""
    exact = [one.floor for one in placed if one.exact and one.floor is not None]
    if pa.types.is_floating(kind) and any(one.as_py() == 0 for one in exact):
        exact += [pa.scalar(0.0, kind), pa.scalar(-0.0, kind)]  # they are equal, and differ in a bit
    return pa.array(exact, kind)


def shown_type(kind: pa.DataType) -> str:
    """Return what a type is called in messages."""
    for check, name, _ in _CALLED:
        if check(kind):
            return name
    return str(kind)


def _example(kind: pa.DataType) -> str:
    return next((f"write {example}" for check, _, example in _CALLED if check(kind)), "it is not compared with values")


_CALLED = (
    (pa.types.is_boolean, "true or false", "true, false, or the column alone"),
    (columntypes.is_number, "a number", "a number, without quotes"),
    (columntypes.is_text, "text", "a text in single quotes"),
    (pa.types.is_timestamp, "a point in time", "'2019-01-31' or '2019-01-31 18:30:00'"),
    (pa.types.is_date, "a date", "'2019-01-31'"),
    (pa.types.is_time, "a time of day", "'18:30'"),
    (pa.types.is_duration, "a duration", "seconds, without quotes"),
    (pa.types.is_nested, "a list or a struct", "contains(column, value), or the name of a field"),
)


def is_number(value: Scalar) -> bool:
    """Whether a value is a number; true and false are none."""
    return isinstance(value, int | Decimal) and not isinstance(value, bool)


def _boolean(value: Scalar, kind: pa.DataType) -> Placed | None:
    return Placed(pa.scalar(value, kind)) if isinstance(value, bool) else None


def _text(value: Scalar, kind: pa.DataType) -> Placed | None:
    if not isinstance(value, str):
        return None
    return Placed(pa.scalar(value.encode("utf-8", "replace").decode(), kind))


def _integer(value: Any, kind: pa.DataType) -> Placed | None:
    return _on_grid(Decimal(value), kind) if is_number(value) else None


def _on_grid(value: Decimal, kind: pa.DataType) -> Placed:
    """Place a number among whole ones of some type."""
    low, high = _range(kind)
    if value < low or value > high:
        return BELOW if value < low else ABOVE
    floor = math.floor(value)
    return Placed(pa.scalar(floor, pa.int64() if kind != pa.uint64() else kind).cast(kind), floor == value)


def _range(kind: pa.DataType) -> tuple[int, int]:
    info = np.iinfo(kind.to_pandas_dtype())
    return int(info.min), int(info.max)


def _floating(value: Any, kind: pa.DataType) -> Placed | None:
    if not is_number(value):
        return None
    try:
        near = float(value)
    except OverflowError:
        near = math.inf if value > 0 else -math.inf
    with np.errstate(over="ignore"):
        return Placed(pa.scalar(kind.to_pandas_dtype()(near), kind))


def _decimal(value: Any, kind: pa.DataType) -> Placed | None:
    if not is_number(value):
        return None
    exact = Decimal(value)
    units = math.floor(exact.scaleb(kind.scale)) if exact.adjusted() < kind.precision + 2 else None
    most = 10**kind.precision - 1
    if units is None or abs(units) > most:
        return ABOVE if exact > 0 else BELOW
    floor = Decimal(units).scaleb(-kind.scale)
    return Placed(pa.scalar(floor, kind), floor == exact)


def _timestamp(value: Any, kind: pa.DataType) -> Placed | None:
    found = moment(value)
    if found is None:
        return None
    at, zone = found
    if zone is not None and kind.tz is None:
        raise InvalidFilter(f"the column has times without a zone, and {value!r} has one: leave it out")
    return _counted(at - (zone or 0), _UNITS[kind.unit], kind)


def _date(value: Any, kind: pa.DataType) -> Placed | None:
    found = moment(value)
    if found is None:
        return None
    days, rest = divmod(found[0], DAY)
    if not -(1 << 31) <= days < 1 << 31:
        return ABOVE if days > 0 else BELOW
    return Placed(pa.scalar(days, pa.int32()).cast(pa.date32()), not rest)


def _time(value: Any, kind: pa.DataType) -> Placed | None:
    clock = _clock(value) if isinstance(value, str) else None
    return None if clock is None else _counted(clock, _UNITS[kind.unit], kind)


def _duration(value: Any, kind: pa.DataType) -> Placed | None:
    return _counted(Decimal(value) * 10**9, _UNITS[kind.unit], kind) if is_number(value) else None


def _counted(nanoseconds: Any, unit: int, kind: pa.DataType) -> Placed:
    """Place nanoseconds among the steps of a type."""
    steps = math.floor(nanoseconds / unit) if isinstance(nanoseconds, Decimal) else nanoseconds // unit
    bits = 32 if pa.types.is_time32(kind) else 64
    if not -(1 << (bits - 1)) <= steps < 1 << (bits - 1):
        return ABOVE if steps > 0 else BELOW
    return Placed(pa.scalar(steps, pa.int32() if bits == 32 else pa.int64()).cast(kind), steps * unit == nanoseconds)


def moment(value: Any) -> tuple[int, int | None] | None:
    """Return nanoseconds since 1970 that a text says, and those its zone is ahead of UTC; None where it is none."""
    match = _MOMENT.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return None
    try:
        year, month, day = ([int(part) for part in match["date"].split("-")] + [1, 1])[:3]
        days = dt.date(year, month, day).toordinal() - dt.date(1970, 1, 1).toordinal()
    except ValueError:
        return None
    clock = _clock(match["time"]) if match["time"] else 0
    return None if clock is None else (days * DAY + clock, _zone(match["zone"]))


def _clock(text: str) -> int | None:
    """Return nanoseconds since midnight; None where a text is no time of day."""
    match = _CLOCK.fullmatch(text)
    if match is None:
        return None
    hours, minutes, seconds = (int(match[number] or 0) for number in (1, 2, 3))
    if hours > 24 or minutes > 59 or seconds > 59:
        return None
    return ((hours * 60 + minutes) * 60 + seconds) * 10**9 + int(f"{match[4] or 0:0<9}")


def _zone(text: str | None) -> int | None:
    if text is None:
        return None
    if text.upper() in ("Z", "UTC"):
        return 0
    digits = text[1:].replace(":", "").ljust(4, "0")
    ahead = (int(digits[:2]) * 60 + int(digits[2:])) * 60 * 10**9
    return -ahead if text[0] == "-" else ahead


_READ = (
    (pa.types.is_boolean, _boolean),
    (columntypes.is_text, _text),
    (pa.types.is_integer, _integer),
    (pa.types.is_floating, _floating),
    (pa.types.is_decimal, _decimal),
    (pa.types.is_timestamp, _timestamp),
    (pa.types.is_date, _date),
    (pa.types.is_time, _time),
    (pa.types.is_duration, _duration),
)
