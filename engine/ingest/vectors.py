"""Vectors that exist already: `.npy`, Parquet, and the folders clip-retrieval writes."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from engine.collection.cells import as_text, cells
from engine.collection.manifest import Source, SourceTable
from engine.ingest.entries import Block, VectorListing
from engine.ingest.tables import CAPTION_COLUMNS, NAME_COLUMNS, check_names, overlaid, pick_column, read_table
from engine.storage.parquet import parquet_batches
from engine.storage.regular import check_regular, mtime_of, opened_regular
from indexers.errors import SourceError
from indexers.npy import map_array
from indexers.vectors import FloatArray

VECTOR_COLUMNS = ("vector", "embedding", "embeddings", "emb")
ROWS_AT_ONCE = 4096

Columns = tuple[list[str | None] | None, list[dict[str, Any]] | None]
"""Captions and the other columns of each row; None for none at all."""


def vector_column(schema: pa.Schema) -> str | None:
    """Return the column of a Parquet schema that holds vectors: a list of floating-point numbers."""
    found = [field.name for field in schema if _is_vector(field.type)]
    return next((name for name in VECTOR_COLUMNS if name in found), found[0] if found else None)


def _is_vector(kind: pa.DataType) -> bool:
    lists = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    return any(check(kind) for check in lists) and pa.types.is_floating(kind.value_type)


@dataclass(frozen=True)
class VectorFile:
    """One file of vectors with the table of columns that lies row for row beside it, if any, and further ones."""

    vectors: Path
    columns: Path | None
    more: tuple[Path, ...] = ()


def vector_files(path: Path, tables: Sequence[Path] = ()) -> list[VectorFile] | None:
    """Return the vector files a source consists of, or None when it is not made of vectors.

    Args:
        path: a `.npy` or Parquet file, or a folder with clip-retrieval's `img_emb` in it.
        tables: those that lie row for row beside a single file.
    """
    if path.is_dir():
        return _clip_retrieval(path)
    beside = VectorFile(path, next(iter(tables), None), tuple(tables[1:]))
    if path.suffix.lower() == ".npy":
        return [beside]
    if path.suffix.lower() == ".parquet":
        _status(path)
        try:
            found = vector_column(pq.read_schema(path))
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise SourceError(f"{path} cannot be read as Parquet: {error}") from error
        return [beside] if found else None
    return None


def _clip_retrieval(folder: Path) -> list[VectorFile] | None:
    """Find `img_emb/img_emb_N.npy` with `metadata/metadata_N.parquet` (clip-retrieval 2.x)."""
    found = sorted((folder / "img_emb").glob("img_emb_*.npy"), key=_number)
    if not found:
        return None
    files = []
    for vectors in found:
        columns = folder / "metadata" / f"metadata_{_number(vectors)}.parquet"
        files.append(VectorFile(vectors, columns if columns.exists() else None))
    return files


def _status(path: Path) -> os.stat_result:
    """Look at a file before a library opens it by its name.

    Raises:
        SourceError: it is missing, or no regular file.
    """
    try:
        return check_regular(path)
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}") from error


def _number(path: Path) -> int:
    match = re.fullmatch(r"img_emb_([0-9]+)", path.stem)
    if match is None:
        raise SourceError(f"{path}: expected img_emb_NUMBER.npy")
    return int(match[1])


class VectorFiles(VectorListing):
    """Rows of vector files.

    A row is known by the first column that names things (`tables.NAME_COLUMNS`), else by its
    file and number.
    """

    whole = True

    def __init__(self, source: Source, files: list[VectorFile], *, name_column: str | None, caption: str | None):
        self.source = source
        self.files = files
        joined = [one for one in source.tables if one.location != source.location]
        self._how = [SourceTable(source.location, name_column, caption), *joined[1:]]

    @property
    def dim(self) -> int:
        """Dimension D of the first vector.

        Raises:
            SourceError: there is none.
        """
        return self._dim

    @cached_property
    def _dim(self) -> int:
        for file in self.files:
            for vectors, _ in _blocks(file.vectors):
                if vectors.shape[1]:
                    return int(vectors.shape[1])
        raise SourceError(f"{self.files[0].vectors} holds no vectors")

    def blocks(self) -> Iterator[Block]:
        """Yield the rows in order, some thousand at a time.

        Raises:
            SourceError: a file that cannot be read, or vectors of several dimensions.
        """
        for file in self.files:
            yield from self._rows(file)

    def _rows(self, file: VectorFile) -> Iterator[Block]:
        status = _status(file.vectors)
        number = 0
        for vectors, tables in self._joined(file):
            yield self._block(file, number, self._checked(vectors, file), tables, status)
            number += len(vectors)

    def _checked(self, vectors: FloatArray, file: VectorFile) -> FloatArray:
        if vectors.shape[1] == self.dim:
            return vectors
        if vectors.shape[1]:
            raise SourceError(
                f"{file.vectors} holds vectors of {vectors.shape[1]} dimensions beside others of {self.dim}"
            )
        return np.full((len(vectors), self.dim), np.nan, dtype=np.float32)

    def _block(
        self, file: VectorFile, number: int, vectors: FloatArray, tables: list[pa.Table], status: os.stat_result
    ) -> Block:
        own = file.vectors.name
        numbered = [f"{own}#{row}" for row in range(number, number + len(vectors))]
        names: list[Any] = []
        said: list[Columns] = []
        for part, how, at in zip(tables, self._how, self._shown(file), strict=True):
            wanted = how if part.num_columns else SourceTable(how.location)
            key = pick_column(part, wanted.name_column, NAME_COLUMNS, name=at)
            caption = pick_column(part, wanted.caption_column, CAPTION_COLUMNS, name=at)
            # What rows are called is said by the first that does: another table must not make other items of them.
            names = names or (part.column(key).to_pylist() if key else [])
            said.append((_captions(part, caption), _meta(part, key, caption)))
        called = zip(names or numbered, numbered, strict=True)
        paths = [number if name is None else str(name) for name, number in called]
        return Block(self.source.name, paths, vectors, *_together(said), status.st_size, mtime_of(status))

    def _shown(self, file: VectorFile) -> list[str]:
        """Return how the tables are called in messages."""
        return [str(file.columns or file.vectors), *(str(path) for path in file.more)]

    def _joined(self, file: VectorFile) -> Iterator[tuple[FloatArray, list[pa.Table]]]:
        """Yield blocks of vectors with the tables beside them, the first with the file's own columns in it."""
        paths = [*([] if file.columns is None else [file.columns]), *file.more]
        hows = self._how if file.columns is not None else self._how[1:]
        texts = [(how.name_column, how.caption_column) for how in hows]
        for path in paths:
            _status(path)
        tables = [read_table(path, texts=names) for path, names in zip(paths, texts, strict=True)]
        at = 0
        for vectors, own in _blocks(file.vectors):
            parts = [table.slice(at, len(vectors)) for table in tables]
            if all(len(part) == len(vectors) for part in parts):
                yield vectors, [own, *parts] if file.columns is None else [_beside(own, parts[0]), *parts[1:]]
            at += len(vectors)
        for path, table in zip(paths, tables, strict=True):
            if at != table.num_rows:
                raise SourceError(
                    f"{path} has {table.num_rows} rows, and {file.vectors} has {at}: "
                    "they must lie row for row beside each other"
                )


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


