"""Which files a source of vectors consists of, and in which order; what stays a folder of pictures."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from engine.api import Collection
from engine.collection.manifest import Manifest, Source
from engine.ingest.folders import Folder
from engine.ingest.joined import TableOptions
from engine.ingest.sources import open_sources
from engine.ingest.vector_files import natural, vector_files
from engine.ingest.vectors import VectorFiles
from engine.progress import Taken
from indexers.errors import SourceError
from tests.helpers import clustered, index, save
from tests.ingest.made import listing, parquet, read

X = clustered(60, 4)


def parts(folder: Path, names: list[str], rows: int = 3) -> Path:
    """Write parts of `.npy`, one after the other in the order of their names here."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names):
        save(folder / name, X[rows * number : rows * (number + 1)])
    return folder


def test_parts_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    folder = parts(tmp_path / "emb", [f"part{number}.npy" for number in range(12)])
    (folder / "README.md").write_text("about")
    (folder / "_SUCCESS").write_text("")
    found = read(folder)
    np.testing.assert_array_equal(found.vectors, X[:36])
    assert found.names[34:] == ["part11.npy#1", "part11.npy#2"]
    summary = index(tmp_path / "c.nest", folder)
    assert summary.added == 36
    assert index(tmp_path / "c.nest", folder).unchanged == 36


def test_what_is_natural() -> None:
    names = ["a10", "a2", "a02b", "b", "", "2", "10", "a2.5", "a2.10"]
    assert sorted(names, key=natural) == ["", "2", "10", "a2", "a2.5", "a2.10", "a02b", "a10", "b"]


@pytest.mark.parametrize("inside", [True, False])
def test_tables_that_lie_beside_the_parts(tmp_path: Path, inside: bool) -> None:
    folder = parts(tmp_path / "img_emb", [f"img_emb_{number}.npy" for number in range(12)])
    place = (folder if inside else tmp_path) / "metadata"
    place.mkdir()
    for number in range(12):
        names = [f"{number}-{row}.jpg" for row in range(3)]
        pq.write_table(pa.table({"image_path": names, "n": [number] * 3}), place / f"metadata_{number}.parquet")
    found = read(folder)
    assert found.names[34:] == ["11-1.jpg", "11-2.jpg"]
    assert found.meta[35] == {"n": 11}
    (place / "metadata_7.parquet").unlink()
    with pytest.raises(SourceError, match="holds 11 tables for 12 parts: each needs its own"):
        vector_files(folder)


def test_twelve_shards_of_clip_retrieval_are_read_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    parts(tmp_path / "img_emb", [f"img_emb_{number}.npy" for number in range(12)])
    parts(tmp_path / "text_emb", [f"text_emb_{number}.npy" for number in reversed(range(12))])
    np.testing.assert_array_equal(read(tmp_path).vectors, X[:36])
    assert listing(tmp_path).taken == Taken("v", "img_emb", ("text_emb",))
    text = read(tmp_path, "text_emb")
    np.testing.assert_array_equal(text.vectors[:3], X[33:36])
    with pytest.raises(SourceError, match="no folder 'txt' of vectors; it has img_emb and text_emb"):
        vector_files(tmp_path, (), "txt")


def test_parts_that_are_tables(tmp_path: Path) -> None:
    for number in range(11):
        rows = X[number * 2 : number * 2 + 2]
        parquet(tmp_path / f"p/{number}.parquet", image=rows, text=-rows, name=[f"{number}-{row}" for row in range(2)])
        (tmp_path / "j").mkdir(exist_ok=True)
        lines = "".join(f'{{"emb": {row.tolist()}, "name": "{number}-{at}"}}\n' for at, row in enumerate(rows))
        (tmp_path / f"j/{number}.jsonl").write_text(lines)
        (tmp_path / "z").mkdir(exist_ok=True)
        np.savez(tmp_path / f"z/{number}.npz", emb=rows, names=[f"{number}-{row}" for row in range(2)])
    for folder in ("p", "j", "z"):
        found = read(tmp_path / folder)
        np.testing.assert_array_equal(found.vectors, X[:22])
        assert found.names[20:] == ["10-0", "10-1"]
    np.testing.assert_array_equal(read(tmp_path / "p", "text").vectors, -X[:22])


# -- partitions ----------------------------------------------------------------------------


