"""Tables with vectors in them: Parquet, CSV and TSV."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from engine.ingest.formats.columns import Choice, rows_of, written
from engine.ingest.formats.rows import ROWS_AT_ONCE, Rows
from engine.ingest.tables import CAPTION_COLUMNS, NAME_COLUMNS, check_names, read_table
from engine.storage.parquet import parquet_batches
from indexers.errors import SourceError

LOOKED_AT = 100
"""So many rows tell what a column of texts holds."""

BROKEN = (pa.ArrowException, OSError, UnicodeDecodeError)


def parquet_schema(path: Path) -> pa.Schema:
    """Read the schema of a Parquet file.

    Raises:
        SourceError: it cannot be read.
    """
    try:
        return pq.read_schema(path)
    except BROKEN as error:
        raise SourceError(f"{path} cannot be read as Parquet: {error}") from error


def read_parquet_rows(path: Path, choice: Choice) -> Iterator[Rows]:
    """Read the rows of a Parquet file."""

    def check(schema: pa.Schema) -> None:
        check_names(schema.names, path)
        if missing := set(choice.columns).difference(schema.names):
            raise SourceError(f"{path} has no column {min(missing)!r} any more")

    try:
        for batch in parquet_batches(path, ROWS_AT_ONCE, check=check):
            batch.validate(full=True)  # texts that are none
            yield rows_of(batch, choice)
    except BROKEN as error:
        raise SourceError(f"{path} cannot be read as Parquet: {error}") from error


def csv_schema(path: Path) -> pa.Schema:
    """Return the types of a CSV or TSV table as its first rows tell them; texts that are written vectors are lists.

    Raises:
        SourceError: it cannot be read.
    """
    parse = pacsv.ParseOptions(delimiter="\t" if path.suffix.lower() == ".tsv" else ",", newlines_in_values=True)
    convert = pacsv.ConvertOptions(column_types=dict.fromkeys((*NAME_COLUMNS, *CAPTION_COLUMNS), pa.string()))
    try:
        with pacsv.open_csv(path, parse_options=parse, convert_options=convert) as reader:
            first = reader.read_next_batch() if reader.schema.names else pa.RecordBatch.from_pylist([])
            first.validate(full=True)
            names = first.schema.names
    except (*BROKEN, StopIteration) as error:
        raise SourceError(f"{path} cannot be read as a {path.suffix.lower()[1:]} table: {error}") from error
    check_names(names, path)
    kinds = [_told(first.column(number)) for number in range(first.num_columns)]
    return pa.schema(list(zip(names, kinds, strict=True)))


def _told(column: pa.Array) -> pa.DataType:
    """Return what the first texts of a column say that it holds."""
    if not pa.types.is_string(column.type):
        return column.type
    values = [text for text in column.slice(0, LOOKED_AT).to_pylist() if text]
    vectors = sum(isinstance(read, list) and len(read) > 1 for read in map(written, values))
    if 2 * vectors > len(values):
        return pa.list_(pa.float64())
    return pa.float64() if 2 * sum(map(_is_number, values)) > len(values) else column.type


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def read_csv_rows(path: Path, choice: Choice, texts: tuple[str | None, ...]) -> Iterator[Rows]:
    """Read the rows of a CSV or TSV table, which is in memory as a whole for that."""
    table = read_table(path, texts=(*texts, *(() if choice.wide else choice.columns)))
    for start in range(0, table.num_rows, ROWS_AT_ONCE):
        yield rows_of(table.slice(start, ROWS_AT_ONCE), choice)
