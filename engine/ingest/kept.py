"""What items keep that a table gave them which cannot be read now, or files beside them that need not be read."""

from __future__ import annotations

import json
from dataclasses import replace

from engine.collection.cells import Cell, is_nothing, value_of
from engine.collection.shards import BY_HAND, CAPTION, FOUND
from engine.collection.snapshot import Snapshot
from engine.ingest.catalogue import Known, Stamp, is_looked_into
from engine.ingest.entries import Entry
from engine.ingest.labelled import narrowed_to, said_by
from engine.storage.kinds import ALL_METADATA


def _is_same(one: Cell, other: Cell) -> bool:
    return bool(value_of(one) == value_of(other))


def complete(entry: Entry, known: Known | Stamp | None, snapshot: Snapshot, wants: str = ALL_METADATA) -> Entry:
    """Give an entry the caption and the columns that its item has and that nothing says otherwise.

    Args:
        entry: as it was listed.
        known: the item it is, or was before it was moved; None for a new one.
        snapshot: the version that item is in.
        wants: what of the metadata beside pictures counts.
    """
    if entry.aside is not None:
        stated = entry.size, entry.mtime_ns, entry.kept_key
        if (
            known is not None
            and (known.size, known.mtime_ns, known.meta_key) == stated
            and is_looked_into(known, wants)
        ):
            return entry
        return said_by(entry, entry.aside, wants)
    entry = narrowed_to(wants, entry)
    if not entry.incomplete:
        return entry
    if known is None:
        return replace(entry, caption=entry.beside if entry.caption is None else entry.caption)
    item = snapshot.item(known.position)
    caption = next((text for text in (entry.caption, item.caption, entry.beside) if text is not None), None)
    # What files say is no label: it would stay when they say something else.
    told = replace(entry, found=snapshot.lookup.text(FOUND, known.position)).of_files
    stored = snapshot.lookup.cells(known.position).items()
    own = {name: one for name, one in stored if name not in told or not _is_same(told[name], one)}
    meta = {**own, **{name: one for name, one in entry.meta.items() if not is_nothing(one) or name not in own}}
    same = caption == item.caption and all(_is_same(one, own.get(name)) for name, one in meta.items())
    # A column may be stored as another type than the table had it: what did not change must not seem to.
    return replace(entry, caption=caption, meta=meta, kept_key=known.meta_key if same else None)


def with_set(entry: Entry, known: Known, snapshot: Snapshot) -> Entry:
    """Return an entry with what of its item was set by hand, where its source says of it what it said before.

    Args:
        entry: as it was listed, and completed.
        known: the item it is, or was before it was moved.
        snapshot: the version that item is in.
    """
    said = snapshot.lookup.text(BY_HAND, known.position)
    if said is None or known.meta_key != entry.meta_key:
        return entry
    names: list[str] = json.loads(said)
    cells = snapshot.lookup.cells(known.position)
    own = {name: cells.get(name) for name in names}
    own = {name: None if one is None or is_nothing(one) else one for name, one in own.items()}
    caption = snapshot.item(known.position).caption if CAPTION in names else entry.caption
    return replace(entry, caption=caption, by_hand=own, kept_key=known.meta_key)
