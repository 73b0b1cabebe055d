"""Which candidates the compiled search keeps: those that a sort would, wherever scores lie between edges of bins."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from indexers import probing
from indexers.base import MISSING
from indexers.mask import Mask
from indexers.probing import is_available
from indexers.vectors import normalize
from tests.indexers.test_probing import LEVELS, made

pytestmark = pytest.mark.skipif(not is_available(), reason="the search was not compiled, or no AVX2")

BINS_A_UNIT = 1024
CODES = 16


@dataclass(frozen=True)
class Line:
    """Rows of one number each, so that a code is a score: codes and cells of the rows, and what both stand for."""

    book: NDArray[np.float32]
    centroids: NDArray[np.float16]
    codes: NDArray[np.uint8]
    cells: NDArray[np.int64]

    def opened(self, level: int) -> probing.Cells:
        """Return the compiled index; stored vectors are such that the last row is the best."""
        n = len(self.codes)
        ids = [np.flatnonzero(self.cells == cell) for cell in range(len(self.centroids))]
        packed = [pack(self.codes[rows]) for rows in ids]
        stored = np.linspace(-1, 1, n, dtype=np.float32)[:, None]
        shape = (1, 1, 1, len(self.centroids), 1, n, 4, 1)
        return probing.Cells(b"", self.centroids, self.book, packed, ids, b"", b"", stored, shape, level)


def pack(codes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Lay codes of one subspace out as FastScan does, beside an empty second one."""
    blocks = np.zeros((-(-len(codes) // 32), 32), np.uint8)
    blocks.reshape(-1)[: len(codes)] = codes
    out = np.zeros_like(blocks)
    order = [row + half for row in range(8) for half in (0, 8)]
    out[:, :16] = blocks[:, order] | blocks[:, [row + 16 for row in order]] << 4
    return out.reshape(-1)


def search(cells: probing.Cells, nq: int, k: int, shortlist: int, mask: bytes | NDArray[np.uint8] = b"") -> tuple:
    """Ask the same thing `nq` times, of all cells."""
    xq = np.ones((nq, 1), np.float32)
    scores, ids, visited = np.empty((nq, k), np.float32), np.empty((nq, k), np.int64), np.empty(nq, np.int64)
    cells.search(xq, k, 1 << 20, math.inf, 0, shortlist, mask, scores, ids, visited)
    return scores, ids


def near(edge: int, ulps: int) -> float:
    """Return what lies some units in the last place from the edge of a bin."""
    return float(np.float32(edge / BINS_A_UNIT) + np.float32(ulps) * np.spacing(np.float32(1)) / 2)


@st.composite
def lines(draw: st.DrawFn) -> Line:
    """Draw rows whose scores are at edges of bins, just beside them, alike, or anywhere."""
    edges = draw(st.lists(st.integers(-1500, 1500), min_size=1, max_size=3))
    beside = st.builds(near, st.sampled_from(edges), st.integers(-3, 3))
    book = draw(st.lists(beside, min_size=CODES, max_size=CODES))
    cells = draw(st.integers(1, 12))
    centroids = draw(st.lists(st.sampled_from([0.0, 0.25, -0.25, 2**-10, -(2**-11)]), min_size=cells, max_size=cells))
    n = draw(st.sampled_from([1, 2, 31, 32, 33, 300]))
    rng = np.random.default_rng(draw(st.integers(0, 1 << 30)))
    return Line(
        np.array(book, np.float32),
        np.array(centroids, np.float16),
        rng.integers(draw(st.integers(1, CODES)), size=n).astype(np.uint8),
        rng.integers(cells, size=n),
    )


@pytest.mark.parametrize("level", LEVELS)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(line=lines(), nq=st.sampled_from([1, 8, 9, 20]), data=st.data())
def test_what_is_kept_is_what_a_sort_would_keep(level: int, line: Line, nq: int, data: st.DataObject) -> None:
    cells, n = line.opened(level), len(line.codes)
    scores, rows = (one[0] for one in search(cells, 1, n, 0))  # all of them: nothing is left out
    np.testing.assert_array_equal(np.lexsort((rows, -scores)), np.arange(n))
    assert sorted(rows.tolist()) == list(range(n))
    allowed = np.ones(n, dtype=bool)
    if data.draw(st.booleans()):
        allowed[:: data.draw(st.integers(2, 3))] = False
    mask = Mask.of(allowed).bits
    mask = b"" if mask is None else mask
    scores, rows = scores[allowed[rows]], rows[allowed[rows]]
    k = data.draw(st.sampled_from([1, 2, 10, n]))
    k = min(k, n)
    found = search(cells, nq, k, 0, mask)
    for i in range(nq):
        assert found[1][i].tolist() == (rows[:k].tolist() + [MISSING] * k)[:k]
        assert found[0][i].tolist() == (scores[:k].tolist() + [-math.inf] * k)[:k]
    # A shortlist is made of the same rows; stored vectors put the last of them first.
    shortlist = min(n, k + data.draw(st.integers(0, 30)))
    best = sorted(rows[:shortlist].tolist(), reverse=True)
    assert search(cells, nq, k, shortlist, mask)[1][-1].tolist() == (best[:k] + [MISSING] * k)[:k]


@pytest.mark.parametrize("level", LEVELS)
def test_no_query_is_left_without_an_answer(level: int) -> None:
    """A score between a threshold and the edge it stands for was taken for one above the edge."""
    book = np.array([near(512, -3), near(512, 3), *[near(512, 0)] * 14], np.float32)
    codes = np.array([2, 0, *[0] * 30], np.uint8)
    line = Line(book, np.zeros(1, np.float16), codes, np.zeros(len(codes), np.int64))
    for k in (1, 2, 5):
        assert (search(line.opened(level), 1, k, 0)[1] != MISSING).all()


def test_cells_of_many_rows_keep_what_a_sort_would_keep() -> None:
    rng = np.random.default_rng(5)
    x = normalize(rng.normal(size=(20_000, 16)).astype(np.float32))
    xq = normalize(rng.normal(size=(300, 16)).astype(np.float32))
    _, probed = made("ivf-pq@16:nlist=64,m=8,residual=1", x)
    everything = probed.search(xq, len(x), 64, 0).neighbors
    for k, shortlist in ((1, 0), (10, 0), (400, 0), (1, 1), (10, 10)):
        found = probed.search(xq, k, 64, shortlist).neighbors
        if not shortlist:
            np.testing.assert_array_equal(found.ids, everything.ids[:, :k])
            np.testing.assert_array_equal(found.scores, everything.scores[:, :k])
        else:
            np.testing.assert_array_equal(np.sort(found.ids), np.sort(everything.ids[:, :k]))
