"""Write some items of a version as others read them."""

from __future__ import annotations

from pathlib import Path

from engine.collection.originals import Originals
from engine.collection.snapshot import Snapshot
from engine.progress import Listener
from engine.query.export.options import Exported, ExportOptions
from engine.query.export.registry import FORMATS, Format
from engine.query.export.selection import Selection
from engine.query.export.writing import Writing
from engine.storage.names import path_name
from engine.storage.outside import appearing, lies_in
from indexers.errors import InvalidInput


def export(items: Selection, path: Path, to: str, options: ExportOptions, listener: Listener) -> Exported:
    """Write items to a file or a folder, which appears whole or not at all.

    Args:
        items: what is wanted.
        path: where; nothing may be there, but what `options` lets replace, or an empty folder for one.
        to: one of `FORMATS`.
        options: how.
        listener: hears how far it is.

    Raises:
        InvalidInput: something is there, an option is of another format, or pictures are wanted of vectors.
        DependencyMissing: what writes the format is not installed.
        DiskFull: it does not fit.
    """
    how, snapshot = FORMATS[to], items.snapshot
    _check(snapshot, path, to, how, options)
    originals = Originals(snapshot.root, snapshot.manifest.sources, map(Path, options.pictures_from))
    with (
        appearing(path, folder=how.folder, overwrite=options.overwrite) as place,
        listener.progress(f"exporting to {to}", len(items) or None) as advance,
    ):
        writing = Writing(items, place, options, originals, advance)
        how.write(writing)
    left, unnamed = tuple(writing.left_out), tuple(sorted(map(path_name, originals.unnamed)))
    return Exported(str(path), to, snapshot.manifest.version, len(items) - len(left), left, unnamed)


def _check(snapshot: Snapshot, path: Path, to: str, how: Format, options: ExportOptions) -> None:
    if lies_in(path, snapshot.root):
        raise InvalidInput(f"{path} lies in the collection {snapshot.root}, where nothing but its own files may be")
    if other := sorted(options.given - how.takes):
        for_whom = [name for name, one in FORMATS.items() if other[0] in one.takes]
        raise InvalidInput(f"{other[0]} says nothing to {to}: it is for {', '.join(for_whom)}")
    sources = snapshot.manifest.sources
    if how.pictures and sources and all(source.kind == "vectors" for source in sources):
        raise InvalidInput(
            f"{snapshot.root} holds vectors and no pictures, which {to} consists of; vectors go to "
            f"{', '.join(name for name, one in FORMATS.items() if not one.pictures)}"
        )
