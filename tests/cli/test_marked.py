"""Marks, sessions and places between poles, through the command."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.api import Collection
from engine.cli.marked import _items
from engine.query.terms import Marks
from tests.conftest import Carried
from tests.helpers import draw, index, needs_bundled


def ids(printed: str) -> list[int]:
    return [row["id"] for row in json.loads(printed.splitlines()[0])["results"]]


def test_ids_and_paths_are_read() -> None:
    assert _items(["12,40", "7", "a,b.png", "id.png", "1,", "2019/x.jpg"]) == (
        *(12, 40, 7),
        *("a,b.png", "id.png", "1,", "2019/x.jpg"),
    )


def test_a_session_is_kept_and_asked_again(own: Path, carried_out: Carried) -> None:
    def asked(*words: str, verb: str = "similar") -> Any:
        return carried_out(verb, "c.nest", *words, "--json", cwd=own)

    with Collection.open(own / "c.nest") as opened:
        x = opened.searcher.vectors(np.arange(60))
        expected = [
            opened.similar(3, k=5, marks=marks).ids.tolist()
            for marks in (Marks([10, 11], [12]), Marks([10, 12], ["row-20", 11]))
        ]
    first = asked("3", "-k", "5", "--session", "s.json", "--good", "10,11", "--bad", "12")
    assert first.returncode == 0 and ids(first.stdout) == expected[0], first.stderr
    assert json.loads((own / "s.json").read_bytes()) == {
        "version": 1,
        "terms": [{"item": "3"}],
        "marks": {"good": [10, 11], "bad": [12]},
    }
    again = asked("-k", "5", "--session", "s.json", verb="search")
    assert ids(again.stdout) == expected[0]
    before = (own / "s.json").stat().st_mtime_ns
    asked("-k", "5", "--session", "s.json", verb="search")
    assert (own / "s.json").stat().st_mtime_ns == before  # nothing new: nothing is written
    # The newest mark of an item counts, by whatever name it was given before.
    more = asked("--session", "s.json", "--good", "row-12", "--bad", "row-20", "--bad", "11", "-k", "5", verb="search")
    assert ids(more.stdout) == expected[1], more.stderr
    assert json.loads((own / "s.json").read_bytes())["marks"] == {"good": [10, "row-12"], "bad": ["row-20", 11]}
    assert x.shape == (60, 8)
    explained = carried_out("explain", "c.nest", "--session", "s.json", "-k", "5", cwd=own)
    assert "2 marked good and 2 bad: the vector that is searched with has a cosine" in explained.stdout
    assert "note" in explained.stdout and explained.returncode == 0


def test_marks_without_a_session_and_without_a_query(own: Path, carried_out: Carried) -> None:
    done = carried_out("search", "c.nest", "--good", "10", "--good", "row-11", "-k", "4", "--json", cwd=own)
    answers = json.loads(done.stdout)
    assert answers["query"] == "marks" and len(answers["results"]) == 4
    assert not {10, 11} & set(ids(done.stdout)) and sorted(p.name for p in own.iterdir()) == ["c.nest", "q.npy"]
    vectors = carried_out("search", "c.nest", "--vectors", "q.npy", "--good", "10", cwd=own)
    assert vectors.returncode == 2 and "one query, and 3 were given" in vectors.stderr


def test_what_is_gone_is_told(own: Path, carried_out: Carried) -> None:
    (own / "s.json").write_text(
        '{"version": 1, "terms": [{"item": 3}], "marks": {"good": [10, 999], "bad": ["x.png"]}}'
    )
    done = carried_out("search", "c.nest", "--session", "s.json", "-k", "3", cwd=own)
    assert done.returncode == 0 and "marked, and not in the collection: 999, x.png" in done.stderr
    assert len(done.stdout.splitlines()) == 3


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--session", "s.json", "--good", "999"), "999"),
        (("--session", "s.json", "--good", "4", "--bad", "4"), "marked good and bad"),
        (("--session", "bad.json", "--good", "4"), "bad.json is no session of marks"),
        (("--session", "more.json", "--good", "4"), "more.json says 'where'"),
        (("--session", "pipe", "--good", "4"), "a named pipe"),
        (("--bad", "4"), "nothing to look for"),
    ],
)
def test_what_is_refused_writes_nothing(own: Path, carried_out: Carried, words: tuple[str, ...], said: str) -> None:
    (own / "bad.json").write_text("no json")
    (own / "more.json").write_text('{"version": 1, "where": "id < 3"}')
    os.mkfifo(own / "pipe")
    before = {one.name: one.stat().st_mtime_ns for one in own.iterdir()}
    done = carried_out("search", "c.nest", *words, cwd=own)
    assert done.returncode in (1, 2) and said in done.stderr and "Traceback" not in done.stderr
    assert {one.name: one.stat().st_mtime_ns for one in own.iterdir()} == before


def test_places_are_printed_and_written(own: Path, carried_out: Carried) -> None:
    with Collection.open(own / "c.nest") as opened:
        found = opened.between(3, 9).sort_by([("between", "descending"), ("id", "ascending")])
    printed = carried_out("between", "c.nest", "id:3", "id:9", "--json", cwd=own)
    rows = [json.loads(line) for line in printed.stdout.splitlines()]
    assert [row["id"] for row in rows] == found["id"].to_pylist()
    np.testing.assert_allclose([row["between"] for row in rows], found["between"].to_numpy())
    lines = carried_out("between", "c.nest", "id:3", "id:9", "-k", "2", cwd=own).stdout.splitlines()
    assert len(lines) == 5 and lines[2] == "and 56 more between" and lines[-1].split() == ["0.000", "0.0%", "row-3"]
    written = carried_out("between", "c.nest", "--low", "3", "--high", "9", "--column", "look", "--share", cwd=own)
    assert written.returncode == 0 and "60 relabelled" in written.stdout, written.stderr
    best = carried_out("search", "c.nest", "--vectors", "q.npy", "--where", "look > 0.95", "--json", cwd=own)
    assert set(ids(best.stdout)) == set(found["id"].to_pylist()[:3])
    for wrong in (("id:3",), ("id:3", "id:9", "id:4"), ("--low", "3"), ("id:3", "id:9", "--share"), ("id:3", "id:3")):
        assert carried_out("between", "c.nest", *wrong, cwd=own).returncode == 2


@needs_bundled
def test_words_are_poles_and_the_session_keeps_a_sentence(tmp_path: Path, carried_out: Carried) -> None:
    for number in range(4):
        draw(tmp_path / "p" / f"{number}.png", number)
    index(tmp_path / "c.nest", tmp_path / "p")
    mixed = carried_out("between", "c.nest", "a circle", "id:1", cwd=tmp_path)
    assert mixed.returncode == 0 and "one pole is of texts" in mixed.stderr
    words = carried_out("between", "c.nest", "a circle", "a square", "--json", cwd=tmp_path)
    assert len(words.stdout.splitlines()) == 4 and not words.stderr
    done = carried_out("search", "c.nest", "a circle", "--session", "s.json", "--good", "1", "--json", cwd=tmp_path)
    assert done.returncode == 0 and sorted(ids(done.stdout)) == [0, 2, 3]
    assert json.loads((tmp_path / "s.json").read_bytes())["terms"] == [{"text": "a circle"}]
    assert json.loads(done.stdout)["query"] == "a circle"
    both = carried_out("search", "c.nest", "--session", "s.json", "--hybrid", "--json", cwd=tmp_path)
    assert both.returncode == 0 and "fused" in json.loads(both.stdout)["results"][0]
    like = carried_out("search", "c.nest", "p/2.png", "--session", "s.json", "--json", cwd=tmp_path)
    assert ids(like.stdout) and json.loads((tmp_path / "s.json").read_bytes())["terms"] == [{"item": "p/2.png"}]
