"""What the arguments of `index` and `add` are: folders, pictures, tables of pictures, or vectors."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from engine.collection import reading
from engine.collection.absent import near_path
from engine.collection.manifest import Manifest, Source
from engine.collection.named import FILE, JOINED, Named
from engine.ingest.containers import ContainerListing, Containers, is_container, is_of_containers, other_columns
from engine.ingest.entries import Listing, VectorListing
from engine.ingest.folders import Folder, PictureTable, SingleFiles, Vanished, innermost
from engine.ingest.joined import TableOptions, Tables, own_columns, table_path, with_tables
from engine.ingest.tables import SUFFIXES, JoinedTables, LabelTable
from engine.ingest.vector_files import VectorFile, vector_files
from engine.ingest.vectors import VectorFiles
from engine.ingest.wanted import WantedOptions, with_wanted
from engine.storage.names import file_text, path_bytes, path_text, text_path
from indexers.errors import SourceError

Moved = Callable[[Source, Path], bool]
Place = tuple[Source, Path, Path | None]
"""A source, its folder or container, and the part of it that was named, if not all."""

FOLDERS = ("folder", "containers")
"""Kinds of sources that are folders: of pictures, or of files that hold them."""

AS_IT_WAS = WantedOptions()


@dataclass(frozen=True)
class Sources:
    """The listings of a run, and the tables joined to them.

    Attributes:
        listings: the sources; one that a table is missing from may be left out.
        tables: what was opened, and what could not be.
        whole: tables joined to all files of a source, so that a row without a file has none.
    """

    listings: list[Listing]
    tables: Tables
    whole: list[LabelTable]

    @property
    def labels(self) -> LabelTable | None:
        """The table that was named for this run, where it is joined to files."""
        return self.tables.given

    @property
    def vectors(self) -> list[VectorListing]:
        """Those that hold vectors."""
        return [one for one in self.listings if isinstance(one, VectorListing)]

    @property
    def named(self) -> list[Named]:
        """What the user named that has pictures: sources, and of those that were named one by one only themselves.

        The tables that were read are among it: whoever moved a source has moved those in it too.
        """
        given = self.tables.options.table
        found = [Named(JOINED, table.location) for table in self.tables.opened]
        found += [] if given is None else [Named(JOINED, file_text(given))]
        for one in self.listings:
            if isinstance(one, SingleFiles):
                found += [Named(FILE, path_text(file)) for file in one.files]
            elif isinstance(one, Folder | ContainerListing):
                # Of a part only that: the collection, which may be anybody's, says where the source lies.
                found.append(Named(one.source.kind, one.location))
            elif not isinstance(one, VectorListing):
                found.append(Named(one.source.kind, one.source.location))
        return found

    @property
    def passed_over(self) -> Iterator[str]:
        """Tell of files with pictures in them that lie beside pictures, once the sources were listed."""
        for one in self.listings:
            found = one.containers.passed_over if isinstance(one, Folder) and one.containers is not None else []
            if found:
                more = f" and {len(found) - 1} more" if len(found) > 1 else ""
                yield (
                    f"{one.source.location} holds pictures, so those in {found[0]}{more} are passed over; "
                    "name such a file to have them read"
                )

    @property
    def only_vectors(self) -> bool:
        """Whether nothing has to be encoded."""
        return len(self.vectors) == len(self.listings)


def never(source: Source, path: Path) -> bool:
    """Take no source for one that was moved."""
    return False


def open_sources(
    paths: Sequence[Path],
    options: TableOptions,
    manifest: Manifest | None,
    *,
    moved: Moved = never,
    believed: frozenset[Named] = frozenset(),
    wanted: WantedOptions = AS_IT_WAS,
) -> Sources:
    """Recognise each source and give it its name in the collection.

    Args:
        paths: what the user named.
        options: a table of captions; it is joined beside those that a source remembers.
        manifest: the collection's newest version, whose sources keep their names; None if new.
        moved: says whether a source that is gone from its location is the one at a path (`moves.is_moved`).
        believed: what was named on this machine before.
        wanted: what of folders is passed over from now on.

    Raises:
        SourceError: one does not exist or is not something that can be indexed.
    """
    known = list(manifest.sources) if manifest else []
    tables = Tables(options, believed)
    listings: list[Listing] = []
    singles, folders, containers = list[Path](), list[Path](), list[Path]()
    whole: list[LabelTable] = []
    takes_table = False
    for path in _distinct(paths):
        if _is_vectors(path, known, options):
            # Folders of parts have tables of their own.
            source = _known_with_tables(_named(path, "vectors", known, moved), known, options, joins=path.is_file())
            takes_table |= path.is_file()
            listings += _vectors(path, source, tables)
        elif path.is_dir():
            folders.append(path)
        elif _is_one_of_pictures(path, known, tables):
            containers.append(path)
        elif path.suffix.lower() in SUFFIXES:
            source = _known_with_tables(_named(path, "table", known, moved), known, options, joins=False)
            listings.append(PictureTable(source, path, tables.open(own_columns(source))))
        elif path.is_file():
            singles.append(path)
        else:
            raise SourceError(f"{path} is neither a folder nor a file")
    for source, path, part in _places(folders, containers, known, moved):
        joined = _known_with_wanted(_known_with_tables(source, known, options, joins=True), known, wanted, path, part)
        if not path.exists():
            listings.append(Vanished(joined))
            continue
        labels = tables.by_name(joined, whole=part is None)
        whole += labels.tables if labels and part is None else []
        listings.append(_pictures(joined, path, part, labels, known))
    listings += _single_files(singles, known, tables)
    found = Sources(listings, tables, whole)
    takes_table |= bool(folders or containers)
    _check_used(found, options, takes_table=takes_table, wants=wanted != AS_IT_WAS and not folders)
    return found


def _check_used(sources: Sources, options: TableOptions, *, takes_table: bool, wants: bool) -> None:
    """Refuse options that are of no use with any of the sources.

    Raises:
        SourceError: there is such.
    """
    for column in (options.vectors, *options.spaces.values()):
        if column is not None and not sources.vectors:
            raise SourceError(f"{column!r} names a column of vectors, and no source with such was named")
    if options.table is not None and not takes_table:
        raise SourceError(f"{options.table} describes a folder of pictures or a file of vectors, and none was named")
    if wants:
        raise SourceError("what is excluded, included or of another size lies in a folder of pictures; none was named")


def _known_with_tables(source: Source, known: list[Source], options: TableOptions, *, joins: bool) -> Source:
    """Return a source with its tables, and note it in `known`."""
    # By its name: of two parts of a source the first may have given it tables.
    at = [one.name for one in known].index(source.name)
    known[at] = with_tables(known[at], options, joins=joins)
    return known[at]


def _known_with_wanted(
    source: Source, known: list[Source], wanted: WantedOptions, path: Path, part: Path | None
) -> Source:
    """Return a source, of which perhaps only a part was named, with what is wanted of it, and note it in `known`.

    Of a container nothing is asked: what is wanted is said of files in folders.
    """
    if (path if part is None else part).is_file():
        return source
    inside = "" if part is None else path_text(os.path.relpath(os.fsencode(part), os.fsencode(path)))
    at = known.index(source)
    known[at] = with_wanted(source, wanted, part=inside)
    return known[at]


def _pictures(
    source: Source, path: Path, part: Path | None, labels: JoinedTables | None, known: list[Source]
) -> Folder | ContainerListing:
    """Return the listing of a folder, of a container, or of a part of a folder, which may be a container."""
    own, named = own_columns(source), path if part is None else part
    if not named.is_dir():
        below = "" if part is None else path_text(os.path.relpath(os.fsencode(part), os.fsencode(path)))
        return ContainerListing(source, named, labels, own, below=below)
    others = [one for one in known if one.name != source.name]
    folders, files = (
        [text_path(one.location) for one in others if one.kind in kinds] for kinds in (FOLDERS, ("container",))
    )
    reads = source.kind == "containers"
    containers = Containers(source, reads=reads, labels=labels, own=own, others=files)
    return Folder(source, path, labels, part=part, others=folders, containers=containers)


def _is_vectors(path: Path, known: list[Source], options: TableOptions) -> bool:
    """Whether a path is a source of vectors; a folder of pictures stays one, whatever is left in it."""
    here = [one for one in known if one.location == file_text(path)]
    if _is_known_container(path, here):
        return False
    if path.is_dir() and any(one.kind == "folder" for one in here):
        return False
    wanted = options.vectors or next((own_columns(one).vectors for one in here if one.kind == "vectors"), None)
    return vector_files(path, (), wanted) is not None


def _is_one_of_pictures(path: Path, known: list[Source], tables: Tables) -> bool:
    """Whether a file holds pictures; of a new one it is noted what of it is not read."""
    if _is_known_container(path, known):
        return True
    found = is_container(path)
    tables.notes += [note for note in (other_columns(path),) if note is not None] if found else []
    return found


def _is_known_container(path: Path, known: list[Source]) -> bool:
    """Whether a file is a source of pictures already; then it stays one, whatever is in it now."""
    return any(one.kind == "container" and one.location == file_text(path) for one in known) and path.is_file()


def _vectors(path: Path, source: Source, tables: Tables) -> Iterator[Listing]:
    """Yield the listing of a source of vectors, unless a table is missing from beside it."""
    beside = tables.by_row(source)
    own = own_columns(source)
    files = None if beside is None else vector_files(path, [table_path(table) for table in beside], own.vectors)
    if beside is not None and files is not None:
        first = beside[0] if beside else own
        names, captions = first.name_column or own.name_column, first.caption_column or own.caption_column
        keyed = first.keyed if first.name_column is not None else own.keyed
        others = {space: _files_of(path, space, column) for space, column in own.spaces}
        listing = VectorFiles(source, files, others=others, name_column=names, caption=captions, keyed=keyed)
        tables.took(listing.taken)
        if unread := listing.unread:
            tables.notes.append(f"{source.name}: left out, as no column can hold it: {', '.join(unread)}")
        yield listing


def _files_of(path: Path, space: str, column: str) -> list[VectorFile]:
    """Return the files that hold the vectors of a further space.

    Raises:
        SourceError: there are none.
    """
    found = vector_files(path, (), column)
    if found is None:
        raise SourceError(f"{path} has no vectors {column!r} for space {space}")
    return found


def _distinct(paths: Sequence[Path]) -> list[Path]:
    """Return the paths that exist, each once however often it was named.

    Raises:
        SourceError: one does not exist, or is a collection.
    """
    for path in paths:
        if not path.exists():
            near = near_path(path)
            raise SourceError(f"{path} does not exist" + ("" if near is None else f"; did you mean {near}?"))
        if path.is_dir() and reading.exists(path):
            raise SourceError(f"{path} is a collection, not a source: name the pictures or vectors it was made from")
    return list({os.path.abspath(path): path for path in paths}.values())


def _places(folders: Sequence[Path], containers: Sequence[Path], known: list[Source], moved: Moved) -> Iterator[Place]:
    """Yield the sources that folders and containers are, or lie in, or that lie in them; see `_folders`."""
    found = list(_folders(folders, known, moved))
    whole = {source.name for source, _, part in found if part is None}
    for path in containers:
        real = os.path.realpath(os.fsencode(path))
        roots = {os.path.realpath(path_bytes(one.location)): one for one in known if one.kind == "containers"}
        holder = innermost(roots, real)
        source = _named(path, "container", known, moved) if holder is None else roots[holder]
        if source.name not in whole:
            root = text_path(source.location)
            part = None if holder is None else root / os.fsdecode(os.path.relpath(real, holder))
            found.append((source, root, part))
    yield from found


def _folders(paths: Sequence[Path], known: list[Source], moved: Moved) -> Iterator[Place]:
    """Yield the sources that folders are, or lie in, or that lie in them: no file is to be in two of them.

    Yields:
        a source, its folder, which may be gone where it lay in another, and the part of it that was named, if not all.
    """
    named: dict[str, Place] = {}
    parts: list[Place] = []
    for path in paths:
        real = os.path.realpath(os.fsencode(path))
        mine = [one for one in known if one.kind in (*FOLDERS, "container")]
        roots = {os.path.realpath(path_bytes(one.location)): one for one in mine}
        holder = innermost(roots, real)
        source = roots[holder] if holder is not None else _named(path, _kind_of(path, known), known, moved)
        root = text_path(source.location)
        if holder is not None and holder != real:
            parts.append((source, root, root / os.fsdecode(os.path.relpath(real, holder))))
            continue
        named[source.name] = source, root, None
        for below, other in roots.items():
            if below != real and innermost([real], below) is not None:
                named.setdefault(other.name, (other, text_path(other.location), None))
    yield from named.values()
    yield from (one for one in parts if one[0].name not in named)


def _kind_of(folder: Path, known: list[Source]) -> str:
    """Say whether a new source is a folder of pictures, or one of containers: there are no pictures beside those."""
    others = [text_path(one.location) for one in known if one.kind in FOLDERS]
    return "containers" if is_of_containers(folder, others) else "folder"


def _single_files(paths: Sequence[Path], known: list[Source], tables: Tables) -> Iterator[Listing]:
    """Put pictures that were named by themselves into the source they lie in, or one for their folder."""
    grouped: dict[Path, list[Path]] = {}
    roots = [path_bytes(one.location) for one in known if one.kind in FOLDERS]
    for path in paths:
        holder = innermost(roots, os.fsencode(os.path.abspath(path)))
        root = path.absolute().parent if holder is None else Path(os.fsdecode(holder))
        grouped.setdefault(root, []).append(path)
    for root, files in grouped.items():
        source = _named(root, "folder", known, never)
        yield SingleFiles(source, root, files, tables.by_name(source, whole=False))


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
            known[known.index(old)] = found = _relocated(old, location)
            return found
    number = 2
    unique = wanted
    while unique in taken:
        unique = f"{wanted}-{number}"
        number += 1
    source = Source(unique, kind, location)
    known.append(source)
    return source


def _relocated(source: Source, location: str) -> Source:
    """Return a source at another place; tables that lay in it, or were it, have moved with it."""

    def moved(path: str) -> str:
        inside = path == source.location or path.startswith(source.location.rstrip("/") + "/")
        return location + path[len(source.location) :] if inside else path

    tables = tuple(replace(table, location=moved(table.location)) for table in source.tables)
    return replace(source, location=location, tables=tables)
