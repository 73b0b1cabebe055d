"""SQL `WHERE` expressions → trees, by sqlglot's parser and a list of what is let through.

What is not on the list is refused, whatever it is: a parser of all SQL reads subqueries, calls of any function, and
several statements in a row.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError

from engine.query.where.tree import VALUES, Call, Column, Node, Value, as_number, check_size, checked
from indexers.errors import InvalidFilter

MOST_TEXT = 1 << 16
MOST_OPEN = 100
EXAMPLE = "expected an expression such as year >= 2019 AND camera LIKE 'Pixel%'"

_COMPARED: dict[type, str] = {
    **{exp.EQ: "=", exp.NEQ: "!=", exp.LT: "<", exp.LTE: "<=", exp.GT: ">", exp.GTE: ">="},
    **{exp.NullSafeEQ: "same"},
}
_FUNCTIONS: dict[type, str] = {
    **{exp.Lower: "lower", exp.Upper: "upper", exp.Length: "length", exp.Year: "year", exp.Month: "month"},
    **{exp.Day: "day", exp.Hour: "hour", exp.Minute: "minute", exp.DayOfWeek: "weekday", exp.DayOfMonth: "day"},
    **{
        exp.ArrayContains: "contains",
        exp.Contains: "contains",
        exp.ArrayOverlaps: "contains_any",
        exp.ArrayContainsAll: "contains_all",
    },
}
_OURS = {
    **{name: name for name in ("contains", "contains_any", "contains_all", "within_km", "in_box", "weekday")},
    **{
        "list_has": "contains",
        "array_has": "contains",
        "list_has_any": "contains_any",
        "array_has_any": "contains_any",
    },
    **{"list_has_all": "contains_all", "array_has_all": "contains_all"},
}
_CASTS = frozenset({"DATE", "TIMESTAMP", "TIMESTAMPTZ", "TIMESTAMPNTZ", "TIME"})


def read_sql(text: str) -> Node:
    """Read an expression.

    Raises:
        InvalidFilter: it does not parse, or has something in it that no filter may have; it shows where.
    """
    if len(text) > MOST_TEXT:
        raise InvalidFilter(f"the filter has {len(text):,} characters, and at most {MOST_TEXT:,} are read")
    try:
        _check_open(text)
        return _Read(text).node(_parsed(text), 0)
    except InvalidFilter as error:
        raise error.within(text) from None


def _check_open(text: str) -> None:
    """Refuse what is nested deeper than the parser's own calls may be."""
    opened = deepest = 0
    quote = ""
    for letter in text:
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"`":
            quote = letter
        else:
            opened += (letter in "([{") - (letter in ")]}")
            deepest = max(deepest, opened)
    if deepest > MOST_OPEN:
        raise InvalidFilter(f"the filter has more than {MOST_OPEN} brackets inside each other")


def _parsed(text: str) -> Any:
    try:
        return sqlglot.parse_one(text, dialect="duckdb", into=exp.Condition)
    except SqlglotError as error:
        raise _where(error, text) from None
    except RecursionError:
        raise InvalidFilter("the filter is nested too deep") from None
    except Exception as error:  # a parser's own trouble with bytes that nobody would write
        raise InvalidFilter(f"{EXAMPLE}; the text cannot be read ({type(error).__name__})") from error


def _where(error: SqlglotError, text: str) -> InvalidFilter:
    """Return what the parser could not read, and where."""
    found: list[dict[str, Any]] = getattr(error, "errors", [])
    if not found or not found[0].get("line"):
        unclosed = text.count("'") % 2
        return InvalidFilter(EXAMPLE + ("; a quote ' is not closed" if unclosed else ""))
    first = found[0]
    highlight = str(first.get("highlight") or "")
    lines = text.splitlines(keepends=True)[: first["line"] - 1]
    last = sum(map(len, lines)) + int(first["col"]) - 1
    return InvalidFilter(EXAMPLE, (max(0, last - max(0, len(highlight) - 1)), max(0, last)))


