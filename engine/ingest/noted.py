"""What a run notes of files, so that the next one need not open them: see `collection.notes`."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

from engine.collection.manifest import Source
from engine.collection.notes import Notes, notes_of, stamp_of
from engine.collection.snapshot import Snapshot
from engine.encoders.formats import tellers
from engine.encoders.pictures import looks_like_picture
from engine.ingest.entries import Entry, Listing
from engine.storage.names import path_key
from engine.storage.regular import mtime_of, opened_regular

HEAD = 64


def claims_to_be_a_picture(entry: Entry, notes: Notes) -> bool:
    """Whether a file's first bytes are those of a picture; where they were found to be none, it is not opened again.

    Raises:
        OSError: it cannot be read.
    """
    # Looked at again when something else is told from other files.
    stamp = stamp_of(entry.size, entry.mtime_ns, tellers())
    if notes.find(entry.key, stamp) is not None:
        return False
    if looks_like_picture(_head(entry.location)):
        return True
    notes.note(entry.key, stamp, 0)
    return False


def holds_pictures(
    file: os.DirEntry[bytes], source: str, path: str, notes: Notes, look: Callable[[bytes], bool]
) -> bool:
    """Whether a file that may be a table has pictures in it; where that is known it is not opened.

    Args:
        file: the file.
        source: name of its source.
        path: its text there.
        notes: of the source.
        look: opens it by its name and says so.

    Raises:
        OSError: it cannot be read.
    """
    status = file.stat()
    key, stamp = path_key(source, f"{path}\0rows"), stamp_of(status.st_size, mtime_of(status), tellers())
    if (noted := notes.find(key, stamp)) is not None:
        return bool(noted)
    says = look(file.path)
    notes.note(key, stamp, int(says))
    return says


def _head(path: bytes) -> bytes:
    with opened_regular(path) as file:
        return file.read(HEAD)


def is_noted_small(entry: Entry, notes: Notes, min_size: int) -> bool:
    """Whether a picture is known to be smaller than is wanted, though no item."""
    side = notes.find(entry.key, stamp_of(entry.size, entry.mtime_ns))
    return side is not None and side < min_size


def note_small(entry: Entry, notes: Notes, side: int) -> None:
    """Note how many pixels the shorter side of a picture has."""
    notes.note(entry.key, stamp_of(entry.size, entry.mtime_ns), side)


@runtime_checkable
class Noting(Protocol):
    """A listing that notes what it finds in files.

    Attributes:
        source: whose files they are.
        notes: what was found.
    """

    source: Source
    notes: Notes


def give_notes(listings: Sequence[Listing], snapshot: Snapshot, wants: str) -> dict[str, Notes]:
    """Give listings of folders the notes of earlier runs, and return those of each source.

    Args:
        listings: the sources.
        snapshot: the version the run starts from.
        wants: what of the metadata beside pictures counts.
    """
    if (file := snapshot.manifest.notes) is not None:
        snapshot.ensure([file])
    before = notes_of(snapshot.root, snapshot.manifest)
    found: dict[str, Notes] = {}
    for listing in listings:
        if isinstance(listing, Noting):
            name = listing.source.name
            listing.notes = found.setdefault(name, Notes(before.get(name, {}), wants=wants))
    return found
