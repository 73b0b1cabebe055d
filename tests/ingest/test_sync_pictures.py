"""Bringing a collection in line with folders of pictures: what was encoded once is not encoded again."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.api import Collection
from engine.collection.commit import current_version
from engine.collection.describe import list_failures
from engine.collection.verify import verify
from engine.progress import Summary
from indexers.errors import EncoderMismatch, ItemNotFound, SourceError
from tests.helpers import draw, index, needs_bundled

pytestmark = needs_bundled


class Album:
    """A folder of six pictures and a collection of them, both its own to change."""

    def __init__(self, folder: Path) -> None:
        self.photos = folder / "photos"
        self.root = folder / "c.nest"

    def index(self, *sources: Path, **options: Any) -> Summary:
        return index(self.root, *(sources or [self.photos]), **options)

    def ids(self) -> dict[str, int]:
        with Collection.open(self.root) as opened:
            snapshot = opened.snapshot
            live = np.setdiff1d(np.arange(snapshot.rows), snapshot.deleted)
            found = [snapshot.item(int(row)) for row in live]
        assert len({item.id for item in found}) == len(found)
        return {item.path: item.id for item in found}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The album as it was first indexed."""
    folder = tmp_path_factory.mktemp("album")
    for number in range(6):
        draw(folder / f"photos/{'sub/' if number > 3 else ''}p{number}.png", number)
    summary = index(folder / "c.nest", folder / "photos", specs=["flat@32"])
    assert (summary.added, summary.encoded, summary.failed, summary.unindexed) == (6, 6, 0, 0)
    return folder


@pytest.fixture
def album(made: Path, tmp_path: Path) -> Album:
    shutil.copytree(made, tmp_path, dirs_exist_ok=True, copy_function=shutil.copy2)
    found = Album(tmp_path)
    # The copy lies elsewhere: the first run notices that the source has moved.
    made.joinpath("photos").rename(made / "away")
    try:
        assert counts(found.index()) == {"unchanged": 6}
    finally:
        made.joinpath("away").rename(made / "photos")
    return found


def counts(summary: Summary) -> dict[str, int]:
    words = ("added", "changed", "moved", "relabelled", "removed", "unchanged", "failed", "ignored", "encoded")
    return {word: getattr(summary, word) for word in words if getattr(summary, word)}


def test_the_second_time_nothing_is_encoded(album: Album) -> None:
    version = current_version(album.root)
    assert counts(album.index()) == {"unchanged": 6}
    assert current_version(album.root) == version


def test_a_touched_file_is_read_once_and_not_encoded(album: Album) -> None:
    before = album.ids()
    os.utime(album.photos / "p0.png")
    assert counts(album.index()) == {"unchanged": 6}
    assert album.ids() == before
    version = current_version(album.root)
    assert counts(album.index()) == {"unchanged": 6}
    assert current_version(album.root) == version  # nothing was left to note the second time


def test_changed_content_keeps_its_id(album: Album) -> None:
    before = album.ids()
    draw(album.photos / "p1.png", 77)
    assert counts(album.index()) == {"changed": 1, "encoded": 1, "unchanged": 5}
    assert album.ids() == before
    with Collection.open(album.root) as opened:
        assert opened.similar(str(album.photos / "p1.png"), k=1, include_self=True).items[0].path == "p1.png"


def test_a_renamed_file_keeps_its_id_and_costs_nothing(album: Album) -> None:
    before = album.ids()
    (album.photos / "p1.png").rename(album.photos / "sub/renamed.png")
    assert counts(album.index()) == {"moved": 1, "unchanged": 5}
    after = album.ids()
    assert after.pop("sub/renamed.png") == before.pop("p1.png")
    assert after == before


def test_a_renamed_folder_keeps_its_ids(album: Album) -> None:
    before = album.ids()
    (album.photos / "sub").rename(album.photos / "other")
    assert counts(album.index()) == {"moved": 2, "unchanged": 4}
    assert sorted(album.ids().values()) == sorted(before.values())


def test_two_files_can_change_their_names_with_each_other(album: Album) -> None:
    a, b = album.photos / "p0.png", album.photos / "p1.png"
    a.rename(album.photos / "x")
    b.rename(a)
    (album.photos / "x").rename(b)
    assert counts(album.index()) == {"changed": 2, "unchanged": 4}


def test_a_copy_is_an_item_of_its_own(album: Album) -> None:
    before = album.ids()
    shutil.copy(album.photos / "p2.png", album.photos / "copy.png")
    assert counts(album.index()) == {"added": 1, "unchanged": 6}
    after = album.ids()
    assert after.pop("copy.png") > max(before.values())
    assert after == before


