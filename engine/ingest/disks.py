"""Which disk each source was on when it was indexed last: an empty place where one was mounted is another disk.

It is kept beside what the user named (`collection.named`), under the cache folder: numbers of disks mean nothing on
another machine. Losing it costs a line that would have been told.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Sequence
from pathlib import Path

from engine.collection.manifest import Source
from engine.storage.names import path_bytes
from engine.storage.regular import read_regular
from engine.storage.verified import cache_file

FOLDER = "disks"
MOST_BYTES = 1 << 20


def on_another_disk(root: Path, sources: Sequence[Source]) -> list[Source]:
    """Return the sources that are on another disk than when this was asked last, and note where all of them are now.

    Args:
        root: the collection.
        sources: those of a run.
    """
    known, now = _known(root), dict[str, int]()
    for source in sources:
        disk = _disk(path_bytes(source.location))
        if disk is not None:
            now[source.location] = disk
    if now.items() - known.items():
        # A home that cannot be written to is no reason to fail.
        with contextlib.suppress(OSError):
            target = cache_file(root, FOLDER)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(json.dumps(known | now))
    return [
        one
        for one in sources
        if one.location in now and known.get(one.location, now[one.location]) != now[one.location]
    ]


def _known(root: Path) -> dict[str, int]:
    with contextlib.suppress(OSError, ValueError):
        found = json.loads(read_regular(cache_file(root, FOLDER), most=MOST_BYTES))
        if isinstance(found, dict):
            return {place: disk for place, disk in found.items() if isinstance(disk, int)}
    return {}


def _disk(path: bytes) -> int | None:
    """Return what stays the same for a file system wherever it is mounted, or for want of that its device number."""
    try:
        return os.statvfs(path).f_fsid or os.stat(path).st_dev
    except OSError:
        return None
