"""Files beside pictures: captions in any coding, XMP, and what Google Takeout writes under its odd names."""

from __future__ import annotations

import codecs
import json
import os
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.ingest.beside import Beside, Said, caption_of, said_beside
from engine.ingest.takeout import read_takeout
from tests.ingest.made_metadata import xmp

TAKEN = {"photoTakenTime": {"timestamp": "1556698272"}}
WHEN = {"taken": datetime(2019, 5, 1, 8, 11, 12), "taken_zone": "+00:00"}


def said(folder: Path, name: str) -> Said:
    return Beside.of_folder(os.fsencode(folder)).said_of(os.fsencode(name))


def write(path: Path, found: Any) -> None:
    path.write_bytes(found if isinstance(found, bytes) else json.dumps(found).encode())


# -- captions -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        "ein Grüß aus 東京\r\n".encode(),
        codecs.BOM_UTF8 + "ein Grüß aus 東京".encode(),
        "ein Grüß aus 東京".encode("utf-16"),
        codecs.BOM_UTF16_BE + "ein Grüß aus 東京".encode("utf-16-be"),
        codecs.BOM_UTF32_LE + "ein Grüß aus 東京".encode("utf-32-le"),
        "ein Grüß aus 東京".encode("utf-16-le"),
        "ein  Grüß\n aus 東京".encode("utf-16-be"),
    ],
)
def test_captions_in_any_coding(data: bytes) -> None:
    assert caption_of(data) == "ein Grüß aus 東京"


@pytest.mark.parametrize("data", [b"", b" \n", codecs.BOM_UTF8, codecs.BOM_UTF16_LE, b"\0\0\0", b"\xff\xfe\0"])
def test_captions_that_say_nothing(data: bytes) -> None:
    assert caption_of(data) in (None, "\ufffd")


@given(st.binary(max_size=64))
def test_captions_of_any_bytes(data: bytes) -> None:
    found = caption_of(data)
    assert found is None or (found == found.strip() and found.encode() and "\0" not in found)


@pytest.mark.parametrize("name", ["a.txt", "a.jpg.txt", "A.TXT", "a.Txt", "A.JPG.TXT"])
def test_names_of_captions(tmp_path: Path, name: str) -> None:
    write(tmp_path / name, b"a caption")
    assert said(tmp_path, "a.jpg") == said(tmp_path, "A.JPG") == Said("a caption")
    assert said(tmp_path, "ab.jpg") == said(tmp_path, ".jpg") == Said()


def test_the_whole_name_counts_first_and_the_same_letters(tmp_path: Path) -> None:
    for name in ("a.txt", "A.txt", "b.jpg.txt", "b.txt", "c.jpg.txt", "c.txt"):
        write(tmp_path / name, name.encode())
    write(tmp_path / "c.jpg.txt", b"  ")
    assert [said(tmp_path, name).caption for name in ("a.jpg", "A.jpg", "b.jpg", "c.jpg")] == [
        "a.txt",
        "A.txt",
        "b.jpg.txt",
        "c.txt",
    ]


def test_names_that_are_no_text(tmp_path: Path) -> None:
    with open(os.fsencode(tmp_path) + b"/caf\xe9.txt", "wb") as file:
        file.write(b"a caption")
    assert Beside.of_folder(os.fsencode(tmp_path)).said_of(b"caf\xe9.jpg").caption == "a caption"


def test_only_what_is_there_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "b.txt", b"a caption")
    own, opened = Beside.of_folder(os.fsencode(tmp_path)), []
    real = os.open
    monkeypatch.setattr(os, "open", lambda path, *more, **named: (opened.append(path), real(path, *more, **named))[1])
    assert own.said_of(b"a.jpg") == Said()
    assert opened == []
    assert own.said_of(b"b.jpg").caption == "a caption"
    assert opened == [os.fsencode(tmp_path / "b.txt")]


def test_what_is_no_file_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.txt").mkdir()
    os.mkfifo(tmp_path / "b.txt")
    os.mkfifo(tmp_path / "b.xmp")
    (tmp_path / "c.json").symlink_to("/dev/zero")
    (tmp_path / "d.txt").symlink_to(tmp_path / "nowhere")
    assert [said(tmp_path, f"{name}.jpg") for name in "abcd"] == [Said(missed=True)] * 4
    assert said_beside(os.fsencode(tmp_path / "none/a.jpg")) == Said()


def test_a_listing_is_made_again_when_the_folder_has_changed(tmp_path: Path) -> None:
    where = os.fsencode(tmp_path / "a.jpg")
    assert said_beside(where) == Said()
    write(tmp_path / "a.txt", b"a caption")
    os.utime(tmp_path, ns=(1, 1))
    assert said_beside(where).caption == "a caption"


# -- XMP ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.xmp", "a.jpg.xmp", "A.XMP"])
def test_xmp(tmp_path: Path, name: str) -> None:
    write(tmp_path / name, xmp({"xmp:Rating": "4", "dc:subject": ["sea"]}))
    assert said(tmp_path, "a.jpg") == Said(meta={"rating": 4, "keywords": ["sea"]})


def test_xmp_that_says_nothing(tmp_path: Path) -> None:
    write(tmp_path / "a.jpg.xmp", b"<broken")
    write(tmp_path / "a.xmp", xmp({"xmp:Rating": "4"}))
    write(tmp_path / "b.xmp", xmp({"xmp:Rating": "4"}) + b" " * (2 << 20))
    assert said(tmp_path, "a.jpg").meta == {"rating": 4}
    assert said(tmp_path, "b.jpg") == Said()


