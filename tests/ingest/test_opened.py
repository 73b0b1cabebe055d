"""Which files a run opens: of a source none that it knows, whatever they are."""

from __future__ import annotations

import json
import os
import shutil
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine.api import Collection
from engine.collection.describe import list_failures
from engine.collection.verify import verify
from engine.ingest.options import EncodeOptions
from engine.ingest.vectors import VectorFiles
from engine.ingest.wanted import WantedOptions
from engine.progress import Summary
from engine.storage.kinds import ALL_METADATA, NO_LOCATION, NO_METADATA
from tests.helpers import COMMAND, clustered, draw, index, needs_bundled, newest, python, save
from tests.ingest.made_metadata import xmp
from tests.ingest.test_beside import TAKEN
from tests.ingest.test_containers import parquet, tar
from tests.ingest.test_sync_metadata import metas

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
    (photos / "sub/2.xmp").write_bytes(
        xmp({"dc:description": "two", "exif:GPSLatitude": "48,30N", "exif:GPSLongitude": "2,15E"})
    )
    (photos / "sub/3.png.supplemental-metadata.json").write_text(json.dumps(TAKEN))
    picture = (photos / "sub/0.png").read_bytes()
    tar(photos / "shard.tar", [("in.png", picture)])
    parquet(photos / "rows.parquet", [{"bytes": picture, "path": "in.png"}])
    pq.write_table(pa.table({"number": [1]}), photos / "table.parquet")
    (photos / "notes.txt").write_text("no picture")
    (photos / "film.mov").write_bytes(b"\0\0\0\x14ftypqt  ")
    (photos / "broken.jpg").write_bytes(b"\xff\xd8\xff nothing")
    draw(photos / "icon.png", 9, (16, 16))
    first = index(tmp_path / "c.nest", photos, wanted=WantedOptions(min_size=32))
    assert (first.added, first.failed, first.ignored, first.small) == (4, 1, 9, 1)
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
    assert counts == [2, 0, 2, 1] and set(opened) == {"sub/2.txt", "sub/2.xmp"}
    assert captions(photos) == ["another", "two"]


@pytest.mark.parametrize("name", ["2.xmp", "3.png.supplemental-metadata.json"])
def test_metadata_beside_a_picture_is_opened_when_it_has_changed(photos: Path, name: str) -> None:
    data, before = (photos / "sub" / name).read_bytes(), metas(photos.parent / "c.nest")
    (photos / "sub" / name).write_bytes(data.replace(b"two", b"another").replace(b"1556698272", b"1556698333"))
    counts, opened = run(photos)
    assert counts == [3, 0, 1, 1] and set(opened) == {f"sub/{name}"}
    said = {"sub/2.png": {"description": "another"}, "sub/3.png": {"taken": datetime(2019, 5, 1, 8, 12, 13)}}
    path = f"sub/{name[0]}.png"
    assert metas(photos.parent / "c.nest") == {**before, path: {**before[path], **said[path]}}
    assert run(photos) == ([4, 0, 0, 1], [])
    (photos / "sub" / name).unlink()
    assert run(photos)[0] == [3, 0, 1, 1]
    assert metas(photos.parent / "c.nest")[path] == {}
    assert run(photos) == ([4, 0, 0, 1], [])


@pytest.mark.parametrize("wants", [NO_LOCATION, NO_METADATA])
def test_less_metadata_is_asked_for_once(photos: Path, wants: str) -> None:
    root = photos.parent / "c.nest"
    summary = index(root, photos, encode=EncodeOptions(metadata=wants))
    assert (summary.encoded, summary.relabelled) == (0, 1 if wants == NO_LOCATION else 2)
    assert "latitude" not in metas(root)["sub/2.png"]
    assert metas(root)["sub/2.png"] == ({"description": "two"} if wants == NO_LOCATION else {})
    assert run(photos) == ([4, 0, 0, 1], [])


def test_what_files_beside_it_say_is_kept_where_the_picture_is_looked_into_again(photos: Path) -> None:
    root = photos.parent / "c.nest"
    before = metas(root)
    index(root, photos, encode=EncodeOptions(metadata=NO_METADATA))
    assert index(root, photos, encode=EncodeOptions(metadata=ALL_METADATA)).encoded == 0
    assert metas(root) == before and captions(photos) == ["nought", "one"]
    assert run(photos) == ([4, 0, 0, 1], [])


def test_a_file_that_could_not_be_read_is_tried_again(photos: Path) -> None:
    other = photos.parent / "elsewhere"
    os.mkfifo(other)
    (photos / "sub/3.txt").symlink_to(other)
    assert run(photos)[0] == [4, 0, 0, 1]
    assert captions(photos) == ["nought", "one"]
    status = other.stat()
    other.unlink()
    other.write_bytes(b"")
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert "sub/3.txt" in run(photos)[1]
    assert run(photos) == ([4, 0, 0, 1], [])


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
    (photos / "table.parquet").write_bytes((photos / "rows.parquet").read_bytes())
    assert set(run(photos)[1]) == {"table.parquet"}
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


