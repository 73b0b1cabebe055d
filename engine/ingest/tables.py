"""Captions and other columns: from a CSV, JSONL or Parquet table, or from `.txt` files beside pictures."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime, time
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.json as pajson
import pyarrow.parquet as pq

from indexers.errors import SourceError

NAME_COLUMNS = ("file", "path", "file_name", "filename", "image", "image_path", "filepath", "name", "key", "uri", "url")
CAPTION_COLUMNS = ("caption", "text", "title", "description")
SUFFIXES = frozenset({".csv", ".tsv", ".jsonl", ".ndjson", ".parquet"})

Labels = tuple[str | None, dict[str, Any]]


def read_table(path: Path) -> pa.Table:
    """Read a CSV, TSV, JSONL or Parquet table.

    Raises:
        SourceError: another suffix, or a file that does not parse.
    """
    suffix = path.suffix.lower()
    try:
        if suffix in {".csv", ".tsv"}:
            options = pacsv.ParseOptions(delimiter="\t" if suffix == ".tsv" else ",", newlines_in_values=True)
            return pacsv.read_csv(path, parse_options=options)
        if suffix in {".jsonl", ".ndjson"}:
            return pajson.read_json(path)
        if suffix == ".parquet":
            return pq.read_table(path, page_checksum_verification=True)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise SourceError(f"{path} cannot be read as a {suffix[1:]} table: {error}") from error
    raise SourceError(f"{path}: expected a table ending in {', '.join(sorted(SUFFIXES))}")


def pick_column(table: pa.Table, wanted: str | None, usual: tuple[str, ...], *, name: str) -> str | None:
    """Return the column the user named, or the first of the usual names that is there.

    Raises:
        SourceError: the user named one that is not there.
    """
    if wanted is not None:
        if wanted not in table.column_names:
            raise SourceError(f"{name} has no column {wanted!r}; it has {', '.join(table.column_names)}")
        return wanted
    return next((column for column in usual if column in table.column_names), None)


def plain(value: Any) -> Any:
    """Return a cell as something a column of a shard can hold: number, bool, text or None."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, date | datetime | time):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return str(value)


@dataclass
class LabelTable:
    """A table joined to files by their name.

    Attributes:
        name: the table's file, for messages.
        rows: caption and columns by file name as written in the table.
        used: names that were joined to a file.
    """

    name: str
    rows: dict[str, Labels]
    used: set[str] = field(default_factory=set)

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
        table = read_table(path)
        key = pick_column(table, name_column, NAME_COLUMNS, name=str(path))
        if key is None:
            raise SourceError(
                f"{path}: expected a column of file names ({', '.join(NAME_COLUMNS)}), found "
                f"{', '.join(table.column_names)}; name it with --name-column"
            )
        caption = pick_column(table, caption_column, CAPTION_COLUMNS, name=str(path))
        rows: dict[str, Labels] = {}
        for row in table.to_pylist():
            labels = split_row(row, caption, drop=(key,))
            if rows.setdefault(str(row[key]), labels) is not labels:
                raise SourceError(f"{path} names {row[key]!r} twice; a file can have one row")
        return cls(str(path), rows)

    def labels(self, path: str) -> Labels | None:
        """Return caption and columns for a file: by its path, else by its last part."""
        for name in (path, PurePosixPath(path).name):
            if name in self.rows:
                self.used.add(name)
                return self.rows[name]
        return None

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


def split_row(row: dict[str, Any], caption: str | None, *, drop: tuple[str, ...] = ()) -> Labels:
    """Split a table's row into its caption and the other columns that have a value."""
    text = row.get(caption) if caption else None
    others = {
        str(name): plain(value)
        for name, value in row.items()
        if name != caption and name not in drop and value is not None
    }
    return (None if text is None else str(text)), others


def sidecar(location: bytes) -> str | None:
    """Return the text of the `.txt` file beside a picture, or None if there is none."""
    stem, dot, _ = location.rpartition(b".")
    if not dot:
        return None
    try:
        with open(stem + b".txt", "rb") as file:
            text = file.read(1 << 16)
    except OSError:
        return None
    return " ".join(text.decode("utf-8", "replace").split()) or None
