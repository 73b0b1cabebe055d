"""Other captions, columns, times and names: the rows stay where they are, and so does all that covers them."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from engine.api import Collection
from engine.collection import changes, relabel
from engine.collection.commit import commit
from engine.collection.history import diff
from engine.collection.manifest import Manifest
from engine.collection.snapshot import Snapshot
from engine.collection.verify import verify
from engine.ingest import writer
from engine.jobs.build import BuildOptions, build_space
from engine.jobs.compact import compact
from engine.jobs.remove import remove
from engine.progress import Silent
from indexers.errors import CommitConflict
from tests.helpers import Hears, clustered, draw, index, needs_bundled, newest, save

ROWS = 50


def beside(folder: Path, captions: dict[int, str], columns: str = "") -> Path:
    """A table that lies beside the vectors; every row is called by its number."""
    lines = [f"{row},{captions.get(row, f'row {row}')}{columns and f',{row % 7}'}\n" for row in range(ROWS)]
    table = folder / "t.csv"
    table.write_text(f"file,caption{columns and ',' + columns}\n" + "".join(lines))
    return table


@pytest.fixture
def root(tmp_path: Path) -> Path:
    index(tmp_path / "c.nest", save(tmp_path / "v.npy", clustered(ROWS, 8)), table=beside(tmp_path, {}))
    return tmp_path / "c.nest"


def relabelled(root: Path, *rows: int, columns: str = "") -> None:
    """Index again with other captions."""
    folder = root.parent
    table = beside(folder, {row: f"another {row}" for row in rows}, columns)
    summary = index(root, folder / "v.npy", table=table)
    assert (summary.added, summary.unindexed) == (0, 0)


def vectors_of(manifest: Manifest) -> list[str]:
    """Everything that is made of vectors."""
    return sorted(ref.path for ref in manifest.files() if ref.path.startswith("spaces/"))


def captions(root: Path) -> dict[str, str | None]:
    with Collection.open(root) as opened:
        snapshot = opened.snapshot
        return {(item := snapshot.item(int(row))).path: item.caption for row in snapshot.live.numbers}


def test_a_new_caption_is_no_new_row(root: Path) -> None:
    before = newest(root)
    relabelled(root, 3, 30)
    after = newest(root)
    assert (after.rows, after.deletes, after.version) == (ROWS, None, before.version + 1)
    assert vectors_of(after) == vectors_of(before)
    assert captions(root)["3"] == "another 3"
    assert captions(root)["4"] == "row 4"
    assert [(one.kind, one.path) for one in diff(root, before.version)] == [("relabelled", "3"), ("relabelled", "30")]
    assert list(verify(root)) == []


def test_a_new_column_is_no_new_row(root: Path) -> None:
    before = newest(root)
    relabelled(root, columns="stars")
    assert newest(root).rows == ROWS
    assert vectors_of(newest(root)) == vectors_of(before)
    with Collection.open(root) as opened:
        assert opened.search(clustered(ROWS, 8)[9], k=1).items[0].meta == {"stars": 2}
    relabelled(root)
    with Collection.open(root) as opened:
        assert opened.search(clustered(ROWS, 8)[9], k=1).items[0].meta == {}
        assert "meta.stars" not in next(opened.snapshot.item_tables()).column_names


def test_only_shards_with_other_labels_are_written(root: Path, tmp_path: Path) -> None:
    index(root, save(tmp_path / "w.npy", clustered(7, 8, 1)), add=True)
    before = newest(root).items
    index(root, root.parent / "v.npy", table=beside(root.parent, {3: "another"}))
    after = newest(root).items
    assert before[0] != after[0]
    assert before[1:] == after[1:]


def test_rows_after_the_indexes_are_relabelled_too(root: Path, tmp_path: Path) -> None:
    more = save(tmp_path / "w.npy", clustered(7, 8, 1))
    index(root, more, add=True)
    lookup = newest(root).lookup
    (tmp_path / "u.csv").write_text("caption\n" + "more\n" * 7)
    assert index(root, more, table=tmp_path / "u.csv", add=True).relabelled == 7
    assert newest(root).lookup == lookup  # it does not hold them
    assert captions(root)["w.npy#3"] == "more"
    assert list(verify(root)) == []


def test_what_was_removed_stays_removed(root: Path) -> None:
    remove(root, ["7", "8"])
    index(root, root.parent / "v.npy", table=beside(root.parent, {9: "another"}))  # they come back as new rows
    before = newest(root)
    index(root, root.parent / "v.npy", table=beside(root.parent, {7: "another", 10: "another"}))
    assert newest(root).rows == before.rows == ROWS + 2
    assert before.dead_rows == 2
    assert len(captions(root)) == ROWS
    assert list(verify(root)) == []


def test_labels_are_written_in_parts_where_they_are_many(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.ingest.rows.SHARD_ROWS", 8)
    monkeypatch.setattr("engine.ingest.rows.SHARD_BYTES", 1)
    relabelled(root, *range(ROWS))
    assert captions(root) == {str(row): f"another {row}" for row in range(ROWS)}
    assert list(verify(root)) == []


@needs_bundled
def test_touched_and_renamed_pictures_keep_their_rows(tmp_path: Path) -> None:
    for number in range(4):
        draw(tmp_path / f"p/{number}.png", number)
    index(tmp_path / "c.nest", tmp_path / "p")
    before = newest(tmp_path / "c.nest")
    os.utime(tmp_path / "p/0.png", ns=(1, 1))
    (tmp_path / "p/1.png").rename(tmp_path / "p/new.png")
    (tmp_path / "p/2.txt").write_text("a caption")
    summary = index(tmp_path / "c.nest", tmp_path / "p")
    assert (summary.moved, summary.relabelled, summary.added, summary.removed) == (1, 1, 0, 0)
    after = newest(tmp_path / "c.nest")
    assert (after.rows, after.deletes) == (4, None)
    assert vectors_of(after) == vectors_of(before)
    assert captions(tmp_path / "c.nest") == {"0.png": None, "new.png": None, "2.png": "a caption", "3.png": None}
    assert index(tmp_path / "c.nest", tmp_path / "p").version == after.version


# -- beside others -----------------------------------------------------------------------------


def relabelling(root: Path, row: int, on: Manifest, shard: int = 0) -> changes.Change:
    """Write another caption for a row, as it was in a version."""
    with Snapshot.open(root) as snapshot:
        table = next(snapshot.item_tables(first=shard)).slice(row, 1)
    (key,) = table.column("key").to_pylist()
    table = table.set_column(table.column_names.index("caption"), "caption", [["by the other"]])
    ref = on.items[shard]
    new = relabel.rewrite_items(root, ref, np.array([row]), table)
    return relabel.relabel(root, {ref.path: new}, {key}, on)


def test_labels_go_beside_an_append(root: Path, tmp_path: Path) -> None:
    late = relabelling(root, 3, newest(root))
    index(root, save(tmp_path / "w.npy", clustered(7, 8, 1)), add=True)
    assert commit(root, late, operation="index").rows == ROWS + 7
    assert captions(root)["3"] == "by the other"


def test_an_append_goes_after_labels(root: Path, tmp_path: Path) -> None:
    def meanwhile(text: str) -> None:
        if "to look at" in text:
            commit(root, relabelling(root, 3, newest(root)), operation="index")

    from engine.jobs.index import RunOptions, add

    add(root, [save(tmp_path / "w.npy", clustered(7, 8, 1))], RunOptions(device="cpu"), Hears(meanwhile))
    assert newest(root).rows == ROWS + 7
    assert captions(root)["3"] == "by the other"
    assert list(verify(root)) == []


def test_labels_of_what_was_removed_meanwhile(root: Path) -> None:
    late = relabelling(root, 3, newest(root))
    remove(root, ["3", "5"])
    commit(root, late, operation="index")
    assert {"3", "5"}.isdisjoint(captions(root))
    assert list(verify(root)) == []


def test_what_is_removed_while_it_is_relabelled_is_looked_up_again(root: Path) -> None:
    late = [relabelling(root, 3, newest(root))]

    class Name(str):
        """Is relabelled between the look at its row and its tombstone."""

        __hash__ = str.__hash__

        def __str__(self) -> str:
            return self  # so that a check of it gives back the same

        def __eq__(self, other: object) -> bool:
            if late:
                commit(root, late.pop(), operation="index")
            return str.__eq__(self, other)

    assert remove(root, [Name("3")]).removed == 1
    assert "3" not in captions(root)
    assert not late


def test_two_who_relabel_the_same_shard(root: Path) -> None:
    one, other = (relabelling(root, row, newest(root)) for row in (3, 4))
    commit(root, one, operation="index")
    with pytest.raises(CommitConflict, match="relabelled; run this again"):
        commit(root, other, operation="index")


def test_labels_after_a_compaction_are_refused(root: Path) -> None:
    late = relabelling(root, 3, newest(root))
    remove(root, ["5"])
    compact(root)
    with pytest.raises(CommitConflict, match="compacted meanwhile"):
        commit(root, late, operation="index")


@pytest.mark.parametrize("lookup", [True, False])
def test_indexes_that_were_built_meanwhile_stand(root: Path, lookup: bool, tmp_path: Path) -> None:
    if not lookup:
        index(root, save(tmp_path / "w.npy", clustered(7, 8, 1)), add=True)
    with Snapshot.open(root) as snapshot:
        late = build_space(snapshot, "main", BuildOptions(), Silent())
    commit(root, relabelling(root, 3, newest(root)), operation="index")
    done = commit(root, late, operation="build")
    assert done.lookup is not None
    assert done.rows_in(done.lookup.span) == done.rows
    assert captions(root)["3"] == "by the other"
    assert list(verify(root)) == []


def test_the_last_shard_of_a_run_knows_its_rows_under_their_new_names(root: Path, tmp_path: Path) -> None:
    """Labels, changed vectors and rows that are gone, in one version and in several."""
    assert writer.SHARD_ROWS >= ROWS
    rows = clustered(ROWS, 8)
    rows[[4, 5]] *= -1
    save(tmp_path / "v.npy", rows)
    summary = index(root, tmp_path / "v.npy", table=beside(tmp_path, {1: "one", 4: "four"}))
    assert (summary.changed, summary.relabelled) == (2, 1)
    found = captions(root)
    assert (found["1"], found["4"], found["5"]) == ("one", "four", "row 5")
    assert list(verify(root)) == []
