"""What items keep that a table gave them which cannot be read now."""

from __future__ import annotations

from dataclasses import replace

from engine.collection.snapshot import Snapshot
from engine.ingest.catalogue import Known, Stamp
from engine.ingest.entries import Entry
from engine.ingest.tables import read_text


def _read(entry: Entry) -> Entry:
    """Return an entry with the text that was not read yet; one that cannot be read any more is none."""
    try:
        caption = read_text(entry.text)
    except OSError:
        caption = None
    return replace(entry, caption=caption, text=b"", kept_key=None)


def complete(entry: Entry, known: Known | Stamp | None, snapshot: Snapshot) -> Entry:
    """Give an entry the caption and the columns that its item has and that nothing says otherwise.

    Args:
        entry: as it was listed.
        known: the item it is, or was before it was moved; None for a new one.
        snapshot: the version that item is in.
    """
    if entry.text:
        now = entry.size, entry.mtime_ns, entry.kept_key
        as_noted = known is not None and (known.size, known.mtime_ns, known.meta_key) == now
        return entry if as_noted else _read(entry)
    if not entry.incomplete:
        return entry
    if known is None:
        return replace(entry, caption=entry.beside if entry.caption is None else entry.caption)
    item = snapshot.item(known.position)
    caption = next((text for text in (entry.caption, item.caption, entry.beside) if text is not None), None)
    meta = {**item.meta, **entry.meta}
    same = (caption, meta) == (item.caption, item.meta)
    # A column may be stored as another type than the table had it: what did not change must not seem to.
    return replace(entry, caption=caption, meta=meta, kept_key=known.meta_key if same else None)
