"""The file of exact search: what lies where, the bounds it promises, and what is refused."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from indexers.errors import CorruptCollection
from indexers.pruned import PrunedIndex, is_available
from indexers.pruned_file import WIDTH, Layout, write_pruned
from indexers.store import Blocks
from tests.conftest import structured, unit
from tests.indexers.made_pruned import opened

pytestmark = pytest.mark.skipif(not is_available(), reason="nestvec was installed without a C compiler")


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
    with pytest.raises(CorruptCollection, match="larger than any of ours"):
        PrunedIndex(path, 200, 30)
