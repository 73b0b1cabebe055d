"""One version of a collection, pinned and read: items, vectors, what is deleted."""

from __future__ import annotations

import contextlib
import os
import posixpath
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from engine.collection import commit, reading
from engine.collection.lookup import Lookup
from engine.collection.manifest import Covering, Manifest, Source
from engine.collection.shards import META, check_rows, read_embeddings, read_table, with_dead
from engine.storage import place, verified
from engine.storage.layout import FileRef
from engine.storage.names import file_text, path_key, path_name, path_text, spellings
from indexers import checks
from indexers.errors import CorruptCollection, ItemNotFound
from indexers.mask import Mask
from indexers.store import StoredArray
from indexers.vectors import FloatArray, IdArray

BELIEVED_ROWS = 1 << 24
"""A version is believed that it has so many rows; of more, each shard is asked before memory is set aside for them."""


@dataclass(frozen=True)
class Item:
    """What is known of one indexed thing.

    Example:
        >>> item = engine.Collection.open("photos.nest").snapshot.item(0)
        >>> item.path, item.caption, item.width, item.height
        ('drawings/anchor.png', 'anchor', 160, 160)

    Attributes:
        id: internal number, never reused.
        uri: where it is: the path of its file as it can be opened, bytes that are not UTF-8 as surrogates; of a vector
            its name.
        source: name of the source.
        path: what is stored of its path in the source: percent-encoded where it is not UTF-8 or would read as encoded.
        caption: text that came with it, or None.
        width: of the upright picture in pixels; 0 where it is not a picture.
        height: likewise.
        meta: the user's own columns, in Python's types; None where it has no value.
    """

    id: int
    uri: str
    source: str
    path: str
    caption: str | None
    width: int
    height: int
    meta: dict[str, Any]

    @property
    def name(self) -> str:
        """Its path in the source as the file system knows it; of a vector its name."""
        return self.path if self.uri == self.path else path_name(self.path)


def _opened_again(root: str, version: int) -> Snapshot:
    return Snapshot.open(root, version)


