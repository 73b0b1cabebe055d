"""The words of items: how texts are cut, where each word comes, and the file that says so."""

from __future__ import annotations

import re
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import engine
from engine.collection.commit import commit
from engine.collection.manifest import Manifest, Words
from engine.collection.postings import APART, Postings, columns_of, open_postings, postings_of
from engine.collection.tokens import LONGEST, RULES, cut_texts, stemmer, words_of
from engine.collection.verify import verify
from engine.jobs.index import RunOptions
from engine.jobs.repair import repair
from engine.progress import Silent
from indexers.errors import CollectionError, CorruptCollection, InvalidInput
from tests.helpers import clustered, flip_bit, inside, newest

CUT = {
    "The Dog’s Café_2031.JPG": "the dogs cafe 2031 jpg",
    "don't 3.14 black-and-white": "dont 3 14 black and white",
    "rock'n'roll": "rocknroll",
    "rock'n'roll a'b'c'd é": "rocknroll abcd e",
    "Straße ŁÓDŹ Ærø İstanbul": "strasse lodz aero istanbul",
    "东京タワー が": "东 京 タワー が",
    "नमस्ते שָׁלוֹם مَرْحَبًا": "नमस्ते שלום مرحبا",
    "ﬁne ① Ⅳ ﻿x": "fine 1 iv x",
    "Ὀδυσσεύς": "οδυσσευσ",
    "👍🏽 a\u200bb": "a b",
    "": "",
    "   ": "",
}


@pytest.mark.parametrize("text", CUT)
def test_a_text_is_cut_into_words(text: str) -> None:
    assert cut_texts([text]) == [CUT[text].split()]


@given(st.text(st.characters(max_codepoint=127)), st.text())
@settings(max_examples=200, deadline=None)
def test_plain_letters_are_cut_as_all_others_are(plain: str, any_text: str) -> None:
    words, _ = words_of(pa.array([plain], pa.large_string()))
    assert cut_texts([plain]) == [words.to_pylist()]
    if any_text.isprintable():
        found = cut_texts([any_text, "x"])[0]
        assert cut_texts([" ".join(found), "é"])[0] == found  # what is folded once is folded
        assert all(0 < len(word) <= LONGEST for word in found)


def test_words_of_nulls_lists_and_long_letters() -> None:
    words, numbers = words_of(pa.array(["a b", None, "", "c" * (LONGEST + 1), "d"]))
    assert words.to_pylist() == ["a", "b", "d"]
    assert numbers.tolist() == [0, 0, 4]


def test_stems() -> None:
    assert stemmer("english")(["bicycles", "riding"]) == ["bicycl", "ride"]
    with pytest.raises(InvalidInput, match="did you mean 'english'"):
        stemmer("englisch")


def test_stems_in_many_threads() -> None:
    words = ["running", "nationality", "digitizer", "hopefulness", "vietnamization", "relational"] * 50
    wanted, before = [*stemmer("english")(words)], sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            assert all([*found] == wanted for found in pool.map(stemmer("english"), [words] * 40))
    finally:
        sys.setswitchinterval(before)


def naive(tables: list[pa.Table], columns: list[str]) -> dict[str, dict[int, list[int]]]:
    """Return the places of each word by row, worked out one by one."""
    found: dict[str, dict[int, list[int]]] = {}
    row = 0
    for table in tables:
        for record in table.to_pylist():
            place = 0
            for column in columns:
                value = record.get(column)
                texts = value if isinstance(value, list) else [value]
                words = [word for text in texts for word in re.findall("[a-z0-9]+", (text or "").lower())]
                for word in words:
                    found.setdefault(word, {}).setdefault(row, []).append(place)
                    place += 1
                place += APART if words else 0
            row += 1
    return found


def as_dict(postings: Postings) -> dict[str, dict[int, list[int]]]:
    found = {}
    for number, word in enumerate(postings.words.to_pylist()):
        rows, counts = postings.rows_of(number)
        places = np.split(postings.places_of(number), np.cumsum(counts)[:-1])
        found[word] = {int(row): some.tolist() for row, some in zip(rows, places, strict=True)}
    return found


