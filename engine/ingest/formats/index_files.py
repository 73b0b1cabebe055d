"""Index files of FAISS that hold whole vectors."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from engine.ingest.formats.arrays import named_by_ids
from engine.ingest.formats.columns import Choice
from engine.ingest.formats.rows import ROWS_AT_ONCE, Rows, of_matrix
from engine.storage.regular import opened_regular
from indexers.errors import SourceError
from indexers.flat_files import FlatFile


def choose_index(path: Path, wanted: str | None) -> Choice:
    """Say where an index file has its vectors: everywhere."""
    return Choice(("",))


def read_index_rows(path: Path, choice: Choice) -> Iterator[Rows]:
    """Read the vectors of an index file, by their ids where they have some.

    Raises:
        SourceError: it does not hold whole vectors.
    """
    try:
        with opened_regular(path) as file:
            index = FlatFile(file)
    except (ValueError, OSError) as error:
        raise SourceError(f"{path} is no index file that vectors can be taken from: {error}") from error
    for start in range(0, len(index), ROWS_AT_ONCE):
        stop = min(start + ROWS_AT_ONCE, len(index))
        columns = pa.table({}) if index.ids is None else pa.table({"id": index.ids[start:stop]})
        yield of_matrix(index.rows(start, stop), named_by_ids(columns))
