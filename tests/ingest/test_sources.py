"""What the arguments of `index` and `add` are taken for, and what they are called."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from engine.collection.commit import create
from engine.collection.manifest import Manifest, Source
from engine.ingest.folders import Folder, PictureTable, SingleFiles
from engine.ingest.joined import TableOptions
from engine.ingest.sources import Moved, Sources, never, open_sources
from engine.ingest.vectors import VectorFiles
from indexers.errors import SourceError
from tests.helpers import clustered, draw, save


def opened(*paths: Path, known: tuple[Source, ...] = (), table: Path | None = None, moved: Moved = never) -> Sources:
    return open_sources(paths, TableOptions(table), Manifest(sources=known), moved=moved)


def named(*paths: Path, known: tuple[Source, ...] = ()) -> list[tuple[str, str]]:
    return [(one.source.name, one.source.kind) for one in opened(*paths, known=known).listings]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    draw(tmp_path / "photos/a.png", 0)
    draw(tmp_path / "photos/sub/b.png", 1)
    return tmp_path / "photos"


def test_each_kind_of_source(photos: Path, tmp_path: Path) -> None:
    vectors = save(tmp_path / "v.npy", clustered(3, 4))
    (photos / "t.csv").write_text("file\na.png\n")
    found = opened(photos / "sub/b.png", photos / "t.csv", vectors, tmp_path / "photos").listings
    assert [type(one) for one in found] == [PictureTable, VectorFiles, Folder, SingleFiles]
    # A picture named by itself belongs to the folder that was named with it.
    assert [one.source.name for one in found] == ["t.csv", "v.npy", "photos", "photos"]
    assert [entry.path for entry in found[3].entries()] == ["sub/b.png"]  # type: ignore[union-attr]


def test_only_vectors(photos: Path, tmp_path: Path) -> None:
    vectors = save(tmp_path / "v.npy", clustered(3, 4))
    assert opened(vectors).only_vectors
    assert not opened(vectors, photos).only_vectors
    assert [one.dim for one in opened(vectors, photos).vectors] == [4]


def test_a_source_named_twice_is_one(photos: Path) -> None:
    assert named(photos, photos / ".", photos / "sub/..") == [("photos", "folder")]


def test_names_are_unique_and_stay(tmp_path: Path) -> None:
    for folder in ("a/x", "b/x", "c/x"):
        draw(tmp_path / folder / "1.png", 0)
    known = tuple(one.source for one in opened(tmp_path / "a/x", tmp_path / "b/x").listings)
    assert [source.name for source in known] == ["x", "x-2"]
    assert named(tmp_path / "b/x", tmp_path / "c/x", known=known) == [("x-2", "folder"), ("x-3", "folder")]


def test_a_source_that_was_moved_keeps_its_name(photos: Path, tmp_path: Path) -> None:
    (known,) = (one.source for one in opened(photos).listings)
    (tmp_path / "new").mkdir()
    photos.rename(tmp_path / "new/photos")
    (moved,) = (one.source for one in opened(tmp_path / "new/photos", known=(known,), moved=lambda *_: True).listings)
    assert (moved.name, moved.location) == ("photos", str(tmp_path / "new/photos"))
    # While the old one is there, one of the same name is another.
    draw(tmp_path / "photos/a.png", 0)
    assert named(tmp_path / "new/photos", known=(known,)) == [("photos-2", "folder")]


def test_a_folder_and_a_table_in_it_are_two_sources(photos: Path) -> None:
    (photos / "photos").mkdir()
    (photos / "photos.csv").write_text("file\na.png\n")
    known = (Source("photos", "folder", str(photos)),)
    assert named(photos / "photos.csv", known=known) == [("photos.csv", "table")]


def test_a_name_that_is_not_unicode(tmp_path: Path) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    draw(folder / "a.png", 0)
    (source,) = (one.source for one in opened(folder).listings)
    assert source.name == "caf%E9"
    assert source.location.endswith("/caf%E9")
    assert named(folder, known=(source,)) == [("caf%E9", "folder")]


def test_pictures_named_one_by_one(photos: Path, tmp_path: Path) -> None:
    draw(tmp_path / "other/c.png", 2)
    assert named(photos / "a.png", tmp_path / "other/c.png", photos / "sub/b.png") == [
        *(("photos", "folder"), ("other", "folder"), ("sub", "folder")),
    ]
    above = (Source("photos", "folder", str(photos)), Source("all", "folder", str(tmp_path)))
    assert named(photos / "sub/b.png", tmp_path / "other/c.png", known=above) == [
        ("photos", "folder"),
        ("all", "folder"),
    ]


def test_what_cannot_be_a_source(photos: Path, tmp_path: Path) -> None:
    create(tmp_path / "c.nest", Manifest)
    os.mkfifo(tmp_path / "pipe")
    for path, match in (
        (tmp_path / "none", "does not exist"),
        (tmp_path / "c.nest", "is a collection, not a source"),
        (tmp_path / "pipe", "neither a folder nor a file"),
    ):
        with pytest.raises(SourceError, match=match):
            opened(photos, path)


def test_a_table_needs_something_to_describe(photos: Path, tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text("file,caption\na.png,x\n")
    assert opened(photos, table=table).labels is not None
    assert opened(save(tmp_path / "v.npy", clustered(1, 4)), table=table).labels is None
    with pytest.raises(SourceError, match="none was named"):
        opened(photos / "a.png", table=table)
