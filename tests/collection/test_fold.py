"""One row at a time: few files, few versions, and every row where a search finds it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.api import Collection
from engine.collection import changes, garbage, tombstones
from engine.collection.commit import commit
from engine.collection.fold import FAN, TIERS, Group, fold, settled
from engine.collection.fold import _tiers as tiers
from engine.collection.history import RESERVE, numbers, rollback
from engine.collection.snapshot import Snapshot
from engine.collection.verify import verify
from indexers.errors import CommitConflict
from tests.helpers import newest

DIM = 8


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Collection]:
    with Collection.create(tmp_path / "c.nest", encoder="precomputed", dim=DIM) as made:
        # So that nothing is derived, and all can be folded.
        made.add_vectors(np.eye(DIM)[:1], names=["first"])
        commit(made.root, lambda base: replace(base, lookup=None, spaces={"main": base.space().bare()}), operation="x")
        made.refresh()
        yield made


@pytest.fixture(autouse=True)
def never_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.jobs.index.is_due", lambda *_: False)


def row(number: int) -> np.ndarray:
    return np.random.default_rng(number).normal(size=(1, DIM)).astype(np.float32)


def add(opened: Collection, first: int, stop: int) -> None:
    for number in range(first, stop):
        opened.add_vectors(row(number), names=[f"r{number}"], meta=[{"number": number}])


def holds(opened: Collection, wanted: dict[str, int]) -> None:
    """Every item is there, by its name, and found by its vector."""
    snapshot = opened.snapshot
    assert len(opened) == len(wanted)
    for name, number in wanted.items():
        item = snapshot.item(snapshot.find_path(name))
        assert (item.path, item.meta.get("number")) == (name, number)
        assert opened.search(row(number)[0], k=1).items[0].path == name
    assert list(verify(opened.root)) == []


def test_one_row_at_a_time_leaves_few_shards(opened: Collection) -> None:
    opened.remove("first")
    add(opened, 0, 200)
    assert len(newest(opened.root).items) <= TIERS * FAN
    holds(opened, {f"r{number}": number for number in range(200)})
    assert opened.snapshot.ids.tolist() == list(range(1, 201))  # what was removed is in no shard any more
    assert newest(opened.root).dead_rows == 0
    # What was folded in the very commit that wrote it is nowhere.
    listed = {ref.path for number in numbers(opened.root) for ref in _version(opened.root, number).files()}
    assert {f"items/{path.name}" for path in (opened.root / "items").iterdir()} <= listed


def test_rows_are_replaced_and_removed_among_folds(opened: Collection) -> None:
    opened.remove("first")
    add(opened, 0, 70)
    wanted = {f"r{number}": number for number in range(70)}
    for number in range(0, 70, 3):
        opened.add_vectors(row(number + 1000), names=[f"r{number}"], meta=[{"number": number + 1000}])
        wanted[f"r{number}"] = number + 1000
    for number in range(1, 70, 3):
        opened.remove(f"r{number}")
        del wanted[f"r{number}"]
    add(opened, 100, 130)
    holds(opened, wanted | {f"r{number}": number for number in range(100, 130)})


@given(st.lists(st.sampled_from([1, 2, 7, 9, 60, 500, 4096]), max_size=200))
def test_tiers_keep_every_row_in_its_place(sizes: list[int]) -> None:
    groups: list[Group] = []
    for size in sizes:  # shard numbers are those of the groups: each is one shard afterwards
        groups = tiers([*groups, Group(range(len(groups), len(groups) + 1), size)])
        assert [number for group in groups for number in group.shards] == list(
            range(groups[0].shards.start, groups[-1].shards.stop)
        )
        groups = [Group(range(at, at + 1), group.rows) for at, group in enumerate(groups)]
    assert sum(group.rows for group in groups) == sum(sizes)
    small = [group.tier for group in groups]
    for tier in range(TIERS):
        last = len(small) - next((at for at, one in enumerate(reversed(small)) if one > tier), len(small))
        assert small[last:].count(tier) < FAN


def test_a_change_prepared_before_a_fold_finds_its_rows(opened: Collection) -> None:
    add(opened, 0, 5)
    with Snapshot.open(opened.root) as before:
        wanted = before.locate(before.find_path("r3"))
        late = tombstones.bury(opened.root, [(wanted[0].path, wanted[1])], before.manifest)
        bare = tombstones.bury(opened.root, [(wanted[0].path, wanted[1])])
        add(opened, 5, 12)
        assert wanted[0].path not in {ref.path for ref in newest(opened.root).items}
        with pytest.raises(CommitConflict, match="compacted meanwhile"):
            commit(opened.root, bare, operation="remove")
        commit(opened.root, late, operation="remove")
    opened.refresh()
    assert len(opened) == 12
    with pytest.raises(Exception, match="r3"):
        opened.snapshot.find_path("r3")


def test_two_who_add_one_row_at_a_time_keep_all_of_them(opened: Collection) -> None:
    with Collection.open(opened.root) as other:
        for number in range(40):
            opened.add_vectors(row(number), names=[f"r{number}"], meta=[{"number": number}])
            other.add_vectors(row(number + 100), names=[f"o{number}"], meta=[{"number": number + 100}])
    opened.remove("first")
    holds(opened, {f"r{n}": n for n in range(40)} | {f"o{n}": n + 100 for n in range(40)})
    assert len(set(opened.snapshot.ids.tolist())) == opened.snapshot.rows


def test_nothing_is_folded_while_something_is_derived(opened: Collection) -> None:
    add(opened, 0, 5)
    with settled(opened.root):
        covered = newest(opened.root).items
        assert len(covered) == 1
        add(opened, 5, 30)
        assert newest(opened.root).items[:1] == covered
        assert RESERVE in {one.operation for one in (_version(opened.root, n) for n in numbers(opened.root))}
    assert RESERVE not in {_version(opened.root, number).operation for number in numbers(opened.root)}


def _version(root: Path, number: int) -> changes.Manifest:
    with Snapshot.open(root, number) as snapshot:
        return snapshot.manifest


def test_numbers_that_another_type_could_not_hold_are_not_folded(opened: Collection) -> None:
    large = (1 << 60) + 1
    for number in range(FAN):
        opened.add_vectors(row(number), names=[f"r{number}"], meta=[{"x": large if number % 2 else 0.5}])
    commit(opened.root, fold(opened.root, every=True), operation="fold")
    opened.refresh()
    assert opened.snapshot.item(opened.snapshot.find_path("r1")).meta == {"x": large}


def test_a_version_before_a_fold_can_be_gone_back_to(opened: Collection) -> None:
    add(opened, 0, 6)
    before = newest(opened.root).version
    add(opened, 6, 20)
    rollback(opened.root, before)
    opened.refresh()
    opened.remove("first")
    holds(opened, {f"r{number}": number for number in range(6)})


def test_versions_and_files_are_thinned(opened: Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(garbage, "KEPT_SMALL", 8)
    monkeypatch.setattr(garbage, "THINNED_EVERY", 4)
    opened.remove("first")
    first = numbers(opened.root)[:4]
    with Snapshot.open(opened.root, numbers(opened.root)[-1]) as pinned:
        add(opened, 0, 120)
        assert pinned.manifest.version in numbers(opened.root)
        assert pinned.live_rows == 0
    left = numbers(opened.root)
    assert set(first) & set(left)  # what did more than add or remove stays
    assert len(left) < 40
    files = [path for path in (opened.root / "items").iterdir() if not path.name.startswith(".")]
    assert len(files) < 60
    holds(opened, {f"r{number}": number for number in range(120)})
    for number in left:
        with Snapshot.open(opened.root, number) as snapshot:
            snapshot.ensure(snapshot.manifest.files())


def test_what_is_left_is_an_hour_apart(opened: Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = {
        number: f'{{"created":"2026-01-01T{hour:02}:59:10.000+00:00","operation":"{verb}"'.encode()
        for number, (hour, verb) in enumerate([(0, "add"), (0, "index"), (0, "tune"), (1, "add"), (1, "remove")])
    }
    assert list(garbage._between(texts, list(texts))) == [3, 1, 0]


def test_the_cache_of_what_was_hashed_does_not_grow_with_what_is_gone(
    opened: Collection, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("NESTVEC_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("engine.storage.verified.MOST_GONE", 20)
    monkeypatch.setattr(garbage, "KEPT_SMALL", 4)
    monkeypatch.setattr(garbage, "THINNED_EVERY", 1)
    add(opened, 0, 60)
    (cache,) = (tmp_path / "cache" / "verified").iterdir()
    there = sum(len(files) for _, _, files in os.walk(opened.root))
    assert len(cache.read_text().splitlines()) < 3 * there + 40
