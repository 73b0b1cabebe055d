"""What a run did to a collection; what it tells meanwhile is in `engine.progress`."""

from __future__ import annotations

from dataclasses import dataclass, field

from engine.progress import Advance as Advance
from engine.progress import Listener as Listener
from engine.progress import Silent as Silent


@dataclass(frozen=True)
class Unjoined:
    """Rows of a table that no item was found for.

    Attributes:
        table: its path.
        rows: how many.
        first: the names in some of them.
    """

    table: str
    rows: int
    first: tuple[str, ...]


@dataclass
class Summary:
    """What a run did to a collection.

    Attributes:
        version: the version it left behind.
        added: items that were not there before.
        changed: items whose content was encoded again.
        moved: items found under another name, with the same content.
        relabelled: items whose caption or columns changed.
        removed: items that are gone from their source, or were removed.
        unchanged: items that needed nothing.
        failed: files that could not be indexed; see the failures table.
        failed_before: how many of them could not be before, for the same reason.
        ignored: files that are not pictures.
        encoded: pictures that went through the encoder.
        unindexed: rows searched exactly because no index covers them yet.
        seconds: wall-clock of the run.
        unjoined: tables with rows that no item was found for.
        unread: tables of earlier runs that could not be read; what they said is kept.
    """

    version: int = 0
    added: int = 0
    changed: int = 0
    moved: int = 0
    relabelled: int = 0
    removed: int = 0
    unchanged: int = 0
    failed: int = 0
    failed_before: int = 0
    ignored: int = 0
    encoded: int = 0
    unindexed: int = 0
    seconds: float = 0.0
    unjoined: list[Unjoined] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)
