"""Vectors that exist already, in files and folders of them, as a listing."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property, reduce
from typing import Any

import pyarrow as pa

from engine.collection.cells import as_text, cells
from engine.collection.manifest import Source, SourceTable
from engine.ingest.entries import Block, VectorListing
from engine.ingest.formats.columns import Choice
from engine.ingest.formats.rows import Rows
from engine.ingest.tables import CAPTION_COLUMNS, NAME_COLUMNS, overlaid, pick_column, read_table
from engine.ingest.vector_files import VectorFile, left_folders, status_of
from engine.progress import Taken
from engine.storage.regular import mtime_of
from indexers.errors import SourceError

Columns = tuple[list[str | None] | None, list[dict[str, Any]] | None]
"""Captions and the other columns of each row; None for none at all."""


class VectorFiles(VectorListing):
    """Rows of vector files.

    A row is known by the first column that names things (`tables.NAME_COLUMNS`), or the one that was named, else by its
    file and number. All vectors have one dimension: that of the collection, or else the one that most of the first rows
    have, and of as many the one that comes first. A row of another costs a failure; a file whose rows cannot but have
    another is refused.

    Attributes:
        choice: where the first file has its vectors.
    """

    whole = True

    def __init__(
        self,
        source: Source,
        files: list[VectorFile],
        *,
        name_column: str | None,
        caption: str | None,
        keyed: bool = False,
    ):
        self.source = source
        self.files = files
        joined = [one for one in source.tables if one.location != source.location]
        self._how = [SourceTable(source.location, name_column, caption, keyed=keyed), *joined[1:]]

    @cached_property
    def choice(self) -> Choice:
        """See above."""
        return self.files[0].choice()

    @property
    def taken(self) -> Taken | None:
        """What was taken for the vectors, where there was something to choose."""
        first = self.files[0]
        others = (*self.choice.others, *left_folders(first))
        if not others and not self.choice.wide:
            return None
        return Taken(self.source.name, self.choice.shown or first.vectors.parent.name, others)

    @property
    def dim(self) -> int:
        """Dimension D of its vectors.

        Raises:
            SourceError: there are none.
        """
        return self._dim

    @cached_property
    def _dim(self) -> int:
        return self._lengths.most_common(1)[0][0]

    @cached_property
    def _lengths(self) -> Counter[int]:
        """How many of the first rows that have any vectors have each dimension."""
        for file in self.files:
            for rows in _rows_of(file, ()):
                if rows.lengths:
                    return rows.lengths
        raise SourceError(f"{self.files[0].vectors} holds no vectors")

    def fits(self, dim: int) -> bool:
        """Whether some of the first rows have a dimension; then it is that of all."""
        if dim in self._lengths:
            self._dim = dim
        return dim == self.dim

    def blocks(self) -> Iterator[Block]:
        """Yield the rows in order, some thousand at a time.

        Raises:
            SourceError: a file that cannot be read, or is of another dimension.
        """
        for file in self.files:
            status = status_of(file.vectors)
            number = 0
            for rows, tables in self._joined(file):
                yield self._block(file, number, rows, tables, status)
                number += rows.count

    def _block(
        self, file: VectorFile, number: int, rows: Rows, tables: list[pa.Table], status: os.stat_result
    ) -> Block:
        if rows.fixed and (other := [length for length in rows.lengths if length != self.dim]):
            raise SourceError(f"{file.vectors} holds vectors of {other[0]} dimensions beside others of {self.dim}")
        vectors, wrong = rows.laid_out(self.dim)
        numbered = [f"{file.called}#{row}" for row in range(number, number + rows.count)]
        names: list[Any] = []
        said: list[Columns] = []
        for part, how, at in zip(tables, self._how, self._shown(file), strict=True):
            wanted = how if part.num_columns else SourceTable(how.location)
            key = pick_column(part, wanted.name_column, NAME_COLUMNS, name=at)
            caption = pick_column(part, wanted.caption_column, CAPTION_COLUMNS, name=at)
            # What rows are called is said by the first that does: another table must not make other items of them.
            names = names or ([as_text(one) for one in cells(part.column(key))] if key else [])
            part = _typed_key(part, key) if wanted.keyed and key is not None else part
            said.append((_captions(part, caption), _meta(part, None if wanted.keyed else key, caption)))
        called = zip(names or numbered, numbered, strict=True)
        paths = [number if name is None else str(name) for name, number in called]
        captions, meta = _together(said)
        return Block(
            *(self.source.name, paths, vectors, captions, meta, status.st_size, mtime_of(status)),
            wrong=wrong,
            numbered=not names,
            salt=file.wanted or "",
        )

    def _shown(self, file: VectorFile) -> list[str]:
        """Return how the tables are called in messages."""
        return [str(file.columns or file.vectors), *(str(path) for path in file.more)]

    def _joined(self, file: VectorFile) -> Iterator[tuple[Rows, list[pa.Table]]]:
        """Yield rows with the tables beside them, the first with the file's own columns in it."""
        paths = [*([] if file.columns is None else [file.columns]), *file.more]
        hows = self._how if file.columns is not None else self._how[1:]
        texts = [(how.name_column, how.caption_column) for how in hows]
        for path in paths:
            status_of(path)
        tables = [read_table(path, texts=names) for path, names in zip(paths, texts, strict=True)]
        at = 0
        for rows in _rows_of(file, (self._how[0].name_column, self._how[0].caption_column)):
            parts = [table.slice(at, rows.count) for table in tables]
            if all(len(part) == rows.count for part in parts):
                own = rows.columns
                yield rows, [own, *parts] if file.columns is None else [_beside(own, parts[0]), *parts[1:]]
            at += rows.count
        for path, table in zip(paths, tables, strict=True):
            if at != table.num_rows:
                raise SourceError(
                    f"{path} has {table.num_rows} rows, and {file.vectors} has {at}: "
                    "they must lie row for row beside each other"
                )


