"""Pictures in a folder, or in a table that lists them."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.collection import reading
from engine.collection.manifest import Source
from engine.encoders.pictures import looks_like_picture
from engine.ingest.beside import said_beside
from engine.ingest.entries import Entry
from engine.ingest.tables import JoinedTables, LabelTable
from engine.storage import layout
from engine.storage.kinds import PICTURE_SUFFIXES
from engine.storage.names import path_bytes, path_text
from engine.storage.regular import check_regular, mtime_of, opened_regular
from indexers.errors import SourceError

if TYPE_CHECKING:
    from engine.ingest.containers import Containers

HEAD = 64

NOT_WANTED = frozenset(
    {b"@eadir", b"#recycle", b"#snapshot", b"@recycle", b"@recently-snapshot", b"$recycle.bin", b"recycler"}
    | {b"system volume information", b"lost+found", b"node_modules", b"__macosx", b"__pycache__"}
)
"""Folders that are passed over, by their names in small letters; those that begin with a dot are in any case."""

LIBRARIES, ORIGINALS = (
    frozenset({".photoslibrary", ".photolibrary", ".aplibrary"}),
    frozenset({b"originals", b"masters"}),
)
_SUFFIXES = tuple(suffix.encode() for suffix in PICTURE_SUFFIXES)


class Folder:
    """Every picture below a folder, or one picture file.

    A file counts as a picture by its suffix, or else by its first bytes. Links are followed,
    each folder is entered once, so that a loop of links ends. Collections are passed over. What cannot be looked into
    and has no suffix of a picture is listed as doubtful: it may be one that is known, or a link to a folder of them.

    One file is one item: what lies in the folder of another source is left to that, and a link to what lies in this one
    is passed over, since it is listed where it lies.

    Args:
        source: whose pictures they are.
        root: its folder.
        labels: tables that are joined to them.
        part: a folder below it, if only what is in that is listed.
        others: the folders of the collection's other sources.
        containers: what is done with tar, zip and Parquet files that hold pictures; if None, they are passed over.

    Attributes:
        below: the part, as a path in the source; "" for all of it.
        location: text of the absolute path of what is listed: the source's folder, or the part of it.
        left: what was left out in the last complete listing, as paths in the source: what other sources have, and
            folders in which no program keeps what people mean by pictures (`is_not_wanted`).
    """

    def __init__(
        self,
        source: Source,
        root: Path,
        labels: JoinedTables | None = None,
        *,
        part: Path | None = None,
        others: Iterable[Path] = (),
        containers: Containers | None = None,
    ) -> None:
        if not root.is_dir():
            raise SourceError(f"{root} is not a folder")
        self.source = source
        self.root = os.fsencode(os.path.abspath(root))
        self.labels = labels
        self.containers = containers
        self.ignored = 0
        self.left: list[str] = []
        self._start = self.root if part is None else os.fsencode(os.path.abspath(part))
        self.below = "" if part is None else path_text(os.path.relpath(self._start, self.root))
        self.whole = part is None
        self.location = path_text(self._start)
        self._real = os.path.realpath(self.root)
        self._others = {os.path.realpath(os.fsencode(one)) for one in others} - {self._real}

    def entries(self) -> Iterator[Entry]:
        """Yield the pictures, folder by folder, in the order of their names' bytes."""
        self.ignored, self.left = 0, []
        if self.labels:
            self.labels.begin()
        entered: set[tuple[int, int]] = set()
        # A stack and no recursion: folders may be nested deeper than Python's stack.
        levels = [self._listed(self._start, entered)]
        while levels:
            one = next(levels[-1], None)
            if one is None:
                levels.pop()
            elif isinstance(one, Entry):
                yield one
            elif self._is_elsewhere(one) or is_not_wanted(one):
                self.left.append(path_text(os.path.relpath(one.path, self.root)))
            elif _is_folder(one):
                levels.append(self._listed(one.path, entered))
            elif self.containers is not None and self.containers.takes(one.path):
                self.ignored += yield from self.containers.entries(one.path, self._path(one.path))
            elif (entry := self._file(one)) is not None:
                yield entry

    def _path(self, location: bytes) -> str:
        return path_text(os.path.relpath(location, self.root))

    def _listed(self, folder: bytes, entered: set[tuple[int, int]]) -> Iterator[os.DirEntry[bytes] | Entry]:
        """List a folder, or say as an entry why it cannot be listed."""
        try:
            return iter(_visible(folder, entered))
        except OSError as error:
            path = self._path(folder)
            reason = f"folder cannot be read: {error.strerror}"
            return iter([Entry(self.source.name, path, location=folder, problem=reason, unread=True)])

    def _is_elsewhere(self, one: os.DirEntry[bytes]) -> bool:
        """Whether something is listed at another place: where another source has it, or where a link leads to."""
        if not one.is_symlink():
            return bool(self._others) and _is_folder(one) and os.path.realpath(one.path) in self._others
        real = os.path.realpath(one.path)
        holder = innermost((self._real, *self._others), real)
        if holder is None or not os.path.lexists(real):
            return False
        inside = os.path.relpath(real, holder)
        if any(part.startswith(b".") and part != b"." for part in inside.split(b"/")):
            return False  # hidden, and not listed there
        # Of a folder in this source whatever comes first is entered, and a file that is no picture by its name may not
        # be listed where it lies.
        return holder != self._real or (real.lower().endswith(_SUFFIXES) and not _is_folder(one))

    def _file(self, one: os.DirEntry[bytes]) -> Entry | None:
        try:
            status = one.stat()
            if not stat.S_ISREG(status.st_mode):
                return None
            if not one.name.lower().endswith(_SUFFIXES) and not looks_like_picture(_head(one.path)):
                self.ignored += 1
                return None
        except OSError as error:
            return self._problem(one.path, error, doubtful=not one.name.lower().endswith(_SUFFIXES))
        path = path_text(os.path.relpath(one.path, self.root))
        found = Entry(self.source.name, path, status.st_size, mtime_of(status), location=one.path)
        return labelled(found, self.labels)

    def _problem(self, location: bytes, error: OSError, *, doubtful: bool) -> Entry:
        """Return the entry of what cannot be looked into; it is doubtful where nothing says that it is a picture."""
        reason = f"cannot be read: {error.strerror}"
        if error.errno == errno.ENOENT and Path(os.fsdecode(location)).is_symlink():
            reason = "is a link to what is not there"
        path = path_text(os.path.relpath(location, self.root))
        return Entry(self.source.name, path, location=location, problem=reason, doubtful=doubtful)


