"""Points of Qdrant, one a line, as its REST API takes them in `points`."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from engine.query.export.writing import Writing
from indexers.vectors import FloatArray

NUMBERS_AT_ONCE = 1 << 20
"""Each takes some twenty bytes as a text of Arrow's."""


def write_qdrant(writing: Writing) -> None:
    """Write points as JSON Lines: `id` the item's, `vector`, and the columns as `payload`."""
    most = max(1, NUMBERS_AT_ONCE // writing.items.dim)
    with writing.place.open("w", encoding="utf-8", newline="\n") as file:
        for block in writing.blocks(most=most):
            for vector, payload in zip(_numbers(block.vectors), block.records(), strict=True):
                number = payload.pop("id")
                file.write(f'{{"id": {number}, "vector": [{vector}], "payload": {json.dumps(payload)}}}\n')


def _numbers(vectors: FloatArray) -> Iterator[str]:
    """Yield the numbers of each vector with commas between, as few digits as tell each float32 from the next."""
    texts = pa.array(vectors.reshape(-1)).cast(pa.string())
    starts = pa.array(np.arange(len(vectors) + 1, dtype=np.int32) * vectors.shape[1])
    yield from pc.binary_join(pa.ListArray.from_arrays(starts, texts), ",").to_pylist()