def _rows_of(file: VectorFile, texts: tuple[str | None, ...]) -> Iterator[Rows]:
    """Read a file's rows, with what the folders it lies in say of them as columns."""
    for rows in file.format.read(file.vectors, file.choice(), texts):
        columns = rows.columns
        for name, value in file.partition:
            if name not in columns.column_names:
                kind = pa.string() if isinstance(value, str) else pa.int64()
                columns = columns.append_column(name, pa.array([value] * rows.count, kind))
        yield replace(rows, columns=columns)


def _typed_key(table: pa.Table, key: str) -> pa.Table:
    """Return a table whose texts of keys are whole numbers, where every one of them is written as such.

    A CSV table says no types, and `007` is none.
    """
    column = table.column(key)
    texts = [text for text in column.to_pylist() if text is not None] if pa.types.is_string(column.type) else []
    if not texts or not all(_is_written_int(text) for text in texts):
        return table
    return table.set_column(table.column_names.index(key), key, column.cast(pa.int64()))


def _is_written_int(text: str) -> bool:
    return len(text) < 20 and text.lstrip("-").isdecimal() and text.isascii() and str(int(text)) == text


def _captions(table: pa.Table, caption: str | None) -> list[str | None] | None:
    if caption is None:
        return None
    return [as_text(text) for text in cells(table.column(caption))]


def _together(said: list[Columns]) -> Columns:
    """Return captions and columns of several tables, row by row."""
    if len(said) == 1:
        return said[0]
    rows = max(len(part) for one in said for part in one if part is not None) if any(map(any, said)) else 0
    filled = [zip(captions or [None] * rows, meta or [{}] * rows, strict=True) for captions, meta in said]
    labels = [reduce(overlaid, row) for row in zip(*filled, strict=True)]
    return [caption for caption, _ in labels], [meta for _, meta in labels]


def _beside(own: pa.Table, joined: pa.Table) -> pa.Table:
    """Return the columns of both; a joined one hides one of the same name."""
    names = {*joined.column_names}
    more = [name for name in own.column_names if name not in names]
    return pa.table([*joined.columns, *(own.column(name) for name in more)], [*joined.column_names, *more])


def _meta(table: pa.Table, key: str | None, caption: str | None) -> list[dict[str, Any]] | None:
    """Return the other columns row by row."""
    names = [name for name in table.column_names if name not in (key, caption)]
    if not names:
        return None
    columns = [cells(table.column(name)) for name in names]
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]
