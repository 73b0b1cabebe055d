"""Pictures are read only from below what the user of this machine named, whatever a collection says of them."""

from __future__ import annotations

import os
import posixpath
from pathlib import Path

import pytest

from engine.collection import named as notes
from engine.collection.manifest import Source
from engine.collection.named import FILE, Named, named, remember_named
from engine.collection.originals import Originals, read_below
from engine.collection.snapshot import Item
from engine.ingest.sources import TableOptions, open_sources
from engine.storage.names import file_text, path_text
from engine.storage.verified import cache_file
from indexers.errors import PictureError
from tests.helpers import draw


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NESTVEC_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    (folder / "sub").mkdir(parents=True)
    for name in ("a.png", "sub/b.png", "100%25.png"):
        (folder / name).write_bytes(name.encode())
    (tmp_path / "photos-private").mkdir()
    (tmp_path / "photos-private/a.png").write_bytes(b"private")
    (tmp_path / "secret.png").write_bytes(b"secret")
    return folder


def source_at(folder: Path, kind: str = "folder") -> Source:
    return Source("photos", kind, file_text(folder))


def item(source: Source, path: str) -> Item:
    return Item(1, posixpath.join(source.folder or "", path), source.name, path, None, 64, 48, {})


OUTSIDE = (
    *("../secret.png", "sub/../../secret.png", "{}/secret.png", "../photos-private/a.png", "../nothing.png"),
    *("out/secret.png", "out.png", "%2e%2e/secret.png", "{}", "{}/photos", ".", "", "..", "sub/../..", "gone/../../x"),
)


@pytest.mark.parametrize("path", OUTSIDE)
def test_what_lies_outside_is_not_read(tmp_path: Path, photos: Path, path: str) -> None:
    """Whether it exists makes no difference: the page would tell."""
    (photos / "out").symlink_to("..")
    (photos / "out.png").symlink_to("../secret.png")
    source = source_at(photos)
    remember_named(tmp_path / "c", [Named("folder", source.location)])
    with pytest.raises(PictureError, match="lies outside of the folder of its source") as caught:
        Originals(tmp_path / "c", [source]).read(item(source, path.format(tmp_path)))
    assert str(tmp_path) not in str(caught.value)


def test_what_lies_below_is_read(tmp_path: Path, photos: Path) -> None:
    (photos / "link.png").symlink_to("sub/b.png")
    (tmp_path / "named").symlink_to("photos")
    for folder in (photos, tmp_path / "named"):
        source = source_at(folder)
        remember_named(tmp_path / "c", [Named("folder", source.location)])
        originals = Originals(tmp_path / "c", [source])
        paths = ("a.png", "sub/b.png", "link.png", "sub/../a.png", path_text(b"100%25.png"), f"{photos}/a.png")
        assert [originals.read(item(source, path)) for path in paths] == [
            *(b"a.png", b"sub/b.png", b"sub/b.png", b"a.png", b"100%25.png", b"a.png"),
        ]
        assert not originals.unnamed


def test_what_is_no_file_is_not_read(tmp_path: Path, photos: Path) -> None:
    os.mkfifo(photos / "pipe.png")
    (photos / "zero.png").symlink_to("/dev/zero")
    with (photos / "large.png").open("wb") as file:
        file.truncate((1 << 30) + 1)
    for path, said in (("pipe.png", "named pipe"), ("sub", "folder"), ("large.png", "larger"), ("no.png", "No such")):
        with pytest.raises(OSError, match=said):
            read_below(file_text(photos), path)
    for path in ("zero.png", "a\0.png", "a%00.png"):
        with pytest.raises(PictureError):
            read_below(file_text(photos), path)


def test_nobody_named_what_a_collection_names(tmp_path: Path, photos: Path) -> None:
    table = Source("t", "table", file_text(photos))  # its folder would be the one above
    sources = [source_at(photos), table, Source("v", "vectors", file_text(photos)), Source("all", "folder", "/")]
    remember_named(tmp_path / "another", [Named("folder", file_text(photos))])
    originals = Originals(tmp_path / "c", sources)
    for source, said in zip(sources, ("nobody", "nobody", "no pictures", "nobody"), strict=True):
        with pytest.raises(PictureError, match=said):
            originals.read(item(source, "a.png"))
    assert originals.unnamed == {str(photos), str(tmp_path), "/"}
    with pytest.raises(PictureError, match="no pictures"):
        originals.read(Item(1, "x", "unheard of", "x", None, 64, 48, {}))
    remember_named(tmp_path / "c", [Named("folder", file_text(photos))])
    originals = Originals(tmp_path / "c", sources)
    assert originals.read(item(sources[0], "a.png")) == b"a.png"
    with pytest.raises(PictureError, match="nobody"):
        originals.read(item(table, "secret.png"))


