"""Items by row number in microseconds: the item shards again, as memory-mapped Arrow.

Parquet is compressed by the thousand rows; an answer needs ten. The lookup file holds the
same columns uncompressed, so that reading one item touches one page.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from functools import reduce
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from engine.collection import cells, columntypes
from engine.collection.shards import FOUND, ITEM_SCHEMA, META, read_table
from engine.storage import layout, verified
from engine.storage.layout import FileRef
from engine.storage.messages import map_batches
from engine.storage.place import new_file, written
from indexers.errors import CorruptCollection
from indexers.vectors import IdArray

BATCH_ROWS = 65_536
# Each batch of a file costs as much as a thousand of its rows; those that are written are much larger than these.
LEAST_BATCH, SOME_BATCHES = 1024, 64
COMPARED = frozenset({"key", "content", "size", "mtime_ns", "meta_key", FOUND})
NEEDED = tuple(field.name for field in ITEM_SCHEMA if not field.nullable and field.name not in COMPARED)


def union_schema(schemas: Iterable[pa.Schema]) -> pa.Schema:
    """Return the schema every shard fits into; see `columntypes.common_type`."""
    fields: dict[str, pa.Field] = {field.name: field for field in ITEM_SCHEMA}
    for schema in schemas:
        for field in schema:
            known = fields.setdefault(field.name, field.with_nullable(True))
            if known.type != field.type and field.name not in ITEM_SCHEMA.names:
                fields[field.name] = pa.field(field.name, columntypes.common_type(known.type, field.type))
    return pa.schema(list(fields.values()))


def conform(table: pa.Table, schema: pa.Schema, *, safe: bool = False) -> pa.Table:
    """Cast a shard to the union schema, with nulls in columns it does not have.

    Raises:
        ArrowInvalid: `safe`, and a number would become another.
    """
    columns, names = [], set(table.column_names)
    for field in schema:
        if field.name in names:
            columns.append(cells.cast(table.column(field.name), field.type, safe=safe))
        else:
            columns.append(pa.nulls(table.num_rows, field.type))
    return pa.table(columns, schema=schema)


def write_lookup(root: Path, tables: Iterable[pa.Table], schema: pa.Schema, needed: int = 0) -> FileRef:
    """Write item shards as one lookup file, holding no more than a batch of them in memory; see `new_file`."""
    with (
        new_file(root, layout.LOOKUP, ".arrow", needed) as new,
        pa.OSFile(str(new.temporary), "wb") as sink,
        pa.ipc.new_file(sink, schema) as writer,
    ):
        for batch in _batches(tables, schema):
            writer.write_batch(batch)
            new.rows += batch.num_rows
    return written(new)


def save_lookup(root: Path, shards: Sequence[FileRef]) -> FileRef:
    """Write the items of shards once more, for random access."""
    verified.Verified(root).ensure(shards)
    schema = union_schema(read_table(root, ref).schema for ref in shards)
    needed = sum(ref.size for ref in shards)  # at least: the shards are compressed
    return write_lookup(root, (read_table(root, ref) for ref in shards), schema, needed)


def _batches(tables: Iterable[pa.Table], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Regroup shards into batches of exactly BATCH_ROWS rows, the last one shorter."""
    waiting: list[pa.Table] = []
    rows = 0
    for table in tables:
        waiting.append(conform(table, schema))
        rows += table.num_rows
        if rows >= BATCH_ROWS:
            merged = pa.concat_tables(waiting).combine_chunks()
            whole = rows - rows % BATCH_ROWS
            for start in range(0, whole, BATCH_ROWS):
                yield merged.slice(start, BATCH_ROWS).combine_chunks().to_batches()[0]
            waiting, rows = [merged.slice(whole)], rows - whole
    if rows:
        yield pa.concat_tables(waiting).combine_chunks().to_batches()[0]


def _check_schema(found: pa.Schema, path: Path) -> None:
    for field in ITEM_SCHEMA:
        if found.names.count(field.name) != 1 or found.field(field.name).type != field.type:
            raise CorruptCollection(f"{path}: column {field.name!r} is missing or of another type")
    if len(set(found.names)) < len(found.names) or not all(columntypes.is_stored(field.type) for field in found):
        raise CorruptCollection(f"{path}: a column comes twice, or is of a type that nestvec does not write")


