"""Points of Qdrant, one a line, as its REST API takes them in `points`."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pyarrow as pa

from engine.query.export.writing import Writing
from indexers.vectors import FloatArray


def write_qdrant(writing: Writing) -> None:
    """Write points as JSON Lines: `id` the item's, `vector`, and the columns as `payload`."""
    with writing.place.open("w", encoding="utf-8", newline="\n") as file:
        for block in writing.blocks():
            for vector, payload in zip(_numbers(block.vectors), block.records(), strict=True):
                number = payload.pop("id")
                file.write(f'{{"id": {number}, "vector": [{vector}], "payload": {json.dumps(payload)}}}\n')


def _numbers(vectors: FloatArray) -> Iterator[str]:
    """Yield the numbers of each vector with commas between, as few digits as tell each float32 from the next."""
    texts = pa.array(vectors.reshape(-1)).cast(pa.string()).to_pylist()
    dim = vectors.shape[1]
    for start in range(0, len(texts), dim):
        yield ",".join(texts[start : start + dim])
