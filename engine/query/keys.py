"""Items by the keys that their owner gave them."""

from __future__ import annotations

from typing import Any

import numpy as np

from engine.collection.snapshot import Snapshot
from indexers import checks
from indexers.errors import InvalidInput, ItemNotFound
from indexers.vectors import IdArray


def ids_of_keys(snapshot: Snapshot, keys: Any) -> IdArray:
    """Return the ids of items by their keys.

    Args:
        snapshot: the version.
        keys: a key, a text or a whole number of any size, or several.

    Returns:
        int64 [n], one id a key.

    Raises:
        ItemNotFound: no item has a key.
        InvalidInput: items of several sources have one, or it is no key.
    """
    wanted = checks.one_or_several("keys", keys, as_key)
    return np.array([int(snapshot.ids[_row(snapshot, key)]) for key in wanted], dtype=np.int64)


def as_key(name: str, given: Any) -> str:
    """Return a key as items are called by it.

    Raises:
        InvalidInput: it is neither a text nor a whole number.
    """
    if type(given) is int or isinstance(given, np.integer):
        return str(int(given))
    return checks.text(name, given)


def _row(snapshot: Snapshot, key: str) -> int:
    found = {
        source.name: row
        for source in snapshot.manifest.sources
        if source.kind == "vectors" and (row := snapshot.find_in(source.name, key)) is not None
    }
    if not found:
        raise ItemNotFound(f"no item of vectors has the key {key!r} in {snapshot.root}")
    if len(found) > 1:
        raise InvalidInput(
            f"{key!r} is the key of items of several sources: {', '.join(found)}; name them by their ids"
        )
    return next(iter(found.values()))
