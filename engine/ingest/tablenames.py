"""Names of files as tables have them: which row is a file's.

A table may come from another system: with backslashes, with letters and their accents taken apart (NFD) or put together
(NFC), with absolute paths, or with paths from the folder it lies in.
"""

from __future__ import annotations

import os
import posixpath
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from engine.storage.names import path_bytes


def relative_name(name: str) -> str:
    """Return a name without the `./` in front of it."""
    while name.startswith("./"):
        name = name[2:].lstrip("/")
    return name


def plain_name(name: str) -> str:
    """Return what a name is compared by where it is not the same letter by letter: NFC, slashes, no detours."""
    text = posixpath.normpath(unicodedata.normalize("NFC", name).replace("\\", "/"))
    return "/" + text.lstrip("/") if text.startswith("/") else text


@dataclass(frozen=True)
class NamesInTable:
    """The names in one table, looked up by those of files.

    Attributes:
        exact: as they are written, but for `./`.
        folder: the one that the table lies in, absolute.
    """

    exact: Mapping[str, Any]
    folder: str

    @cached_property
    def _there(self) -> dict[tuple[str, str], bool]:
        """Which names are those of files in a folder, as far as that was looked for."""
        return {}

    @cached_property
    def _plain(self) -> dict[str, str | None]:
        """The names by their `plain_name`; None where several rows are called the same in that way."""
        found: dict[str, str | None] = {}
        for name in self.exact:
            short = plain_name(name)
            found[short] = None if short in found else name
        return found

    @cached_property
    def _placed(self) -> dict[str, str | None]:
        """Those that are paths, by where they lead to from the table's folder."""
        paths = {name: short for short, name in self._plain.items() if name is not None and "/" in short.lstrip("/")}
        return {plain_name(posixpath.join(self.folder, short)): name for name, short in paths.items()}

    def row_of(self, path: str, folder: str) -> str | None:
        """Return the name of a file's row; None where it has none.

        A name counts that is the file's path in its source, then one that is so but for how it is written, then the
        absolute path, then the path from the table's folder, and last the file's name without its folders, unless
        a file of that name lies in the source's own folder: then the row is that one's.

        Args:
            path: the text of the file's path in its source.
            folder: the text of that source's folder; "" where it is not known.
        """
        return next((name for name in self._tried(path, folder) if name is not None), None)

    def _tried(self, path: str, folder: str) -> Iterator[str | None]:
        # The table has the file's own name, `path` the text of it: they differ where a per cent sign is escaped.
        names = [path, _written(path)]
        yield from (name for name in names if name in self.exact)
        yield from (self._plain.get(plain_name(name)) for name in names)
        if folder:
            whole = [posixpath.join(one, name) for one, name in zip((folder, _written(folder)), names, strict=True)]
            yield from (table.get(plain_name(name)) for table in (self._plain, self._placed) for name in whole)
        last = [posixpath.basename(name) for name in names]
        bare = [name for name in last if name in self.exact]
        bare += [name for one in last if (name := self._plain.get(plain_name(one))) is not None]
        yield from (name for name in bare if not self._is_anothers(name, folder))

    def _is_anothers(self, name: str, folder: str) -> bool:
        """Whether a file of a name lies in the source's own folder: then a row of that name is that file's."""
        if (known := self._there.get((folder, name))) is None:
            there = os.path.join(path_bytes(folder), os.fsencode(name))
            known = self._there[(folder, name)] = bool(folder) and "\0" not in name and os.path.lexists(there)
        return known


def _written(text: str) -> str:
    return path_bytes(text).decode("utf-8", "surrogateescape")
