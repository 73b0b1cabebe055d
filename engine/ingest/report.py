"""What a run did to a collection; what it tells meanwhile is in `engine.progress`."""

from __future__ import annotations

from dataclasses import dataclass

from engine.progress import Advance as Advance
from engine.progress import Listener as Listener
from engine.progress import Silent as Silent


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
        ignored: files that are not pictures.
        encoded: pictures that went through the encoder.
        unindexed: rows searched exactly because no index covers them yet.
        seconds: wall-clock of the run.
    """

    version: int = 0
    added: int = 0
    changed: int = 0
    moved: int = 0
    relabelled: int = 0
    removed: int = 0
    unchanged: int = 0
    failed: int = 0
    ignored: int = 0
    encoded: int = 0
    unindexed: int = 0
    seconds: float = 0.0
