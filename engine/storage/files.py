"""Content-addressed files that appear whole: written under a temporary name, flushed, and renamed to their hash."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from engine.storage import disk, layout, verified
from engine.storage.layout import FileRef
from engine.storage.regular import hash_regular
from indexers.errors import CollectionError


@dataclass
class NewFile:
    """A file being written: where to write it, and how many rows it turned out to have."""

    temporary: Path
    rows: int = 0
    ref: FileRef | None = None


@contextmanager
def new_file(root: Path, folder: str, suffix: str, needed: int = 0) -> Iterator[NewFile]:
    """Write a file that appears whole or not at all, named by its hash.

    On leaving the block without an error the file is flushed and renamed, and `.ref` is set. Until a version lists
    it, `disk.writing` must keep garbage collection away.

    Args:
        root: the collection.
        folder: relative folder, made if missing.
        suffix: with the dot, e.g. ".parquet".
        needed: bytes it will have, about; told if the disk is full.

    Raises:
        DiskFull: it does not fit.
    """
    target = root / folder
    with disk.room_for(root, f"a file of {folder}", needed):
        disk.make_folder(target)
        new = NewFile(target / f"{layout.TEMPORARY}{uuid.uuid4().hex}{suffix}")
        try:
            yield new
            disk.sync(new.temporary)
            digest = hash_regular(new.temporary, own=True)
            final = target / f"{digest[: layout.HASH_DIGITS]}{suffix}"
            size = new.temporary.stat().st_size
            disk.rename(new.temporary, final)
        except BaseException:
            disk.remove(new.temporary)
            raise
    new.ref = FileRef(f"{folder}/{final.name}", size, digest, new.rows)
    verified.remember(root, new.ref)


def written(new: NewFile) -> FileRef:
    """Return the reference of a file whose `new_file` block has ended."""
    if new.ref is None:
        raise CollectionError(f"{new.temporary} was not finished")
    return new.ref