def test_folders_of_a_partition_are_columns_typed_as_arrow_types_them(tmp_path: Path) -> None:
    table = pa.table({"emb": pa.array(X.tolist(), pa.list_(pa.float32())), "n": list(range(60))})
    table = table.append_column("year", pa.array([2018 + row % 3 for row in range(60)]))
    table = table.append_column("place", pa.array([("a/b", "007")[row % 2] if row else None for row in range(60)]))
    table = table.append_column("mixed", pa.array([("1", "x")[row % 2] for row in range(60)]))
    keys = ["year", "place", "mixed"]
    pq.write_to_dataset(table, tmp_path / "d", partition_cols=keys)
    found = read(tmp_path / "d")
    told = ds.dataset(tmp_path / "d", partitioning="hive").to_table().to_pylist()
    expected = {row["n"]: {name: row[name] for name in (*keys, "n") if row[name] is not None} for row in told}
    assert {row["n"]: row for row in found.meta} == expected
    np.testing.assert_array_equal(found.vectors[np.argsort([row["n"] for row in found.meta])], X)
    assert len(set(found.names)) == 60
    assert found.names[0].startswith("year=2018/")


def test_a_column_of_its_own_hides_that_of_the_folder(tmp_path: Path) -> None:
    parquet(tmp_path / "year=2019/part-0.parquet", emb=X[:2], year=["one", "two"])
    assert [row["year"] for row in read(tmp_path).meta] == ["one", "two"]


# -- what is no source of vectors ----------------------------------------------------------


@pytest.mark.parametrize("beside", ["a.jpg", "a.svg", "photos/a.jpg", "year=2019/a.jpg", "metadata.zip"])
def test_a_folder_with_anything_else_in_it_is_one_of_pictures(tmp_path: Path, beside: str) -> None:
    folder = parts(tmp_path / "f", ["a.npy", "b.npy"])
    (folder / beside).parent.mkdir(exist_ok=True)
    (folder / beside).write_bytes(b"")
    assert vector_files(folder) is None


def test_a_folder_of_pictures_stays_one_when_only_an_array_is_left_in_it(tmp_path: Path) -> None:
    folder = parts(tmp_path / "f", ["features.npy"])
    known = Manifest(sources=(Source("f", "folder", str(folder)),))
    (made,) = open_sources([folder], TableOptions(), known).listings
    assert isinstance(made, Folder)
    (made,) = open_sources([folder], TableOptions(), None).listings
    assert isinstance(made, VectorFiles)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "c.nest"


def test_files_of_several_kinds_are_refused_in_words(tmp_path: Path) -> None:
    parts(tmp_path, ["a.npy"])
    parquet(tmp_path / "a.parquet", name=["a", "b", "c"])
    with pytest.raises(SourceError, match=r"several kinds \(\.npy, \.parquet\): name one file, keep one kind"):
        vector_files(tmp_path)


@pytest.mark.parametrize("names", [["t.csv"], ["t.csv", "u.jsonl"], [], ["notes.txt"]])
def test_a_folder_without_vectors(tmp_path: Path, names: list[str]) -> None:
    for name in names:
        (tmp_path / name).write_text("file\n" if name.endswith("csv") else '{"file": "a"}\n')
    assert vector_files(tmp_path) is None


def test_a_folder_that_cannot_be_listed_or_leads_into_itself(tmp_path: Path) -> None:
    folder = parts(tmp_path / "f", ["a.npy"])
    (folder / "x=1").symlink_to(folder)
    assert vector_files(folder) is None
    (folder / "x=1").unlink()
    os.mkfifo(folder / "b.npy")
    with pytest.raises(SourceError, match="is a named pipe"):
        read(folder)


def test_a_folder_of_parts_that_was_moved_is_the_same(tmp_path: Path, root: Path) -> None:
    folder = parts(tmp_path / "emb", ["a1.npy", "a2.npy"])
    index(root, folder)
    shutil.move(folder, tmp_path / "elsewhere")
    summary = index(root, tmp_path / "elsewhere")
    assert (summary.unchanged, summary.added) == (6, 0)
    with Collection.open(root) as opened:
        assert len(opened) == 6


def test_a_part_that_was_put_in_between_and_one_that_is_gone(tmp_path: Path, root: Path) -> None:
    folder = parts(tmp_path / "emb", ["a1.npy", "a2.npy"])
    index(root, folder)
    save(folder / "a0.npy", X[50:52])
    (folder / "a2.npy").unlink()
    summary = index(root, folder)
    assert (summary.added, summary.removed, summary.unchanged) == (2, 3, 3)
    found: Any = read(folder)
    assert found.names[:2] == ["a0.npy#0", "a0.npy#1"]
