"""What lists contain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from engine.collection.columntypes import is_list
from engine.query.where.literals import place, shown_type, value_set
from engine.query.where.tree import Scalar
from indexers.errors import InvalidFilter


def contains(array: Any, wanted: Sequence[Scalar], every: bool, named: str, at: tuple[int, int] | None) -> pa.Array:
    """Return whether lists contain one of some values, or every one; null where there is no list.

    Raises:
        InvalidFilter: they are no lists, or of something else.
    """
    if not is_list(array.type):
        raise InvalidFilter(f"{named} is {shown_type(array.type)}, and no list", at)
    kind = array.type.value_type
    flat, parents = array.flatten(), pc.list_parent_indices(array).to_numpy()
    groups = [[value] for value in wanted] if every else [wanted]
    found = [_any(flat, parents, len(array), group, kind, named) for group in groups]
    hits = np.logical_and.reduce(found) if found else np.ones(len(array), bool)
    return pc.if_else(pc.is_valid(array), pa.array(hits), pa.scalar(None, pa.bool_()))


def _any(flat: Any, parents: Any, rows: int, wanted: Sequence[Scalar], kind: pa.DataType, named: str) -> Any:
    """Return whether each list has one of some values, bool [rows]; what is null is not looked for."""
    placed = [place(value, kind, f"a value of {named}") for value in wanted if value is not None]
    found = value_set(placed, kind)
    hits = np.zeros(rows, bool)
    if len(found) and len(flat):
        there = pc.fill_null(pc.is_in(flat, value_set=found), False).to_numpy(zero_copy_only=False)
        hits[parents[there]] = True
    return hits
