"""Which files a source of vectors consists of: one file, or the parts in a folder, in their order."""

from __future__ import annotations

import os
import re
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import unquote

from engine.ingest.formats.columns import Choice, suggested
from engine.ingest.formats.registry import Format, format_of
from engine.ingest.tables import NAME_COLUMNS, read_table
from engine.storage.regular import check_regular
from indexers.errors import SourceError

CLIP_FOLDERS = ("img_emb", "text_emb")
METADATA = "metadata"
# Lists, notes and marks that savers leave beside the parts.
BESIDE = frozenset({".json", ".txt", ".md", ".yaml", ".yml", ".log", ".html", ".crc"})
ARRAYS = frozenset({".npy", ".npz", ".safetensors", ".faiss", ".index"})
PARTITION = re.compile(r"([^=]+)=(.*)", re.DOTALL)
NO_VALUE = "__HIVE_DEFAULT_PARTITION__"
MOST_FILES, MOST_DEPTH = 100_000, 16

Value = int | str | None
Found = tuple[tuple[tuple[str, str], ...], Path]
"""Names and values of the partition that a file lies in, and the file."""


@dataclass(frozen=True)
class VectorFile:
    """One file of vectors with the table of columns that lies row for row beside it, if any, and further ones.

    Attributes:
        vectors: the file.
        columns: the table.
        more: the further ones.
        wanted: what was asked for as its column of vectors.
        name: what its rows are called by, where that is not its own name: its path in the source.
        partition: columns that the folders it lies in say.
    """

    vectors: Path
    columns: Path | None
    more: tuple[Path, ...] = ()
    wanted: str | None = None
    name: str = ""
    partition: tuple[tuple[str, Value], ...] = ()

    @property
    def called(self) -> str:
        """What its rows are called by."""
        return self.name or self.vectors.name

    @property
    def format(self) -> Format:
        """How it is read.

        Raises:
            SourceError: no vectors come in such files.
        """
        found = format_of(self.vectors)
        if found is None:
            raise SourceError(f"{self.vectors}: no vectors come in files that end in {self.vectors.suffix!r}")
        return found

    def choice(self) -> Choice:
        """Say where it has its vectors.

        Raises:
            SourceError: it cannot be read, or has none.
        """
        status_of(self.vectors)
        if self.wanted is not None and not self.format.named:
            raise SourceError(f"{self.vectors} holds one array without a name: nothing in it is called {self.wanted!r}")
        found = self.format.choose(self.vectors, self.wanted)
        if found is None:
            raise SourceError(f"{self.vectors} has no column of vectors")
        return found


def status_of(path: Path) -> os.stat_result:
    """Look at a file before a library opens it by its name.

    Raises:
        SourceError: it is missing, or no regular file.
    """
    try:
        return check_regular(path)
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}") from error


def vector_files(path: Path, tables: Sequence[Path] = (), wanted: str | None = None) -> list[VectorFile] | None:
    """Return the vector files a source consists of, or None when it is not made of vectors.

    Args:
        path: a file, or a folder of parts.
        tables: those that lie row for row beside a single file.
        wanted: the column, array or folder of vectors that was asked for; a pattern for numbered columns.

    Raises:
        SourceError: it is neither vectors nor anything else that can be meant.
    """
    if path.is_dir():
        return _clip_retrieval(path, wanted) or _parts(path, wanted)
    found = format_of(path)
    if found is None:
        return None
    if found.schema is not None:
        status_of(path)
        if found.choose(path, wanted) is None:
            _check_not_wide(path, found)
            return None
    return [VectorFile(path, next(iter(tables), None), tuple(tables[1:]), wanted)]


def _check_not_wide(path: Path, found: Format) -> None:
    """Refuse a table without vectors whose columns may be their numbers, and that lists no pictures.

    Raises:
        SourceError: it is such.
    """
    try:
        schema = found.schema(path) if found.schema else None
    except SourceError:
        return  # whoever reads it as a table of pictures will see
    pattern = None if schema is None else suggested(schema)
    if schema is None or pattern is None:
        return
    key = next((name for name in NAME_COLUMNS if name in schema.names), None)
    if key is not None:
        named = next(iter(read_table(path).column(key).to_pylist()), None)
        if named is not None and os.path.lexists(path.parent / str(named)):
            return
    raise SourceError(
        f"{path} has no column of vectors, but {pattern[1]} numbered columns of numbers: take them with "
        f"--vectors '{pattern[0]}'"
    )


def natural(text: str) -> tuple[list[tuple[int, int, str]], str]:
    """Return what sorts texts by the numbers in them: 2 before 10."""
    parts = re.split(r"([0-9]{1,4000})", text)
    return [(1, 0, part) if at % 2 == 0 else (0, int(part), "") for at, part in enumerate(parts)], text


# -- clip-retrieval ------------------------------------------------------------------------


