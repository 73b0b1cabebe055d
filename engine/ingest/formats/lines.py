"""JSONL with vectors in it, read line by line: a line that is none costs one row."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from engine.collection.cells import cell, column_of
from engine.ingest.formats.columns import NO_NUMBERS, Choice, rows_of
from engine.ingest.formats.rows import ROWS_AT_ONCE, Rows
from engine.ingest.formats.tables import LOOKED_AT
from engine.ingest.tables import check_names
from engine.storage.regular import opened_regular
from indexers.errors import SourceError

# Parsed, a line takes up to thirty times its bytes.
MOST_LINE, BYTES_AT_ONCE = 4 << 20, 4 << 20
NO_OBJECT = "its line is not a JSON object"

Line = dict[str, Any] | None
"""A row; None for a line that is no object."""


def jsonl_schema(path: Path) -> pa.Schema:
    """Return the types of what the first lines hold.

    Raises:
        SourceError: it cannot be read, or none of them is an object.
    """
    first = next(_lines(path), [])[:LOOKED_AT]
    found = [line for line in first if line is not None]
    if first and not found:
        raise SourceError(f"{path}: expected a JSON object in each line, and the first {len(first)} hold none")
    names = list(dict.fromkeys(name for line in found for name in line))
    check_names(names, path)
    return pa.schema([pa.field(name, _kind([line.get(name) for line in found])) for name in names])


def _kind(values: list[Any]) -> pa.DataType:
    """Return what most of some values are, as far as it matters here."""
    there = [value for value in values if value is not None]
    lists = [value for value in there if isinstance(value, list) and len(value) > 1 and all(map(_is_number, value))]
    if 2 * len(lists) > len(there):
        real = any(isinstance(number, float) for value in lists for number in value)
        return pa.list_(pa.float64() if real else pa.int64())
    return pa.float64() if 2 * sum(map(_is_number, there)) > len(there) else pa.string()


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def read_jsonl_rows(path: Path, choice: Choice) -> Iterator[Rows]:
    """Read the rows of JSONL.

    Raises:
        SourceError: it cannot be read.
    """
    known = dict.fromkeys(name for name in jsonl_schema(path).names if name not in choice.others)
    for some in _lines(path):
        there = [line or {} for line in some]
        names = list({**known, **{name: None for line in there for name in line if name not in choice.others}})
        check_names(names, path)
        wrong: dict[int, str] = {row: NO_OBJECT for row, line in enumerate(some) if line is None}
        columns = [
            _vectors([line.get(name) for line in there], wrong)
            if name in choice.columns and not choice.wide
            else _column([line.get(name) for line in there])
            for name in names
        ]
        table = pa.Table.from_arrays(columns, names)
        found = rows_of(table, choice)
        yield replace(found, wrong={**found.wrong, **wrong})


def _vectors(values: list[Any], wrong: dict[int, str]) -> pa.Array:
    """Return vectors as lists, and note which are none."""
    lists: list[list[float | None] | None] = []
    for row, value in enumerate(values):
        if isinstance(value, list) and all(number is None or _is_number(number) for number in value):
            lists.append([None if number is None else _float(number) for number in value])
            continue
        lists.append(None)
        if value is not None:
            wrong.setdefault(row, NO_NUMBERS)
    return pa.array(lists, pa.list_(pa.float64()))


def _float(number: float) -> float:
    try:
        return float(number)
    except OverflowError:  # a whole number of hundreds of digits
        return math.inf


def _column(values: list[Any]) -> pa.Array:
    """Return a column of the type that holds all of its values."""
    return column_of([cell(value) for value in values])


def _lines(path: Path) -> Iterator[list[Line]]:
    """Yield what the lines hold that are not empty, as many at once as take little memory."""
    try:
        with opened_regular(path) as file:
            number, size, found = 0, 0, list[Line]()
            while raw := file.readline(MOST_LINE + 1):
                number += 1
                if len(raw) > MOST_LINE:
                    raise SourceError(f"{path}: line {number} is longer than {MOST_LINE:,} bytes")
                if not raw.strip():
                    continue
                found.append(_line(raw))
                size += len(raw)
                if len(found) == ROWS_AT_ONCE or size >= BYTES_AT_ONCE:
                    yield found
                    size, found = 0, []
            if found:
                yield found
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}") from error


def _line(raw: bytes) -> Line:
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError):  # UnicodeDecodeError is the former
        return None
    return found if isinstance(found, dict) else None
