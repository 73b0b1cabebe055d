"""When indexes are built, and which ones."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from engine.api import Collection
from engine.collection.commit import current_version
from engine.collection.manifest import Manifest
from engine.collection.snapshot import Snapshot
from engine.jobs import index as run
from engine.jobs.build import chosen_specs
from engine.jobs.due import is_due, tail_rows
from engine.jobs.index import RunOptions
from engine.progress import MANY_ROWS, Advance, Silent
from indexers.base import IndexSpec
from indexers.errors import CorruptCollection
from tests.helpers import clustered, flip_bit, index, newest, save


def specs(root: Path) -> list[str]:
    return [str(entry.spec) for entry in newest(root).space().indexes]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    index(tmp_path / "c.nest", save(tmp_path / "v.npy", clustered(400, 64)))
    return tmp_path / "c.nest"


def test_by_default_powers_of_two(root: Path) -> None:
    assert specs(root) == ["sq@32:bits=8", "sq@64:bits=8"]
    assert chosen_specs(newest(root), "main") == []
    assert newest(root).space().plans[0].k == 10


def test_what_is_asked_for_is_built_once(root: Path, tmp_path: Path) -> None:
    index(root, tmp_path / "v.npy", specs=["flat@16", "ivf-flat@64"])
    assert specs(root) == ["flat@16", "ivf-flat@64:nlist=10"]
    version = current_version(root)
    index(root, tmp_path / "v.npy", specs=["flat@16", "ivf-flat@64"])
    index(root, tmp_path / "v.npy")
    assert current_version(root) == version
    index(root, tmp_path / "v.npy", rebuild=True)
    assert specs(root) == ["flat@16", "ivf-flat@64:nlist=10"]
    # A build is the same every time: there is nothing new to say.
    assert current_version(root) == version


def test_parameters_that_were_asked_for_outlive_a_rebuild_and_others_follow_the_size(
    root: Path, tmp_path: Path
) -> None:
    index(root, tmp_path / "v.npy", specs=["ivf-flat@32:nlist=7", "ivf-flat@64"])
    assert chosen_specs(newest(root), "main") == [IndexSpec("ivf-flat", 32, (("nlist", 7),)), IndexSpec("ivf-flat", 64)]
    index(root, save(tmp_path / "w.npy", clustered(4200, 64, 1)), add=True)
    assert specs(root) == ["ivf-flat@32:nlist=7", "ivf-flat@64:nlist=117"]


def test_when_a_build_is_due(root: Path, tmp_path: Path) -> None:
    assert not is_due(newest(root), "main", None)
    assert not is_due(newest(root), "main", [IndexSpec("sq", 32), IndexSpec("sq", 64)])
    assert is_due(newest(root), "main", [IndexSpec("sq", 32)])
    assert tail_rows(newest(root), "main") == 0
    index(root, save(tmp_path / "w.npy", clustered(50, 64, 1)), add=True)
    assert (tail_rows(newest(root), "main"), is_due(newest(root), "main", None)) == (50, False)
    assert not is_due(Manifest(), "main", None)


def test_vectors_for_reranking_are_those_of_the_shards(root: Path) -> None:
    with Snapshot.open(root) as snapshot:
        covering = snapshot.manifest.space().vectors
        assert covering is not None
        stored = np.load(snapshot.open_covering(covering))
        np.testing.assert_array_equal(stored, np.concatenate([rows for _, rows in snapshot.stored_vectors("main")]))
        assert stored.dtype == np.float16


def test_a_damaged_derived_file_is_refused_and_rebuilt(root: Path, tmp_path: Path) -> None:
    with Snapshot.open(root) as snapshot:
        covering = snapshot.manifest.space().vectors
    assert covering is not None
    flip_bit(root / covering.file.path, 1000)
    with Collection.open(root) as opened, pytest.raises(CorruptCollection, match="verify"):
        opened.search(clustered(1, 64)[0])
    index(root, tmp_path / "v.npy", rebuild=True)
    with Collection.open(root) as opened:
        assert opened.search(clustered(400, 64)[9], k=1).uris == ["v.npy#9"]


def test_nothing_is_built_of_nothing(tmp_path: Path) -> None:
    with Collection.create(tmp_path / "e.nest", encoder="precomputed", dim=4) as opened:
        assert opened.build().version == 1
        assert len(opened.search(np.ones(4), k=3)) == 0


def test_what_goes_over_many_rows_tells_how_far_it_is(tmp_path: Path) -> None:
    told: dict[str, tuple[int | None, int]] = {}

    class Counts(Silent):
        @contextmanager
        def progress(self, task: str, total: int | None) -> Iterator[Advance]:
            def advance(steps: int) -> None:
                told[task] = total, told.get(task, (total, 0))[1] + steps

            yield advance

    x = clustered(MANY_ROWS, 4)
    options = RunOptions(specs=[IndexSpec.parse("flat@2")], device="cpu")
    run.index(tmp_path / "c.nest", [save(tmp_path / "v.npy", x)], options, Counts())
    assert told == {
        "looking at v.npy": (None, MANY_ROWS),
        **dict.fromkeys(
            ("taking vectors", "copying vectors", "adding rows to flat@2", "adding rows for exact search"),
            (MANY_ROWS, MANY_ROWS),
        ),
    }