def test_a_folder_can_be_confirmed_and_helps_what_was_moved(tmp_path: Path, photos: Path) -> None:
    source = source_at(photos)
    assert Originals(tmp_path / "c", [source], [photos]).read(item(source, "a.png")) == b"a.png"
    photos.rename(tmp_path / "moved")
    originals = Originals(tmp_path / "c", [source], [tmp_path / "photos-private", tmp_path / "moved"])
    assert originals.read(item(source, "sub/b.png")) == b"sub/b.png"
    assert originals.read(item(source, "a.png")) == b"private"  # the first that has it
    for path in ("../secret.png", str(tmp_path / "secret.png")):
        with pytest.raises(PictureError, match="lies outside"):
            originals.read(item(source, path))
    assert originals.unnamed == {str(photos)}
    # A table may list what lies elsewhere; confirmed, it is shown.
    table = Source("t", "table", file_text(tmp_path / "moved/t.csv"))
    remember_named(tmp_path / "c", [Named("table", table.location)])
    for path in ("../secret.png", str(tmp_path / "secret.png")):
        assert Originals(tmp_path / "c", [table], [tmp_path]).read(item(table, path)) == b"secret"
        with pytest.raises(PictureError, match="lies outside"):
            Originals(tmp_path / "c", [table]).read(item(table, path))


@pytest.mark.parametrize("part", ["", "/sub"])
def test_what_was_named_and_moved_is_looked_for_where_it_may_be_now(tmp_path: Path, photos: Path, part: str) -> None:
    source = source_at(photos)
    remember_named(tmp_path / "c", [Named("folder", source.location + part)])
    assert Originals(tmp_path / "c", [source]).read(item(source, "sub/b.png")) == b"sub/b.png"
    photos.rename(tmp_path / "moved")
    assert Originals(tmp_path / "c", [source], [tmp_path / "moved"]).read(item(source, "sub/b.png")) == b"sub/b.png"


def test_of_pictures_named_one_by_one_only_these_are_named(tmp_path: Path) -> None:
    """A collection may have a source far above, into which a picture is taken that is added."""
    draw(tmp_path / "p/a.png", 0)
    draw(tmp_path / "p/b.png", 1)
    above = Source("all", "folder", "/")
    found = open_sources([tmp_path / "p/a.png"], TableOptions(), None)
    assert found.named == [Named(FILE, file_text(tmp_path / "p/a.png"))]
    remember_named(tmp_path / "c", found.named)
    originals = Originals(tmp_path / "c", [above, source_at(tmp_path / "p")])
    for source, path in ((above, str(tmp_path / "p")[1:] + "/a.png"), (source_at(tmp_path / "p"), "a.png")):
        assert originals.read(item(source, path)) == (tmp_path / "p/a.png").read_bytes()
        with pytest.raises(PictureError, match="nobody"):
            originals.read(item(source, path.replace("a.png", "b.png")))


def test_folders_and_tables_are_named_as_they_are(tmp_path: Path) -> None:
    draw(tmp_path / "p/a.png", 0)
    (tmp_path / "p/t.csv").write_text("file\na.png\n")
    found = open_sources([tmp_path / "p", tmp_path / "p/t.csv"], TableOptions(), None)
    assert set(found.named) == {
        Named("folder", file_text(tmp_path / "p")),
        Named("table", file_text(tmp_path / "p/t.csv")),
        Named("joined", file_text(tmp_path / "p/t.csv")),
    }


@pytest.mark.parametrize("line", ["{", "[]", '["x"]', "null", '["a", 1, 2]', "\udce9", '["a", {}]'])
def test_damaged_notes_cost_a_confirmation_and_nothing_else(tmp_path: Path, line: str) -> None:
    remember_named(tmp_path / "c", [Named("folder", "/a")])
    path = cache_file(tmp_path / "c", notes.FOLDER)
    path.write_text(path.read_text() + line + "\n", errors="surrogateescape")
    assert named(tmp_path / "c") <= {Named("folder", "/a"), Named("a", "{}")}
    remember_named(tmp_path / "c", [Named("folder", "/b"), Named("folder", "/b")])
    assert path.read_text(errors="surrogateescape").count("/b") == 1


def test_notes_that_cannot_be_written_are_no_reason_to_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NESTVEC_CACHE", "/dev/null/cache")
    remember_named(tmp_path / "c", [Named("folder", "/a")])
    assert named(tmp_path / "c") == frozenset()
