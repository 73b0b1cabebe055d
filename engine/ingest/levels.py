"""One folder of a source, while it is listed: what is in it, and where that lies in the source."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from engine.collection import reading
from engine.ingest.beside import Beside
from engine.ingest.entries import Entry
from engine.ingest.wanted import Rules
from engine.storage import layout
from engine.storage.names import path_text


@dataclass
class Level:
    """A folder that is being listed.

    Attributes:
        path: of the folder in the source, decoded with `surrogateescape`: empty, or ending in a slash.
        rules: what holds in it.
        only: whether it is passed over but for what the user named in it.
        names: all that is in it, in the order of the names' bytes.
        beside: the side files among that.
        ways: folders in it that are entered though they are passed over, for what the user named below them.
        contents: what is left to look at.
    """

    path: str
    rules: Rules
    only: bool = False
    names: dict[bytes, os.DirEntry[bytes]] = field(default_factory=dict)
    beside: Beside = field(default_factory=lambda: Beside(b"", ()))
    ways: set[bytes] = field(default_factory=set)
    contents: Iterator[os.DirEntry[bytes] | Entry] = field(default_factory=lambda: iter(()))

    def below(self, name: bytes) -> str:
        """Return where something in it lies in the source, decoded like `path`."""
        return self.path + decoded(name)


def names_in(folder: bytes, entered: set[tuple[int, int]]) -> dict[bytes, os.DirEntry[bytes]]:
    """List a folder that was not entered before, in order; a collection counts as empty."""
    status = os.stat(folder)
    if (status.st_dev, status.st_ino) in entered:
        return {}
    entered.add((status.st_dev, status.st_ino))
    with os.scandir(folder) as opened:
        found = {one.name: one for one in sorted(opened, key=lambda one: one.name)}
    if os.fsencode(layout.VERSIONS) in found and reading.exists(Path(os.fsdecode(folder))):
        return {}
    return found


def decoded(path: bytes) -> str:
    """Return a path as text in which bytes that are not UTF-8 are surrogates."""
    return path.decode("utf-8", "surrogateescape")


def encoded(path: str) -> bytes:
    """Return the path that was decoded."""
    return path.encode("utf-8", "surrogateescape")


def text_of(path: str) -> str:
    """Return `names.path_text` of a path that was decoded."""
    return path if path.isascii() and "%" not in path else path_text(encoded(path))


def is_folder(one: os.DirEntry[bytes]) -> bool:
    """Whether something is a folder, or leads to one."""
    try:
        return one.is_dir()
    except OSError:
        return False


def is_file(one: os.DirEntry[bytes]) -> bool:
    """Whether something is a file, or leads to one."""
    try:
        return one.is_file()
    except OSError:
        return False