# -- Google Takeout -----------------------------------------------------------------------------

LONG = "Screenshot_20220207_102421_com.snapchat.android.jpg"


@pytest.mark.parametrize(
    ("picture", "beside"),
    [
        ("IMG_1.jpg", "IMG_1.jpg.json"),
        ("IMG_1.jpg", "IMG_1.json"),
        ("IMG_1.jpg", "IMG_1.jpg.supplemental-metadata.json"),
        ("IMG_1.jpg", "IMG_1.jpg.supplemental-me.json"),
        ("IMG_1.jpg", "IMG_1.jpg.s.json"),
        ("IMG_1.jpg", "IMG_1.jpg..json"),
        ("IMG_1.JPG", "img_1.jpg.JSON"),
        ("IMG_1(1).jpg", "IMG_1.jpg(1).json"),
        ("IMG_1(1).jpg", "IMG_1.jpg.supplemental-metadata(1).json"),
        ("IMG_1(1).jpg", "IMG_1.jpg.supplemental-me(1).json"),
        ("IMG_1(12).jpg", "IMG_1(12).jpg.json"),
        ("IMG_1-edited.jpg", "IMG_1.jpg.supplemental-metadata.json"),
        ("IMG_1-bearbeitet.jpg", "IMG_1.jpg.json"),
        ("IMG_1-edited(1).jpg", "IMG_1.jpg(1).json"),
        (LONG, LONG[:46] + ".json"),
        (LONG.replace(".jpg", "(2).jpg"), LONG[:46] + "(2).json"),
        (LONG.replace(".jpg", "(2).jpg"), LONG[:43] + "(2).json"),
        ("Screenshot_2017-07-05-10-05-26.png", "Screenshot_2017-07-05-10-05-26.png.supplementa.json"),
        ("D7157814-D2D5-4A62-AFCE-9CF465CB7D66.jpeg", "D7157814-D2D5-4A62-AFCE-9CF465CB7D66.jpeg.supp.json"),
        ("Urlaub in Knaufspesch in der Schneifel (38).JPG", "Urlaub in Knaufspesch in der Schneifel (38).JP.json"),
    ],
)
def test_names_of_takeout(tmp_path: Path, picture: str, beside: str) -> None:
    assert len(beside) <= 55
    write(tmp_path / beside, TAKEN)
    assert said(tmp_path, picture) == Said(otherwise=WHEN)


@pytest.mark.parametrize(
    ("picture", "beside"),
    [
        ("IMG_1.jpg", "IMG_1.jpg(1).json"),
        ("IMG_1(1).jpg", "IMG_1.jpg.json"),
        ("IMG_1(1).jpg", "IMG_1.jpg(2).json"),
        ("IMG_1.jpg", "IMG_10.jpg.json"),
        ("IMG_1.jpg", "IMG_1.jpg.supplemental-things.json"),
        ("IMG_1.jpg", "IMG_1-edited.jpg.json"),
        ("IMG_1.jpg", "metadata.json"),
        ("IMG_1.jpg", "IMG.json"),
    ],
)
def test_names_of_other_pictures(tmp_path: Path, picture: str, beside: str) -> None:
    write(tmp_path / beside, TAKEN)
    assert said(tmp_path, picture) == Said()


def test_its_own_file_before_that_of_the_original(tmp_path: Path) -> None:
    write(tmp_path / "a.jpg.json", TAKEN)
    write(tmp_path / "a-edited.jpg.json", {"photoTakenTime": {"timestamp": 1}})
    assert said(tmp_path, "a-edited.jpg").otherwise["taken"] == datetime(1970, 1, 1, 0, 0, 1)


def test_what_takeout_says() -> None:
    where = {"latitude": 48.5, "longitude": -2.25, "altitude": 35.0, "latitudeSpan": 0.0}
    nowhere = dict.fromkeys(where, 0.0)
    whole = {**TAKEN, "title": "a.jpg", "description": " at sea ", "geoData": nowhere, "geoDataExif": where}
    place = {"latitude": 48.5, "longitude": -2.25, "altitude": 35.0}
    assert read_takeout(json.dumps(whole).encode()) == ({**place, "description": "at sea"}, WHEN)
    assert read_takeout(json.dumps({**whole, "geoDataExif": nowhere, "description": ""}).encode()) == ({}, WHEN)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[" * 100_000,
        b"null",
        b"[]",
        b'{"image": "a.jpg"}',
        b'{"photoTakenTime": null}',
        b'{"photoTakenTime": {"timestamp": "0"}}',
        b'{"photoTakenTime": {"timestamp": "9999999999999999"}}',
        b'{"photoTakenTime": {"timestamp": "999999999999"}}',
        b'{"photoTakenTime": {"timestamp": true}, "geoData": [], "description": 7}',
        b'{"photoTakenTime": {}, "geoData": {"latitude": 1e400, "longitude": NaN}, "geoDataExif": {"latitude": "1"}}',
        b'{"photoTakenTime": {"timestamp": 1' + b"0" * 5000 + b"}}",
        b"\xff\xfe\x00",
    ],
)
def test_takeout_that_says_nothing(data: bytes) -> None:
    assert read_takeout(data) == ({}, {})


def test_a_moment_before_1970() -> None:
    assert read_takeout(b'{"photoTakenTime": {"timestamp": "-86400"}}')[1]["taken"] == datetime(1969, 12, 31)
