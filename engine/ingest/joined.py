"""The tables of captions and columns that sources are joined to: named now, or remembered from the runs before."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from engine.collection.manifest import Source, SourceTable
from engine.collection.named import JOINED, Named
from engine.ingest.tables import (
    CAPTION_COLUMNS,
    NAME_COLUMNS,
    JoinedTables,
    LabelTable,
    columns_of,
    pick_column,
    read_table,
)
from engine.progress import Taken
from engine.storage import layout
from engine.storage.names import file_text, path_bytes, text_path
from engine.storage.regular import check_regular
from indexers import checks
from indexers.errors import InvalidInput, SourceError


@dataclass(frozen=True)
class TableOptions:
    """A table of captions and columns, and what its columns are called.

    Example:
        >>> from pathlib import Path
        >>> options = engine.RunOptions(table=engine.TableOptions(Path("captions.csv"), caption_column="caption"))
        >>> engine.Collection.open("photos.nest").index("PHOTOS", options).unchanged
        33

    Attributes:
        table: joined to files by name, or lying row for row beside vectors; None for those of the runs before.
        name_column: the column that names files.
        caption_column: the column of captions.
        forget: whether the tables of the runs before are dropped.
        vectors: the column, array or folder of vectors; or a pattern, `f*`, for columns that are one number each.
        spaces: the same for further spaces, by their names; what is said of `main` is said of `vectors`.
        key: of vectors, the column of names where it holds keys that are kept as a column too, as they are.
    """

    table: Path | None = None
    name_column: str | None = None
    caption_column: str | None = None
    forget: bool = False
    vectors: str | None = None
    key: str | None = None
    spaces: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        checks.settle(
            self,
            table=checks.optional("table", self.table, checks.path),
            name_column=checks.optional("name_column", self.name_column, checks.text),
            caption_column=checks.optional("caption_column", self.caption_column, checks.text),
            forget=checks.truth("forget", self.forget),
            vectors=checks.optional("vectors", self.vectors, checks.text),
            key=checks.optional("key", self.key, checks.text),
            spaces=_spaces(self.spaces),
        )
        if (main := self.spaces.get(layout.DEFAULT_SPACE)) is not None:
            if self.vectors not in (None, main):
                raise InvalidInput(
                    f"vectors of the main space are to come from {self.vectors!r} and from {main!r}: name one"
                )
            others = {name: column for name, column in self.spaces.items() if name != layout.DEFAULT_SPACE}
            checks.settle(self, vectors=main, spaces=others)
        if self.key is not None and self.name_column is not None:
            raise InvalidInput("give a key or a name_column, not both: each says what rows are called")

    @property
    def called(self) -> str | None:
        """The column that says what rows are called."""
        return self.key or self.name_column

    @property
    def names_columns(self) -> bool:
        """Whether columns of a table are named."""
        return self.called is not None or self.caption_column is not None


def _spaces(given: Any) -> dict[str, str]:
    """Return the columns of spaces, in the order of their names.

    Raises:
        InvalidInput: a space cannot be called so, or what it is to be made of is no text.
    """
    columns = checks.mapping("spaces", given)
    for name in columns:
        if not isinstance(name, str) or not layout.is_space_name(name):
            raise InvalidInput(f"a space is called by 1 to 64 of a–z, 0–9, _ and -; found {name!r}")
    return {name: checks.text(f"spaces[{name!r}]", columns[name]) for name in sorted(columns)}


def joined_to(source: Source) -> list[SourceTable]:
    """Return the tables of a source that are not itself."""
    return [table for table in source.tables if table.location != source.location]


def own_columns(source: Source) -> SourceTable:
    """Return what the columns are called that a source has of its own."""
    own = (table for table in source.tables if table.location == source.location)
    return next(own, SourceTable(source.location))


def table_path(table: SourceTable) -> Path:
    """Return where a table lies."""
    return text_path(table.location)


def with_tables(source: Source, options: TableOptions, *, joins: bool) -> Source:
    """Return a source with the tables it has from now on: those it had, and the one that is named.

    Args:
        source: as the collection knows it.
        options: what was asked for.
        joins: whether a table can be joined to it.

    Raises:
        SourceError: columns are named, and there are several tables they could be of; or keys, of pictures.
    """
    if options.key is not None and source.kind != "vectors":
        raise SourceError(
            f"{source.location}: a key names rows of vectors, and pictures are known by their path; --name-column "
            "names the column of their file names"
        )
    own = [table for table in source.tables if table.location == source.location]
    joined = [] if options.forget else joined_to(source)
    if options.table is not None and joins:
        joined = _updated(joined, file_text(options.table), options)
    elif options.names_columns:
        if len(joined) > 1:
            raise SourceError(
                f"{source.location} has several tables ({', '.join(table.location for table in joined)}); "
                "say with --table whose columns are named"
            )
        if joined:
            joined = _updated(joined, joined[0].location, options)
        elif source.kind != "folder":
            own = _updated(own, source.location, options)
    if source.kind == "vectors" and (options.vectors is not None or options.spaces):
        before = next(iter(own), SourceTable(source.location))
        spaces = tuple(options.spaces.items()) or before.spaces
        own = [replace(before, vectors=options.vectors or before.vectors, spaces=spaces)]
    return replace(source, tables=(*own, *joined))


def _updated(tables: list[SourceTable], location: str, options: TableOptions) -> list[SourceTable]:
    """Add a table, or name columns of one that is there; it keeps its place, and what is not named anew."""
    old = next((table for table in tables if table.location == location), None)
    if old is None:
        keyed = options.key is not None
        return [*tables, SourceTable(location, options.called, options.caption_column, keyed=keyed)]
    new = replace(
        old,
        name_column=options.called or old.name_column,
        caption_column=options.caption_column or old.caption_column,
        keyed=old.keyed if options.called is None else options.key is not None,
    )
    return [new if table is old else table for table in tables]


@dataclass
class Tables:
    """Opens the tables of a run's sources, each once.

    Attributes:
        options: what was asked for.
        believed: what was named on this machine before: what else the collection says is not read.
        given: the table named now, where it was joined to files.
        notes: what a user should be told.
        unread: those of the runs before that cannot be read.
        opened: those that are joined to files.
        taken: which columns were taken for vectors, where there was something to choose.
    """

    options: TableOptions
    believed: frozenset[Named] = frozenset()
    given: LabelTable | None = None
    notes: list[str] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)
    opened: dict[SourceTable, LabelTable] = field(default_factory=dict)
    taken: list[Taken] = field(default_factory=list)

    def by_name(self, source: Source, *, whole: bool = True) -> JoinedTables | None:
        """Open the tables that are joined to a source's files; None where there are none.

        Args:
            source: as it is from now on.
            whole: whether the user named all of it, and so the tables in it.

        Raises:
            SourceError: the one that is named now cannot be read.
        """
        wanted = joined_to(source)
        found: list[LabelTable] = []
        for table in wanted:
            try:
                self._require(table, source if whole else None)
                opened = self.open(table)
            except SourceError as error:
                self._missed(table, error, f"the items of {source.location} keep the captions and columns they have")
                continue
            if self._is_given(table):
                self.given = opened
                self._say_both(opened.name, opened.columns, [one.columns for one in found])
            found.append(opened)
        return JoinedTables(found, len(found) == len(wanted), source.folder or "") if wanted else None

    def open(self, table: SourceTable) -> LabelTable:
        """Open one table by the names in it; the same one is opened once."""
        if table not in self.opened:
            names = {"name_column": table.name_column, "caption_column": table.caption_column}
            self.opened[table] = LabelTable.open(table_path(table), **names)
        return self.opened[table]

    def by_row(self, source: Source) -> list[SourceTable] | None:
        """Return the tables that lie row for row beside a source's vectors; None where one cannot be read.

        Raises:
            SourceError: the one that is named now cannot be read.
        """
        wanted = joined_to(source)
        found: list[frozenset[str]] = []
        for table in wanted:
            if self._is_given(table) and len(wanted) == 1:
                break  # whoever reads it will see
            try:
                self._require(table, source)
                columns = _columns_beside(table)
            except SourceError as error:
                # It may say what the rows are called: without it they would seem to be others.
                self._missed(table, error, f"the items of {source.location} are left as they are")
                return None
            if self._is_given(table):
                self._say_both(str(table_path(table)), columns, found)
            found.append(columns)
        return wanted

    def took(self, taken: Taken | None) -> None:
        """Note which column was taken for the vectors, and what was left out."""
        if taken is not None:
            self.taken.append(taken)
            self.notes.append(str(taken))

    def _is_given(self, table: SourceTable) -> bool:
        return self.options.table is not None and table.location == file_text(self.options.table)

    def _require(self, table: SourceTable, source: Source | None) -> None:
        """Refuse what nobody named here, nor lies in the source that is named, and what is no file any more."""
        if self._is_given(table):
            return
        named = Named(JOINED, table.location) in self.believed or (source is not None and _lies_in(table, source))
        if not named:
            raise SourceError(f"nobody on this machine has named the table {table_path(table)}")
        try:
            check_regular(table_path(table))
        except OSError as error:
            raise SourceError(f"{table_path(table)} cannot be read as a table: {error.strerror}") from error

    def _missed(self, table: SourceTable, error: SourceError, kept: str) -> None:
        if self._is_given(table):
            raise error
        self.unread.append(str(table_path(table)))
        self.notes.append(
            f"{error}; {kept}. Put it back, or drop the tables of this source with --no-table, and name with --table "
            "what is to be joined"
        )

    def _say_both(self, name: str, columns: frozenset[str], others: Sequence[frozenset[str]]) -> None:
        if both := columns & frozenset[str]().union(*others):
            said = f"{name} says {', '.join(sorted(both))}, and so does a table named before"
            self.notes.append(f"{said}: where both do, the later one counts")


def _lies_in(table: SourceTable, source: Source) -> bool:
    folder = os.path.realpath(path_bytes(source.location)).rstrip(b"/") + b"/"
    return os.path.realpath(path_bytes(table.location)).startswith(folder)


def _columns_beside(table: SourceTable) -> frozenset[str]:
    """Return what a table says of each row."""
    path = table_path(table)
    read = read_table(path, texts=(table.name_column, table.caption_column))
    key = pick_column(read, table.name_column, NAME_COLUMNS, name=str(path))
    return columns_of(read, key, pick_column(read, table.caption_column, CAPTION_COLUMNS, name=str(path)))