def is_not_wanted(one: os.DirEntry[bytes]) -> bool:
    """Whether something is a folder in which no program keeps what people mean by pictures.

    Waste baskets, snapshots and thumbnails of servers and systems, previews of catalogues, packages of programs; of a
    library of Apple Photos all but the originals. Whoever wants one of them names it.
    """
    if not _is_folder(one):
        return False
    name, library = one.name.lower(), Path(os.fsdecode(one.path)).parent.suffix.lower() in LIBRARIES
    return name in NOT_WANTED or name.endswith(b".lrdata") or (library and name not in ORIGINALS)


class Vanished:
    """A folder that lay in another one, which is listed, and is not there any more."""

    whole, ignored, below = True, 0, ""
    left: Sequence[str] = ()

    def __init__(self, source: Source) -> None:
        self.source = source

    def entries(self) -> Iterator[Entry]:
        """Yield nothing."""
        return iter(())


def innermost(roots: Iterable[bytes], path: bytes) -> bytes | None:
    """Return the longest of some folders that a path is, or lies in; both are real paths."""
    found = [root for root in roots if path == root or path.startswith(root.rstrip(b"/") + b"/")]
    return max(found, key=len, default=None)


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

    whole, below = True, ""
    left: Sequence[str] = ()

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
            entry, said = _stated(self.source.name, path_text(path), location, caption, meta), said_beside(location)
            yield replace(entry, side=said.meta, otherwise=said.otherwise)


class SingleFiles:
    """Pictures named one by one, in one folder or below it."""

    whole, below = False, ""
    left: Sequence[str] = ()

    def __init__(self, source: Source, root: Path, files: list[Path], labels: JoinedTables | None = None) -> None:
        self.source = source
        self.labels = labels
        self.root = os.fsencode(os.path.abspath(root))
        self.files = [os.fsencode(os.path.abspath(file)) for file in files]
        self.ignored = 0

    def entries(self) -> Iterator[Entry]:
        """Yield them in the order they were named."""
        if self.labels:
            self.labels.begin()
        for location in self.files:
            path = path_text(os.path.relpath(location, self.root))
            yield labelled(_stated(self.source.name, path, location, None, {}), self.labels)


def labelled(entry: Entry, tables: JoinedTables | None) -> Entry:
    """Return the entry of a file with what its source's tables say of it, or else the files beside it."""
    if entry.problem is not None:
        return entry
    found = tables.labels(entry.path) if tables else None
    said = said_beside(entry.location)
    incomplete = tables is not None and not tables.complete
    caption, meta = found or (None if incomplete else said.caption, {})
    entry = replace(entry, caption=caption, meta=meta, side=said.meta, otherwise=said.otherwise)
    return replace(entry, incomplete=True, beside=said.caption) if incomplete else entry


def _stated(source: str, path: str, location: bytes, caption: str | None, meta: dict[str, Any]) -> Entry:
    """Return the entry of a file that was named: whatever is wrong with it is its problem."""
    try:
        status = check_regular(location)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        return Entry(source, path, location=location, problem=f"cannot be read: {reason}")
    return Entry(source, path, status.st_size, mtime_of(status), caption, meta, location)
