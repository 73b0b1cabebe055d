"""A data set of Hugging Face: Parquet with the bytes of pictures, which `datasets` decodes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from engine.query.export.selection import VECTOR, check_types
from engine.query.export.tables import with_vector
from engine.query.export.writing import Writing

IMAGE = "image"
PICTURE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
FEATURES = {"info": {"features": {IMAGE: {"_type": "Image"}}}}
SHARD_BYTES = 500_000_000
"""What `datasets` itself makes of pictures for one file, about."""


def write_huggingface(writing: Writing) -> None:
    """Write `data/train-00000-of-00001.parquet` and so on: `image` with its bytes as they are, and the columns.

    Raises:
        InvalidInput: a column is a map, which `datasets` does not have.
    """
    items = writing.items.beside(IMAGE, VECTOR)
    check_types(items.schema, pa.types.is_map, "datasets")
    schema = pa.schema([pa.field(IMAGE, PICTURE), *items.schema]).with_metadata({"huggingface": json.dumps(FEATURES)})
    schema = with_vector(items, schema) if writing.options.vectors else schema
    folder, shards = writing.place / "data", 0
    folder.mkdir()
    tables = _tables(writing, schema)
    first: pa.Table | None = next(tables, schema.empty_table())
    while first is not None:
        first = _write_shard(folder / f"{shards}.parquet", schema, first, tables)
        shards += 1
    for number in range(shards):
        (folder / f"{number}.parquet").rename(folder / f"train-{number:05d}-of-{shards:05d}.parquet")


def _write_shard(path: Path, schema: pa.Schema, first: pa.Table, more: Iterator[pa.Table]) -> pa.Table | None:
    """Write tables until a file is large enough; return the first of the next, if there is one."""
    size = 0
    with pq.ParquetWriter(path, schema, write_page_checksum=True) as writer:
        table: pa.Table | None = first
        while table is not None and size < SHARD_BYTES:
            writer.write_table(table)
            size += table.nbytes
            table = next(more, None)
    return table


def _tables(writing: Writing, schema: pa.Schema) -> Iterator[pa.Table]:
    for block, pictures in writing.pictures(writing.items.beside(IMAGE, VECTOR)):
        paths = [writing.items.snapshot.item(row).path for row in block.rows.tolist()]
        image = pa.StructArray.from_arrays(
            [pa.array(pictures, pa.binary()), pa.array(paths, pa.string())], fields=list(PICTURE)
        )
        columns = block.with_vectors() if writing.options.vectors else block.columns
        yield pa.table([image, *columns.columns], schema=schema)
