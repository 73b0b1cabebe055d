"""Pictures in a folder, or in a table that lists them."""

from __future__ import annotations

import errno
import os
import stat
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.collection.manifest import Source
from engine.collection.notes import Notes
from engine.ingest.as_before import AsBefore
from engine.ingest.beside import Beside, said_beside
from engine.ingest.entries import Entry
from engine.ingest.labelled import labelled, labelled_in
from engine.ingest.levels import Level, decoded, encoded, is_file, is_folder, names_in, text_of
from engine.ingest.noted import claims_to_be_a_picture, is_noted_small
from engine.ingest.pairs import passed_over
from engine.ingest.tables import JoinedTables, LabelTable
from engine.ingest.wanted import IGNORE, Rules
from engine.storage.containers import SUFFIXES
from engine.storage.kinds import PICTURE_SUFFIXES
from engine.storage.names import path_bytes, path_text
from engine.storage.regular import check_regular, mtime_of
from indexers.errors import SourceError

if TYPE_CHECKING:
    from engine.ingest.containers import Containers

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
        source: whose pictures they are, and what of them is wanted.
        root: its folder.
        labels: tables that are joined to them.
        part: a folder below it, if only what is in that is listed.
        others: the folders of the collection's other sources.
        containers: what is done with tar, zip and Parquet files that hold pictures; if None, they are passed over.

    Attributes:
        below: the part, as a path in the source; "" for all of it.
        location: text of the absolute path of what is listed: the source's folder, or the part of it.
        left: what was left out in the last complete listing, as paths in the source: what other sources have, and
            what is not wanted.
        notes: what was found in files when they were opened: while they are as they were, they are not.
        known: what earlier runs know of the containers in it, where there are any.

    Raises:
        SourceError: it is no folder, or the patterns that it remembers are none.
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
        self.min_size = source.min_size
        self.root = os.fsencode(os.path.abspath(root))
        self.labels = labels
        self.containers = containers
        self.ignored = 0
        self.left: list[str] = []
        self.passed: Counter[str] = Counter()
        self.notes = Notes()
        self.known: AsBefore | None = None
        self._start = self.root if part is None else os.fsencode(os.path.abspath(part))
        self._folder = "" if part is None else decoded(os.path.relpath(self._start, self.root)) + "/"
        self.below = text_of(self._folder[:-1])
        self.whole = part is None
        self.location = path_text(self._start)
        self._real = os.path.realpath(self.root)
        self._others = {os.path.realpath(os.fsencode(one)) for one in others} - {self._real}
        try:
            self._rules = {"": Rules.of(source.patterns)}
        except ValueError as error:
            raise SourceError(
                f"the patterns of {source.location} cannot be used: {error}; drop them with --no-exclude"
            ) from error

    def entries(self) -> Iterator[Entry]:
        """Yield the pictures, folder by folder, in the order of their names' bytes."""
        self.ignored, self.left, self.passed = 0, [], Counter()
        if self.labels:
            self.labels.begin()
        entered: set[tuple[int, int]] = set()
        # A stack and no recursion: folders may be nested deeper than Python's stack.
        levels = [self._first(entered)]
        while levels:
            level = levels[-1]
            one = next(level.contents, None)
            if one is None:
                levels.pop()
            elif isinstance(one, Entry):
                yield one
            elif self._is_elsewhere(one):
                self.left.append(text_of(level.below(one.name)))
            elif is_folder(one):
                only = one.name in level.ways
                levels.append(self._listed(Level(level.below(one.name) + "/", level.rules, only), one.path, entered))
            elif (found := self._container(one, level)) is not None:
                self.ignored += yield from found
            elif (entry := self._file(one, level)) is not None:
                yield entry

    def _first(self, entered: set[tuple[int, int]]) -> Level:
        """Return the folder that is listed, with the rules of those it lies in."""
        level = Level(self._folder, self._rules[""])
        above, inside = "", self._folder
        while inside:
            ignore = os.path.join(self.root, encoded(above), IGNORE)
            try:
                if os.path.lexists(ignore):
                    level.rules = self._rules_in(above, level.rules, ignore)
            except OSError as error:
                return self._unread(level, self._start, f"{path_text(ignore)} cannot be read: {error.strerror}")
            name, _, inside = inside.partition("/")
            above += f"{name}/"
        return self._listed(level, self._start, entered)

    def _listed(self, level: Level, folder: bytes, entered: set[tuple[int, int]]) -> Level:
        """List a folder, or say as an entry why it cannot be listed."""
        try:
            level.names = names_in(folder, entered)
        except OSError as error:
            return self._unread(level, folder, f"folder cannot be read: {error.strerror}")
        try:
            if IGNORE in level.names:
                level.rules = self._rules_in(level.path, level.rules, level.names[IGNORE].path)
        except OSError as error:
            return self._unread(level, folder, f"its {os.fsdecode(IGNORE)} cannot be read: {error.strerror}")
        level.beside = Beside(folder, level.names)
        level.contents = iter(self._wanted(level))
        return level

    def _unread(self, level: Level, folder: bytes, reason: str) -> Level:
        path = text_of(level.path[:-1]) or "."
        level.contents = iter([Entry(self.source.name, path, location=folder, problem=reason, unread=True)])
        return level

    def _rules_in(self, path: str, rules: Rules, ignore: bytes) -> Rules:
        """Return the rules in a folder with a file of them, which is read once a run."""
        known = self._rules.get(path)
        if known is None or not known.has_file(path):
            self._rules[path] = known = rules.below(path, ignore)
        return known

    def _wanted(self, level: Level) -> list[os.DirEntry[bytes]]:
        """Return what is wanted of what lies in a folder."""
        found: list[os.DirEntry[bytes]] = []
        for name, one in level.names.items():
            usual = not name.startswith(b".") and not is_not_wanted(one)
            path = level.below(name) + ("/" if is_folder(one) else "")
            if level.rules.include(path) if level.only else level.rules.want(path, usual=usual):
                found.append(one)
            elif path.endswith("/") and level.rules.lead_to(path):
                level.ways.add(name)
                found.append(one)
            elif not name.startswith(b"."):
                self.left.append(text_of(level.below(name)))
                self.passed["excluded"] += usual
        beside = passed_over((one.name for one in found if is_file(one)), self.source.pairs)
        self.left += [text_of(level.below(name)) for name in beside]
        self.passed["paired"] += len(beside)
        return [one for one in found if one.name not in beside] if beside else found

    def covers(self, path: str) -> bool:
        """Whether what lay at a path in the source would be passed over now, if it was still there."""
        raw = decoded(path_bytes(path))
        rules, parts = self._rules[""], raw.split("/")
        if self.source.kind == "containers":  # patterns are not asked about what lies in one
            ends = (end for end, name in enumerate(parts, start=1) if encoded(name.lower()).endswith(SUFFIXES))
            parts = parts[: next(ends, len(parts))]
        for end, name in enumerate(parts, start=1):
            inside = end < len(parts)
            at = "/".join(parts[:end]) + ("/" if inside else "")
            usual = not name.startswith(".") and not (inside and _is_named_unwanted(encoded(name), at))
            if not rules.want(at, usual=usual):
                return not (rules.lead_to(at) and rules.include(raw))
            rules = self._rules.get(at, rules)
        return False

    def _is_elsewhere(self, one: os.DirEntry[bytes]) -> bool:
        """Whether something is listed at another place: where another source has it, or where a link leads to."""
        if not one.is_symlink():
            return bool(self._others) and is_folder(one) and os.path.realpath(one.path) in self._others
        real = os.path.realpath(one.path)
        holder = innermost((self._real, *self._others), real)
        if holder is None or not os.path.lexists(real) or Path(os.fsdecode(real)).is_symlink():
            return False  # nothing is there, or it leads in a circle
        inside = os.path.relpath(real, holder)
        if any(part.startswith(b".") and part != b"." for part in inside.split(b"/")):
            return False  # hidden, and not listed there
        # Of a folder in this source whatever comes first is entered, and a file that is no picture by its name may not
        # be listed where it lies.
        return holder != self._real or (real.lower().endswith(_SUFFIXES) and not is_folder(one))

    def _file(self, one: os.DirEntry[bytes], level: Level) -> Entry | None:
        path, suffixed = text_of(level.below(one.name)), one.name.lower().endswith(_SUFFIXES)
        try:
            status = one.stat()
            if not stat.S_ISREG(status.st_mode):
                return None
            found = Entry(self.source.name, path, status.st_size, mtime_of(status), location=one.path)
            if not suffixed and not claims_to_be_a_picture(found, self.notes):
                self.ignored += 1
                return None
        except OSError as error:
            return self._problem(one.path, path, error, doubtful=not suffixed)
        if self.min_size and is_noted_small(found, self.notes, self.min_size):
            self.left.append(path)
            self.passed["small"] += 1
            return None
        return labelled_in(level, found, self.labels, self.notes)

    def _container(self, one: os.DirEntry[bytes], level: Level) -> Generator[Entry, None, int] | None:
        """Return what is listed of a file with pictures in it; None of any other."""
        path = text_of(level.below(one.name))
        if self.containers is None or not self.containers.takes(one, path, self.notes):
            return None
        return self.containers.entries(one.path, path, self.known)

    def _problem(self, location: bytes, path: str, error: OSError, *, doubtful: bool) -> Entry:
        """Return the entry of what cannot be looked into; it is doubtful where nothing says that it is a picture."""
        reason = f"cannot be read: {error.strerror}"
        if error.errno == errno.ENOENT and Path(os.fsdecode(location)).is_symlink():
            reason = "is a link to what is not there"
        return Entry(self.source.name, path, location=location, problem=reason, doubtful=doubtful)


