"""The compiled scan of exact search: order, overflow, and what does not fit together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from indexers.pruned import is_available
from indexers.pruned_file import WIDTH, write_pruned
from indexers.store import Blocks
from tests.conftest import structured
from tests.indexers.made_pruned import LEVELS, WHOLE, N, S, arguments, prune

pytestmark = pytest.mark.skipif(not is_available(), reason="nestvec was installed without a C compiler")


def test_the_scan_lists_rows_in_order() -> None:
    (rows, scanned), *others = prune(*arguments())
    assert not others
    assert np.frombuffer(rows, np.int64).tolist() == list(range(N))
    assert scanned == S * N


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("n", [10, 40])
def test_what_is_no_number_drops_no_row(level: int, n: int) -> None:
    for field in range(4):
        terms = np.zeros((1, S, 4), np.float32)
        terms[0, 1, field] = np.nan
        codes, norms = np.ones((S, n, WIDTH), np.int8), np.ones(((S + WHOLE) // 2, n), np.uint8)
        queries = np.ones((1, (S + WHOLE) // 2, 2 * WIDTH), np.uint8)
        ((rows, _),) = prune(codes, norms, n, WHOLE, queries, terms, np.full(1, 0.5, np.float32), 3, b"", level)
        # The first line says nothing either: its terms are 0, and it drops what falls short of the floor.
        assert len(rows) == 0
        terms[0, 0, 2] = 1
        ((rows, _),) = prune(codes, norms, n, WHOLE, queries, terms, np.full(1, -9, np.float32), 3, b"", level)
        assert len(rows) == 8 * n


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("n", [10, 40])
@pytest.mark.parametrize("most", [-127, 127])
def test_the_largest_halves_do_not_overflow(level: int, n: int, most: int) -> None:
    codes, norms = np.zeros((S, n, WIDTH), np.int8), np.zeros(((S + WHOLE) // 2, n), np.uint8)
    codes[WHOLE] = -1  # all bits
    queries = np.zeros((1, (S + WHOLE) // 2, 2 * WIDTH), np.int8)
    queries[0, WHOLE] = most
    terms = np.zeros((1, S, 4), np.float32)
    terms[0, WHOLE, 0] = 1
    terms[0, :WHOLE, 2] = np.inf
    truth = 15.0 * most * 2 * WIDTH
    for floor, kept in ((truth - 1, n), (truth + 1, 0)):
        ((rows, _),) = prune(codes, norms, n, WHOLE, queries, terms, np.full(1, floor, np.float32), 3, b"", level)
        assert len(rows) == 8 * kept


def test_a_block_that_is_missing_is_told(tmp_path: Path) -> None:
    data = structured(300, 80, seed=4)
    with pytest.raises(ValueError, match="expected 301 rows, found 300"):
        write_pruned(tmp_path / "x", Blocks(data.xb), 301, data.xb[:100])


@pytest.mark.parametrize("at", [0, 1, 4, 5, 6, 8])
@pytest.mark.parametrize("by", [-1, 1])
def test_the_scan_refuses_sizes_that_do_not_fit(at: int, by: int) -> None:
    wrong = arguments()
    raw = np.frombuffer(np.asarray(wrong[at]).tobytes() if at != 8 else b"\0\0", np.uint8)
    wrong[at] = raw[:by].tobytes() if by < 0 else raw.tobytes() + b"\0"
    with pytest.raises(ValueError, match="do not fit together"):
        prune(*wrong)


@pytest.mark.parametrize(
    ("at", "value"),
    [(2, 0), (2, -1), (2, 2**62), (3, 0), (3, -2), (3, 3), (3, 8), (7, 0), (7, -5), (7, N + 1), (7, 2**62)],
)
def test_the_scan_refuses_numbers_that_cannot_be(at: int, value: int) -> None:
    wrong = arguments()
    wrong[at] = value
    with pytest.raises(ValueError, match="do not fit together"):
        prune(*wrong)


def test_the_scan_refuses_what_does_not_lie_in_one_piece() -> None:
    wrong = arguments()
    wrong[0] = np.zeros((S, N, 2 * WIDTH), np.int8)[:, :, ::2]
    with pytest.raises((ValueError, BufferError)):
        prune(*wrong)
