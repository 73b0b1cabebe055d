"""Whether a source that is not where it was is the same as one found elsewhere: decided by what is in it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from engine.collection.manifest import Source
from engine.collection.snapshot import Snapshot
from engine.ingest.joined import own_columns
from engine.ingest.vector_files import vector_files
from engine.storage.names import path_bytes
from engine.storage.regular import check_regular, mtime_of

SAMPLE = 64
COLUMNS = ["source", "path", "size", "mtime_ns"]


def is_moved(snapshot: Snapshot, source: Source, path: Path) -> bool:
    """Whether at least half of a sample of a source's items is found, as it was, at another place.

    A name alone says nothing: every camera card is called DCIM.

    Args:
        snapshot: the newest version.
        source: one of its sources, whose location does not exist any more.
        path: a folder, table or vector file.
    """
    rows = list(_sample(snapshot, source))
    if source.kind == "vectors":
        files = vector_files(path, (), own_columns(source).vectors) or []
        stamps = {_stamp(os.fsencode(file.vectors)) for file in files}
        found = sum((row["size"], row["mtime_ns"]) in stamps for row in rows)
    else:
        folder = os.fsencode(path if path.is_dir() else path.absolute().parent)
        stamped = (_stamp(os.path.join(folder, path_bytes(row["path"]))) for row in rows)
        found = sum(stamp[0] == row["size"] for stamp, row in zip(stamped, rows, strict=True))
    return bool(rows) and 2 * found >= len(rows)


def _sample(snapshot: Snapshot, source: Source) -> Iterator[dict[str, Any]]:
    """Yield the first live items of a source."""
    wanted = SAMPLE
    for shard, table in enumerate(snapshot.item_tables(COLUMNS)):
        mine = np.array(table.column("source").to_pylist(), dtype=object) == source.name
        for row in np.flatnonzero(mine & snapshot.live_in(shard).allowed)[:wanted].tolist():
            wanted -= 1
            yield {name: table.column(name)[row].as_py() for name in COLUMNS}
        if not wanted:
            return


def _stamp(path: bytes) -> tuple[int, int]:
    try:
        status = check_regular(path)
    except (OSError, ValueError):
        return (-1, -1)
    return (status.st_size, mtime_of(status))
