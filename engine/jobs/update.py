"""Columns of items that are set by hand: nothing is encoded, and no vector is touched."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from engine.collection.cells import Cell, cell, column_of
from engine.collection.commit import commit
from engine.collection.manifest import Manifest
from engine.collection.relabel import relabel, rewrite_items
from engine.collection.shards import BY_HAND, CAPTION, ITEM_SCHEMA, META, read_table
from engine.collection.snapshot import Snapshot
from engine.query.where.columns import OURS
from engine.storage.disk import writing
from engine.storage.layout import FileRef
from indexers import checks
from indexers.errors import InvalidInput
from indexers.vectors import IdArray


def update(snapshot: Snapshot, rows: IdArray, columns: Mapping[str, Any]) -> Manifest | None:
    """Set columns of items, as one version.

    What a source says of an item counts again when it says something else than before; until then what is set here
    stays.

    Args:
        snapshot: the version they were found in.
        rows: their row numbers, int64 [n].
        columns: values by column, the same for all of them; None for no value any more. `caption` may be among them.

    Returns:
        the new version; None where there is nothing to do.

    Raises:
        InvalidInput: a column that is no one's to set, or a text that is none. What Arrow has no type for is stored as
            its text.
        CommitConflict: another process has changed the items meanwhile.
    """
    values = {name: _cell(value) for name, value in _checked(columns).items()}
    return _written(snapshot, rows, lambda own: {name: [value] * len(own) for name, value in values.items()})


def update_each(snapshot: Snapshot, rows: IdArray, columns: Mapping[str, Any]) -> Manifest | None:
    """Set columns of items, of each item its own value, as one version; otherwise as `update`.

    Args:
        snapshot: the version they were found in.
        rows: their row numbers, each once, int64 [n].
        columns: n values by column.

    Raises:
        InvalidInput: more or fewer values than items, an item that comes twice; and as for `update`.
        CommitConflict: another process has changed the items meanwhile.
    """
    if len(np.unique(rows)) < len(rows):
        raise InvalidInput("an item comes twice: it has one value")
    cells: dict[str, list[Cell | None]] = {}
    for name, given in checks.mapping("columns", columns).items():
        several = given.to_pylist() if isinstance(given, pa.Array | pa.ChunkedArray) else given
        several = several.tolist() if isinstance(several, np.ndarray) else several
        if not isinstance(several, list | tuple) or len(several) != len(rows):
            raise InvalidInput(
                f"columns: {checks.brief(name)} needs a value for each of {len(rows):,} items, in a list"
            )
        for value in several:
            if isinstance(value, str):
                _check_text(checks.text("columns", name), value)
        (stored,) = _checked({name: None})
        cells[stored] = [_caption(value) if stored == CAPTION else _cell(value) for value in several]
    return _written(snapshot, rows, lambda own: {name: [several[at] for at in own] for name, several in cells.items()})


def _cell(value: Any) -> Cell | None:
    return None if value is None else cell(value)


def _caption(value: Any) -> Cell | None:
    return _cell(checks.optional(CAPTION, value, checks.text))


def _written(
    snapshot: Snapshot, rows: IdArray, values: Callable[[list[int]], Mapping[str, Sequence[Cell | None]]]
) -> Manifest | None:
    """Commit other values of items; `values` returns by column those of some, by their numbers in `rows`."""
    if not len(rows) or not values([0]):
        return None
    root, base = snapshot.root, snapshot.manifest
    numbers = np.searchsorted(base.shard_starts, rows, side="right") - 1
    with writing(root):
        new: dict[str, FileRef] = {}
        keys: set[int] = set()
        for number in np.unique(numbers).tolist():
            at = np.flatnonzero(numbers == number)
            ref, own = base.items[number], rows[at] - base.shard_starts[number]
            snapshot.ensure([ref])
            items = read_table(root, ref).take(pa.array(own))
            keys.update(items.column("key").to_pylist())
            new[ref.path] = rewrite_items(root, ref, own, _with(items, values(at.tolist())))
        return commit(root, relabel(root, new, keys, base), operation="update")


def _checked(columns: Mapping[str, Any]) -> dict[str, Any]:
    """Return columns by the names they are stored by."""
    found: dict[str, Any] = {}
    for name, value in checks.mapping("columns", columns).items():
        name = checks.text("columns", name)
        if isinstance(value, str):
            _check_text(name, value)
        if name == CAPTION:
            found[CAPTION] = checks.optional(CAPTION, value, checks.text)
            continue
        if name.lower() in OURS:
            raise InvalidInput(
                f"column {name!r} is not yours to set; a column of yours of that name is meta.{name}"
                f"{f', and the caption of an item is {CAPTION}' if name.lower() == CAPTION else ''}"
            )
        own = checks.text("columns", name.removeprefix("meta."))
        found[META + own] = value
    return found


def _check_text(name: str, value: str) -> None:
    """Refuse a text that cannot be written down.

    Raises:
        InvalidInput: it holds half of a pair of surrogates.
    """
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise InvalidInput(f"{name}: {checks.brief(value)} is not valid Unicode: {error.reason}") from error


def _with(items: pa.Table, values: Mapping[str, Sequence[Cell | None]]) -> pa.Table:
    """Return items with other values in some columns."""
    before = items.column(BY_HAND).to_pylist() if BY_HAND in items.column_names else [None] * len(items)
    names = [CAPTION if name == CAPTION else name.removeprefix(META) for name in values]
    told = [json.dumps(list(dict.fromkeys([*json.loads(one or "[]"), *names]))) for one in before]
    items = _set(items, BY_HAND, pa.array(told, pa.string()))
    for name, several in values.items():
        column = column_of(several)
        if name in ITEM_SCHEMA.names:
            column = column.cast(ITEM_SCHEMA.field(name).type)
        items = _set(items, name, column)
    return items


def _set(items: pa.Table, name: str, column: pa.Array) -> pa.Table:
    at, field = items.schema.get_field_index(name), pa.field(name, column.type, nullable=True)
    return items.append_column(field, column) if at < 0 else items.set_column(at, field, column)