def _clip_retrieval(folder: Path, wanted: str | None) -> list[VectorFile] | None:
    """Find `img_emb/img_emb_N.npy` with `metadata/metadata_N.parquet` (clip-retrieval 2.x), or those of `text_emb`."""
    kind = wanted if wanted in CLIP_FOLDERS else CLIP_FOLDERS[0]
    found = sorted((folder / kind).glob(f"{kind}_*.npy"), key=_number)
    if not found:
        return None
    if wanted not in (None, kind):
        raise SourceError(f"{folder} has no folder {wanted!r} of vectors; it has {' and '.join(_clip_folders(folder))}")
    files = []
    for vectors in found:
        columns = folder / METADATA / f"metadata_{_number(vectors)}.parquet"
        files.append(VectorFile(vectors, columns if columns.exists() else None))
    return files


def left_folders(file: VectorFile) -> tuple[str, ...]:
    """Return the folders of clip-retrieval's vectors that are there beside the one that a file lies in."""
    taken = file.vectors.parent
    if taken.name not in CLIP_FOLDERS or file.name:
        return ()
    return tuple(name for name in _clip_folders(taken.parent) if name != taken.name)


def _clip_folders(folder: Path) -> list[str]:
    return [name for name in CLIP_FOLDERS if (folder / name).is_dir()]


def _number(path: Path) -> int:
    match = re.fullmatch(r"(?:img|text)_emb_([0-9]+)", path.stem)
    if match is None:
        raise SourceError(f"{path}: expected {path.parent.name}_NUMBER.npy")
    return int(match[1])


# -- parts ---------------------------------------------------------------------------------


def _parts(folder: Path, wanted: str | None) -> list[VectorFile] | None:
    """Find the parts in a folder that holds nothing else, by the numbers in their names; None for any other folder.

    Raises:
        SourceError: they are of several kinds, or the tables beside them are not as many.
    """
    found: list[Found] = []
    with closing(_files(folder, (), 0)) as files:
        for one in files:
            if one is None or len(found) >= MOST_FILES:
                return None
            found.append(one)
    if not found:
        return None
    found.sort(key=lambda one: natural(one[1].relative_to(folder).as_posix()))
    paths = [path for _, path in found]
    kinds = sorted({path.suffix.lower() for path in paths})
    first = VectorFile(paths[0], None, wanted=wanted)
    if len(kinds) > 1:
        if ARRAYS.isdisjoint(kinds):
            return None
        raise SourceError(
            f"{folder} holds vectors in files of several kinds ({', '.join(kinds)}): name one file, keep one kind in a "
            f"folder, and tables that lie beside the parts in a folder of their own, {METADATA}"
        )
    if first.format.schema is not None:
        status_of(first.vectors)
        if first.format.choose(first.vectors, wanted) is None:
            return None
    tables = _beside_parts(folder, paths)
    typed = _typed([partition for partition, _ in found])
    return [
        replace(first, vectors=path, columns=table, name=path.relative_to(folder).as_posix(), partition=partition)
        for path, table, partition in zip(paths, tables, typed, strict=True)
    ]


def _files(folder: Path, partition: tuple[tuple[str, str], ...], depth: int) -> Generator[Found | None, None, None]:
    """Yield the parts in a folder with what the folders they lie in say; None where something else is there."""
    try:
        with os.scandir(folder) as found:
            for one in found:
                path = folder / one.name
                if one.name.startswith((".", "_")) or (one.name == METADATA and not depth and one.is_dir()):
                    continue
                if one.is_dir():
                    match = PARTITION.fullmatch(one.name) if depth < MOST_DEPTH else None
                    below = None if match is None else (*partition, (match[1], match[2]))
                    yield from (None,) if below is None else _files(path, below, depth + 1)
                elif format_of(path) is not None:
                    yield partition, path
                elif path.suffix.lower() not in BESIDE:
                    yield None
    except OSError:
        yield None  # whoever lists it as a folder of pictures will see


def _beside_parts(folder: Path, parts: Sequence[Path]) -> Sequence[Path | None]:
    """Return the tables that lie beside the parts: in a folder `metadata` in theirs, or beside it if that has as many.

    Raises:
        SourceError: there are others in theirs than there are parts.
    """
    for place in (folder / METADATA, folder.absolute().parent / METADATA):
        tables = sorted(place.glob("*.parquet"), key=lambda path: natural(path.name))
        if len(tables) == len(parts):
            return tables
        if tables and (place.parent == folder or "emb" in folder.name):
            raise SourceError(f"{place} holds {len(tables)} tables for {len(parts)} parts: each needs its own")
    return [None] * len(parts)


def _typed(partitions: Sequence[tuple[tuple[str, str], ...]]) -> list[tuple[tuple[str, Value], ...]]:
    """Return what folders say as whole numbers, where all that is said of a column are, or else as texts."""
    said: dict[str, list[str]] = {}
    for partition in partitions:
        for name, text in partition:
            said.setdefault(unquote(name), []).append(text)
    whole = {name for name, texts in said.items() if all(_is_int(text) for text in texts if text != NO_VALUE)}

    def value(name: str, text: str) -> Value:
        if text == NO_VALUE:
            return None
        return int(text) if name in whole else unquote(text)

    return [tuple((unquote(name), value(unquote(name), text)) for name, text in one) for one in partitions]


def _is_int(text: str) -> bool:
    return re.fullmatch("-?[0-9]{1,10}", text) is not None and -(1 << 31) <= int(text) < 1 << 31
