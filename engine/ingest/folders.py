"""Pictures in a folder, or in a table that lists them."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from engine.collection.manifest import Source
from engine.collection.paths import file_text, path_bytes, path_text
from engine.ingest.entries import Entry
from engine.ingest.pictures import PICTURE_SUFFIXES, looks_like_picture
from engine.ingest.tables import LabelTable, sidecar
from indexers.errors import SourceError

HEAD = 64
_SUFFIXES = tuple(suffix.encode() for suffix in PICTURE_SUFFIXES)


class Folder:
    """Every picture below a folder, or one picture file.

    A file counts as a picture by its suffix, or else by its first bytes. Links are followed,
    each folder is entered once, so that a loop of links ends.
    """

    def __init__(self, source: Source, root: Path, labels: LabelTable | None = None) -> None:
        if not root.is_dir():
            raise SourceError(f"{root} is not a folder")
        self.source = source
        self.root = os.fsencode(os.path.abspath(root))
        self.labels = labels
        self.ignored = 0

    def entries(self) -> Iterator[Entry]:
        """Yield the pictures, folder by folder, in the order of their names' bytes."""
        self.ignored = 0
        yield from self._walk(self.root, set())

    def _walk(self, folder: bytes, entered: set[tuple[int, int]]) -> Iterator[Entry]:
        try:
            status = os.stat(folder)
            if (status.st_dev, status.st_ino) in entered:
                return
            entered.add((status.st_dev, status.st_ino))
            found = sorted(os.scandir(folder), key=lambda one: one.name)
        except OSError as error:
            yield self._problem(folder, f"folder cannot be read: {error.strerror}")
            return
        for one in found:
            if one.name.startswith(b"."):
                continue
            if _is_folder(one):
                if not one.name.endswith(b".nest"):
                    yield from self._walk(one.path, entered)
            else:
                entry = self._file(one)
                if entry is not None:
                    yield entry

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
        known = self.labels.labels(path) if self.labels else None
        caption, meta = known or (sidecar(one.path), {})
        return Entry(
            source=self.source.name,
            path=path,
            size=status.st_size,
            mtime_ns=status.st_mtime_ns,
            caption=caption,
            meta=meta,
            location=one.path,
        )

    def _problem(self, location: bytes, reason: str) -> Entry:
        path = path_text(os.path.relpath(location, self.root))
        return Entry(self.source.name, path, location=location, problem=reason)


def _is_folder(one: os.DirEntry[bytes]) -> bool:
    try:
        return one.is_dir()
    except OSError:
        return False


def _head(path: bytes) -> bytes:
    with open(path, "rb") as file:
        return file.read(HEAD)


class PictureTable:
    """Pictures listed by a table: a column of file names, relative to the table's folder."""

    def __init__(self, source: Source, table: Path, labels: LabelTable) -> None:
        self.source = source
        self.folder = Path(os.path.abspath(table)).parent
        self.labels = labels
        self.ignored = 0

    def entries(self) -> Iterator[Entry]:
        """Yield the listed pictures in the order of the table."""
        for name, (caption, meta) in self.labels.rows.items():
            if "://" in name:
                yield Entry(self.source.name, name, problem="is an address, not a file: nothing is fetched")
                continue
            location = os.path.join(os.fsencode(self.folder), path_bytes(name))
            try:
                status = os.stat(location)
            except (OSError, ValueError) as error:
                yield Entry(self.source.name, name, problem=f"cannot be read: {error}")
                continue
            yield Entry(self.source.name, name, status.st_size, status.st_mtime_ns, caption, meta, location=location)


def picture_entry(source: str, path: Path) -> Entry:
    """Return the entry of one picture file that was named by itself."""
    status = path.stat()
    location = os.fsencode(os.path.abspath(path))
    return Entry(
        source,
        path_text(os.fsencode(path.name)),
        status.st_size,
        status.st_mtime_ns,
        sidecar(location),
        location=location,
    )


class SingleFiles:
    """Pictures named one by one, all in the same folder."""

    def __init__(self, source: Source, files: list[Path]) -> None:
        self.source = source
        self.files = files
        self.ignored = 0

    def entries(self) -> Iterator[Entry]:
        """Yield them in the order they were named."""
        for path in self.files:
            yield picture_entry(self.source.name, path)


def folder_source(name: str, root: Path, kind: str = "folder") -> Source:
    """Describe a folder as a source."""
    return Source(name, kind, file_text(root))
