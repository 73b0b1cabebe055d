"""Which systems there are, and where each one lives."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class System:
    """A system under test.

    Attributes:
        name: on the command line and in tables.
        environment: folder of scripts/bench/rivals/setup; None for the environment of nestvec.
        module: of the adapter in this package; it has a function `make(variant)`.
        variant: what is passed to it.
        funnel: whether it searches prefixes by a recipe around a database, and so has a table of its own.
    """

    name: str
    environment: str | None
    module: str
    variant: str = ""
    funnel: bool = False


SYSTEMS = {
    one.name: one
    for one in (
        System("nestvec", None, "nestvec_"),
        System("faiss-flat", "faiss", "faiss_factory", "flat"),
        System("faiss-hnsw", "faiss", "faiss_factory", "hnsw"),
        System("faiss-factory", "faiss", "faiss_factory", "reduced"),
        System("autofaiss", "autofaiss", "autofaiss_"),
        System("hnswlib", "hnswlib", "hnsw_lib"),
        System("usearch-f32", "usearch", "usearch_", "f32"),
        System("usearch-f16", "usearch", "usearch_", "f16"),
        System("usearch-i8", "usearch", "usearch_", "i8"),
        System("scann", "scann", "scann_"),
        System("lancedb", "lancedb", "lance"),
        System("milvus-lite", "milvus", "milvus", funnel=True),
    )
}
OURS = "nestvec"
