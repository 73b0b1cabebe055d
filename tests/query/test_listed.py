"""What is read of a collection without a search, and what is set in it."""

from __future__ import annotations

import datetime
import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import engine
import nestvec
from engine.collection.verify import verify
from indexers.errors import DependencyMissing, InvalidFilter, InvalidInput, ItemNotFound
from indexers.vectors import normalize
from tests.helpers import clustered, draw, index, needs_bundled, save

N, DIM = 500, 8
X = normalize(clustered(N, DIM))


@pytest.fixture
def made(tmp_path: Path) -> Iterator[engine.Collection]:
    made = engine.Collection.create(tmp_path / "c.nest", encoder="precomputed", dim=DIM, dtype="float32")
    day = datetime.date(2020, 1, 1)
    meta: list[dict[str, Any]] = [
        {"n": row, "day": day + datetime.timedelta(days=row), "big": 2**60 + row} for row in range(N)
    ]
    made.add_vectors(
        X[:400], names=[f"r{row}" for row in range(400)], meta=meta[:400], captions=[f"c{r}" for r in range(400)]
    )
    made.build()
    made.add_vectors(
        X[400:], names=[f"r{row}" for row in range(400, N)], meta=[{**one, "late": [1, 2]} for one in meta[400:]]
    )
    made.remove(["r7", "r450"])
    yield made
    made.close()


def test_items_are_read_in_the_order_they_are_named(made: engine.Collection) -> None:
    found = made.get(["r3", 499, "r3"], columns=["id", "path", "big", "day", "late"], vectors=True)
    assert found.drop_columns(["vector"]).to_pylist() == [
        {"id": 3, "path": "r3", "big": 2**60 + 3, "day": datetime.date(2020, 1, 4), "late": None},
        {"id": 499, "path": "r499", "big": 2**60 + 499, "day": datetime.date(2021, 5, 14), "late": [1, 2]},
        {"id": 3, "path": "r3", "big": 2**60 + 3, "day": datetime.date(2020, 1, 4), "late": None},
    ]
    np.testing.assert_allclose(np.stack(found.column("vector").to_pylist()), X[[3, 499, 3]], atol=1e-6)
    assert made.get("r3").num_rows == made.get(3).num_rows == made.get(keys="r3").num_rows == 1
    assert {"id", "path", "caption", "n", "late"} <= set(made.get(3).column_names)
    assert made.get([]).num_rows == 0
    with pytest.raises(ItemNotFound):
        made.get(["r7"])
    with pytest.raises(InvalidFilter, match="no column 'bog'"):
        made.get(3, columns=["bog"])


def test_all_of_it_is_gone_through(made: engine.Collection) -> None:
    live = [row for row in range(N) if row not in (7, 450)]
    batches = list(made.scan(columns=["id", "n"], batch_rows=64))
    assert max(batch.num_rows for batch in batches) <= 64
    assert pa.Table.from_batches(batches).column("n").to_pylist() == live
    some = pa.Table.from_batches(list(made.scan("n BETWEEN 5 AND 9", ["caption"])))
    assert some.column("caption").to_pylist() == ["c5", "c6", "c8", "c9"]
    ids, xb = map(np.concatenate, zip(*made.vectors(), strict=True))
    np.testing.assert_allclose(xb, X[live], atol=1e-6)
    assert ids.tolist() == live
    ids, xb = map(np.concatenate, zip(*made.vectors("n >= 398"), strict=True))
    assert ids.tolist() == [row for row in live if row >= 398]
    assert len(made) == len(live)
    assert [item in made for item in ("r3", 3, "r7", 7, "x", None, 2.5, -1)] == [True, True, *[False] * 6]


def test_answers_are_records_and_tables(made: engine.Collection) -> None:
    found = made.search(X[410], 3)
    assert (found[0].item.path, round(found[0].score, 3)) == ("r410", 1.0)
    assert found[-1].item == found.items[2] and len(list(found)) == 3
    table = found.to_arrow()
    assert table.column_names[:5] == ["rank", "id", "uri", "score", "caption"]
    assert table.column("big").to_pylist()[0] == 2**60 + 410
    if importlib.util.find_spec("pandas") is None:  # which Arrow imports wherever it is, and is so left out here
        with pytest.raises(DependencyMissing, match="pip install pandas"):
            found.to_pandas()
    else:
        assert found.to_pandas()["n"].tolist() == table.column("n").to_pylist()
    assert found.to_polars()["uri"].to_list() == found.uris
    grouped = made.search(X[3], 3, group_by="n", distinct=0.999).to_arrow()
    assert grouped.column("group").to_pylist() == grouped.column("n").to_pylist()
    assert made.search(X[3], 3, where="n < 0").to_arrow().num_rows == 0


# -- setting ---------------------------------------------------------------------------------


def test_columns_are_set_and_nothing_is_encoded(made: engine.Collection) -> None:
    vectors = made.snapshot.manifest.space().embeddings
    assert made.update("n < 3 OR n >= 498", {"kind": "edge", "n": None, "caption": "said"}).relabelled == 5
    assert made.snapshot.manifest.space().embeddings == vectors
    assert made.matching("kind = 'edge'").tolist() == [0, 1, 2, 498, 499]
    assert made.facets("caption")["said"] == 5
    assert made.matching("n IS NULL").tolist() == [0, 1, 2, 498, 499]
    assert made.search(X[1], 1).captions == ["said"]
    assert made.update("kind = 'edge'", {"kind": None}).relabelled == 5
    assert "kind" not in made.get(0).column_names
    assert made.update("n < -5", {"kind": "x"}).version == made.version
    assert made.delete("caption = 'said'").removed == 5
    assert list(verify(made.root)) == []
    made.compact()
    assert len(made) == N - 7


