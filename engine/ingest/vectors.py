"""Vectors that exist already: `.npy`, Parquet, and the folders clip-retrieval writes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from engine.collection.manifest import Source
from engine.ingest.entries import Entry
from engine.ingest.tables import CAPTION_COLUMNS, NAME_COLUMNS, pick_column, read_table, split_row
from indexers.errors import SourceError

VECTOR_COLUMNS = ("vector", "embedding", "embeddings", "emb")
ROWS_AT_ONCE = 4096


def vector_column(schema: pa.Schema) -> str | None:
    """Return the column of a Parquet schema that holds vectors: a list of floating-point numbers."""
    found = [field.name for field in schema if _is_vector(field.type)]
    return next((name for name in VECTOR_COLUMNS if name in found), found[0] if found else None)


def _is_vector(kind: pa.DataType) -> bool:
    lists = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    return any(check(kind) for check in lists) and pa.types.is_floating(kind.value_type)


@dataclass(frozen=True)
class VectorFile:
    """One file of vectors with the table of columns that lies row for row beside it, if any."""

    vectors: Path
    columns: Path | None


def vector_files(path: Path, table: Path | None) -> list[VectorFile] | None:
    """Return the vector files a source consists of, or None when it is not made of vectors.

    Args:
        path: a `.npy` or Parquet file, or a folder with clip-retrieval's `img_emb` in it.
        table: a table that lies row for row beside a single file.
    """
    if path.is_dir():
        return _clip_retrieval(path)
    if path.suffix.lower() == ".npy":
        return [VectorFile(path, table)]
    if path.suffix.lower() == ".parquet":
        try:
            schema = pq.read_schema(path)
        except (pa.ArrowException, OSError) as error:
            raise SourceError(f"{path} cannot be read as Parquet: {error}") from error
        return [VectorFile(path, table)] if vector_column(schema) else None
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


def _number(path: Path) -> int:
    match = re.fullmatch(r"img_emb_([0-9]+)", path.stem)
    if match is None:
        raise SourceError(f"{path}: expected img_emb_NUMBER.npy")
    return int(match[1])


class VectorListing:
    """Rows of vector files as entries.

    A row is known by the first column that names things (`tables.NAME_COLUMNS`), else by its
    file and number.
    """

    def __init__(self, source: Source, files: list[VectorFile], *, name_column: str | None, caption: str | None):
        self.source = source
        self.files = files
        self.ignored = 0
        self._name_column = name_column
        self._caption = caption

    def dim(self) -> int:
        """Return the dimension D of the first file's vectors."""
        first = next(iter(_blocks(self.files[0].vectors)), None)
        if first is None:
            raise SourceError(f"{self.files[0].vectors} holds no vectors")
        return int(first[0].shape[1])

    def entries(self) -> Iterator[Entry]:
        """Yield the rows in order."""
        for file in self.files:
            yield from self._rows(file)

    def _rows(self, file: VectorFile) -> Iterator[Entry]:
        status = file.vectors.stat()
        number = 0
        for vectors, rows in self._joined(file):
            names = rows[0].keys() if rows else ()
            key = self._pick(names, self._name_column, NAME_COLUMNS)
            caption = self._pick(names, self._caption, CAPTION_COLUMNS)
            for vector, row in zip(vectors, rows, strict=True):
                text, meta = split_row(row, caption, drop=(key,) if key else ())
                named = row.get(key) if key else None
                path = f"{file.vectors.name}#{number}" if named is None else str(named)
                yield Entry(self.source.name, path, status.st_size, status.st_mtime_ns, text, meta, vector=vector)
                number += 1

    def _pick(self, names: Any, wanted: str | None, usual: tuple[str, ...]) -> str | None:
        if wanted is not None and wanted in names:
            return wanted
        return next((name for name in usual if name in names), None)

    def _joined(self, file: VectorFile) -> Iterator[tuple[np.ndarray, list[dict[str, Any]]]]:
        """Yield blocks of vectors with the rows of the table beside them."""
        if file.columns is None:
            for vectors, own in _blocks(file.vectors):
                yield vectors, own
            return
        table = read_table(file.columns)
        pick_column(table, self._name_column, NAME_COLUMNS, name=str(file.columns))
        at = 0
        for vectors, own in _blocks(file.vectors):
            part = table.slice(at, len(vectors)).to_pylist()
            if len(part) != len(vectors):
                break
            yield vectors, [{**theirs, **mine} for theirs, mine in zip(own, part, strict=True)]
            at += len(vectors)
        else:
            if at == table.num_rows:
                return
        raise SourceError(
            f"{file.columns} has {table.num_rows} rows, and {file.vectors} another number: "
            "they must lie row for row beside each other"
        )


def _blocks(path: Path) -> Iterator[tuple[np.ndarray, list[dict[str, Any]]]]:
    """Yield [rows, D] blocks of a vector file with the other columns it has itself."""
    if path.suffix.lower() == ".npy":
        yield from _npy_blocks(path)
    else:
        yield from _parquet_blocks(path)


def _npy_blocks(path: Path) -> Iterator[tuple[np.ndarray, list[dict[str, Any]]]]:
    try:
        matrix = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise SourceError(f"{path} is not a .npy file of vectors: {error}") from error
    if matrix.ndim != 2 or matrix.dtype.kind not in "fiu":
        raise SourceError(f"{path}: expected numbers of shape [n, D], found {matrix.dtype} {list(matrix.shape)}")
    for start in range(0, len(matrix), ROWS_AT_ONCE):
        block = np.asarray(matrix[start : start + ROWS_AT_ONCE], dtype=np.float32)
        yield block, list(chain(repeat({}, len(block))))


def _parquet_blocks(path: Path) -> Iterator[tuple[np.ndarray, list[dict[str, Any]]]]:
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            column = vector_column(file.schema_arrow)
            if column is None:
                raise SourceError(f"{path} has no column of vectors")
            for batch in file.iter_batches(batch_size=ROWS_AT_ONCE):
                yield _matrix(batch.column(column), path), batch.drop_columns([column]).to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise SourceError(f"{path} cannot be read as Parquet: {error}") from error


def _matrix(column: pa.Array, path: Path) -> np.ndarray:
    """Return a column of equally long lists as [rows, D]; a missing one becomes a row of NaN."""
    lengths = {len(value) for value in column if value.is_valid}
    if len(lengths) > 1:
        raise SourceError(f"{path}: its vectors have {sorted(lengths)[:5]} dimensions; they must have the same")
    dim = lengths.pop() if lengths else 0
    out = np.full((len(column), dim), np.nan, dtype=np.float32)
    valid = column.is_valid().to_numpy(zero_copy_only=False)
    flat = column.drop_null().flatten()
    out[valid] = flat.to_numpy(zero_copy_only=False).astype(np.float32).reshape(-1, dim)
    return out
