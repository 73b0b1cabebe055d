"""Vectors that exist already, in files and folders of them, as a listing."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import cached_property, reduce
from pathlib import Path
from typing import Any

import pyarrow as pa

from engine.collection.cells import as_text, cells
from engine.collection.manifest import Source, SourceTable
from engine.collection.notes import Notes, stamp_of
from engine.ingest.entries import Block, VectorListing
from engine.ingest.formats.rows import Rows
from engine.ingest.tables import CAPTION_COLUMNS, NAME_COLUMNS, overlaid, pick_column, read_table
from engine.ingest.unit import beside
from engine.ingest.vector_files import VectorFile, left_folders, status_of
from engine.ingest.vector_rows import SpaceVectors, laid_out, lengths_in, rows_of_file
from engine.progress import Taken
from engine.storage import layout
from engine.storage.names import path_key
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

    Args:
        source: where they come from.
        files: those that hold the vectors of the main space.
        others: by further spaces, in order, as many files that hold the vectors of each; perhaps the same ones.
        name_column: the column that rows are called by.
        caption: the column of captions.
        keyed: whether names are keys.
    """

    whole = True

    def __init__(
        self,
        source: Source,
        files: list[VectorFile],
        *,
        others: Mapping[str, list[VectorFile]] | None = None,
        name_column: str | None,
        caption: str | None,
        keyed: bool = False,
    ):
        self.source = source
        self.files = files
        self._of = {layout.DEFAULT_SPACE: files, **(others or {})}
        for space, own in self._of.items():
            if len(own) != len(files):
                found = f"{len(own)} files of vectors for space {space}, and {len(files)} for the main one"
                raise SourceError(f"{source.location} has {found}")
        self._dims: dict[str, int] = {}
        self.notes = Notes()
        joined = [one for one in source.tables if one.location != source.location]
        self._how = [SourceTable(source.location, name_column, caption, keyed=keyed), *joined[1:]]

    @property
    def taken(self) -> Taken | None:
        """What was taken for the vectors, where there was something to choose."""
        first, choice = self.files[0], self.files[0].choice()
        spaces = {space: self._shown_choice(own[0]) for space, own in self._of.items()}
        left = [name for name in (*choice.others, *left_folders(first)) if name not in spaces.values()]
        if not left and not choice.wide and len(spaces) == 1:
            return None
        column = spaces.pop(layout.DEFAULT_SPACE)
        return Taken(self.source.name, column, tuple(left), tuple(spaces.items()))

    @property
    def unread(self) -> tuple[str, ...]:
        """What lies beside the vectors and is left out, as no column can hold it."""
        return self.files[0].choice().unread

    def _shown_choice(self, file: VectorFile) -> str:
        return file.choice().shown or file.vectors.parent.name

    @property
    def dims(self) -> dict[str, int]:
        """Dimension of its vectors by space.

        Raises:
            SourceError: there are none.
        """
        return {space: self._dims.get(space) or self._lengths[space].most_common(1)[0][0] for space in self._of}

    @cached_property
    def _lengths(self) -> dict[str, Counter[int]]:
        """How many of the first rows that have any vectors have each dimension, by space."""
        return {space: lengths_in(files) for space, files in self._of.items()}

    def fits(self, space: str, dim: int) -> bool:
        """Whether some of the first rows have a dimension; then it is that of all."""
        if dim in self._lengths[space]:
            self._dims[space] = dim
        return dim == self.dims[space]

    def keys_before(self) -> int | None:
        """Return what stood for the keys when its files, and what was asked of them, were as they are now."""
        return self.notes.find_earlier(self._key, self._stamp)

    def note_keys(self, digest: int) -> None:
        """Note what stands for the keys of its rows."""
        self.notes.note(self._key, self._stamp, digest)

    @property
    def _key(self) -> int:
        return path_key(self.source.name, "\0rows")

    @cached_property
    def _stamp(self) -> int:
        """What stands for its files and tables, and for what was asked of them."""
        files = [one for own in self._of.values() for one in own]
        tables = [path for file in self.files for path in (file.columns, *file.more) if path is not None]
        stated = [(file.called, file.wanted, file.partition, _stated(file.vectors)) for file in files]
        return stamp_of(stated, [(str(path), _stated(path)) for path in tables], self._how, self.dims)

    def blocks(self) -> Iterator[Block]:
        """Yield the rows in order, some thousand at a time.

        Raises:
            SourceError: a file that cannot be read, or is of another dimension.
        """
        dims = self.dims
        _, *others = dims
        for at, file in enumerate(self.files):
            status = status_of(file.vectors)
            number = 0
            with ExitStack() as stack:
                own = [SpaceVectors(self._of[space][at], space, dims[space]) for space in others]
                further = [stack.enter_context(one) for one in own]
                for rows, tables in self._joined(file, [name for one in further for name in one.columns]):
                    yield self._block(file, number, rows, further, tables, status)
                    number += rows.count
                for one in further:
                    one.check_end()

    def _block(
        self,
        file: VectorFile,
        number: int,
        rows: Rows,
        others: Sequence[SpaceVectors],
        tables: list[pa.Table],
        status: os.stat_result,
    ) -> Block:
        vectors, wrong = laid_out(rows, self.dim, file)
        for one in others:
            more, of_space = one.take(rows.count)
            vectors = beside([vectors, more])
            wrong = of_space | wrong
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
            salt=_salt(file, others),
        )

    def _shown(self, file: VectorFile) -> list[str]:
        """Return how the tables are called in messages."""
        return [str(file.columns or file.vectors), *(str(path) for path in file.more)]

    def _joined(self, file: VectorFile, others: Sequence[str]) -> Iterator[tuple[Rows, list[pa.Table]]]:
        """Yield rows with the tables beside them, the first with the file's own columns in it, but for `others`."""
        paths = [*([] if file.columns is None else [file.columns]), *file.more]
        hows = self._how if file.columns is not None else self._how[1:]
        texts = [(how.name_column, how.caption_column) for how in hows]
        for path in paths:
            status_of(path)
        tables = [read_table(path, texts=names) for path, names in zip(paths, texts, strict=True)]
        at = 0
        for rows in rows_of_file(file, (self._how[0].name_column, self._how[0].caption_column), without=others):
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


def _stated(path: Path) -> tuple[int, int]:
    status = status_of(path)
    return status.st_size, mtime_of(status)


def _salt(file: VectorFile, others: Sequence[SpaceVectors]) -> str:
    """Return what stands for the columns that were asked for."""
    return "\0".join([file.wanted or "", *(f"{one.space}={one.file.wanted}" for one in others)])


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
