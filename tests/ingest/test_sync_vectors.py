"""Bringing a collection in line with files of vectors: ids stay, work is done once."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine.api import Collection
from engine.collection import shards
from engine.collection.commit import current_version, read_version
from engine.collection.describe import describe, list_failures
from engine.collection.verify import verify
from engine.progress import Summary
from indexers.errors import CommitConflict, EncoderMismatch, InvalidSpec, ModalityError, SourceError
from indexers.vectors import FloatArray
from tests.helpers import clustered, draw, index, newest, save


def counts(summary: Summary) -> dict[str, int]:
    """What a run did, without what it did not do."""
    words = ("added", "changed", "moved", "relabelled", "removed", "unchanged", "failed", "encoded")
    return {word: getattr(summary, word) for word in words if getattr(summary, word)}


def table(path: Path, vectors: FloatArray, **columns: list[Any]) -> Path:
    """Write vectors with columns, at another time than the file had before."""
    before = path.stat().st_mtime_ns if path.exists() else 0
    pq.write_table(pa.table({**columns, "vector": pa.array(vectors.tolist(), pa.list_(pa.float32()))}), path)
    os.utime(path, ns=(before + 10**9, before + 10**9))
    return path


def items(root: Path) -> dict[str, tuple[int, str | None, dict[str, Any]]]:
    """Id, caption and columns of every live item by its path."""
    with Collection.open(root) as opened:
        snapshot = opened.snapshot
        live = np.setdiff1d(np.arange(snapshot.rows), snapshot.deleted)
        found = [snapshot.item(int(row)) for row in live]
    assert len({item.path for item in found}) == len({item.id for item in found}) == len(found)
    return {item.path: (item.id, item.caption, item.meta) for item in found}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "c.nest"


X = clustered(40, 8)
NAMES = [f"n{row}" for row in range(40)]


@pytest.fixture
def source(root: Path, tmp_path: Path) -> Path:
    """Forty named rows, indexed."""
    path = table(tmp_path / "v.parquet", X, name=NAMES, caption=NAMES)
    assert counts(index(root, path)) == {"added": 40}
    return path


def test_the_second_time_nothing_is_done(root: Path, source: Path) -> None:
    version = current_version(root)
    assert counts(index(root, source)) == {"unchanged": 40}
    assert current_version(root) == version


def test_a_touched_file_is_compared_by_content(root: Path, source: Path) -> None:
    parts = newest(root).items
    os.utime(source)
    assert counts(index(root, source)) == {"unchanged": 40}
    assert newest(root).items == parts
    version = current_version(root)
    assert counts(index(root, source)) == {"unchanged": 40}
    assert current_version(root) == version


def test_changed_rows_keep_their_ids(root: Path, source: Path) -> None:
    before = items(root)
    changed = X.copy()
    changed[[3, 7]] = clustered(2, 8, 9)
    table(source, changed, name=NAMES, caption=NAMES)
    assert counts(index(root, source)) == {"changed": 2, "unchanged": 38}
    assert items(root) == before
    with Collection.open(root) as opened:
        assert opened.search(changed[3], k=1).uris == ["n3"]
        assert opened.search(X[3], k=1).scores[0] < 0.999


def test_another_caption_or_column_needs_no_vector(root: Path, source: Path) -> None:
    before = items(root)
    table(source, X, name=NAMES, caption=["new", *NAMES[1:]], stars=[None, 5.0, *[None] * 38])
    assert counts(index(root, source)) == {"relabelled": 2, "unchanged": 38}
    after = items(root)
    assert after["n0"] == (before["n0"][0], "new", {"stars": None})
    assert after["n1"] == (before["n1"][0], "n1", {"stars": 5.0})
    with Collection.open(root) as opened:
        assert opened.search(X[0], k=1).uris == ["n0"]
        assert opened.search(X[0], k=1).scores[0] > 0.999


def test_another_table_beside_the_same_vectors(root: Path, tmp_path: Path) -> None:
    vectors, beside = save(tmp_path / "v.npy", X), tmp_path / "t.csv"
    beside.write_text("file,caption\n" + "".join(f"{name},old\n" for name in NAMES))
    index(root, vectors, table=beside)
    beside.write_text(beside.read_text().replace("n7,old", "n7,new"))
    assert counts(index(root, vectors, table=beside)) == {"relabelled": 1, "unchanged": 39}
    assert items(root)["n7"][1:] == ("new", {})


def test_rows_that_are_gone_are_removed_by_index_and_not_by_add(root: Path, source: Path) -> None:
    table(source, X[:30], name=NAMES[:30], caption=NAMES[:30])
    assert counts(index(root, source, add=True)) == {"unchanged": 30}
    assert counts(index(root, source)) == {"unchanged": 30, "removed": 10}
    assert set(items(root)) == set(NAMES[:30])
    assert counts(index(root, source)) == {"unchanged": 30}


def test_what_comes_back_is_a_new_item(root: Path, source: Path) -> None:
    last = items(root)["n39"][0]
    table(source, X[:39], name=NAMES[:39], caption=NAMES[:39])
    index(root, source)
    table(source, X, name=NAMES, caption=NAMES)
    assert counts(index(root, source)) == {"added": 1, "unchanged": 39}
    assert items(root)["n39"][0] > last


def test_rows_that_fail_are_told_and_later_mended(root: Path, tmp_path: Path) -> None:
    bad = X.copy()
    bad[3, 2], bad[5], bad[7, 0] = np.nan, 0, np.inf
    path = table(tmp_path / "v.parquet", bad, name=NAMES)
    assert counts(index(root, path)) == {"added": 37, "failed": 3}
    assert {row["path"]: row["reason"].split("has ")[1][:6] for row in list_failures(root)} == {
        **{"n3": "NaN or", "n5": "length", "n7": "NaN or"},
    }
    table(path, X, name=NAMES)
    assert counts(index(root, path)) == {"added": 3, "unchanged": 37}
    assert list_failures(root) == []


def test_a_row_that_goes_wrong_keeps_its_last_good_vector(root: Path, source: Path) -> None:
    bad = X.copy()
    bad[3] = np.nan
    table(source, bad, name=NAMES, caption=NAMES)
    assert counts(index(root, source)) == {"unchanged": 39, "failed": 1}
    with Collection.open(root) as opened:
        assert opened.search(X[3], k=1).uris == ["n3"]


def test_two_rows_of_a_name(root: Path, tmp_path: Path) -> None:
    path = table(tmp_path / "v.parquet", X[:3], name=["a", "b", "a"])
    assert counts(index(root, path)) == {"added": 2, "failed": 1}
    assert [(row["path"], row["reason"]) for row in list_failures(root)] == [
        ("a", "another row of this source has the same name")
    ]
    with Collection.open(root) as opened:
        assert opened.search(X[0], k=1).scores[0] > 0.999
    assert counts(index(root, path)) == {"unchanged": 2, "failed": 1}


def test_sources_do_not_disturb_each_other(root: Path, source: Path, tmp_path: Path) -> None:
    other = table(tmp_path / "w.parquet", clustered(10, 8, 3), name=NAMES[:10])
    index(root, other)
    with Collection.open(root) as opened:
        assert len(opened) == 50
        assert [one.name for one in opened.snapshot.manifest.sources] == ["v.parquet", "w.parquet"]
        assert opened.search(clustered(10, 8, 3)[0], k=1).ids[0] >= 40


def test_the_same_source_named_twice(root: Path, tmp_path: Path) -> None:
    path = table(tmp_path / "v.parquet", X, name=NAMES)
    assert counts(index(root, path, path)) == {"added": 40}


def test_new_rows_are_searched_exactly_and_at_once(root: Path, source: Path, tmp_path: Path) -> None:
    new = clustered(30, 8, 5)
    summary = index(root, save(tmp_path / "w.npy", new), add=True)
    assert (summary.added, summary.unindexed) == (30, 30)
    with Collection.open(root) as opened:
        assert describe(root)["spaces"]["main"]["unindexed"] == 30
        found = opened.search(np.vstack([new[:5], X[:5]]), k=3)
        every = np.vstack([X, new]).astype(np.float16).astype(np.float32)
        for query, answers in zip(np.vstack([new[:5], X[:5]]), found, strict=True):
            best = np.sort(every @ query)[::-1][:3]
            np.testing.assert_allclose(answers.scores, best, atol=2e-3)


def test_beyond_the_cap_new_rows_are_folded_into_the_indexes(root: Path, tmp_path: Path) -> None:
    index(root, save(tmp_path / "v.npy", clustered(300, 8)), specs=["flat@4"])
    many = clustered(4200, 8, 2)
    below = index(root, save(tmp_path / "w.npy", many[:4000]), add=True)
    assert below.unindexed == 4000
    above = index(root, save(tmp_path / "x.npy", many[4000:]), add=True)
    assert above.unindexed == 0
    with Collection.open(root) as opened:
        # The index that was asked for the first time, and no other.
        assert [str(entry.spec) for entry in opened.space.indexes] == ["flat@4"]
        assert opened.space.indexes[0].covering.file.rows == 4500
        assert opened.search(many[4100], k=1).uris == ["x.npy#100"]


def test_a_large_source_becomes_several_shards(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "MOST_SHARD_ROWS", 4096)
    path = save(tmp_path / "v.npy", clustered(9000, 4))
    index(root, path)
    manifest = read_version(root, current_version(root))
    assert [ref.rows for ref in manifest.items] == [4096, 4096, 808]
    assert list(verify(root)) == []
    assert sorted(identity for identity, _, _ in items(root).values()) == list(range(9000))
    assert counts(index(root, path)) == {"unchanged": 9000}


# -- what does not go together -------------------------------------------------------------


def test_vectors_of_another_dimension(root: Path, source: Path, tmp_path: Path) -> None:
    other = save(tmp_path / "w.npy", clustered(3, 9))
    version = current_version(root)
    for sources in ([other], [source, other]):
        with pytest.raises(SourceError, match=r"w\.npy holds vectors of 9 dimensions, and precomputed makes 8"):
            index(root, *sources)
    assert current_version(root) == version


def test_another_encoder_is_refused_with_both_named(root: Path, source: Path) -> None:
    with pytest.raises(EncoderMismatch, match=r"vectors of precomputed \(.*precomputed:other \("):
        index(root, source, encoder="precomputed:other")


def test_pictures_need_an_encoder(root: Path, source: Path, tmp_path: Path) -> None:
    draw(tmp_path / "photos/a.png", 0)
    with pytest.raises(ModalityError, match="precomputed"):
        index(root, tmp_path / "photos")
    with pytest.raises(InvalidSpec, match="takes vectors"):
        index(tmp_path / "d.nest", tmp_path / "photos", encoder="precomputed")
    assert not (tmp_path / "d.nest").exists()


def test_a_wrong_index_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    path = save(tmp_path / "v.npy", X)
    for wrong in (["flat@9"], ["flat@4:x=1"], ["tree@4"], ["ivf-flat@4:nlist=2", "ivf-flat@4:nlist=3"]):
        with pytest.raises(InvalidSpec):
            index(tmp_path / "e.nest", path, specs=wrong)
        assert not list((tmp_path / "e.nest").rglob("*.parquet"))


def test_a_table_of_another_length_leaves_nothing_behind(root: Path, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("file\na\nb\n")
    with pytest.raises(SourceError, match="row for row"):
        index(root, save(tmp_path / "v.npy", X), table=tmp_path / "t.csv")
    assert not list(root.rglob("items/*"))


def test_another_process_that_indexes_the_same_source(root: Path, tmp_path: Path) -> None:
    path = table(tmp_path / "v.parquet", X, name=NAMES)

    class Meddler:
        """Somebody else's run, between our first look and our first commit."""

        done = False

        def say(self, text: str) -> None:
            if not self.done and "to look at" in text:
                self.done = True
                index(root, path)

        def progress(self, task: str, total: int | None) -> Any:
            from contextlib import nullcontext

            return nullcontext(lambda _steps: None)

    from engine.jobs.index import RunOptions
    from engine.jobs.index import index as run_index

    index(root, save(tmp_path / "w.npy", clustered(3, 8, 1)))
    with pytest.raises(CommitConflict, match="another process"):
        run_index(root, [path], RunOptions(device="cpu"), Meddler())
    assert len(items(root)) == 43
    assert list(verify(root)) == []