def _check_batches(batches: list[pa.RecordBatch], path: Path) -> None:
    """Refuse columns of numbers that lack some."""
    for field in ITEM_SCHEMA:
        if not field.nullable and any(batch.column(field.name).null_count for batch in batches):
            raise CorruptCollection(f"{path}: values of column {field.name!r} are missing")


def _told(schema: pa.Schema) -> list[str]:
    return [name for name in schema.names if name not in COMPARED]


_PLACES = {pa.string(): np.int32, pa.binary(): np.int32, pa.large_string(): np.int64, pa.large_binary(): np.int64}


class _Texts:
    """Where each text of a column lies, as the file says: whatever it says, nothing outside is read."""

    def __init__(self, column: pa.Array) -> None:
        _, places, texts = column.buffers()
        self._places = np.frombuffer(places or b"", _PLACES[column.type])[column.offset :]
        self._size = 0 if texts is None else texts.size

    def check(self, row: int) -> None:
        """Raise ArrowInvalid for a text outside of the others."""
        start, end = self._places[row : row + 2]
        if not 0 <= start <= end <= self._size:
            raise pa.ArrowInvalid(f"a text from {start} to {end} of {self._size} bytes")


class _Batch:
    """Some rows, with what is needed to read one of them found out once."""

    def __init__(self, batch: pa.RecordBatch) -> None:
        self._columns = [(name, batch.column(name)) for name in _told(batch.schema)]
        self._texts = [_Texts(column) for _, column in self._columns if column.type in _PLACES]
        for _, column in self._columns:
            if columntypes.children(column.type):
                column.validate(full=True)  # lists have places too, and so have the texts in them

    def row(self, row: int) -> dict[str, pa.Scalar]:
        """Return what is told of one row."""
        for texts in self._texts:
            texts.check(row)
        return {name: column[row] for name, column in self._columns}


