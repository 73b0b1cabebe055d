"""What a run notes of files, so that the next one need not open them: see `collection.notes`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol, runtime_checkable

from engine.collection.manifest import Source
from engine.collection.notes import Notes, notes_of, stamp_of
from engine.collection.snapshot import Snapshot
from engine.encoders.formats import FORMATS
from engine.encoders.pictures import looks_like_picture
from engine.ingest.entries import Entry, Listing
from engine.ingest.tables import read_text
from engine.storage.names import path_key
from engine.storage.regular import mtime_of, opened_regular

HEAD = 64
SNIFFED = stamp_of(FORMATS)
"""What is told from other files by its first bytes: they are looked at again when that has changed."""


def claims_to_be_a_picture(entry: Entry, notes: Notes) -> bool:
    """Whether a file's first bytes are those of a picture; where they were found to be none, it is not opened again.

    Raises:
        OSError: it cannot be read.
    """
    stamp = stamp_of(entry.size, entry.mtime_ns, SNIFFED)
    if notes.find(entry.key, stamp) is not None:
        return False
    if looks_like_picture(_head(entry.location)):
        return True
    notes.note(entry.key, stamp, 0)
    return False


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


def with_text(entry: Entry, beside: os.DirEntry[bytes], notes: Notes) -> Entry:
    """Return an entry with the text beside it, which is not read where it is as it was; see `kept.complete`."""
    try:
        status = beside.stat()
        stamp = stamp_of(beside.name, status.st_size, mtime_of(status))
        # A key that no path has.
        key = path_key(entry.source, f"{entry.path}\0")
        if (says := notes.find(key, stamp)) is not None:
            stated = entry.source, entry.path, entry.size, entry.mtime_ns
            return Entry(*stated, location=entry.location, kept_key=says, text=beside.path)  # quicker than `replace`
        read = replace(entry, caption=read_text(beside.path))
    except OSError:
        return entry
    notes.note(key, stamp, read.meta_key)
    return read


@runtime_checkable
class Noting(Protocol):
    """A listing that notes what it finds in files.

    Attributes:
        source: whose files they are.
        notes: what was found.
    """

    source: Source
    notes: Notes


def give_notes(listings: Sequence[Listing], snapshot: Snapshot) -> dict[str, Notes]:
    """Give listings of folders the notes of earlier runs, and return those of each source."""
    if (file := snapshot.manifest.notes) is not None:
        snapshot.ensure([file])
    before = notes_of(snapshot.root, snapshot.manifest)
    found: dict[str, Notes] = {}
    for listing in listings:
        if isinstance(listing, Noting):
            listing.notes = found.setdefault(listing.source.name, Notes(before.get(listing.source.name, {})))
    return found
