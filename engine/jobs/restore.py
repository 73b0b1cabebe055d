"""What a damaged file held, from where else it is: a derived file, the base, an older version, or the source."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from engine.collection import tombstones
from engine.collection.history import numbers
from engine.collection.lookup import Lookup
from engine.collection.manifest import Covering, Manifest, Source, Space, Tombstone
from engine.collection.originals import read_below
from engine.collection.reading import MOST, read_version
from engine.collection.relabel import names_in, said
from engine.collection.shards import as_new_shard, hash_of, read_table, tombstone_table, write_embeddings, write_table
from engine.encoders.base import Encoder
from engine.ingest.joined import own_columns
from engine.ingest.pipeline import Skipped, encode_pictures
from engine.ingest.unit import contents_of, split, unit_rows
from engine.ingest.vector_files import vector_files
from engine.ingest.vectors import VectorFiles
from engine.storage import layout, verified
from engine.storage.layout import FileRef
from engine.storage.names import text_path
from engine.storage.parquet import read_parquet
from indexers.errors import CollectionError, NestvecError, NotEnoughMemory
from indexers.memory import memory_left, shown_bytes
from indexers.store import StoredArray, VectorStore, check_dtype
from indexers.threads import available_cores
from indexers.vectors import FloatArray, IdArray

BATCH = 32
# Whoever indexed a picture allowed its size.
ANY_PIXELS = 1 << 40


@dataclass(frozen=True)
class Wanted:
    """A row whose vector is to be made again.

    Attributes:
        row: its number in the shard.
        source: name of its source.
        path: in it.
        content: hash of what it was made from.
    """

    row: int
    source: str
    path: str
    content: str


def unused_id(root: Path) -> int:
    """Return an id above that of every item that was ever written: no id must come back as another item's."""
    found = 0
    for path in (root / layout.ITEMS).glob("*.parquet"):
        with contextlib.suppress(Exception):  # whatever it is, it is no shard that says an id
            ids = read_parquet(path, columns=["id"], own=True).column("id").to_numpy()
            found = max(found, int(ids.max(initial=-1)) + 1)
    return found if found < MOST else 0


def items_from_lookup(root: Path, manifest: Manifest, shard: int) -> FileRef | None:
    """Write a shard of items again from the lookup, which holds the same rows; None if it does not cover them."""
    covering = manifest.lookup
    if covering is None or shard not in covering.span:
        return None
    verified.check_size(root, covering.file)
    lookup = Lookup.open(root / covering.file.path, manifest.rows_in(covering.span), ())
    table = lookup.table(manifest.rows_in(range(shard)), manifest.items[shard].rows)
    # A column of this shard's neighbours is no column of its own: it had none of it, or nothing in it.
    return write_table(root, layout.ITEMS, as_new_shard(said(table)))


def tombstones_again(
    root: Path, ref: FileRef, draft: Manifest, items: list[FileRef], renamed: Mapping[str, str]
) -> tuple[set[Tombstone], str | None]:
    """Find out what a damaged file of tombstones said.

    Args:
        root: the collection.
        ref: the file.
        draft: the version, with the shards that were put together again in it.
        items: shards of it that can be read.
        renamed: those of them that were put together again, new names by old.

    Returns:
        the tombstones, by new names, and which version has the very same ones: a set that makes the same file is
        the same. Without a version, only those that are sure: of the newest older version, unless a rollback lies
        between, and of rows whose item has a later row.
    """
    old_names = {new: old for old, new in renamed.items()}
    replaced = _replaced(root, items, old_names)
    sure, trusted, origin = replaced, True, None
    for number, operation, older in _older_tombstones(root, ref, draft, old_names):
        same = [one for one in (older, older | replaced) if hash_of(tombstone_table(one)) == ref.blake3]
        if same:
            sure, origin = same[0], f"version {number}"
            break
        if trusted and older:
            sure, trusted = replaced | older, False
        trusted = trusted and operation != "rollback"
    listed = {one.path for one in items}
    now = {(renamed.get(path, path), row) for path, row in sure}
    return {one for one in now if one[0] in listed}, origin


def _older_tombstones(
    root: Path, ref: FileRef, draft: Manifest, old_names: Mapping[str, str]
) -> Iterator[tuple[int, str, set[Tombstone]]]:
    """Yield number, verb and tombstones of the versions there are, the newest first.

    Shards that were relabelled since are called what the damaged file called them.
    """
    for number in reversed(numbers(root)):
        try:
            older = read_version(root, number)
            known: set[Tombstone] = set()
            if older.deletes is not None and older.deletes.path != ref.path:
                verified.check_hash(root, older.deletes)
                names = names_in(draft, older)
                found = ((names.get(path, path), row) for path, row in tombstones.tombstones_of(root, older))
                known = {(old_names.get(path, path), row) for path, row in found}
            yield number, older.operation, known
        except CollectionError:
            continue


def _replaced(root: Path, items: list[FileRef], old_names: Mapping[str, str]) -> set[Tombstone]:
    """Return the rows whose id or path a later row has, by old names: a change deletes the old row."""
    ids = np.empty(0, np.int64)
    keys = np.empty(0, np.uint64)
    found: set[Tombstone] = set()
    for ref in reversed(items):
        table = read_table(root, ref, ["id", "key"])
        own_ids, own_keys = (table.column(name).to_numpy() for name in ("id", "key"))
        dead = np.flatnonzero(np.isin(own_ids, ids) | np.isin(own_keys, keys))
        found |= {(old_names.get(ref.path, ref.path), row) for row in dead.tolist()}
        ids, keys = np.union1d(ids, own_ids), np.union1d(keys, own_keys)
    return found