# -- containers and vectors -----------------------------------------------------------------


@pytest.fixture
def boxes(tmp_path: Path) -> Path:
    """A folder of containers: two members with labels, a row, and a member that is broken."""
    boxes = tmp_path / "p"
    boxes.mkdir()
    drawn = [draw(tmp_path / f"{number}.png", number).read_bytes() for number in range(3)]
    tar(boxes / "a.tar", [("0.png", drawn[0]), ("0.txt", b"nought"), ("1.png", drawn[1]), ("notes.md", b"none")])
    parquet(boxes / "b.parquet", [{"bytes": drawn[2], "path": "in.png"}])
    tar(boxes / "c.tar", [("0.png", drawn[0][:60]), ("1.png", drawn[1])])
    first = index(tmp_path / "c.nest", boxes)
    assert (first.added, first.failed, first.ignored) == (4, 1, 1)
    return boxes


def test_a_container_that_is_as_it_was_is_not_opened(boxes: Path) -> None:
    before = metas(boxes.parent / "c.nest")
    for _ in range(2):
        assert run(boxes) == ([4, 0, 0, 1], [])
        assert index(boxes.parent / "c.nest", boxes).ignored == 1
    assert metas(boxes.parent / "c.nest") == before


def test_only_the_container_that_has_changed_is_opened(boxes: Path) -> None:
    data = draw(boxes.parent / "7.png", 7).read_bytes()
    tar(boxes / "c.tar", [("1.png", data), ("2.png", data)])
    counts, opened = run(boxes)
    assert (counts, set(opened)) == ([3, 1, 0, 0], {"c.tar"})
    assert run(boxes) == ([5, 0, 0, 0], [])
    os.utime(boxes / "a.tar", ns=(0, 5))
    counts, opened = run(boxes)
    assert (counts, set(opened)) == ([5, 0, 0, 0], {"a.tar"})
    assert run(boxes) == ([5, 0, 0, 0], [])
    (boxes / "a.tar").unlink()
    assert run(boxes) == ([3, 0, 0, 0], [])


def test_what_was_removed_from_the_collection_is_looked_for_again(boxes: Path) -> None:
    with Collection.open(boxes.parent / "c.nest") as opened:
        opened.remove("a.tar/0.png")
    counts, read = run(boxes)
    assert (counts, set(read)) == ([3, 1, 0, 1], {"a.tar"})
    assert run(boxes) == ([4, 0, 0, 1], [])


def test_what_is_said_of_pictures_in_containers_otherwise_is_read(boxes: Path) -> None:
    root = boxes.parent / "c.nest"
    (boxes.parent / "t.csv").write_text("file,caption\na.tar/0.png,by the table\n")
    assert index(root, boxes, table=boxes.parent / "t.csv").relabelled == 1
    assert captions(boxes) == ["by the table"]
    assert index(root, boxes, no_table=True).relabelled == 1
    assert captions(boxes) == ["nought"]
    assert index(root, boxes, encode=EncodeOptions(metadata=NO_METADATA)).encoded == 0
    assert run(boxes) == ([4, 0, 0, 1], [])


