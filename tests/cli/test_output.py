"""What reaches the terminal, the pipe and the contact sheet."""

from __future__ import annotations

import html.parser
import json
import os
import pty
import re
import shutil
import subprocess
import termios
import time
from pathlib import Path

import pytest

from engine.cli import output
from engine.cli.output import Terminal, human_bytes
from tests.helpers import COMMAND, needs_bundled, nestvec


def on_a_terminal(*arguments: str, cwd: Path, **env: str) -> str:
    """Run the command with a terminal for its output."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    run = subprocess.Popen(
        [COMMAND, *arguments], cwd=cwd, stdout=theirs, stderr=theirs, env={**os.environ, "TERM": "xterm", **env}
    )
    os.close(theirs)
    said = b""
    try:
        while part := os.read(ours, 4096):
            said += part
    except OSError:  # Linux says that the other side has gone
        pass
    finally:
        os.close(ours)
    assert run.wait(timeout=60) == 0
    return said.decode()


SEARCH = ("search", "c.nest", "--vectors", "q.npy", "-k", "3", "--exact")


def test_colours_only_on_a_terminal_that_wants_them(vectors: Path) -> None:
    assert "\x1b[2m" in on_a_terminal(*SEARCH, cwd=vectors, NO_COLOR="")
    assert "\x1b" not in on_a_terminal(*SEARCH, cwd=vectors, NO_COLOR="1")
    assert b"\x1b" not in nestvec(*SEARCH, cwd=vectors).stdout


def test_what_is_stored_cannot_move_the_cursor(vectors: Path) -> None:
    said = nestvec(*SEARCH, cwd=vectors).stdout.decode()
    assert "\\x1b[31mred.png" in said
    assert "bold \\x1b[1m, \\x9b31m, \\u2028" in said
    assert all(line.isprintable() for line in said.splitlines())
    # Three answers to each of three queries, headings and blank lines: no name has made a line of its own.
    assert len(said.splitlines()) == 3 * 3 + 3 + 2


def test_json_is_one_object_a_line_whatever_is_stored(vectors: Path) -> None:
    done = nestvec(*SEARCH, "--json", cwd=vectors)
    lines = done.stdout.decode().split("\n")
    assert (len(lines), lines[-1]) == (4, "")
    assert all(line.isprintable() for line in lines)
    first, second, _ = (json.loads(line)["results"][0] for line in lines[:3])
    assert first["caption"] == "bold \x1b[1m, \x9b31m, \u2028, <b>&\"'</b> and \u732b"
    assert second["uri"] == "<script>alert(1)</script>\n\x1b[31mred.png"


@pytest.mark.parametrize("option", [(), ("--json",)])
def test_a_terminal_without_unicode(vectors: Path, option: tuple[str, ...]) -> None:
    env = {"PYTHONIOENCODING": "latin-1", "PYTHONUTF8": "0"}
    done = nestvec(*SEARCH, *option, cwd=vectors, env=env)
    assert done.returncode == 0, done.stderr
    assert b"\\u732b" in done.stdout


@pytest.mark.parametrize("option", [(), ("--json",)])
def test_a_reader_that_goes_away_is_no_error(vectors: Path, option: tuple[str, ...]) -> None:
    words = " ".join([str(COMMAND), *SEARCH[:-3], "-k", "60", *option])
    script = f"for i in 1 2 3 4 5; do {words}; done | head -1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", script], cwd=vectors, capture_output=True, check=False)
    assert done.stderr == b""
    assert done.stdout.splitlines()[-1] == b"0"


def test_a_reader_that_was_never_there(vectors: Path) -> None:
    ours, theirs = os.pipe()
    os.close(ours)
    run = subprocess.run(
        [COMMAND, *SEARCH[:-3], "-k", "60", "--json"], cwd=vectors, stdout=theirs, stderr=subprocess.PIPE, check=False
    )
    os.close(theirs)
    assert (run.returncode, run.stderr) == (0, b"")


def test_progress_goes_to_stderr_and_only_to_a_terminal(own: Path) -> None:
    done = nestvec("index", "q.npy", "d.nest", cwd=own)
    assert re.fullmatch(rb"version \d+: 3 added in [0-9.]+ s\n", done.stdout)
    assert b"3 found, 3 to look at" in done.stderr
    assert b"\r" not in done.stderr
    assert "taking vectors: 100%" in on_a_terminal("index", "q.npy", "e.nest", cwd=own)


def test_without_a_terminal_a_line_now_and_then_says_how_far_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(output, "QUIET_SECONDS", 0.05)
    ways = ((400, r"adding: 300 of 400, [\d,]+ a second, about \d+ s left\n"), (None, r"adding: 300, .*\n"))
    for total, expected in ways:
        with Terminal().progress("adding", total) as advance:
            advance(100)
            advance(100)
            time.sleep(0.06)
            advance(100)
            advance(100)
        assert re.fullmatch(expected, capsys.readouterr().err)


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (123_456, "123 kB"), (1_500_000, "1.5 MB"), (2e15, "2000.0 TB")],
)
def test_sizes_for_people(size: float, text: str) -> None:
    assert human_bytes(size) == text


@needs_bundled
def test_a_query_that_is_not_english_is_told_once(pictures: Path) -> None:
    for query in ("\u732b", "\U0001f680", "ein roter Hund"):
        done = nestvec("search", pictures / "c.nest", query, "--json")
        assert done.returncode == 0 and done.stderr.decode().count("\n") == 1
        found = json.loads(done.stdout)
        assert [found["notes"][0]] == found["notes"] == done.stderr.decode().splitlines()
        assert f'"{query}" ' in found["notes"][0] and "knows English alone" in found["notes"][0]
        assert len(found["results"]) == 4
    plain = nestvec("search", pictures / "c.nest", "a red dog", "--json")
    assert (plain.stderr, "notes" in json.loads(plain.stdout)) == (b"", False)
    many = nestvec("search", pictures / "c.nest", *(part for _ in range(9) for part in ("-q", "\u732b")))
    assert many.stderr.count(b"\n") == 6 and b"and so for 4 more of 9 queries" in many.stderr


# -- the contact sheet ---------------------------------------------------------------------


class Page(html.parser.HTMLParser):
    """Collects what a browser would see."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_a_sheet_of_vectors_escapes_whatever_is_stored(own: Path) -> None:
    done = nestvec(*SEARCH, "--html", "x.html", cwd=own)
    assert b"wrote x.html" in done.stderr
    page = Page((own / "x.html").read_text(encoding="utf-8"))
    assert {tag for tag, _ in page.tags} <= {
        *("html", "head", "meta", "title", "style", "body", "h1", "h2", "section", "ol", "li", "div", "span", "bdi"),
    }
    assert "<script>alert(1)</script>" in page.text
    assert "<b>&\"'</b> and \u732b" in page.text
    assert page.text.count("a vector") == 9


