"""Tables with a column of vectors: Parquet, and Lance."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from engine.query.export.selection import VECTOR, Selection, check_types
from engine.query.export.writing import Writing
from indexers.errors import DependencyMissing


def with_vector(items: Selection, schema: pa.Schema | None = None) -> pa.Schema:
    """Return the columns of items with that of their vectors."""
    return (schema or items.schema).append(pa.field(VECTOR, pa.list_(pa.float32(), items.dim)))


def write_parquet(writing: Writing) -> None:
    """Write a Parquet file: a row an item, a row group a block."""
    items = writing.items.beside(VECTOR)
    with pq.ParquetWriter(writing.place, with_vector(items), compression="zstd", write_page_checksum=True) as writer:
        for block in writing.blocks(items):
            writer.write_table(block.with_vectors())


def write_lance(writing: Writing) -> None:
    """Write a Lance data set; dots in names of columns become `_`, as Lance has none.

    Raises:
        DependencyMissing: pylance is not installed.
        InvalidInput: a column is of a type that Lance does not have.
    """
    try:
        import lance
    except ImportError as error:
        raise DependencyMissing("Lance needs pylance: pip install 'nestvec[lance]'") from error
    items = writing.items.beside(VECTOR).renamed(lambda name: name.replace(".", "_"))
    check_types(items.schema, _is_no_lance, "Lance")
    problems: list[BaseException] = []

    def batches() -> Iterator[pa.RecordBatch]:
        try:
            for block in writing.blocks(items):
                yield from block.with_vectors().to_batches()
        except BaseException as error:  # of which Lance only keeps the text
            problems.append(error)
            raise

    try:
        lance.write_dataset(pa.RecordBatchReader.from_batches(with_vector(items), batches()), str(writing.place))
    except BaseException:
        if problems:
            raise problems[0] from None
        raise


def _is_no_lance(kind: Any) -> bool:
    """Whether a type is a list of one length of texts or bytes, at which Lance panics."""
    return pa.types.is_fixed_size_list(kind) and not (
        pa.types.is_primitive(kind.value_type) or pa.types.is_boolean(kind.value_type)
    )