class Snapshot:
    """A pinned version. Immutable, and safe to read from many threads.

    Example:
        >>> with engine.Snapshot.open("photos.nest") as snapshot:
        ...     print(snapshot.manifest.version, snapshot.live_rows, snapshot.item(1).path)
        5 33 drawings/banana.png
    """

    def __init__(self, root: Path, manifest: Manifest, pin: int) -> None:
        self.root = root
        self.manifest = manifest
        self._pin = pin
        self._verified = verified.Verified(root)

    @classmethod
    def open(cls, root: Path | str, version: int | None = None) -> Snapshot:
        """Open the newest version, or a given one, and pin it with a shared lock.

        Raises:
            NotACollection: there is no collection there.
            CorruptCollection: its version file is damaged.
            InvalidInput: the version is no number of one.
        """
        root, version = checks.path("path", root), checks.optional("version", version, partial(checks.whole, low=0))
        while True:
            number = commit.current_version(root) if version is None else version
            try:
                pin = place.pin(root, number)
            except OSError as error:
                raise reading.unreadable(root, number, error) from error
            if pin is not None:
                break
            if commit.current_version(root) == number or version is not None:
                raise CorruptCollection(f"{root} has no version {number}; see `nestvec versions {root}`")
        try:
            return cls(root, reading.read_version(root, number), pin)
        except BaseException:
            os.close(pin)
            raise

    @classmethod
    def draft(cls, root: Path, manifest: Manifest) -> Snapshot:
        """Read a version that is not published, and so not pinned: its files must stay by themselves."""
        return cls(root, manifest, -1)

    @property
    def is_closed(self) -> bool:
        """Whether it was let go, or never held, being a draft."""
        return self._pin < 0

    def close(self) -> None:
        """Let the version go. What was already mapped stays readable."""
        # Taken first: closed twice, by two threads, it might be somebody else's file the second time.
        pin, self._pin = self._pin, -1
        if pin >= 0:
            os.close(pin)

    def __enter__(self) -> Snapshot:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def __reduce__(self) -> Any:
        """Open the same version again, where it was copied or pickled to.

        Raises:
            TypeError: it is a draft, which is in no file.
        """
        if self._pin < 0:
            raise TypeError("a version that is not published, or was closed, cannot be copied or pickled")
        return _opened_again, (os.path.abspath(self.root), self.manifest.version)

    def ensure(self, refs: list[FileRef]) -> None:
        """Check files before they are trusted; see `verified.Verified`."""
        self._verified.ensure(refs)

    @property
    def rows(self) -> int:
        """Rows in all shards, deleted ones included."""
        return self.manifest.rows

    @property
    def live_rows(self) -> int:
        """Items that can be answered."""
        return self.rows - len(self.deleted)

    @cached_property
    def shard_starts(self) -> IdArray:
        """Row number at which each shard begins, and the total: int64 [shards + 1]."""
        return self.manifest.shard_starts

    @cached_property
    def deleted(self) -> IdArray:
        """Row numbers with a tombstone, ascending."""
        file = self.manifest.deletes
        if file is not None:
            self.ensure([file])
        table = with_dead(None if file is None else read_table(self.root, file), self.manifest.dead)
        listed = pa.array([ref.path for ref in self.manifest.items], pa.string())
        shards = pc.index_in(table.column("shard"), value_set=listed)
        if shards.null_count:
            raise CorruptCollection(f"{self.root}: a tombstone points into a shard that is not listed")
        numbers, rows = shards.to_numpy().astype(np.int64), table.column("row").to_numpy().astype(np.int64)
        if (rows < 0).any() or (rows >= np.diff(self.shard_starts)[numbers]).any():
            raise CorruptCollection(f"{self.root}: a tombstone points behind its shard")
        return np.unique(self.shard_starts[numbers] + rows)

    @cached_property
    def live(self) -> Mask:
        """Which rows have no tombstone.

        Raises:
            CorruptCollection: there are not as many rows as the version says.
        """
        for ref in self.manifest.items:
            verified.check_size(self.root, ref)
            if self.rows > BELIEVED_ROWS:
                check_rows(self.root, ref)
        return Mask.without(self.rows, self.deleted)

    def live_in(self, shard: int) -> Mask:
        """Which rows of one shard have no tombstone."""
        return self.live.part(int(self.shard_starts[shard]), int(self.shard_starts[shard + 1]))

    def locate(self, position: int) -> tuple[FileRef, int]:
        """Return the item shard a row number lies in, and the row within it."""
        shard = int(np.searchsorted(self.shard_starts, position, side="right")) - 1
        return self.manifest.items[shard], position - int(self.shard_starts[shard])

    # -- items ---------------------------------------------------------------------------

    @cached_property
    def lookup(self) -> Lookup:
        """Random access to the items."""
        covering = self.manifest.lookup
        covered = covering.span if covering else range(0)
        tail = self.manifest.items[covered.stop :]
        self.ensure([*([covering.file] if covering else []), *tail])
        path = self.root / covering.file.path if covering else None
        return Lookup.open(path, self.manifest.rows_in(covered), (read_table(self.root, ref) for ref in tail))

    @cached_property
    def ids(self) -> IdArray:
        """Id of every row, int64 [rows]."""
        return self.lookup.column("id")

    @cached_property
    def _folders(self) -> dict[str, str]:
        """Folder that the paths of a source are relative to, by its name; vectors have none."""
        return {source.name: source.folder for source in self.manifest.sources if source.folder is not None}

    def item(self, position: int) -> Item:
        """Return the item at a row number."""
        row = self.lookup.row(position)
        folder = self._folders.get(row["source"])
        return Item(
            id=row["id"],
            uri=row["path"] if folder is None else path_name(posixpath.join(folder, row["path"])),
            source=row["source"],
            path=row["path"],
            caption=row["caption"],
            width=row["width"],
            height=row["height"],
            meta={name.removeprefix(META): value for name, value in row.items() if name.startswith(META)},
        )

    def find_id(self, wanted: int) -> int:
        """Return the row number of a live item by its id.

        Raises:
            ItemNotFound: no live item has that id.
        """
        ids, order = self.ids, self._order
        first, last = (0, -1) if order is None else (order[0], order[-1])
        # Beyond these there is none, and perhaps no 64-bit number either.
        if len(ids) and ids[first] <= wanted <= ids[last]:
            start, stop = ids.searchsorted(wanted, "left", order), ids.searchsorted(wanted, "right", order)
            rows = self.living(np.arange(start, stop) if order is None else order[start:stop])
            if len(rows):
                return int(rows[0])
        raise ItemNotFound(f"no item with id {wanted} in {self.root}")

    @cached_property
    def _order(self) -> IdArray | None:
        """Row numbers by ascending id, and rows of the same id by their number; None where ids ascend with the rows."""
        if (self.ids[:-1] <= self.ids[1:]).all():
            return None
        return np.argsort(self.ids, kind="stable")

    def living(self, rows: IdArray) -> IdArray:
        """Return those of some rows that have no tombstone, in the same order."""
        if not len(self.deleted):
            return rows
        nearest = np.minimum(self.deleted.searchsorted(rows), len(self.deleted) - 1)
        living: IdArray = rows[self.deleted[nearest] != rows]
        return living

    def name_in(self, source: str, path: str) -> str:
        """Return what a stored path names: a file of a source as the file system knows it, or a vector."""
        return path if self._folders.get(source) is None else path_name(path)

    def find_path(self, path: str, *, as_written: bool = False) -> int:
        """Return the row number of a live item by its path.

        Args:
            path: relative to its source as it was indexed, or an absolute path of this machine.
            as_written: whether a name that is only printed so is not meant; see `spellings`.

        Raises:
            ItemNotFound: no live item has that path.
        """
        with contextlib.suppress(UnicodeEncodeError):  # half a surrogate pair names no file
            for source, name in self.names_of(path, as_written=as_written):
                if (row := self.find_in(source, name)) is not None:
                    return row
        raise ItemNotFound(f"{path!r} is not in {self.root}")

    def names_of(self, path: str, *, as_written: bool = False) -> Iterator[tuple[str, str]]:
        """Yield each source's name, and what a path a user wrote may be called in it: in all what it most likely is."""
        for spelled in spellings(path)[: 1 if as_written else None]:
            for source in self.manifest.sources:
                yield from ((source.name, name) for name in names_in(source, spelled))

    def find_in(self, source: str, name: str) -> int | None:
        """Return the row number of the live item of a name in a source, or None."""
        rows = self.lookup.where("key", np.array([path_key(source, name)], dtype=np.uint64))
        for row in self.living(rows):
            found = self.lookup.row(int(row))
            if found["source"] == source and found["path"] == name:
                return int(row)
        return None

    def item_tables(self, columns: list[str] | None = None, *, first: int = 0) -> Iterator[pa.Table]:
        """Yield the item shards from number `first` on, or some of their columns, one at a time."""
        for ref in self.manifest.items[first:]:
            self.ensure([ref])
            yield read_table(self.root, ref, columns)

    # -- vectors -------------------------------------------------------------------------

    def stored_vectors(
        self, space: str, *, first: int = 0, stop: int | None = None
    ) -> Iterator[tuple[IdArray, StoredArray]]:
        """Yield (ids, stored values) of each embedding shard in [first, stop)."""
        entry = self.manifest.space(space)
        for ref in entry.embeddings[first:stop]:
            self.ensure([ref])
            yield read_embeddings(self.root, ref, entry.dim, entry.dtype)

    def vectors(self, space: str, *, stop: int | None = None) -> Iterator[FloatArray]:
        """Yield the stored values of each embedding shard as float32."""
        for _, stored in self.stored_vectors(space, stop=stop):
            yield np.ascontiguousarray(stored, dtype=np.float32)

    def open_covering(self, covering: Covering) -> Path:
        """Check a derived file and return its path."""
        return self._verified.fetch(covering.file)


def names_in(source: Source, path: str) -> list[str]:
    """Return what a file may be stored as in a source, or a vector, by the name that is meant; the likeliest first.

    Args:
        source: of a version.
        path: relative to it or absolute, as the file system knows it; or the name of a vector.
    """
    written = os.fsencode(path)
    names = [path_text(written), path_text(os.path.normpath(written))]
    if source.folder is None and path == written.decode("utf-8", "replace"):
        # A vector is stored by its own name, which is a text: no surrogates are in it.
        names.insert(0, path)
    absolute, folder = file_text(path), "" if source.folder is None else source.folder.rstrip("/") + "/"
    if folder and absolute.startswith(folder):
        names.append(absolute[len(folder) :])
    return list(dict.fromkeys(names))
