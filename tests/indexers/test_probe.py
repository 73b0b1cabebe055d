"""The compiled search itself: what FAISS never gives it, and what does not fit together."""

from __future__ import annotations

import numpy as np
import pytest

from indexers.probing import is_available

pytestmark = pytest.mark.skipif(not is_available(), reason="the search was not compiled, or no AVX2")
_probe = pytest.importorskip("indexers.kernels._probe")


def parts(n: int = 64, d: int = 8) -> dict[str, object]:
    """Return arguments of a small sound index: one cell, all codes zero."""
    m = 4
    return {
        "matrix": b"",
        "centroids": np.zeros((1, d), np.float16),
        "books": np.zeros((m, 16, d // m), np.float32),
        "codes": [np.zeros(-(-n // 32) * 32 * m // 2, np.uint8)],
        "ids": [np.arange(n, dtype=np.int64)],
        "middle": np.zeros((n, d), np.uint8),
        "ranges": np.ones((2, d), np.float32),
        "stored": np.ones((n, d), np.float32),
        "shape": (d, d, d, 1, m, n, 4, 0),
        "level": 0,
    }


def asked(
    cells: object,
    *,
    k: int = 2,
    nprobe: int = 1,
    margin: float = 1.0,
    middle: int = 0,
    shortlist: int = 4,
    **given: object,
) -> None:
    """Search with arrays that fit, but for those that are given."""
    arrays: dict[str, object] = {
        "xq": np.ones((1, 8), np.float32),
        "allowed": b"",
        "scores": np.empty((1, 2), np.float32),
        "ids": np.empty((1, 2), np.int64),
        "visited": np.empty(1, np.int64),
    }
    a = arrays | given
    numbers = k, nprobe, margin, middle, shortlist
    cells.search(a["xq"], *numbers, a["allowed"], a["scores"], a["ids"], a["visited"])  # type: ignore[attr-defined]


@pytest.mark.parametrize("score", [0.49999997, -2.5, 2.5, 0.0])
def test_rows_at_the_edge_of_a_bin_are_not_lost(score: float) -> None:
    """Code scores are all alike, and just where counting and comparing round apart."""
    given = parts(100)
    books = np.zeros((4, 16, 2), np.float32)
    books[0, :, 0] = score
    xq = np.zeros((1, 8), np.float32)
    xq[0, 0] = 1
    answers = {"scores": np.empty((1, 50), np.float32), "ids": np.empty((1, 50), np.int64)}
    asked(_probe.Cells(*(given | {"books": books}).values()), k=50, shortlist=0, xq=xq, **answers)
    assert (answers["ids"] >= 0).all()
    np.testing.assert_allclose(answers["scores"], score, rtol=1e-6)


def test_rows_that_are_no_numbers_take_no_place() -> None:
    """A file can hold anything: what has no score is not counted, and not answered."""
    n, d = 120, 8
    stored = np.ones((n, d), np.float32)
    stored[::7] = np.nan
    given = parts(n) | {
        "centroids": np.zeros((2, d), np.float16),
        "codes": [np.zeros(64 * 2, np.uint8)] * 2,
        "ids": [np.arange(60), np.arange(60, 120)],
        "stored": stored,
        "shape": (d, d, d, 2, 4, n, 4, 1),
    }
    for shortlist in (0, 20, 120):
        answers = {"scores": np.empty((1, 20), np.float32), "ids": np.empty((1, 20), np.int64)}
        asked(_probe.Cells(*given.values()), k=20, nprobe=2, margin=9.0, shortlist=shortlist, **answers)
        kept = answers["ids"][0][answers["ids"][0] >= 0]
        assert len(set(kept.tolist())) == len(kept)
        assert np.isfinite(answers["scores"][0][: len(kept)]).all()
        if shortlist:
            assert not np.isnan(stored[kept]).any()
            assert len(kept) > 10


@pytest.mark.parametrize("alone", [True, False])
@pytest.mark.parametrize("nprobe", [3, 8, 12, 40])
def test_of_cells_that_are_alike_the_first_are_visited(nprobe: int, alone: bool) -> None:
    """And where nothing else tells them apart, the first of their rows are the answers."""
    cells, nq = 40, 1 if alone else 30
    given = parts(cells) | {
        "centroids": np.zeros((cells, 8), np.float16),
        "codes": [np.zeros(32 * 2, np.uint8)] * cells,
        "ids": [np.array([row]) for row in range(cells)],
        "shape": (8, 8, 8, cells, 4, cells, 4, 0),
    }
    xq, visited = np.ones((nq, 8), np.float32), np.empty(nq, np.int64)
    answers = {"scores": np.empty((nq, 3), np.float32), "ids": np.empty((nq, 3), np.int64)}
    asked(_probe.Cells(*given.values()), k=3, nprobe=nprobe, shortlist=3, xq=xq, visited=visited, **answers)
    assert (answers["ids"] == [0, 1, 2]).all()
    assert (visited == nprobe).all()


def test_arguments_that_fit_are_taken() -> None:
    asked(_probe.Cells(*parts().values()))


@pytest.mark.parametrize(
    "wrong",
    [
        {"matrix": np.zeros((8, 9), np.float16)},
        {"centroids": np.zeros((2, 8), np.float16)},
        {"centroids": np.zeros((1, 8), np.float32)},
        {"centroids": b""},
        {"books": np.zeros((4, 16, 1), np.float32)},
        {"codes": [np.zeros(127, np.uint8)]},
        {"codes": []},
        {"ids": [np.arange(65, dtype=np.int64)]},
        {"ids": [b"1234567"]},
        {"ids": [np.arange(64), np.arange(64)]},
        {"middle": np.zeros((63, 8), np.uint8)},
        {"middle": b""},
        {"ranges": np.ones((1, 8), np.float32)},
        {"ranges": b""},
        {"stored": np.ones((63, 8), np.float32)},
        {"shape": (8, 8, 8, 1, 3, 64, 4, 0)},
        {"shape": (8, 16, 8, 1, 4, 64, 4, 0)},
        {"shape": (8, 8, 8, 0, 4, 64, 4, 0)},
        {"shape": (8, 8, 8, 1, 4, 64, 8, 0)},
        {"shape": (8, 8, 8, 1, 4, -1, 4, 0)},
        {"shape": (2**40, 8, 8, 1, 4, 64, 4, 0)},
        {"shape": (8, 8, 8, 2**40, 4, 64, 4, 0)},
    ],
)
def test_parts_that_do_not_fit_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises((ValueError, BufferError)):
        _probe.Cells(*(parts() | wrong).values())


@pytest.mark.parametrize("name", ["matrix", "centroids", "books", "ranges"])
@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf, 1e30])
@pytest.mark.parametrize("at", [0, 3, -1])
def test_parts_that_hold_no_numbers_are_refused(name: str, number: float, at: int) -> None:
    """Steps of a table are whole numbers, which NaN has none of."""
    wanted = {"matrix": np.zeros((8, 8), np.float16)} | parts()
    array = np.zeros((8, 8), np.float16) if name == "matrix" else np.array(wanted[name])
    with np.errstate(over="ignore"):
        array.reshape(-1)[at] = number
    with pytest.raises(ValueError, match="what is no number"):
        _probe.Cells(*(parts() | {name: array}).values())


@pytest.mark.parametrize("number", [np.nan, np.inf, 3e38])
@pytest.mark.parametrize("nq", [1, 30])
def test_a_query_that_is_no_number_finds_nothing_and_hurts_nobody(number: float, nq: int) -> None:
    xq = np.ones((nq, 8), np.float32)
    xq[0, 3] = number
    answers = {"scores": np.empty((nq, 2), np.float32), "ids": np.empty((nq, 2), np.int64)}
    given = parts() | {"matrix": np.eye(8, dtype=np.float16), "books": np.ones((4, 16, 2), np.float32)}
    for middle, shortlist in ((0, 0), (0, 4), (6, 4)):
        how = {"middle": middle, "shortlist": shortlist, "xq": xq, "visited": np.empty(nq, np.int64)}
        asked(_probe.Cells(*given.values()), **how, **answers)
        assert set(answers["ids"][0].tolist()) <= {-1, *range(64)}
        assert (answers["ids"][1:] == [0, 1]).all()


def test_unknown_instructions_are_refused() -> None:
    with pytest.raises(NotImplementedError):
        _probe.Cells(*(parts() | {"level": 3}).values())


@pytest.mark.parametrize(
    "wrong",
    [
        {"xq": np.ones((1, 7), np.float32)},
        {"k": 0},
        {"k": 65},
        {"nprobe": 0},
        {"margin": -1.0},
        {"margin": float("nan")},
        {"shortlist": 1},
        {"shortlist": 65},
        {"shortlist": -1},
        {"middle": 3},
        {"middle": 65},
        {"middle": -1},
        {"middle": 1, "shortlist": 0},
        {"allowed": b"1234567"},
        {"scores": np.empty((1, 3), np.float32)},
        {"ids": np.empty((1, 1), np.int64)},
        {"visited": np.empty(2, np.int64)},
    ],
)
def test_searches_that_do_not_fit_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="do not fit"):
        asked(_probe.Cells(*parts().values()), **wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("row", [-1, 64, 2**62])
def test_a_row_that_does_not_exist_is_found_out_before_it_is_read(row: int) -> None:
    ids = np.arange(64)
    ids[5] = row
    with pytest.raises(IndexError, match="does not exist"):
        asked(_probe.Cells(*(parts() | {"ids": [ids]}).values()), shortlist=64)
