"""Vectors handed over in memory, as a listing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from blake3 import blake3

from engine.collection.manifest import Source
from engine.ingest.entries import Entry
from indexers.errors import InvalidInput, InvalidVectors


class ArrayListing:
    """Rows of an array [n, D] with names, captions and columns; see `Collection.add_vectors`."""

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
        self.source = Source(source, "vectors", source)
        self.ignored = 0
        self.vectors = np.asarray(vectors)
        if self.vectors.ndim != 2 or self.vectors.shape[1] != dim or self.vectors.dtype.kind not in "fiu":
            raise InvalidVectors(
                f"vectors: expected numbers of shape [n, {dim}], found {self.vectors.dtype} {list(self.vectors.shape)}"
            )
        for name, given in (("names", names), ("captions", captions), ("meta", meta)):
            if given is not None and len(given) != len(self.vectors):
                raise InvalidInput(f"{name}: expected one for each of {len(self.vectors)} vectors, found {len(given)}")
        self._names = names
        self._captions = captions
        self._meta = meta

    def entries(self) -> Iterator[Entry]:
        """Yield the rows; a row without a name is named by its content."""
        for number, vector in enumerate(self.vectors):
            row = np.asarray(vector, dtype=np.float32)
            name = self._names[number] if self._names else f"vector-{blake3(row.tobytes()).hexdigest(length=8)}"
            caption = self._captions[number] if self._captions else None
            yield Entry(
                self.source.name, name, caption=caption, meta=dict(self._meta[number]) if self._meta else {}, vector=row
            )
