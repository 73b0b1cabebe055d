"""What is in a version that is held open, without a search: items as tables, their vectors as arrays, counts."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.collection.snapshot import Snapshot
from engine.query import terms
from engine.query.ask import Query
from engine.query.held import Held
from indexers import checks
from indexers.errors import InvalidInput, ItemNotFound
from indexers.mask import Mask
from indexers.vectors import FloatArray, IdArray

if TYPE_CHECKING:
    from pyarrow import RecordBatch, Table

    from engine.progress import Listener
    from engine.query.export.options import Exported, ExportOptions
    from engine.query.where.tree import Filter

    Where = Filter | str | dict[str, Any] | None


class Listed(Held):
    """A version that is open, and what can be read of it item by item."""

    def __contains__(self, item: object) -> bool:
        """Whether there is an item of an id, or of a path or name."""
        snapshot = self.snapshot
        try:
            if isinstance(item, str | os.PathLike):
                snapshot.find_path(os.fspath(item))
            else:
                snapshot.find_id(checks.whole("item", item, -checks.MOST_ID, checks.MOST_ID))
        except (ItemNotFound, InvalidInput):
            return False
        return True

    def get(
        self, items: Any = (), *, keys: Any = (), columns: Sequence[str] | None = None, vectors: bool = False
    ) -> Table:
        """Return what is known of items, as a `pyarrow.Table` with a row each, in the order they were named.

        Example:
            >>> photos = engine.Collection.open("photos.nest")
            >>> photos.get([3, "drawings/anchor.png"], columns=["id", "name"]).to_pylist()
            [{'id': 3, 'name': 'bus.png'}, {'id': 0, 'name': 'anchor.png'}]

        Args:
            items: ids, or paths or names, or one of them.
            keys: keys of items of vectors, or one.
            columns: as in a filter; all if None.
            vectors: whether a column `vector` holds their vectors in the space that is searched.

        Raises:
            ItemNotFound: there is no such item.
            InvalidFilter: there is no such column.
        """
        from engine.query.tables import table_of

        snapshot, searcher = self._pair() if checks.truth("vectors", vectors) else (self.snapshot, None)
        rows = _named_rows(snapshot, items)
        if not isinstance(keys, tuple) or keys:
            rows += [snapshot.find_id(int(one)) for one in self.ids_of(keys)]
        stored = None if searcher is None else searcher.vectors(rows)
        return table_of(self._filters_of(snapshot).columns, columns, rows, stored)

    def _rows_of(self, items: Any) -> IdArray:
        """Return the rows of ids, or of paths and names, int64 [n].

        Raises:
            ItemNotFound: there is no such item.
        """
        snapshot = self.snapshot
        given = items.to_numpy() if hasattr(items, "to_numpy") else items
        if not isinstance(given, np.ndarray) or given.dtype.kind not in "iu" or given.ndim != 1:
            return np.array(_named_rows(snapshot, given), np.int64)
        live = snapshot.live.numbers
        order = live[np.argsort(snapshot.ids[live])]
        at = np.searchsorted(snapshot.ids[order], given)
        found = order[np.minimum(at, len(order) - 1)] if len(order) else np.zeros(len(given), np.int64)
        for wrong in np.flatnonzero(snapshot.ids[found] != given)[:1] if len(order) else given[:1] * 0:
            snapshot.find_id(int(given[wrong]))  # which says what is wrong with it
        return found

    def scan(
        self, where: Where = None, columns: Sequence[str] | None = None, *, batch_rows: int = 65536
    ) -> Iterator[RecordBatch]:
        """Yield what is known of the items that a filter lets through, as `pyarrow.RecordBatch`es in their order.

        Example:
            >>> photos = engine.Collection.open("photos.nest")
            >>> [batch.num_rows for batch in photos.scan("folder = 'drawings'", ["id", "name"])]
            [15]

        Args:
            where: a filter; None for all items.
            columns: as in a filter; all if None.
            batch_rows: at most so many rows in a batch.

        Raises:
            InvalidFilter: the filter is none, or there is no such column.
        """
        from engine.query.tables import scanned

        snapshot, allowed = self._allowed(where)
        rows = checks.whole("batch_rows", batch_rows)
        return scanned(self._filters_of(snapshot).columns, columns, allowed, rows)

    def vectors(self, where: Where = None) -> Iterator[tuple[IdArray, FloatArray]]:
        """Yield ids, int64 [n], and vectors, float32 [n, D] as they are stored, of the space that is searched.

        Example:
            >>> ids, xb = map(np.concatenate, zip(*engine.Collection.open("vectors.nest").vectors()))
            >>> ids.shape, xb.shape, xb.dtype
            ((1200,), (1200, 32), dtype('float32'))

        Args:
            where: a filter; None for all items.

        Raises:
            InvalidFilter: the filter is none.
        """
        from engine.query.tables import vector_blocks

        snapshot, allowed = self._allowed(where)
        return vector_blocks(snapshot, self._name(snapshot), allowed)

    def export(
        self,
        path: str | Path,
        to: str,
        *,
        where: Where = None,
        space: str | None = None,
        options: ExportOptions | None = None,
        listener: Listener | None = None,
    ) -> Exported:
        """Write items as others read them, to a file or a folder that appears whole or not at all.

        Example:
            >>> photos = engine.Collection.open("photos.nest")
            >>> photos.export("drawings.jsonl", "qdrant", where="folder = 'drawings'").items
            15

        Args:
            path: where; nothing that is there is replaced, unless `options` say so.
            to: "parquet", "hdf5", "clip-retrieval", "faiss", "qdrant", "lance", "huggingface" or "webdataset".
            where: a filter; None for all items.
            space: whose vectors; the space that is searched if None.
            options: columns, pictures, queries.
            listener: hears how far it is.

        Raises:
            InvalidFilter: the filter is none, or there is no such column.
            InvalidInput: there is no such format or space, something is there already, an option says nothing to the
                format, or it consists of pictures and there are none.
            DependencyMissing: what writes the format is not installed.
            DiskFull: it does not fit.
        """
        from engine.progress import as_listener
        from engine.query.export.options import ExportOptions
        from engine.query.export.registry import FORMATS
        from engine.query.export.run import export
        from engine.query.export.selection import Selection

        target, to, heard = checks.path("path", path), checks.one_of("to", to, FORMATS), as_listener(listener)
        options = ExportOptions() if options is None else checks.instance("options", options, ExportOptions)
        snapshot, allowed = self._allowed(where)
        name = checks.optional("space", space, checks.text) or self._name(snapshot)
        snapshot.manifest.named_space(name, self.root)
        columns = self._filters_of(snapshot).columns
        return export(Selection(snapshot, columns, options.columns, name, allowed), target, to, options, heard)

    def _allowed(self, where: Where) -> tuple[Snapshot, Mask]:
        """Return the open version, and which of its rows a filter lets through."""
        snapshot = self.snapshot
        mask = self._mask(snapshot, Query(where=where).filter)
        return snapshot, snapshot.live if mask is None else snapshot.live & mask

    def ids_of(self, keys: Any) -> IdArray:
        """Return the ids of items by their keys, int64 [n]; see `query.keys.ids_of_keys`."""
        from engine.query.keys import ids_of_keys

        return ids_of_keys(self._pair()[0], keys)

    def matching(self, where: Filter | str | dict[str, Any]) -> IdArray:
        """Return the ids of the items that a filter lets through, int64, in the order of their rows.

        Example:
            >>> engine.Collection.open("photos.nest").matching("caption = 'bicycle'").tolist()
            [2]

        Raises:
            InvalidFilter: it does not parse, or asks a column what it cannot answer.
        """
        snapshot, allowed = self._allowed(where)
        return snapshot.ids[allowed.numbers]

    def facets(self, column: str, where: Where = None, *, most: int = 20) -> dict[Any, int]:
        """Count the values of a column among the items that a filter lets through, the most frequent first.

        Example:
            >>> engine.Collection.open("photos.nest").facets("folder")
            {'photos': 18, 'drawings': 15}

        Args:
            column: as in a filter; None among its values counts items without one.
            where: a filter; None for all items.
            most: values.

        Raises:
            InvalidFilter: there is no such column, or the filter is none.
        """
        from engine.query.values import counts_of

        snapshot, allowed = self._allowed(where)
        columns = self._filters_of(snapshot).columns
        return counts_of(columns, checks.text("column", column), allowed, checks.whole("most", most))


def _named_rows(snapshot: Snapshot, items: Any) -> list[int]:
    """Return the rows of items that are named by ids and paths, one or several.

    Raises:
        ItemNotFound: there is no such item.
    """
    named = checks.one_or_several("items", items, lambda name, one: terms.as_item(name, one))
    return [snapshot.find_id(one) if isinstance(one, int) else snapshot.find_path(one) for one in named]
