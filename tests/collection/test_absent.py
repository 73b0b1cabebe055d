"""What is said where no collection is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from engine.api import Collection
from engine.collection.absent import absence
from engine.collection.commit import current_version
from indexers.errors import NotACollection
from tests.faults.texts import change_version
from tests.helpers import vectors_collection


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder, where we are, with a collection of `photos`, and pictures that nobody indexed."""
    vectors_collection(tmp_path)
    for name in ("photos/2019", "other photos", "texts", "empty"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("photos/2019/a.jpg", "other photos/b.PNG", "texts/c.txt", "d.jpeg"):
        (tmp_path / name).write_bytes(b"x")

    def made_from_photos(body: dict[str, object]) -> None:
        body["sources"] = [{"name": "photos", "kind": "folder", "location": str(tmp_path / "photos")}]

    change_version(tmp_path / "c.nest", made_from_photos)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("photos", "it is a folder of pictures; did you mean c.nest, which was made from it?"),
        ("photos/2019", "it is a folder of pictures; make one with: nestvec index photos/2019 photos/2019.nest"),
        ("other photos", "pictures; make one with: nestvec index 'other photos' 'other photos.nest'"),
        ("texts", "it is a folder without one (no versions in it); make one with: nestvec index PHOTOS texts.nest"),
        ("empty", "it is an empty folder; make one with: nestvec index PHOTOS empty"),
        (".", "it is a folder that holds one; did you mean c.nest?"),
        ("c.nst", "it does not exist; did you mean c.nest? Or make one with: nestvec index PHOTOS c.nst"),
        ("nothing-like-it", "it does not exist; make one with: nestvec index PHOTOS nothing-like-it"),
        ("no/such/c.nest", "it does not exist; make one with"),
        ("d.jpeg", "it is a picture; a collection is a folder"),
        ("v.npy", "it is a file; a collection is a folder"),
        ("c.nest/items", "it is a part of one; did you mean c.nest?"),
        ("c.nest/versions/0000000001.json", "it is a part of one; did you mean c.nest?"),
    ],
)
def test_what_is_there_instead(folder: Path, path: str, said: str) -> None:
    with pytest.raises(NotACollection) as caught:
        current_version(Path(path))
    assert str(caught.value).startswith(f"{path} is not a nestvec collection: ")
    assert said in str(caught.value)
    with pytest.raises(NotACollection):
        Collection.open(path)


def test_a_folder_below_what_was_indexed(folder: Path) -> None:
    os.rename(folder / "c.nest", folder / "photos/c.nest")
    assert "did you mean photos/c.nest, which was made from it?" in absence(Path("photos"))


def test_damaged_collections_beside_it_are_passed_over(folder: Path) -> None:
    for version in (folder / "c.nest/versions").iterdir():
        version.write_text("{}")
    assert "make one with: nestvec index photos photos.nest" in absence(Path("photos"))
