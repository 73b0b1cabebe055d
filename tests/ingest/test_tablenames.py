"""Rows that are a file's, however a table writes its name."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from engine.ingest.tablenames import NamesInTable, plain_name

NFC, NFD = "Grüße/café.jpg", unicodedata.normalize("NFD", "Grüße/café.jpg")
FOLDER = "/home/me/photos"


def row_of(path: str, *rows: str, folder: str = FOLDER, beside: str = "/home/me") -> str | None:
    return NamesInTable(dict.fromkeys(rows), beside).row_of(path, folder)


@pytest.mark.parametrize(
    ("path", "row"),
    [
        ("a.jpg", "a.jpg"),
        ("sub/a.jpg", "sub\\a.jpg"),
        ("sub/a.jpg", ".\\sub\\a.jpg"),
        ("sub/a.jpg", "sub//./a.jpg"),
        ("sub/a.jpg", "x/../sub/a.jpg"),
        (NFC, NFD),
        (NFD, NFC),
        (NFC, NFD.replace("/", "\\")),
        ("sub/a.jpg", "/home/me/photos/sub/a.jpg"),
        ("sub/a.jpg", "/home/me/photos/./sub/a.jpg"),
        ("sub/a.jpg", "photos/sub/a.jpg"),
        ("sub/a.jpg", "../me/photos/sub/a.jpg"),
        (NFD, f"{FOLDER}/{NFC}"),
        ("deep/sub/a.jpg", "a.jpg"),
        ("deep/" + NFD, "café.jpg"),
        ("50%/%2541.jpg", "50%/%41.jpg"),
        ("50%2541.jpg", "50%41.jpg"),
        ("back\\slash.jpg", "back\\slash.jpg"),
        ("%FF.jpg", "%FF.jpg"),
    ],
)
def test_a_row_is_found(path: str, row: str) -> None:
    assert row_of(path, row, "other.png") == row


@pytest.mark.parametrize(
    ("path", "row"),
    [
        ("a.jpg", "sub/a.jpg"),
        ("other/a.jpg", "sub/a.jpg"),
        ("a.jpg", "/elsewhere/a.jpg"),
        ("a.jpg", "C:\\photos\\a.jpg"),
        ("a.jpg", "A.jpg"),
        ("a.jpg", ""),
    ],
)
def test_a_row_of_another_file(path: str, row: str) -> None:
    assert row_of(path, row) is None


def test_the_same_letters_count_first() -> None:
    assert row_of(NFC, NFD, NFC) == NFC
    assert row_of(NFD, NFD, NFC) == NFD
    assert row_of("a\\b.jpg", "a/b.jpg", "a\\b.jpg") == "a\\b.jpg"
    assert row_of("sub/a.jpg", "a.jpg", "/home/me/photos/sub/a.jpg") == "/home/me/photos/sub/a.jpg"


def test_of_two_rows_that_are_the_same_but_for_how_they_are_written_none_is_taken() -> None:
    assert row_of("sub/a.jpg", "sub\\a.jpg", "sub//a.jpg") is None


def test_where_the_folder_is_not_known_only_names_count() -> None:
    assert row_of("sub/a.jpg", "/home/me/photos/sub/a.jpg", folder="") is None
    assert row_of("sub/a.jpg", "a.jpg", folder="") == "a.jpg"


def test_names_are_compared_without_what_does_not_matter() -> None:
    assert plain_name("//x///y/./z") == "/x/y/z"
    assert plain_name("half \ud800") == "half \ud800"


def test_a_row_is_the_file_s_that_it_names_and_no_other_s(tmp_path: Path) -> None:
    """Cameras begin again at IMG_0001: one at the top, with a row, and one in a folder, without."""
    (tmp_path / "a.jpg").touch()
    assert row_of("a.jpg", "a.jpg", folder=str(tmp_path)) == "a.jpg"
    assert row_of("d/a.jpg", "a.jpg", folder=str(tmp_path)) is None
    assert row_of("d/b.jpg", "b.jpg", folder=str(tmp_path)) == "b.jpg"
