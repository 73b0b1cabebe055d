"""What an evaluation takes from a collection: live rows alone, removed ones are neither asked nor answered."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from engine.collection import cells, spaces
from engine.collection.shards import CAPTION, META
from engine.collection.snapshot import Snapshot
from engine.evaluation.graded import Qrels
from engine.evaluation.representations import Representation
from engine.planning.queries import QuerySet
from indexers.errors import InvalidInput, did_you_mean
from indexers.vectors import FloatArray, IdArray, normalize


def live_vectors(snapshot: Snapshot, space: str, rows: IdArray) -> FloatArray:
    """Return the stored vectors of some rows of a space, unit float32 [len(rows), D].

    Raises:
        InvalidInput: the collection has no such space.
    """
    known = snapshot.manifest.spaces
    if space not in known:
        raise InvalidInput(
            f"{snapshot.root} has no space {space!r}; it has {', '.join(sorted(known)) or 'none'}"
            f"{did_you_mean(space, known)}"
        )
    out = np.empty((len(rows), known[space].dim), np.float32)
    start = done = 0
    for shard in snapshot.vectors(space):
        here = rows[done : np.searchsorted(rows, start + len(shard))] - start
        out[done : done + len(here)] = normalize(shard[here], name=f"vectors of space {space}") if len(here) else 0
        start, done = start + len(shard), done + len(here)
    return out


def column(snapshot: Snapshot, name: str, rows: IdArray) -> list[Any]:
    """Return a column of the user's, or the captions, for some rows; None where there is nothing.

    Raises:
        InvalidInput: no item has that column.
    """
    stored = CAPTION if name == CAPTION else f"{META}{name}"
    values: list[Any] = []
    for table in snapshot.item_tables(["id", stored]):  # with the id: Arrow counts no rows where there is no column
        there = stored in table.column_names
        values += [_label(one) for one in cells.cells(table.column(stored))] if there else [None] * table.num_rows
    found = [values[row] for row in rows]
    if name != CAPTION and all(value is None for value in found):
        known = sorted({one.removeprefix(META) for table in snapshot.item_tables() for one in _own(table.column_names)})
        raise InvalidInput(
            f"{snapshot.root} has no column {name!r}; it has {', '.join([CAPTION, *known])}. "
            f"Columns come with the items, from a --table{did_you_mean(name, [CAPTION, *known])}"
        )
    return found


def _label(cell: cells.Cell) -> Any:
    """Return a value that can be compared with others: of a list or a struct the text."""
    value = cells.value_of(cell)
    return cells.as_text(cell) if isinstance(value, list | dict) else value


def _own(names: Sequence[str]) -> list[str]:
    return [name for name in names if name.startswith(META)]


def captions(snapshot: Snapshot, rows: IdArray) -> tuple[list[str], IdArray]:
    """Return the distinct captions, and for each row the number of its own, int64; −1 where it has none."""
    given = [(text or "").strip() for text in column(snapshot, CAPTION, rows)]
    distinct = sorted({text for text in given if text})
    number = {text: at for at, text in enumerate(distinct)}
    return distinct, np.array([number.get(text, -1) for text in given], dtype=np.int64)


def documents(snapshot: Snapshot, rows: IdArray, qrels: Qrels) -> tuple[list[str], int]:
    """Return what judgements call each row, and how many judged documents are not in the collection.

    Args:
        snapshot: the version.
        rows: the rows that are searched.
        qrels: the judgements. Their documents are items' paths as a search prints them, paths in their source, or
            ids: whichever most of them are.

    Raises:
        InvalidInput: none of them is an item, or two items have the same name.
    """
    judged = {document for each in qrels.values() for document in each}
    best: list[str] = []
    joined = 0
    for names in _names(snapshot, rows):
        found = len(judged & set(names))
        if found > joined:
            best, joined = names, found
    if not joined:
        raise InvalidInput(
            f"no judged document is in {snapshot.root}: expected items' paths as a search prints them, or ids; found "
            f"{min(judged)!r}, …"
        )
    if len(set(best)) < len(best):
        raise InvalidInput(f"two items of {snapshot.root} have the same path in their sources: judge them by their ids")
    return best, len(judged) - joined


def _names(snapshot: Snapshot, rows: IdArray) -> Iterator[list[str]]:
    uris: list[str] = []
    paths: list[str] = []
    ids: list[str] = []
    folders = {source.name: source.folder for source in snapshot.manifest.sources}
    for table in snapshot.item_tables(["id", "source", "path"]):
        parts = (table.column(name).to_pylist() for name in ("id", "source", "path"))
        for number, source, path in zip(*parts, strict=True):
            folder = folders.get(source)
            uris.append(path if folder is None else posixpath.join(folder, path))
            paths.append(path)
            ids.append(str(number))
    for names in (uris, paths, ids):
        yield [names[row] for row in rows]


def stored_space(
    snapshot: Snapshot, space: str, rows: IdArray, queries: Sequence[QuerySet], name: str
) -> Representation:
    """Return the vectors of another space of the collection as a representation.

    Args:
        snapshot: the version.
        space: its name.
        rows: the rows that are searched.
        queries: sets in the main space; items are taken from the space itself, texts go through its heads.
        name: what to call it.

    Raises:
        InvalidInput: there is no such space, or texts are asked of one that follows from no encoder's.
    """
    base = live_vectors(snapshot, space, rows)
    sets = []
    for one in queries:
        if one.own is not None:
            sets.append(replace(one, xq=np.ascontiguousarray(base[one.own])))
        elif snapshot.manifest.is_encoded(space):
            sets.append(replace(one, xq=spaces.map_queries(snapshot.root, snapshot.manifest, space, one.xq)))
        else:
            raise InvalidInput(
                f"space {space!r} of {snapshot.root} has nothing that texts go through; leave it out, or the texts"
            )
    return Representation(name, base, tuple(sets))