def test_types_of_values_survive(made: engine.Collection) -> None:
    values = {
        "when": datetime.datetime(2020, 1, 2, tzinfo=datetime.UTC),
        "tags": ["a", "b"],
        "x": 2**62,
        "y": {"a": 1.5},
    }
    made.update("id = 4", values)
    row = made.get(4).to_pylist()[0]
    assert {name: row[name] for name in values} == values
    assert made.get(5).to_pylist()[0]["tags"] is None


@pytest.mark.parametrize("name", ["id", "path", "source", "width", "folder"])
def test_what_is_not_yours_is_not_set(made: engine.Collection, name: str) -> None:
    version = made.version
    with pytest.raises(InvalidInput, match=f"is not yours to set; a column of yours of that name is meta.{name}"):
        made.update("n < 3", {name: 3})
    assert made.version == version
    assert made.update("n < 3", {f"meta.{name}": 5}).relabelled == 3
    assert made.matching(f"meta.{name} = 5").tolist() == [0, 1, 2]


def test_what_is_set_stays_until_the_source_says_something_else(tmp_path: Path) -> None:
    source, root = save(tmp_path / "v.npy", X[:5]), tmp_path / "c.nest"
    table = tmp_path / "t.csv"
    table.write_text("name,stars\n" + "".join(f"a{row},{row}\n" for row in range(5)))
    index(root, source, table=table)
    with engine.Collection.open(root) as opened:
        opened.update("stars >= 3", {"stars": 9, "mine": True})
    assert index(root, source).unchanged == 5
    with engine.Collection.open(root) as opened:
        assert opened.get([0, 3, 4], columns=["stars", "mine"]).to_pylist()[1] == {"stars": 9, "mine": True}
    table.write_text("name,stars\n" + "".join(f"a{row},{row + 1}\n" for row in range(5)))
    assert index(root, source).relabelled == 5
    with engine.Collection.open(root) as opened:
        assert opened.get([0, 4], columns=["stars"]).column("stars").to_pylist() == [1, 5]


def test_nestvec_is_the_same_by_its_own_name() -> None:
    assert nestvec.__all__ == engine.__all__
    assert all(getattr(nestvec, name) is getattr(engine, name) for name in engine.__all__)
    assert "Collection" in dir(nestvec)
    with pytest.raises(AttributeError, match="'nestvec' has no attribute 'Colection'"):
        _ = nestvec.Colection  # type: ignore[attr-defined]


@needs_bundled
def test_what_is_set_stays_when_files_are_touched_moved_and_changed(tmp_path: Path) -> None:
    photos, root = tmp_path / "p", tmp_path / "c.nest"
    for number in range(4):
        draw(photos / f"{number}.png", number)
        (photos / f"{number}.txt").write_text(f"caption {number}")
    index(root, photos)
    with engine.Collection.open(root) as opened:
        opened.update("name IN ('0.png', '1.png', '2.png')", {"stars": 5, "caption": "mine"})
        opened.update("name = '1.png'", {"stars": None, "place": "here"})

    def told() -> dict[str, tuple[Any, ...]]:
        with engine.Collection.open(root) as opened:
            rows = opened.get(
                opened.matching("TRUE").tolist(), columns=["name", "caption", "stars", "place"]
            ).to_pylist()
        return {row.pop("name"): tuple(row.values()) for row in rows}

    said = {"0.png": ("mine", 5, None), "1.png": ("mine", None, "here"), "2.png": ("mine", 5, None)}
    said["3.png"] = ("caption 3", None, None)
    assert told() == said
    for number in range(4):
        os.utime(photos / f"{number}.png", ns=(0, number + 1))
    assert index(root, photos).unchanged == 4
    assert told() == said
    (photos / "0.png").rename(photos / "7.png")
    (photos / "0.txt").rename(photos / "7.txt")
    assert index(root, photos).moved == 1
    said["7.png"] = said.pop("0.png")
    assert told() == said
    draw(photos / "1.png", 9)
    assert index(root, photos).changed == 1
    assert told() == said
    (photos / "2.txt").write_text("another")
    assert index(root, photos).relabelled == 1
    said["2.png"] = ("another", None, None)
    assert told() == said
    with engine.Collection.open(root) as opened:
        opened.compact()
    os.utime(photos / "7.png")
    index(root, photos)
    assert told() == said and list(verify(root)) == []


def test_what_is_set_of_vectors_stays_too(tmp_path: Path) -> None:
    source, root = save(tmp_path / "v.npy", X[:6]), tmp_path / "c.nest"
    index(root, source)
    with engine.Collection.open(root) as opened:
        opened.update("id < 3", {"mine": 1})
    save(source, np.vstack([clustered(1, DIM, 9), X[:6]]))
    summary = index(root, source)
    assert (summary.moved, summary.added) == (6, 1)
    changed = np.vstack([clustered(1, DIM, 9), X[:6]])
    changed[1] = clustered(1, DIM, 11)[0]
    save(source, changed)
    index(root, source)
    with engine.Collection.open(root) as opened:
        assert sorted(opened.matching("mine = 1").tolist()) == [0, 1, 2]


@pytest.mark.parametrize(("name", "value"), [("Caption", "x"), ("ID", 3), ("meta.", 3), ("x", "\ud800"), ("", 3)])
def test_odd_columns_are_refused(made: engine.Collection, name: str, value: Any) -> None:
    with pytest.raises(InvalidInput):
        made.update("n < 3", {name: value})
    with pytest.raises(InvalidInput, match="which items are meant"):
        made.update(None, {"x": 1})  # type: ignore[arg-type]
