"""What a long run tells whoever started it, without knowing who that is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from indexers import checks
from indexers.errors import InvalidInput

Advance = Callable[[int], None]


class Listener(Protocol):
    """Hears what a run is doing; the command line draws it, a program may ignore it.

    Example:
        >>> from engine.progress import Silent
        >>> class Says(Silent):
        ...     def say(self, text):
        ...         print(text)
        >>> summary = engine.Collection.open("vectors.nest").build(["flat@16"], Says())
        building flat@16
        plan ...
    """

    def say(self, text: str) -> None:
        """One line worth knowing."""
        ...

    def progress(self, task: str, total: int | None) -> AbstractContextManager[Advance]:
        """Begin a task of `total` steps; the value advances it."""
        ...


def idle(_steps: int) -> None:
    """Hear of steps and do nothing."""


class Silent:
    """Listens and says nothing."""

    def say(self, text: str) -> None:
        """Drop the line."""

    @contextmanager
    def progress(self, task: str, total: int | None) -> Iterator[Advance]:
        """Count nothing."""
        yield idle


def as_listener(listener: Listener | None) -> Listener:
    """Return who hears about a run: the listener that was given, or one that says nothing.

    Raises:
        InvalidInput: what was given is no listener.
    """
    if listener is None:
        return Silent()
    if not all(callable(getattr(listener, name, None)) for name in ("say", "progress")):
        raise InvalidInput(f"listener: expected one with say and progress, found {checks.brief(listener)}")
    return listener


@dataclass(frozen=True)
class Unjoined:
    """Rows of a table that no item was found for.

    Example:
        >>> from pathlib import Path
        >>> table = Path("more.csv")
        >>> written = table.write_text("file,caption\\ndrawings/bus.png,a red bus\\nnowhere.png,nothing\\n")
        >>> photos = engine.Collection.open("photos.nest")
        >>> photos.index("PHOTOS", engine.RunOptions(table=engine.TableOptions(table))).unjoined
        [Unjoined(table='.../more.csv', rows=1, first=('nowhere.png',))]

    Attributes:
        table: its path.
        rows: how many.
        first: the names in some of them.
    """

    table: str
    rows: int
    first: tuple[str, ...]


DEFAULT_ACCEPT_LOSS = 0.5
"""The share of its items that a source may show less than before."""


@dataclass(frozen=True)
class Loss:
    """A source that showed so little of what it had that nothing was removed: its drive may be away.

    Example:
        >>> import shutil
        >>> from pathlib import Path
        >>> photos = engine.Collection.open("photos.nest")
        >>> away = shutil.move("PHOTOS", "elsewhere"), Path("PHOTOS").mkdir()
        >>> photos.index("PHOTOS").losses
        [Loss(source='PHOTOS', location='...', now=0, before=...)]
        >>> back = Path("PHOTOS").rmdir(), shutil.move("elsewhere", "PHOTOS")

    Attributes:
        source: its name.
        location: where it is.
        now: items it shows.
        before: items it had.
    """

    source: str
    location: str
    now: int
    before: int


@dataclass
class Summary:
    """What a run did to a collection.

    Example:
        >>> engine.Collection.open("photos.nest").remove("drawings/bus.png")
        Summary(version=6, added=0, changed=0, moved=0, relabelled=0, removed=1, ...)

    Attributes:
        version: the version it left behind.
        added: items that were not there before.
        changed: items whose content was encoded again.
        moved: items found under another name, with the same content.
        relabelled: items whose caption or columns changed.
        removed: items that are gone from their source, or were removed.
        unwanted: how many of them are there, or may be, and are passed over from now on.
        unchanged: items that needed nothing.
        failed: files that could not be indexed; see the failures table.
        failed_before: how many of them could not be before, for the same reason.
        ignored: files that are not pictures.
        excluded: files and folders that patterns pass over.
        paired: raw files beside the picture of the same shot, or the other way round.
        small: pictures smaller than is wanted.
        encoded: pictures that went through the encoder.
        unindexed: rows searched exactly because no index covers them yet.
        seconds: wall-clock of the run.
        unjoined: tables with rows that no item was found for.
        unread: tables of earlier runs that could not be read; what they said is kept.
        losses: sources that showed far less than before; their items are kept.
    """

    version: int = 0
    added: int = 0
    changed: int = 0
    moved: int = 0
    relabelled: int = 0
    removed: int = 0
    unwanted: int = 0
    unchanged: int = 0
    failed: int = 0
    failed_before: int = 0
    ignored: int = 0
    excluded: int = 0
    paired: int = 0
    small: int = 0
    encoded: int = 0
    unindexed: int = 0
    seconds: float = 0.0
    unjoined: list[Unjoined] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)
    losses: list[Loss] = field(default_factory=list)

    def pass_over(self, **counts: int) -> None:
        """Count files that were passed over, by why: the name of an attribute."""
        for why, count in counts.items():
            setattr(self, why, getattr(self, why) + count)
