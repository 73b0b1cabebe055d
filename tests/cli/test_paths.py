"""What is printed of a file can be opened, typed again and handed to other programs, whatever the file is called."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engine import Collection
from tests.cli.test_output import Page, on_a_terminal
from tests.helpers import COMMAND, draw, index, needs_bundled, nestvec

pytestmark = needs_bundled

NAMES = (
    *(b"plain.png", b"my%20photo.png", b"my photo.png", b"100%.png", b"100%25.png", b"%FF.png", b"\xff.png"),
    *(
        b"caf\xe9.png",
        "caf\u00e9 \u732b.png".encode(),
        b"a'b\"c.png",
        b"-rf.png",
        b"line\nbreak.png",
        b"esc\x1b[31m.png",
    ),
    *("shot 9.41\u202fPM.png".encode(), b"back\\nslash.png", b"$(touch x).png", b"tab\t.png", b"odd%2F/in%41side.png"),
)
LINES = [name for name in NAMES if b"\n" not in name]


def file_of(folder: Path, name: bytes) -> Path:
    return Path(os.fsdecode(os.fsencode(folder) + b"/" + name))


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `photos %41`, a picture of each name in it, and `c.nest`."""
    folder = tmp_path_factory.mktemp("odd")
    for number, name in enumerate(NAMES):
        draw(file_of(folder / "photos %41", name), number)
    file_of(folder / "photos %41", b"bad%20\xe9.jpg").write_text("no picture")
    index(folder / "c.nest", folder / "photos %41", specs=["flat@32"])
    return folder


@pytest.fixture
def opened(odd: Path) -> Iterator[Collection]:
    with Collection.open(odd / "c.nest", device="cpu") as made:
        yield made


def paths(odd: Path) -> set[bytes]:
    return {os.fsencode(odd / "photos %41") + b"/" + name for name in NAMES}


def asked(odd: Path, *more: str) -> subprocess.CompletedProcess[bytes]:
    return nestvec("search", odd / "c.nest", "a red circle", "-k", "99", *more)


# -- for other programs ----------------------------------------------------------------------


def test_paths0_is_every_path_and_nothing_else(odd: Path) -> None:
    done = asked(odd, "--paths0")
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.endswith(b"\0")
    found = done.stdout.split(b"\0")[:-1]
    assert len(found) == len(NAMES) and set(found) == paths(odd)
    assert all(os.path.isfile(path) for path in found)


def test_xargs_opens_each(odd: Path, tmp_path: Path) -> None:
    line = f"{COMMAND} search {odd}/c.nest circle -k 99 --paths0 | xargs -0 cp -t . --"
    subprocess.run(["bash", "-c", f"set -o pipefail; {line}"], cwd=tmp_path, check=True)
    assert sorted(os.listdir(os.fsencode(tmp_path))) == sorted(os.path.basename(name) for name in NAMES)


def test_paths_is_one_a_line_and_a_line_feed_forges_none(odd: Path) -> None:
    done = asked(odd, "--paths")
    assert done.returncode == 3
    assert done.stderr.count(b"\n") == 1 and b"1 of 18 answers left out" in done.stderr and b"--paths0" in done.stderr
    assert sorted(done.stdout.split(b"\n")[:-1]) == sorted(path for path in paths(odd) if b"\n" not in path)


def test_several_queries_print_each_path_once(odd: Path) -> None:
    done = nestvec("search", odd / "c.nest", "-q", "circle", "-q", "square", "-k", "99", "--paths0")
    assert sorted(done.stdout.split(b"\0")[:-1]) == sorted(paths(odd))
    photo = file_of(odd / "photos %41", b"plain.png")
    done = nestvec("similar", odd / "c.nest", photo, "-k", "1", "--include-self", "--paths")
    assert (done.returncode, done.stdout) == (0, os.fsencode(photo) + b"\n")


def test_vectors_are_no_files(vectors: Path) -> None:
    done = nestvec("search", vectors / "c.nest", "--vectors", vectors / "q.npy", "-k", "2", "--paths")
    assert (done.returncode, done.stdout) == (3, b"")
    assert b"answers left out: they are no files" in done.stderr and done.stderr.count(b"\n") == 1


@pytest.mark.parametrize("both", [("--paths", "--paths0"), ("--json", "--paths"), ("--paths0", "--json")])
def test_one_way_to_print(odd: Path, both: tuple[str, str]) -> None:
    done = asked(odd, *both)
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"exclude each other" in done.stderr


