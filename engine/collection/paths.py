"""What the path and the stamp of an item say, worked out when it is asked for: nothing of it is stored twice."""

from __future__ import annotations

import posixpath
from datetime import UTC, datetime, timedelta


def folder_of(path: str) -> str:
    """Return the folder that an item's path lies in, in its source; "" for the source's own."""
    return posixpath.dirname(path)


def name_of(path: str) -> str:
    """Return the last part of an item's path."""
    return posixpath.basename(path)


def suffix_of(path: str) -> str:
    """Return the suffix of an item's path in small letters, `.jpg`; "" where it has none."""
    return posixpath.splitext(path)[1].lower()


def changed_at(mtime_ns: int) -> datetime:
    """Return when an item's file was changed last, in UTC, to the microsecond, given its 64 bits of nanoseconds."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=mtime_ns // 1000)
