"""The formats that vectors come in, by the suffix of the file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from engine.ingest.formats.arrays import (
    choose_npy,
    choose_npz,
    choose_safetensors,
    read_npy_rows,
    read_npz_rows,
    read_safetensors_rows,
)
from engine.ingest.formats.columns import Choice, choose, chosen
from engine.ingest.formats.index_files import choose_index, read_index_rows
from engine.ingest.formats.lines import jsonl_schema, read_jsonl_rows
from engine.ingest.formats.rows import Rows
from engine.ingest.formats.tables import csv_schema, parquet_schema, read_csv_rows, read_parquet_rows
from indexers.errors import SourceError

Texts = tuple[str | None, ...]


@dataclass(frozen=True)
class Format:
    """How a kind of file is read.

    Attributes:
        choose: says where a file has its vectors, given what was asked for; None where it has none and may be a table.
        read: yields its rows, given where they are and which columns are texts.
        schema: what columns it has; None for what is no table.
        named: whether its vectors have a name that can be asked for.
    """

    choose: Callable[[Path, str | None], Choice | None]
    read: Callable[[Path, Choice, Texts], Iterator[Rows]]
    schema: Callable[[Path], pa.Schema] | None = None
    named: bool = True


def _plainly(read: Callable[[Path, Choice], Iterator[Rows]]) -> Callable[[Path, Choice, Texts], Iterator[Rows]]:
    return lambda path, choice, _: read(path, choice)


def _table(
    schema: Callable[[Path], pa.Schema], read: Callable[[Path, Choice, Texts], Iterator[Rows]], *, doubtful: bool = True
) -> Format:
    def choose_in(path: Path, wanted: str | None) -> Choice | None:
        if wanted is not None:
            return chosen(schema(path), wanted, path)
        try:
            return choose(schema(path), doubtful=doubtful)
        except SourceError:
            if not doubtful:
                raise
            return None  # whoever reads it as a table of pictures will see

    return Format(choose_in, read, schema)


_NPY = Format(choose_npy, _plainly(read_npy_rows), named=False)
_INDEX = Format(choose_index, _plainly(read_index_rows), named=False)
_JSONL = _table(jsonl_schema, _plainly(read_jsonl_rows))
_CSV = _table(csv_schema, read_csv_rows)
FORMATS: dict[str, Format] = {
    ".npy": _NPY,
    ".npz": Format(choose_npz, _plainly(read_npz_rows)),
    ".safetensors": Format(choose_safetensors, _plainly(read_safetensors_rows)),
    ".parquet": _table(parquet_schema, _plainly(read_parquet_rows), doubtful=False),
    ".jsonl": _JSONL,
    ".ndjson": _JSONL,
    ".csv": _CSV,
    ".tsv": _CSV,
    ".faiss": _INDEX,
    ".index": _INDEX,
}


def format_of(path: Path) -> Format | None:
    """Return how a file is read, by its suffix; None where no vectors come in such."""
    return FORMATS.get(path.suffix.lower())
