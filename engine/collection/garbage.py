"""Garbage: versions nobody needs any more, and files that no version lists.

What is needed is what the newest version lists, and every other that is kept or that a reader has open. A file
goes only after no version file lists it, so a kill at any instant leaves every version that is still there whole.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from engine.collection.commit import current_version
from engine.collection.history import numbers
from engine.collection.manifest import Manifest
from engine.collection.reading import MOST_VERSION_BYTES, read_version
from engine.storage import disk, layout
from engine.storage.regular import opened_regular, read_regular
from indexers.errors import CollectionError

KEPT = timedelta(days=7)
WAIT_SECONDS = 10.0

KEPT_SMALL, THINNED_EVERY = 64, 16
SMALL_CHANGES = (b"add", b"index", b"remove", b"build")
_LISTED = re.compile(rb'"path":"([^"]+)"')
_MADE = re.compile(rb'"created":"([^"]{13})[^"]*","operation":"([^"]*)"')
"""When a version was made, to the hour, and by which verb."""


@dataclass(frozen=True)
class Garbage:
    """What was collected, or would be.

    Attributes:
        versions: numbers of the versions that go.
        held: numbers of those that would go, but that a reader has open.
        files: paths that go, relative to the collection; leftovers of killed writers among them.
        bytes: of those files.
    """

    versions: tuple[int, ...]
    held: tuple[int, ...]
    files: tuple[str, ...]
    bytes: int


def collect(root: Path, *, older_than: timedelta = KEPT, dry_run: bool = False, wait: float = WAIT_SECONDS) -> Garbage:
    """Delete versions older than an age, and every file that is listed by none of those that are left.

    The newest version stays whatever its age, and so does any that a reader on this machine has open.

    Args:
        root: the collection.
        older_than: age; zero for every version but the newest.
        dry_run: whether only to say what would go.
        wait: seconds to wait for writers.

    Raises:
        NotACollection: there is none at `root`.
        CorruptCollection: the newest version cannot be read; what it needs is not known.
        CommitConflict: somebody is writing.
        CollectionError: the file system has no locks.
    """
    read_version(root, current_version(root))
    with disk.collecting(root, wait=wait):
        gone, held, needed = _expire(root, _before(older_than), dry_run=dry_run)
        files = sorted(path for path in _files(root) if path not in needed)
        size = sum((root / path).lstat().st_size for path in files)
        if not dry_run:
            _delete(root, files)
    return Garbage(tuple(gone), tuple(held), tuple(files), size)


def _before(older_than: timedelta) -> datetime | None:
    """Return when a version must have been made to go; None for whenever it was, clocks being what they are."""
    if older_than <= timedelta(0):
        return None
    try:
        return datetime.now(UTC) - older_than
    except OverflowError:
        return datetime.min.replace(tzinfo=UTC)


def forget(root: Path, wanted: Iterable[int]) -> None:
    """Delete versions, not their files, unless they are the newest or open; what cannot be locked is left.

    For what nobody goes back to: the listings of a run's first shards, say, which are parts of its last.
    """
    with contextlib.suppress(CollectionError), disk.collecting(root, wait=0):
        newest = current_version(root)
        for number in wanted:
            if number < newest:
                _release(root, number, dry_run=False)
        disk.sync(root / layout.VERSIONS)


def drop(root: Path, files: Iterable[str]) -> None:
    """Delete files that the caller has just written, and that no version lists."""
    for path in files:
        disk.remove(root / path)


def thin(root: Path, number: int) -> None:
    """Leave out versions between others, where small changes have left many, and the files that only they list.

    The newest `KEPT_SMALL` stay, and of older ones one an hour; so do all that somebody has open, and those that did
    more than add, change or remove items, or build what that made due. While somebody else writes, nothing is done: the
    next change is soon enough.

    Args:
        root: the collection.
        number: of the version that was just made.
    """
    if number % THINNED_EVERY:
        return
    there = numbers(root)
    if len(there) < 2 * KEPT_SMALL:
        return
    with contextlib.suppress(CollectionError), disk.collecting(root, wait=0):
        # Taken as text: what looks like a file's name is one, even in a version that cannot be read.
        texts = {one: _text(root, one) for one in there}
        gone = [one for one in _between(texts, there[:-KEPT_SMALL]) if _release(root, one, dry_run=False)]
        if not gone:
            return
        disk.sync(root / layout.VERSIONS)
        left = {path for one in numbers(root) for path in _LISTED.findall(texts.get(one) or _text(root, one))}
        files = {path for one in gone for path in _LISTED.findall(texts[one])} - left
        _delete(root, sorted(path.decode("ascii") for path in files if layout.is_own(path.decode("ascii", "replace"))))


def _text(root: Path, number: int) -> bytes:
    try:
        return read_regular(root / layout.version_file(number), most=MOST_VERSION_BYTES, own=True)
    except OSError:
        return b""


def _between(texts: Mapping[int, bytes], older: Sequence[int]) -> Iterator[int]:
    """Yield the versions among some that one an hour does without, the newest first."""
    kept: bytes | None = None
    for number in reversed(older):
        found = _MADE.search(texts[number])
        if found is None:
            kept = None
            continue
        hour, operation = found[1], found[2]
        if operation in SMALL_CHANGES and hour == kept:
            yield number
        kept = hour


def _expire(root: Path, before: datetime | None, *, dry_run: bool) -> tuple[list[int], list[int], set[str]]:
    """Delete versions made before a time; return those that went, those that are open, and the files all others list.

    Raises:
        CorruptCollection: one that stays cannot be read, so nobody knows which files it needs.
    """
    gone: list[int] = []
    held: list[int] = []
    needed: set[str] = set()
    newest = current_version(root)
    for number in numbers(root):
        found = _readable(root, number)
        if number != newest and _is_older(root, number, found, before):
            if _release(root, number, dry_run=dry_run):
                gone.append(number)
                continue
            held.append(number)
        needed |= {ref.path for ref in (found or read_version(root, number)).files()}
    if gone and not dry_run:
        disk.sync(root / layout.VERSIONS)
    return gone, held, needed


def _readable(root: Path, number: int) -> Manifest | None:
    try:
        return read_version(root, number)
    except CollectionError:
        return None


def _is_older(root: Path, number: int, found: Manifest | None, before: datetime | None) -> bool:
    """Whether a version was made before a time; by the clock of its file where it cannot be read."""
    if before is None:
        return True
    try:
        created = datetime.fromisoformat("" if found is None else found.created)
    except ValueError:
        created = datetime.fromtimestamp((root / layout.version_file(number)).lstat().st_mtime, UTC)
    return created.replace(tzinfo=created.tzinfo or UTC) <= before


def _release(root: Path, number: int, *, dry_run: bool) -> bool:
    """Delete a version file unless a reader holds it; say whether it went, or could."""
    path = root / layout.version_file(number)
    with contextlib.ExitStack() as held:
        try:
            if stat.S_ISREG(path.lstat().st_mode):
                file = held.enter_context(opened_regular(path, own=True))
                # Held until the name is gone: who waits for the lock finds that out, and opens a newer version.
                free = disk.try_exclusive(file.fileno(), root)
            else:
                free = not path.is_dir() or path.is_symlink()  # a pipe, say, or a link: nobody opens that as a version
        except FileNotFoundError:
            return False
        if free and not dry_run:
            disk.remove(path)
        return free


def _delete(root: Path, files: list[str]) -> None:
    for path in files:
        disk.remove(root / path)
    for folder in sorted({(root / path).parent for path in files}, reverse=True):
        disk.sync(folder)
        # A space that was removed leaves empty folders; the rest are made again when they are needed.
        with contextlib.suppress(OSError):
            if folder.name != layout.VERSIONS:
                folder.rmdir()
                folder.parent.rmdir()


def _files(root: Path) -> Iterator[str]:
    """Yield every file of a collection but its versions: what nestvec named, and what it had not named yet.

    A link in the place of a file, or a pipe, is one as well: only its name is deleted.
    """
    for folder in layout.folders(root):
        with contextlib.suppress(FileNotFoundError):
            for name in os.listdir(root / folder):
                path = f"{folder}/{name}"
                if layout.is_own(path) and not stat.S_ISDIR((root / path).lstat().st_mode):
                    yield path
