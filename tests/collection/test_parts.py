"""Derived files in several parts: read, checked, kept, repaired and rolled back like those in one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from engine.api import Collection
from engine.collection import changes
from engine.collection.commit import commit, current_version
from engine.collection.describe import describe
from engine.collection.garbage import collect
from engine.collection.history import diff, rollback
from engine.collection.manifest import Covering, Manifest, Part, Space, coverings_of
from engine.collection.relabel import relabel, rewrite_items
from engine.collection.shards import read_table
from engine.collection.verify import verify
from engine.jobs.compact import compact
from engine.jobs.due import is_due, tail_rows
from engine.jobs.index import RunOptions
from engine.jobs.repair import repair
from engine.progress import Silent
from engine.storage import layout
from engine.storage.place import versions
from indexers.base import IndexSpec
from indexers.errors import CommitConflict, CorruptCollection
from indexers.pruned import is_available
from tests.helpers import clustered, flip_bit, newest
from tests.parts import add_part

DIM, ROWS = 8, (20, 15, 30, 5)
X = clustered(sum(ROWS), DIM)
GOLDEN = Path(__file__).parents[1] / "golden" / "format-1"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four shards: one part of the first, another of the next two, and the last uncovered; two rows are removed."""
    root = tmp_path_factory.mktemp("made") / "c.nest"
    starts = np.cumsum([0, *ROWS])
    with Collection.create(root, encoder="precomputed", dim=DIM, device="cpu") as opened:

        def add(shard: int) -> None:
            rows = range(starts[shard], starts[shard + 1])
            opened.add_vectors(X[rows.start : rows.stop], names=[f"row {row}" for row in rows], source="x")

        add(0)
        opened.build(["flat@2", "sq@4"])
        add(1)
        add(2)
        add_part(root, ["flat@2", "sq@4"], pruned=is_available())
        opened.refresh()
        add(3)
        opened.remove(["row 3", "row 40"])
    return root


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "c.nest"))


def main_of(root: Path) -> Space:
    return newest(root).space()


def answered(root: Path) -> None:
    """A search by each way finds what is there."""
    with Collection.open(root, device="cpu") as opened:
        for plan in (None, "exact", "flat@2 | 9@8"):
            answers = opened.search(X[[0, 25, 50, 68]], 2, plan=plan)
            assert [one.uris[0] for one in answers] == ["row 0", "row 25", "row 50", "row 68"]
        assert opened.search(X[40], 1).uris != ["row 40"]


def test_what_the_parts_are(root: Path) -> None:
    manifest, entry = newest(root), main_of(root)
    first, second = entry.parts
    assert (first.vectors.span, second.vectors.span, entry.covered) == (range(1), range(1, 3), 3)
    assert [str(one.spec) for one in second.indexes] == ["flat@2", "sq@4:bits=8"]
    assert (first.vectors.file.rows, second.vectors.file.rows) == (20, 45)
    assert tail_rows(manifest, "main") == 5
    assert not is_due(manifest, "main", None)
    assert not is_due(manifest, "main", [IndexSpec("flat", 2), IndexSpec("sq", 4)])
    assert is_due(manifest, "main", [IndexSpec("flat", 2)])
    second = replace(entry.more[0], indexes=())
    bare = replace(manifest, spaces={"main": replace(entry, more=(second,))})
    assert is_due(bare, "main", None)
    told = describe(root)["spaces"]["main"]
    assert told["unindexed"] == 5
    assert told["vectors"] == {"bytes": sum(one.vectors.file.size for one in entry.parts), "bytes_per_item": 19.9}
    assert [one["spec"] for one in told["indexes"]] == ["flat@2", "sq@4:bits=8"] * 2


def test_it_is_whole_and_answers(root: Path) -> None:
    assert list(verify(root)) == []
    answered(root)


def test_only_further_parts_are_written_more_of(root: Path) -> None:
    text = newest(root).to_json()
    body = json.loads(text)["body"]["spaces"]["main"]
    assert text.count('"first":') == sum(len(coverings_of(part)) for part in main_of(root).more)
    assert list(body)[-1] == "more"
    plain = replace(newest(root), spaces={"main": replace(main_of(root), more=())}).to_json()
    assert '"first"' not in plain
    assert '"more"' not in plain


def test_an_index_of_other_rows_is_no_part_of_one(root: Path) -> None:
    manifest, entry = newest(root), main_of(root)
    other = changes.cover(manifest, entry.parts[0].vectors.file, range(2))
    index = replace(entry.indexes[0], covering=other)
    found = replace(entry, indexes=(index, entry.indexes[1]), pruned=other).parts[0]
    assert found == Part(entry.parts[0].vectors, (entry.indexes[1],))
    assert entry.bare().parts == ()
    assert (entry.bare().covered, entry.bare().more) == (0, ())


