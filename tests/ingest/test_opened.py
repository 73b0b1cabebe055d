"""Which files a run opens: of a source none that it knows, whatever they are."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from engine.api import Collection
from engine.collection.describe import list_failures
from engine.ingest.wanted import WantedOptions
from tests.helpers import COMMAND, draw, index, needs_bundled, python

pytestmark = needs_bundled

# Every event of a process that has to do with a file below the source, but for listings of folders.
WATCHED = """
import sys
from pathlib import Path
from engine.jobs.index import RunOptions, index

root, photos = Path(sys.argv[1]), Path(sys.argv[2])
opened = []

def hear(event, arguments):
    if event == "open" and isinstance(arguments[0], str | bytes):
        name = arguments[0] if isinstance(arguments[0], str) else arguments[0].decode()
        if name.startswith(f"{photos}/"):
            opened.append(name[len(str(photos)) + 1 :])

sys.addaudithook(hear)
summary = index(root, [photos], RunOptions(device="cpu"))
print(summary.unchanged, summary.added, summary.relabelled, summary.failed, "opened", *opened)
"""


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    photos = tmp_path / "p"
    for number in range(4):
        draw(photos / f"sub/{number}.png", number)
    (photos / "sub/0.txt").write_text("nought")
    (photos / "sub/1.txt").write_text("one")
    (photos / "notes.txt").write_text("no picture")
    (photos / "film.mov").write_bytes(b"\0\0\0\x14ftypqt  ")
    (photos / "broken.jpg").write_bytes(b"\xff\xd8\xff nothing")
    draw(photos / "icon.png", 9, (16, 16))
    first = index(tmp_path / "c.nest", photos, wanted=WantedOptions(min_size=32))
    assert (first.added, first.failed, first.ignored, first.small) == (4, 1, 4, 1)
    return photos


def run(photos: Path) -> tuple[list[int], list[str]]:
    told = list(python(WATCHED, photos.parent / "c.nest", photos))
    at = told.index("opened")
    return [int(one) for one in told[:at]], told[at + 1 :]


def captions(photos: Path) -> list[str]:
    with Collection.open(photos.parent / "c.nest", device="cpu") as opened:
        items = [opened.snapshot.item(int(row)) for row in opened.snapshot.live.numbers]
    return sorted(item.caption for item in items if item.caption is not None)


def test_what_is_known_is_not_opened(photos: Path) -> None:
    for _ in range(2):
        assert run(photos) == ([4, 0, 0, 1], [])


def test_a_text_is_opened_when_it_is_new_or_has_changed(photos: Path) -> None:
    (photos / "sub/1.txt").write_text("another")
    counts, opened = run(photos)
    assert counts == [3, 0, 1, 1] and set(opened) == {"sub/1.txt"}
    assert run(photos) == ([4, 0, 0, 1], [])
    os.utime(photos / "sub/1.txt", ns=(0, 5))  # older, and the same
    counts, opened = run(photos)
    assert counts == [4, 0, 0, 1] and set(opened) == {"sub/1.txt"}
    assert run(photos) == ([4, 0, 0, 1], [])
    (photos / "sub/2.txt").write_text("two")
    (photos / "sub/0.txt").unlink()
    counts, opened = run(photos)
    assert counts == [2, 0, 2, 1] and set(opened) == {"sub/2.txt"}
    assert captions(photos) == ["another", "two"]


def test_a_text_is_read_again_for_another_picture(photos: Path) -> None:
    draw(photos / "sub/1.png", 11)
    counts, opened = run(photos)
    assert counts == [3, 0, 0, 1] and set(opened) == {"sub/1.png", "sub/1.txt"}
    shutil.move(photos / "sub/0.png", photos / "sub/7.png")
    shutil.move(photos / "sub/0.txt", photos / "sub/7.txt")
    run(photos)
    assert captions(photos) == ["nought", "one"]
    assert run(photos) == ([4, 0, 0, 1], [])


def test_what_a_table_said_is_not_taken_for_the_text(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("file,caption\nsub/0.png,by the table\n")
    assert index(tmp_path / "c.nest", photos, table=tmp_path / "t.csv").relabelled == 1
    assert captions(photos) == ["by the table", "one"]
    assert index(tmp_path / "c.nest", photos, no_table=True).relabelled == 1
    assert captions(photos) == ["nought", "one"]


def test_a_failure_is_tried_again_when_it_has_changed(photos: Path) -> None:
    os.utime(photos / "broken.jpg", ns=(0, 0))
    assert set(run(photos)[1]) == {"broken.jpg"}
    assert run(photos)[1] == []
    (photos / "film.mov").write_bytes((photos / "sub/3.png").read_bytes())
    counts, opened = run(photos)
    assert counts == [4, 1, 0, 1] and set(opened) == {"film.mov"}
    assert [one["path"] for one in list_failures(photos.parent / "c.nest")] == ["broken.jpg"]


@pytest.mark.skipif(sys.platform != "linux" or shutil.which("strace") is None, reason="strace is not installed")
def test_a_known_file_costs_one_call_of_the_system(photos: Path, tmp_path: Path) -> None:
    traced = ["strace", "-f", "-o", str(tmp_path / "calls"), COMMAND, "index", photos, tmp_path / "c.nest"]
    assert os.spawnvp(os.P_WAIT, "strace", list(map(str, traced))) == 0
    calls = (tmp_path / "calls").read_text(errors="replace").splitlines()
    for file in photos.rglob("*.*"):
        assert sum(f'"{file}"' in call for call in calls) <= 2, file
