"""Writing: content-addressed files that appear whole, and versions that appear one at a time.

Nothing is ever modified in place. A file is written under a temporary name, flushed to the
disk and renamed to its hash; a version is linked to the next free number, which fails if
another writer was first. What a change may then do depends on what it changes:

==================  =============================================================
change              after losing a race
==================  =============================================================
append of a shard   retried on the newer version: appends commute, unless the
                    newer version already holds an item of the same source and path
tombstones          merged, if the shards they point into are still there
labels              retried, if the shards they are written into are still there:
                    tombstones in those follow them, and so does the lookup
ids, sources        retried: reservations add up
derived files       retried, if the shards they cover still come first
a space more        retried, if its base still begins with the shards it was made
                    from: what was added since goes through its head then
a space less        retried
compaction          refused: it replaces the shards others point into
==================  =============================================================
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version as package_version
from pathlib import Path

from engine.collection.manifest import Manifest
from engine.collection.reading import MOST_VERSION_BYTES, check, exists, read_version
from engine.storage import disk, layout, place
from indexers.errors import CollectionError, CommitConflict, NotACollection

ATTEMPTS = 100
Change = Callable[[Manifest], Manifest]


def current_version(root: Path) -> int:
    """Return the highest version number of a collection.

    Raises:
        NotACollection: there is no version in it.
        CollectionError: its folder of versions is a link.
    """
    there = place.newest(root)
    if there is None:
        from engine.collection.absent import absence

        raise NotACollection(absence(root))
    disk.require_own_versions(root)
    return there


def check_free(root: Path) -> None:
    """Refuse to make a collection where something else is.

    What a killed `create` left behind holds no version, and is taken over.

    Raises:
        CollectionError: the path is a file, or a directory that already holds something.
    """
    if not root.exists():
        return
    if not root.is_dir():
        raise CollectionError(f"{root} is a file; choose another name for the collection")
    names = set(os.listdir(root))
    if names - {layout.VERSIONS, layout.SPACES} or exists(root):
        raise CollectionError(f"{root} already exists and is not empty; choose another name, such as {root}.nest")


def create(root: Path, make: Callable[[], Manifest]) -> Manifest:
    """Make a new collection with version 1.

    Args:
        root: its directory.
        make: writes what version 1 lists, and returns it; called once the directory is there.

    Raises:
        CollectionError: the directory already holds something.
        CommitConflict: another process made it in the meantime.
    """
    check_free(root)
    disk.make_folder(root / layout.VERSIONS)
    try:
        with disk.writing(root):
            return _publish(root, replace(make(), version=0), "create")
    except FileExistsError as error:
        raise CommitConflict(f"another process made {root} in the meantime; run this again") from error


def commit(root: Path, change: Change, *, operation: str) -> Manifest:
    """Apply a change to the newest version and publish the result as the next.

    Args:
        root: the collection.
        change: from the newest version to the wanted one. It may be called several times, and
            raises CommitConflict when what it depended on has gone.
        operation: one word for the history.

    Returns:
        the version that was published; the newest one unchanged when there was nothing to do.

    Raises:
        CommitConflict: the change does not apply any more, or the race was lost too often.
    """
    current_version(root)  # a root that is no collection is named before anything is locked
    with disk.writing(root):
        for _ in range(ATTEMPTS):
            base = read_version(root, current_version(root))
            wanted = change(base)
            if wanted == base:
                return base
            with contextlib.suppress(FileExistsError):
                return _publish(root, wanted, operation)
    raise CommitConflict(f"{root}: another writer was faster {ATTEMPTS} times; try again")


def supersede(root: Path, number: int, wanted: Manifest) -> Manifest:
    """Publish a version after one that cannot be read, so that it is not the newest any more.

    Args:
        root: the collection.
        number: of the newest version.
        wanted: what is published, from an older one.

    Raises:
        CommitConflict: another process published something meanwhile.
    """
    try:
        with disk.writing(root):
            return _publish(root, replace(wanted, version=number), "repair")
    except FileExistsError as error:
        raise CommitConflict(f"another process changed {root} while it was repaired; run this again") from error


@cache
def _own_version() -> str:
    return package_version("nestvec")


def _publish(root: Path, wanted: Manifest, operation: str) -> Manifest:
    """Write a manifest as the version after its own.

    Raises:
        FileExistsError: another writer took that number.
    """
    final = replace(
        wanted,
        version=wanted.version + 1,
        created=datetime.now(UTC).isoformat(timespec="milliseconds"),
        operation=operation,
        writer=f"nestvec {_own_version()}",
    )
    # What could not be read again must not be published: it would be the newest, and lock everybody out.
    check(final, layout.version_file(final.version))
    text = final.to_json()
    if len(text) > MOST_VERSION_BYTES:
        raise CollectionError(f"{root} has too many shards for a version: run nestvec compact {root}, then this again")
    place.publish(root, final.version, text)
    return final
