"""Tables of captions and columns: a source remembers its own, and nothing they said is dropped in silence."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine.api import Collection
from engine.collection.manifest import SourceTable
from engine.ingest.joined import TableOptions
from engine.jobs import index as run
from engine.jobs.index import RunOptions
from engine.progress import Silent, Summary, Unnamed
from indexers.errors import SourceError
from tests.helpers import clustered, draw, index, needs_bundled, nestvec, newest, save

Labels = tuple[str | None, dict[str, Any]]


def labels(root: Path) -> dict[str, Labels]:
    with Collection.open(root) as opened:
        snapshot = opened.snapshot
        items = [snapshot.item(int(row)) for row in snapshot.live.numbers]
    return {
        item.path: (item.caption, {name: one for name, one in item.meta.items() if one is not None}) for item in items
    }


def heard(root: Path, *sources: Path, **options: Any) -> tuple[Summary, str]:
    """Index, and return what was said as well."""

    class Notes(Silent):
        def say(self, text: str) -> None:
            said.append(text)

    said: list[str] = []
    summary = run.index(root, sources, RunOptions(table=TableOptions(**options), device="cpu"), Notes())
    return summary, "\n".join(said)


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n")
    return path


class Album:
    """Three pictures in a folder, and two tables beside it."""

    def __init__(self, folder: Path) -> None:
        self.photos, self.root = folder / "photos", folder / "c.nest"
        self.table = write(folder / "a.csv", "file,caption,stars", "a.png,an a,1", "sub/b.png,a b,2", "gone.png,x,3")
        self.other = write(folder / "b.csv", "photo,stars,place", "a.png,9,here", "c.png,8,there")

    def index(self, **options: Any) -> Summary:
        return index(self.root, self.photos, **options)

    @property
    def tables(self) -> tuple[SourceTable, ...]:
        return newest(self.root).sources[0].tables


@pytest.fixture(scope="module")
def encoded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("joined")
    for number, name in enumerate(("a.png", "sub/b.png", "c.png")):
        draw(folder / "photos" / name, number)
    index(folder / "c.nest", folder / "photos")
    return folder


@pytest.fixture
def album(encoded: Path, tmp_path: Path) -> Album:
    shutil.copytree(encoded, tmp_path, dirs_exist_ok=True, copy_function=shutil.copy2)
    found = Album(tmp_path)
    encoded.joinpath("photos").rename(encoded / "away")
    try:
        found.index()
    finally:
        encoded.joinpath("away").rename(encoded / "photos")
    return found


FIRST: dict[str, Labels] = {"a.png": ("an a", {"stars": 1}), "sub/b.png": ("a b", {"stars": 2}), "c.png": (None, {})}


@needs_bundled
def test_a_table_is_remembered_and_read_again(album: Album) -> None:
    assert album.index(table=album.table).relabelled == 2
    assert labels(album.root) == FIRST
    version = newest(album.root).version
    assert album.index().version == version
    album.table.write_text(album.table.read_text().replace("an a", "another"))
    assert album.index().relabelled == 1
    assert labels(album.root)["a.png"][0] == "another"


@needs_bundled
def test_its_options_are_remembered_with_it(album: Album) -> None:
    write(album.table, "id,photo,says", "1,a.png,hello")
    album.index(table=album.table, names="photo", captions="says")
    assert labels(album.root)["a.png"] == ("hello", {"id": 1})
    assert album.index().relabelled == 0
    assert album.tables == (SourceTable(str(album.table), "photo", "says"),)
    assert album.index(table=album.table, captions="id").relabelled == 1
    assert labels(album.root)["a.png"] == ("1", {"says": "hello"})
    assert album.index(captions="says").relabelled == 1
    assert album.index(table=album.table).relabelled == 0


@needs_bundled
def test_no_table_drops_it_and_what_it_said(album: Album) -> None:
    album.index(table=album.table)
    assert album.index(no_table=True).relabelled == 2
    assert labels(album.root) == dict.fromkeys(FIRST, (None, {}))
    assert album.tables == ()
    assert album.index().relabelled == 0


@needs_bundled
def test_a_second_table_adds_to_the_first(album: Album) -> None:
    album.index(table=album.table)
    summary, said = heard(album.root, album.photos, table=album.other, name_column="photo")
    assert summary.relabelled == 2
    both: dict[str, Labels] = {
        "a.png": ("an a", {"stars": 9, "place": "here"}),
        "sub/b.png": ("a b", {"stars": 2}),
        "c.png": (None, {"stars": 8, "place": "there"}),
    }
    assert labels(album.root) == both
    assert "b.csv says stars, and so does a table named before" in said
    summary, said = heard(album.root, album.photos)
    assert (summary.relabelled, "says stars" in said) == (0, False)
    assert album.index(table=album.table).relabelled == 0  # named again it is the same
    assert [Path(table.location).name for table in album.tables] == ["a.csv", "b.csv"]
    assert album.index(no_table=True, table=album.table).relabelled == 2
    assert labels(album.root) == FIRST


@needs_bundled
def test_columns_of_which_table(album: Album) -> None:
    album.index(table=album.table)
    album.index(table=album.other, names="photo")
    with pytest.raises(SourceError, match=r"several tables .*say with --table"):
        album.index(captions="stars")


@needs_bundled
def test_a_table_that_is_gone_is_told_and_nothing_is_lost(album: Album) -> None:
    album.index(table=album.table)
    album.index(table=album.other, names="photo")
    before, version = labels(album.root), newest(album.root).version
    album.table.rename(album.table.with_name("away"))
    summary, said = heard(album.root, album.photos)
    assert (summary.unread, summary.version, summary.relabelled) == ([str(album.table)], version, 0)
    assert f"{album.table} cannot be read" in said
    assert "--no-table" in said
    assert labels(album.root) == before
    # The other table goes on, files move and come, and what is beside a picture counts where nothing else does.
    write(album.other, "photo,stars,place", "a.png,9,elsewhere", "c.png,8,there")
    (album.photos / "sub/b.png").rename(album.photos / "sub/new.png")
    write(album.photos / "a.txt", "beside a")
    write(album.photos / "c.txt", "beside c")
    draw(album.photos / "d.png", 4)
    write(album.photos / "d.txt", "beside d")
    summary = album.index()
    assert (summary.added, summary.moved, summary.relabelled) == (1, 1, 2)
    assert labels(album.root) == {
        "a.png": ("an a", {"stars": 9, "place": "elsewhere"}),
        "sub/new.png": ("a b", {"stars": 2}),
        "c.png": ("beside c", {"stars": 8, "place": "there"}),
        "d.png": ("beside d", {}),
    }
    album.table.with_name("away").rename(album.table)
    album.table.write_text(album.table.read_text().replace("sub/b", "sub/new"))
    assert album.index().unread == []
    assert labels(album.root)["sub/new.png"] == ("a b", {"stars": 2})


@needs_bundled
def test_a_table_that_only_the_collection_names_is_not_read(album: Album, monkeypatch: pytest.MonkeyPatch) -> None:
    """A collection from elsewhere may name any file of this machine as a table of its captions."""
    inside = write(album.photos / "in.csv", "file,place", "a.png,inside")
    album.index(table=inside)
    album.index(table=album.table)
    before = labels(album.root)
    write(album.table, "file,caption", "a.png,a secret of this machine")
    monkeypatch.setenv("NESTVEC_CACHE", str(album.root.parent / "another"))
    summary, said = heard(album.root, album.photos)
    assert (summary.unread, summary.relabelled) == ([str(album.table)], 0)
    assert f"nobody on this machine has named the table {album.table}" in said
    assert "--table" in said
    assert index(album.root, album.photos / "b.png", draw(album.photos / "b.png", 9), add=True).unread != []
    assert labels(album.root) | {"b.png": None} == before | {"b.png": None}
    assert heard(album.root, album.photos, table=album.table)[0].unread == []
    assert labels(album.root)["a.png"] == ("a secret of this machine", {"place": "inside"})
    assert album.index().unread == []


@needs_bundled
@pytest.mark.parametrize("what", ["pipe", "folder", "other columns", "no text"])
def test_what_stands_where_a_table_was(album: Album, what: str) -> None:
    album.index(table=album.table)
    before = labels(album.root)
    album.table.unlink()
    if what == "pipe":
        os.mkfifo(album.table)
    elif what == "folder":
        album.table.mkdir()
    else:
        album.table.write_bytes(b"x,y\n1,2\n" if what == "other columns" else b"file\n\xff\n")
    assert album.index().unread == [str(album.table)]
    assert labels(album.root) == before


@needs_bundled
def test_a_table_that_is_named_now_must_be_there(album: Album) -> None:
    album.index(table=album.table)
    album.table.unlink()
    with pytest.raises(SourceError, match="cannot be read"):
        album.index(table=album.table)


@needs_bundled
def test_rows_without_an_item_are_counted_and_named(album: Album) -> None:
    (one,) = album.index(table=album.table).unjoined
    assert (one.table, one.rows, one.first) == (str(album.table), 1, ("gone.png",))
    (again,) = album.index().unjoined
    assert again == one
    assert index(album.root, album.photos / "a.png", add=True).unjoined == []
    album.table.write_text(album.table.read_text().replace("gone.png", "c.png"))
    assert album.index().unjoined == []


@needs_bundled
def test_pictures_without_a_row_are_counted_and_named(album: Album) -> None:
    assert album.index().unnamed == []  # it has no table
    assert album.index(table=album.table).unnamed == [Unnamed("photos", 1, ("c.png",))]
    assert album.index().unnamed == [Unnamed("photos", 1, ("c.png",))]
    assert album.index(table=album.other, names="photo").unnamed == []
    done = nestvec("index", album.photos, album.root, "--no-table", "--table", album.table)
    assert b"1 picture has no row in the tables of photos: c.png" in done.stderr


@needs_bundled
def test_a_table_from_another_system(album: Album) -> None:
    write(album.table, "file,caption", f"{album.photos}/a.png,one", ".\\sub\\b.png,two", "photos/c.png,three")
    assert album.index(table=album.table).unjoined == []
    assert labels(album.root) == {"a.png": ("one", {}), "sub/b.png": ("two", {}), "c.png": ("three", {})}


@needs_bundled
def test_a_picture_that_is_added_by_itself_has_what_its_source_remembers(album: Album) -> None:
    album.index(table=album.table)
    assert index(album.root, album.photos / "a.png", add=True).relabelled == 0
    album.table.write_text(album.table.read_text() + "new.png,brand new,4\n")
    draw(album.photos / "new.png", 7)
    index(album.root, album.photos / "new.png", add=True)
    assert labels(album.root)["new.png"] == ("brand new", {"stars": 4})


@needs_bundled
def test_a_source_that_is_moved_takes_its_tables_along(album: Album) -> None:
    inside = shutil.copy(album.table, album.photos / "a.csv")
    album.index(table=Path(inside))
    album.photos.rename(album.photos.with_name("elsewhere"))
    album.photos = album.photos.with_name("elsewhere")
    summary = album.index()
    assert (summary.unread, summary.unchanged) == ([], 3)
    assert album.tables == (SourceTable(str(album.photos / "a.csv")),)


# -- vectors and tables of pictures ------------------------------------------------------------


X = clustered(4, 8)


def test_a_table_beside_vectors_is_remembered(tmp_path: Path) -> None:
    root, vectors = tmp_path / "c.nest", save(tmp_path / "v.npy", X)
    table = write(tmp_path / "t.csv", "id,says", *(f"n{row},row {row}" for row in range(4)))
    index(root, vectors, table=table, names="id", captions="says")
    assert index(root, vectors).unchanged == 4
    other = write(tmp_path / "u.csv", "name,stars,says", "x,1,other", "y,2,", "z,3,", "w,4,")
    summary, said = heard(root, vectors, table=other)
    assert (summary.relabelled, summary.added) == (4, 0)
    assert "says, and so does" not in said  # it is a caption there and a column here
    assert labels(root)["n0"] == ("row 0", {"stars": 1, "says": "other"})
    assert labels(root)["n1"] == ("row 1", {"stars": 2, "says": ""})
    assert index(root, vectors).unchanged == 4
    version = newest(root).version
    table.unlink()
    summary, said = heard(root, vectors)
    assert (summary.unread, summary.version, summary.removed) == ([str(table)], version, 0)
    assert "left as they are" in said
    summary = index(root, vectors, no_table=True)
    assert set(labels(root)) == {f"v.npy#{row}" for row in range(4)}


def test_columns_that_vectors_have_of_their_own_are_remembered(tmp_path: Path) -> None:
    root, path = tmp_path / "c.nest", tmp_path / "v.parquet"
    columns = {"key": ["a", "b", "c", "d"], "file": ["1", "2", "3", "4"], "says": ["w", "x", "y", "z"]}
    pq.write_table(pa.table({**columns, "vector": pa.array(X.tolist(), pa.list_(pa.float32()))}), path)
    index(root, path, names="key", captions="says")
    assert labels(root)["a"] == ("w", {"file": "1"})
    assert index(root, path).unchanged == 4
    assert index(root, path, no_table=True).unchanged == 4  # it is no table of its own


@needs_bundled
def test_a_table_of_pictures_remembers_its_columns(album: Album, tmp_path: Path) -> None:
    listing = write(tmp_path / "list.csv", "file,photo,says", "1,photos/a.png,hello", "2,photos/c.png,there")
    index(album.root, listing, names="photo", captions="says")
    assert labels(album.root)["photos/a.png"] == ("hello", {"file": "1"})
    assert index(album.root, listing).unchanged == 2


def test_a_table_is_not_laid_beside_a_folder_of_vectors_in_silence(tmp_path: Path) -> None:
    (tmp_path / "laion/img_emb").mkdir(parents=True)
    save(tmp_path / "laion/img_emb/img_emb_0.npy", X)
    table = write(tmp_path / "t.csv", "caption", *"abcd")
    with pytest.raises(SourceError, match="none was named"):
        index(tmp_path / "c.nest", tmp_path / "laion", table=table)
