"""A collection that heads are applied to, and what must hold of it then."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from engine.api import Collection
from engine.heads.model import Head
from indexers.base import Neighbors
from indexers.vectors import FloatArray
from tests.collection.test_spaces import assert_derived
from tests.conftest import assert_answers, live_scores
from tests.helpers import clustered, newest

DIM = 16
ROWS = 400


def numbered(folder: Path) -> Path:
    """Make a collection of ROWS vectors of DIM numbers in `folder`, as float32."""
    with Collection.create(folder / "c.nest", encoder="precomputed", dim=DIM, dtype="float32") as opened:
        opened.add_vectors(clustered(ROWS, DIM), names=[f"row-{row}" for row in range(ROWS)])
    return folder / "c.nest"


def assert_searched(root: Path, head: Head, *, space: str | None = "nested", xq: FloatArray | None = None) -> None:
    """Ids and scores are the oracle's: through an index, by a scan, and in what was added since."""
    xq = clustered(12, DIM, 77) if xq is None else xq
    with Collection.open(root, space=space) as opened:
        queries = head(xq, "queries")
        truth = live_scores(opened, queries)
        atol = 2e-6 if opened.space.dtype == "float32" else 2e-3
        for plan in ("exact", f"flat@{head.dim} | 60@{head.dim}"):
            scores, rows = zip(*((one.scores, one.ids) for one in opened.search(queries, k=7, plan=plan)), strict=True)
            positions = [[opened.snapshot.find_id(int(id)) for id in ids] for ids in rows]
            assert_answers(_neighbors(scores, positions), truth, 7, atol)
        prefix = opened.search(queries, k=7, dim=4)
        truth = live_scores(opened, queries, 4)
        np.testing.assert_allclose([one.scores for one in prefix], -np.sort(-truth, axis=1)[:, :7], atol=atol)
    assert_derived(root, head, space or newest(root).default)


def _neighbors(scores: Any, positions: Any) -> Neighbors:
    return Neighbors(np.array(scores, np.float32), np.array(positions, np.int64))
