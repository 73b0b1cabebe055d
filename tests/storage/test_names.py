"""Names of files as text: every name has one text, every text names one file."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.storage.names import (
    file_text,
    path_bytes,
    path_key,
    path_name,
    path_text,
    printable,
    printable_name,
    shown,
    spellings,
)

NAMES = st.binary(max_size=40) | st.text(max_size=20).map(lambda text: text.encode("utf-8", "surrogatepass"))
TRICKY = st.lists(st.sampled_from([b"%", b"4", b"1", b"F", b"\xff", b"\xc3", b"\xa9", b"/", b"a"]), max_size=12)


@given(NAMES | TRICKY.map(b"".join))
def test_the_text_names_the_same_file(raw: bytes) -> None:
    text = path_text(raw)
    assert path_bytes(text) == raw
    text.encode()  # it can be stored


@given(TRICKY.map(b"".join), TRICKY.map(b"".join))
def test_two_names_have_two_texts(one: bytes, other: bytes) -> None:
    assert (path_text(one) == path_text(other)) == (one == other)


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"a b.jpg", "a b.jpg"),
        ("caf\u00e9.jpg".encode(), "caf\u00e9.jpg"),
        (b"caf\xe9.jpg", "caf%E9.jpg"),
        (b"100%.jpg", "100%.jpg"),
        (b"100%25.jpg", "100%2525.jpg"),
        (b"line\nbreak.jpg", "line\nbreak.jpg"),
    ],
)
def test_what_the_text_looks_like(raw: bytes, text: str) -> None:
    assert path_text(raw) == text


def test_a_path_of_this_machine_is_absolute() -> None:
    assert file_text("x/../caf\udce9") == path_text(os.fsencode(os.getcwd()) + b"/caf\xe9")


def test_keys_tell_sources_apart() -> None:
    keys = {path_key(*pair) for pair in [("a", "b"), ("a", "c"), ("b", "a"), ("", "a\0b"), ("ab", "")]}
    # ("a", "b") and ("", "a\0b") would only meet if a name could hold a NUL, which none can.
    assert len(keys) == 5
    assert all(0 <= key < 1 << 64 for key in keys)


@given(st.text())
def test_printable_text_moves_no_cursor(text: str) -> None:
    assert printable(text).isprintable()


def test_a_name_is_shown_as_it_was_written() -> None:
    assert shown("a%41.jpg") == "a%41.jpg"
    assert shown("caf\udce9.jpg") == "caf%E9.jpg"


@given((NAMES | TRICKY.map(b"".join)).filter(lambda raw: raw and b"\0" not in raw))
def test_whatever_was_printed_of_a_name_may_mean_it(raw: bytes) -> None:
    name = os.fsdecode(raw)
    assert path_name(path_text(raw)) == name
    for written in (name, path_text(raw), printable(name), printable_name(name), printable_name(shown(name))):
        found = spellings(written)
        assert found[0] == written
        # Names with a backslash or an escape in them are what they say: nothing is undone that was not done.
        assert name in found or (("\\" in name or "%" in name) and written != name)
    assert not {"\n", "\x1b", "\u202e"} & set(printable_name(name))


def test_only_what_is_the_text_of_a_name_stands_for_one() -> None:
    assert spellings("a%20b") == ["a%20b"]
    assert spellings("a%2520b") == ["a%2520b", "a%20b"]
    assert spellings("caf%E9") == ["caf%E9", "caf\udce9"]
    assert spellings("a\\nb") == ["a\\nb", "a\nb"]
    assert spellings("a\\x41") == ["a\\x41"]
    assert spellings("caf%E9\\n")[-1] == "caf\udce9\n"
    assert spellings("\udcff%FF") == ["\udcff%FF"]
    assert spellings("\ud800") == spellings("") == []
