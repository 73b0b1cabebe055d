"""Where no collection is: what is there instead, and what was probably meant."""

from __future__ import annotations

import contextlib
import os
import posixpath
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from engine.collection.manifest import Manifest, Source
from engine.collection.reading import exists, read_version
from engine.storage import layout, place
from engine.storage.kinds import PICTURE_SUFFIXES
from engine.storage.names import command, file_text, text_path
from indexers.errors import CollectionError, nearest

MOST_SEEN = 2000
MOST_READ = 20


def absence(root: Path) -> str:
    """Return why there is no collection at a path, in words, and what to do.

    Args:
        root: a path without a version in it.
    """
    said = f"{root} is not a nestvec collection"
    if (holder := _holder(root)) is not None:
        return f"{said}: it is a part of one; did you mean {holder}?"
    if not os.path.lexists(root):
        meant = "" if (near := near_path(root)) is None else f"; did you mean {near}? Or"
        return f"{said}: it does not exist{meant or ';'} {_make('PHOTOS', root)}"
    if not root.is_dir():
        kind = "a picture" if is_picture_name(root.name) else "a file"
        return f"{said}: it is {kind}; a collection is a folder that nestvec index makes"
    return f"{said}: {_of_folder(root)}"


def is_away(source: Source) -> bool:
    """Whether a source that was a place on this machine is not there."""
    return posixpath.isabs(source.location) and not text_path(source.location).exists()


def is_picture_name(name: str) -> bool:
    """Whether a file is called like a picture."""
    return Path(name).suffix.lower() in PICTURE_SUFFIXES


def _of_folder(root: Path) -> str:
    """Say what a folder holds that is no collection."""
    new = root.with_name(f"{root.name}.nest") if root.name else Path(f"{Path(os.path.abspath(root)).name}.nest")
    if (made := next(_made_from(root), None)) is not None:
        return f"it is a folder of pictures; did you mean {made}, which was made from it?"
    if (inside := next(_collections(root), None)) is not None:
        return f"it is a folder that holds one; did you mean {inside}?"
    if any(is_picture_name(path.name) for path in islice(root.rglob("*"), MOST_SEEN)):
        return f"it is a folder of pictures; {_make(root, new)}"
    if os.listdir(root):
        return f"it is a folder without one (no {layout.VERSIONS} in it); {_make('PHOTOS', new)}"
    return f"it is an empty folder; {_make('PHOTOS', root)}"


def _make(source: str | Path, root: Path) -> str:
    return f"make one with: {command('index', source, root)}"


def _collections(folder: Path) -> Iterator[Path]:
    """Yield the first collections in a folder, by name."""
    with contextlib.suppress(OSError):
        names = sorted(islice(os.listdir(folder), MOST_SEEN))
        yield from (folder / name for name in names if _is_collection(folder / name))


def _is_collection(path: Path) -> bool:
    with contextlib.suppress(OSError):
        return exists(path)
    return False


def _made_from(pictures: Path) -> Iterator[Path]:
    """Yield the collections beside a folder or in it that have it, or a folder it lies in, for a source."""
    location = file_text(pictures)
    beside = pictures.parent if pictures.name else Path(os.path.abspath(pictures)).parent
    for root in islice((*_collections(beside), *_collections(pictures)), MOST_READ):
        for source in _newest(root).sources:
            folder = source.folder
            if folder is not None and posixpath.commonpath([folder, location]) == folder.rstrip("/"):
                yield root


def _newest(root: Path) -> Manifest:
    try:
        return read_version(root, place.versions(root)[-1])
    except (CollectionError, IndexError):
        return Manifest()


def _holder(path: Path) -> Path | None:
    """Return the collection that a path leads into."""
    return next((parent for parent in islice(path.parents, 4) if parent.name and _is_collection(parent)), None)


def near_path(path: Path) -> Path | None:
    """Return what has a name like that of a path that does not exist: a collection, or else anything."""
    try:
        names = sorted(islice(os.listdir(path.parent), MOST_SEEN))
    except (OSError, ValueError):
        return None
    made = [name for name in names if _is_collection(path.parent / name)]
    found = nearest(path.name, made) or nearest(path.name, names)
    return None if found is None else path.parent / found
