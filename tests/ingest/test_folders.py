"""What counts as a picture in a folder, and what a folder can do to whoever walks it."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engine.collection.commit import create
from engine.collection.manifest import Manifest, Source
from engine.ingest.folders import Folder, PictureTable, SingleFiles
from engine.ingest.tables import JoinedTables, LabelTable
from engine.storage.names import path_bytes
from indexers.errors import SourceError
from tests.helpers import draw

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 60


def touch(path: Path, content: bytes = PNG) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def folder(root: Path, labels: JoinedTables | None = None) -> Folder:
    return Folder(Source("photos", "folder", str(root)), root, labels)


def paths(root: Path) -> list[str]:
    return [entry.path for entry in folder(root).entries()]


def test_pictures_in_the_order_of_their_names(tmp_path: Path) -> None:
    for name in ("b/2.png", "b/10.png", "a.jpg", "Z.PNG", "c.jpeg", "b.png"):
        touch(tmp_path / name)
    assert paths(tmp_path) == ["Z.PNG", "a.jpg", "b/10.png", "b/2.png", "b.png", "c.jpeg"]
    assert paths(tmp_path) == [entry.path for entry in folder(tmp_path).entries()]


def test_what_is_known_of_a_picture(tmp_path: Path) -> None:
    path = draw(tmp_path / "a/one.png", 0)
    os.utime(path, ns=(0, 1_600_000_000_123_456_789))
    (entry,) = folder(tmp_path).entries()
    assert (entry.source, entry.path, entry.location) == ("photos", "a/one.png", os.fsencode(path))
    assert (entry.size, entry.mtime_ns) == (path.stat().st_size, 1_600_000_000_123_456_789)
    assert (entry.caption, entry.meta, entry.problem) == (None, {}, None)


def test_a_picture_is_known_by_its_first_bytes_where_its_name_says_nothing(tmp_path: Path) -> None:
    touch(tmp_path / "no-suffix")
    touch(tmp_path / "wrong.txt", b"\xff\xd8\xff\xe0" + b"\0" * 60)
    touch(tmp_path / "notes.txt", b"hello")
    touch(tmp_path / "empty", b"")
    touch(tmp_path / "text.jpg", b"no picture, but it claims to be one")
    listing = folder(tmp_path)
    assert [entry.path for entry in listing.entries()] == ["no-suffix", "text.jpg", "wrong.txt"]
    assert listing.ignored == 2


def test_hidden_files_and_folders_are_passed_over(tmp_path: Path) -> None:
    for name in (".hidden.png", ".git/a.png", "seen/.b.png", "seen/c.png"):
        touch(tmp_path / name)
    assert paths(tmp_path) == ["seen/c.png"]


NAMES = [b"line\nbreak.png", b"caf\xe9.png", "caf\u00e9.png".encode(), b"100%.png", b"%41.png", b"-rf.png", b"a'\".png"]


def test_any_name_that_a_file_can_have(tmp_path: Path) -> None:
    for name in NAMES:
        with open(os.path.join(os.fsencode(tmp_path), name), "wb") as file:
            file.write(PNG)
    found = {path_bytes(entry.path): entry.location for entry in folder(tmp_path).entries()}
    assert found == {name: os.path.join(os.fsencode(tmp_path), name) for name in NAMES}


def test_a_loop_of_links_ends(tmp_path: Path) -> None:
    touch(tmp_path / "a/b/c.png")
    (tmp_path / "a/b/up").symlink_to(tmp_path)
    (tmp_path / "a/self").symlink_to(".")
    (tmp_path / "around").symlink_to("around")
    assert [entry.path for entry in folder(tmp_path).entries() if not entry.doubtful] == ["a/b/c.png"]


def test_links_are_followed(tmp_path: Path) -> None:
    touch(tmp_path / "elsewhere/a.png")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/folder").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "photos/file.png").symlink_to(tmp_path / "elsewhere/a.png")
    assert paths(tmp_path / "photos") == ["file.png", "folder/a.png"]


def test_a_file_is_listed_once(tmp_path: Path) -> None:
    touch(tmp_path / "p/sub/a.png")
    touch(tmp_path / "p/b.png")
    touch(tmp_path / "p/.hidden/c.png")
    (tmp_path / "p/link.png").symlink_to("sub/a.png")
    (tmp_path / "p/to-hidden.png").symlink_to(".hidden/c.png")
    (tmp_path / "p/odd").symlink_to("sub/a.png")
    (tmp_path / "q").mkdir()
    (tmp_path / "q/whole").symlink_to(tmp_path / "p")
    (tmp_path / "q/one.png").symlink_to(tmp_path / "p/b.png")
    assert paths(tmp_path / "p") == ["b.png", "sub/a.png", "to-hidden.png"]
    assert paths(tmp_path / "q")[:2] == ["one.png", "whole/b.png"]  # what no other source has is this one's
    source, p, q = Source("one", "folder", "/"), tmp_path / "p", tmp_path / "q"
    around, other = Folder(source, p, others=[p / "sub"]), Folder(source, q, others=[p])
    assert [[entry.path for entry in one.entries()] for one in (around, other)] == [["b.png", "to-hidden.png"], []]
    assert (around.left, other.left) == (["link.png", "odd", "sub"], ["one.png", "whole"])
    part = Folder(source, p, part=p / "sub")
    assert ([entry.path for entry in part.entries()], part.below, part.whole) == (["sub/a.png"], "sub", False)


def test_what_programs_keep_for_themselves_is_passed_over(tmp_path: Path) -> None:
    kept = ["a.png", "My.photoslibrary/originals/0/b.png", "node_modules.png", "lost/c.png"]
    others = ["@eaDir/a.png/SYNOPHOTO_THUMB_M.jpg", "#recycle/d.png", "$Recycle.Bin/e.png", "x/lost+found/f.png"]
    others += [
        "My.photoslibrary/resources/derivatives/b.jpeg",
        "Previews.lrdata/g.jpg",
        "__MACOSX/a.png",
        ".Trash-1/h.png",
    ]
    for name in (*kept, *others):
        touch(tmp_path / name)
    listing = folder(tmp_path)
    assert sorted(entry.path for entry in listing.entries()) == sorted(kept)
    assert "@eaDir" in listing.left
    # Named, it is what was named.
    assert paths(tmp_path / "#recycle") == ["d.png"]


def test_a_dangling_link_is_a_problem_only_if_it_claims_to_be_a_picture(tmp_path: Path) -> None:
    (tmp_path / "gone.png").symlink_to("nowhere")
    (tmp_path / "gone").symlink_to("nowhere")
    doubtful, entry = folder(tmp_path).entries()
    assert (entry.path, entry.doubtful) == ("gone.png", False)
    assert entry.problem == "is a link to what is not there"
    # It may lead to a folder.
    assert (doubtful.path, doubtful.doubtful) == ("gone", True)


def test_what_is_no_file_is_not_opened(tmp_path: Path) -> None:
    """Opening the pipe would wait for ever."""
    os.mkfifo(tmp_path / "pipe.png")
    os.mkfifo(tmp_path / "one.txt")
    touch(tmp_path / "one.png")
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(tmp_path / "socket.jpg"))
        (entry,) = folder(tmp_path).entries()
    assert (entry.path, entry.caption) == ("one.png", None)


@pytest.fixture
def nested(tmp_path: Path) -> Iterator[Callable[[str, int], Path]]:
    """Make folders one in another, deeper than a path can be long, and take them away again."""
    here = os.getcwd()

    def make(name: str, depth: int) -> Path:
        try:
            os.chdir(tmp_path)
            for _ in range(depth):
                os.mkdir(name)
                os.chdir(name)
            touch(Path("deep.png"))
        finally:
            os.chdir(here)
        return tmp_path

    yield make
    # Python's own rmtree, pytest's too, is recursive.
    subprocess.run(["rm", "-rf", tmp_path], check=True)


def test_a_folder_that_cannot_be_listed_is_a_problem(nested: Callable[[str, int], Path]) -> None:
    root = nested("d" * 200, 25)
    touch(root / "z.png")
    found = list(folder(root).entries())
    assert [entry.path for entry in found if entry.problem is None] == ["z.png"]
    (problem,) = [entry for entry in found if entry.problem is not None]
    assert problem.unread
    assert problem.problem == "folder cannot be read: File name too long"


def test_folders_may_be_nested_deeper_than_pythons_stack(nested: Callable[[str, int], Path]) -> None:
    assert paths(nested("d", 1500)) == ["d/" * 1500 + "deep.png"]


def test_collections_are_passed_over_whatever_they_are_called(tmp_path: Path) -> None:
    create(tmp_path / "photos.nest", Manifest)
    create(tmp_path / "below/plain", Manifest)
    touch(tmp_path / "below/plain/cover.png")
    touch(tmp_path / "birds.nest/heron.png")
    touch(tmp_path / "versions/1.png")
    assert paths(tmp_path) == ["birds.nest/heron.png", "versions/1.png"]


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="not a folder"):
        folder(touch(tmp_path / "a.png"))


# -- captions ------------------------------------------------------------------------------


def test_a_text_beside_a_picture_is_its_caption(tmp_path: Path) -> None:
    touch(tmp_path / "a.png")
    touch(tmp_path / "a.txt", "  two\n lines of caf\u00e9 ".encode() + b"\xff")
    touch(tmp_path / "b.png")
    touch(tmp_path / "b.txt", b" \n")
    (tmp_path / "c.txt").mkdir()
    touch(tmp_path / "c.png")
    assert [entry.caption for entry in folder(tmp_path).entries()] == ["two lines of caf\u00e9 \ufffd", None, None]


def test_a_table_goes_before_a_text(tmp_path: Path) -> None:
    touch(tmp_path / "a.png")
    touch(tmp_path / "sub/b.png")
    touch(tmp_path / "a.txt", b"from the text")
    table = touch(tmp_path / "t.csv", b"file,caption,rating\na.png,from the table,5\nb.png,by its last part,4\n")
    found = list(folder(tmp_path, JoinedTables([LabelTable.open(table)])).entries())
    assert [(entry.caption, entry.meta) for entry in found] == [
        ("from the table", {"rating": 5}),
        ("by its last part", {"rating": 4}),
    ]


# -- named one by one, or by a table -------------------------------------------------------


def test_single_files(tmp_path: Path) -> None:
    one = touch(tmp_path / "a/one.png")
    listing = SingleFiles(Source("photos", "folder", str(tmp_path)), tmp_path, [one, tmp_path / "none.png"])
    first, second = listing.entries()
    assert (first.path, first.size, first.problem) == ("a/one.png", len(PNG), None)
    assert (second.path, second.problem) == ("none.png", "cannot be read: No such file or directory")
    assert not listing.whole


def test_pictures_listed_by_a_table(tmp_path: Path) -> None:
    touch(tmp_path / "img/a.png")
    touch(tmp_path / "50%41.png")
    with open(os.fsencode(tmp_path) + b"/caf\xe9.png", "wb") as file:
        file.write(PNG)
    (tmp_path / "d.png").mkdir()
    names = [
        "./img/a.png",
        "50%41.png",
        "caf%E9.png",
        str(tmp_path / "img/a.png"),
        "none.png",
        "d.png",
        "http://x/y.png",
    ]
    table = touch(tmp_path / "t.csv", ("file,caption\n" + "".join(f"{name},c\n" for name in names)).encode())
    listing = PictureTable(Source("t.csv", "table", str(table)), table, LabelTable.open(table))
    found = list(listing.entries())
    assert [entry.path for entry in found] == [
        *("img/a.png", "50%2541.png", "caf%E9.png", str(tmp_path / "img/a.png"), "none.png", "d.png", "http://x/y.png"),
    ]
    assert [entry.problem for entry in found] == [
        *(
            None,
            None,
            None,
            None,
            "cannot be read: No such file or directory",
            "cannot be read: is a folder and no regular file",
        ),
        "is an address, not a file: nothing is fetched",
    ]
    assert [os.path.exists(entry.location) for entry in found[:4]] == [True] * 4
