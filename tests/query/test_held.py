"""What is held open, and let go."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import engine


@pytest.fixture
def uncollected() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("uncollected")
def test_an_older_version_is_let_go_when_the_reader_moves_on(tmp_path: Path) -> None:
    """At once, and not when Python next looks for circles: until then `gc` would leave its files."""
    x = np.random.default_rng(0).normal(size=(300, 8)).astype(np.float32)
    with engine.Collection.create(tmp_path / "c.nest", encoder="precomputed", dim=8) as opened:
        opened.add_vectors(x[:200], meta=[{"n": row} for row in range(200)])
        opened.build(["flat@4", "ivf-pq@8"])
        for row in range(200, 205):
            opened.search(x[0], 3)
            opened.search(x[0], 3, where="n < 50", plan="ivf-pq@8 | 20@8")
            opened.search(x[0], 3, where="n < 5")
            opened.similar(3, 3, exact=True)
            with pytest.raises(engine.InvalidInput):
                opened.search(x[0], 3, where="m < 5")
            before = weakref.ref(opened.snapshot)
            opened.add_vectors(x[row : row + 1], names=[f"new {row}"])
            assert before() is None
