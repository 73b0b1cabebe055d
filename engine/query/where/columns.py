"""What a filter can ask of the items of a version: our columns, the user's, and fields of their structs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce

import pyarrow as pa
import pyarrow.compute as pc

from engine.collection.lookup import Lookup
from engine.collection.shards import META
from engine.query.where.lists import Turned, can_be_turned
from engine.query.where.paths import PARTS, part_of
from engine.query.where.tree import Column
from indexers.errors import InvalidFilter, did_you_mean

OURS = ("id", "source", "path", "folder", "name", "suffix", "caption", "width", "height", "size", "mtime")
"""Columns that every item has; a column of the user's with such a name is asked for as `meta.NAME`."""

MOST_SHOWN = 20

SCANNED = 8
"""So many filters look into every list of a column; then it is turned about, which takes as long as those did."""


class Columns:
    """The columns of the items of a version, batch by batch, in one type each; what was asked for is kept.

    Args:
        lookup: the items.

    Attributes:
        names: of all columns there are.
    """

    def __init__(self, lookup: Lookup) -> None:
        self._lookup = lookup
        self._user = sorted({name.removeprefix(META) for name in lookup.names if name.startswith(META)})
        self._kept: dict[tuple[str, ...], list[pa.Array]] = {}
        self._looked: dict[tuple[str, ...], int] = {}
        self._turned: dict[tuple[str, ...], Turned | None] = {}
        self.names = [*OURS, *(f"meta.{name}" if name in OURS else name for name in self._user)]

    @property
    def batches(self) -> Sequence[int]:
        """How many rows each batch has."""
        return self._lookup.batch_rows

    def get(self, wanted: Column) -> list[pa.Array]:
        """Return a column, an array for each batch.

        Raises:
            InvalidFilter: there is none.
        """
        if wanted.path not in self._kept:
            self._kept[wanted.path] = self._found(wanted)
        return self._kept[wanted.path]

    def turned(self, wanted: Column) -> Turned | None:
        """Return a column of lists turned about, asked for by each batch of a filter; None where it is to be scanned.

        Raises:
            InvalidFilter: there is no such column.
        """
        looked = self._looked[wanted.path] = self._looked.get(wanted.path, 0) + 1
        if looked <= SCANNED * len(self.batches):
            return None
        if wanted.path not in self._turned:
            arrays = self.get(wanted)
            self._turned[wanted.path] = Turned(arrays) if can_be_turned(arrays) else None
        return self._turned[wanted.path]

    def already_turned(self, wanted: Column) -> Turned | None:
        """Return a column of lists that was turned about; None of any other."""
        return self._turned.get(wanted.path)

    def named(self, name: str) -> list[pa.Array]:
        """Return a column by the name it has outside a filter: of a field of one, `place.city`.

        Raises:
            InvalidFilter: there is none.
        """
        return self.get(Column(tuple(name.split("."))))

    def _found(self, wanted: Column) -> list[pa.Array]:
        path, whole = wanted.path, ".".join(wanted.path)
        # A column of the user's that is called as one of ours but for capitals is meant by its own.
        is_theirs = len(path) > 1 or (path[0] not in OURS and path[0] in self._user)
        if not is_theirs and (own := _same(path[0], OURS)) is not None:
            return _READ.get(own, Columns._plain)(self, own)
        if path[0] == "meta" and len(path) > 1 and ("meta" not in self._user or path[1] in self._user):
            path = path[1:]
        for name, fields in ((whole, ()), (path[0], path[1:])):
            if (known := _same(name, self._user)) is not None:
                return [_field(array, fields, wanted) for array in self._lookup.arrays(META + known)]
        raise InvalidFilter(
            f"no column {whole!r}; there are {', '.join(self.names[:MOST_SHOWN])}"
            f"{f' and {len(self.names) - MOST_SHOWN:,} more' if len(self.names) > MOST_SHOWN else ''}"
            f"{did_you_mean(whole, self.names)} (a text stands in single quotes: '{whole}')",
            wanted.at,
        )

    def _plain(self, name: str) -> list[pa.Array]:
        return self._lookup.arrays(name)

    def _mtime(self, name: str) -> list[pa.Array]:
        return [array.cast(pa.timestamp("ns", "UTC")) for array in self._lookup.arrays("mtime_ns")]

    def _part(self, name: str) -> list[pa.Array]:
        """Return the folder, the name or the suffix of paths: `2019/Italy`, `IMG_1.JPG`, `.jpg`."""
        return [part_of(array, name) for array in self._lookup.arrays("path")]


_READ: dict[str, Callable[[Columns, str], list[pa.Array]]] = {
    "mtime": Columns._mtime,
    **dict.fromkeys(PARTS, Columns._part),
}


def _same(name: str, known: Sequence[str]) -> str | None:
    """Return the name that is meant: as it is written, else the only one that differs in its case alone, as in SQL."""
    if name in known:
        return name
    alike = [one for one in known if one.lower() == name.lower()]
    return alike[0] if len(alike) == 1 else None


def _field(array: pa.Array, fields: Sequence[str], wanted: Column) -> pa.Array:
    """Return a field of a struct; null where the struct is."""

    def into(found: pa.Array, name: str) -> pa.Array:
        names = [field.name for field in found.type] if pa.types.is_struct(found.type) else []
        known = _same(name, names)
        if known is None:
            raise InvalidFilter(
                f"{wanted} has no field {name!r}: {', '.join(names) or f'it is {found.type}'}", wanted.at
            )
        return pc.struct_field(found, names.index(known))

    return reduce(into, fields, array)
