"""Milvus Lite with the recipe its documents give for nested vectors ("Funnel Search with Matryoshka Embeddings").

The normalised head is indexed; its norm and the tail are stored beside it, come back with the candidates, and the
candidates are put in order by whole vectors outside the database.
"""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from pymilvus import DataType, MilvusClient

from scripts.bench.rivals.base import Build, Floats, Ids, Params, all_bytes, filled

FILE, COLLECTION = "milvus.db", "vectors"
INSERT = 2_000
MESSAGE = 1 << 27  # bytes of vectors an answer may hold: half of what its server can send
# Few: what comes back with each candidate makes a setting take the better part of a minute.
LIMITS = (25, 50, 100, 200, 400)
EFFORTS = (1, 2, 4)  # ef, in candidates


class Milvus:
    """A local database file, its server in this process."""

    version = f"{version('milvus-lite')} (pymilvus {version('pymilvus')})"
    can_map = False

    def __init__(self) -> None:
        self._client: MilvusClient | None = None
        self._head = 0
        self._params: Params = {}

    def grid(self, rows: int, dim: int) -> list[Build]:
        """See `Adapter.grid`."""
        line = [[{"ef": effort * limit, "limit": limit} for effort in EFFORTS] for limit in LIMITS]
        heads = dict.fromkeys(max(8, dim // part) for part in (4, 2, 6))
        return [Build({"head": head, "M": 16, "efConstruction": 200}, line) for head in heads]

    def build(self, xb: Floats, source: Path, folder: Path, params: Params, threads: int) -> None:
        """See `Adapter.build`."""
        head, dim = int(params["head"]), xb.shape[1]
        client = MilvusClient(str(folder / FILE))
        schema = MilvusClient.create_schema(auto_id=False)
        schema.add_field("id", DataType.INT64, is_primary=True)
        schema.add_field("head", DataType.FLOAT_VECTOR, dim=head)
        schema.add_field("norm", DataType.FLOAT)
        schema.add_field("tail", DataType.FLOAT_VECTOR, dim=dim - head)
        indexes = client.prepare_index_params()
        links = {"M": int(params["M"]), "efConstruction": int(params["efConstruction"])}
        indexes.add_index(field_name="head", index_type="HNSW", metric_type="COSINE", params=links)
        indexes.add_index(field_name="tail", index_type="FLAT", metric_type="IP")
        client.create_collection(COLLECTION, schema=schema, index_params=indexes)
        norms = np.linalg.norm(xb[:, :head], axis=1)
        for first in range(0, len(xb), INSERT):
            rows = range(first, min(first + INSERT, len(xb)))
            fields = [
                {"id": i, "head": xb[i, :head] / norms[i], "norm": float(norms[i]), "tail": xb[i, head:]} for i in rows
            ]
            client.insert(COLLECTION, fields)
        client.flush(COLLECTION)
        client.load_collection(COLLECTION)
        client.close()

    def load(self, folder: Path, params: Params, threads: int, mapped: bool) -> None:
        """See `Adapter.load`."""
        self._head = int(params["head"])
        self._client = MilvusClient(str(folder / FILE))
        self._client.load_collection(COLLECTION)

    def use(self, params: Params) -> None:
        """See `Adapter.use`."""
        self._params = params

    def search(self, xq: Floats, k: int) -> Ids:
        """See `Adapter.search`: the head finds, whole vectors decide."""
        limit = int(self._params["limit"])
        together = max(1, MESSAGE // (limit * 4 * xq.shape[1]))
        return np.concatenate([self._some(xq[i : i + together], k, limit) for i in range(0, len(xq), together)])

    def _some(self, xq: Floats, k: int, limit: int) -> Ids:
        assert self._client is not None
        heads = xq[:, : self._head]
        found = self._client.search(
            COLLECTION,
            data=list(heads / np.linalg.norm(heads, axis=1, keepdims=True)),
            anns_field="head",
            limit=limit,
            search_params={"metric_type": "COSINE", "params": {"ef": int(self._params["ef"])}},
            output_fields=["head", "norm", "tail"],
        )
        return filled([_ordered(hits, query, k) for hits, query in zip(found, xq, strict=True)], k)

    def used_bytes(self, folder: Path) -> int:
        """See `Adapter.used_bytes`."""
        return all_bytes(folder)


def _ordered(hits: Any, query: Floats, k: int) -> list[int]:
    """Join heads and tails and return the ids of the best k."""
    if not len(hits):
        return []
    fields = [hit["entity"] for hit in hits]
    heads = np.array([one["head"] for one in fields], np.float32) * np.array(
        [[one["norm"]] for one in fields], np.float32
    )
    whole = np.concatenate([heads, np.array([one["tail"] for one in fields], np.float32)], axis=1)
    ids = np.array([hit["id"] for hit in hits])
    best: list[int] = ids[np.argsort(-(whole @ query), kind="stable")[:k]].tolist()
    return best


def make(variant: str) -> Milvus:
    """Return the adapter; it has no variants."""
    return Milvus()
