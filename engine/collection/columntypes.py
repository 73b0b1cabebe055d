"""Types of the user's columns: which are stored, and how two become one.

A column keeps the Arrow type that it had in its table. Only what Parquet cannot hold changes: an encoding (dictionary,
view, run-end) gives way to what it encodes, an extension type to its storage, seconds and `date64` to the next type
that Parquet has, and what is left (intervals, unions, structs of nothing) to JSON text. Where shards or files have a
column in several types, it gets the one that holds them all (`common_type`).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import pyarrow as pa

DOUBLE_DIGITS = 15
"""Decimal digits that a `double` keeps, whichever they are."""

MOST_NESTED = 32
"""Levels of lists and structs that are kept as such."""

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

    Whole numbers become the wider ones, or decimals where no 64 bits hold both; beside others they become `double`, as
    decimals of up to 15 digits do; decimals get the digits of both. Instants in two zones are instants in UTC. Lists,
    maps and structs hold what holds their values. All other mixtures are text, and so are nanoseconds beside instants
    and durations that may lie centuries away.
    """
    if one == other or pa.types.is_null(other):
        return one
    if pa.types.is_null(one):
        return other
    for check, join in _JOINED:
        if check(one) and check(other):
            return join(one, other) or pa.string()
    return pa.string()


def _numbers(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    """Return the type of numbers that holds two."""
    if pa.types.is_floating(one) or pa.types.is_floating(other):
        return _floats(one, other)
    if pa.types.is_decimal(one) or pa.types.is_decimal(other):
        scale = max(_scale(one), _scale(other))
        digits = max(_digits(one) - _scale(one), _digits(other) - _scale(other)) + scale
        return pa.decimal128(digits, scale) if digits <= 38 else pa.decimal256(digits, scale) if digits <= 76 else None
    if pa.types.is_signed_integer(one) == pa.types.is_signed_integer(other):
        return one if one.bit_width > other.bit_width else other
    signed, unsigned = (one, other) if pa.types.is_signed_integer(one) else (other, one)
    bits = max(signed.bit_width, 2 * unsigned.bit_width)
    return {16: pa.int16(), 32: pa.int32(), 64: pa.int64()}.get(bits, pa.decimal128(20, 0))


def _floats(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    """Return the type of real numbers that holds two types, of which one at least is such."""
    bits = 16
    for kind in (one, other):
        if pa.types.is_floating(kind):
            bits = max(bits, kind.bit_width)
        elif pa.types.is_decimal(kind):
            if kind.precision > DOUBLE_DIGITS:
                return None
            bits = 64
        else:
            bits = max(bits, 32 if kind.bit_width <= 16 else 64)
    return {16: pa.float16(), 32: pa.float32()}.get(bits, pa.float64())


def _digits(kind: pa.DataType) -> int:
    return kind.precision if pa.types.is_decimal(kind) else {8: 3, 16: 5, 32: 10}.get(kind.bit_width, 20)


def _scale(kind: pa.DataType) -> int:
    return kind.scale if pa.types.is_decimal(kind) else 0


def _instants(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    """Return the type of instants that holds two; those without a zone are none beside those with one."""
    if (one.tz is None) != (other.tz is None):
        return None
    unit = _units(one, other)
    return None if unit is None else pa.timestamp(unit, one.tz if one.tz == other.tz else "UTC")


def _durations(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    unit = _units(one, other)
    return None if unit is None else pa.duration(unit)


def _units(one: pa.DataType, other: pa.DataType) -> str | None:
    """Return the finer unit; None where it counts no further than some centuries, and the other goes on."""
    if one.unit == other.unit:
        return str(one.unit)
    units = ("s", "ms", "us", "ns")
    finer = units[max(units.index(one.unit), units.index(other.unit))]
    return None if finer == "ns" else finer


def _binaries(one: pa.DataType, other: pa.DataType) -> pa.DataType:
    large = pa.types.is_large_binary(one) or pa.types.is_large_binary(other)
    return pa.large_binary() if large else pa.binary()


def _lists(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    inner = _inside(one.value_type, other.value_type)
    if inner is None:
        return None
    fixed = [kind.list_size if pa.types.is_fixed_size_list(kind) else -1 for kind in (one, other)]
    if fixed[0] == fixed[1] >= 0:
        return pa.list_(inner, fixed[0])
    return pa.large_list(inner) if any(map(pa.types.is_large_list, (one, other))) else pa.list_(inner)


def _maps(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    key, item = _inside(one.key_type, other.key_type), _inside(one.item_type, other.item_type)
    return None if key is None or item is None else pa.map_(key, item)


def _structs(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    fields: dict[str, pa.DataType | None] = {field.name: field.type for field in one}
    for field in other:
        known = fields.get(field.name, field.type)
        fields[field.name] = None if known is None else _inside(known, field.type)
    return None if None in fields.values() else pa.struct(list(fields.items()))


def _inside(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    """Return the type that holds what two hold inside of something; None where it would be text, and neither is."""
    kind = common_type(one, other)
    return (
        kind
        if kind != pa.string() or all(is_text(inner) or pa.types.is_null(inner) for inner in (one, other))
        else None
    )


def is_text(kind: pa.DataType) -> bool:
    """Whether a type is text."""
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def is_number(kind: pa.DataType) -> bool:
    """Whether a type is a number of some kind."""
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def _is_binary(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind))


_Joined = tuple[Callable[[pa.DataType], bool], Callable[[pa.DataType, pa.DataType], pa.DataType | None]]

_JOINED: tuple[_Joined, ...] = (
    (is_number, _numbers),
    (is_text, lambda one, other: pa.large_string()),
    (_is_binary, _binaries),
    (pa.types.is_timestamp, _instants),
    (pa.types.is_duration, _durations),
    (pa.types.is_date, lambda one, other: pa.date32()),
    (pa.types.is_time, lambda one, other: pa.time64("ns" if "ns" in (one.unit, other.unit) else "us")),
    (is_list, _lists),
    (pa.types.is_map, _maps),
    (pa.types.is_struct, _structs),
)
"""Types that have something in common, and what holds two of them."""
