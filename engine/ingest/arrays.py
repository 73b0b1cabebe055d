"""Vectors handed over in memory, as a listing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, TypeVar

import numpy as np
from blake3 import blake3

from engine.collection.cells import Cell, cell
from engine.collection.manifest import Source
from engine.ingest.entries import Block, VectorListing
from indexers import checks
from indexers.errors import InvalidInput, InvalidVectors
from indexers.vectors import FloatArray, as_float32, is_real

ROWS_AT_ONCE = 4096
T = TypeVar("T")


class ArrayListing(VectorListing):
    """Rows of an array [n, D] with names, captions and columns; see `Collection.add_vectors`."""

    whole = False

    def __init__(
        self,
        source: str,
        vectors: Any,
        names: Sequence[str] | None,
        captions: Sequence[str | None] | None,
        meta: Sequence[dict[str, Any]] | None,
        *,
        dim: int,
    ) -> None:
        self.source = Source(checks.text("source", source), "vectors", source)
        self._dim = dim
        try:
            self.vectors = np.asarray(vectors)
        except ValueError as error:
            raise InvalidVectors(f"vectors: expected rows of one length: {error}") from error
        if self.vectors.ndim != 2 or self.vectors.shape[1] != dim or not is_real(self.vectors.dtype):
            raise InvalidVectors(
                f"vectors: expected numbers of shape [n, {dim}], found {self.vectors.dtype} {list(self.vectors.shape)}"
            )
        self._names = self._each("names", names, _text)
        self._captions = self._each("captions", captions, partial(checks.optional, check=_text))
        self._meta = self._each("meta", meta, _columns)

    def _each(self, name: str, given: Any, check: Callable[[str, Any], T]) -> list[T] | None:
        """Return one for each row, checked; None for none at all."""
        if given is None:
            return None
        found = checks.several(name, given, check)
        if len(found) != len(self.vectors):
            raise InvalidInput(f"{name}: expected one for each of {len(self.vectors)} vectors, found {len(found)}")
        return found

    @property
    def dim(self) -> int:
        """Dimension D of its vectors."""
        return self._dim

    def blocks(self) -> Iterator[Block]:
        """Yield the rows; a row without a name is named by its content."""
        for start in range(0, len(self.vectors), ROWS_AT_ONCE):
            part = slice(start, start + ROWS_AT_ONCE)
            rows = as_float32(self.vectors[part])
            yield Block(
                self.source.name,
                self._names[part] if self._names is not None else [_name(row) for row in rows],
                rows,
                None if self._captions is None else self._captions[part],
                None if self._meta is None else self._meta[part],
            )


def _name(row: FloatArray) -> str:
    return f"vector-{blake3(row.tobytes()).hexdigest(length=8)}"


def _text(name: str, value: Any) -> str:
    """Return a text that can be stored.

    Raises:
        InvalidInput: not a text, or half a surrogate pair in it.
    """
    if not isinstance(value, str):
        raise InvalidInput(f"{name}: expected texts, found {value!r}")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise InvalidInput(f"{name}: {value!r} is not valid Unicode: {error.reason}") from error
    return value


def _columns(name: str, row: Any) -> dict[str, Cell]:
    columns = checks.instance(name, row, dict)
    found = {_text(name, str(column)): cell(value) for column, value in columns.items()}
    return {name: value for name, value in found.items() if value is not None}
