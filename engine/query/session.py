"""A session of marks: a file that holds a question as JSON, its terms and its marks, which anybody may edit."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from engine.collection.snapshot import Snapshot
from engine.query.ask import Query
from engine.query.feedback import row_of
from engine.query.terms import Marks
from engine.storage import disk
from engine.storage.regular import read_regular, write_new
from indexers.errors import InvalidInput, ItemNotFound

MOST_BYTES = 16 << 20
SAID = {"version", "terms", "marks"}


def read_session(path: Path) -> Query:
    """Return the question of a session; one without terms and marks where there is no such file.

    Raises:
        InvalidInput: it is none, or asks for more than terms and marks.
    """
    try:
        given = json.loads(read_regular(path, most=MOST_BYTES))
    except FileNotFoundError:
        return Query()
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{path} is no session of marks, which is a file of JSON: {error}") from error
    try:
        found = Query.from_json(given)
    except InvalidInput as error:
        raise InvalidInput(f"{path} is no session of marks: {error}") from error
    if more := sorted(given.keys() - SAID):
        raise InvalidInput(f"{path} says {more[0]!r}: a session holds terms and marks, and options say the rest")
    return found


def write_session(path: Path, query: Query) -> None:
    """Write the terms and marks of a question: under another name first, so that the file is there whole or as it was.

    Raises:
        OSError: it cannot be written.
    """
    said = {name: value for name, value in query.to_json().items() if name in SAID}
    target = path.resolve()  # what a link leads to is replaced, and not the link
    partial = target.with_name(f".{target.name[:200]}.{os.getpid()}")
    partial.unlink(missing_ok=True)
    try:
        write_new(partial, f"{json.dumps(said, indent=1)}\n".encode())
        disk.sync(partial)
        disk.rename(partial, target)
    finally:
        partial.unlink(missing_ok=True)


def marked_also(query: Query, marks: Marks, snapshot: Snapshot) -> Query:
    """Return a question with more marks; of an item that was marked before the newest counts.

    Raises:
        ItemNotFound: one of the new ones is not in the version.
    """
    new = {row_of(snapshot, item) for item in (*marks.good, *marks.bad)}

    def others(items: tuple[str | int, ...]) -> list[str | int]:
        return [item for item in items if _row(snapshot, item) not in new]

    good, bad = [*others(query.marks.good), *marks.good], [*others(query.marks.bad), *marks.bad]
    return replace(query, marks=Marks(tuple(good), tuple(bad)))


def _row(snapshot: Snapshot, item: str | int) -> Any:
    try:
        return row_of(snapshot, item)
    except ItemNotFound:
        return None
