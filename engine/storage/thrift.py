"""Numbers out of Thrift's compact protocol, in which Parquet writes its footers and the headers of its pages.

https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

DEEPEST = 16

TRUE, FALSE, BYTE, I16, I32, I64, DOUBLE, BINARY, LIST, SET, MAP, STRUCT = range(1, 13)
LEAST, MOST = -(1 << 31), (1 << 31) - 1

Wanted = Mapping[int, Any]
"""Which fields of a struct are read, by number, and what of the structs in them."""

NOTHING: Wanted = {}


def read_struct(data: bytes, at: int, wanted: Wanted, depth: int = 0) -> tuple[dict[int, Any], int]:
    """Read a struct.

    Args:
        data: bytes it is in.
        at: where it begins.
        wanted: what is read of it: numbers, bytes, structs and lists of them; the rest is passed over.
        depth: how many structs and lists it is in.

    Returns:
        what was found by field, and where the struct ends.

    Raises:
        IndexError: it goes on beyond the data.
        ArrowInvalid: it is none, is nested too deeply, or says something twice.
    """
    if depth > DEEPEST:
        raise pa.ArrowInvalid("structs are nested too deeply")
    found: dict[int, Any] = {}
    field = 0
    while head := data[at]:
        at += 1
        if head >> 4:
            field += head >> 4
        else:
            field, at = _number(data, at)
        kind = head & 15
        if kind in (I32, I64, BINARY):  # nearly all there is, and read here: a call each would double the time
            value: Any = data[at]
            at += 1
            if value > 127:
                value, at = _varint(data, at - 1)
            if kind == BINARY:
                start, at = at, at + value
                value = data[start:at] if field in wanted else None
            else:
                value = (value >> 1) ^ -(value & 1)
                if kind == I32 and not LEAST <= value <= MOST:
                    raise pa.ArrowInvalid("a number has more bits than it is declared with")
        elif kind in (TRUE, FALSE):  # the kind is the value
            continue
        else:
            value, at = _value(data, at, kind, wanted.get(field), depth)
        if field in wanted:
            if field in found:  # which of them counts is a matter of the reader
                raise pa.ArrowInvalid("a struct says something twice")
            found[field] = value
    return found, at + 1


def _value(data: bytes, at: int, kind: int, wanted: Wanted | None, depth: int) -> tuple[Any, int]:
    if kind in (I16, I32, I64):
        value, at = _number(data, at)
        if kind == I32 and not LEAST <= value <= MOST:
            raise pa.ArrowInvalid("a number has more bits than it is declared with")
        return value, at
    if kind == BINARY:
        size, at = _varint(data, at)
        return data[at : at + size], at + size
    if kind == STRUCT:
        return read_struct(data, at, NOTHING if wanted is None else wanted, depth + 1)
    if kind in (LIST, SET):
        return _list(data, at, wanted, depth + 1)
    if kind in (BYTE, DOUBLE):
        return None, at + (1 if kind == BYTE else 8)
    raise pa.ArrowInvalid(f"a value of kind {kind}, which there is not")


def _list(data: bytes, at: int, wanted: Wanted | None, depth: int) -> tuple[list[Any] | None, int]:
    if depth > DEEPEST:
        raise pa.ArrowInvalid("lists are nested too deeply")
    head = data[at]
    kind, size, at = head & 15, head >> 4, at + 1
    if size == 15:
        size, at = _varint(data, at)
    found = []
    for _ in range(size):
        if kind in (TRUE, FALSE):  # in a list each has a byte
            value, at = None, at + 1
        else:
            value, at = _value(data, at, kind, wanted, depth)
        data[at - 1]
        if wanted is not None:
            found.append(value)
    return (found if wanted is not None else None), at


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = data[at]
    at += 1
    if value < 128:
        return value, at
    value &= 127
    shift = 7
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
        if shift >= 64:
            raise pa.ArrowInvalid("a number of more than 64 bits")


def _number(data: bytes, at: int) -> tuple[int, int]:
    value, at = _varint(data, at)
    return (value >> 1) ^ -(value & 1), at