@pytest.mark.parametrize("paths", ["--paths", "--paths0"])
def test_nothing_but_paths_is_among_them(odd: Path, paths: str) -> None:
    done = asked(odd, paths, "--facet", "folder")
    assert (done.returncode, done.stdout) == (2, b"")
    done = asked(odd, paths, "--pages", "-k", "1")
    cursor = done.stderr.decode().partition("the next page: --after ")[2].split()[0]
    again = asked(odd, paths, "-k", "1", "--after", cursor)
    assert again.stdout and again.stdout != done.stdout


@pytest.mark.parametrize("how", ["--paths", "--paths0", ""])
def test_a_name_cannot_drive_a_terminal(odd: Path, how: str) -> None:
    item = file_of(odd / "photos %41", b"esc\x1b[31m.png")
    arguments = ("similar", str(odd / "c.nest"), str(item), "-k", "1", "--include-self", *([how] if how else []))
    said = on_a_terminal(*arguments, cwd=odd, NO_COLOR="1")
    assert "esc\\x1b[31m.png" in said and "\x1b" not in said


def test_bytes_that_are_no_text_are_shown_on_a_terminal_as_they_may_be_typed(odd: Path, opened: Collection) -> None:
    item = file_of(odd / "photos %41", b"caf\xe9.png")
    said = on_a_terminal("similar", str(odd / "c.nest"), str(item), "-k", "1", "--include-self", cwd=odd, NO_COLOR="1")
    shown = said.split("  ")[-1].strip()
    assert shown.endswith("/caf%E9.png")
    assert opened.similar(shown, 1, include_self=True).uris == [str(item)]


# -- for people ------------------------------------------------------------------------------


def printed(done: subprocess.CompletedProcess[bytes]) -> list[bytes]:
    return [line.split(maxsplit=2)[-1] for line in done.stdout.split(b"\n")[:-1]]


def test_the_text_is_the_path_on_disk(odd: Path) -> None:
    found = printed(asked(odd))
    assert len(found) == len(NAMES)
    harmless = {path for path in paths(odd) if not any(control in path for control in (b"\n", b"\x1b", b"\t"))}
    assert harmless < set(found)
    assert any(path.endswith(b"/line\\nbreak.png") for path in found)
    assert any(path.endswith(b"/esc\\x1b[31m.png") for path in found)


def test_what_is_printed_is_found_again(odd: Path) -> None:
    for path in printed(asked(odd)):
        done = nestvec("similar", odd / "c.nest", path, "-k", "1", "--include-self", "--json")
        assert done.returncode == 0, done.stderr
        (answer,) = json.loads(done.stdout)["results"]
        again = nestvec("similar", odd / "c.nest", str(answer["id"]), "-k", "1", "--include-self")
        assert printed(again) == [path] and answer["score"] > 0.99
        assert nestvec("explain", odd / "c.nest", path, "--item", "-k", "1").returncode == 0


def test_json_has_text_or_bytes_beside_it(odd: Path) -> None:
    results = json.loads(asked(odd, "--json").stdout)["results"]
    assert {raw(one, "uri") for one in results} == paths(odd)
    assert sum("path_bytes" in one for one in results) == sum(not is_text(name) for name in NAMES) == 2
    assert all("%" in one["uri"] for one in results if "path_bytes" in one)


def raw(one: dict[str, Any], field: str) -> bytes:
    return base64.b64decode(one["path_bytes"]) if "path_bytes" in one else str(one[field]).encode()


def is_text(name: bytes) -> bool:
    try:
        return bool(name.decode())
    except UnicodeDecodeError:
        return False


def test_from_python_each_is_opened_and_asked_with(odd: Path, opened: Collection) -> None:
    uris = opened.search("a red circle", k=99).uris
    assert {os.fsencode(uri) for uri in uris} == paths(odd)
    for uri in uris:
        assert Path(uri).stat().st_size
        assert opened.similar(uri, 1, include_self=True).uris == [uri]
        assert opened.similar(Path(uri), 1, include_self=True).uris == [uri]
    for item in opened.search("a red circle", k=99).items:
        for name in {item.name, item.path} - ({"%FF.png"} if item.name == "\udcff.png" else set()):
            assert opened.snapshot.item(opened.snapshot.find_path(name)).uri == item.uri
        assert item.uri == os.path.join(odd / "photos %41", item.name)


def test_the_real_name_goes_before_what_stands_for_another(odd: Path, opened: Collection) -> None:
    """`%FF.png` is a file, and the text of another; `back\\nslash.png` is one, and would be printed so of another."""
    folder = odd / "photos %41"
    for written, meant in (("%FF.png", b"%FF.png"), ("%25FF.png", b"%FF.png"), ("100%25.png", b"100%25.png")):
        assert opened.similar(written, 1, include_self=True).uris == [str(file_of(folder, meant))]
    assert opened.similar("back\\nslash.png", 1, include_self=True).uris == [str(folder / "back\\nslash.png")]
    # Of older outputs: the folder was escaped too.
    old = f"{odd}/photos %2541/my%2520photo.png"
    assert opened.similar(old, 1, include_self=True).uris == [str(folder / "my%20photo.png")]


