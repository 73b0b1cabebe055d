"""What lies in a container, with the captions and columns that lie beside each picture there.

In a tar or zip file that is what has the name of the picture but for what follows its first, or its last, dot, as
webdataset and img2dataset write it: a caption in `.txt` or `.caption`, columns in `.json`, a class in `.cls`. In a
Parquet file it is the rest of the row.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from engine.collection.cells import as_text, cell, cells
from engine.encoders.pictures import looks_like_picture
from engine.ingest.beside import MOST_CAPTION_BYTES, caption_of
from engine.ingest.entries import Entry
from engine.ingest.folders import NOT_WANTED
from engine.ingest.noted import HEAD
from engine.ingest.tables import CAPTION_COLUMNS, MOST_COLUMNS, Labels, check_names
from engine.storage.containers import Container, Inside, Member
from engine.storage.kinds import PICTURE_SUFFIXES
from engine.storage.names import path_text
from engine.storage.picture_rows import PictureRows
from engine.storage.regular import mtime_of
from indexers.errors import PictureError, SourceError, did_you_mean

CAPTIONS, COLUMNS, CLASS = (b".txt", b".caption"), b".json", b".cls"
TEXTS = (*CAPTIONS, COLUMNS, CLASS)
MOST_JSON = 1 << 20
MOST_CLASS, MOST_DIGITS = 256, 19
_SUFFIXES = tuple(suffix.encode() for suffix in PICTURE_SUFFIXES)


class _Listed:
    """What listing a container needs to know."""

    def __init__(self, container: Container, source: str, path: str, caption: str | None) -> None:
        self.container, self.source, self.path, self.caption = container, source, path, caption
        self.ignored = 0
        self._mtime_ns = mtime_of(container.status)

    def entry(
        self, member: Member, labels: Labels = (None, {}), *, problem: str | None = None, name: str = ""
    ) -> Entry:
        path = f"{self.path}/{name or path_text(member.name)}"
        return Entry(
            self.source,
            path,
            member.size,
            self._mtime_ns,
            *labels,
            location=self.container.path,
            inside=Inside(self.container, member),
            problem=problem or member.problem,
        )


class RowsInside(_Listed):
    """The rows of a Parquet file."""

    container: PictureRows

    def entries(self) -> Iterator[Entry]:
        """Yield its pictures, row by row."""
        rows = self.container
        shown = Path(os.fsdecode(rows.path))
        check_names(rows.said, shown)
        if self.caption is not None and self.caption not in rows.said:
            raise SourceError(f"{shown} has no column {self.caption!r} of texts{did_you_mean(self.caption, rows.said)}")
        caption = self.caption or next((name for name in CAPTION_COLUMNS if name in rows.said), None)
        names = [name for name in rows.said if name != caption]
        for members, table in rows.tables(rows.said):
            texts = [None] * len(members) if caption is None else [as_text(one) for one in cells(table.column(caption))]
            columns = [cells(table.column(name)) for name in names]
            for number, member in enumerate(members):
                said = {name: column[number] for name, column in zip(names, columns, strict=True)}
                yield self.entry(member, (texts[number], said))


class FilesInside(_Listed):
    """The members of a tar or zip file."""

    def __init__(self, container: Container, source: str, path: str, caption: str | None) -> None:
        super().__init__(container, source, path, caption)
        self._texts: dict[bytes, Member] = {}
        self._columns: set[str] = set()
        self._wrong: dict[bytes, str] = {}

    def entries(self) -> Iterator[Entry]:
        """Yield its pictures, in the order in which they lie there, and what is wrong with it."""
        found, repeated, problems, ending = self._members()
        for name, picture in found.items():
            yield self.entry(picture, self._labels(name))
        for number, member in enumerate(repeated, start=1):
            problem = "another member before it has the same name: that is read"
            yield self.entry(member, problem=problem, name=f"{path_text(member.name)}#{number}")
        for member in problems:
            yield self.entry(member)
        for name, problem in self._wrong.items():
            yield self.entry(self._texts[name], problem=problem)
        if ending is not None:
            raise ending

    def _members(self) -> tuple[dict[bytes, Member], list[Member], list[Member], OSError | None]:
        """Return pictures by name, those of a name that was there, what claims to be one, and why there are no more.

        Texts may come after their pictures, with anything between them.
        """
        found, repeated, problems = dict[bytes, Member](), list[Member](), list[Member]()
        try:
            for member in self.container.members():
                if _is_hidden(member.name):
                    continue
                if member.problem is None and member.name.lower().endswith(TEXTS):
                    self._texts.setdefault(member.name, member)
                elif not self._is_picture(member):
                    self.ignored += 1
                elif member.problem is not None:
                    problems.append(member)
                elif member.name in found:
                    repeated.append(member)
                else:
                    found[member.name] = member
        except OSError as error:
            return found, repeated, problems, error
        return found, repeated, problems, None

    def _is_picture(self, member: Member) -> bool:
        if member.name.lower().endswith(_SUFFIXES) or member.problem is not None:
            return member.name.lower().endswith(_SUFFIXES)
        try:
            return looks_like_picture(self.container.read(member, HEAD))
        except PictureError:
            return False

    # -- what lies beside a picture --------------------------------------------------------

    def _labels(self, name: bytes) -> Labels:
        caption, meta = self._from_json(name)
        for suffix in CAPTIONS:
            if said := caption_of(self._bytes(self._beside(name, suffix), MOST_CAPTION_BYTES)):
                caption = said
                break
        if said := self._read(self._beside(name, CLASS), MOST_CLASS).strip():
            meta["cls"] = int(said) if said.isascii() and said.isdigit() and len(said) < MOST_DIGITS else said
        return caption, meta

    def _read(self, text: Member | None, most: int) -> str:
        """Return what a text says; nothing where there is none, or it is damaged."""
        return self._bytes(text, most).decode("utf-8-sig", "replace")

    def _bytes(self, text: Member | None, most: int) -> bytes:
        if text is None:
            return b""
        try:
            return self.container.read(text, most)
        except PictureError as error:
            self._wrong[text.name] = str(error)
            return b""

    def _beside(self, name: bytes, suffix: bytes) -> Member | None:
        """Return what is called as a picture is, but for what follows the last dot of that, or the first."""
        folder, slash, last = name.rpartition(b"/")
        stems = (name.rpartition(b".")[0], folder + slash + last.partition(b".")[0])
        return next((self._texts[stem + suffix] for stem in stems if stem + suffix in self._texts), None)

    def _from_json(self, name: bytes) -> Labels:
        text = self._beside(name, COLUMNS)
        said = self._read(text, MOST_JSON + 1)
        if text is None or text.name in self._wrong:
            return None, {}
        try:
            row = _scalars(said)
        except ValueError as error:
            self._wrong[text.name] = str(error)
            return None, {}
        if len(self._columns | row.keys()) > MOST_COLUMNS:
            self._wrong[text.name] = f"with those before it there are more than {MOST_COLUMNS:,} columns"
            return None, {}
        self._columns |= row.keys()
        usual = (name for name in CAPTION_COLUMNS if isinstance(row.get(name), str))
        caption = next(usual, None) if self.caption is None else self.caption
        text = row.pop(caption, None) if caption is not None else None
        return (None if text is None else str(text)), {name: cell(value) for name, value in row.items()}


def _is_hidden(name: bytes) -> bool:
    """Whether a member lies where no program keeps what people mean by pictures, or has a hidden name."""
    parts = name.lower().split(b"/")
    return any(part in NOT_WANTED or (part.startswith(b".") and part not in (b".", b"..")) for part in parts)


def _scalars(data: str) -> dict[str, Any]:
    """Return what an object of JSON says in numbers, truths and texts.

    Raises:
        ValueError: it is none.
    """
    if len(data) > MOST_JSON:
        raise ValueError(f"of JSON at most {MOST_JSON:,} letters are read")
    try:
        found = json.loads(data)
    except RecursionError:
        raise ValueError("JSON that is nested too deeply") from None
    except ValueError as error:
        raise ValueError(f"is no JSON: {error}") from None
    if not isinstance(found, dict):
        raise ValueError("JSON that says nothing by name")
    return {str(cell(name)): value for name, value in found.items() if isinstance(value, str | bool | int | float)}