class _Read:
    """One reading of what the parser made."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._nodes = 0

    def node(self, given: Any, depth: int) -> Node:
        """Return a part of the expression as a node."""
        self._nodes += 1
        check_size(self._nodes, depth)
        if isinstance(given, exp.Paren):
            return self.node(given.this, depth)
        if isinstance(given, exp.And | exp.Or):
            return self._chain(given, depth)
        if isinstance(given, exp.EQ) and isinstance(given.expression, exp.Any):
            return self.any_of(given, depth + 1)
        for kind, read in _READ.items():
            if isinstance(given, kind):
                return read(self, given, depth + 1)
        name = _COMPARED.get(type(given)) or _FUNCTIONS.get(type(given))
        if name is None:
            raise self._refused(given)
        self._only(given, "this", "expression")
        args = [given.this] if given.args.get("expression") is None else [given.this, given.expression]
        return checked(name, tuple(self.node(one, depth + 1) for one in args), _span(given))

    def _chain(self, given: Any, depth: int) -> Node:
        """Return `a AND b AND c`, which the parser nests as deep as it is long, as one call of three."""
        kind, name = type(given), "and" if isinstance(given, exp.And) else "or"
        parts, waiting = [], [given]
        while waiting:
            one = waiting.pop()
            one = one.this if isinstance(one, exp.Paren) and type(one.this) is kind else one
            if type(one) is kind:
                waiting += [one.expression, one.this]
            else:
                parts.append(one)
        return checked(name, tuple(self.node(one, depth + 1) for one in parts), _span(given))

    def column(self, given: Any, depth: int) -> Node:
        """Return a column, or a field of a struct: written alike, `camera` or `exif.iso`."""
        self._only(given, "this", "table", "db", "catalog")
        parts = [given.args.get(one) for one in ("catalog", "db", "table", "this")]
        names = [part for part in parts if part is not None]
        if not all(isinstance(one, exp.Identifier) and one.name for one in names):
            raise self._refused(given)
        spans = [span for one in names if (span := _span(one)) is not None]
        return Column(tuple(one.name for one in names), (spans[0][0], spans[-1][1]) if spans else None)

    def dotted(self, given: Any, depth: int) -> Node:
        """Return a field deeper than the parser has names for."""
        parts = [part for part in given.flatten() if part is not given]
        if not all(isinstance(one, exp.Identifier | exp.Column) for one in parts):
            raise self._refused(given)
        names: list[str] = []
        for one in parts:
            names += self.column(one, depth).path if isinstance(one, exp.Column) else [one.name]  # type: ignore[union-attr]
        return Column(tuple(names), _span(given))

    def literal(self, given: Any, depth: int) -> Node:
        """Return a text or a number."""
        return Value(given.this if given.is_string else as_number(given.this))

    def boolean(self, given: Any, depth: int) -> Node:
        """Return true or false."""
        return Value(bool(given.this))

    def null(self, given: Any, depth: int) -> Node:
        """Return the value that is none."""
        return Value(None)

    def negative(self, given: Any, depth: int) -> Node:
        """Return a number below 0."""
        inner = self.node(given.this, depth)
        if not isinstance(inner, Value) or isinstance(inner.value, bool | str | tuple) or inner.value is None:
            raise self._refused(given)
        return Value(-inner.value)

    def negated(self, given: Any, depth: int) -> Node:
        """Return what is so where something is not."""
        return checked("not", (self.node(given.this, depth),), _span(given))

    def distinct(self, given: Any, depth: int) -> Node:
        """Return `IS DISTINCT FROM`, which takes two nulls for the same."""
        args = (self.node(given.this, depth), self.node(given.expression, depth))
        return checked("not", (checked("same", args, _span(given)),))

    def compared_is(self, given: Any, depth: int) -> Node:
        """Return `IS NULL`, `IS TRUE` and `IS FALSE`."""
        self._only(given, "this", "expression")
        inner, other = self.node(given.this, depth), given.expression
        if isinstance(other, exp.Null):
            return checked("is_null", (inner,), _span(given))
        if isinstance(other, exp.Boolean):
            return checked("same", (inner, Value(bool(other.this))), _span(given))
        raise self._refused(given)

    def one_of(self, given: Any, depth: int) -> Node:
        """Return `IN` with values."""
        self._only(given, "this", "expressions")
        values = tuple(self._value(one, depth) for one in given.expressions)
        return checked("in", (self.node(given.this, depth), Value(values)), _span(given))

    def between(self, given: Any, depth: int) -> Node:
        """Return `BETWEEN`, which is two comparisons."""
        self._only(given, "this", "low", "high")
        inner = self.node(given.this, depth)
        if _has_condition(inner):
            raise self._refused(given, "it is asked of a column, and not of a condition")
        low, high = (self.node(given.args[side], depth) for side in ("low", "high"))
        return checked("and", (checked(">=", (inner, low), _span(given)), checked("<=", (inner, high), _span(given))))

    def like(self, given: Any, depth: int, escape: str | None = None) -> Node:
        """Return `LIKE` and `ILIKE`, also with NOT before, and with ESCAPE behind."""
        self._only(given, "this", "expression", "negate")
        name = "ilike" if isinstance(given, exp.ILike) else "like"
        args = [self.node(given.this, depth), self.node(given.expression, depth)]
        call = checked(name, tuple(args if escape is None else [*args, Value(escape)]), _span(given))
        return checked("not", (call,)) if given.args.get("negate") else call

    def escaped(self, given: Any, depth: int) -> Node:
        """Return `LIKE … ESCAPE`."""
        how = given.expression
        if not isinstance(given.this, exp.Like | exp.ILike) or not isinstance(how, exp.Literal) or len(how.this) != 1:
            raise self._refused(given, "ESCAPE is followed by one character")
        return self.like(given.this, depth, how.this)

    def array(self, given: Any, depth: int) -> Node:
        """Return a list of values."""
        return Value(tuple(self._value(one, depth) for one in given.expressions))

    def any_of(self, given: Any, depth: int) -> Node:
        """Return `'x' = ANY(tags)`."""
        self._only(given, "this", "expression")
        inner = given.expression.this
        column = self.node(inner.this if isinstance(inner, exp.Paren) else inner, depth)
        return checked("contains", (column, self.node(given.this, depth)), _span(given))

    def cast(self, given: Any, depth: int) -> Node:
        """Return `DATE '2019-01-31'`: a text is read as what the column it is compared with has."""
        kind = getattr(given.args.get("to"), "this", None)
        if (
            getattr(kind, "name", "") not in _CASTS
            or not isinstance(given.this, exp.Literal)
            or not given.this.is_string
        ):
            raise self._refused(given, "a column is not converted, and only dates and times may have their type before")
        return Value(given.this.this)

    def function(self, given: Any, depth: int) -> Node:
        """Return a function of ours that SQL does not know."""
        name = str(given.this).lower()
        if name not in _OURS:
            raise self._refused(given)
        return checked(_OURS[name], tuple(self.node(one, depth) for one in given.expressions), _span(given))

    def _value(self, given: Any, depth: int) -> Any:
        found = self.node(given, depth)
        if not isinstance(found, Value) or isinstance(found.value, tuple):
            raise self._refused(given, "a list holds values, and no columns; texts stand in single quotes")
        return found.value

    def _only(self, given: Any, *names: str) -> None:
        """Refuse what the parser read besides: it may turn the meaning round."""
        if any(value for name, value in given.args.items() if name not in names):
            raise self._refused(given)

    def _refused(self, given: Any, why: str = "") -> InvalidFilter:
        called = getattr(given, "key", type(given).__name__)
        known = "there are AND, OR, NOT, comparisons, IN, BETWEEN, LIKE, ILIKE, IS NULL, and " + ", ".join(
            sorted({*_FUNCTIONS.values(), *_OURS.values()})
        )
        what = f"{given.this!s}(…)" if isinstance(given, exp.Anonymous) else called
        return InvalidFilter(f"{_named(what)} is not for filters: {why or known}", _span(given))


def _has_condition(node: Node) -> bool:
    """Whether there is a condition in what should be a value: twice in a tree for each BETWEEN, it would double it."""
    return isinstance(node, Call) and (node.name not in VALUES or any(map(_has_condition, node.args)))


def _named(text: str) -> str:
    """Return a name for a message, and not a page of it."""
    return text if len(text) <= 60 else f"{text[:60]}…"


def _span(given: Any) -> tuple[int, int] | None:
    """Return the first and the last character of the names in a part of the expression."""
    found = [one.meta for one in given.walk() if "start" in one.meta]
    return (min(one["start"] for one in found), max(one["end"] for one in found)) if found else None


_Reader = Callable[[_Read, Any, int], Node]

_READ: dict[type, _Reader] = {
    exp.Column: _Read.column,
    exp.Dot: _Read.dotted,
    exp.Literal: _Read.literal,
    exp.Boolean: _Read.boolean,
    exp.Null: _Read.null,
    exp.Neg: _Read.negative,
    exp.Not: _Read.negated,
    exp.NullSafeNEQ: _Read.distinct,
    exp.Is: _Read.compared_is,
    exp.In: _Read.one_of,
    exp.Between: _Read.between,
    exp.Escape: _Read.escaped,
    exp.Like: _Read.like,
    exp.ILike: _Read.like,
    exp.Array: _Read.array,
    exp.Cast: _Read.cast,
    exp.Anonymous: _Read.function,
}
