"""Answers that leave: as files in a folder, or as a table."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from engine.cli.output import say
from engine.storage.names import shown
from engine.storage.regular import write_new
from indexers.errors import InvalidInput, PictureError

if TYPE_CHECKING:
    from pyarrow import Table

    from engine.collection.originals import Originals
    from engine.collection.snapshot import Item
    from engine.query.answers import Answers

LONGEST = 255
"""Bytes that the name of a file may have."""

TABLES = (".csv", ".parquet")


def put_files(answers: Sequence[Answers], folder: Path, originals: Originals, *, link: bool) -> bool:
    """Copy the pictures that were found into a folder, or link to them, called by rank; none that is there is replaced.

    Args:
        answers: in query order.
        folder: made if it is not there.
        originals: the pictures that may be read.
        link: make symbolic links.

    Returns:
        whether all answers are there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    put, left = 0, list[str]()
    for name, item in _named(answers):
        try:
            _put(item, folder / name, originals, link=link)
            put += 1
        except (OSError, PictureError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            left.append(f"{shown(item.uri)}: {'not linked' if link else 'not copied'}: {reason}")
    say(f"{'linked' if link else 'copied'} {put} of {put + len(left)} answers to {folder}")
    for one in left:
        say(one)
    return not left


def _named(answers: Sequence[Answers]) -> Iterator[tuple[str, Item]]:
    """Yield what each answer is called in the folder: by its rank, and of several queries by that of its query."""
    width = max((len(str(len(one))) for one in answers), default=1)
    for number, one in enumerate(answers, start=1):
        before = f"{number:0{len(str(len(answers)))}d}-" if len(answers) > 1 else ""
        for rank, item in enumerate(one.items, start=1):
            name = f"{before}{rank:0{width}d}-{Path(item.uri).name}"
            stem, suffix = Path(name).stem, Path(name).suffix
            while len(os.fsencode(stem + suffix)) > LONGEST:
                stem = stem[:-1]
            yield stem + suffix, item


def _put(item: Item, place: Path, originals: Originals, *, link: bool) -> None:
    if not item.width:
        raise PictureError("it is a vector, and no file")
    data, found = originals.found(item)  # of a link too: only what may be read is linked to, where it was read
    if not link:
        write_new(place, data)
        return
    if not Path(os.fsdecode(found)).is_file():
        raise PictureError("it lies in a file with others, and can only be copied")
    place.symlink_to(os.fsdecode(found))


def write_table(answers: Sequence[Answers], path: Path) -> None:
    """Write answers as a table, CSV or Parquet by the name of the file; of several queries one below the other.

    Raises:
        InvalidInput: the name ends otherwise.
    """
    from engine.query.tables import answers_table

    check_table(path)
    whole = answers_table(answers, queries=True)
    if path.suffix.lower() == ".parquet":
        import pyarrow.parquet as pq

        pq.write_table(whole, path)
    else:
        import pyarrow.csv as pacsv

        pacsv.write_csv(_flat(whole), path)
    say(f"wrote {path}")


def check_table(path: Path) -> None:
    """Refuse a name that says no kind of table, or that no file can have.

    Raises:
        InvalidInput: it ends in something else, or lies in no folder.
    """
    if not path.absolute().parent.is_dir():
        raise InvalidInput(f"{path}: there is no folder {path.absolute().parent}")
    if path.suffix.lower() not in TABLES:
        raise InvalidInput(f"{path}: answers are written to a file that ends in {' or '.join(TABLES)}")


def _flat(table: Table) -> Table:
    """Return a table with lists, structs and the like as texts of JSON: CSV has no others."""
    import json

    import pyarrow as pa

    from engine.collection.cells import as_json

    for at, (name, column) in enumerate(zip(table.column_names, table.columns, strict=True)):
        if pa.types.is_nested(column.type) or pa.types.is_binary(column.type):
            written = [None if value is None else as_json(value) for value in column.to_pylist()]
            said = [one if one is None or isinstance(one, str) else json.dumps(one) for one in written]
            table = table.set_column(at, name, pa.array(said, pa.string()))
    return table
