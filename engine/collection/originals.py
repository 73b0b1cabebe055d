"""The pictures that items were made from: read only from below the place their source names.

What a collection says of its sources and items may be anybody's words: a path may be absolute, climb with `..`, or
lead through a link. So a path is followed to its end first, and the file is read only if that lies below the folder,
followed to its end as well.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from engine.collection.manifest import Source
from engine.collection.named import FILE, Named, named
from engine.collection.snapshot import Item
from engine.encoders.pictures import looks_like_picture
from engine.storage.containers import below, read_original
from engine.storage.kinds import MOST_FILE_BYTES
from engine.storage.names import file_text, path_bytes, path_text
from engine.storage.regular import read_regular
from indexers.errors import PictureError

PLACES = ("folder", "containers")
"""Kinds of sources of which a part may be named: whatever lies below a name."""


def read_below(folder: str, path: str) -> bytes:
    """Read a picture of at most 1 GiB below a folder: a file, or what lies in one that holds pictures.

    Args:
        folder: text of the folder (`paths.path_text`).
        path: text of the picture's path relative to it.

    Raises:
        PictureError: it is not below the folder; nothing is said of whether it exists. Or it is damaged.
        OSError: it cannot be read, is no regular file, or larger.
    """
    return read_original(below(path_bytes(folder), path_bytes(path)), looks_like_picture, own=True)


class Originals:
    """The pictures of a collection's items, as far as they may be shown to others than who has them.

    That are those below a source that the user of this machine named to `index` or `add`, pictures that were named by
    themselves, and those below folders that are confirmed now. A collection names sources as well, but anybody may
    have written what it says.

    Args:
        root: the collection.
        sources: of the version that the items are of.
        confirmed: folders whose pictures may be shown. What is not where it was is looked for in them too.

    Attributes:
        unnamed: folders of sources that nobody named or confirmed, of the pictures that were asked for.
    """

    def __init__(self, root: Path, sources: Iterable[Source], confirmed: Iterable[Path] = ()) -> None:
        self.unnamed: set[str] = set()
        self._sources = {source.name: source for source in sources}
        self._named = named(root)
        self._confirmed = [file_text(folder) for folder in confirmed]

    def read(self, item: Item) -> bytes:
        """Read the file an item was made from.

        Raises:
            PictureError: it is none that may be shown; the message holds no path of this machine.
            OSError: it may be, and cannot be read, or is no regular file.
        """
        return self.found(item)[0]

    def found(self, item: Item) -> tuple[bytes, bytes]:
        """Do as `read`, and return also where it was read: a file, or what lies in a container.

        Raises:
            PictureError, OSError: as for `read`.
        """
        source = self._sources.get(item.source)
        folder = None if source is None else source.folder
        if source is None or folder is None:
            raise PictureError("its source has no pictures")
        uri = path_text(os.fsencode(item.uri))
        if Named(FILE, uri) in self._named:
            return read_regular(item.uri, most=MOST_FILE_BYTES), os.fsencode(item.uri)
        # Looked for where it was, and where it may be now.
        confirmed = [(one, path) for one in self._confirmed for path in (uri, item.path)]
        if Named(source.kind, source.location) in self._named:
            return _first([_place(source, item.path), *confirmed])
        if parts := self._parts(uri):
            return _first([*parts, *confirmed])
        try:
            return _first(confirmed)
        except (PictureError, OSError):
            self.unnamed.add(folder)
            raise

    def _parts(self, uri: str) -> list[tuple[str, str]]:
        """Return the folders that were named and that a picture lies in by its name, with its path in each."""
        named = sorted(one.location for one in self._named if one.kind in PLACES)
        return [(one, uri[len(one.rstrip("/")) + 1 :]) for one in named if uri.startswith(one.rstrip("/") + "/")]


def _place(source: Source, path: str) -> tuple[str, str]:
    """Return where a picture of a source lies, and its path in that: of a container nothing beside it was named."""
    if source.kind == "container":
        return source.location, path.partition("/")[2]
    return source.folder or "", path


def _first(places: list[tuple[str, str]]) -> tuple[bytes, bytes]:
    """Read the first of some files that can be read; return also which it is."""
    problems: list[Exception] = []
    for folder, path in places:
        try:
            return read_below(folder, path), os.path.join(path_bytes(folder), path_bytes(path))
        except (PictureError, OSError) as error:
            problems.append(error)
    raise next(iter(problems), PictureError("nobody on this machine has named its source"))