def is_not_wanted(one: os.DirEntry[bytes]) -> bool:
    """Whether something is a folder in which no program keeps what people mean by pictures.

    Waste baskets, snapshots and thumbnails of servers and systems, previews of catalogues, packages of programs; of a
    library of Apple Photos all but the originals. Whoever wants one of them names it.
    """
    return is_folder(one) and _is_named_unwanted(one.name, os.fsdecode(one.path))


def _is_named_unwanted(name: bytes, path: str) -> bool:
    """Whether a folder is one of these by its name and that of the folder it lies in."""
    name, library = name.lower(), Path(path).parent.suffix.lower() in LIBRARIES
    return name in NOT_WANTED or name.endswith(b".lrdata") or (library and name not in ORIGINALS)


class Vanished:
    """A folder that lay in another one, which is listed, and is not there any more."""

    whole, ignored, below = True, 0, ""
    left: Sequence[str] = ()
    passed: Mapping[str, int] = {}

    def __init__(self, source: Source) -> None:
        self.source = source

    def entries(self) -> Iterator[Entry]:
        """Yield nothing."""
        return iter(())


def innermost(roots: Iterable[bytes], path: bytes) -> bytes | None:
    """Return the longest of some folders that a path is, or lies in; both are real paths."""
    found = [root for root in roots if path == root or path.startswith(root.rstrip(b"/") + b"/")]
    return max(found, key=len, default=None)


class PictureTable:
    """Pictures listed by a table: a column of file names, relative to the table's folder."""

    whole, below = True, ""
    left: Sequence[str] = ()
    passed: Mapping[str, int] = {}

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
    passed: Mapping[str, int] = {}

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


def _stated(source: str, path: str, location: bytes, caption: str | None, meta: dict[str, Any]) -> Entry:
    """Return the entry of a file that was named: whatever is wrong with it is its problem."""
    try:
        status = check_regular(location)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        return Entry(source, path, location=location, problem=f"cannot be read: {reason}")
    return Entry(source, path, status.st_size, mtime_of(status), caption, meta, location)
