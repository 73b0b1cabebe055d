"""Exact search by pruning: the oracle's answers, whatever the rows, and fewer bytes where they have structure."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from indexers.base import MISSING, Neighbors, positions_mask
from indexers.errors import CorruptCollection
from indexers.exact import exact_search
from indexers.pruned import Found, PrunedIndex, is_available
from indexers.pruned_file import WIDTH, Layout, write_pruned
from indexers.store import Blocks, VectorStore
from indexers.vectors import FloatArray
from tests.conftest import structured, unit

pytestmark = pytest.mark.skipif(not is_available(), reason="nestvec was installed without a C compiler")
prune = pytest.importorskip("indexers._prune").prune

S, WHOLE, N = 6, 2, 10


def arguments(level: int = 0) -> list[object]:
    """Arguments of the compiled scan that fit together."""
    codes, norms = np.zeros((S, N, WIDTH), np.int8), np.zeros((S - (S - WHOLE) // 2, N), np.uint8)
    queries, terms = np.zeros((1, (S + WHOLE) // 2, 2 * WIDTH), np.uint8), np.zeros((1, S, 4), np.float32)
    return [codes, norms, N, WHOLE, queries, terms, np.zeros(1, np.float32), 3, b"", level]


def has(level: int) -> bool:
    """Whether this processor has the instructions of a level."""
    try:
        prune(*arguments(level))
    except NotImplementedError:
        return False
    return True


LEVELS = [level for level in (1, 2, 4) if has(level)]


def opened(
    folder: Path, xb: FloatArray, xt: FloatArray | None = None, queries: FloatArray | None = None, level: int = 0
) -> tuple[PrunedIndex, VectorStore]:
    """Write and open the index of some rows."""
    path, store = folder / "x.pruned", VectorStore(xb)
    blocks = Blocks(xb)
    sample = np.concatenate(list(blocks)) if xt is None else xt
    write_pruned(path, blocks, len(xb), sample, queries)
    return PrunedIndex(path, *xb.shape, level), store


def assert_exact(found: Found, xb: FloatArray, xq: FloatArray, k: int, dead: np.ndarray | None = None) -> None:
    """Compare ids and scores with the oracle; rows that tie may stand for each other."""
    alive = np.arange(len(xb)) if dead is None else np.setdiff1d(np.arange(len(xb)), dead)
    truth = exact_search(np.asarray(xb, np.float32)[alive], xq, k, ids=alive)
    np.testing.assert_allclose(found.neighbors.scores, truth.scores, rtol=0, atol=2e-6)
    assert ((found.neighbors.ids == MISSING) == (truth.ids == MISSING)).all()
    own = np.einsum("qd,qkd->qk", xq, np.asarray(xb, np.float32)[found.neighbors.ids])
    there = truth.ids != MISSING
    np.testing.assert_allclose(own[there], truth.scores[there], rtol=0, atol=2e-6)
    for row in found.neighbors.ids.tolist():
        kept = [i for i in row if i != MISSING]
        assert len(set(kept)) == len(kept)
        assert set(kept) <= set(alive.tolist())


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("dim", [1, 2, 63, 64, 65, 130, 384])
def test_answers_are_those_of_a_scan(tmp_path: Path, dim: int, dtype: type) -> None:
    data = structured(3000, dim, seed=dim)
    xb = data.xb.astype(dtype)
    index, store = opened(tmp_path, xb)
    xq = np.concatenate([data.xq, data.xt])
    for k in (1, 10, 3000):
        assert_exact(index.search(store, xq, k), xb, xq, k)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("n", [1, 15, 33, 4097, 5999])
def test_all_instructions_find_the_answers(tmp_path: Path, n: int, level: int) -> None:
    """Whole groups of rows and single ones; blocks that are read whole, and those that are not."""
    data = structured(max(n, 20), 200, seed=7)
    xb, dead = data.xb[:n], np.arange(n)[::3]
    index, store = opened(tmp_path, xb, level=level)
    xq = np.concatenate([data.xq, data.xt, data.xb[:20]])
    for gone in (np.arange(0), dead):
        allowed = positions_mask(n, gone) if len(gone) else None
        assert_exact(index.search(store, xq, min(10, n), allowed=allowed), xb, xq, min(10, n), gone)
        floors = index.search(store, xq, 1, allowed=allowed).neighbors.scores[:, 0]
        known = index.search(store, xq, 1, floors=floors - np.float32(1e-5), allowed=allowed)
        assert_exact(known, xb, xq, 1, gone)


def test_all_instructions_drop_the_same_rows(tmp_path: Path) -> None:
    data = structured(6000, 256, seed=11)
    floors = exact_search(data.xb, data.xt, 10).scores[:, -1] - np.float32(0.01)
    scanned = []
    for level in LEVELS:
        index, store = opened(tmp_path, data.xb, level=level)
        scanned.append(index.search(store, data.xt, 10, floors=floors).bytes_read)
        assert (scanned[-1] < 6000 * 256).all()
    for other in scanned[1:]:
        # A bound may be rounded another way.
        np.testing.assert_allclose(other, scanned[0], rtol=1e-3)


def test_unknown_instructions_are_refused() -> None:
    with pytest.raises(NotImplementedError, match="level 3"):
        prune(*arguments(3))


@pytest.mark.parametrize("n", [1, 2, 7, 2048, 4095, 4096, 4097, 5000])
def test_any_number_of_rows(tmp_path: Path, n: int) -> None:
    data = structured(max(n, 20), 40, seed=n)
    xb = data.xb[:n]
    index, store = opened(tmp_path, xb)
    k = min(10, n)
    assert_exact(index.search(store, data.xq, k), xb, data.xq, k)


def test_a_batch_is_answered_as_one_by_one(tmp_path: Path) -> None:
    data = structured(4000, 100, seed=3, nq=200)
    index, store = opened(tmp_path, data.xb)
    batch = index.search(store, data.xq, 5)
    assert_exact(batch, data.xb, data.xq, 5)
    for i in (0, 63, 64, 150, 199):
        one = index.search(store, data.xq[i : i + 1], 5)
        np.testing.assert_array_equal(one.neighbors.ids[0], batch.neighbors.ids[i])


@pytest.mark.parametrize("known", [0.0, 1e-4, 0.3])
def test_a_floor_changes_no_answer_and_saves_work(tmp_path: Path, known: float) -> None:
    data = structured(6000, 256, seed=5)
    index, store = opened(tmp_path, data.xb)
    plain = index.search(store, data.xq, 10)
    floors = plain.neighbors.scores[:, -1] - np.float32(known)
    with_floor = index.search(store, data.xq, 10, floors=floors)
    assert_exact(with_floor, data.xb, data.xq, 10)
    assert (with_floor.bytes_read <= plain.bytes_read).all()


def test_rows_that_may_not_be_answered(tmp_path: Path) -> None:
    data = structured(5000, 96, seed=8)
    dead = np.unique(np.argsort(-(data.xq @ data.xb.T), axis=1)[:, :40])
    index, store = opened(tmp_path, data.xb)
    found = index.search(store, data.xq, 10, allowed=positions_mask(5000, dead))
    assert_exact(found, data.xb, data.xq, 10, dead)


def test_fewer_rows_than_asked_for(tmp_path: Path) -> None:
    data = structured(100, 96, seed=8)
    dead = np.arange(5, 100)
    index, store = opened(tmp_path, data.xb)
    found = index.search(store, data.xq, 10, allowed=positions_mask(100, dead))
    assert_exact(found, data.xb, data.xq, 10, dead)
    assert (found.neighbors.ids[:, 5:] == MISSING).all()


def test_rows_that_are_all_the_same(tmp_path: Path) -> None:
    xb = np.tile(structured(20, 70, seed=1).xb[:1], (300, 1))
    index, store = opened(tmp_path, xb)
    found = index.search(store, xb[:1], 4)
    np.testing.assert_array_equal(found.neighbors.ids, [[0, 1, 2, 3]])
    np.testing.assert_allclose(found.neighbors.scores, 1, atol=1e-6)


def test_rows_unlike_the_sample(tmp_path: Path) -> None:
    """Axes and scales come from rows of another kind: slower, and still exact."""
    data, other = structured(3000, 150, seed=1), structured(40, 150, seed=99)
    narrow = unit(other.xb[:1] + 0.01 * other.xb[:30])
    index, store = opened(tmp_path, data.xb, xt=narrow)
    assert_exact(index.search(store, data.xq, 10), data.xb, data.xq, 10)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_anything(tmp_path: Path, data: st.DataObject) -> None:
    """Few values, so that scores tie; outliers; samples of any size; floors that are true."""
    n, dim = data.draw(st.integers(1, 60)), data.draw(st.integers(1, 140))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    spread = data.draw(st.sampled_from([0.0, 0.3, 3.0]))
    x = rng.integers(-1, 2, (n, dim)) * np.exp(spread * rng.normal(size=dim))
    x[:, 0] += 1e-3
    xb, xq = unit(x.astype(np.float32)), unit(rng.normal(size=(5, dim)).astype(np.float32))
    size = data.draw(st.integers(1, n))
    index, store = opened(tmp_path, xb, xt=xb[:size], queries=xq if data.draw(st.booleans()) else None)
    k = data.draw(st.integers(1, n))
    truth: Neighbors = exact_search(xb, xq, k)
    floors = truth.scores[:, -1] - np.float32(data.draw(st.sampled_from([1e-5, 0.1, 3.0])))
    assert_exact(index.search(store, xq, k, floors=floors), xb, xq, k)


def test_structure_saves_bytes_and_the_rest_is_never_more_than_the_codes(tmp_path: Path) -> None:
    data = structured(20_000, 384, seed=2)
    index, store = opened(tmp_path, data.xb)
    all_codes = 20_000 * 6 * (WIDTH + 1)
    read = index.search(store, data.xq, 10).bytes_read
    assert np.median(read) < all_codes / 2
    noise = unit(np.random.default_rng(0).normal(size=(2500, 384)).astype(np.float32))
    index, store = opened(tmp_path, noise)
    xq = unit(np.random.default_rng(1).normal(size=(5, 384)).astype(np.float32))
    found = index.search(store, xq, 10)
    assert_exact(found, noise, xq, 10)
    assert (found.bytes_read <= 2500 * (6 * (WIDTH + 1) + 4 * 384)).all()


def test_what_is_asked_decides_what_is_read_first(tmp_path: Path) -> None:
    """Queries beside the rows read less from an index that knows some like them; no answer changes."""
    data = structured(20_000, 384, seed=6, nq=1020)
    known, asked = data.xt[:1000], data.xt[1000:]
    floors = exact_search(data.xb, asked, 10).scores[:, -1] - np.float32(1e-3)
    read = []
    for queries in (None, known):
        index, store = opened(tmp_path, data.xb, queries=queries)
        found = index.search(store, asked, 10, floors=floors)
        assert_exact(found, data.xb, asked, 10)
        read.append(found.bytes_read.mean())
    assert read[1] < 0.9 * read[0]


# -- the file ----------------------------------------------------------------------------------


def test_the_layout_of_the_file(tmp_path: Path) -> None:
    """What a later version must still find where it is."""
    one = Layout(1000, 300)
    assert (one.whole, one.pairs, one.segments, one.groups) == (2, 2, 6, (0, 64, 128, 256))
    assert {name: part.offset for name, part in one.parts.items()} == {
        "mean": 64,
        "turn": 1_280,
        "scales": 361_280,
        "norms": 361_472,
        "codes": 365_504,
    }
    assert one.size == 365_504 + 6 * 1000 * 64
    assert one.header == b"nestprn\x02" + struct.pack("<QQ", 1000, 300)


@pytest.mark.parametrize(
    ("dim", "whole", "pairs"), [(1, 1, 0), (64, 1, 0), (65, 2, 0), (128, 2, 0), (129, 2, 1), (768, 2, 5)]
)
def test_no_line_has_nothing_in_it(dim: int, whole: int, pairs: int) -> None:
    one = Layout(10, dim)
    assert (one.whole, one.pairs) == (whole, pairs)
    known = one.known
    np.testing.assert_array_equal(known.fine + known.coarse + known.unseen, 1)
    assert known.fine[-1].all()
    assert one.groups[-1] < dim <= one.segments * WIDTH


def parts_of(path: Path, layout: Layout) -> dict[str, np.ndarray]:
    """The arrays of a file."""
    raw = path.read_bytes()
    return {
        name: np.frombuffer(raw, part.dtype, int(np.prod(part.shape)), part.offset).reshape(part.shape)
        for name, part in layout.parts.items()
    }


def halves_of(lines: np.ndarray) -> np.ndarray:
    """Lines of halves [G, n, 64] as numbers from 0 to 15, [G, n, 128]."""
    both = lines.view(np.uint8).astype(int)
    return np.concatenate([both & 15, both >> 4], axis=2)


def test_halves_lie_where_the_format_says(tmp_path: Path) -> None:
    """Every code of a row, put together from its lines, is what the row is when it is turned."""
    data = structured(300, 300, seed=9)
    opened(tmp_path, data.xb)
    found = parts_of(tmp_path / "x.pruned", Layout(300, 300))
    upper, lower = halves_of(found["codes"][2:4]), halves_of(found["codes"][4:])
    halves = (16 * upper + lower - 128).transpose(1, 0, 2).reshape(300, 256)
    codes = np.concatenate([found["codes"][0], found["codes"][1], halves], axis=1)
    steps = np.repeat(found["scales"][:, 0], WIDTH)
    turned = (data.xb - found["mean"]) @ np.linalg.inv(found["turn"].astype(np.float64)).T
    assert np.abs((codes * steps)[:, :300] - turned).max() < 0.51 * steps.max()
    assert not codes[:, 300:].any()


@pytest.mark.parametrize("dim", [40, 100, 300, 384])
def test_the_bounds_hold_after_every_line(tmp_path: Path, dim: int) -> None:
    """For rows of the sample and others, for queries like them, beside them, and along what rounding took away."""
    data = structured(2000, dim, seed=dim)
    index, _ = opened(tmp_path, data.xb, xt=data.xb[:1500])
    layout = index.layout
    found = parts_of(tmp_path / "x.pruned", layout)
    whole, pairs = layout.whole, layout.pairs
    lines = [found["codes"][s].astype(int) for s in range(whole)]
    lines += [*halves_of(found["codes"][whole : whole + pairs]), *halves_of(found["codes"][whole + pairs :])]
    turned = layout.segmented(((data.xb - found["mean"]) @ np.linalg.inv(found["turn"]).T).astype(np.float32))
    steps = found["scales"][:, :1]
    codes = np.clip(np.rint(turned / steps), -127, 127)
    coarse = np.where(np.arange(layout.segments)[:, None] < whole, codes, np.floor((codes + 128) / 16) * 16 - 120.5)
    # One large number beside many that are half a step: what rounding takes from such a query adds up along a row.
    halved = np.sign(codes) * (0.49 / 127)
    halved[:, :, 5] = 1
    lost = [(turned - known * steps)[:40] for known in (codes, coarse)] + [halved[:40]]
    back = np.linalg.inv(found["turn"])
    xq = np.concatenate([data.xq, data.xt, *(unit(one.reshape(40, -1)[:, :dim] @ back) for one in lost)])
    queries, terms = index._bounds(layout.segmented(xq @ found["turn"]))
    truth, said = xq @ (data.xb - found["mean"]).T, np.zeros((len(xq), 2000))
    closest = []
    for s, line in enumerate(lines):
        upper = s if s < whole + pairs else s - pairs
        q = queries[:, upper].view("<i2" if s < whole else np.int8).astype(int)
        a, b, c, d = terms[:, s, :, None].transpose(1, 0, 2)
        said += a * (q @ line.T) + d
        norms = found["norms"][min(s, whole + pairs - 1)]
        within = (b * norms + c)[:, norms != 255]
        off = np.abs(truth - said)[:, norms != 255]
        assert (off <= within).all()
        closest.append(float((off / within).max()))
    assert min(closest) > 0.25


def test_two_builds_give_the_same_bytes(tmp_path: Path) -> None:
    data = structured(500, 80, seed=4)
    for name in ("a", "b"):
        write_pruned(tmp_path / name, Blocks(data.xb), 500, data.xb[:100])
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("harm", ["cut", "longer", "magic", "rows", "empty"])
def test_another_file_is_refused(tmp_path: Path, harm: str) -> None:
    data = structured(200, 30, seed=4)
    path = tmp_path / "x.pruned"
    write_pruned(path, Blocks(data.xb), 200, data.xb)
    whole = path.read_bytes()
    changed = {
        "cut": whole[:-1],
        "longer": whole + b"\0",
        "magic": b"X" + whole[1:],
        "rows": whole[:8] + struct.pack("<Q", 201) + whole[16:],
        "empty": b"",
    }
    path.write_bytes(changed[harm])
    with pytest.raises(CorruptCollection, match=r"is not the pruned index of 200 rows × 30"):
        PrunedIndex(path, 200, 30)


@pytest.mark.parametrize("at", [24, 64, 700])
def test_numbers_that_are_none_are_refused(tmp_path: Path, at: int) -> None:
    """The margin, the mean, the matrix: with one of them no bound would hold, and every row would be dropped."""
    path = tmp_path / "x.pruned"
    write_pruned(path, Blocks(structured(200, 30, seed=4).xb), 200, structured(200, 30, seed=4).xb)
    whole = bytearray(path.read_bytes())
    whole[at : at + 8] = struct.pack("<d", np.nan) if at == 24 else struct.pack("<ff", np.nan, np.inf)
    path.write_bytes(whole)
    with pytest.raises(CorruptCollection, match="not finite"):
        PrunedIndex(path, 200, 30)


# -- the compiled scan -------------------------------------------------------------------------


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
