"""Pictures in a folder, or in a table that lists them."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from engine.collection import reading
from engine.collection.manifest import Source
from engine.encoders.pictures import looks_like_picture
from engine.ingest.entries import Entry
from engine.ingest.tables import JoinedTables, LabelTable, sidecar
from engine.storage import layout
from engine.storage.kinds import PICTURE_SUFFIXES
from engine.storage.names import path_bytes, path_text
from engine.storage.regular import check_regular, opened_regular
from indexers.errors import SourceError

HEAD = 64
_SUFFIXES = tuple(suffix.encode() for suffix in PICTURE_SUFFIXES)


class Folder:
    """Every picture below a folder, or one picture file.

    A file counts as a picture by its suffix, or else by its first bytes. Links are followed,
    each folder is entered once, so that a loop of links ends. Collections are passed over.
    """

    whole = True

    def __init__(self, source: Source, root: Path, labels: JoinedTables | None = None) -> None:
        if not root.is_dir():
            raise SourceError(f"{root} is not a folder")
        self.source = source
        self.root = os.fsencode(os.path.abspath(root))
        self.labels = labels
        self.ignored = 0

    def entries(self) -> Iterator[Entry]:
        """Yield the pictures, folder by folder, in the order of their names' bytes."""
        self.ignored = 0
        entered: set[tuple[int, int]] = set()
        # A stack and no recursion: folders may be nested deeper than Python's stack.
        levels = [self._listed(self.root, entered)]
        while levels:
            one = next(levels[-1], None)
            if one is None:
                levels.pop()
            elif isinstance(one, Entry):
                yield one
            elif _is_folder(one):
                levels.append(self._listed(one.path, entered))
            elif (entry := self._file(one)) is not None:
                yield entry

    def _listed(self, folder: bytes, entered: set[tuple[int, int]]) -> Iterator[os.DirEntry[bytes] | Entry]:
        """List a folder, or say as an entry why it cannot be listed."""
        try:
            return iter(_visible(folder, entered))
        except OSError as error:
            path = path_text(os.path.relpath(folder, self.root))
            reason = f"folder cannot be read: {error.strerror}"
            return iter([Entry(self.source.name, path, location=folder, problem=reason, unread=True)])

    def _file(self, one: os.DirEntry[bytes]) -> Entry | None:
        try:
            status = one.stat()
            if not stat.S_ISREG(status.st_mode):
                return None
            if not one.name.lower().endswith(_SUFFIXES) and not looks_like_picture(_head(one.path)):
                self.ignored += 1
                return None
        except OSError as error:
            # A dangling link or an unreadable file matters only if it claims to be a picture.
            if one.name.lower().endswith(_SUFFIXES):
                return self._problem(one.path, f"cannot be read: {error.strerror}")
            self.ignored += 1
            return None
        path = path_text(os.path.relpath(one.path, self.root))
        found = Entry(self.source.name, path, status.st_size, status.st_mtime_ns, location=one.path)
        return labelled(found, self.labels)

    def _problem(self, location: bytes, reason: str) -> Entry:
        path = path_text(os.path.relpath(location, self.root))
        return Entry(self.source.name, path, location=location, problem=reason)


def _visible(folder: bytes, entered: set[tuple[int, int]]) -> list[os.DirEntry[bytes]]:
    """List a folder that was not entered before, in order, without what is hidden; a collection counts as empty."""
    status = os.stat(folder)
    if (status.st_dev, status.st_ino) in entered:
        return []
    entered.add((status.st_dev, status.st_ino))
    with os.scandir(folder) as opened:
        found = sorted((one for one in opened if not one.name.startswith(b".")), key=lambda one: one.name)
    versions = os.fsencode(layout.VERSIONS)
    if any(one.name == versions for one in found) and reading.exists(Path(os.fsdecode(folder))):
        return []
    return found


def _is_folder(one: os.DirEntry[bytes]) -> bool:
    try:
        return one.is_dir()
    except OSError:
        return False


def _head(path: bytes) -> bytes:
    with opened_regular(path) as file:
        return file.read(HEAD)


class PictureTable:
    """Pictures listed by a table: a column of file names, relative to the table's folder."""

    whole = True

    def __init__(self, source: Source, table: Path, labels: LabelTable) -> None:
        self.source = source
        self.folder = os.fsencode(Path(os.path.abspath(table)).parent)
        self.labels = labels
        self.ignored = 0

    def entries(self) -> Iterator[Entry]:
        """Yield the listed pictures in the order of the table."""
        for name, (caption, meta) in self.labels.rows.items():
            if "://" in name:
                yield Entry(self.source.name, name, problem="is an address, not a file: nothing is fetched")
                continue
            # A table holds file names as they are, unless nestvec wrote it: then their texts.
            raw = os.path.join(self.folder, name.encode())
            location = raw if os.path.lexists(raw) else os.path.join(self.folder, path_bytes(name))
            path = location if name.startswith("/") else os.path.relpath(location, self.folder)
            yield _stated(self.source.name, path_text(path), location, caption, meta)


class SingleFiles:
    """Pictures named one by one, in one folder or below it."""

    whole = False

    def __init__(self, source: Source, root: Path, files: list[Path], labels: JoinedTables | None = None) -> None:
        self.source = source
        self.labels = labels
        self.root = os.fsencode(os.path.abspath(root))
        self.files = [os.fsencode(os.path.abspath(file)) for file in files]
        self.ignored = 0

    def entries(self) -> Iterator[Entry]:
        """Yield them in the order they were named."""
        for location in self.files:
            path = path_text(os.path.relpath(location, self.root))
            yield labelled(_stated(self.source.name, path, location, None, {}), self.labels)


def labelled(entry: Entry, tables: JoinedTables | None) -> Entry:
    """Return the entry of a file with what its source's tables say of it, or else the text beside it."""
    if entry.problem is not None:
        return entry
    found = tables.labels(entry.path) if tables else None
    if tables and not tables.complete:
        caption, meta = found or (None, {})
        return replace(entry, caption=caption, meta=meta, incomplete=True, beside=sidecar(entry.location))
    caption, meta = found or (sidecar(entry.location), {})
    return replace(entry, caption=caption, meta=meta)


def _stated(source: str, path: str, location: bytes, caption: str | None, meta: dict[str, Any]) -> Entry:
    """Return the entry of a file that was named: whatever is wrong with it is its problem."""
    try:
        status = check_regular(location)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        return Entry(source, path, location=location, problem=f"cannot be read: {reason}")
    return Entry(source, path, status.st_size, status.st_mtime_ns, caption, meta, location)