class Lookup:
    """Random access to item rows; some in a mapped file, the newest ones in memory."""

    def __init__(self, batches: list[pa.RecordBatch]) -> None:
        self._batches = batches
        self._starts: list[int] = [0, *accumulate(batch.num_rows for batch in batches)]
        self._opened: dict[int, _Batch] = {}

    @classmethod
    def open(cls, path: Path | None, rows: int, tail: Iterable[pa.Table]) -> Lookup:
        """Map a lookup file and append the item shards it does not cover yet.

        Args:
            path: the file, or None when there is none yet.
            rows: rows it must hold.
            tail: item shards after it.

        Raises:
            CorruptCollection: it cannot be read or holds another number of rows.
        """
        batches: list[pa.RecordBatch] = []
        if path is not None:
            try:
                for batch in map_batches(path, lambda schema: _check_schema(schema, path)):
                    batch.validate()
                    batches.append(batch)
                    if len(batches) > SOME_BATCHES + rows // LEAST_BATCH:
                        raise pa.ArrowInvalid(f"it has more batches than {rows} rows are written in")
                _check_batches(batches, path)
            except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
                raise CorruptCollection(f"{path} cannot be read: {error}; see `nestvec verify`") from error
        if sum(batch.num_rows for batch in batches) != rows:
            raise CorruptCollection(f"{path}: expected {rows} rows; see `nestvec verify`")
        for table in tail:
            batches += table.combine_chunks().to_batches()
        return cls(batches)

    def __len__(self) -> int:
        return self._starts[-1]

    def row(self, position: int) -> dict[str, Any]:
        """Return what is told of one item, by row number: its columns but those that only serve to compare files."""
        try:
            found = {name: cells.value_of(one) for name, one in self._scalars(position).items()}
        except (pa.ArrowException, UnicodeDecodeError) as error:
            raise CorruptCollection(f"row {position} of the items cannot be read: {error}") from error
        if any(found[name] is None for name in NEEDED):
            raise CorruptCollection(f"row {position} of the items lacks one of {', '.join(NEEDED)}")
        return found

    def cells(self, position: int) -> dict[str, cells.Cell]:
        """Return what the user's columns say of one item, in the types in which they are stored."""
        try:
            row = self._scalars(position).items()
            return {name.removeprefix(META): cells.cell(one) for name, one in row if name.startswith(META)}
        except (pa.ArrowException, UnicodeDecodeError) as error:
            raise CorruptCollection(f"row {position} of the items cannot be read: {error}") from error

    def _scalars(self, position: int) -> dict[str, pa.Scalar]:
        at = bisect_right(self._starts, position) - 1
        if at not in self._opened:
            self._opened[at] = _Batch(self._batches[at])
        return self._opened[at].row(position - self._starts[at])

    def value(self, name: str, position: int) -> Any:
        """Return one value of one item, by row number; of a text only what lies among the texts."""
        at = bisect_right(self._starts, position) - 1
        column, row = self._batches[at].column(name), position - self._starts[at]
        try:
            if column.type in _PLACES:
                _Texts(column).check(row)
            return column[row].as_py()
        except (pa.ArrowException, UnicodeDecodeError) as error:
            raise CorruptCollection(f"row {position} of the items cannot be read: {error}") from error

    @property
    def names(self) -> set[str]:
        """Names of all columns that some row has."""
        return {name for batch in self._batches for name in batch.schema.names}

    @property
    def schema(self) -> pa.Schema:
        """All columns that some row has, each in the type that holds what all rows have."""
        return union_schema(batch.schema for batch in self._batches)

    @property
    def batch_rows(self) -> list[int]:
        """How many rows each batch has."""
        return [batch.num_rows for batch in self._batches]

    def arrays(self, name: str) -> list[pa.Array]:
        """Return a column, an array for each batch, in the one type that holds what all of them have.

        Raises:
            CorruptCollection: what it says of its own places leads outside of it.
        """
        found = [batch.column(name) if name in batch.schema.names else None for batch in self._batches]
        kind = reduce(columntypes.common_type, dict.fromkeys(one.type for one in found if one is not None), pa.null())
        try:
            for one in found:
                if one is not None and (one.type in _PLACES or columntypes.children(one.type)):
                    one.validate(full=True)
            return [
                pa.nulls(batch.num_rows, kind) if one is None else cells.cast(pa.chunked_array([one]), kind).chunk(0)
                for one, batch in zip(found, self._batches, strict=True)
            ]
        except pa.ArrowException as error:
            raise CorruptCollection(f"column {name!r} of the items cannot be read: {error}") from error

    def text(self, name: str, position: int) -> str | None:
        """Do as `value`, of a column of texts that not every row has."""
        batch = self._batches[bisect_right(self._starts, position) - 1]
        at = batch.schema.get_field_index(name)
        return self.value(name, position) if at >= 0 and pa.types.is_string(batch.schema.field(at).type) else None

    def where(self, name: str, wanted: np.ndarray) -> IdArray:
        """Return the numbers of the rows, ascending, whose value in a column of numbers is one of those wanted."""
        found = [np.empty(0, np.int64)]
        for start, batch in zip(self._starts, self._batches, strict=False):
            column = batch.column(name).to_numpy()
            found.append(start + np.flatnonzero(np.isin(column, wanted) if len(wanted) != 1 else column == wanted[0]))
        return np.concatenate(found)

    def table(self, first: int, rows: int) -> pa.Table:
        """Return consecutive rows of a file that was opened without a tail, all columns."""
        found = pa.Table.from_batches(self._batches).slice(first, rows)
        try:
            found.validate(full=True)
        except pa.ArrowException as error:
            raise CorruptCollection(f"rows {first} to {first + rows} of the items cannot be read: {error}") from error
        return found

    def column(self, name: str) -> np.ndarray:
        """Return a column of every row, a numeric one, as one array."""
        parts = [batch.column(name).to_numpy() for batch in self._batches]
        return np.concatenate(parts) if parts else np.empty(0, ITEM_SCHEMA.field(name).type.to_pandas_dtype())
