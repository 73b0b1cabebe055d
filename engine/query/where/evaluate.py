"""A tree over columns → which rows it lets through, by SQL's logic of three values.

What is null is neither so nor not so: a comparison with it is null, `NOT` of that too, and only rows of which the whole
is true are let through. Every step is one call of Arrow's for a batch of rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from engine.collection.cells import cast
from engine.collection.columntypes import common_type, is_text
from engine.collection.columntypes import is_number as is_number_type
from engine.query.where import geo
from engine.query.where.columns import Columns
from engine.query.where.lists import contains, of_lists
from engine.query.where.literals import Placed, is_number, place, shown_type, value_set
from engine.query.where.tree import Call, Column, Filter, Node, Scalar, Value
from indexers import checks
from indexers.errors import InvalidFilter
from indexers.mask import Mask, in_both
from indexers.vectors import IdArray

_TRUE, _FALSE, _NULL = pa.scalar(True), pa.scalar(False), pa.scalar(None, pa.bool_())
_COMPARED: dict[str, Callable[[Any, Any], Any]] = {
    **{"=": pc.equal, "!=": pc.not_equal, "<": pc.less, "<=": pc.less_equal, ">": pc.greater, ">=": pc.greater_equal}
}
_TURNED = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}
_DATES: dict[str, Callable[[Any], Any]] = {
    **{"year": pc.year, "month": pc.month, "day": pc.day, "hour": pc.hour, "minute": pc.minute},
    "weekday": lambda array: pc.day_of_week(array, count_from_zero=False),
}
_TEXTS: dict[str, Callable[[Any], Any]] = {"lower": pc.utf8_lower, "upper": pc.utf8_upper, "length": pc.utf8_length}

LISTS = ("contains", "contains_any", "contains_all")
"""What is asked of lists."""

Once = dict[tuple[int, Any], Any]
"""What is found out once for all batches: values that are looked for, in the type of their column, by the list and
that type; and of columns of lists that are turned about the rows that have them, by the node."""


def mask_of(wanted: Filter, columns: Columns) -> Mask:
    """Return which rows a filter lets through.

    Raises:
        InvalidFilter: it asks for a column that is not there, or a column for what it cannot answer.
    """
    try:
        if (rows := _looked_up(wanted.root, columns)) is not None:
            return Mask.of_rows(sum(columns.batches), rows)
        once: Once = {}
        batches = enumerate(columns.batches)
        parts = [_Rows(columns, number, rows, once).allowed(wanted.root) for number, rows in batches]
    except InvalidFilter as error:
        raise error.within(wanted.text) if wanted.text is not None else error from None
    return Mask.of(np.concatenate(parts) if parts else np.empty(0, bool))


def _looked_up(node: Node, columns: Columns) -> IdArray | None:
    """Return the rows of which a tree is true, ascending, where they are known without a look at the others."""
    if not isinstance(node, Call):
        return None
    if node.name == "and":
        parts = [_looked_up(one, columns) for one in node.args]
        found = sorted((part for part in parts if part is not None), key=len)
        return reduce(in_both, found) if len(found) == len(parts) else None
    if node.name not in LISTS or not isinstance(node.args[0], Column) or not isinstance(node.args[1], Value):
        return None
    turned, value = columns.already_turned(node.args[0]), node.args[1].value
    if turned is None or isinstance(value, tuple) == (node.name == "contains") or value == ():
        return None
    return turned.rows(
        value if isinstance(value, tuple) else (value,), node.name == "contains_all", _called(node.args[0])
    )


class _Rows:
    """A batch of rows that a tree is asked of.

    Args:
        columns: of all rows.
        number: of the batch.
        rows: how many it has.
        once: what was found out for batches before.
    """

    def __init__(self, columns: Columns, number: int, rows: int, once: Once) -> None:
        self._columns, self._number, self._rows, self._once = columns, number, rows, once

    def allowed(self, root: Node) -> np.ndarray:
        """Return the rows of which the tree is true, bool [rows]."""
        found = pc.fill_null(self.truth(root), False)
        if isinstance(found, pa.Scalar):
            return np.full(self._rows, found.as_py(), bool)
        allowed: np.ndarray = found.to_numpy(zero_copy_only=False)
        return allowed

    def truth(self, node: Node) -> Any:
        """Return whether it is so: a boolean array, or one for all rows."""
        if isinstance(node, Call) and node.name in _CALLS:
            return _CALLS[node.name](self, node)
        if isinstance(node, Value):
            if node.value is None:
                return _NULL
            if isinstance(node.value, bool):
                return pa.scalar(node.value)
            raise InvalidFilter(f"expected a condition, found {checks.brief(node.value)}")
        found = self.values(node)
        if found.type != pa.bool_():
            raise _wrong(node, f"is {shown_type(found.type)}, and no condition: compare it with something")
        return found

    def values(self, node: Node) -> pa.Array:
        """Return the values of a column, or of a function of one."""
        if isinstance(node, Column):
            return self._columns.get(node)[self._number]
        if isinstance(node, Call) and node.name in (*_DATES, *_TEXTS):
            return self._function(node)
        if isinstance(node, Call):
            raise InvalidFilter(f"{node.name} is a condition, and no value", node.at)
        raise InvalidFilter(f"expected a column, found {checks.brief(node.value)}")

    def _function(self, node: Call) -> pa.Array:
        inner = self.values(node.args[0])
        wanted = pa.types.is_temporal if node.name in _DATES else is_text
        if not wanted(inner.type) or (node.name in _DATES and pa.types.is_duration(inner.type)):
            raise _wrong(node.args[0], f"is {shown_type(inner.type)}: it has no {node.name}")
        try:
            if pa.types.is_timestamp(inner.type) and inner.type.tz:
                inner = inner.cast(pa.timestamp(inner.type.unit, "UTC"))  # as comparisons have it
            return (_DATES.get(node.name) or _TEXTS[node.name])(inner)
        except (pa.ArrowNotImplementedError, pa.ArrowInvalid) as error:
            raise _wrong(node.args[0], f"is {inner.type}: {node.name} cannot be had of it ({error})") from None

    # -- conditions ----------------------------------------------------------------------

    def both(self, node: Call) -> Any:
        return reduce(pc.and_kleene, map(self.truth, node.args))

    def either(self, node: Call) -> Any:
        return reduce(pc.or_kleene, map(self.truth, node.args))

    def invert(self, node: Call) -> Any:
        return pc.invert(self.truth(node.args[0]))

    def is_null(self, node: Call) -> Any:
        one = node.args[0]
        if isinstance(one, Value):
            return pa.scalar(one.value is None)
        found = self.truth(one) if isinstance(one, Call) and one.name in _CALLS else self.values(one)
        return pc.is_null(found)

    def same(self, node: Call) -> Any:
        """Compare so that a null is like a null."""
        one, other = node.args
        if isinstance(other, Value) and isinstance(other.value, bool):
            found = self.truth(one)
            return pc.fill_null(found if other.value else pc.invert(found), False)
        nulls = [self.is_null(Call("is_null", (part,))) for part in node.args]
        equal = pc.fill_null(self.compare(Call("=", node.args, node.at)), False)
        return pc.or_(equal, pc.and_(*nulls))

    def compare(self, node: Call) -> Any:
        """Compare a column with a value, or with another column."""
        one, other = node.args
        if isinstance(one, Value) and isinstance(other, Value):
            return _folded(node.name, one.value, other.value)
        if isinstance(one, Value):
            return self.compare(Call(_TURNED.get(node.name, node.name), (other, one), node.at))
        if isinstance(other, Value):
            return self._beside(node.name, one, other.value)
        left, right = self._compared(one), self._compared(other)
        if pa.types.is_null(left.type) or pa.types.is_null(right.type):
            return pa.nulls(self._rows, pa.bool_())
        return _COMPARED[node.name](*_alike(left, right, node))

    def _compared(self, node: Node) -> pa.Array:
        return self.truth(node) if isinstance(node, Call) and node.name in _CALLS else self.values(node)

    def _beside(self, name: str, node: Node, value: Scalar | tuple[Scalar, ...]) -> Any:
        array = self._compared(node)
        if isinstance(value, tuple):
            raise _wrong(node, "is compared with a list: contains_any(column, list), or column IN (…)")
        if value is None or pa.types.is_null(array.type):
            return _NULL if isinstance(array, pa.Scalar) else pa.nulls(self._rows, pa.bool_())
        return against(name, array, self._placed(value, array.type, node))

    def _placed(self, value: Scalar, kind: pa.DataType, node: Node) -> Placed:
        try:
            return place(value, kind, _called(node))
        except InvalidFilter as error:
            raise InvalidFilter(str(error), node.at if not isinstance(node, Value) else None) from None

    def one_of(self, node: Call) -> Any:
        """Look for a column's values among those of a list."""
        one, several = node.args
        wanted = several.value if isinstance(several, Value) else None
        if not isinstance(wanted, tuple):
            raise InvalidFilter("IN is followed by a list of values", node.at)
        if isinstance(one, Value):
            return reduce(pc.or_kleene, (_folded("=", one.value, value) for value in wanted), _FALSE)
        array = self._compared(one)
        found = self._among(array, wanted, one)
        return pc.or_kleene(found, _NULL) if None in wanted else found

    def _among(self, array: Any, wanted: Sequence[Scalar], node: Node) -> Any:
        """Return whether values are among some; null where they are."""
        there = any(value is not None for value in wanted)
        if pa.types.is_null(array.type):
            return pa.nulls(self._rows, pa.bool_()) if there else _FALSE
        if not there:
            return _FALSE
        # By the type too: a tree that was put together may have one list beside two columns.
        key = id(wanted), array.type
        if key not in self._once:
            placed = [self._placed(value, array.type, node) for value in wanted if value is not None]
            self._once[key] = value_set(placed, array.type)
        found = pc.is_in(array, value_set=self._once[key])
        return pc.if_else(pc.is_valid(array), found, _NULL)

    def like(self, node: Call) -> Any:
        """Match a text with a pattern."""
        one, pattern, *escape = node.args
        wanted = pattern.value if isinstance(pattern, Value) else None
        array = self.values(one)
        if pa.types.is_null(array.type) or (isinstance(pattern, Value) and wanted is None):
            return pa.nulls(self._rows, pa.bool_())
        if not isinstance(wanted, str):
            raise InvalidFilter("LIKE is followed by a pattern in single quotes: 'Pixel%'", node.at)
        if not is_text(array.type):
            raise _wrong(one, f"is {shown_type(array.type)}, and LIKE is for text")
        mark = escape[0].value if escape and isinstance(escape[0], Value) else None
        if escape and not (isinstance(mark, str) and len(mark) == 1):
            raise InvalidFilter(f"{node.name}: expected one character that escapes, or none", node.at)
        return pc.match_like(array, _pattern(wanted, mark, node), ignore_case=node.name == "ilike")

    def contains(self, node: Call) -> Any:
        """Look into lists, or into a text for a part of it."""
        one, other = node.args
        array = self.values(one)
        if not isinstance(other, Value):
            raise InvalidFilter(f"{node.name}: expected a column and values, found another column", node.at)
        wanted = other.value if isinstance(other.value, tuple) else (other.value,)
        if node.name != "contains" and not isinstance(other.value, tuple):
            raise InvalidFilter(f"{node.name}: expected a list of values, such as ['a', 'b']", node.at)
        if pa.types.is_null(array.type):
            return pa.nulls(self._rows, pa.bool_())
        if is_text(array.type) and node.name == "contains" and isinstance(other.value, str):
            return pc.match_substring(array, other.value)
        at, every = None if isinstance(one, Value) else one.at, node.name == "contains_all"
        if not isinstance(one, Column) or (turned := self._columns.turned(one)) is None:
            return contains(array, wanted, every, _called(one), at)
        key = id(node), every
        if key not in self._once:
            self._once[key] = turned.having(wanted, every, _called(one))
        start = sum(self._columns.batches[: self._number])
        return of_lists(array, self._once[key][start : start + self._rows])

    def near(self, node: Call) -> Any:
        """Look at places."""
        return geo.near(node, self.values)


