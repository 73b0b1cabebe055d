"""What the arguments of `index` and `add` are: folders, pictures, tables of pictures, or vectors."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from engine.collection import commit
from engine.collection.absent import near_path
from engine.collection.manifest import Manifest, Source
from engine.collection.named import FILE, Named
from engine.collection.paths import file_text, path_bytes, path_text
from engine.ingest.entries import Listing, VectorListing
from engine.ingest.folders import Folder, PictureTable, SingleFiles
from engine.ingest.tables import SUFFIXES, LabelTable
from engine.ingest.vectors import VectorFiles, vector_files
from indexers import checks
from indexers.errors import SourceError

Moved = Callable[[Source, Path], bool]


@dataclass(frozen=True)
class TableOptions:
    """A table of captions and columns, and what its columns are called.

    Attributes:
        table: joined to files by name, or lying row for row beside vectors; None for none.
        name_column: the column that names files.
        caption_column: the column of captions.
    """

    table: Path | None = None
    name_column: str | None = None
    caption_column: str | None = None

    def __post_init__(self) -> None:
        checks.settle(
            self,
            table=checks.optional("table", self.table, checks.path),
            name_column=checks.optional("name_column", self.name_column, checks.text),
            caption_column=checks.optional("caption_column", self.caption_column, checks.text),
        )

    def open(self) -> LabelTable | None:
        """Read the table, if there is one, to be joined by name."""
        if self.table is None:
            return None
        return LabelTable.open(self.table, name_column=self.name_column, caption_column=self.caption_column)


@dataclass(frozen=True)
class Sources:
    """The listings of a run, and the table joined to them."""

    listings: list[Listing]
    labels: LabelTable | None

    @property
    def vectors(self) -> list[VectorListing]:
        """Those that hold vectors."""
        return [one for one in self.listings if isinstance(one, VectorListing)]

    @property
    def named(self) -> list[Named]:
        """What the user named that has pictures: sources, and of those that were named one by one only themselves."""
        found: list[Named] = []
        for one in self.listings:
            if isinstance(one, SingleFiles):
                found += [Named(FILE, path_text(file)) for file in one.files]
            elif not isinstance(one, VectorListing):
                found.append(Named(one.source.kind, one.source.location))
        return found

    @property
    def only_vectors(self) -> bool:
        """Whether nothing has to be encoded."""
        return len(self.vectors) == len(self.listings)


def never(source: Source, path: Path) -> bool:
    """Take no source for one that was moved."""
    return False


def open_sources(
    paths: Sequence[Path], options: TableOptions, manifest: Manifest | None, *, moved: Moved = never
) -> Sources:
    """Recognise each source and give it its name in the collection.

    Args:
        paths: what the user named.
        options: a table of captions.
        manifest: the collection's newest version, whose sources keep their names; None if new.
        moved: says whether a source that is gone from its location is the one at a path (`moves.is_moved`).

    Raises:
        SourceError: one does not exist or is not something that can be indexed.
    """
    known = list(manifest.sources) if manifest else []
    labels: LabelTable | None = None
    listings: list[Listing] = []
    singles: list[Path] = []
    for path in _distinct(paths):
        files = vector_files(path, options.table)
        if files is not None:
            source = _named(path, "vectors", known, moved)
            listings.append(VectorFiles(source, files, name_column=options.name_column, caption=options.caption_column))
        elif path.is_dir():
            labels = labels or options.open()
            listings.append(Folder(_named(path, "folder", known, moved), path, labels))
        elif path.suffix.lower() in SUFFIXES:
            rows = LabelTable.open(path, name_column=options.name_column, caption_column=options.caption_column)
            listings.append(PictureTable(_named(path, "table", known, moved), path, rows))
        elif path.is_file():
            singles.append(path)
        else:
            raise SourceError(f"{path} is neither a folder nor a file")
    listings += _single_files(singles, known)
    if options.table is not None and labels is None and not any(isinstance(one, VectorFiles) for one in listings):
        raise SourceError(f"{options.table} describes a folder of pictures or a file of vectors, and none was named")
    return Sources(listings, labels)


def _distinct(paths: Sequence[Path]) -> list[Path]:
    """Return the paths that exist, each once however often it was named.

    Raises:
        SourceError: one does not exist, or is a collection.
    """
    for path in paths:
        if not path.exists():
            near = near_path(path)
            raise SourceError(f"{path} does not exist" + ("" if near is None else f"; did you mean {near}?"))
        if path.is_dir() and commit.exists(path):
            raise SourceError(f"{path} is a collection, not a source: name the pictures or vectors it was made from")
    return list({os.path.abspath(path): path for path in paths}.values())


def _single_files(paths: Sequence[Path], known: list[Source]) -> list[Listing]:
    """Put pictures that were named by themselves into the source they lie in, or one for their folder."""
    grouped: dict[Path, list[Path]] = {}
    for path in paths:
        location = file_text(path)
        above = [one for one in known if one.kind == "folder" and location.startswith(one.location.rstrip("/") + "/")]
        innermost = max(above, key=lambda one: len(one.location), default=None)
        root = path.absolute().parent if innermost is None else Path(os.fsdecode(path_bytes(innermost.location)))
        grouped.setdefault(root, []).append(path)
    return [SingleFiles(_named(root, "folder", known, never), root, files) for root, files in grouped.items()]


def _named(path: Path, kind: str, known: list[Source], moved: Moved) -> Source:
    """Return the source at a location under the name it has, or a new one, and note it in `known`.

    A source that was moved keeps its name, so that its items stay the same items.
    """
    location = file_text(path)
    for source in known:
        if source.location == location and source.kind == kind:
            return source
    wanted = posixpath.basename(location) or "root"
    taken = {source.name: source for source in known}
    gone = [one for one in known if one.kind == kind and not os.path.lexists(path_bytes(one.location))]
    for old in sorted(gone, key=lambda one: one.name != wanted):
        if moved(old, path):
            known[known.index(old)] = replace(old, location=location)
            return replace(old, location=location)
    number = 2
    unique = wanted
    while unique in taken:
        unique = f"{wanted}-{number}"
        number += 1
    source = Source(unique, kind, location)
    known.append(source)
    return source