def test_what_is_gone_is_removed(album: Album) -> None:
    (album.photos / "p0.png").unlink()
    shutil.rmtree(album.photos / "sub")
    assert counts(album.index(add=True)) == {"unchanged": 3}
    assert counts(album.index()) == {"removed": 3, "unchanged": 3}
    assert set(album.ids()) == {"p1.png", "p2.png", "p3.png"}
    with Collection.open(album.root) as opened, pytest.raises(ItemNotFound):
        opened.similar("p0.png")


def test_one_picture_named_by_itself_removes_no_other(album: Album) -> None:
    before = album.ids()
    draw(album.photos / "sub/p4.png", 99)
    assert counts(album.index(album.photos / "sub/p4.png")) == {"changed": 1, "encoded": 1}
    assert album.ids() == before
    draw(album.photos / "new.png", 98)
    assert counts(album.index(album.photos / "new.png", album.photos)) == {"added": 1, "encoded": 1, "unchanged": 6}


def test_another_caption_costs_nothing(album: Album) -> None:
    before = album.ids()
    (album.photos / "p3.txt").write_text("a red balloon")
    # The text beside a picture is no picture itself.
    assert counts(album.index()) == {"relabelled": 1, "unchanged": 5, "ignored": 1}
    assert album.ids() == before
    with Collection.open(album.root) as opened:
        assert opened.snapshot.item(opened.snapshot.find_path("p3.png")).caption == "a red balloon"
    table = album.photos.parent / "t.csv"
    table.write_text("file,caption,stars\np3.png,from the table,5\n")
    assert counts(album.index(table=table)) == {"relabelled": 1, "unchanged": 5, "ignored": 1}


def test_a_table_that_fits_nothing_changes_nothing(album: Album) -> None:
    (album.photos / "p0.png").unlink()
    table = album.photos.parent / "t.csv"
    table.write_text("file,caption\nnothing.png,x\n")
    version = current_version(album.root)
    with pytest.raises(SourceError, match="none of the 1 rows"):
        album.index(table=table)
    assert current_version(album.root) == version


def test_broken_pictures_are_told_and_later_mended(album: Album) -> None:
    whole = (album.photos / "p0.png").read_bytes()
    (album.photos / "cut.png").write_bytes(whole[: len(whole) // 2])
    (album.photos / "text.jpg").write_text("no picture")
    (album.photos / "gone.gif").symlink_to("nowhere")
    with open(album.photos / "huge.png", "wb") as file:
        file.truncate(2 << 30)
    assert counts(album.index()) == {"unchanged": 6, "failed": 4}
    assert [row["path"] for row in list_failures(album.root)] == ["gone.gif", "huge.png", "cut.png", "text.jpg"]
    assert counts(album.index()) == {"unchanged": 6, "failed": 4}
    draw(album.photos / "cut.png", 50)
    for name in ("text.jpg", "gone.gif", "huge.png"):
        (album.photos / name).unlink()
    assert counts(album.index()) == {"unchanged": 6, "added": 1, "encoded": 1}
    assert list_failures(album.root) == []


def test_a_picture_that_breaks_keeps_its_last_good_vector(album: Album) -> None:
    (album.photos / "p0.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    assert counts(album.index()) == {"unchanged": 5, "failed": 1}
    assert len(album.ids()) == 6


def test_names_that_are_not_unicode(album: Album) -> None:
    name = os.fsencode(album.photos) + b"/caf\xe9\n.png"
    os.rename(album.photos / "p0.png", name)
    assert counts(album.index()) == {"moved": 1, "unchanged": 5}
    with Collection.open(album.root) as opened:
        found = opened.similar(os.fsdecode(name), k=1, include_self=True)
        assert found.items[0].path == "caf%E9\n.png"
        assert opened.remove([os.fsdecode(name)]).removed == 1


def test_a_collection_inside_its_source(album: Album) -> None:
    album.root.rename(album.photos / "inside.nest")
    album.root = album.photos / "inside.nest"
    assert counts(album.index()) == {"unchanged": 6}


def test_an_empty_folder(album: Album) -> None:
    empty = album.photos.parent / "empty"
    empty.mkdir()
    assert counts(album.index(empty)) == {}
    assert len(album.ids()) == 6


def test_another_encoder_is_refused_with_both_named(album: Album) -> None:
    with pytest.raises(EncoderMismatch, match=r"bundled.*precomputed:x"):
        album.index(album.photos, encoder="precomputed:x")


def test_all_of_it_is_whole(album: Album) -> None:
    draw(album.photos / "p0.png", 123)
    (album.photos / "p1.png").unlink()
    album.index()
    assert list(verify(album.root)) == []
