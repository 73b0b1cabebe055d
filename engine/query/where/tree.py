"""A filter as data: columns, values, and what is asked of them; from JSON and to it.

    column   {"column": "camera"}, or ["exif", "iso"] for a field of a struct
    value    a JSON scalar: "Pixel 7", 2019, 3.5, true, null; or a list of such, where a list is wanted
    call     {"like": [{"column": "camera"}, "Pixel%"]}: one operator and what it is of

A text is always a value, and never a column. Every operator is in `OPERATORS`, and nothing else is carried out.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from functools import cached_property
from typing import Any, TypeAlias

from blake3 import blake3

from indexers import checks
from indexers.errors import InvalidFilter, did_you_mean

MOST_DEPTH = 64
MOST_NODES = 10_000
MOST_VALUES = 100_000
MOST_DIGITS = 400

VALUES = frozenset({"lower", "upper", "length", "year", "month", "day", "hour", "minute", "weekday"})
"""Operators that make a value of a column; all others are conditions."""

OPERATORS: Mapping[str, tuple[int, int]] = {
    **{"and": (2, MOST_NODES), "or": (2, MOST_NODES), "not": (1, 1), "is_null": (1, 1)},
    **dict.fromkeys(("=", "!=", "<", "<=", ">", ">=", "same"), (2, 2)),
    **{"in": (2, 2), "like": (2, 3), "ilike": (2, 3)},
    **dict.fromkeys(("contains", "contains_any", "contains_all"), (2, 2)),
    **dict.fromkeys(sorted(VALUES), (1, 1)),
    **{"within_km": (3, 5), "in_box": (4, 6)},
}
"""Operators, with how many things at least and at most each is of."""

Scalar: TypeAlias = bool | int | Decimal | str | None


@dataclass(frozen=True)
class Column:
    """A column, or a field in one.

    Attributes:
        path: its name, and for a field of a struct the names that lead to it.
        at: where it stands in the text it was read from, for messages.
    """

    path: tuple[str, ...]
    at: tuple[int, int] | None = field(default=None, compare=False)

    def __str__(self) -> str:
        return ".".join(self.path)


@dataclass(frozen=True)
class Value:
    """A value, or several."""

    value: Scalar | tuple[Scalar, ...]


@dataclass(frozen=True)
class Call:
    """An operator and what it is of."""

    name: str
    args: tuple[Node, ...]
    at: tuple[int, int] | None = field(default=None, compare=False)


Node: TypeAlias = Column | Value | Call


@dataclass(frozen=True)
class Filter:
    """A filter that was read: what `where=` becomes.

    Example:
        >>> engine.Filter.parse("rating >= 4 AND NOT camera LIKE 'Pixel%'").to_json()
        {'and': [{'>=': [{'column': 'rating'}, 4]}, {'not': {'like': [{'column': 'camera'}, 'Pixel%']}}]}

    Attributes:
        root: its tree, of `Column`, `Value` and `Call`.
        text: what it was written as; None where it came as JSON.
    """

    root: Any
    text: str | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if not isinstance(self.root, Column | Value | Call):
            raise InvalidFilter(f"expected a tree that was read, found {_brief(self.root)}; Filter.parse reads one")
        checks.optional("text", self.text, checks.text)

    @classmethod
    def parse(cls, given: Any) -> Filter:
        """Read a filter from an SQL expression, from JSON (a dict), or from one that was read already.

        Raises:
            InvalidFilter: it is none; the message shows where.
        """
        if isinstance(given, Filter):
            return given
        if isinstance(given, str):
            from engine.query.where.sql import read_sql

            return cls(read_sql(given), given)
        return cls(from_json(given))

    def to_json(self) -> Any:
        """Return the tree as JSON has it; `parse` reads it back."""
        return as_json(self.root)

    @cached_property
    def digest(self) -> str:
        """32 hex digits that are the same for the same tree, however it was written."""
        return blake3(json.dumps(self.to_json(), sort_keys=True).encode("utf-8", "surrogatepass")).hexdigest(length=16)

    def __str__(self) -> str:
        return json.dumps(self.to_json()) if self.text is None else self.text


def as_json(node: Node) -> Any:
    """Return a tree as JSON has it."""
    if isinstance(node, Column):
        return {"column": node.path[0] if len(node.path) == 1 else [*node.path]}
    if isinstance(node, Value):
        return [_number(one) for one in node.value] if isinstance(node.value, tuple) else _number(node.value)
    args = [as_json(one) for one in node.args]
    return {node.name: args[0] if len(args) == 1 else args}


def _number(value: Scalar) -> Any:
    """Return a value as JSON has it: a decimal number that JSON's own would change as `{"decimal": "0.10…"}`."""
    if not isinstance(value, Decimal):
        return value
    near = float(value)
    return near if math.isfinite(near) and Decimal(repr(near)) == value else {"decimal": str(value)}


