"""What the arguments of `index` and `add` are: folders, pictures, tables of pictures, or vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.collection.manifest import Manifest, Source
from engine.collection.paths import file_text, path_bytes
from engine.ingest.entries import Listing
from engine.ingest.folders import Folder, PictureTable, SingleFiles
from engine.ingest.tables import SUFFIXES, LabelTable
from engine.ingest.vectors import VectorListing, vector_files
from indexers.errors import SourceError


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
    def vector_dim(self) -> int | None:
        """Dimension of the vectors among them, or None if there are none."""
        return next((one.dim() for one in self.listings if isinstance(one, VectorListing)), None)

    @property
    def only_vectors(self) -> bool:
        """Whether nothing has to be encoded."""
        return all(isinstance(one, VectorListing) for one in self.listings)


def open_sources(paths: Sequence[Path], options: TableOptions, manifest: Manifest | None) -> Sources:
    """Recognise each source and give it its name in the collection.

    Args:
        paths: what the user named.
        options: a table of captions.
        manifest: the collection's newest version, whose sources keep their names; None if new.

    Raises:
        SourceError: one does not exist or is not something that can be indexed.
    """
    known = list(manifest.sources) if manifest else []
    labels: LabelTable | None = None
    listings: list[Listing] = []
    pictures: dict[Path, list[Path]] = {}
    for path in paths:
        if not path.exists():
            raise SourceError(f"{path} does not exist")
        files = vector_files(path, options.table)
        if files is not None:
            source = _named(path, "vectors", known)
            listings.append(
                VectorListing(source, files, name_column=options.name_column, caption=options.caption_column)
            )
        elif path.is_dir():
            labels = labels or options.open()
            listings.append(Folder(_named(path, "folder", known), path, labels))
        elif path.suffix.lower() in SUFFIXES:
            rows = LabelTable.open(path, name_column=options.name_column, caption_column=options.caption_column)
            listings.append(PictureTable(_named(path.absolute().parent, "folder", known, path.stem), path, rows))
        else:
            pictures.setdefault(path.absolute().parent, []).append(path)
    listings += [SingleFiles(_named(folder, "folder", known), files) for folder, files in pictures.items()]
    return Sources(listings, labels)


def _named(path: Path, kind: str, known: list[Source], name: str | None = None) -> Source:
    """Return the source at a location under the name it has, or a new one, and note it in `known`.

    A source whose old location is gone and whose name is the same has been moved: it keeps its name, so
    that its items stay the same items.
    """
    location = file_text(path)
    for source in known:
        if source.location == location and source.kind == kind and (name is None or source.name == name):
            return source
    wanted = name or path.absolute().name or "root"
    taken = {source.name: source for source in known}
    old = taken.get(wanted)
    if old is not None and old.kind == kind and not Path(_os_path(old.location)).exists():
        moved = Source(old.name, kind, location)
        known[known.index(old)] = moved
        return moved
    number = 2
    unique = wanted
    while unique in taken:
        unique = f"{wanted}-{number}"
        number += 1
    source = Source(unique, kind, location)
    known.append(source)
    return source


def _os_path(location: str) -> str:
    return path_bytes(location).decode("utf-8", "surrogateescape")
