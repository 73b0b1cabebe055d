"""What a head learns from is read from collections and files, and misfits are named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine.api import Collection
from engine.ingest.sources import TableOptions
from engine.jobs.examples import Drawn, ExampleOptions, gather
from indexers.errors import InvalidInput, ModalityError, SourceError
from tests.helpers import clustered, draw, index, needs_bundled, save

X = clustered(60, 8)
KINDS = [None if row == 7 else f"kind {row % 3}" for row in range(60)]


def table(path: Path, **columns: Any) -> Path:
    named = {"name": [f"row {row}" for row in range(60)], "vector": list(X), **columns}
    pq.write_table(pa.table(named), path)
    return path


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    """A collection of vectors with a column of labels, one of them missing."""
    index(tmp_path / "c.nest", table(tmp_path / "v.parquet", kind=KINDS), dtype="float32")
    return tmp_path / "c.nest"


def test_labels_of_a_collection(labelled: Path) -> None:
    found = gather([labelled], "supervised", ExampleOptions(labels="kind"), 0)
    assert found.described["classes"] == 3
    assert found.described["rows_without"] == 1
    kept = np.delete(np.arange(60), 7)
    np.testing.assert_allclose(found.examples.x, X[kept], atol=1e-6)
    assert found.examples.labels is not None
    assert found.examples.labels.tolist() == (kept % 3).tolist()
    with Collection.open(labelled) as opened:
        assert found.fingerprint == opened.space.fingerprint


def test_what_was_removed_is_not_learned_from(labelled: Path) -> None:
    with Collection.open(labelled) as opened:
        opened.remove(["row 0", "row 59"])
    found = gather([labelled], "rotation", ExampleOptions(), 0)
    np.testing.assert_allclose(found.examples.x, X[1:59], atol=1e-6)


def test_files_with_a_table_beside_them(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("name,kind\n" + "".join(f"r{row},{row % 2}\n" for row in range(60)))
    options = ExampleOptions(labels="kind", table=TableOptions(tmp_path / "t.csv"))
    found = gather([save(tmp_path / "v.npy", X)], "supervised", options, 0)
    assert found.examples.labels is not None
    assert found.examples.labels.tolist() == [row % 2 for row in range(60)]
    assert found.fingerprint.model == "precomputed"
    assert found.fingerprint.dim == 8


def test_several_files_and_the_name_of_what_made_them(tmp_path: Path) -> None:
    files = [save(tmp_path / f"{n}.npy", X[30 * n : 30 * n + 30]) for n in range(2)]
    found = gather(files, "adaptor", ExampleOptions(encoder="precomputed:mine"), 0)
    np.testing.assert_allclose(found.examples.x, X, atol=1e-6)
    assert found.fingerprint.model == "precomputed:mine"
    assert found.described["source"] == ["0.npy", "1.npy"]


def test_a_sample_is_even_seeded_and_keeps_its_pairs(tmp_path: Path) -> None:
    x = clustered(20_000, 8)
    files = [save(tmp_path / "v.npy", x)], ExampleOptions(rows=500, pairs=save(tmp_path / "p.npy", -x))
    found = gather(files[0], "paired", files[1], 3).examples
    assert len(found) == 500
    assert found.pairs is not None
    assert np.array_equal(found.pairs, -found.x)
    rows = np.array([int(np.flatnonzero((x == one).all(axis=1))[0]) for one in found.x])
    assert abs(rows.mean() - 10_000) < 1_500
    assert np.array_equal(gather(files[0], "paired", files[1], 3).examples.x, found.x)
    assert not np.array_equal(gather(files[0], "paired", files[1], 4).examples.x, found.x)


def test_lots_stay_within_their_bound() -> None:
    drawn = Drawn(100, np.random.default_rng(0))
    for _ in range(200):
        drawn.add(np.zeros((50, 2), np.float32), lambda row: {"row": row})
        assert len(drawn.columns) <= 250
    drawn.thin()
    assert len(drawn.columns) == len(drawn.matrix(2)) == 100
    assert drawn.seen == 10_000


def test_queries_are_vectors_or_texts(tmp_path: Path) -> None:
    source = save(tmp_path / "v.npy", X)
    queries = save(tmp_path / "q.npy", clustered(30, 8, 1))
    found = gather([source], "rotation", ExampleOptions(queries=str(queries)), 0)
    assert found.examples.queries is not None
    np.testing.assert_allclose(found.examples.queries, clustered(30, 8, 1))
    assert found.described["queries"] == {"from": "q.npy", "rows": 30}


@needs_bundled
def test_captions_are_pairs_and_queries(tmp_path: Path) -> None:
    for number in range(6):
        draw(tmp_path / "photos" / f"{number}.png", number)
    lines = "".join(f"{number}.png,a drawing of {number % 5}\n" for number in range(5))
    (tmp_path / "t.csv").write_text("name,caption\n" + lines)
    index(tmp_path / "c.nest", tmp_path / "photos", table=tmp_path / "t.csv")
    with Collection.open(tmp_path / "c.nest") as opened:
        texts = opened.encode_texts([f"a drawing of {number}" for number in range(5)])
    paired = gather([tmp_path / "c.nest"], "paired", ExampleOptions(), 0)
    assert paired.examples.pairs is not None
    np.testing.assert_allclose(paired.examples.pairs, texts, atol=1e-5)
    assert paired.described["rows_without"] == 1
    served = gather([tmp_path / "c.nest"], "rotation", ExampleOptions(queries="captions"), 0)
    assert served.examples.queries is not None
    np.testing.assert_allclose(served.examples.queries, texts, atol=1e-5)
    (tmp_path / "q.txt").write_text("a drawing of 3\n\n  a drawing of 1 \n")
    lines_of = gather([tmp_path / "c.nest"], "rotation", ExampleOptions(queries=str(tmp_path / "q.txt")), 0)
    assert lines_of.examples.queries is not None
    np.testing.assert_allclose(lines_of.examples.queries, texts[[3, 1]], atol=1e-5)


@pytest.mark.parametrize(
    ("objective", "options", "error", "said"),
    [
        ("supervised", ExampleOptions(), InvalidInput, "needs labels"),
        ("supervised", ExampleOptions(labels="nope"), InvalidInput, "'nope'; the columns there are: kind"),
        ("rotation", ExampleOptions(labels="kind"), InvalidInput, "is for supervised"),
        ("supervised", ExampleOptions(labels="kind", queries="captions"), InvalidInput, "is for rotation"),
        ("adaptor", ExampleOptions(pairs=Path("p.npy")), InvalidInput, "is for paired"),
        ("paired", ExampleOptions(), InvalidInput, "give --pairs FILE"),
        ("paired", ExampleOptions(pairs=Path("missing.npy")), SourceError, "missing.npy does not exist"),
        ("rotation", ExampleOptions(queries="captions"), InvalidInput, "no captions"),
        ("rotation", ExampleOptions(queries="missing.txt"), SourceError, "missing.txt"),
        ("rotation", ExampleOptions(encoder="bundled"), InvalidInput, "its own encoder"),
    ],
)
def test_what_does_not_fit_a_collection(
    labelled: Path, objective: str, options: ExampleOptions, error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        gather([labelled], objective, options, 0)


def test_what_does_not_fit_files(tmp_path: Path) -> None:
    source = save(tmp_path / "v.npy", X)
    with pytest.raises(SourceError, match="10 rows, and there are 60 items"):
        gather([source], "paired", ExampleOptions(pairs=save(tmp_path / "p.npy", X[:10])), 0)
    with pytest.raises(SourceError, match="2 rows"):
        (tmp_path / "t.csv").write_text("name,kind\na,1\nb,2\n")
        gather([source], "supervised", ExampleOptions(labels="kind", table=TableOptions(tmp_path / "t.csv")), 0)
    with pytest.raises(SourceError, match="4, 8 dimensions"):
        gather([source, save(tmp_path / "w.npy", X[:, :4])], "rotation", ExampleOptions(), 0)
    (tmp_path / "q.txt").write_text("a dog\n")
    with pytest.raises(ModalityError, match="asked to encode text"):
        gather([source], "rotation", ExampleOptions(queries=str(tmp_path / "q.txt")), 0)
    draw(tmp_path / "photos" / "a.png", 0)
    with pytest.raises(SourceError, match="nestvec index"):
        gather([tmp_path / "photos"], "rotation", ExampleOptions(), 0)
