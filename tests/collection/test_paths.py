"""What a path says: folder, name and suffix; and when a file was changed."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from engine.collection.paths import changed_at, folder_of, name_of, suffix_of


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("2019/sea/IMG_1.JPG", ("2019/sea", "IMG_1.JPG", ".jpg")),
        ("a.jpg", ("", "a.jpg", ".jpg")),
        ("a.tar.gz", ("", "a.tar.gz", ".gz")),
        ("x.y/none", ("x.y", "none", "")),
        (".hidden", ("", ".hidden", "")),
        ("/abs/a.png", ("/abs", "a.png", ".png")),
        ("", ("", "", "")),
    ],
)
def test_what_a_path_says(path: str, said: tuple[str, str, str]) -> None:
    assert (folder_of(path), name_of(path), suffix_of(path)) == said


def test_when_a_file_was_changed() -> None:
    assert changed_at(1_556_698_272_123_456_789) == datetime(2019, 5, 1, 8, 11, 12, 123_456, tzinfo=UTC)
    assert changed_at(0) == datetime(1970, 1, 1, tzinfo=UTC)
    assert changed_at(-1) == datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)
    assert changed_at(-(1 << 63)) == datetime(1677, 9, 21, 0, 12, 43, 145_224, tzinfo=UTC)