def _blocks(path: Path) -> Iterator[tuple[FloatArray, pa.Table]]:
    """Yield [rows, D] blocks of a vector file with the other columns it has itself."""
    _status(path)
    if path.suffix.lower() == ".npy":
        yield from _npy_blocks(path)
    else:
        yield from _parquet_blocks(path)


def _npy_blocks(path: Path) -> Iterator[tuple[FloatArray, pa.Table]]:
    try:
        with opened_regular(path) as file:
            matrix = map_array(file)
    except (ValueError, OSError) as error:
        raise SourceError(f"{path} is not a .npy file of vectors: {error}") from error
    if matrix.ndim != 2 or matrix.dtype.kind not in "fiu" or (len(matrix) and not matrix.shape[1]):
        raise SourceError(f"{path}: expected numbers of shape [n, D], found {matrix.dtype} {list(matrix.shape)}")
    for start in range(0, len(matrix), ROWS_AT_ONCE):
        # Numbers too large for float32 become infinite, and their rows failures.
        with np.errstate(over="ignore"):
            block = np.asarray(matrix[start : start + ROWS_AT_ONCE], dtype=np.float32)
        yield block, pa.table({})


def _parquet_blocks(path: Path) -> Iterator[tuple[FloatArray, pa.Table]]:
    try:
        for batch in parquet_batches(path, ROWS_AT_ONCE, check=lambda schema: _check_vectors(schema, path)):
            batch.validate(full=True)  # texts that are none
            column = vector_column(batch.schema)
            assert column is not None, "checked"
            rows = batch.column(column).combine_chunks()
            rows = rows if isinstance(rows, pa.Array) else rows.chunk(0)
            yield _matrix(rows, path), batch.drop_columns([column])
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise SourceError(f"{path} cannot be read as Parquet: {error}") from error


def _check_vectors(schema: pa.Schema, path: Path) -> None:
    if vector_column(schema) is None:
        raise SourceError(f"{path} has no column of vectors")
    check_names(schema.names, path)


def _matrix(column: pa.Array, path: Path) -> FloatArray:
    """Return a column of equally long lists as [rows, D]; a missing one becomes a row of NaN, D is 0 if all are."""
    present = column.drop_null()
    lengths = pc.unique(pc.list_value_length(present)).to_pylist()
    if len(lengths) > 1:
        raise SourceError(f"{path}: its vectors have {sorted(lengths)[:5]} dimensions; they must have the same")
    dim = lengths[0] if lengths else 0
    with np.errstate(over="ignore"):
        flat = present.flatten().to_numpy(zero_copy_only=False).astype(np.float32, copy=False)
    values: FloatArray = flat.reshape(len(present), dim)
    if len(present) == len(column):
        return values
    out = np.full((len(column), dim), np.nan, dtype=np.float32)
    out[column.is_valid().to_numpy(zero_copy_only=False)] = values
    return out
