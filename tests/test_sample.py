"""The sample in data/: what is listed is there, unchanged, and small."""

from __future__ import annotations

import csv
import hashlib
from pathlib import Path

from PIL import Image

DATA = Path(__file__).resolve().parents[1] / "data"
SAMPLE = DATA / "sample"


def table() -> list[dict[str, str]]:
    with (SAMPLE / "captions.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def files() -> set[str]:
    return {file.relative_to(DATA).as_posix() for file in SAMPLE.rglob("*") if file.is_file()}


def test_checksums_cover_every_file_and_hold() -> None:
    lines = (DATA / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    listed = {name: digest for digest, name in (line.split("  ") for line in lines)}
    assert listed.keys() == files()
    wrong = [n for n, digest in listed.items() if hashlib.sha256((DATA / n).read_bytes()).hexdigest() != digest]
    assert wrong == []


def test_the_table_lists_every_picture_once() -> None:
    rows = table()
    assert list(rows[0]) == ["file", "caption", "licence", "origin"]
    names = [row["file"] for row in rows]
    assert len(names) == len(set(names))
    assert {f"sample/{name}" for name in names} | {"sample/captions.csv"} == files()


def test_every_picture_has_a_caption_a_licence_and_an_origin() -> None:
    rows = table()
    assert [row["file"] for row in rows if not all(row.values())] == []
    assert len({row["caption"] for row in rows}) == len(rows)
    known = {"CC0", "public domain", "no known copyright restrictions", "CC-BY-2.0", "Apache-2.0"}
    assert {row["licence"] for row in rows} <= known


def test_pictures_open_and_are_small() -> None:
    for row in table():
        with Image.open(SAMPLE / row["file"]) as picture:
            picture.load()
            assert max(picture.size) <= 640, row["file"]
            assert picture.format == ("JPEG" if row["file"].startswith("photos/") else "PNG")


def test_the_sample_stays_below_four_megabytes() -> None:
    assert sum((DATA / name).stat().st_size for name in files()) < 4_000_000
