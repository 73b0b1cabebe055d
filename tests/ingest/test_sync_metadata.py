"""EXIF, XMP and IPTC from a folder into the items of a collection: read once, never encoded again for it."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from engine.api import Collection
from engine.collection.snapshot import Snapshot
from engine.ingest.options import EncodeOptions
from engine.storage.kinds import ALL_METADATA, NO_LOCATION, NO_METADATA
from indexers.errors import InvalidInput
from tests.helpers import draw, index, inside, needs_bundled, nestvec, newest
from tests.ingest.made_metadata import Entry, fractions, segment, short, text, tiff, xmp
from tests.ingest.test_relabel import vectors_of

pytestmark = needs_bundled

PARIS = (text(1, "N"), fractions(2, (48, 1), (30, 1)), text(3, "E"), fractions(4, (2, 1), (15, 1)))
PLACE = {"latitude": 48.5, "longitude": 2.25}
CAMERA = {"camera": "Google Pixel 7"}


def photo(path: Path, seed: int, more: Sequence[Entry] = ()) -> Path:
    """Draw a JPEG that was taken in Paris."""
    data = draw(path, seed).read_bytes()
    block = tiff([text(0x10F, "Google"), text(0x110, "Pixel 7"), *more], gps=PARIS)
    path.write_bytes(data[:2] + segment(0xE1, b"Exif\0\0" + block) + data[2:])
    return path


def metas(root: Path) -> dict[str, dict[str, Any]]:
    with Collection.open(root) as opened:
        snapshot = opened.snapshot
        items = [snapshot.item(int(row)) for row in snapshot.live.numbers]
    said = [{name: one for name, one in item.meta.items() if one is not None} for item in items]
    return {item.path: meta for item, meta in zip(items, said, strict=True)}


def wanting(metadata: str | None) -> dict[str, Any]:
    return {"encode": EncodeOptions(metadata=metadata)}


@pytest.fixture
def album(tmp_path: Path) -> Path:
    photo(tmp_path / "p/a.jpg", 1, [short(0x4746, 5)])
    photo(tmp_path / "p/b.jpg", 2)
    draw(tmp_path / "p/c.png", 3)
    return tmp_path / "p"


@pytest.fixture
def root(tmp_path: Path, album: Path) -> Path:
    index(tmp_path / "c.nest", album)
    return tmp_path / "c.nest"


def test_what_pictures_say_are_columns(root: Path, album: Path) -> None:
    assert metas(root) == {"a.jpg": {**CAMERA, **PLACE, "rating": 5}, "b.jpg": {**CAMERA, **PLACE}, "c.png": {}}
    before = newest(root)
    again = index(root, album)
    assert (again.unchanged, again.relabelled, again.version) == (3, 0, before.version)


def test_an_older_collection_gets_them_without_encoding(tmp_path: Path, album: Path) -> None:
    root = tmp_path / "c.nest"
    index(root, album, **wanting(NO_METADATA))
    assert metas(root) == {"a.jpg": {}, "b.jpg": {}, "c.png": {}}
    before = newest(root)
    assert index(root, album).unchanged == 3  # it remembers
    summary = index(root, album, **wanting(ALL_METADATA))
    assert (summary.encoded, summary.relabelled, summary.unchanged) == (0, 2, 1)
    assert vectors_of(newest(root)) == vectors_of(before)
    assert metas(root)["a.jpg"] == {**CAMERA, **PLACE, "rating": 5}
    # What says nothing was looked into as well, and is not again.
    after = newest(root).version
    assert index(root, album).version == after


def test_a_file_is_opened_once(root: Path, album: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = album.parent / "t.csv"
    table.write_text("file,stars\na.jpg,1\nb.jpg,2\n")
    opened, real = [], os.open
    monkeypatch.setattr(os, "open", lambda path, *more, **named: (opened.append(path), real(path, *more, **named))[1])
    assert index(root, album, table=table).relabelled == 2
    assert not [one for one in opened if bytes(str(one), "utf-8", "replace").find(b".jpg") >= 0]
    assert metas(root)["b.jpg"] == {**CAMERA, **PLACE, "stars": 2}


def test_a_table_counts_before_the_file_and_the_file_when_it_is_dropped(root: Path, album: Path) -> None:
    table = album.parent / "t.csv"
    table.write_text("file,camera,latitude,longitude\na.jpg,mine,1.5,\nb.jpg,,,\n")
    index(root, album, table=table)
    assert metas(root)["a.jpg"] == {"camera": "mine", "latitude": 1.5, "rating": 5}
    index(root, album, no_table=True)
    assert metas(root)["a.jpg"] == {**CAMERA, **PLACE, "rating": 5}


def test_while_a_table_is_gone_nothing_of_a_file_is_taken_for_its_word(root: Path, album: Path) -> None:
    table = album.parent / "t.csv"
    table.write_text("file,stars\na.jpg,1\n")
    index(root, album, table=table)
    table.rename(album.parent / "away.csv")
    before = metas(root)
    assert index(root, album).unread == [str(table)]
    assert metas(root) == before
    index(root, album, **wanting(NO_LOCATION))
    assert metas(root)["a.jpg"] == {**CAMERA, "rating": 5, "stars": 1}


def test_the_place_alone_can_be_left_out(root: Path, album: Path) -> None:
    summary = index(root, album, **wanting(NO_LOCATION))
    assert (summary.encoded, summary.relabelled) == (0, 2)
    assert metas(root) == {"a.jpg": {**CAMERA, "rating": 5}, "b.jpg": CAMERA, "c.png": {}}
    assert newest(root).metadata == NO_LOCATION
    with Snapshot.open(root) as snapshot:
        assert "latitude" not in str(next(snapshot.item_tables()).to_pydict())
    photo(album / "d.jpg", 4)
    (album / "c.json").write_text(json.dumps({"photoTakenTime": {}, "geoData": PLACE}))
    index(root, album)
    assert (metas(root)["d.jpg"], metas(root)["c.png"]) == (CAMERA, {})
    index(root, album, **wanting(ALL_METADATA))
    assert (metas(root)["d.jpg"], metas(root)["c.png"]) == ({**CAMERA, **PLACE}, PLACE)


def test_all_of_it_can_be_left_out(root: Path, album: Path) -> None:
    (album / "a.xmp").write_bytes(xmp({"xmp:Rating": "2"}))
    (album / "a.txt").write_text("a caption")
    assert index(root, album, **wanting(NO_METADATA)).relabelled == 2
    assert metas(root) == {"a.jpg": {}, "b.jpg": {}, "c.png": {}}
    with Collection.open(root) as opened:
        assert opened.snapshot.item(0).caption == "a caption"


def test_side_files_count_before_the_picture_and_after_a_table(root: Path, album: Path) -> None:
    (album / "a.xmp").write_bytes(xmp({"xmp:Rating": "2", "tiff:Model": "by hand"}))
    table = album.parent / "t.csv"
    table.write_text("file,camera\na.jpg,by the table\n")
    summary = index(root, album)
    assert (summary.encoded, summary.relabelled) == (0, 1)
    assert metas(root)["a.jpg"] == {**PLACE, "camera": "by hand", "rating": 2}
    index(root, album, table=table)
    assert metas(root)["a.jpg"] == {**PLACE, "camera": "by the table", "rating": 2}
    (album / "a.xmp").unlink()
    index(root, album, no_table=True)
    assert metas(root)["a.jpg"] == {**CAMERA, **PLACE, "rating": 5}


def test_google_says_when_where_the_picture_does_not(tmp_path: Path) -> None:
    photo(tmp_path / "p/a.jpg", 1, [text(0x132, "2019:05:01 10:11:12")])
    photo(tmp_path / "p/b.jpg", 2)
    for name in ("a.jpg.json", "b.jpg.suppl.json"):
        (tmp_path / "p" / name).write_text(json.dumps({"photoTakenTime": {"timestamp": "86400"}, "description": name}))
    index(tmp_path / "c.nest", tmp_path / "p")
    found = metas(tmp_path / "c.nest")
    assert str(found["a.jpg"]["taken"]) == "2019-05-01 10:11:12"
    assert "taken_zone" not in found["a.jpg"]
    assert (str(found["b.jpg"]["taken"]), found["b.jpg"]["taken_zone"]) == ("1970-01-02 00:00:00", "+00:00")
    assert [found[name]["description"] for name in found] == ["a.jpg.json", "b.jpg.suppl.json"]


def test_moved_copied_touched_and_changed(root: Path, album: Path) -> None:
    (album / "copy.jpg").write_bytes((album / "b.jpg").read_bytes())
    (album / "a.jpg").rename(album / "moved.jpg")
    os.utime(album / "b.jpg", ns=(1, 1))
    photo(album / "x.jpg", 9, [short(0x4746, 1)]).replace(album / "c.png")
    summary = index(root, album)
    assert (summary.encoded, summary.moved, summary.added, summary.changed) == (1, 1, 1, 1)
    whole = {**CAMERA, **PLACE}
    expected = {"moved.jpg": {**whole, "rating": 5}, "b.jpg": whole, "copy.jpg": whole, "c.png": {**whole, "rating": 1}}
    assert metas(root) == expected


def test_a_broken_block_costs_nothing(tmp_path: Path) -> None:
    data = draw(tmp_path / "p/a.jpg", 1).read_bytes()
    broken = b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\xff" * 200
    (tmp_path / "p/a.jpg").write_bytes(data[:2] + segment(0xE1, broken) + data[2:])
    done = nestvec("index", tmp_path / "p", tmp_path / "c.nest", "--encoder", "bundled")
    assert done.returncode == 0
    assert b"EXIF" not in done.stderr
    assert b"Warning" not in done.stderr
    assert metas(tmp_path / "c.nest") == {"a.jpg": {}}


def test_options_of_the_command(root: Path, album: Path) -> None:
    assert nestvec("index", album, root, "--no-location").returncode == 0
    assert b"metadata   no location" in nestvec("info", root).stdout
    assert nestvec("index", album, root, "--no-metadata").returncode == 0
    assert newest(root).metadata == NO_METADATA
    assert nestvec("index", album, root, "--metadata").returncode == 0
    assert (newest(root).metadata, metas(root)["b.jpg"]) == (ALL_METADATA, {**CAMERA, **PLACE})
    done = nestvec("index", album, root, "--no-metadata", "--location")
    assert (done.returncode, b"name one of them" in done.stderr) == (2, True)
    with pytest.raises(InvalidInput, match="metadata"):
        EncodeOptions(metadata="some")


def test_compaction_keeps_what_was_read(root: Path, album: Path) -> None:
    (album / "b.jpg").unlink()
    index(root, album)
    with Collection.open(root) as opened:
        opened.compact()
    version = newest(root).version
    assert index(root, album).version == version
    assert metas(root) == {"a.jpg": {**CAMERA, **PLACE, "rating": 5}, "c.png": {}}
    assert all(inside(root, ref).exists() for ref in newest(root).items)


def shot(path: Path, seed: int, hour: int, said: str) -> Path:
    """Draw a JPEG that was taken at some hour, with a description."""
    data = draw(path, seed).read_bytes()
    block = tiff([text(0x10E, said)], exif=[text(0x9003, f"2019:05:31 {hour:02}:30:00")])
    path.write_bytes(data[:2] + segment(0xE1, b"Exif\0\0" + block) + data[2:])
    return path


def ids(root: Path) -> dict[str, int]:
    with Collection.open(root) as opened:
        snapshot = opened.snapshot
        items = [snapshot.item(int(row)) for row in snapshot.live.numbers]
    return {item.path: item.id for item in items}


def test_what_was_moved_and_written_anew_is_the_same_item(tmp_path: Path) -> None:
    """Another folder and other tags: known by its name and when it was taken."""
    album, root = tmp_path / "p", tmp_path / "c.nest"
    for number in range(4):
        shot(album / f"in/{number}.jpg", number, number, "before")
    index(root, album)
    before = ids(root)
    (album / "in").rename(album / "2019")
    for number in range(3):
        shot(album / f"2019/{number}.jpg", number, number, f"after {number}")
    shot(album / "2019/3.jpg", 3, 23, "another picture of that name")
    summary = index(root, album)
    assert (summary.moved, summary.added, summary.removed) == (3, 1, 1)
    after = ids(root)
    assert [after[f"2019/{number}.jpg"] for number in range(3)] == [before[f"in/{number}.jpg"] for number in range(3)]
    assert after["2019/3.jpg"] not in before.values()
    assert metas(root)["2019/1.jpg"]["description"] == "after 1"
    assert index(root, album).unchanged == 4


def test_a_library_that_was_moved_and_written_anew_is_the_same_source(tmp_path: Path) -> None:
    root = tmp_path / "c.nest"
    for number in range(4):
        shot(tmp_path / f"old/{number}.jpg", number, number, "before")
    index(root, tmp_path / "old")
    before = ids(root)
    (tmp_path / "old").rename(tmp_path / "new")
    for number in range(4):
        shot(tmp_path / f"new/{number}.jpg", number, number, "after it was edited")
    summary = index(root, tmp_path / "new")
    assert (summary.added, summary.removed, summary.changed) == (0, 0, 4)
    assert ids(root) == before
    # Another card with pictures of the same names, taken at other times, is no such.
    (tmp_path / "new").rename(tmp_path / "away")
    for number in range(4):
        shot(tmp_path / f"card/{number}.jpg", number + 50, number + 10, "another card, of another size")
    assert index(root, tmp_path / "card").added == 4
