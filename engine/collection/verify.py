"""Check a whole collection: every file's hash, every shard's rows, and how they fit together."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engine.collection import reading
from engine.collection.history import numbers
from engine.collection.manifest import Manifest
from engine.collection.shards import check_vectors_finite
from engine.collection.snapshot import Snapshot
from engine.collection.spaces import head_of
from engine.storage import layout, verified
from engine.storage.layout import FileRef
from indexers.errors import CollectionError


@dataclass(frozen=True)
class Problem:
    """Something wrong with a file.

    Attributes:
        path: relative to the collection.
        reason: what was expected and what was found.
        derived: whether it can be built again from other files of the collection.
    """

    path: str
    reason: str
    derived: bool


def verify(root: Path, progress: Callable[[int], None] = lambda _bytes: None) -> Iterator[Problem]:
    """Yield every problem of the newest version.

    Args:
        root: the collection.
        progress: called with the size of each file as it is done.

    Raises:
        NotACollection: there is none at `root`.
        CorruptCollection: the newest version file itself is damaged.
    """
    with Snapshot.open(root) as snapshot:
        damaged = set()
        for ref in snapshot.manifest.files():
            try:
                verified.check_hash(root, ref)
            except CollectionError as error:
                damaged.add(ref.path)
                yield Problem(ref.path, str(error), _is_derived(ref))
            progress(ref.size)
        if not damaged:
            yield from _check_shards(snapshot)
        yield from _older_versions(root, snapshot.manifest)


def _is_derived(ref: FileRef) -> bool:
    return ref.path.split("/")[-2] in (layout.LOOKUP, layout.WORDS, layout.VECTORS, layout.INDEXES)


def _check_shards(snapshot: Snapshot) -> Iterator[Problem]:
    """Check that vectors lie beside their items, and that ids are sane."""
    live = snapshot.live.allowed
    tables = list(snapshot.item_tables(["id", "key"]))
    if tables:
        ids = np.concatenate([table.column("id").to_numpy() for table in tables])[live]
        if len(np.unique(ids)) != len(ids) or (len(ids) and ids.max() >= snapshot.manifest.next_id):
            yield Problem("items", "an id is used twice, or was never handed out", False)
        keys = np.concatenate([table.column("key").to_numpy() for table in tables])[live]
        if len(np.unique(keys)) != len(keys):
            yield Problem("items", "two items of a source have the same path", False)
    for name, space in snapshot.manifest.spaces.items():
        for ref, table, (ids, stored) in zip(space.embeddings, tables, snapshot.stored_vectors(name), strict=True):
            if not np.array_equal(ids, table.column("id").to_numpy()):
                yield Problem(ref.path, "its ids are not those of the items beside it", False)
            if not check_vectors_finite(stored):
                yield Problem(ref.path, "it holds NaN or infinite values", False)
        if space.head is not None:
            yield from _check_head(snapshot, name, space.head)


def _check_head(snapshot: Snapshot, space: str, ref: FileRef) -> Iterator[Problem]:
    """Check that a head is one, and the one that made its space."""
    try:
        head_of(snapshot.root, snapshot.manifest, space)
    except CollectionError as error:
        yield Problem(ref.path, str(error), False)


def _older_versions(root: Path, newest: Manifest) -> Iterator[Problem]:
    """Check that the versions before the newest can be read, and that their files are there: rollbacks need them."""
    done = {ref.path for ref in newest.files()}
    for number in numbers(root):
        path = layout.version_file(number)
        if number >= newest.version or not os.path.lexists(root / path):  # it may be collected at any time
            continue
        try:
            listed = reading.read_version(root, number).files()
        except CollectionError as error:
            if os.path.lexists(root / path):
                yield Problem(path, f"{error}; no rollback to version {number}", False)
            continue
        for ref in listed:
            if ref.path in done or _is_derived(ref):  # a rollback builds what is derived again
                continue
            done.add(ref.path)
            try:
                verified.check_hash(root, ref)
            except CollectionError as error:
                if os.path.lexists(root / path):
                    yield Problem(path, f"{error}; no rollback to version {number}", False)