def test_a_file_of_that_name_goes_before_an_item_that_is_only_printed_so(
    odd: Path, opened: Collection, tmp_path: Path
) -> None:
    other = draw(tmp_path / "my%2520photo.png", 99)
    before = os.getcwd()
    os.chdir(tmp_path)
    try:
        found = opened.similar("my%2520photo.png", 1)
    finally:
        os.chdir(before)
    assert found.scores.tolist() == opened.similar(other, 1).scores.tolist()


def test_other_verbs_say_the_same_names(odd: Path, tmp_path: Path) -> None:
    root = tmp_path / "c.nest"
    subprocess.run(["cp", "-a", odd / "c.nest", root], check=True)
    failures = nestvec("info", root, "--failures").stdout
    assert b"/bad%20\xe9.jpg: " in failures
    (failure,) = map(json.loads, nestvec("info", root, "--failures", "--json").stdout.splitlines())
    assert base64.b64decode(failure["path_bytes"]) == b"bad%20\xe9.jpg"
    assert os.fsencode(odd / "photos %41") in nestvec("info", root).stdout
    (source,) = json.loads(nestvec("info", root, "--json").stdout)["sources"]
    assert source["location"] == str(odd / "photos %41")
    version = json.loads(nestvec("info", root, "--json").stdout)["version"]
    gone = (b"caf\xe9.png", b"my%20photo.png", b"odd%2F/in%41side.png")
    assert nestvec("remove", root, *(os.fsencode(file_of(odd / "photos %41", name)) for name in gone)).returncode == 0
    removed = nestvec("diff", root, str(version)).stdout
    assert all(b"- photos %41: " + name + b"\n" in removed or b": " + name + b"\n" in removed for name in gone)
    told: list[dict[str, Any]] = [
        json.loads(line) for line in nestvec("diff", root, str(version), "--json").stdout.splitlines()
    ]
    assert {
        base64.b64decode(one["path_bytes"]) if "path_bytes" in one else one["path"].encode() for one in told
    } == set(gone)


def test_below_a_folder_the_real_name_alone_is_meant(tmp_path: Path) -> None:
    for number, name in enumerate((b"a%FF/x.png", b"a\xff/x.png", b"b\xff/x.png")):
        draw(file_of(tmp_path / "photos", name), number)
    index(tmp_path / "c.nest", tmp_path / "photos", specs=["flat@32"])
    with Collection.open(tmp_path / "c.nest", device="cpu") as opened:
        assert opened.remove((), below=["a%FF"]).removed == 1
        assert {item.name for item in opened.search("x", k=9).items} == {"a\udcff/x.png", "b\udcff/x.png"}
        assert opened.remove((), below=["b%FF"]).removed == 1  # as it was printed before


def test_a_table_has_the_names_that_every_verb_takes(odd: Path, tmp_path: Path) -> None:
    assert asked(odd, "--table", str(tmp_path / "x.csv")).returncode == 0
    assert "caf%E9.png" in (tmp_path / "x.csv").read_text(encoding="utf-8")


def test_a_sheet_shows_the_names(odd: Path, tmp_path: Path) -> None:
    assert asked(odd, "--html", str(tmp_path / "x.html")).returncode == 0
    page = Page((tmp_path / "x.html").read_text(encoding="utf-8"))
    for name in ("my%20photo.png", "100%25.png", "caf%E9.png", "line\\nbreak.png", "in%41side.png"):
        assert name in page.text
    assert sum(tag == "img" for tag, _ in page.tags) == len(NAMES)


# -- columns with names of ours --------------------------------------------------------------


def test_columns_with_our_names_are_kept_apart(tmp_path: Path) -> None:
    draw(tmp_path / "photos/a.png", 1)
    (tmp_path / "t.csv").write_text(
        "file,id,uri,score,rank,path,notes,query,caption\na.png,x7,http://x,high,9,p,n,q,words\n"
    )
    index(tmp_path / "c.nest", tmp_path / "photos", table=tmp_path / "t.csv", specs=["flat@32"])
    done = nestvec("search", tmp_path / "c.nest", "a circle", "--json")
    (answer,) = json.loads(done.stdout)["results"]
    own = {"id": "x7", "uri": "http://x", "score": "high", "rank": "9", "path": "p", "notes": "n", "query": "q"}
    assert {name: str(value) for name, value in answer["meta"].items()} == own
    assert (answer["rank"], answer["id"], answer["uri"]) == (1, 0, str(tmp_path / "photos/a.png"))
    assert isinstance(answer["score"], float) and answer["caption"] == "words"
