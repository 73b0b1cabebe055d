"""What of a folder is wanted: patterns that were named, files of them, and what counts where they disagree."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from engine.collection.manifest import Source
from engine.ingest.folders import Folder
from engine.ingest.wanted import WantedOptions, with_wanted
from indexers.errors import InvalidInput, SourceError
from tests.ingest.test_folders import touch


def listing(root: Path, exclude: object = (), include: object = (), *, part: Path | None = None) -> Folder:
    source = Source("p", "folder", str(root))
    wanted = WantedOptions(exclude=exclude, include=include)  # type: ignore[arg-type]
    return Folder(with_wanted(source, wanted), root, part=part)


def found(root: Path, exclude: object = (), include: object = (), *, part: Path | None = None) -> list[str]:
    return [entry.path for entry in listing(root, exclude, include, part=part).entries()]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for name in ("a.png", "b.jpg", "raw/c.png", "raw/keep/d.jpg", "x/raw/e.png", ".thumbnails/f.png", ".g.png"):
        touch(tmp_path / "p" / name)
    for name in ("@eaDir/h.png", ".cache/pictures/i.png", ".cache/j.png", "x/.thumbnails/k.png"):
        touch(tmp_path / "p" / name)
    return tmp_path / "p"


SEEN = ["a.png", "b.jpg", "raw/c.png", "raw/keep/d.jpg", "x/raw/e.png"]


@pytest.mark.parametrize(
    ("exclude", "include", "expected"),
    [
        ([], [], SEEN),
        (["*.png"], [], ["b.jpg", "raw/keep/d.jpg"]),
        (["raw/"], [], ["a.png", "b.jpg"]),
        (["/raw/"], [], ["a.png", "b.jpg", "x/raw/e.png"]),
        (["raw/*.png"], [], ["a.png", "b.jpg", "raw/keep/d.jpg", "x/raw/e.png"]),
        (["raw/**"], [], ["a.png", "b.jpg", "x/raw/e.png"]),
        (["**/keep"], [], ["a.png", "b.jpg", "raw/c.png", "x/raw/e.png"]),
        (["[ab].*", "x"], [], ["raw/c.png", "raw/keep/d.jpg"]),
        (["*.png"], ["c.png"], ["b.jpg", "raw/c.png", "raw/keep/d.jpg"]),
        # As in git: what lies in a folder that is passed over is not looked at, unless it is named by its path.
        (["raw/"], ["*.jpg"], ["a.png", "b.jpg"]),
        (["raw/"], ["raw/keep/"], ["a.png", "b.jpg", "raw/keep/d.jpg"]),
        (["raw/"], ["raw/keep/d.jpg"], ["a.png", "b.jpg", "raw/keep/d.jpg"]),
        ([], [".thumbnails/"], [".thumbnails/f.png", *SEEN[:4], "x/.thumbnails/k.png", "x/raw/e.png"]),
        ([], ["/.thumbnails/", ".g.png"], [".g.png", ".thumbnails/f.png", *SEEN]),
        ([], [".cache/pictures/"], [".cache/pictures/i.png", *SEEN]),
        ([], ["@eaDir"], ["@eaDir/h.png", *SEEN]),
        (["@eaDir/*.png"], ["@eaDir"], SEEN),
        (["#nothing"], [], SEEN),
        ("a.png", "x", SEEN[1:]),
        (["x"], ["x", ".g.*"], [".g.png", *SEEN]),
    ],
)
def test_what_patterns_leave(photos: Path, exclude: object, include: object, expected: list[str]) -> None:
    assert found(photos, exclude, include) == expected


def test_a_name_may_begin_with_what_is_a_comment_in_a_file(tmp_path: Path) -> None:
    touch(tmp_path / "#1.png"), touch(tmp_path / "#recycle/2.png"), touch(tmp_path / "3.png")
    assert found(tmp_path, ["#1.png"]) == ["3.png"]
    assert found(tmp_path, ["3.png"], ["#recycle/"]) == ["#1.png", "#recycle/2.png"]


def test_files_of_patterns(photos: Path) -> None:
    (photos / ".nestvecignore").write_text("# pictures\n*.png\r\n!/a.png\n\nkeep/\n!.thumbnails/\n!.thumbnails/*.png\n")
    (photos / "raw/.nestvecignore").write_bytes(b"\xef\xbb\xbf!c.png\n")
    (photos / "x/raw/.nestvecignore").write_text("!/e.png\n")
    expected = [".thumbnails/f.png", "a.png", "b.jpg", "raw/c.png", "x/.thumbnails/k.png", "x/raw/e.png"]
    assert [one for one in found(photos) if one != "x/.thumbnails/k.png"] == [
        one for one in expected if "/k" not in one
    ]
    assert found(photos, ["raw/"], ["keep/"]) == [one for one in found(photos) if "raw" not in one]
    # A file that is asked for again below a folder that is passed over stays so.
    (photos / ".nestvecignore").write_text("raw/\n!raw/c.png\n")
    assert found(photos) == ["a.png", "b.jpg"]
    assert found(photos, [], ["raw/c.png"]) == ["a.png", "b.jpg", "raw/c.png"]


def test_the_rules_of_the_folders_above_hold_in_a_part(photos: Path) -> None:
    (photos / ".nestvecignore").write_text("*.jpg\n")
    assert found(photos, part=photos / "raw") == ["raw/c.png"]
    assert found(photos, ["c.png"], ["d.jpg"], part=photos / "raw") == ["raw/keep/d.jpg"]


def test_patterns_for_a_part_are_of_that_alone() -> None:
    source = Source("p", "folder", "/p")
    options = WantedOptions(exclude=["*.png", "/a/", "b/c"], include=["d/"])
    told = with_wanted(source, options, part="x [1]")
    assert told.patterns == (
        *("/x\\ \\[1\\]/**/*.png", "/x\\ \\[1\\]/a/", "/x\\ \\[1\\]/b/c"),
        "!/x\\ \\[1\\]/**/d/",
    )
    with pytest.raises(SourceError, match="is a part of the source /p"):
        with_wanted(source, WantedOptions(min_size=3), part="x")


def test_a_part_whose_name_is_a_pattern(tmp_path: Path) -> None:
    for name in ("x [1]/a.png", "x [1]/b/a.png", "x 1/a.png", "a.png"):
        touch(tmp_path / name)
    told = with_wanted(Source("p", "folder", str(tmp_path)), WantedOptions(exclude=["a.png"]), part="x [1]")
    assert [entry.path for entry in Folder(told, tmp_path).entries()] == ["a.png", "x 1/a.png"]


def test_patterns_are_added_to_those_of_the_runs_before() -> None:
    one = with_wanted(Source("p", "folder", "/p"), WantedOptions(exclude=["a", "b"], include=["c"]))
    assert one.patterns == ("a", "b", "!c")
    assert with_wanted(one, WantedOptions()) == one
    assert with_wanted(one, WantedOptions(exclude=["c", "a"])).patterns == ("b", "!c", "c", "a")
    assert with_wanted(one, WantedOptions(exclude=["d"], forget=True)).patterns == ("d",)
    assert with_wanted(one, WantedOptions(min_size=9, pairs="raw")).min_size == 9


@pytest.mark.parametrize("kind", ["folder", "link", "large", "lines", "slow", "no pattern", "backslash"])
def test_a_file_of_patterns_that_cannot_be_read_leaves_its_folder_unread(photos: Path, kind: str) -> None:
    ignore = photos / "raw/.nestvecignore"
    if kind == "folder":
        ignore.mkdir()
    elif kind == "link":
        ignore.symlink_to("nowhere")
    else:
        texts = {
            "large": "a\n" * 40_000,
            "lines": "a\n" * 1001,
            "slow": "a*" * 9,
            "backslash": "a\\",
            "no pattern": "!",
        }
        ignore.write_text(texts[kind])
    entries = list(listing(photos).entries())
    assert [(one.path, one.unread) for one in entries] == [
        *(("a.png", False), ("b.jpg", False), ("raw", True), ("x/raw/e.png", False)),
    ]
    assert (entries[2].problem or "").startswith("its .nestvecignore cannot be read: ")
    (part,) = listing(photos, part=photos / "raw/keep").entries()
    assert part.unread and ".nestvecignore cannot be read" in (part.problem or "")


@pytest.mark.parametrize(
    "pattern", ["", " ", "!", "a\\", "/", "[a", "[z-a]", "a\nb", "x\udce9", "*a*b*c*d", "**/a/**/b/**/c"]
)
def test_what_is_no_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(InvalidInput):
        WantedOptions(exclude=[pattern])
    with pytest.raises(InvalidInput):
        WantedOptions(include=[f"!{pattern}"])


def test_hostile_patterns_take_no_time(tmp_path: Path) -> None:
    touch(tmp_path / ("a" * 250))
    os.rename(tmp_path / ("a" * 250), tmp_path / ("a" * 246 + ".png"))
    (tmp_path / ".nestvecignore").write_text("a*a*a*b\n" * 20)
    started = time.process_time()
    assert len(found(tmp_path)) == 1
    assert time.process_time() - started < 5


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    for name in (b"caf\xe9.png", b"caf\xc3\xa9.png", b"%41.png"):
        (Path(os.fsdecode(os.path.join(os.fsencode(tmp_path), name)))).write_bytes(b"\x89PNG\r\n\x1a\n" + b"\0" * 60)
    assert found(tmp_path, ["caf\u00e9.png"]) == ["%2541.png", "caf%E9.png"]
    assert found(tmp_path, ["caf?.png"]) == ["%2541.png"]
    assert found(tmp_path, ["%41.png"]) == ["caf\u00e9.png", "caf%E9.png"]
    (tmp_path / ".nestvecignore").write_bytes(b"caf\xe9.png\n")
    assert found(tmp_path) == ["%2541.png", "caf\u00e9.png"]


def test_what_would_be_passed_over_if_it_was_there(photos: Path) -> None:
    (photos / "raw/.nestvecignore").write_text("*.gif\n")
    told = listing(photos, ["old/"], ["old/kept/"])
    list(told.entries())
    gone = ["old/a.png", "x/old/a.png", "raw/b.gif", "x/b.gif", "old/kept/c.png", ".d/e.png", "@eaDir/f.png", "g.png"]
    assert [one for one in gone if told.covers(one)] == [
        *("old/a.png", "x/old/a.png", "raw/b.gif", ".d/e.png", "@eaDir/f.png"),
    ]


def test_what_is_passed_over_is_counted(photos: Path) -> None:
    told = listing(photos, ["raw/", "a.png"])
    list(told.entries())
    assert told.passed["excluded"] == 3
    assert told.left == ["@eaDir", "a.png", "raw", "x/raw"]
