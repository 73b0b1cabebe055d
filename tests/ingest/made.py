"""Files of vectors, made small, and what is read of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from engine.collection.cells import value_of
from engine.collection.manifest import Source
from engine.ingest.vector_files import vector_files
from engine.ingest.vectors import VectorFiles
from indexers.vectors import FloatArray

SOURCE = Source("v", "vectors", "/v")


def listing(path: Path, wanted: str | None = None, **how: Any) -> VectorFiles:
    """List a source, as `--vectors` and the other options say."""
    files = vector_files(path, (), wanted)
    assert files is not None
    return VectorFiles(SOURCE, files, name_column=how.pop("names", None), caption=how.pop("captions", None), **how)


class Found:
    """What all blocks of a listing say, row by row."""

    def __init__(self, listed: VectorFiles) -> None:
        blocks = list(listed.blocks())
        self.names = [path for block in blocks for path in block.paths]
        self.vectors: FloatArray = np.concatenate([block.vectors for block in blocks])
        self.captions = [block.caption(row) for block in blocks for row in range(len(block))]
        cells = [block.meta_of(row) for block in blocks for row in range(len(block))]
        said = [{name: value_of(one) for name, one in row.items()} for row in cells]
        self.meta = [{name: value for name, value in row.items() if value is not None} for row in said]
        starts = np.cumsum([0, *map(len, blocks)]).tolist()
        self.wrong = {
            start + row: why for start, block in zip(starts, blocks, strict=False) for row, why in block.wrong.items()
        }


def read(path: Path, wanted: str | None = None, **how: Any) -> Found:
    """Read a source."""
    return Found(listing(path, wanted, **how))


def parquet(path: Path, **columns: Any) -> Path:
    """Write columns; matrices become lists of float32."""
    made = {
        name: pa.array(value.tolist(), pa.list_(pa.float32()))
        if isinstance(value, np.ndarray) and value.ndim == 2
        else value
        for name, value in columns.items()
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(made), path)
    return path