def against(name: str, array: Any, placed: Placed) -> Any:
    """Compare an array with a value that lies among those it can have, or between two of them."""
    if placed.floor is None:
        is_so = name == "!=" or name in (("<", "<=") if placed.above else (">", ">="))
        return pc.if_else(pc.is_valid(array), pa.scalar(is_so), _NULL)
    if placed.exact:
        return _COMPARED[name](array, placed.floor)
    if name in ("=", "!="):
        return pc.if_else(pc.is_valid(array), pa.scalar(name == "!="), _NULL)
    # It lies above the floor and below the next: less than it is what is at most the floor.
    return pc.less_equal(array, placed.floor) if name in ("<", "<=") else pc.greater(array, placed.floor)


def _folded(name: str, one: Any, other: Any) -> Any:
    """Compare two values."""
    if one is None or other is None:
        return _NULL
    numbers = is_number(one) and is_number(other)
    if not numbers and (type(one) is not type(other) or isinstance(one, tuple)):
        raise InvalidFilter(f"{checks.brief(one)} and {checks.brief(other)} cannot be compared")
    compare = {"=": one == other, "!=": one != other, "<": one < other, "<=": one <= other, ">": one > other}
    return pa.scalar(bool(compare.get(name, one >= other)))


def _alike(one: Any, other: Any, node: Call) -> tuple[Any, Any]:
    """Return two columns so that they can be compared.

    Raises:
        InvalidFilter: they have nothing to do with each other.
    """
    kinds = (one.type, other.type)
    if kinds[0] == kinds[1] and not pa.types.is_nested(kinds[0]):
        return one, other
    common = _compared_as(*kinds)
    if common is not None:
        return tuple(cast(pa.chunked_array([array]), common).chunk(0) for array in (one, other))
    raise InvalidFilter(
        f"{_called(node.args[0])} is {shown_type(kinds[0])}, and {_called(node.args[1])} is {shown_type(kinds[1])}",
        node.at,
    )