def test_it_survives_gc(root: Path) -> None:
    before = main_of(root)
    collect(root, older_than=timedelta(0))
    assert main_of(root) == before
    assert list(verify(root)) == []
    answered(root)


def test_compaction_makes_one_part(root: Path) -> None:
    compact(root)
    assert [part.vectors.file.rows for part in main_of(root).parts] == [68]
    collect(root, older_than=timedelta(0))
    assert list(verify(root)) == []
    answered(root)


def test_a_rebuild_makes_one_part(root: Path) -> None:
    with Collection.open(root, device="cpu") as opened:
        opened.build()
    (part,) = main_of(root).parts
    assert part.vectors.span == range(4)
    assert [str(one.spec) for one in part.indexes] == ["flat@2", "sq@4:bits=8"]
    assert list(verify(root)) == []
    answered(root)


def test_a_build_of_fewer_shards_leaves_the_parts(root: Path) -> None:
    manifest, entry = newest(root), main_of(root)
    assert manifest.lookup is not None
    assert entry.vectors is not None
    older = changes.list_built(
        root,
        "main",
        embeddings=entry.embeddings[:2],
        head=None,
        lookup=manifest.lookup,
        words=manifest.words,
        vectors=changes.cover(manifest, entry.vectors.file, range(2)),
        indexes=(),
        pruned=None,
        plans=(),
    )
    assert older(manifest) == manifest


def test_a_tuning_of_other_parts_is_a_conflict(root: Path) -> None:
    entry = main_of(root)
    alone = replace(entry, more=())
    late = changes.tuned("main", alone, entry.indexes, None, entry.plans[0], entry.tuning)  # type: ignore[arg-type]
    with pytest.raises(CommitConflict, match="built anew while it was tuned"):
        commit(root, late, operation="tune")


