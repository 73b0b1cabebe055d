"""What autofaiss would choose: IVF-PQ where memory is short, then refined, and by its default memory."""

from __future__ import annotations

from importlib.metadata import version

import faiss
from autofaiss.external.optimize import get_optimal_index_keys_v2

from scripts.bench.rivals.base import Build
from scripts.bench.rivals.faiss_factory import Faiss, lines

REFINE = ",RFlat"
SHARES = (16, 4)  # memory allowed: the bytes of the vectors by this


class Autofaiss(Faiss):
    """The string is the one that autofaiss chooses; searching is tuned like any other.

    FAISS makes an index of it: the function of autofaiss 2.18 that does so, around faults of an older FAISS, calls
    `OPQMatrix(d, M=…)`, which FAISS 1.15 refuses.
    """

    version = f"{version('autofaiss')} (faiss {faiss.__version__})"

    def grid(self, rows: int, dim: int) -> list[Build]:
        """See `Adapter.grid`."""
        keys = []
        for share in SHARES:
            key = get_optimal_index_keys_v2(rows, dim, f"{max(1, 4 * rows * dim // share // 1024)}KB")[:1]
            keys += [one + REFINE for one in key if "PQ" in one]
        keys += get_optimal_index_keys_v2(rows, dim, "16G")[:1]
        return [Build({"factory": key}, lines(key)) for key in dict.fromkeys(keys)]


def make(variant: str) -> Autofaiss:
    """Return the adapter; it has no variants."""
    return Autofaiss(variant)