def vectors_from_matrix(
    root: Path, manifest: Manifest, space: str, covering: Covering, shard: int, ids: IdArray
) -> FileRef | None:
    """Write a shard of vectors again from the matrix for reranking, which holds the same numbers; None if it does not.

    Args:
        root: the collection.
        manifest: the version.
        space: whose.
        covering: the matrix, of which the shard is among those it covers.
        shard: number of the shard.
        ids: of its items, int64 [n].
    """
    entry = manifest.space(space)
    verified.check_size(root, covering.file)
    matrix: StoredArray = VectorStore.open(root / covering.file.path).rows
    if matrix.shape != (covering.file.rows, entry.dim) or matrix.dtype != check_dtype(entry.dtype):
        return None
    first = manifest.rows_in(range(covering.first, shard))
    stored = matrix[first : first + len(ids)]
    return write_embeddings(root, space, ids, np.array(stored), entry.dtype)


def vectors_from_sources(
    root: Path, manifest: Manifest, space: str, shard: int, dead: set[int], load: Callable[[], Encoder | None]
) -> tuple[FileRef, list[Wanted]]:
    """Make the vectors of a shard again from what was indexed, where that has not changed since.

    Args:
        root: the collection.
        manifest: the version; its items can be read.
        space: whose; it is derived from no other.
        shard: number of the shard.
        dead: rows of it that are deleted: nobody needs their vectors.
        load: loads the encoder; None where it cannot be.

    Returns:
        the shard, and the rows whose source is gone or has changed: they hold a vector that is none of theirs.
    """
    table = read_table(root, manifest.items[shard])
    entry = manifest.space(space)
    _require_room(len(table), entry)
    names = zip(*(table.column(name).to_pylist() for name in ("source", "path", "content")), strict=True)
    wanted = [Wanted(row, *own) for row, own in enumerate(names) if row not in dead]
    found: dict[int, FloatArray] = {}
    for source in manifest.sources:
        own = [one for one in wanted if one.source == source.name]
        if own and source.kind == "vectors":
            found |= dict(_vectors_again(source, own, manifest, space))
        elif own and source.folder is not None and (encoder := load()) is not None:
            found |= dict(_pictures_again(source.folder, own, encoder))
    matrix = np.zeros((len(table), entry.dim), dtype=np.float32)
    matrix[:, 0] = 1.0  # what is lost is deleted; it still must be a vector
    for row, vector in found.items():
        matrix[row] = vector
    ids = table.column("id").to_numpy()
    written = write_embeddings(root, space, ids, matrix, entry.dtype)
    return written, [one for one in wanted if one.row not in found]


def _require_room(rows: int, entry: Space) -> None:
    """Refuse a shard whose vectors would not fit into memory: nothing bears out any more how long they were.

    Raises:
        NotEnoughMemory: names what it takes.
    """
    needed, left = rows * entry.dim * (4 + check_dtype(entry.dtype).itemsize), memory_left()
    if left is not None and needed > left.bytes:
        raise NotEnoughMemory(
            f"{rows:,} vectors of {entry.dim:,} dimensions take {shown_bytes(needed)} of memory, and "
            f"{shown_bytes(left.bytes)} are left ({left.why})"
        )


def _pictures_again(folder: str, wanted: list[Wanted], encoder: Encoder) -> Iterator[tuple[int, FloatArray]]:
    known = {one.content for one in wanted}
    batches = encode_pictures(
        encoder,
        wanted,
        lambda one: read_below(folder, one.path),
        reuse=lambda content: content not in known,  # it has changed since: not worth decoding
        batch_size=BATCH,
        workers=available_cores(),
        max_pixels=ANY_PIXELS,
    )
    with closing(batches):
        for batch in batches:
            for outcome in batch:
                if isinstance(outcome, Skipped) or outcome.vector is None:
                    continue
                if outcome.content == outcome.item.content:
                    yield outcome.item.row, outcome.vector


def _vectors_again(
    source: Source, wanted: list[Wanted], manifest: Manifest, space: str
) -> Iterator[tuple[int, FloatArray]]:
    """Yield the vectors of rows that a source of vectors still holds, known by their content."""
    dims = manifest.dims
    rows: dict[str, list[int]] = {}
    for one in wanted:
        rows.setdefault(one.content, []).append(one.row)
    try:
        path, own = text_path(source.location), own_columns(source)
        files = vector_files(path, (), own.vectors) or []
        others = {name: vector_files(path, (), column) or [] for name, column in own.spaces}
        listing = VectorFiles(replace(source, tables=()), files, others=others, name_column=None, caption=None)
        if not files or list(listing.dims) != list(dims) or not all(listing.fits(*one) for one in dims.items()):
            return
        for block in listing.blocks():
            unit, wrong = unit_rows(block.vectors, dims)
            of_space = split(unit, dims)[list(dims).index(space)]
            for at, content in enumerate(contents_of(block.vectors)):
                if at not in wrong:
                    yield from ((row, of_space[at]) for row in rows.pop(content, ()))
    except (NestvecError, OSError, ValueError):  # the last for what is no name, with a null in it
        return  # it is gone, or is something else now: what was not found is lost
