"""JSON that is nested without end: refused before Arrow goes into it."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from engine.ingest.nesting import MOST_DEPTH, Depth
from engine.ingest.tables import LabelTable
from indexers.errors import SourceError


def gone_over(data: bytes, size: int) -> str | None:
    """Go over JSON in pieces; return what is wrong with it."""
    depth = Depth()
    try:
        for start in range(0, len(data), size):
            depth.add(data[start : start + size])
    except ValueError as error:
        return str(error)
    return None


def byte_by_byte(data: bytes) -> str | None:
    """Do the same as anybody would."""
    depth, in_text, escaped = 0, False, False
    for at, byte in enumerate(data):
        was_escaped, escaped = escaped, byte == ord("\\") and not escaped
        if byte == ord('"') and not was_escaped:
            in_text = not in_text
        elif byte in b"\n\r" and in_text:
            return f"a text has no end in its line, which ends at byte {at:,}"
        elif not in_text and byte in b"[{":
            depth += 1
        elif not in_text and byte in b"]}":
            depth -= 1
        if not 0 <= depth <= MOST_DEPTH:
            what = "a bracket closes nothing" if depth < 0 else f"values are nested more than {MOST_DEPTH} deep"
            return f"{what} at byte {at:,}"
    return None


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.sampled_from([b'"', b"\\", b"[", b"]", b"{", b"}", b"\n", b"a", b"[" * 30, b"\\\\", b"\xc3\xa9"])),
    st.integers(1, 9),
)
@example([b"[" * 64, b'"', b"[" * 99, b"\\", b'"', b"[", b'"', b"]", b"["], 5)
def test_it_is_what_going_byte_by_byte_finds(parts: list[bytes], size: int) -> None:
    data = b"".join(parts)
    expected = byte_by_byte(data)
    whole, found = gone_over(data, len(data) + 1), gone_over(data, size)
    # In one piece several things may be wrong: which is told first is nothing anybody relies on.
    assert (found is None) == (whole is None) == (expected is None)
    if size == 1:
        assert found == expected


def made_up(rng: random.Random, depth: int = 0) -> object:
    kind = rng.randrange(3 if depth > 4 else 5)
    text = "".join(rng.choice('"\\[]{}é\n,a') for _ in range(rng.randrange(9)))
    if kind < 3:
        return (text, rng.random(), None)[kind]
    inner = [made_up(rng, depth + 1) for _ in range(rng.randrange(4))]
    return inner if kind == 3 else {f"{text}{number}": value for number, value in enumerate(inner)}


@pytest.mark.parametrize("seed", range(20))
def test_whatever_json_writes_is_let_through(seed: int) -> None:
    value = made_up(random.Random(seed))
    for ascii_ in (True, False):
        line = json.dumps({"x": value}, ensure_ascii=ascii_).encode() + b"\n"
        for size in (1, 7, 1000):
            assert gone_over(line * 3, size) is None


READ = """
import sys
from pathlib import Path
from engine.ingest.tables import read_table
for name in sys.argv[1:]:
    try:
        read_table(Path(name))
    except Exception as error:
        print(type(error).__name__, error)
"""


def test_nesting_without_end_is_a_named_error(tmp_path: Path) -> None:
    """In a process of its own, which without a bound ends with a signal."""
    deep = "[" * 200_000
    texts = {
        "lists": '{"file": "a.png", "x": ' + deep + "]" * 200_000 + "}\n",
        "objects": '{"x":' * 80_000 + "1" + "}" * 80_000 + "\n",
        "many lines": '{"file": "a.png", "x": ' + "[\n" * 200_000,
        "after a text that has no end": '{"file": "a.png\n' + '{"x":' + deep,
        "after brackets": "]" * 200_000 + "\n" + deep,
    }
    for name, text in texts.items():
        (tmp_path / f"{name}.jsonl").write_text(text)
    names = [str(tmp_path / f"{name}.jsonl") for name in texts]
    done = subprocess.run([sys.executable, "-c", READ, *names], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    assert len(said) == len(texts)
    assert all(one.startswith("SourceError") and "cannot be read as a jsonl table: " in one for one in said), said


@pytest.mark.parametrize(
    "line",
    [
        '{"file": "a", "file": "b"}',
        '{"file": "a", "n": 1e999}',
        '{"file": "a", "n": ' + "9" * 400 + "}",
        '{"file": "a\\u0000b"}',
        '{"file": "a\0b"}',
        '{"file": "a", "x": "' + "x" * (3 << 20) + '"}',
        '{"file": "a"}\0{"file": "b"}',
        '{"file": "\ud800"}',
        '{"\ud800": "a"}',
        '{"file": "\\ud800"}',
        '{"file": "a"',
        '{"file": {"file": ["a"]}}',
        "[]",
        "1",
        "",
    ],
)
def test_odd_lines_are_read_or_refused(tmp_path: Path, line: str) -> None:
    (tmp_path / "t.jsonl").write_bytes((line + "\n").encode("utf-8", "surrogatepass"))
    try:
        LabelTable.open(tmp_path / "t.jsonl")
    except SourceError as error:
        assert "t.jsonl" in str(error)
