"""What a picture's file says of itself, as it is kept beside its item: read once, until it is asked for more.

It is kept apart from the columns it becomes: those of a table go before it, and when they change it must be known.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from engine.ingest.metadata.columns import COLUMNS, PLACE, metadata_of
from engine.ingest.metadata.values import Columns
from engine.ingest.metadata.window import Window, opened_window
from engine.storage.containers import Inside, Named
from engine.storage.kinds import ALL_METADATA, NO_LOCATION, NO_METADATA

READ_BY = 1
"""Raised when more is read, or something otherwise: every file is looked into once more then."""


def narrowed(columns: Columns, wants: str) -> Columns:
    """Return those columns that are wanted.

    Args:
        columns: what files say.
        wants: one of `kinds.METADATA`.
    """
    if wants == NO_METADATA:
        return {}
    return {name: value for name, value in columns.items() if wants == ALL_METADATA or name not in PLACE}


def written(columns: Columns, wants: str) -> str | None:
    """Write what a file says, and what was asked for; None where nothing was."""
    if wants == NO_METADATA:
        return None
    said = json.dumps(narrowed(columns, wants), default=lambda value: value.isoformat(), ensure_ascii=False)
    return f"{_head(wants)}{said}}}"


def _head(wants: str) -> str:
    return f'{{"read": "{READ_BY} {wants}", "said": '


def is_read(text: str | None, wants: str) -> bool:
    """Whether nothing more, and nothing less, is wanted than what was read."""
    if wants == NO_METADATA:
        return text is None
    return text is not None and text.startswith(_head(wants))


def are_read(texts: Iterable[pa.Array], wants: str) -> NDArray[np.bool_]:
    """Do as `is_read` with many."""
    found = [np.empty(0, np.bool_)]
    for some in texts:
        known = some if pa.types.is_string(some.type) else pa.nulls(len(some), pa.string())
        read = pc.is_null(known) if wants == NO_METADATA else pc.starts_with(known, _head(wants)).fill_null(False)
        found.append(read.to_numpy(zero_copy_only=False))
    return np.concatenate(found)


def columns_in(text: str | None) -> Columns:
    """Return what a file says, as `written` wrote it; nothing of what something else wrote."""
    try:
        found: Any = json.loads(text or "{}")
        said = {name: found["said"][name] for name in COLUMNS if name in found["said"]} if found else {}
        return {**said, "taken": datetime.fromisoformat(said["taken"])} if "taken" in said else said
    except (ValueError, KeyError, TypeError, RecursionError):
        return {}


def found_in(data: bytes, wants: str) -> str | None:
    """Look into a picture file that was read for something else, and write what it says."""
    return None if wants == NO_METADATA else written(metadata_of(Window.of(data)), wants)


def found_again(location: bytes, inside: Inside | Named | None, before: str | None, wants: str) -> str | None:
    """Return what a file says that has not changed since; it is opened where that was not read, or not all of it.

    Args:
        location: the file.
        inside: where it lies in a container, if it does.
        before: what was read then.
        wants: one of `kinds.METADATA`.

    Raises:
        OSError, PictureError: it has to be opened, and cannot be read.
    """
    if is_read(before, wants):
        return before
    if wants == NO_METADATA:
        return None
    if wants == NO_LOCATION and is_read(before, ALL_METADATA):
        return written(columns_in(before), wants)
    if inside is not None:
        return found_in(inside.read(), wants)
    with opened_window(location) as window:
        return written(metadata_of(window), wants)
