"""Captions and other columns from a CSV, JSONL or Parquet table."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, reduce
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.json as pajson

from engine.collection.cells import Cell, as_text, cells, is_nothing
from engine.ingest.nesting import check_depth
from engine.ingest.tablenames import NamesInTable, relative_name
from engine.storage.parquet import read_parquet
from engine.storage.regular import opened_regular
from indexers.errors import SourceError, did_you_mean

NAME_COLUMNS = ("file", "path", "file_name", "filename", "image", "image_path", "filepath", "name", "key", "uri", "url")
CAPTION_COLUMNS = ("caption", "text", "title", "description")
MOST_SHOWN = 20
NAMED_FILES = 5
MOST_COLUMNS = 32_768
PIECE = 1 << 20
SUFFIXES = frozenset({".csv", ".tsv", ".jsonl", ".ndjson", ".parquet"})

Labels = tuple[str | None, dict[str, Cell]]


def read_table(path: Path, *, texts: Iterable[str | None] = ()) -> pa.Table:
    """Read a CSV, TSV, JSONL or Parquet table.

    Args:
        path: the file.
        texts: columns of names and captions besides the usual ones: `0001` is a text there, and no number.

    Raises:
        SourceError: another suffix, or a file that does not parse.
    """
    try:
        table = _read_table(path, texts)
        table.validate(full=True)  # texts that are none
        names = table.column_names  # decoded only when asked for
    except (pa.ArrowException, OSError, ValueError) as error:
        raise SourceError(f"{path} cannot be read as a {path.suffix.lower()[1:]} table: {error}") from error
    check_names(names, path)
    return table


def check_names(names: list[str], path: Path) -> None:
    """Refuse a table with more columns than anybody can use, or two of which have the same name.

    Raises:
        SourceError: it is such.
    """
    if len(names) > MOST_COLUMNS:
        raise SourceError(f"{path} has {len(names):,} columns, and at most {MOST_COLUMNS:,} are stored; leave some out")
    if twice := sorted(name for name, times in Counter(names).items() if times > 1):
        raise SourceError(f"{path} has several columns called {shown_names(twice)}; give each a name of its own")


def shown_names(names: Sequence[str]) -> str:
    """Write names of columns for a message: some of them, where there are many."""
    more = len(names) - MOST_SHOWN
    return ", ".join(names[:MOST_SHOWN]) + (f" and {more:,} more" if more > 0 else "")


def _read_table(path: Path, texts: Iterable[str | None]) -> pa.Table:
    suffix = path.suffix.lower()
    named = {*NAME_COLUMNS, *CAPTION_COLUMNS, *(name for name in texts if name is not None)}
    if suffix in {".csv", ".tsv"}:
        parse = pacsv.ParseOptions(delimiter="\t" if suffix == ".tsv" else ",", newlines_in_values=True)
        convert = pacsv.ConvertOptions(column_types=dict.fromkeys(named, pa.string()))
        table = pacsv.read_csv(path, parse_options=parse, convert_options=convert)
        _check_closed(path, table)
        return table
    if suffix in {".jsonl", ".ndjson"}:
        return _read_json(path, named)
    if suffix == ".parquet":
        return read_parquet(path, check=lambda file: check_names(file.schema_arrow.names, path))
    raise SourceError(f"{path}: expected a table ending in {', '.join(sorted(SUFFIXES))}")


def _check_closed(path: Path, table: pa.Table) -> None:
    """Refuse a table whose last value is all that follows a quote which nobody has closed.

    Raises:
        ValueError: it is such.
    """
    last = table.column(-1)[-1].as_py() if table.num_columns and table.num_rows else None
    if not isinstance(last, str) or "\n" not in last:
        return
    quotes, end = 0, b""
    with opened_regular(path) as file:
        while piece := file.read(PIECE):
            quotes, end = quotes + piece.count(b'"'), (end + piece.rstrip())[-1:] if piece.strip() else end
    if end != b'"' or quotes % 2:
        raise ValueError(f"the quote that opens a value of row {table.num_rows} is closed nowhere")


def _read_json(path: Path, texts: Iterable[str]) -> pa.Table:
    """Read JSONL; what looks like a date in a column of texts stays as it is written."""
    with opened_regular(path) as file:
        check_depth(file)
    table = pajson.read_json(path)
    guessed = [name for name in texts if name in table.column_names and pa.types.is_temporal(table.field(name).type)]
    if not guessed:
        return table
    schema = pa.schema([pa.field(name, pa.string()) for name in guessed])
    return pajson.read_json(path, parse_options=pajson.ParseOptions(explicit_schema=schema))


def pick_column(table: pa.Table, wanted: str | None, usual: tuple[str, ...], *, name: str) -> str | None:
    """Return the column the user named, or the first of the usual names that is there.

    Raises:
        SourceError: the user named one that is not there.
    """
    if wanted is not None:
        if wanted not in table.column_names:
            near = did_you_mean(wanted, table.column_names)
            raise SourceError(f"{name} has no column {wanted!r}; it has {shown_names(table.column_names)}{near}")
        return wanted
    return next((column for column in usual if column in table.column_names), None)


@dataclass
class LabelTable:
    """A table joined to files by their name.

    Example:
        >>> from pathlib import Path
        >>> table = engine.LabelTable.open(Path("captions.csv"))
        >>> table.labels("drawings/bicycle.png")
        ('bicycle', {})

    Attributes:
        name: the table's file, for messages.
        rows: caption and columns by file name as written in the table, without a leading `./`.
        columns: what it says of a file: its columns but that of names, the one of captions as `caption`.
        used: names that were joined to a file.
    """

    name: str
    rows: dict[str, Labels]
    columns: frozenset[str] = frozenset()
    used: set[str] = field(default_factory=set)

    @cached_property
    def _names(self) -> NamesInTable:
        return NamesInTable(self.rows, str(Path(os.path.abspath(self.name)).parent))

    @classmethod
    def open(cls, path: Path, *, name_column: str | None = None, caption_column: str | None = None) -> LabelTable:
        """Read a table.

        Args:
            path: a file `read_table` takes.
            name_column: the column that names files; the first of `NAME_COLUMNS` if None.
            caption_column: the column of captions; the first of `CAPTION_COLUMNS` if None.

        Raises:
            SourceError: it has no column of file names, or names a file twice.
        """
        table = read_table(path, texts=(name_column, caption_column))
        key = pick_column(table, name_column, NAME_COLUMNS, name=str(path))
        if key is None:
            raise SourceError(
                f"{path}: expected a column of file names ({', '.join(NAME_COLUMNS)}), found "
                f"{shown_names(table.column_names)}; name it with --name-column"
            )
        caption = pick_column(table, caption_column, CAPTION_COLUMNS, name=str(path))
        rows: dict[str, Labels] = {}
        texts = {name: [as_text(one) for one in cells(table.column(name))] for name in (key, caption) if name}
        others = [name for name in table.column_names if name not in texts]
        columns = [cells(table.column(name)) for name in others]
        for number, name in enumerate(texts[key]):
            if name is None:
                raise SourceError(f"{path}: row {number + 1} has nothing in its column of file names, {key!r}")
            meta = {other: column[number] for other, column in zip(others, columns, strict=True)}
            labels = (texts[caption][number] if caption else None, meta)
            if rows.setdefault(relative_name(name), labels) is not labels:
                raise SourceError(f"{path} names {name!r} twice; a file can have one row")
        return cls(str(path), rows, columns_of(table, key, caption))

    def labels(self, path: str, folder: str = "") -> Labels | None:
        """Return caption and columns for a file: by its path, else by its last part; see `NamesInTable.row_of`.

        Args:
            path: the file's, in its source.
            folder: the source's, absolute, as text; "" where that is not known.
        """
        name = self._names.row_of(path, folder)
        if name is None:
            return None
        self.used.add(name)
        return self.rows[name]

    def check_joined(self) -> None:
        """Complain when a table has nothing to do with the files it was given for.

        Raises:
            SourceError: not one of its rows names a file that was found.
        """
        if self.rows and not self.used:
            example = next(iter(self.rows))
            raise SourceError(
                f"none of the {len(self.rows)} rows of {self.name} names a file that was found (the first is "
                f"{example!r}); names must be relative to the source"
            )


@dataclass
class JoinedTables:
    """All tables that are joined to a source's files, in the order they were named.

    Attributes:
        tables: those that can be read.
        complete: whether that is all of them.
        folder: that of the source, absolute, as text; "" where names in it are no paths.
        unnamed: how many files of the listing under way no table names.
        first: some of them.
    """

    tables: list[LabelTable]
    complete: bool = True
    folder: str = ""
    unnamed: int = 0
    first: list[str] = field(default_factory=list)

    def begin(self) -> None:
        """Say that the files are listed from the first one on."""
        self.unnamed, self.first = 0, []

    def labels(self, path: str) -> Labels | None:
        """Return caption and columns for a file; where several tables say one, the last counts."""
        found = [labels for table in self.tables if (labels := table.labels(path, self.folder)) is not None]
        if not found:
            self.unnamed += 1
            self.first += [path] if len(self.first) < NAMED_FILES else []
        return reduce(overlaid, found) if found else None


def _is_empty(value: Cell) -> bool:
    return is_nothing(value) or (isinstance(value, str) and not value)


def overlaid(before: Labels, after: Labels) -> Labels:
    """Return what two tables say of an item: where both do, the second counts; an empty cell says nothing."""
    said = {name: value for name, value in after[1].items() if not _is_empty(value) or name not in before[1]}
    return after[0] or (after[0] if before[0] is None else before[0]), {**before[1], **said}


def columns_of(table: pa.Table, key: str | None, caption: str | None) -> frozenset[str]:
    """Return what a table says of an item: its columns but that of names, the one of captions as `caption`."""
    return frozenset("caption" if name == caption else name for name in table.column_names if name != key)