def test_a_container_of_its_own_is_not_opened(tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    picture = draw(tmp_path / "0.png", 0).read_bytes()
    boxes = [
        tar(tmp_path / "p" / "a.tar", [("0.png", picture)]),
        parquet(tmp_path / "p" / "b.parquet", [{"bytes": picture, "path": "in.png"}]),
    ]
    for box in boxes:
        assert index(tmp_path / "c.nest", box).added == 1
        told = python(WATCHED.replace('f"{photos}/"', "str(photos)"), tmp_path / "c.nest", box)
        assert list(told) == ["1", "0", "0", "0", "opened"]


def test_vectors_that_are_as_they_were_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    path, root = tmp_path / "p" / "v.npy", tmp_path / "c.nest"
    vectors = clustered(50, 8)
    vectors[3] = 0
    save(path, vectors)
    save_table(tmp_path / "p.csv", 50)
    first = index(root, path, table=tmp_path / "p.csv")
    assert (first.added, first.failed) == (49, 1)

    def read(labels: int = 0) -> int:
        code = "from engine.ingest.vectors import VectorFiles as V\nread = []\nkept = V._joined\n"
        code += "V._joined = lambda *given: (read.append(1), kept(*given))[1]\n"
        code += WATCHED.replace("[photos]", "[photos / 'v.npy']").replace('"opened", *opened', "len(read)")
        told = python(code, root, tmp_path / "p")
        assert list(told[:-1]) == [str(49 - labels), "0", str(labels), "1"]
        return int(told[-1])

    assert [read(), read()] == [0, 0]
    os.utime(path)
    assert [read() > 0, read()] == [True, 0]
    save_table(tmp_path / "p.csv", 50, "other ")
    assert read(49) > 0
    assert read() == 0
    with Collection.open(root) as opened:
        opened.remove("n7")
    assert index(root, path).added == 1
    assert read() == 0


def save_table(path: Path, rows: int, said: str = "") -> None:
    path.write_text("name,caption\n" + "".join(f"n{row},{said}{row}\n" for row in range(rows)))


def test_rows_of_one_name_stay_what_they_are_when_another_source_has_some_too(tmp_path: Path) -> None:
    root, names = tmp_path / "c.nest", np.array(["n0", "same", "same", "same", "n4"])
    files = []
    for number, name in enumerate(("a.npz", "b.npz")):
        np.savez(tmp_path / name, vectors=clustered(5, 6, seed=number), names=names)
        files.append(tmp_path / name)
    assert index(root, *files).added == 6
    for touched in (None, files[1], files[0], None):
        if touched is not None:
            os.utime(touched)
        summary = index(root, *files)
        assert (summary.unchanged, summary.changed, summary.failed_before) == (6, 0, 4)
        assert list(verify(root)) == []


def test_an_interrupted_run_leaves_no_note_of_what_it_has_begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, path = tmp_path / "c.nest", tmp_path / "v.npz"
    a, b = clustered(400, 6), clustered(400, 6, seed=1)
    np.savez(path, a=a, b=b)

    def run(column: str) -> Summary:
        return index(root, path, vectors=column)

    assert run("a").added == 400
    calls = [0]

    def interrupted(self: VectorFiles, *given: Any) -> Any:
        calls[0] += 1
        if calls[0] == 6:  # two blocks are read to compare, to find their places, and then to take them
            raise KeyboardInterrupt
        return block(self, *given)

    block = VectorFiles._block
    monkeypatch.setattr("engine.ingest.formats.arrays.ROWS_AT_ONCE", 200)
    monkeypatch.setattr(VectorFiles, "_block", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run("b")
    monkeypatch.setattr(VectorFiles, "_block", block)
    assert newest(root).notes is None
    run("a")
    with Collection.open(root) as opened:
        np.testing.assert_allclose(opened.search(a[:5], 1).scores[:, 0], 1, atol=2e-3)
        np.testing.assert_allclose(opened.search(a[-5:], 1).scores[:, 0], 1, atol=2e-3)


def test_changes_that_cancel_each_other_out_are_noticed(tmp_path: Path) -> None:
    path, root = tmp_path / "v.npz", tmp_path / "c.nest"
    x, names = clustered(8, 6), np.array([f"n{row}" for row in range(8)])
    np.savez(path, vectors=x, names=names)
    index(root, path)
    np.savez(path, vectors=x[:7], names=names[:7])
    with Collection.open(root) as opened:
        opened.add(path)
        opened.remove("n3")
    summary = index(root, path)
    assert (summary.added, summary.removed) == (1, 1)
    with Collection.open(root) as opened:
        opened.remove("n5")
        opened.add_vectors(clustered(1, 6, 9), names=["n5"], source="v.npz")
        assert len(opened) == 7
    assert newest(root).sources[0].location == str(path)
    summary = index(root, path)
    assert (summary.changed, summary.unchanged, summary.removed) == (1, 6, 0)
    with Collection.open(root) as opened:
        np.testing.assert_allclose(opened.search(x[5], 1).scores, 1, atol=2e-3)


def test_a_picture_that_is_tried_again_has_its_caption(tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    large, small = draw(tmp_path / "0.png", 0, (200, 200)).read_bytes(), draw(tmp_path / "1.png", 1).read_bytes()
    tar(tmp_path / "p" / "a.tar", [("0.png", large), ("0.txt", b"nought"), ("0.json", b'{"k": 5}'), ("1.png", small)])
    root = tmp_path / "c.nest"
    assert index(root, tmp_path / "p", encode=EncodeOptions(max_pixels=10_000)).failed == 1
    assert index(root, tmp_path / "p").added == 1
    assert metas(root)["a.tar/0.png"] == {"k": 5}
    assert captions(tmp_path / "p") == ["nought"]


def test_a_table_that_was_joined_to_a_part_is_taken_away_again(boxes: Path) -> None:
    root = boxes.parent / "c.nest"
    (boxes.parent / "t.csv").write_text("file,caption\na.tar/0.png,by the table\n")
    assert index(root, boxes / "a.tar", table=boxes.parent / "t.csv").relabelled == 1
    assert index(root, boxes, no_table=True).relabelled == 1
    assert captions(boxes) == ["nought"]


def test_what_is_wrong_in_a_container_for_good_does_not_have_it_opened(tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    data = draw(tmp_path / "0.png", 0).read_bytes()
    tar(tmp_path / "p" / "a.tar", [("0.png", data), ("0.json", b"{"), ("1.png", data), ("1.png", data)])
    parquet(tmp_path / "p" / "b.parquet", [{"bytes": data, "path": "in.png"}, {"bytes": None, "path": None}])
    first = index(tmp_path / "c.nest", tmp_path / "p")
    assert (first.added, first.failed) == (3, 3)
    for _ in range(2):
        assert run(tmp_path / "p") == ([3, 0, 0, 3], [])
