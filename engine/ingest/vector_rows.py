"""The rows of vector files, and the vectors that they have for further spaces beside them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Sequence
from dataclasses import replace
from typing import Self

import numpy as np
import pyarrow as pa

from engine.ingest.formats.rows import Rows
from engine.ingest.unit import in_space
from engine.ingest.vector_files import VectorFile
from indexers.errors import SourceError
from indexers.vectors import FloatArray


def rows_of_file(
    file: VectorFile, texts: tuple[str | None, ...], *, without: Sequence[str] = ()
) -> Generator[Rows, None, None]:
    """Read a file's rows, with what the folders it lies in say of them as columns."""
    for rows in file.format.read(file.vectors, file.choice(), texts):
        columns = rows.columns.drop_columns([name for name in without if name in rows.columns.column_names])
        for name, value in file.partition:
            if name not in columns.column_names:
                kind = pa.string() if isinstance(value, str) else pa.int64()
                columns = columns.append_column(name, pa.array([value] * rows.count, kind))
        yield replace(rows, columns=columns)


def lengths_in(files: Sequence[VectorFile]) -> Counter[int]:
    """Count how many of the first rows that have any vectors have each dimension."""
    for file in files:
        for rows in rows_of_file(file, ()):
            if rows.lengths:
                return rows.lengths
    raise SourceError(f"{files[0].vectors} holds no vectors{_in_column(files[0])}")


def _in_column(file: VectorFile) -> str:
    return "" if file.wanted is None else f" in {file.wanted!r}"


def laid_out(rows: Rows, dim: int, file: VectorFile) -> tuple[FloatArray, dict[int, str]]:
    """Return the vectors of some rows, float32 [n, D], and what is wrong by row.

    Raises:
        SourceError: they cannot but have another dimension.
    """
    if rows.fixed and (other := [length for length in rows.lengths if length != dim]):
        raise SourceError(
            f"{file.vectors} holds vectors of {other[0]} dimensions{_in_column(file)} beside others of {dim}"
        )
    return rows.laid_out(dim)


class SpaceVectors:
    """The vectors that a file has for a further space, so many at a time as there are rows for the main one."""

    def __init__(self, file: VectorFile, space: str, dim: int) -> None:
        self.file, self.space = file, space
        self.columns = file.choice().columns
        self._dim = dim
        self._rows = rows_of_file(file, ())
        self._left: FloatArray = np.empty((0, dim), np.float32)
        self._wrong: dict[int, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._rows.close()

    def take(self, count: int) -> tuple[FloatArray, dict[int, str]]:
        """Return the next vectors, float32 [count, D], and what is wrong with those that are none.

        Raises:
            SourceError: there are fewer.
        """
        while len(self._left) < count:
            rows = next(self._rows, None)
            if rows is None:
                raise SourceError(f"{self.file.vectors} has fewer rows for space {self.space} than for the main one")
            more, wrong = laid_out(rows, self._dim, self.file)
            self._wrong |= {len(self._left) + row: in_space(self.space, why) for row, why in wrong.items()}
            self._left = more if not len(self._left) else np.concatenate([self._left, more])
        taken, self._left = self._left[:count], self._left[count:]
        wrong = {row: why for row, why in self._wrong.items() if row < count}
        self._wrong = {row - count: why for row, why in self._wrong.items() if row >= count}
        return taken, wrong

    def check_end(self) -> None:
        """Refuse vectors that are left.

        Raises:
            SourceError: there are some.
        """
        if len(self._left) or any(rows.count for rows in self._rows):
            raise SourceError(f"{self.file.vectors} has more rows for space {self.space} than for the main one")
