"""What was found in files that are no items, and in those beside them: while they are as they were, none is opened."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from blake3 import blake3

from engine.collection.commit import Change
from engine.collection.manifest import Manifest
from engine.collection.shards import NOTE_SCHEMA, read_table, write_table
from engine.storage import layout
from engine.storage.kinds import ALL_METADATA
from engine.storage.layout import FileRef
from engine.storage.verified import check_hash

Noted = dict[int, tuple[int, int]]
"""By the key of a path: a stamp of files as they were, and what was found in them."""


@dataclass
class Notes:
    """The notes of one source.

    Attributes:
        before: those of the version a run starts from.
        now: those that hold.
        wants: what of the metadata beside pictures counts: what is noted of it is of that.
    """

    before: Noted = field(default_factory=dict)
    now: Noted = field(default_factory=dict)
    wants: str = ALL_METADATA

    def find(self, key: int, stamp: int) -> int | None:
        """Return what was found at a key, where the files are as they were then."""
        noted = self.now.get(key) or self.before.get(key)
        if noted is None or noted[0] != stamp:
            return None
        self.now[key] = noted
        return noted[1]

    def find_earlier(self, key: int, stamp: int) -> int | None:
        """Do as `find`, with earlier runs alone: what this one has found is not in the collection yet."""
        noted = self.before.get(key)
        if noted is None or noted[0] != stamp:
            return None
        self.now.setdefault(key, noted)
        return noted[1]

    def note(self, key: int, stamp: int, says: int) -> None:
        """Note what was found."""
        self.now[key] = stamp, says


def stamp_of(*values: Any) -> int:
    """Return 64 bits that stand for how files are: their names, sizes and times."""
    return int.from_bytes(blake3(repr(values).encode()).digest(length=8), "little")


def notes_of(root: Path, manifest: Manifest) -> dict[str, Noted]:
    """Return the notes of a version, by source.

    Raises:
        CorruptCollection: the file has changed, or cannot be read.
    """
    if manifest.notes is None:
        return {}
    check_hash(root, manifest.notes)
    table = read_table(root, manifest.notes)
    names = table["source"].unique().to_pylist()
    return {name: _noted(table.filter(pc.equal(table["source"], name))) for name in names}


def _noted(table: pa.Table) -> Noted:
    key, stamp, says = (table.column(name).to_pylist() for name in ("key", "stamp", "says"))
    return dict(zip(key, zip(stamp, says, strict=True), strict=True))


def record_notes(root: Path, notes: dict[str, Notes], *, whole: frozenset[str]) -> Change:
    """Replace notes by those of the latest run; where they are the same, nothing is written.

    Args:
        root: the collection.
        notes: of this run, by source.
        whole: sources that were listed whole: what was noted there before, and is not now, is forgotten.
    """

    def change(base: Manifest) -> Manifest:
        old = notes_of(root, base)
        new = dict(old)
        for name, one in notes.items():
            new[name] = one.now if name in whole else {**old.get(name, {}), **one.now}
        new = {name: noted for name, noted in new.items() if noted}
        return base if new == old else replace(base, notes=_written(root, new))

    return change


def drop_notes(root: Path, sources: frozenset[str]) -> Change:
    """Leave out what was noted of some sources: what is in the collection of them is not what it was noted beside."""

    def change(base: Manifest) -> Manifest:
        old = notes_of(root, base)
        new = {name: noted for name, noted in old.items() if name not in sources}
        return base if new == old else replace(base, notes=_written(root, new))

    return change


def _written(root: Path, notes: dict[str, Noted]) -> FileRef | None:
    rows = [(name, key, *noted) for name in sorted(notes) for key, noted in sorted(notes[name].items())]
    if not rows:
        return None
    columns = [list(column) for column in zip(*rows, strict=True)]
    return write_table(root, layout.NOTES, pa.table(columns, schema=NOTE_SCHEMA))


def forget_notes(base: Manifest) -> Manifest:
    """Leave the notes out of a version: the next run makes them again."""
    return replace(base, notes=None)
