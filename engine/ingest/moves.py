"""Whether a source that is not where it was is the same as one found elsewhere: decided by what is in it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from engine.collection.manifest import Source
from engine.collection.shards import FOUND
from engine.collection.snapshot import Snapshot
from engine.encoders.pictures import looks_like_picture
from engine.ingest.joined import own_columns
from engine.ingest.metadata.found import columns_in, found_again
from engine.ingest.vector_files import vector_files
from engine.storage.containers import stamp_original
from engine.storage.kinds import ALL_METADATA
from engine.storage.names import path_bytes
from indexers.errors import SourceError

SAMPLE = 64
COLUMNS = ["source", "path", "size", "mtime_ns", FOUND]


def is_moved(snapshot: Snapshot, source: Source, path: Path) -> bool:
    """Whether at least half of a sample of a source's items is found, as it was, at another place.

    A name alone says nothing: every camera card is called DCIM.

    Args:
        snapshot: the newest version.
        source: one of its sources, whose location does not exist any more.
        path: a folder, table, container or vector file.
    """
    rows = list(_sample(snapshot, source))
    if source.kind == "vectors":
        files = vector_files(path, (), own_columns(source).vectors) or []
        stamps = {_stamp(os.fsencode(file.vectors)) for file in files}
        found = sum((row["size"], row["mtime_ns"]) in stamps for row in rows)
    else:
        found = sum(_is_there(_place(source, path, row["path"]), row) for row in rows)
    return bool(rows) and 2 * found >= len(rows)


def _is_there(place: bytes, row: dict[str, Any]) -> bool:
    """Whether a file is as large as an item's was, or was taken at the same moment: then its tags were edited."""
    if _stamp(place)[0] == row["size"]:
        return True
    before = columns_in(row.get(FOUND)).get("taken")
    if before is None:
        return False
    try:
        return bool(columns_in(found_again(place, None, None, ALL_METADATA)).get("taken") == before)
    except (OSError, SourceError):
        return False


def _sample(snapshot: Snapshot, source: Source) -> Iterator[dict[str, Any]]:
    """Yield the first live items of a source."""
    wanted = SAMPLE
    for shard, table in enumerate(snapshot.item_tables(COLUMNS)):
        mine = np.array(table.column("source").to_pylist(), dtype=object) == source.name
        for row in np.flatnonzero(mine & snapshot.live_in(shard).allowed)[:wanted].tolist():
            wanted -= 1
            yield {name: table.column(name)[row].as_py() for name in table.column_names}
        if not wanted:
            return


def _place(source: Source, path: Path, item: str) -> bytes:
    """Return where an item of a source would be if that was at a path."""
    if source.kind == "container":  # which may have another name now
        return os.path.join(os.fsencode(os.path.abspath(path)), path_bytes(item).partition(b"/")[2])
    return os.path.join(os.fsencode(path if path.is_dir() else path.absolute().parent), path_bytes(item))


def _stamp(path: bytes) -> tuple[int, int]:
    try:
        return stamp_original(path, looks_like_picture)
    except (OSError, ValueError, SourceError):
        return (-1, -1)
