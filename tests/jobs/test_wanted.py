"""Runs over folders of which not all is wanted: what a collection remembers, what leaves it and stays away."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from engine.collection.describe import describe, list_failures
from engine.collection.verify import verify
from engine.ingest.wanted import WantedOptions
from indexers.errors import SourceError
from tests.helpers import clustered, draw, index, needs_bundled, nestvec, save
from tests.ingest.test_containers import tar

pytestmark = needs_bundled


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wanted")
    for number in range(12):
        draw(folder / f"p/{'private' if number < 9 else 'sub'}/{number}.png", number)
    draw(folder / "p/sub/wide.jpg", 20, (90, 30))
    assert index(folder / "c.nest", folder / "p").added == 13
    return folder


def test_what_is_excluded_leaves_and_does_not_come_back(tmp_path: Path, made: Path) -> None:
    shutil.copytree(made / "p", tmp_path / "p", copy_function=shutil.copy2)
    root = tmp_path / "c.nest"
    assert index(root, tmp_path / "p").added == 13
    # More than half of it, and no loss.
    first = index(root, tmp_path / "p", wanted=WantedOptions(exclude=["private/"]))
    assert (first.removed, first.unwanted, first.excluded, first.unchanged, first.losses) == (9, 9, 1, 4, [])
    again = index(root, tmp_path / "p")
    assert (again.added, again.removed, again.excluded, again.unchanged) == (0, 0, 1, 4)
    assert describe(root)["sources"][0]["patterns"] == ["private/"]
    back = index(root, tmp_path / "p", wanted=WantedOptions(forget=True))
    assert (back.added, back.unchanged, describe(root)["sources"][0]["patterns"]) == (9, 4, [])
    # As a file of patterns says it, and what is gone besides is told apart from that.
    (tmp_path / "p/.nestvecignore").write_text("private\n")
    shutil.rmtree(tmp_path / "p/private")
    (tmp_path / "p/sub/9.png").unlink()
    third = index(root, tmp_path / "p")
    assert (third.removed, third.unwanted, third.losses) == (10, 9, [])
    assert list(verify(root)) == []


def test_a_file_of_patterns_that_cannot_be_read_changes_nothing(tmp_path: Path, made: Path) -> None:
    shutil.copytree(made / "p", tmp_path / "p", copy_function=shutil.copy2)
    root = tmp_path / "c.nest"
    (tmp_path / "p/private/.nestvecignore").write_text("[0-7].png\n")
    assert index(root, tmp_path / "p").added == 5
    (tmp_path / "p/private/.nestvecignore").unlink()
    (tmp_path / "p/private/.nestvecignore").mkdir()
    summary = index(root, tmp_path / "p")
    assert (summary.added, summary.removed, summary.unchanged, summary.failed) == (0, 0, 4, 1)
    (failure,) = list_failures(root)
    assert failure["path"] == "private" and ".nestvecignore cannot be read" in failure["reason"]


def test_small_pictures_are_passed_over(tmp_path: Path, made: Path) -> None:
    shutil.copytree(made / "p/sub", tmp_path / "p", copy_function=shutil.copy2)
    root = tmp_path / "c.nest"
    assert index(root, tmp_path / "p", wanted=WantedOptions(min_size=48)).small == 1
    small = index(root, tmp_path / "p")
    assert (small.unchanged, small.small, small.failed, small.added) == (3, 1, 0, 0)
    # Both directions, and what is in the collection already is known to be too small without a look at it.
    less = index(root, tmp_path / "p", wanted=WantedOptions(min_size=30))
    assert (less.unchanged, less.small, less.added) == (3, 0, 1)
    more = index(root, tmp_path / "p", wanted=WantedOptions(min_size=49))
    assert (more.unchanged, more.small, more.removed, more.unwanted, more.losses) == (0, 4, 4, 4, [])
    assert index(root, tmp_path / "p", wanted=WantedOptions(min_size=0)).added == 4


def test_a_line_is_small_too(tmp_path: Path) -> None:
    """A divider of a web page is no failure where such things are not wanted."""
    draw(tmp_path / "p/photo.png", 1, size=(60, 60))
    draw(tmp_path / "p/divider.png", 2, size=(1001, 3))
    summary = index(tmp_path / "c.nest", tmp_path / "p", wanted=WantedOptions(min_size=48))
    assert (summary.added, summary.small, summary.failed) == (1, 1, 0)


def test_a_picture_that_has_become_small_leaves(tmp_path: Path) -> None:
    root = tmp_path / "c.nest"
    draw(tmp_path / "p/a.png", 1), draw(tmp_path / "p/b.png", 2)
    assert index(root, tmp_path / "p", wanted=WantedOptions(min_size=40)).added == 2
    draw(tmp_path / "p/a.png", 3, (30, 30))
    summary = index(root, tmp_path / "p")
    assert (summary.removed, summary.unwanted, summary.small, summary.unchanged) == (1, 1, 1, 1)
    # A copy of a picture that another source has is as small as that.
    draw(tmp_path / "q/c.png", 3, (30, 30))
    assert index(root, tmp_path / "q").added == 1
    shutil.copy2(tmp_path / "q/c.png", tmp_path / "p/d.png")
    summary = index(root, tmp_path / "p")
    assert (summary.added, summary.small, summary.unchanged) == (0, 2, 1)


def test_of_a_pair_one_is_taken(tmp_path: Path) -> None:
    root, photos = tmp_path / "c.nest", tmp_path / "p"
    draw(photos / "1.jpg", 1), draw(photos / "2.jpg", 2)
    shutil.copy2(draw(photos / "other.tiff", 3), photos / "1.DNG")
    shutil.copy2(draw(photos / "other.tiff", 4), photos / "3.nef")
    first = index(root, photos)
    assert (first.added, first.paired) == (4, 1)
    both = index(root, photos, wanted=WantedOptions(pairs="both"))
    assert (both.added, both.paired, both.unchanged) == (1, 0, 4)
    raw = index(root, photos, wanted=WantedOptions(pairs="raw"))
    assert (raw.removed, raw.unwanted, raw.paired, raw.unchanged) == (1, 1, 1, 4)
    assert (index(root, photos).paired, describe(root)["sources"][0]["pairs"]) == (1, "raw")


def test_what_a_part_is_told_is_not_told_the_source(tmp_path: Path, made: Path) -> None:
    shutil.copytree(made / "p", tmp_path / "p", copy_function=shutil.copy2)
    root = tmp_path / "c.nest"
    assert index(root, tmp_path / "p").added == 13
    summary = index(root, tmp_path / "p/sub", wanted=WantedOptions(exclude=["*.png"]))
    assert (summary.removed, summary.unwanted, summary.unchanged) == (3, 3, 1)
    assert index(root, tmp_path / "p").unchanged == 10


def test_add_remembers_and_takes_nothing_out(tmp_path: Path, made: Path) -> None:
    shutil.copytree(made / "p/sub", tmp_path / "p", copy_function=shutil.copy2)
    root = tmp_path / "c.nest"
    assert index(root, tmp_path / "p").added == 4
    summary = index(root, tmp_path / "p", add=True, wanted=WantedOptions(exclude=["*.png"]))
    assert (summary.removed, summary.excluded) == (0, 3)
    assert index(root, tmp_path / "p").removed == 3


def test_only_folders_have_something_that_is_not_wanted(tmp_path: Path) -> None:
    vectors = save(tmp_path / "v.npy", clustered(20, 8))
    with pytest.raises(SourceError, match="lies in a folder of pictures"):
        index(tmp_path / "c.nest", vectors, wanted=WantedOptions(exclude=["*.png"]))
    assert not (tmp_path / "c.nest").exists()


def test_patterns_are_of_containers_and_not_of_what_lies_in_them(tmp_path: Path) -> None:
    for name in "ab":
        members = [
            (f"{n}.png", draw(tmp_path / f"{name}{n}.png", n + 5 * (name == "b")).read_bytes()) for n in range(3)
        ]
        (tmp_path / "p").mkdir(exist_ok=True)
        tar(tmp_path / f"p/{name}.tar", members)
    root, photos = tmp_path / "c.nest", tmp_path / "p"
    first = index(root, photos, wanted=WantedOptions(exclude=["*.png", "/b.tar/"]))
    assert (first.added, first.excluded) == (6, 0)
    second = index(root, photos, wanted=WantedOptions(exclude=["b.tar"]))
    assert (second.removed, second.unwanted, second.excluded, second.unchanged) == (3, 3, 1, 3)
    # It leaves with no question asked though it is away as well, and one that was not excluded does not.
    assert index(root, photos, wanted=WantedOptions(forget=True)).added == 3
    (photos / "b.tar").unlink()
    third = index(root, photos, wanted=WantedOptions(exclude=["b.tar"]))
    assert (third.removed, third.unwanted, third.losses) == (3, 3, [])
    (photos / "a.tar").unlink()
    fourth = index(root, photos, wanted=WantedOptions(exclude=["*.png"]))
    assert (fourth.removed, fourth.unwanted, len(fourth.losses)) == (0, 0, 1)


def test_all_pictures_in_containers_are_taken_however_small(tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    tar(tmp_path / "p/a.tar", [("0.png", draw(tmp_path / "0.png", 0, (16, 16)).read_bytes())])
    with pytest.raises(SourceError, match="all of them are taken, however small"):
        index(tmp_path / "c.nest", tmp_path / "p", wanted=WantedOptions(min_size=32))
    with pytest.raises(SourceError, match="none was named"):
        index(tmp_path / "c.nest", tmp_path / "p/a.tar", wanted=WantedOptions(exclude=["*.png"]))
    assert index(tmp_path / "c.nest", tmp_path / "p", wanted=WantedOptions(min_size=0)).added == 1


def test_the_command(tmp_path: Path, made: Path) -> None:
    shutil.copytree(made / "p/sub", tmp_path / "p", copy_function=shutil.copy2)
    options = ["--exclude", "1*.png", "--include", ".thumbnails/", "--min-size", "31", "--pairs", "both"]
    done = nestvec("index", tmp_path / "p", tmp_path / "c.nest", "--json", "--device", "cpu", *options)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["added"], told["excluded"], told["small"]) == (1, 2, 1)
    text = nestvec("info", tmp_path / "c.nest").stdout.decode()
    for line in ("excluded 1*.png", "included .thumbnails/", "passed over below 31 pixels", "developed to: both"):
        assert line in text
    (source,) = json.loads(nestvec("info", tmp_path / "c.nest", "--json").stdout)["sources"]
    assert (source["patterns"], source["min_size"], source["pairs"]) == (["1*.png", "!.thumbnails/"], 31, "both")
    done = nestvec("index", tmp_path / "p", tmp_path / "c.nest", "--no-exclude")
    assert done.returncode == 0 and b"2 added, 1 unchanged, 1 small" in done.stdout
    done = nestvec("index", tmp_path / "p", tmp_path / "c.nest", "--exclude", "")
    assert done.returncode == 2 and b"exclude: expected a text that is not empty" in done.stderr
