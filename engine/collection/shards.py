"""Parquet shards: items, their vectors row for row beside them, and what failed.

Page checksums are written and, unlike by default, checked when reading.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from blake3 import blake3

from engine.collection import columntypes
from engine.storage import layout
from engine.storage.kept import Kept
from engine.storage.layout import FileRef
from engine.storage.parquet import MOST_EXPANDED, most_expanded, read_parquet
from engine.storage.place import new_file, written
from engine.storage.verified import check_size
from indexers.errors import CorruptCollection, InvalidInput
from indexers.store import StoredArray, check_dtype
from indexers.vectors import IdArray

# A shard ends at whichever comes first; each is a commit, so it is what an interruption costs.
SHARD_ROWS = 4096
SHARD_BYTES = 64 << 20
MOST_SHARD_ROWS = 65_536

# Files of few rows are read again and again, by each version that comes after them.
SMALL_FILE = 1 << 20
_small: Kept[pa.Table] = Kept(most=64 << 20, largest=4 * SMALL_FILE, weigh=lambda table: table.nbytes)

META = "meta."
"""Prefix of the user's own columns, so that no name of theirs can shadow one of ours."""

CAPTION = "caption"
"""Column of captions, and what it is called everywhere."""

FOUND = "found"
"""Column of what picture files say of themselves: shards have it in which anybody has looked."""

BY_HAND = "by_hand"
"""Column of the names, as a list of JSON, of what of an item was set by hand: shards have it in which anything was."""

