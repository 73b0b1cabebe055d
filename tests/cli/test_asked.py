"""Sums, and what becomes of the answers, through the command."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import pyarrow.parquet as pq
import pytest

from engine.api import Collection
from engine.cli.asked import is_sum, term_of, terms_of_sum
from engine.query.terms import Term
from tests.conftest import Carried
from tests.helpers import draw, index, needs_bundled


@pytest.fixture
def pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    draw(tmp_path / "wheel.jpg", 1)
    draw(tmp_path / "a b.png", 2)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def of(terms: Sequence[Term]) -> list[tuple[str, Any, float]]:
    return [(term.kind, term.value, term.weight) for term in terms]


@pytest.mark.usefixtures("pictures")
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("red bicycle + wheel.jpg", [("text", "red bicycle", 1), ("item", "wheel.jpg", 1)]),
        (
            "red bicycle + 0.5:./wheel.jpg - child",
            [("text", "red bicycle", 1), ("item", "./wheel.jpg", 0.5), ("text", "child", -1)],
        ),
        ("2:golden retriever - .25:id:4711", [("text", "golden retriever", 2), ("item", 4711, -0.25)]),
        ("- child", [("text", "child", -1)]),
        ("id:7", [("item", 7, 1)]),
        ("wheel.jpg id:7 + sea", [("item", "wheel.jpg", 1), ("item", 7, 1), ("text", "sea", 1)]),
        ("3.5:sea", [("text", "sea", 3.5)]),
    ],
)
def test_a_sum_is_read(words: str, expected: list[tuple[str, Any, float]]) -> None:
    assert is_sum(words.split())
    assert of(terms_of_sum(words.split())) == expected


@pytest.mark.usefixtures("pictures")
def test_names_with_blanks_and_quoted_words() -> None:
    assert of(terms_of_sum(["a b.png", "-", "the old town", "+", "2:a b.png"])) == [
        ("item", "a b.png", 1),
        ("text", "the old town", -1),
        ("item", "a b.png", 2),
    ]
    assert of([term_of("12", is_item=True), term_of("2019/x.jpg", is_item=True)]) == [
        ("item", 12, 1),
        ("item", "2019/x.jpg", 1),
    ]
    assert of([term_of("12"), term_of("2019/x.jpg")]) == [("text", "12", 1), ("item", "2019/x.jpg", 1)]
    assert of([term_of("0.5:3", is_item=True), term_of("id:3")]) == [("item", 3, 0.5), ("item", 3, 1)]


@pytest.mark.parametrize(
    "words",
    [
        *("sea", "a red bicycle", "12:30", "at 12:30:15", "re: holiday", "a+b", "well-known", "1:2", "16:9 monitor"),
        *("10:30am clock", "0:30 am alarm", "0:x", "driver license id:12345", "id:" + "9" * 5000, "http://x.org"),
    ],
)
def test_words_that_are_none(words: str) -> None:
    assert not is_sum(words.split())


@pytest.mark.parametrize("words", ["+", "sea +", "sea + + town", "sea - + town", "-"])
def test_a_sum_that_lacks_something(words: str) -> None:
    with pytest.raises(click.UsageError, match="stands between things"):
        terms_of_sum(words.split())


@pytest.mark.usefixtures("pictures")
@pytest.mark.parametrize("words", ["red wheel.jpg + sea", "sea - id:7 red", "town + old id:7"])
def test_words_beside_an_item_need_a_sign(words: str) -> None:
    with pytest.raises(click.UsageError, match=r"put a \+ or - between them"):
        terms_of_sum(words.split())


@needs_bundled
def test_sums_and_shapes_through_the_command(tmp_path: Path, carried_out: Carried) -> None:
    for number in range(8):
        draw(tmp_path / "p" / f"{'ab'[number % 2]}" / f"{number}.png", number)
    (tmp_path / "p" / "b" / "copy.png").write_bytes((tmp_path / "p" / "a" / "0.png").read_bytes())
    index(tmp_path / "c.nest", tmp_path / "p")

    def asked(*words: str) -> dict[str, Any]:
        done = carried_out("search", "c.nest", *words, "--json", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[0])
        return found

    with Collection.open(tmp_path / "c.nest") as opened:
        wanted = Term.of_text("a circle") + 0.5 * Term.of_item("a/0.png") - Term.of_text("a square")
        expected = opened.search(wanted, 3).ids.tolist()
        ids = [row["id"] for row in asked("a circle", "+", "0.5:p/a/0.png", "-", "a square", "-k", "3")["results"]]
        assert ids == expected
        likes = asked("a circle", "--like", "0.5:a/0.png", "--unlike", "a square", "-k", "3")
        assert [row["id"] for row in likes["results"]] == expected
    groups = asked("a circle", "--group-by", "folder:2", "-k", "2")["results"]
    assert sorted(row["group"] for row in groups) == ["a", "a", "b", "b"]
    distinct = asked("a circle", "--distinct", "-k", "20")["results"]
    assert len(distinct) == 8 and sorted(row["copies"] for row in distinct)[-2:] == [0, 1]
    first = asked("a circle", "--pages", "-k", "5")
    second = asked("a circle", "--after", first["cursor"], "-k", "5")
    every = [row["id"] for row in (*first["results"], *second["results"])]
    assert len(set(every)) == 9 and "cursor" not in second
    by_name = asked("a circle", "--sort", "-name", "-k", "20")["results"]
    names = [Path(row["uri"]).name for row in by_name]
    assert names == sorted(names, reverse=True)
    done = carried_out("search", "c.nest", "a circle", "--facet", "folder", "--json", cwd=tmp_path)
    assert json.loads(done.stdout.splitlines()[1])["counts"] == [{"value": "b", "count": 5}, {"value": "a", "count": 4}]
    told = carried_out(
        "search", "c.nest", "a circle", "--group-by", "folder", "--distinct", "--pages", "-k", "1", cwd=tmp_path
    )
    assert "the next page: --after " in told.stdout and told.stdout.splitlines()[0] in ("a", "b")
    hint = carried_out("search", "c.nest", "a dog not on grass", cwd=tmp_path)
    assert hint.stderr.count("encoders hardly understand 'not'") == 1
    alike = carried_out("similar", "c.nest", "p/a/0.png", "--unlike", "a square", "--distinct", "--json", cwd=tmp_path)
    assert all(row["score"] < 0.999 for row in json.loads(alike.stdout)["results"])
    for wrong in (
        ["--group-by", "nope"],
        ["--after", "x"],
        ["--diverse", "0.5", "--pages"],
        ["--offset", "3", "--after", "x"],
    ):
        done = carried_out("search", "c.nest", "a circle", *wrong, cwd=tmp_path)
        assert (done.returncode, done.stdout) == (2, ""), done.stderr


@needs_bundled
def test_answers_in_a_notebook_have_thumbnails_and_nothing_of_a_name_is_markup(tmp_path: Path) -> None:
    for number in range(3):
        draw(tmp_path / "p" / f"{number}<img src=x>.png", number)
    (tmp_path / "p" / "0<img src=x>.txt").write_text("<script>alert(1)</script>")
    index(tmp_path / "c.nest", tmp_path / "p")
    with Collection.open(tmp_path / "c.nest") as opened:
        found = opened.search("a circle", 3)._repr_html_()
        assert found.count('src="data:image/jpeg;base64,') == 3 and found.count("<tr>") == 4
        assert "<script" not in found and "<img src=x" not in found and "&lt;script&gt;" in found
        (tmp_path / "p" / "1<img src=x>.png").unlink()
        assert "no picture here any more" in opened.search("a circle", 3)._repr_html_()


@needs_bundled
def test_answers_leave_as_files_and_tables(tmp_path: Path, carried_out: Carried) -> None:
    for number in range(4):
        draw(tmp_path / "p" / f"{number}.png", number)
    index(tmp_path / "c.nest", tmp_path / "p")
    done = carried_out(
        "search", "c.nest", "a circle", "-k", "3", "--copy-to", "out", "--link-to", "links", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    paths = [line.split()[-1] for line in done.stdout.splitlines()]
    for folder in ("out", "links"):
        found = sorted((tmp_path / folder).iterdir())
        assert [one.name for one in found] == [f"{rank}-{Path(path).name}" for rank, path in enumerate(paths, start=1)]
        assert [one.read_bytes() for one in found] == [Path(path).read_bytes() for path in paths]
        assert all(one.is_symlink() == (folder == "links") for one in found)
    again = carried_out("search", "c.nest", "a circle", "-k", "3", "--copy-to", "out", cwd=tmp_path)
    assert again.returncode == 3 and again.stderr.count("not copied: File exists") == 3
    several = carried_out(
        "search", "c.nest", "-q", "a circle", "-q", "blue", "-k", "2", "--copy-to", "two", cwd=tmp_path
    )
    assert several.returncode == 0
    assert [one.name[:4] for one in sorted((tmp_path / "two").iterdir())] == ["1-1-", "1-2-", "2-1-", "2-2-"]
    for name in ("a.csv", "a.parquet"):
        done = carried_out("search", "c.nest", "-q", "a circle", "-q", "blue", "-k", "2", "--table", name, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    read = pq.read_table(tmp_path / "a.parquet")
    assert read.column("query").to_pylist() == ["a circle", "a circle", "blue", "blue"]
    assert (tmp_path / "a.csv").read_text().splitlines()[0].startswith('"query","rank","id","uri","score","caption"')
    assert carried_out("search", "c.nest", "x", "--table", "a.xlsx", cwd=tmp_path).returncode == 2
