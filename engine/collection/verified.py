"""Which files this machine has already hashed, so that opening a large collection stays fast.

A file's size is checked at every open. Its hash is checked the first time this machine sees
it, and again when its inode, size or times have changed. What was seen is kept under the
user's cache folder; losing it costs one more hashing, nothing else.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable
from pathlib import Path

from blake3 import blake3

from engine.collection.manifest import FileRef
from engine.storage.cache import cache_folder
from indexers.errors import CorruptCollection

Stamp = list[int]


def _cache_file(root: Path) -> Path:
    return cache_folder() / "verified" / f"{blake3(os.fsencode(root.resolve())).hexdigest(length=16)}.jsonl"


def _stamp(path: Path) -> Stamp:
    status = path.stat()
    return [status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns]


def _load(root: Path) -> dict[str, Stamp]:
    known: dict[str, Stamp] = {}
    with contextlib.suppress(OSError, UnicodeDecodeError):
        for line in _cache_file(root).read_text().splitlines():
            # A line half-written by a killed process is as good as none.
            with contextlib.suppress(ValueError, TypeError):
                path, stamp = json.loads(line)
                known[path] = stamp
    return known


def _append(root: Path, lines: Iterable[tuple[str, Stamp]]) -> None:
    text = "".join(json.dumps(line) + "\n" for line in lines)
    # A read-only home is no reason to fail: the files are hashed again next time.
    with contextlib.suppress(OSError):
        target = _cache_file(root)
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("a") as out:
            out.write(text)


def remember(root: Path, ref: FileRef) -> None:
    """Note a file this process has just written and hashed."""
    _append(root, [(ref.path, _stamp(root / ref.path))])


def check_size(root: Path, ref: FileRef) -> None:
    """Check that a file is there and as long as it should be.

    Raises:
        CorruptCollection: it is missing, or of another size.
    """
    try:
        size = (root / ref.path).stat().st_size
    except OSError as error:
        raise CorruptCollection(f"{root / ref.path} is missing; see `nestvec verify {root}`") from error
    if size != ref.size:
        raise CorruptCollection(
            f"{root / ref.path}: expected {ref.size} bytes, found {size}; see `nestvec verify {root}`"
        )


def check_hash(root: Path, ref: FileRef) -> None:
    """Hash a file now.

    Raises:
        CorruptCollection: it is missing, of another size, or its content has changed.
    """
    check_size(root, ref)
    found = blake3(max_threads=blake3.AUTO).update_mmap(str(root / ref.path)).hexdigest()
    if found != ref.blake3:
        raise CorruptCollection(
            f"{root / ref.path} has changed since it was written (its hash does not match); see `nestvec verify {root}`"
        )


class Verified:
    """The files of one open version: each is checked once, and the cache is read once for all of them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._known: dict[str, Stamp] | None = None
        self._done: set[str] = set()

    def ensure(self, refs: Iterable[FileRef]) -> None:
        """Check the sizes of files, and the hashes of those this machine has not seen as they are.

        Raises:
            CorruptCollection: one is missing, of another size, or changed.
        """
        fresh: list[tuple[str, Stamp]] = []
        for ref in refs:
            if ref.path in self._done:
                continue
            if self._known is None:
                self._known = _load(self.root)
            check_size(self.root, ref)
            stamp = _stamp(self.root / ref.path)
            if self._known.get(ref.path) != stamp:  # its name says its hash
                check_hash(self.root, ref)
                fresh.append((ref.path, stamp))
            self._done.add(ref.path)
        if fresh:
            _append(self.root, fresh)