def test_postings_are_those_of_a_naive_index(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.collection.postings.BLOCK_ROWS", 7)
    rng = np.random.default_rng(3)
    tables = []
    for rows in (11, 0, 1, 30):
        texts = [" ".join(rng.choice(list("abcdefgh"), rng.integers(0, 9))) for _ in range(3 * rows)]
        tags = [None if rng.random() < 0.3 else [texts[at], None, "Tag x"] for at in range(rows)]
        columns = {
            "caption": pa.array(texts[:rows], pa.string()),
            "path": pa.array(texts[rows : 2 * rows], pa.string()),
            "meta.tags": pa.array(tags, pa.list_(pa.string())),
            "meta.title": pa.array([1] * rows, pa.int64()),
        }
        tables.append(pa.table(columns))
    tables.append(pa.table({"path": ["b a", None]}))
    found = postings_of(tables, Words())
    assert as_dict(found) == naive(tables, ["caption", "path", "meta.tags"])
    assert found.words.to_pylist() == sorted(found.words.to_pylist())
    assert len(found.lengths) == 44
    assert int(found.lengths.sum()) == len(found.places) == found.total
    assert [found.find(word) for word in ("a", "zz", "")] == [0, None, None]
    assert [found.words[at].as_py() for at in found.beginning("ta")] == ["tag"]


def test_one_word_many_times() -> None:
    found = postings_of([pa.table({"caption": ["x " * 70_000 + "y"]})], Words())
    rows, counts = found.rows_of(0)
    assert (rows.tolist(), counts.tolist()) == ([0], [65_535])
    assert len(found.places_of(0)) == 65_535
    assert found.lengths.tolist() == [70_001]


def test_columns_are_those_that_are_there() -> None:
    names = ["caption", "path", "meta.tags", "meta.size"]
    assert columns_of(Words(), names) == ["caption", "path", "meta.tags"]
    assert columns_of(Words(("tags", "other")), names) == ["meta.tags"]


# -- the file --------------------------------------------------------------------------------------


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "c.nest"
    with engine.Collection.create(root, encoder="precomputed", dim=8) as made:
        made.add_vectors(clustered(50, 8), names=[f"r{row}" for row in range(50)], meta=[{"title": "a sea"}] * 50)
        made.build(["flat@4"])
    return root


def words_in(root: Path) -> Words:
    return newest(root).words


def test_the_file_is_read_as_it_was_written(root: Path) -> None:
    covering = words_in(root).covering
    assert covering is not None
    assert covering.file.path.startswith("words/")
    found = open_postings(inside(root, covering.file), 50)
    assert as_dict(found)["sea"] == {row: [1] for row in range(50)}
    assert found.find("r7") is None  # the name of a vector
    with pytest.raises(CorruptCollection, match="expected 51 rows"):
        open_postings(inside(root, covering.file), 51)


def test_damage_is_noticed_and_repaired(root: Path) -> None:
    covering = words_in(root).covering
    assert covering is not None
    flip_bit(inside(root, covering.file), covering.file.size // 2)
    with engine.Collection.open(root) as opened, pytest.raises(CollectionError, match="words/"):
        opened.search(words="sea")
    [problem] = verify(root)
    assert problem.derived
    assert any("words/" in path for path, _ in repair(root, RunOptions(device="cpu"), Silent()).restored)
    with engine.Collection.open(root) as opened:
        assert len(opened.search(words="sea", k=60)) == 50


@pytest.mark.parametrize("at", range(0, 6000, 97))
def test_a_file_of_others_is_refused_or_read_inside_its_bounds(root: Path, at: int) -> None:
    covering = words_in(root).covering
    assert covering is not None
    path = inside(root, covering.file)
    data = bytearray(path.read_bytes())
    data[at % len(data)] ^= 0xFF
    path.write_bytes(data)
    try:
        found = open_postings(path, 50)
        for number in range(len(found.words)):
            found.rows_of(number), found.places_of(number)
    except CorruptCollection:
        pass


def test_what_is_said_of_items_is_followed(root: Path) -> None:
    with engine.Collection.open(root) as opened:
        before = words_in(root)
        opened.update("id < 3", {"rating": 5})
        assert words_in(root).covering.file == before.covering.file  # type: ignore[union-attr]
        opened.update("id < 3", {"title": "a wood"})
        assert words_in(root).covering.file != before.covering.file  # type: ignore[union-attr]
        assert len(opened.search(words="sea", k=60)) == 47
        assert sorted(opened.search(words="wood", k=60).ids) == sorted(opened.matching("title = 'a wood'"))
        opened.update("id < 3", {"title": None})
        assert not len(opened.search(words="wood"))


def test_what_was_cut_by_older_rules_is_cut_again(root: Path) -> None:
    older = replace(words_in(root), rules=RULES - 1)
    commit(root, lambda base: replace(base, words=older), operation="older")
    with engine.Collection.open(root) as opened:
        assert len(opened.search(words="sea", k=60)) == 50
        opened.update("id < 3", {"title": "a wood"})
        assert words_in(root).rules == RULES
        assert len(opened.search(words="wood")) == 3
    commit(root, lambda base: replace(base, words=replace(base.words, rules=RULES - 1)), operation="older")
    with engine.Collection.open(root) as opened:
        opened.build(["flat@4"])
        assert words_in(root).rules == RULES
        assert words_in(root).covering is not None


def test_the_words_go_with_compaction_and_rollback(root: Path) -> None:
    with engine.Collection.open(root) as opened:
        version = opened.version
        opened.remove([f"r{row}" for row in range(40)])
        opened.compact()
        assert words_in(root).covering.file.rows == 10  # type: ignore[union-attr]
        assert len(opened.search(words="sea", k=60)) == 10
        opened.rollback(version)
        assert len(opened.search(words="sea", k=60)) == 50


def test_an_older_collection_has_words_too(root: Path) -> None:
    commit(root, lambda base: replace(base, words=Words()), operation="older")
    assert '"words"' not in newest(root).to_json()
    assert Manifest().words == Words()
    with engine.Collection.open(root) as opened:
        assert len(opened.search(words="sea", k=60)) == 50
