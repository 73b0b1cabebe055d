"""The door to files: what is a regular file goes through it, whole; anything else is refused at once, in words."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3

from engine.storage import regular
from engine.storage.regular import check_regular, hash_regular, opened_regular, read_regular


def opened(path: Any, **how: Any) -> bytes:
    with opened_regular(path, **how) as file:
        return file.read(64)


WAYS: dict[str, Callable[..., Any]] = {
    "check": check_regular,
    "open": opened,
    "read": lambda path, **how: read_regular(path, most=1 << 20, **how),
    "hash": hash_regular,
}


def no_file(folder: Path, kind: str) -> tuple[Path, str]:
    """Make something that is no regular file, and return what it is called."""
    path = folder / "it"
    if kind == "a named pipe":
        os.mkfifo(path)
    elif kind == "a folder":
        path.mkdir()
    elif kind == "a socket":
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(os.fsencode(path))
    elif kind == "a device":
        path = Path("/dev/zero")
    return path, kind


@pytest.mark.parametrize("kind", ["a named pipe", "a folder", "a socket", "a device"])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("linked", [False, True])
def test_what_is_no_regular_file_is_refused_at_once(tmp_path: Path, way: str, kind: str, linked: bool) -> None:
    path, said = no_file(tmp_path, kind)
    if linked:
        (tmp_path / "link").symlink_to(path)
        path = tmp_path / "link"
    with pytest.raises(OSError, match=f"is {said} and no regular file"):
        WAYS[way](path)


@pytest.mark.parametrize("way", WAYS)
def test_a_link_to_a_file_is_followed_only_where_it_is_not_ours(tmp_path: Path, way: str) -> None:
    (tmp_path / "file").write_bytes(b"x" * 10)
    (tmp_path / "link").symlink_to("file")
    assert WAYS[way](tmp_path / "link") == WAYS[way](tmp_path / "file")
    with pytest.raises(OSError, match="is a link and no regular file"):
        WAYS[way](tmp_path / "link", own=True)


@pytest.mark.parametrize("way", WAYS)
def test_what_is_missing_is_missing(tmp_path: Path, way: str) -> None:
    with pytest.raises(FileNotFoundError):
        WAYS[way](tmp_path / "nothing")


def test_a_file_is_read_up_to_a_bound(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for size in (0, 1, 1000, 1 << 16, (1 << 16) + 1):
        path.write_bytes(os.urandom(size))
        assert read_regular(path, most=size) == path.read_bytes()
        if size:
            with pytest.raises(OSError, match=f"is larger than {size - 1:,} bytes"):
                read_regular(path, most=size - 1)


def test_a_file_that_says_it_is_empty_is_read_all_the_same() -> None:
    assert read_regular("/proc/self/status", most=1 << 20).startswith(b"Name:")
    with pytest.raises(OSError, match="larger than 10 bytes"):
        read_regular("/proc/self/status", most=10)


@pytest.mark.parametrize("size", [0, 1, 4096, 3 * 4096 + 5])
def test_the_hash_is_that_of_the_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(regular, "PIECE", 4096)
    path = tmp_path / "file"
    path.write_bytes(os.urandom(size))
    assert hash_regular(path) == blake3(path.read_bytes()).hexdigest()
    assert hash_regular(os.fsencode(path)) == hash_regular(path)
