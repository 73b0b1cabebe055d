"""What could not be indexed, and why; and what tells whether it is worth another try."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from engine.collection.commit import Change
from engine.collection.manifest import Manifest
from engine.collection.shards import FAILURE_SCHEMA, FAILURE_STAMP, read_table, write_table
from engine.storage import layout
from engine.storage.verified import check_hash
from indexers.errors import CorruptCollection


class Failure(NamedTuple):
    """An item that could not be indexed.

    Attributes:
        source: name of its source.
        path: in it.
        reason: in one line.
        size: bytes of the file that cannot be read whenever it is tried; None where that may pass by itself.
        mtime_ns: when that file was last changed; likewise.
        readers: what tried to read it; likewise.
    """

    source: str
    path: str
    reason: str
    size: int | None = None
    mtime_ns: int | None = None
    readers: str | None = None


def failures_of(root: Path, manifest: Manifest) -> list[Failure]:
    """Return the failures of a version.

    Raises:
        CorruptCollection: the file has changed, cannot be read, or says something else.
    """
    if manifest.failures is None:
        return []
    check_hash(root, manifest.failures)
    table = read_table(root, manifest.failures)
    for field in FAILURE_STAMP:
        if field.name in table.column_names and table.schema.field(field.name).type != field.type:
            raise CorruptCollection(f"{root / manifest.failures.path}: column {field.name!r} is of another type")
    names = [name for name in Failure._fields if name in table.column_names]
    return [Failure(**row) for row in table.select(names).to_pylist()]


def record_failures(
    root: Path, sources: set[str], failures: Iterable[Failure], *, paths: frozenset[tuple[str, str]] = frozenset()
) -> Change:
    """Replace failures by those of the latest run; where they are the same, nothing is written.

    Args:
        root: the collection.
        sources: sources that were listed whole: what failed there before is forgotten.
        failures: of this run.
        paths: (source, path) of the items of other sources that this run looked at.
    """
    new = list(failures)

    def change(base: Manifest) -> Manifest:
        old = failures_of(root, base)
        rows = [one for one in old if one.source not in sources and one[:2] not in paths] + new
        # Sources that take turns would write the same rows in another order each time.
        if sorted(rows, key=repr) == sorted(old, key=repr):
            return base
        if not rows:
            return replace(base, failures=None)
        columns = [list(column) for column in zip(*rows, strict=True)]
        schema = pa.schema([*FAILURE_SCHEMA, *FAILURE_STAMP])
        return replace(base, failures=write_table(root, layout.FAILURES, pa.table(columns, schema=schema)))

    return change