ITEM_SCHEMA = pa.schema(
    [
        pa.field("id", pa.int64(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("path", pa.string(), nullable=False),
        pa.field("key", pa.uint64(), nullable=False),
        pa.field("content", pa.string(), nullable=False),
        pa.field("size", pa.int64(), nullable=False),
        pa.field("mtime_ns", pa.int64(), nullable=False),
        pa.field("width", pa.int32(), nullable=False),
        pa.field("height", pa.int32(), nullable=False),
        pa.field(CAPTION, pa.string()),
        pa.field("meta_key", pa.uint64(), nullable=False),
    ]
)

FAILURE_SCHEMA = pa.schema(
    [
        pa.field("source", pa.string(), nullable=False),
        pa.field("path", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
    ]
)

FAILURE_STAMP = pa.schema(
    [pa.field("size", pa.int64()), pa.field("mtime_ns", pa.int64()), pa.field("readers", pa.string())]
)
"""What tells whether to try again: older collections lack it, and so do failures that may pass by themselves."""

NOTE_SCHEMA = pa.schema(
    [
        pa.field("source", pa.string(), nullable=False),
        pa.field("key", pa.uint64(), nullable=False),
        pa.field("stamp", pa.uint64(), nullable=False),
        pa.field("says", pa.uint64(), nullable=False),
    ]
)

TOMBSTONE_SCHEMA = pa.schema(
    [pa.field("shard", pa.string(), nullable=False), pa.field("row", pa.int32(), nullable=False)]
)


def vector_shard_rows(dim: int, dtype: str) -> int:
    """Return how many rows a shard of ready-made vectors has: 64 MB of them, or as many as are easily held."""
    return min(MOST_SHARD_ROWS, max(SHARD_ROWS, SHARD_BYTES // (dim * check_dtype(dtype).itemsize)))


def write_table(root: Path, folder: str, table: pa.Table) -> FileRef:
    """Write a table as one immutable Parquet file.

    Raises:
        InvalidInput: its texts have so much in common that nobody would read the file again.
    """
    with new_file(root, folder, ".parquet", table.nbytes) as new:
        _write(table, new.temporary)
        _check_readable(table, new.temporary)
        new.rows = table.num_rows
    return _keep(root, written(new), table)


def _keep(root: Path, ref: FileRef, table: pa.Table) -> FileRef:
    """Keep what has just been written, as it would be read, where it is a small file."""
    if ref.size <= SMALL_FILE:
        _small.get(check_size(root, ref), lambda: table.replace_schema_metadata(None))
    return ref


def _check_readable(table: pa.Table, path: Path) -> None:
    if table.nbytes > MOST_EXPANDED // 4:
        try:
            read_parquet(path, own=True)
        except pa.ArrowException as error:
            from indexers.memory import shown_bytes

            raise InvalidInput(
                f"{table.num_rows} rows of captions and columns take {shown_bytes(table.nbytes)}, and hardly anything "
                f"once they are compressed ({error}): no such file is read. Shorten them"
            ) from error


def hash_of(table: pa.Table) -> str:
    """Return the hash that a table's file would have, 64 hex digits; another pyarrow may write another file."""
    out = pa.BufferOutputStream()
    _write(table, out)
    return blake3(out.getvalue()).hexdigest()


def _write(table: pa.Table, where: Any) -> None:
    pq.write_table(table, where, compression="zstd", write_page_checksum=True, row_group_size=SHARD_ROWS)


def as_new_shard(table: pa.Table) -> pa.Table:
    """Mark an item shard as one of its own.

    Files are named by their content, and tombstones by the file they point into: an item that is put back as it
    once was must not get the shard, and with it the tombstone, of its first life.
    """
    return table.replace_schema_metadata({"nestvec.shard": uuid.uuid4().hex})


def tombstone_table(rows: Iterable[tuple[str, int]]) -> pa.Table:
    """Lay tombstones out as they are stored: the same ones always make the same file."""
    ordered = sorted(rows)
    return pa.table([[s for s, _ in ordered], [r for _, r in ordered]], schema=TOMBSTONE_SCHEMA)


def with_dead(table: pa.Table | None, dead: Iterable[tuple[str, int]]) -> pa.Table:
    """Return the tombstones of a file, if there is one, with others, in the order in which they are stored."""
    more = tombstone_table(dead)
    if table is None or not len(more):
        return more if table is None else table
    both = pa.concat_tables([table.select(TOMBSTONE_SCHEMA.names).cast(TOMBSTONE_SCHEMA), more])
    return both.sort_by([("shard", "ascending"), ("row", "ascending")]).combine_chunks()


SCHEMAS = {
    layout.ITEMS: ITEM_SCHEMA,
    layout.DELETES: TOMBSTONE_SCHEMA,
    layout.FAILURES: FAILURE_SCHEMA,
    layout.NOTES: NOTE_SCHEMA,
}
"""What a file must have, by its folder."""


def read_table(root: Path, ref: FileRef, columns: list[str] | None = None) -> pa.Table:
    """Read a Parquet file with its page checksums verified.

    Raises:
        CorruptCollection: it cannot be read, has another size or number of rows than declared or more than could be
            meant, or lacks a column, or a value, that all such files have.
    """
    path = root / ref.path
    status = check_size(root, ref)
    if status.st_size > SMALL_FILE:
        return _read(ref, path, columns)
    table = _small.get(status, lambda: _read(ref, path, None))
    _require_rows(table, ref, path)
    if columns is None:
        return table
    return table.select([at for at, name in enumerate(table.column_names) if name in columns])


def _require_rows(table: pa.Table, ref: FileRef, path: Path) -> None:
    if table.num_rows != ref.rows:
        raise CorruptCollection(f"{path}: expected {ref.rows} rows, found {table.num_rows}")


def _read(ref: FileRef, path: Path, columns: list[str] | None) -> pa.Table:
    """Read a file whose size has been checked; see `read_table`."""
    try:
        table = read_parquet(path, columns=columns, own=True, check=lambda file: _check_room(file, ref, path))
        table.schema.names  # noqa: B018 - decoded only when asked for, and no checksum covers them
    except (pa.ArrowException, OSError, UnicodeDecodeError, KeyError) as error:
        raise CorruptCollection(f"{path} cannot be read: {error}; see `nestvec verify`") from error
    _require_rows(table, ref, path)
    _check_columns(table, SCHEMAS.get(ref.path.partition("/")[0], pa.schema([])), columns, path)
    return table.replace_schema_metadata(None)


def check_rows(root: Path, ref: FileRef) -> None:
    """Check that a Parquet file says it has as many rows as declared, and no more than could be in it; none is read.

    Raises:
        CorruptCollection: it has others, or cannot be read.
    """
    check_size(root, ref)
    try:
        with pq.ParquetFile(root / ref.path) as file:
            _check_room(file, ref, root / ref.path)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise CorruptCollection(f"{root / ref.path} cannot be read: {error}; see `nestvec verify`") from error


def _width(kind: pa.DataType, path: Path) -> int:
    """Return how many bytes a value takes."""
    if not columntypes.is_stored(kind):
        raise CorruptCollection(f"{path} has a column of {kind}, which nestvec does not write")
    return columntypes.width(kind)


def _check_room(file: pq.ParquetFile, ref: FileRef, path: Path) -> None:
    """Refuse a file before its rows are read: it says that they are others, or more than fit into it."""
    found = file.metadata
    grouped = sum(found.row_group(i).num_rows for i in range(found.num_row_groups))
    if found.num_rows != ref.rows or grouped != ref.rows:
        raise CorruptCollection(f"{path}: expected {ref.rows} rows, found {found.num_rows}")
    if ref.rows * sum(_width(field.type, path) for field in file.schema_arrow) > most_expanded(ref.size):
        raise CorruptCollection(f"{path}: {ref.rows} rows are more than {ref.size} bytes can hold")


def _check_columns(table: pa.Table, schema: pa.Schema, columns: list[str] | None, path: Path) -> None:
    for field in schema:
        if columns is not None and field.name not in columns:
            continue
        if table.column_names.count(field.name) != 1 or table.schema.field(field.name).type != field.type:
            raise CorruptCollection(f"{path}: column {field.name!r} is missing or of another type")
        if not field.nullable and table.column(field.name).null_count:
            raise CorruptCollection(f"{path}: values of column {field.name!r} are missing")


def write_embeddings(root: Path, space: str, ids: IdArray, vectors: StoredArray, dtype: str) -> FileRef:
    """Write vectors beside their item shard.

    Args:
        root: the collection.
        space: name of the space.
        ids: int64 [n], the same as in the item shard.
        vectors: unit [n, D], float32 or as they are stored.
        dtype: "float16" or "float32".
    """
    stored = vectors.astype(check_dtype(dtype), copy=False)
    column = pa.FixedSizeListArray.from_arrays(pa.array(stored.reshape(-1)), stored.shape[1])
    table = pa.table({"id": pa.array(ids), "vector": column})
    with new_file(root, layout.space_folder(space, layout.EMBEDDINGS), ".parquet", table.nbytes) as new:
        # Mantissas do not compress; a dictionary of them would only cost.
        pq.write_table(
            table,
            new.temporary,
            compression="none",
            use_dictionary=["id"],
            write_page_checksum=True,
            row_group_size=SHARD_ROWS,
        )
        new.rows = table.num_rows
    return _keep(root, written(new), table)


def read_embeddings(root: Path, ref: FileRef, dim: int, dtype: str) -> tuple[IdArray, StoredArray]:
    """Read an embedding shard.

    Returns:
        ids int64 [n] and the stored values [n, D] in their stored type.

    Raises:
        CorruptCollection: another type, dimension or number of rows than declared, or nulls.
    """
    table = read_table(root, ref)
    kind = pa.list_(pa.from_numpy_dtype(check_dtype(dtype)), dim)
    if table.schema.names != ["id", "vector"] or not _same_list(table.schema.field("vector").type, kind):
        raise CorruptCollection(f"{root / ref.path}: expected id and vector {kind}, found {table.schema}")
    if table.schema.field("id").type != pa.int64() or table.column("id").null_count:
        raise CorruptCollection(f"{root / ref.path}: ids are missing from it")
    values, at = np.empty((table.num_rows, dim), check_dtype(dtype)), 0
    for chunk in table.column("vector").chunks:
        flat = chunk.flatten()
        if flat.null_count or len(flat) != len(chunk) * dim:
            raise CorruptCollection(f"{root / ref.path}: vectors are missing from it")
        values[at : at + len(chunk)] = flat.to_numpy(zero_copy_only=False).reshape(-1, dim)
        at += len(chunk)
    return table.column("id").to_numpy(), values


def _same_list(found: Any, wanted: Any) -> bool:
    return bool(
        pa.types.is_fixed_size_list(found)
        and found.list_size == wanted.list_size
        and found.value_type == wanted.value_type
    )


def check_vectors_finite(vectors: StoredArray) -> bool:
    """Whether every stored value is a finite number."""
    return bool(np.isfinite(vectors).all())
