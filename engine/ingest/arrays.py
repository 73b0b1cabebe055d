"""Vectors handed over in memory, as a listing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

from engine.collection.cells import Cell, cell
from engine.collection.manifest import Source
from engine.ingest.entries import Block, VectorListing
from engine.ingest.unit import beside
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
        dims: Mapping[str, int],
        spaces: Mapping[str, Any] | None = None,
    ) -> None:
        self.source = Source(checks.text("source", source), "vectors", source)
        self._dims = dict(dims)
        main, *others = dims
        given = checks.mapping("spaces", {} if spaces is None else spaces)
        if set(given) != set(others):
            raise InvalidInput(
                f"spaces: expected vectors for {_listed(others)}, as items of this collection have one in each; found "
                f"them for {_listed(given)}"
            )
        self.vectors = _matrix("vectors", vectors, dims[main])
        self._others = [_matrix(f"spaces[{name!r}]", given[name], dims[name]) for name in others]
        for name, matrix in zip(others, self._others, strict=True):
            if len(matrix) != len(self.vectors):
                raise InvalidInput(
                    f"spaces[{name!r}]: expected one for each of {len(self.vectors)} vectors, found {len(matrix)}"
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
    def dims(self) -> dict[str, int]:
        """Dimension of its vectors by space."""
        return self._dims

    def blocks(self) -> Iterator[Block]:
        """Yield the rows; a row without a name is named by its content."""
        for start in range(0, len(self.vectors), ROWS_AT_ONCE):
            part = slice(start, start + ROWS_AT_ONCE)
            rows = beside([as_float32(one[part]) for one in (self.vectors, *self._others)])
            yield Block(
                self.source.name,
                self._names[part] if self._names is not None else [_name(row) for row in rows],
                rows,
                None if self._captions is None else self._captions[part],
                None if self._meta is None else self._meta[part],
            )


def _matrix(name: str, given: Any, dim: int) -> NDArray[Any]:
    """Return vectors as a matrix [n, dim].

    Raises:
        InvalidVectors: they are none.
    """
    try:
        found = np.asarray(given)
    except ValueError as error:
        raise InvalidVectors(f"{name}: expected rows of one length: {error}") from error
    if found.ndim != 2 or found.shape[1] != dim or not is_real(found.dtype):
        raise InvalidVectors(f"{name}: expected numbers of shape [n, {dim}], found {found.dtype} {list(found.shape)}")
    return found


def _listed(names: Iterable[Any]) -> str:
    return ", ".join(map(repr, names)) or "none but the main one"


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