def from_json(given: Any) -> Node:
    """Read a tree.

    Raises:
        InvalidFilter: it is none.
    """
    return _Read().node(given, 0)


class _Read:
    """One reading of a tree, which counts what there is of it."""

    def __init__(self) -> None:
        self.nodes = self.values = 0

    def node(self, given: Any, depth: int) -> Node:
        self.nodes += 1
        check_size(self.nodes, depth)
        if not isinstance(given, dict):
            return Value(self.value(given))
        if len(given) != 1:
            raise InvalidFilter(
                f"expected one operator, such as {{'=': [{{'column': 'year'}}, 2019]}}, found {_brief(given)}"
            )
        ((name, args),) = given.items()
        if name == "column":
            return Column(_path(args))
        if name == "decimal":
            return Value(as_number(args))
        several = args if isinstance(args, list | tuple) and name in OPERATORS else [args]
        return checked(str(name), tuple(self.node(one, depth + 1) for one in several))

    def value(self, given: Any) -> Scalar | tuple[Scalar, ...]:
        if isinstance(given, list | tuple):
            self.values += len(given)
            if self.values > MOST_VALUES:
                raise InvalidFilter(f"expected at most {MOST_VALUES:,} values, found more")
            return tuple(_scalar(one) for one in given)
        return _scalar(given)


def check_size(nodes: int, depth: int) -> None:
    """Refuse a filter that is larger than anybody writes one.

    Raises:
        InvalidFilter: it is.
    """
    if depth > MOST_DEPTH:
        raise InvalidFilter(f"the filter is nested more than {MOST_DEPTH} deep")
    if nodes > MOST_NODES:
        raise InvalidFilter(f"the filter has more than {MOST_NODES:,} parts; ask for a list of values with IN")


def checked(name: str, args: tuple[Node, ...], at: tuple[int, int] | None = None) -> Call:
    """Return a call, of an operator that there is and of as many things as it takes.

    Raises:
        InvalidFilter: it is another.
    """
    if name not in OPERATORS:
        raise InvalidFilter(
            f"no operator {_brief(name)}; there are {', '.join(OPERATORS)}{did_you_mean(name, OPERATORS)}", at
        )
    least, most = OPERATORS[name]
    if not least <= len(args) <= most:
        wanted = str(least) if least == most else f"{least} or more" if most == MOST_NODES else f"{least} to {most}"
        raise InvalidFilter(f"{name}: expected {wanted} arguments, found {len(args)}", at)
    return Call(name, args, at)


def _path(given: Any) -> tuple[str, ...]:
    names = [given] if isinstance(given, str) else given
    if not isinstance(names, list | tuple) or not names or not all(isinstance(one, str) for one in names):
        raise InvalidFilter(f"expected the name of a column, or those of a field in one, found {_brief(given)}")
    return tuple(names)


def _scalar(given: Any) -> Scalar:
    if isinstance(given, dict) and [*given] == ["decimal"]:
        return as_number(given["decimal"])
    if given is None or isinstance(given, bool | str):
        return given
    if isinstance(given, int | float | Decimal):
        return as_number(given)
    raise InvalidFilter(
        f"expected a number, a text, true, false or null, found {_brief(given)}; dates and times are written as texts, "
        "such as '2019-01-31'"
    )


def as_number(given: Any) -> int | Decimal:
    """Return a number as a whole one or as a decimal, with all its digits.

    Raises:
        InvalidFilter: it is none, or longer than anybody writes one.
    """
    text = repr(given) if isinstance(given, float) else str(given) if not _is_long(given) else ""
    try:
        found = Decimal(text)
    except InvalidOperation:
        raise InvalidFilter(f"expected a number, found {_brief(given)}") from None
    if not found.is_finite() or not -MOST_DIGITS < found.adjusted() < MOST_DIGITS or len(text) > 2 * MOST_DIGITS:
        raise InvalidFilter(f"expected a number of at most {MOST_DIGITS} digits, found {_brief(given)}")
    return int(found) if found == found.to_integral_value() and "." not in text and "e" not in text.lower() else found


def _is_long(given: Any) -> bool:
    return isinstance(given, int) and given.bit_length() > 4 * MOST_DIGITS


def _brief(given: Any) -> str:
    return checks.brief(given)
