"""Tar, zip and Parquet files with pictures in them: sources of their own, or files in a folder.

What lies in one is listed by `inside`; of one that is as it was, from what is known (`as_before`).
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from engine.collection.manifest import Source, SourceTable
from engine.collection.notes import Notes
from engine.encoders.pictures import looks_like_picture
from engine.ingest.as_before import AsBefore
from engine.ingest.entries import Entry
from engine.ingest.folders import Folder
from engine.ingest.inside import FilesInside, RowsInside
from engine.ingest.levels import is_file
from engine.ingest.noted import holds_pictures
from engine.ingest.tables import (
    JoinedTables,
    overlaid,
)
from engine.storage.containers import PARQUET, SUFFIXES, NoPictures, open_container
from engine.storage.names import file_text, path_text
from engine.storage.picture_rows import PictureRows
from indexers.errors import SourceError

WHOLE = (".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".tar.zst", ".tar.lz4")


def is_container(path: Path) -> bool:
    """Whether a file is a tar or zip file, or a Parquet file with pictures in it.

    Raises:
        SourceError: it is a tar file that is compressed as a whole, or each of its rows has a list of pictures.
    """
    name = os.fsencode(path.name).lower()
    if path.name.lower().endswith(WHOLE):
        raise SourceError(
            f"{path} is compressed as a whole, so that nothing in it can be read by itself: unpack it to a .tar file "
            "and name that"
        )
    if not name.endswith(SUFFIXES) or not path.is_file():
        return False
    try:
        return not name.endswith(PARQUET) or _has_pictures(os.fsencode(path))
    except OSError:  # why, is found out when it is listed: it may be one that was read before
        return True


def _has_pictures(location: bytes) -> bool:
    try:
        PictureRows(location, looks_like_picture)
    except NoPictures:
        return False
    return True


def other_columns(path: Path) -> str | None:
    """Return what a user should know of a Parquet file with several columns of pictures; None for all others."""
    if path.suffix.lower() != ".parquet":
        return None
    rows = PictureRows(os.fsencode(path), looks_like_picture)
    if not rows.passed_over:
        return None
    others = ", ".join(rows.passed_over)
    return f"{path} has pictures in several columns: those in {rows.column.name} are read, and not {others}"


class Containers:
    """What a folder does with the containers in it.

    Args:
        source: whose pictures they are.
        reads: whether they are read; else they are passed over.
        labels: tables that are joined to the pictures.
        own: what the columns are called that a container has of its own.
        others: containers that are sources of their own.
    """

    def __init__(
        self,
        source: Source,
        *,
        reads: bool,
        labels: JoinedTables | None = None,
        own: SourceTable | None = None,
        others: Iterable[Path] = (),
    ) -> None:
        self._seen = dict[str, None]()
        self._source, self._reads, self._labels, self._own = source, reads, labels, own
        self._others = {os.path.realpath(os.fsencode(one)) for one in others}

    def takes(self, file: os.DirEntry[bytes], path: str, notes: Notes) -> bool:
        """Whether a file is a container, or is called like one and cannot be read as one.

        Args:
            file: the file.
            path: its text in the source.
            notes: say so of one that was opened before, and has not changed since.
        """
        name = file.name.lower()
        if not name.endswith(SUFFIXES) or not is_file(file):
            return False
        try:
            return not name.endswith(PARQUET) or holds_pictures(file, self._source.name, path, notes, _has_pictures)
        except (OSError, SourceError):
            return True

    @property
    def passed_over(self) -> list[str]:
        """Those that were not read."""
        return [] if self._reads else list(self._seen)

    def entries(self, location: bytes, path: str, known: AsBefore | None) -> Generator[Entry, None, int]:
        """Yield the pictures in a container and return how many other files were in it; see `entries_in`."""
        if self._others and os.path.realpath(location) in self._others:
            return 0
        self._seen[path] = None
        if not self._reads:
            return 1
        return (yield from entries_in(self._source.name, location, path, self._labels, self._own, known))


def is_of_containers(folder: Path, others: Iterable[Path]) -> bool:
    """Whether a folder holds pictures in containers, and none beside them."""
    probe = Containers(Source("", "folder", ""), reads=False)
    walk = Folder(Source("", "folder", file_text(folder)), folder, others=others, containers=probe)
    return all(entry.unread or entry.doubtful for entry in walk.entries()) and bool(probe.passed_over)


class ContainerListing:
    """Pictures in one container: a source of its own, or a part of a folder of them; see `PictureListing`."""

    left: Sequence[str] = ()
    passed: Mapping[str, int] = {}

    def __init__(
        self,
        source: Source,
        path: Path,
        labels: JoinedTables | None = None,
        own: SourceTable | None = None,
        *,
        below: str = "",
    ) -> None:
        self.source = source
        self.whole, self.below = not below, below
        self.location = file_text(path)
        self.ignored = 0
        self.notes = Notes()
        self.known: AsBefore | None = None
        self._file, self._labels, self._own = os.fsencode(os.path.abspath(path)), labels, own

    def entries(self) -> Iterator[Entry]:
        """Yield the pictures in the order in which they lie there."""
        path = self.below or path_text(self._file.rpartition(b"/")[2])
        name, known = self.source.name, self.known
        self.ignored = yield from entries_in(name, self._file, path, self._labels, self._own, known)


def entries_in(
    source: str,
    location: bytes,
    path: str,
    tables: JoinedTables | None,
    own: SourceTable | None,
    known: AsBefore | None,
) -> Generator[Entry, None, int]:
    """Yield the pictures in a container, and what is wrong with it.

    Args:
        source: name of the source.
        location: the container.
        path: its path in the source.
        tables: what is joined to the pictures.
        own: what the columns are called that the container has of its own.
        known: what earlier runs know of it; a container that tables are joined to is always opened.

    Returns:
        how many files in it are no pictures, nor say anything of one.
    """
    caption = None if own is None else own.caption_column
    if tables is not None and known is not None:
        known.forget(path)
        known = None
    try:
        if known is not None and (before := known.entries(path, location, caption)) is not None:
            entries, ignored = before
            yield from entries
            return ignored
        container = open_container(location, looks_like_picture)
        files = (
            RowsInside(container, source, path, caption)
            if isinstance(container, PictureRows)
            else FilesInside(container, source, path, caption)
        )
        count = 0
        for entry in files.entries():
            yield _joined(entry, tables)
            count += 1
        if known is not None:
            known.note(path, container.status, caption, count, files.ignored)
        return files.ignored
    except (OSError, SourceError) as error:
        reason = (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
        problem = f"cannot be read, or not to its end: {reason}"
        yield Entry(source, path, location=location, problem=problem, unread=True)
        return 0


def _joined(entry: Entry, tables: JoinedTables | None) -> Entry:
    """Return an entry with what tables say of it over what its container does."""
    if tables is None or entry.problem is not None:
        return entry
    said = tables.labels(entry.path)
    caption, meta = (entry.caption, entry.meta) if said is None else overlaid((entry.caption, entry.meta), said)
    if tables.complete:
        return replace(entry, caption=caption, meta=meta)
    given = None if said is None else said[0]
    return replace(entry, caption=given, meta=meta, incomplete=True, beside=entry.caption)