def damage(root: Path, covering: Covering) -> None:
    flip_bit(root / covering.file.path, covering.file.size // 2)


@pytest.mark.parametrize("at", range(3 + is_available()))
def test_a_damaged_part_is_found_and_built_again(root: Path, at: int) -> None:
    covering = coverings_of(main_of(root).more[0])[at]
    damage(root, covering)
    (problem,) = verify(root)
    assert (problem.path, problem.derived) == (covering.file.path, True)
    done = repair(root, RunOptions(device="cpu"), Silent())
    assert (done.restored, done.lost) == ([(covering.file.path, "the shards")], [])
    assert [part.vectors.span for part in main_of(root).parts] == [range(4)]
    assert list(verify(root)) == []
    answered(root)


@pytest.mark.parametrize("shard", range(3))
def test_vectors_come_from_the_matrix_of_their_part(root: Path, shard: int) -> None:
    before = main_of(root)
    flip_bit(root / before.embeddings[shard].path, 200)
    done = repair(root, RunOptions(device="cpu"), Silent())
    assert done.restored == [(before.embeddings[shard].path, "the matrix for reranking")]
    assert (done.lost, list(verify(root))) == ([], [])
    answered(root)


def test_items_from_the_lookup_leave_the_parts(root: Path) -> None:
    """A shard of the second part has another name then, and the part says so."""
    with Collection.open(root, device="cpu") as opened:
        opened.build()
        lookup = opened.snapshot.manifest.lookup
    rollback(root, versions(root)[-2])
    late = replace(newest(root), lookup=lookup)
    commit(root, lambda base: replace(late, version=base.version), operation="build")
    before = newest(root)
    flip_bit(root / before.items[1].path, 100)
    done = repair(root, RunOptions(device="cpu"), Silent())
    assert done.restored == [(before.items[1].path, "the lookup")]
    assert [part.vectors.file for part in main_of(root).parts] == [part.vectors.file for part in before.space().parts]
    collect(root, older_than=timedelta(0))  # nobody can go back to what lists the shard that was damaged
    assert list(verify(root)) == []
    answered(root)


def test_other_labels_leave_the_parts(root: Path) -> None:
    before = newest(root)
    ref = before.items[2]
    table = read_table(root, ref).slice(4, 1)
    for name, value in (("caption", "told"), ("meta_key", 7)):
        at = table.column_names.index(name)
        table = table.set_column(at, table.schema.field(at), pa.array([value], table.schema.field(at).type))
    new = rewrite_items(root, ref, np.array([4]), table)
    commit(root, relabel(root, {ref.path: new}, set(), before), operation="index")
    assert [part.vectors.file for part in main_of(root).parts] == [part.vectors.file for part in before.space().parts]
    assert list(verify(root)) == []
    assert [one.kind for one in diff(root, before.version)] == ["relabelled"]
    answered(root)


def test_a_rollback_keeps_parts_that_are_whole(root: Path) -> None:
    number, before = current_version(root), main_of(root)
    with Collection.open(root, device="cpu") as opened:
        opened.build()
    rollback(root, number)
    assert main_of(root) == before
    assert list(verify(root)) == []


def test_a_rollback_leaves_out_what_is_damaged(root: Path) -> None:
    number, second = current_version(root), main_of(root).more[0]
    with Collection.open(root, device="cpu") as opened:
        opened.build()
    damage(root, second.vectors)
    rollback(root, number)
    assert main_of(root).parts == ()
    assert list(verify(root)) == []


def test_a_collection_that_was_there_before_gets_parts(tmp_path: Path) -> None:
    """The golden one, whose last shards nothing covered."""
    root = Path(shutil.copytree(GOLDEN / "nested", tmp_path / "nested"))
    for space in ("main", "turned"):
        before = newest(root).space(space).covered
        add_part(root, space=space)
        first, second = newest(root).space(space).parts
        assert (first.vectors.span, second.vectors.span) == (range(before), range(before, 3))
    assert list(verify(root)) == []
    collect(root, older_than=timedelta(0))
    compact(root)
    assert [len(entry.parts) for entry in newest(root).spaces.values()] == [1, 1]
    assert list(verify(root)) == []


# -- what does not fit -------------------------------------------------------------------------


def _first(covering: Covering, by: int) -> Covering:
    return replace(covering, first=covering.first + by)


def _second(change: Callable[[Part], Part]) -> Callable[[Manifest, Space], Any]:
    return lambda _, entry: replace(entry, more=(change(entry.more[0]),))


def _over(span: range) -> Callable[[Manifest, Space], Any]:
    """Say that the second part covers other shards, with all else as it would have to be."""

    def change(manifest: Manifest, entry: Space) -> Space:
        file = replace(entry.more[0].vectors.file, rows=manifest.rows_in(span))
        return replace(entry, more=(Part(changes.cover(manifest, file, span)),))

    return change


def _second_alone(_: Manifest, entry: Space) -> Space:
    second = entry.more[0]
    return replace(entry, vectors=second.vectors, indexes=second.indexes, pruned=second.pruned, more=())


MISFITS: dict[str, Callable[[Manifest, Space], Space]] = {
    "a part that leaves out a shard": _over(range(2, 3)),
    "a part that covers a shard twice": _over(range(3)),
    "a part beyond the last shard": _over(range(1, 5)),
    "a part without shards": _over(range(1, 1)),
    "a negative first": _second(lambda part: replace(part, vectors=_first(part.vectors, -2))),
    "a first part that does not begin with the first shard": _second_alone,
    "further parts without a first": lambda _, entry: replace(entry, vectors=None, indexes=(), pruned=None),
    "the digest of other shards": _second(
        lambda part: replace(part, vectors=replace(part.vectors, shards_digest="0" * 32))
    ),
    "other rows": _second(
        lambda part: replace(part, vectors=replace(part.vectors, file=replace(part.vectors.file, rows=44)))
    ),
    "an index that begins elsewhere": lambda manifest, entry: replace(
        entry,
        indexes=(replace(entry.indexes[0], covering=_over(range(1, 2))(manifest, entry).more[0].vectors),),
    ),
    "an index where vectors should be": _second(lambda part: replace(part, vectors=part.indexes[0].covering)),
    "vectors where an index should be": _second(
        lambda part: replace(part, indexes=(replace(part.indexes[0], covering=part.vectors),))
    ),
    "parts in another order": lambda _, entry: replace(entry, more=(*entry.more, *entry.more)),
}


@pytest.mark.parametrize("name", MISFITS)
def test_parts_that_do_not_fit_are_refused(root: Path, name: str) -> None:
    manifest = newest(root)
    wrong = replace(manifest, spaces={"main": MISFITS[name](manifest, manifest.space())})
    (root / layout.version_file(manifest.version)).write_text(wrong.to_json())
    with pytest.raises(CorruptCollection, match=r"000\d+\.json: "):
        newest(root)


def test_a_lookup_begins_with_the_first_shard(root: Path) -> None:
    manifest = newest(root)
    assert manifest.lookup is not None
    span = range(1, 3)
    file = replace(manifest.lookup.file, rows=manifest.rows_in(span))
    wrong = replace(manifest, lookup=changes.cover(manifest, file, span))
    (root / layout.version_file(manifest.version)).write_text(wrong.to_json())
    with pytest.raises(CorruptCollection, match="the lookup or the words do not begin with the first shard"):
        newest(root)
