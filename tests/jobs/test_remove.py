"""Removing and compacting: ids and answers stay, and an open collection goes on answering."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from engine.api import Collection
from engine.collection.commit import current_version
from engine.collection.snapshot import Snapshot
from engine.collection.verify import verify
from engine.jobs.compact import compact
from engine.jobs.remove import remove
from indexers.errors import CommitConflict, InvalidInput, ItemNotFound
from tests.helpers import clustered, index, save, vectors_collection

NAMES = ["a.png", "sub/b.png", "sub/deep/c.png", "subway.png", "caf%E9/d.png"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Sixty rows, and five with names like those of pictures in folders."""
    path = vectors_collection(tmp_path)
    with Collection.open(path) as opened:
        meta = [{"n": 1}, {"n": 2.5}, {}, {"n": "three"}, {}]
        opened.add_vectors(
            clustered(5, 8, 1), names=NAMES, captions=["x", None, "z", None, "d"], meta=meta, source="tree"
        )
    return path


def live(root: Path) -> set[str]:
    with Snapshot.open(root) as snapshot:
        rows = np.setdiff1d(np.arange(snapshot.rows), snapshot.deleted)
        return {snapshot.item(int(row)).path for row in rows}


# -- remove --------------------------------------------------------------------------------


def test_by_path_and_id(root: Path) -> None:
    summary = remove(root, ["a.png", "v.npy#0"], ids=[5, 0])
    assert (summary.removed, summary.version) == (3, current_version(root))
    assert not live(root) & {"a.png", "v.npy#0", "v.npy#5"}
    with Collection.open(root) as opened:
        assert len(opened) == 62
        assert "v.npy#0" not in opened.search(clustered(60, 8)[0], k=62).uris


@pytest.mark.parametrize(
    ("below", "gone"),
    [
        ("sub", {"sub/b.png", "sub/deep/c.png"}),
        ("sub/", {"sub/b.png", "sub/deep/c.png"}),
        ("./sub/deep", {"sub/deep/c.png"}),
        ("caf\udce9", {"caf%E9/d.png"}),
        ("caf%E9", {"caf%E9/d.png"}),
    ],
)
def test_below_a_folder(root: Path, below: str, gone: set[str]) -> None:
    assert remove(root, [], below=[below]).removed == len(gone)
    assert set(NAMES) - live(root) == gone


@pytest.mark.parametrize(
    "wrong", [{"paths": ["a.png", "none"]}, {"ids": [0, 999]}, {"below": ["sub", "none"]}, {"below": ["a.png"]}]
    , ids=str
)  # fmt: skip
def test_what_is_not_there_removes_nothing(root: Path, wrong: dict[str, list[str]]) -> None:
    before = live(root)
    with pytest.raises(ItemNotFound):
        remove(root, **{"paths": [], **wrong})
    assert live(root) == before


def test_nothing_named(root: Path) -> None:
    with pytest.raises(InvalidInput, match="at least one"):
        remove(root, [])


def test_twice(root: Path) -> None:
    remove(root, ["a.png"])
    with pytest.raises(ItemNotFound):
        remove(root, ["a.png"])


def test_all_of_it(root: Path) -> None:
    assert remove(root, [], ids=range(65)).removed == 65
    with Collection.open(root) as opened:
        assert len(opened) == 0
        assert len(opened.search(clustered(1, 8)[0], k=5)) == 0
        opened.compact()
        assert (len(opened), opened.snapshot.rows) == (0, 0)
        opened.add_vectors(clustered(2, 8), names=["x", "y"])
        assert opened.search(clustered(2, 8)[0], k=5).ids.tolist() == [65, 66] or len(opened) == 2
    assert list(verify(root)) == []


def test_the_api_takes_one_path_as_it_is(root: Path) -> None:
    with Collection.open(root) as opened:
        assert opened.remove("a.png").removed == 1
        assert opened.remove(below="sub").removed == 2


# -- compact -------------------------------------------------------------------------------


def test_ids_items_and_answers_are_as_they_were(root: Path) -> None:
    remove(root, ["a.png", "v.npy#3"], below=["sub/deep"])
    xq = clustered(20, 8, 7)
    with Collection.open(root) as before:
        old = [(answers.ids.tolist(), answers.scores.tolist()) for answers in before.search(xq, k=10)]
        items = {
            item.id: (item.path, item.caption, item.width) for one in before.search(xq, k=62) for item in one.items
        }
        before.compact()
        new = [(answers.ids.tolist(), answers.scores.tolist()) for answers in before.search(xq, k=10, exact=True)]
        assert items == {
            item.id: (item.path, item.caption, item.width) for one in before.search(xq, k=62) for item in one.items
        }
        assert (before.snapshot.rows, len(before.snapshot.deleted)) == (62, 0)
        assert len(before.snapshot.manifest.items) == 1
        assert before.snapshot.item(before.snapshot.find_path("sub/b.png")).meta == {"n": "2.5"}
    assert [ids for ids, _ in old] == [ids for ids, _ in new]
    np.testing.assert_allclose([scores for _, scores in old], [scores for _, scores in new], atol=1e-6)
    assert list(verify(root)) == []


def test_ids_are_not_handed_out_again(root: Path) -> None:
    last = 64
    remove(root, [], ids=[last])
    compact(root)
    with Collection.open(root) as opened:
        opened.add_vectors(clustered(1, 8, 5), names=["new"])
        assert opened.snapshot.ids.max() > last


def test_what_was_indexed_is_still_known(root: Path, tmp_path: Path) -> None:
    remove(root, ["a.png"])
    compact(root)
    assert index(root, tmp_path / "v.npy").unchanged == 60


def test_indexes_that_were_asked_for_are_built_again(tmp_path: Path) -> None:
    index(tmp_path / "c.nest", save(tmp_path / "v.npy", clustered(500, 8)), specs=["ivf-flat@4:nlist=3", "flat@8"])
    remove(tmp_path / "c.nest", ["v.npy#0"])
    with Collection.open(tmp_path / "c.nest") as opened:
        opened.compact()
        assert [str(entry.spec) for entry in opened.space.indexes] == ["ivf-flat@4:nlist=3", "flat@8"]


def test_a_collection_that_is_open_goes_on_answering(root: Path) -> None:
    xq = clustered(3, 8, 2)
    with Collection.open(root) as opened, Collection.open(root) as other:
        first = [one.uris for one in opened.search(xq, k=5)]
        other.remove(below="sub")
        other.compact()
        assert [one.uris for one in opened.search(xq, k=5)] == first
        assert opened.version < other.version
        assert opened.refresh()
        assert not opened.refresh()
        assert len(opened) == 63


class Meddler:
    """Somebody else's change while we build."""

    def __init__(self, root: Path) -> None:
        self.root: Path | None = root

    def say(self, text: str) -> None:
        if self.root is not None:
            root, self.root = self.root, None
            remove(root, ["v.npy#7"])

    def progress(self, task: str, total: int | None) -> None:
        raise NotImplementedError


def test_a_change_meanwhile_is_refused_and_not_lost(root: Path) -> None:
    with pytest.raises(CommitConflict, match="run compact again"):
        compact(root, listener=Meddler(root))  # type: ignore[arg-type]
    assert "v.npy#7" not in live(root)
    compact(root)
    assert len(live(root)) == 64
    assert list(verify(root)) == []
