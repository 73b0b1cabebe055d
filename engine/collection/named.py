"""What the user of this machine named as sources and tables of a collection, so that it may be shown and read again.

A collection that came from somebody else says where its pictures and tables are, too; that is no reason to put what
lies there into a page that is made to be passed on, or into the collection. What was named to `index` and `add` is kept
under the user's cache folder; losing it costs one confirmation, nothing else.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from engine.storage.regular import read_regular
from engine.storage.verified import cache_file

FOLDER = "named"
FILE = "file"
JOINED = "joined"
MOST_BYTES = 64 << 20


class Named(NamedTuple):
    """One thing that was named.

    Attributes:
        kind: of the source, as in `manifest.Source`, "file" for a picture that was named by itself, or "joined" for a
            table of captions.
        location: text of its absolute path.
    """

    kind: str
    location: str


def named(root: Path) -> frozenset[Named]:
    """Return what was named on this machine for a collection."""
    found = set()
    with contextlib.suppress(OSError, UnicodeDecodeError):
        for line in read_regular(cache_file(root, FOLDER), most=MOST_BYTES).decode().splitlines():
            # A line half-written by a killed process is as good as none.
            with contextlib.suppress(ValueError, TypeError):
                found.add(Named(*map(str, json.loads(line))))
    return frozenset(found)


def remember_named(root: Path, more: Iterable[Named]) -> None:
    """Note what was named; a home that cannot be written to is no reason to fail."""
    known = named(root)
    text = "".join(json.dumps(one) + "\n" for one in dict.fromkeys(more) if one not in known)
    if text:
        with contextlib.suppress(OSError):
            target = cache_file(root, FOLDER)
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("a") as out:
                out.write(text)