@needs_bundled
def test_a_sheet_of_pictures_fetches_nothing(pictures: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.html"
    query = '<script>alert("q")</script>'
    done = nestvec("search", pictures / "c.nest", query, "--html", sheet)
    assert done.returncode == 0, done.stderr
    text = sheet.read_text(encoding="utf-8")
    page = Page(text)
    pictures_shown = [attributes for tag, attributes in page.tags if tag == "img"]
    assert len(pictures_shown) == 4
    assert all(one["src"] is not None and one["src"].startswith("data:image/jpeg;base64,") for one in pictures_shown)
    assert all(set(one) == {"alt", "src"} for one in pictures_shown)
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "link", "iframe", "a"})
    assert query in page.text
    assert "<img src=x>%E9.png" in page.text
    assert "http" not in re.sub(r'http-equiv="[^"]*"', "", text)
    assert "default-src 'none'" in text


def shown(*arguments: str | Path, sheet: Path) -> tuple[int, str, str]:
    """Ask for a sheet; return how many pictures are in it, its text, and what was said."""
    done = nestvec("similar", *arguments, "--include-self", "--html", sheet)
    assert done.returncode == 0, done.stderr
    page = Page(sheet.read_text(encoding="utf-8"))
    return sum(tag == "img" for tag, _ in page.tags), page.text, done.stderr.decode()


@needs_bundled
def test_a_collection_from_elsewhere_shows_pictures_only_when_told_to(pictures: Path, tmp_path: Path) -> None:
    """It names folders of this machine; whoever passes the page on has not."""
    sheet, root = tmp_path / "sheet.html", tmp_path / "c.nest"
    shutil.copytree(pictures / "c.nest", root)
    count, text, said = shown(root, "0", sheet=sheet)
    assert (count, text.count("not shown: nobody on this machine has named its source")) == (0, 4)
    assert len([line for line in said.splitlines() if f"{pictures}/photos are not shown" in line]) == 1
    assert "--pictures-from FOLDER" in said
    count, _, said = shown(root, "0", "--pictures-from", pictures / "photos", sheet=sheet)
    assert (count, "--pictures-from" in said) == (4, False)
