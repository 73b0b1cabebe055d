"""The place a collection's bytes are in, a folder: what is asked of it, so that another kind of place could answer.

Files appear whole: each is written under a temporary name, flushed, and renamed to its hash. Versions appear one at a
time: each is linked to the next free number, which fails if another writer was first. What is read is looked at first
(`verified`), what is written is kept from garbage collection by a lock (`disk.writing`), and so is what is being read
(`pin`).
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from engine.storage import disk, layout, verified
from engine.storage.layout import FileRef
from engine.storage.regular import hash_regular, open_regular
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


def publish(root: Path, number: int, text: str) -> None:
    """Let a version appear, whole and durable.

    Raises:
        FileExistsError: another writer took that number.
        DiskFull: it does not fit.
    """
    folder = root / layout.VERSIONS
    temporary = folder / f"{layout.TEMPORARY}{uuid.uuid4().hex}"
    with disk.room_for(root, f"version {number}", len(text)):
        try:
            with temporary.open("x", encoding="ascii") as out:
                out.write(text)
            disk.sync(temporary)
            disk.link(temporary, root / layout.version_file(number))
        finally:
            disk.remove(temporary)
        disk.sync(folder)


def versions(root: Path) -> list[int]:
    """Return the numbers of the versions there are, ascending; none where there is no collection."""
    try:
        names = os.listdir(root / layout.VERSIONS)
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(number for name in names if (number := layout.version_number(name)) is not None)


def newest(root: Path) -> int | None:
    """Return the highest number of a version; None where there is no collection."""
    try:
        names = os.listdir(root / layout.VERSIONS)
    except (FileNotFoundError, NotADirectoryError):
        return None
    found = (layout.version_number(name) for name in sorted(names, reverse=True))
    return next((number for number in found if number is not None), None)


def pin(root: Path, number: int) -> int | None:
    """Open a version file with a shared lock; None if it is gone, or was collected while this waited for the lock."""
    path = root / layout.version_file(number)
    try:
        held = open_regular(path, own=True)
    except FileNotFoundError:
        return None
    try:
        disk.share(held)
        if os.path.lexists(path):
            return held
    except BaseException:
        os.close(held)
        raise
    os.close(held)
    return None
