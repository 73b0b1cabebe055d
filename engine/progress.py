"""What a long run tells whoever started it, without knowing who that is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from indexers import checks
from indexers.errors import InvalidInput

Advance = Callable[[int], None]
Rows = TypeVar("Rows", bound=Sized)


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


MANY_ROWS = 20_000
"""Fewer take a moment, whatever is done with each: nobody need hear of it."""


def over_rows(listener: Listener, task: str, rows: int) -> AbstractContextManager[Advance]:
    """Begin a task over rows, and tell of it if they are many."""
    return listener.progress(task, rows) if rows >= MANY_ROWS else nullcontext(idle)


def telling(parts: Iterable[Rows], advance: Advance) -> Iterator[Rows]:
    """Yield parts, and tell how many rows each has once it is dealt with."""
    for part in parts:
        yield part
        advance(len(part))


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


@dataclass(frozen=True)
class Unnamed:
    """Pictures of a source that no row of its tables names.

    Example:
        >>> from pathlib import Path
        >>> table = Path("one.csv")
        >>> written = table.write_text("file,caption\\ndrawings/bus.png,a red bus\\n")
        >>> photos = engine.Collection.open("photos.nest")
        >>> options = engine.RunOptions(table=engine.TableOptions(table, forget=True))
        >>> photos.index("PHOTOS", options).unnamed
        [Unnamed(source='PHOTOS', items=32, first=('drawings/anchor.png', ...))]

    Attributes:
        source: its name.
        items: how many.
        first: some of them.
    """

    source: str
    items: int
    first: tuple[str, ...]


@dataclass(frozen=True)
class Taken:
    """Which column of a source was taken for its vectors, where there was something to choose.

    Example:
        >>> import pyarrow as pa
        >>> import pyarrow.parquet as pq
        >>> columns = {"image_embedding": [[1.0, 0.0]], "text_embedding": [[0.0, 1.0]]}
        >>> pq.write_table(pa.table(columns), "two.parquet")
        >>> options = engine.RunOptions(table=engine.TableOptions(vectors="text_embedding"))
        >>> with engine.Collection.create("two.nest", encoder="precomputed", dim=2) as two:
        ...     two.index("two.parquet", options).taken
        [Taken(source='two.parquet', column='text_embedding', left=('image_embedding',), spaces=())]

    Attributes:
        source: its name.
        column: what it is called; of numbered columns the first and the last.
        left: what else holds vectors: it is left out.
        spaces: further spaces, and what is taken for each.
    """

    source: str
    column: str
    left: tuple[str, ...]
    spaces: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        """Say it in a line."""
        taken = [self.column, *(f"{column} for space {space}" for space, column in self.spaces)]
        said = f"{self.source}: vectors are taken from {', '.join(taken)}"
        if twice := next((space for space, column in self.spaces if column == self.column), None):
            said += f" (space {twice} holds the same as the main one: --space main={self.column} alone keeps them once)"
        if not self.left:
            return said
        others = ", ".join(self.left[:MOST_NAMED]) + (" …" if len(self.left) > MOST_NAMED else "")
        return f"{said}; left out, though there are vectors in it too: {others} (choose with --vectors)"


MOST_NAMED = 8

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


@dataclass(frozen=True)
class Noted:
    """A picture that was read though something is wrong with it.

    Example:
        >>> from pathlib import Path
        >>> Path("odd").mkdir()
        >>> written = Path("odd/cut.jpg").write_bytes(Path("PHOTOS/photos/coffee.jpg").read_bytes()[:-2])
        >>> engine.Collection.open("photos.nest").index("odd").noted
        [Noted(source='odd', path='cut.jpg', note='the JPEG has no end marker; all of its rows are there')]

    Attributes:
        source: name of its source.
        path: in it.
        note: what is wrong, in one line.
    """

    source: str
    path: str
    note: str


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
        unnamed: sources with pictures that no table names, where they have tables.
        unread: tables of earlier runs that could not be read; what they said is kept.
        losses: sources that showed far less than before; their items are kept.
        noted: pictures that were read though something is wrong with them.
        taken: which columns were taken for vectors, where there was something to choose.
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
    unnamed: list[Unnamed] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)
    losses: list[Loss] = field(default_factory=list)
    noted: list[Noted] = field(default_factory=list)
    taken: list[Taken] = field(default_factory=list)

    def pass_over(self, **counts: int) -> None:
        """Count files that were passed over, by why: the name of an attribute."""
        for why, count in counts.items():
            setattr(self, why, getattr(self, why) + count)
