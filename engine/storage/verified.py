"""Which files this machine has already hashed, so that opening a large collection stays fast.

A file's size is checked at every open. Its hash is checked the first time this machine sees
it, and again when its inode, size or times have changed. What was seen is kept under the
user's cache folder; losing it costs one more hashing, nothing else.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from blake3 import blake3

from engine.storage.kept import Stamp, stamp_of
from engine.storage.layout import FileRef
from engine.storage.regular import check_regular, hash_regular
from indexers.errors import CorruptCollection
from indexers.threads import new_lock

FOLDER = "verified"
# Lines of files that are gone are taken out when so many have come, and as many again as are left then.
MOST_GONE = 4096
MOST_NOTED = 64


def cache_folder() -> Path:
    """Return where nestvec keeps what it can lose: `NESTVEC_CACHE`, or the XDG cache folder."""
    if own := os.environ.get("NESTVEC_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nestvec"


def cache_file(root: Path, kind: str) -> Path:
    """Return the file of one kind that is kept there for a collection, by where that lies."""
    return cache_folder() / kind / f"{blake3(os.fsencode(root.resolve())).hexdigest(length=16)}.jsonl"


@dataclass
class _Noted:
    """What a cache file says, and how it was when it did."""

    stamp: Stamp
    known: dict[str, Stamp]
    tidy_at: int


_noted: dict[Path, _Noted] = {}
_lock = new_lock()


def _load(root: Path) -> dict[str, Stamp]:
    """Return what a cache file says, which is read again only when somebody else has written to it."""
    target = cache_file(root, FOLDER)
    try:
        stamp = stamp_of(target.stat())
    except OSError:
        return {}
    with _lock:
        noted = _noted.get(target)
        if noted is not None and noted.stamp == stamp:
            return noted.known
    known = _read(target)
    with _lock:
        if len(_noted) >= MOST_NOTED:
            _noted.clear()
        _noted[target] = _Noted(stamp, known, 2 * len(known) + MOST_GONE)
    return known


def _read(target: Path) -> dict[str, Stamp]:
    known: dict[str, Stamp] = {}
    with contextlib.suppress(OSError, UnicodeDecodeError):
        for line in target.read_text().splitlines():
            # A line half-written by a killed process is as good as none.
            with contextlib.suppress(ValueError, TypeError, RecursionError):
                path, stamp = json.loads(line)
                known[path] = tuple(stamp)
    return known


def _append(root: Path, lines: Sequence[tuple[str, Stamp]]) -> None:
    text = "".join(json.dumps(line) + "\n" for line in lines)
    # A read-only home is no reason to fail: the files are hashed again next time.
    with contextlib.suppress(OSError):
        target = cache_file(root, FOLDER)
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("a") as out, _lock:
            before = stamp_of(os.fstat(out.fileno()))
            out.write(text)
            out.flush()
            noted = _noted.get(target)
            if noted is None or noted.stamp != before:
                return
            noted.known.update(lines)
            noted.stamp = stamp_of(os.fstat(out.fileno()))
        if len(noted.known) > noted.tidy_at:
            _tidy(root, target)


def _tidy(root: Path, target: Path) -> None:
    """Write a cache file anew without what is said of files that are gone."""
    left = [(path, stamp) for path, stamp in _load(root).items() if os.path.lexists(root / path)]
    new = target.with_name(f"{target.name}.{os.getpid()}")
    new.write_text("".join(json.dumps(line) + "\n" for line in left))
    new.replace(target)


def remember(root: Path, ref: FileRef) -> None:
    """Note a file this process has just written and hashed."""
    _append(root, [(ref.path, stamp_of(check_regular(root / ref.path, own=True)))])


def check_size(root: Path, ref: FileRef) -> os.stat_result:
    """Check that a file is there, a regular one and no link, and as long as it should be; return its status.

    Raises:
        CorruptCollection: it is missing, something else, or of another size.
    """
    path = f"{root}/{ref.path}"  # a Path costs more than to look at the file
    try:
        status = check_regular(path, own=True)
    except FileNotFoundError as error:
        raise CorruptCollection(f"{path} is missing; see `nestvec verify {root}`") from error
    except OSError as error:
        raise CorruptCollection(f"{path}: {error.strerror}; see `nestvec verify {root}`") from error
    if status.st_size != ref.size:
        raise CorruptCollection(
            f"{path}: expected {ref.size} bytes, found {status.st_size}; see `nestvec verify {root}`"
        )
    return status


def check_hash(root: Path, ref: FileRef) -> None:
    """Hash a file now.

    Raises:
        CorruptCollection: it is missing, something else, of another size, or its content has changed.
    """
    check_size(root, ref)
    try:
        found = hash_regular(root / ref.path, own=True)
    except OSError as error:
        raise CorruptCollection(f"{root / ref.path}: {error.strerror}; see `nestvec verify {root}`") from error
    if found != ref.blake3:
        raise CorruptCollection(
            f"{root / ref.path} has changed since it was written (its hash does not match); see `nestvec verify {root}`"
        )


class Verified:
    """The files of one open version: each is hashed once as it is, and the cache is read once for all of them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._done: dict[str, Stamp] = {}

    def ensure(self, refs: Iterable[FileRef]) -> None:
        """Check the sizes of files, and the hashes of those this machine has not seen as they are.

        Libraries open files by their names: this comes just before, each time.

        Raises:
            CorruptCollection: one is missing, no regular file, of another size, or changed.
        """
        fresh: list[tuple[str, Stamp]] = []
        known: dict[str, Stamp] | None = None
        for ref in refs:
            stamp = stamp_of(check_size(self.root, ref))
            if self._done.get(ref.path) == stamp:
                continue
            if known is None:
                known = _load(self.root)
            if known.get(ref.path) != stamp:  # its name says its hash
                check_hash(self.root, ref)
                fresh.append((ref.path, stamp))
            self._done[ref.path] = stamp
        if fresh:
            _append(self.root, fresh)

    def is_whole(self, ref: FileRef) -> bool:
        """Whether `ensure` would take a file."""
        try:
            self.ensure([ref])
        except CorruptCollection:
            return False
        return True

    def fetch(self, ref: FileRef) -> Path:
        """Check a file as `ensure` does, and return where it can be opened."""
        self.ensure([ref])
        return self.root / ref.path
