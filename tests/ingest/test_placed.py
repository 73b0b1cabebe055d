"""Rows that are called by their number and move: an item goes with its vector."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.api import Collection
from engine.collection import shards
from engine.collection.verify import verify
from engine.jobs.index import RunOptions
from engine.jobs.index import index as run_index
from indexers.vectors import FloatArray
from tests.helpers import Hears, clustered, index, save
from tests.ingest.test_sync_vectors import counts, items

X = clustered(40, 8)
NEW = clustered(20, 8, seed=5)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "c.nest"


def written(path: Path, x: FloatArray) -> Path:
    """Write vectors at another time than before."""
    before = path.stat().st_mtime_ns if path.exists() else 0
    save(path, x)
    os.utime(path, ns=(before + 10**9, before + 10**9))
    return path


def ids(root: Path) -> dict[int, int]:
    """Id by row number, as the names say it."""
    return {int(path.rpartition("#")[2]): one[0] for path, one in items(root).items()}


def answers_with_itself(root: Path, x: FloatArray) -> None:
    with Collection.open(root) as opened:
        assert len(opened) == len(x)
        for row, found in enumerate(opened.search(x, k=1, exact=True)):
            assert found.uris[0].endswith(f"#{row}") or (x == x[row]).all(axis=1).sum() > 1


def test_a_row_in_front_of_the_others(root: Path, tmp_path: Path) -> None:
    path = written(tmp_path / "v.npy", X)
    index(root, path)
    now = np.vstack([NEW[:1], X])
    summary = index(root, written(path, now))
    assert counts(summary) == {"added": 1, "moved": 40}
    assert ids(root) == {0: 40, **{row + 1: row for row in range(40)}}
    answers_with_itself(root, now)
    assert counts(index(root, path)) == {"unchanged": 41}
    assert list(verify(root)) == []


def test_a_row_that_is_taken_out(root: Path, tmp_path: Path) -> None:
    path = written(tmp_path / "v.npy", X)
    index(root, path)
    assert counts(index(root, written(path, X[1:]))) == {"moved": 39, "removed": 1}
    assert ids(root) == {row: row + 1 for row in range(39)}
    answers_with_itself(root, X[1:])


def test_a_row_that_changed_where_it_is_keeps_its_id(root: Path, tmp_path: Path) -> None:
    path = written(tmp_path / "v.npy", X)
    index(root, path)
    now = X.copy()
    now[7] = NEW[0]
    assert counts(index(root, written(path, now))) == {"changed": 1, "unchanged": 39}
    assert ids(root) == {row: row for row in range(40)}
    answers_with_itself(root, now)


def test_rows_that_are_alike_keep_their_order(root: Path, tmp_path: Path) -> None:
    same = np.repeat(X[:2], 3, axis=0)
    path = written(tmp_path / "v.npy", same)
    index(root, path)
    assert counts(index(root, written(path, np.vstack([NEW[:1], same])))) == {"added": 1, "moved": 2, "unchanged": 4}
    assert len(set(ids(root).values())) == 7


def test_a_row_that_goes_wrong_and_moves(root: Path, tmp_path: Path) -> None:
    path = written(tmp_path / "v.npy", X)
    index(root, path)
    now = np.vstack([NEW[:1], X])
    now[5] = np.nan  # was row 4
    summary = index(root, written(path, now))
    assert (summary.added, summary.moved, summary.failed) == (1, 39, 1)
    now[5] = X[4]
    summary = index(root, written(path, now))
    assert (summary.added, summary.unchanged, summary.failed) == (1, 40, 0)
    answers_with_itself(root, now)


def test_add_moves_too_and_removes_nothing_else(root: Path, tmp_path: Path) -> None:
    path = written(tmp_path / "v.npy", X)
    index(root, path)
    summary = index(root, written(path, X[5:20]), add=True)
    assert (summary.moved, summary.added) == (15, 0)
    with Collection.open(root) as opened:
        for row in (5, 19, 30):
            assert opened.search(X[row], k=1, exact=True).ids[0] == row


def test_columns_beside_the_rows_move_with_them(root: Path, tmp_path: Path) -> None:
    path, table = written(tmp_path / "v.npy", X), tmp_path / "t.csv"
    table.write_text("stars\n" + "".join(f"{row}\n" for row in range(40)))
    index(root, path, table=table)
    table.write_text("stars\n-1\n" + "".join(f"{row}\n" for row in range(40)))
    assert index(root, written(path, np.vstack([NEW[:1], X])), table=table).moved == 40
    found = items(root)
    assert {name: one[2]["stars"] for name, one in found.items()} == {f"v.npy#{row}": row - 1 for row in range(41)}


def test_rows_in_several_shards(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "MOST_SHARD_ROWS", 4096)
    x = clustered(9000, 4)
    path = written(tmp_path / "v.npy", x)
    index(root, path)
    assert counts(index(root, written(path, np.vstack([x[4000:], x[:3999]])))) == {"moved": 8999, "removed": 1}
    assert ids(root)[0] == 4000
    assert list(verify(root)) == []


@pytest.mark.parametrize("after", [1, 2, 3])
def test_a_run_that_was_interrupted_between_goes_on(root: Path, tmp_path: Path, after: int) -> None:
    x = clustered(9000, 4)
    path = written(tmp_path / "v.npy", x)
    index(root, path)
    now = np.vstack([NEW[:1, :4], x[:6000], x[6001:]])
    written(path, now)
    heard = iter(range(after))

    def advanced() -> None:
        if next(heard, None) is None:
            raise KeyboardInterrupt

    if after < 3:
        with pytest.raises(KeyboardInterrupt):
            run_index(root, [path], RunOptions(device="cpu"), Hears(advanced=advanced))
    index(root, path)
    assert ids(root)[0] >= 9000
    assert {row: one for row, one in ids(root).items() if row} == {
        row: row - 1 if row <= 6000 else row for row in range(1, 9000)
    }
    assert len(items(root)) == 9000
    assert list(verify(root)) == []


@settings(max_examples=25, deadline=None)
@given(st.lists(st.lists(st.integers(0, 11), max_size=14), min_size=1, max_size=4))
def test_any_order_of_any_rows(tmp_path_factory: pytest.TempPathFactory, orders: list[list[int]]) -> None:
    folder = tmp_path_factory.mktemp("any")
    path, root = written(folder / "v.npy", X[:12]), folder / "c.nest"
    index(root, path)
    for order in orders:
        if not order:
            continue
        before = {one: row for row, one in ids(root).items()}
        had = np.load(path)
        now = X[order]
        index(root, written(path, now), accept_loss=1)
        after = ids(root)
        assert sorted(after) == list(range(len(order)))
        for row, one in after.items():
            # An item that stays has its vector, unless that is gone and its place has another now.
            same = one not in before or (had[before[one]] == now[row]).all()
            assert (
                same
                or (before[one] == row and not (now == had[row]).all(axis=1).any())
                or ((now == had[before[one]]).all(axis=1).sum() < (had == had[before[one]]).all(axis=1).sum())
            )
        answers_with_itself(root, now)
    assert list(verify(root)) == []