def _compared_as(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    """Return the type in which two columns are compared; None where they have nothing to do with each other."""
    times = [pa.types.is_date(kind) or pa.types.is_timestamp(kind) for kind in (one, other)]
    if all(times):
        zones = {kind.tz for kind in (one, other) if pa.types.is_timestamp(kind)}
        # A date begins at midnight, and a point in time with a zone is none beside one without.
        return None if None in zones and len(zones) > 1 else pa.timestamp("us", "UTC" if zones - {None} else None)
    common = common_type(one, other)
    if pa.types.is_nested(common) or (common == pa.string() and not (is_text(one) and is_text(other))):
        return pa.float64() if is_number_type(one) and is_number_type(other) else None
    return common


def _pattern(wanted: str, mark: Any, node: Call) -> str:
    """Return a pattern as Arrow reads it, for which a backslash makes what follows stand for itself."""
    if not isinstance(mark, str):
        return wanted.replace("\\", "\\\\")
    out, letters = [], iter(wanted)
    for letter in letters:
        if letter != mark:
            out.append("\\\\" if letter == "\\" else letter)
            continue
        following = next(letters, None)
        if following is None:
            raise InvalidFilter(f"the pattern ends with its ESCAPE character {mark!r}", node.at)
        out.append("\\" + following)
    return "".join(out)


def _called(node: Node) -> str:
    return str(node) if isinstance(node, Column) else node.name if isinstance(node, Call) else checks.brief(node.value)


def _wrong(node: Node, why: str) -> InvalidFilter:
    return InvalidFilter(f"{_called(node)} {why}", None if isinstance(node, Value) else node.at)


_CALLS: dict[str, Callable[[_Rows, Call], Any]] = {
    **{"and": _Rows.both, "or": _Rows.either, "not": _Rows.invert, "is_null": _Rows.is_null, "same": _Rows.same},
    **dict.fromkeys(_COMPARED, _Rows.compare),
    **{"in": _Rows.one_of, "like": _Rows.like, "ilike": _Rows.like},
    **dict.fromkeys(LISTS, _Rows.contains),
    **dict.fromkeys(("within_km", "in_box"), _Rows.near),
}
"""What each condition is carried out by."""
