"""What is said of a picture besides its pixels: by the tables of its source, and by files beside it."""

from __future__ import annotations

import os
from dataclasses import replace

from engine.collection.notes import Notes, stamp_of
from engine.ingest.beside import Aside, Said, said_beside
from engine.ingest.entries import Entry
from engine.ingest.levels import Level
from engine.ingest.metadata.found import READ_BY, narrowed
from engine.ingest.tables import JoinedTables, Labels
from engine.storage.kinds import ALL_METADATA
from engine.storage.names import path_key
from engine.storage.regular import mtime_of


def labelled(entry: Entry, tables: JoinedTables | None) -> Entry:
    """Return the entry of a file with what its source's tables say of it, or else the files beside it."""
    if entry.problem is not None:
        return entry
    return _with_all(entry, _by_tables(entry, tables), said_beside(entry.location), tables)


def labelled_in(level: Level, entry: Entry, tables: JoinedTables | None, notes: Notes) -> Entry:
    """Do as `labelled` with a file in a folder that is being listed.

    Files beside it that are as they were are not read; see `kept.complete`.
    """
    found, aside = _by_tables(entry, tables), Aside(level.beside, entry.location.rpartition(b"/")[2])
    if tables is not None and not tables.complete:
        return _with_all(entry, found, aside.read(), tables)
    if found is not None:
        entry, aside = replace(entry, caption=found[0], meta=found[1]), replace(aside, captions=False)
    files = [level.names[name] for name in aside.names]
    return _as_noted(entry, aside, files, notes) if files else entry


def said_by(entry: Entry, aside: Aside, wants: str) -> Entry:
    """Return an entry with what the files beside it say, as far as it is wanted."""
    return _with(entry, aside, aside.read(), wants)


def narrowed_to(wants: str, entry: Entry) -> Entry:
    """Return an entry with as much of the metadata beside it as is wanted."""
    if wants == ALL_METADATA or not (entry.side or entry.otherwise):
        return entry
    return replace(entry, side=narrowed(entry.side, wants), otherwise=narrowed(entry.otherwise, wants))


def _by_tables(entry: Entry, tables: JoinedTables | None) -> Labels | None:
    return tables.labels(entry.path) if tables else None


def _with_all(entry: Entry, found: Labels | None, said: Said, tables: JoinedTables | None) -> Entry:
    incomplete = tables is not None and not tables.complete
    caption, meta = found or (None if incomplete else said.caption, {})
    entry = replace(entry, caption=caption, meta=meta, side=said.meta, otherwise=said.otherwise)
    return replace(entry, incomplete=True, beside=said.caption) if incomplete else entry


def _with(entry: Entry, aside: Aside, said: Said, wants: str) -> Entry:
    caption = said.caption if aside.captions else entry.caption
    told = replace(entry, caption=caption, side=said.meta, otherwise=said.otherwise, aside=None, kept_key=None)
    return narrowed_to(wants, told)


def _as_noted(entry: Entry, aside: Aside, files: list[os.DirEntry[bytes]], notes: Notes) -> Entry:
    """Return an entry whose side files are not read where they, and what tables say, are as they were."""
    try:
        stated = [(one.name, status.st_size, mtime_of(status)) for one in files for status in (one.stat(),)]
    except OSError:
        return said_by(entry, aside, notes.wants)
    stamp = stamp_of(READ_BY, notes.wants, aside.captions, entry.meta_key, stated)
    # A key that no path has.
    key = path_key(entry.source, f"{entry.path}\0")
    if (says := notes.find(key, stamp)) is not None:
        return replace(entry, aside=aside, kept_key=says)
    said = aside.read()
    read = _with(entry, aside, said, notes.wants)
    if not said.missed:
        notes.note(key, stamp, read.meta_key)
    return read
