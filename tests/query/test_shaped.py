"""What becomes of what is found: pages, copies, groups, variety and order, compared with NumPy over all rows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import engine
from engine.query import ordered
from engine.query.ask import Query
from engine.query.cursor import Cursor
from engine.query.shape import Shape
from engine.query.terms import Term, Terms
from indexers.errors import InvalidFilter, InvalidInput, NestvecError
from indexers.vectors import FloatArray, normalize
from tests.helpers import clustered

N, DIM = 900, 12
TOPICS = ["sea", "wood", "town", None, "hill"]


def rows() -> FloatArray:
    """Clustered vectors; every tenth is a copy of one of the first nine."""
    x = clustered(N, DIM)
    x[9::10] = x[np.arange(len(x[9::10])) % 9]
    return normalize(x)


X = rows()
Q = normalize(clustered(6, DIM, seed=7))
COPY = np.zeros(N, bool)
COPY[9::10] = True


def topic(row: int) -> str | None:
    return TOPICS[(row * row) % 5] if row < N - 3 else f"rare {row}"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[engine.Collection]:
    root = tmp_path_factory.mktemp("shaped") / "c.nest"
    made = engine.Collection.create(root, encoder="precomputed", dim=DIM, dtype="float32")
    meta = [{"topic": topic(row), "n": row, "tags": [row % 3]} for row in range(N)]
    for meta_of in meta:
        if meta_of["topic"] is None:
            del meta_of["topic"]
    made.add_vectors(X[:800], names=[f"r{row}" for row in range(800)], meta=meta[:800])
    made.build(["flat@6"])
    made.add_vectors(X[800:], names=[f"r{row}" for row in range(800, N)], meta=meta[800:])
    made.remove(["r5", "r17"])
    yield made
    made.close()


GONE = np.array([5, 17])


def scores_of(q: FloatArray) -> FloatArray:
    scores = X @ q
    scores[GONE] = -np.inf
    return scores


def rows_of(answers: engine.Answers) -> list[int]:
    return [int(item.path[1:]) for item in answers.items]


@pytest.fixture(params=[(256, 4096), (4, 60), (1,)])
def levels(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Searches of several sizes: what is found must not depend on them."""
    monkeypatch.setattr(ordered, "LEVELS", request.param)


# -- pages -----------------------------------------------------------------------------------


@pytest.mark.usefixtures("levels")
@pytest.mark.parametrize("size", [1, 7, 100, 2000])
def test_pages_are_the_whole_order_without_a_duplicate_or_a_gap(made: engine.Collection, size: int) -> None:
    truth, seen, scores = scores_of(Q[0]), list[int](), list[float]()
    page = made.search(Q[0], size, pages=True)
    while len(seen) < 60 or size > 50:
        seen += rows_of(page)
        scores += page.scores.tolist()
        if page.cursor is None:
            break
        page = made.search(Q[0], size, after=page.cursor)
    assert len(set(seen)) == len(seen)
    np.testing.assert_allclose(scores, -np.sort(-truth)[: len(seen)], atol=2e-6)
    np.testing.assert_allclose(truth[seen], scores, atol=2e-6)
    if size > 50:
        assert len(seen) == N - len(GONE)


def test_copies_have_one_order_whichever_way_they_are_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.repeat(X[:7], 40, axis=0)
    with engine.Collection.create(tmp_path / "c.nest", encoder="precomputed", dim=DIM) as made:
        made.add_vectors(x, names=[f"r{row}" for row in range(len(x))])
        pages: list[list[int]] = []
        for levels in ((3,), (10, 50), (100,)):
            monkeypatch.setattr(ordered, "LEVELS", levels)
            pages.append(rows_of(made.search(Q[0], 1000, pages=True)))
        found, page = list[int](), made.search(Q[0], 6, pages=True)
        while True:
            found += rows_of(page)
            if page.cursor is None:
                break
            monkeypatch.setattr(ordered, "LEVELS", (len(found) % 7 + 1, 90 + len(found) % 5))
            page = made.search(Q[0], 6, after=page.cursor)
    scores = (normalize(x) @ Q[0]).round(3)
    assert pages[0] == pages[1] == pages[2] == found
    assert all(sorted(rows) == rows for rows in np.array(found).reshape(7, 40).tolist())
    assert (np.diff(scores[found]) <= 0).all()


def test_pages_stay_of_their_version_while_others_write(tmp_path: Path) -> None:
    with engine.Collection.create(tmp_path / "c.nest", encoder="precomputed", dim=DIM, dtype="float32") as made:
        made.add_vectors(X[:300], names=[f"r{row}" for row in range(300)])
        seen: list[int] = []
        page = made.search(Q[1], 3, pages=True)
        while page.cursor is not None:
            seen += rows_of(page)
            number = len(seen)
            made.add_vectors(Q[1][None] + number * 1e-6, names=[f"r{1000 + number}"])
            if number % 2:
                made.remove(f"r{seen[0]}" if number == 3 else f"r{1000 + number}")
            page = made.search(Q[1], 3, after=page.cursor)
        seen += rows_of(page)
        assert sorted(seen) == list(range(300))


def test_a_cursor_is_of_one_question(made: engine.Collection) -> None:
    cursor = made.search(Q[0], 5, pages=True, where="n > 10").cursor
    assert cursor is not None
    assert len(made.search(Q[0], 9, after=cursor, where="n > 10")) == 9
    for other in ({"query": Q[1], "where": "n > 10"}, {"query": Q[0]}, {"query": Q[0], "where": "n > 11"}):
        with pytest.raises(InvalidInput, match="another question"):
            made.search(k=5, after=cursor, **other)
    gone = str(Cursor(10**6, 5, Cursor.parse(cursor).digest))
    with pytest.raises(InvalidInput, match="which is gone: begin again"):
        made.search(Q[0], 5, after=gone, where="n > 10")
    for wrong in ("x", "é", "W10", cursor[:-3], "9" * 5000, str(json.dumps([1, 2]))):
        with pytest.raises(InvalidInput, match=r"no cursor|another question"):
            made.search(Q[0], 5, after=wrong)


@pytest.mark.usefixtures("levels")
def test_offset_and_all_of_it(made: engine.Collection) -> None:
    every = rows_of(made.search(Q[2], 2000, pages=True))
    assert len(every) == N - len(GONE)
    assert rows_of(made.search(Q[2], 5, offset=40)) == every[40:45]
    assert rows_of(made.search(Q[2], 5, offset=N)) == []
    assert [int(one.item.path[1:]) for one in made.iterate(Q[2])] == every


@pytest.mark.usefixtures("levels")
@pytest.mark.parametrize("least", [0.9, 0.5, 0.0, -1.0])
def test_all_that_score_enough(made: engine.Collection, least: float) -> None:
    for q in Q:
        found = made.search(q, 5000, min_score=least)
        truth = scores_of(q)
        assert set(rows_of(found)) == set(np.flatnonzero(truth >= least).tolist())
        assert len(found) == (truth >= least).sum()
    assert [len(one) for one in made.search(Q, 5000, min_score=least)] == [
        int((scores_of(q) >= least).sum()) for q in Q
    ]


# -- copies, groups, variety -------------------------------------------------------------------


@pytest.mark.usefixtures("levels")
def test_copies_collapse_into_the_best_with_their_number(made: engine.Collection) -> None:
    for q in Q:
        found = made.search(q, 30, distinct=0.999)
        truth, chosen = scores_of(q), rows_of(found)
        assert len(found) == 30 and found.copies is not None
        alike = X @ X.T >= 0.999
        alike[GONE] = alike[:, GONE] = False
        assert not (alike[np.ix_(chosen, chosen)] ^ np.eye(30, dtype=bool)).any()
        left = [int(row) for row in np.argsort(-truth, kind="stable") if np.isfinite(truth[row])]
        expected = list[int]()
        for row in left:
            if not alike[row, expected].any():
                expected.append(row)
        np.testing.assert_allclose(found.scores, truth[expected[:30]], atol=2e-6)
        assert found.copies == [int(alike[row].sum()) - 1 for row in chosen]


@pytest.mark.usefixtures("levels")
@pytest.mark.parametrize(("k", "size"), [(1, 1), (3, 1), (3, 4), (50, 2), (8, 1)])
def test_groups_are_never_short(made: engine.Collection, k: int, size: int) -> None:
    for q in Q:
        found, truth = made.search(q, k, group_by="topic", group_size=size), scores_of(q)
        assert found.groups is not None
        best: dict[Any, list[float]] = {}
        for row in np.argsort(-truth, kind="stable").tolist():
            if np.isfinite(truth[row]):
                best.setdefault(topic(row), []).append(float(truth[row]))
        expected = list(best.items())[:k]
        flat = [score for _, members in expected for score in members[:size]]
        np.testing.assert_allclose(found.scores, flat, atol=2e-6)
        assert found.groups == [value for value, members in expected for _ in members[:size]]
        assert [topic(row) for row in rows_of(found)] == found.groups


def test_pages_of_groups(made: engine.Collection) -> None:
    every = made.search(Q[0], 100, group_by="topic", group_size=2)
    groups: list[Any] = []
    page = made.search(Q[0], 3, group_by="topic", group_size=2, pages=True)
    while len(page):
        assert page.groups is not None
        groups += page.groups
        if page.cursor is None:
            break
        page = made.search(Q[0], 3, group_by="topic", group_size=2, after=page.cursor)
    assert groups == every.groups


def test_pages_of_groups_that_are_short_go_on(tmp_path: Path) -> None:
    with engine.Collection.create(tmp_path / "c.nest", encoder="precomputed", dim=2) as made:
        angles = np.arange(7) * 0.1
        x = np.stack([np.cos(angles), np.sin(angles)], axis=1)
        made.add_vectors(x, names=[f"r{row}" for row in range(7)], meta=[{"g": g} for g in "abbbccd"])
        for size, expected in ((1, "abcd"), (2, "abbccd"), (3, "abbbccd")):
            for k in (1, 2, 3, 4, 9):
                groups, page = "", made.search(x[0], k, group_by="g", group_size=size, pages=True)
                while True:
                    groups += "".join(page.groups or ())
                    if page.cursor is None:
                        break
                    page = made.search(x[0], k, group_by="g", group_size=size, after=page.cursor)
                    assert len(page)
                assert groups == expected


def test_what_is_no_number_is_one_group_and_comes_last(tmp_path: Path) -> None:
    with engine.Collection.create(tmp_path / "c.nest", encoder="precomputed", dim=DIM) as made:
        values = [1.5, float("nan"), None, 0.0, -0.0, 3.0] * 3
        meta = [{} if value is None else {"f": value} for value in values]
        made.add_vectors(X[:18], names=[f"r{row}" for row in range(18)], meta=meta)
        groups = made.search(Q[0], 30, group_by="f").groups
        assert groups is not None and len(groups) == 5
        assert sorted(made.facets("f").values()) == [3, 3, 3, 3, 6]
        for sort in ("f", "-f"):
            found = [one.item.meta.get("f") for one in made.search(Q[0], 18, sort=sort)]
            assert found[:12] == sorted(found[:12], reverse=sort == "-f")
            assert sum(value is None or value != value for value in found[12:]) == 6


def test_a_question_that_nothing_can_answer(made: engine.Collection, tmp_path: Path) -> None:
    with engine.Collection.create(tmp_path / "c.nest", encoder="precomputed", dim=DIM) as empty:
        for shape in ({"pages": True}, {"distinct": 0.9}, {"diverse": 0.5}, {"min_score": 0.1}, {"offset": 3}):
            assert len(empty.search(Q[0], 3, **shape)) == 0
            assert len(made.search(Q[0], 3, where="n < -1", **shape)) == 0
        assert list(empty.iterate(Q[0])) == [] and empty.get([]).num_rows == 0 and empty.facets("path") == {}
    assert len(made.search(Q[0], 3, where="n < -1", group_by="topic")) == 0


def test_a_plan_is_asked_once(made: engine.Collection) -> None:
    found = made.search(Q[0], 100, plan=f"flat@6 | 300@{DIM}", pages=True)
    assert (np.diff(found.scores) <= 1e-6).all()
    assert found.cursor is not None


def test_who_asks_is_left_out_of_all_as_well(made: engine.Collection) -> None:
    every = [one.item.path for one in made.iterate(Term.of_item("r3"))]
    assert "r3" not in every and len(every) == N - len(GONE) - 1
    assert next(one.item.path for one in made.iterate(Term.of_item("r3"), include_self=True)) in ("r3", "r9")


@pytest.mark.parametrize("least", [1.0, 0.99999, 0.999])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_the_number_of_copies_is_right_at_the_border(tmp_path: Path, dtype: str, least: float) -> None:
    x = np.repeat(normalize(clustered(60, DIM)), 5, axis=0)
    with engine.Collection.create(tmp_path / "c.nest", encoder="precomputed", dim=DIM, dtype=dtype) as opened:
        opened.add_vectors(x, names=[f"r{row}" for row in range(len(x))])
        found = opened.search(Q[0], 60, distinct=least)
        assert found.copies == [4] * 60
        assert len(opened.search(x[0], 9, min_score=1.0)) >= 5 or dtype == "float16"


def test_lists_are_groups_too(made: engine.Collection) -> None:
    assert set(made.search(Q[0], 9, group_by="tags").groups or ()) == {"[0]", "[1]", "[2]"}
    with pytest.raises(InvalidFilter, match=r"no column 'topics'.*did you mean 'topic'"):
        made.search(Q[0], 3, group_by="topics")


def test_variety_is_maximal_marginal_relevance(made: engine.Collection) -> None:
    for q in Q:
        truth = scores_of(q)
        pool = list[int]()
        for row in np.argsort(-truth, kind="stable").tolist():
            if np.isfinite(truth[row]) and not (X[pool] @ X[row] >= 0.999).any() and len(pool) < 200:
                pool.append(row)
        chosen = [pool[0]]
        while len(chosen) < 8:
            worth = [0.6 * truth[row] - 0.4 * (X[chosen] @ X[row]).max() if row not in chosen else -9 for row in pool]
            chosen.append(pool[int(np.argmax(worth))])
        found = made.search(q, 8, diverse=0.6)
        np.testing.assert_allclose(found.scores, truth[chosen], atol=2e-5)
    assert rows_of(made.search(Q[0], 5, diverse=1.0)) == rows_of(made.search(Q[0], 5, distinct=0.999))


def test_the_k_best_in_another_order(made: engine.Collection) -> None:
    best = rows_of(made.search(Q[0], 20, exact=True))
    assert rows_of(made.search(Q[0], 20, sort="n")) == sorted(best)
    assert rows_of(made.search(Q[0], 20, sort="-n")) == sorted(best, reverse=True)
    topics = [topic(row) for row in rows_of(made.search(Q[0], 20, sort="topic"))]
    assert topics == sorted((one for one in topics if one), key=str) + [None] * topics.count(None)


def test_all_of_it_beside_a_filter(made: engine.Collection) -> None:
    allowed = np.array([(topic(row) == "sea") and row not in GONE for row in range(N)])
    truth = np.where(allowed, scores_of(Q[3]), -np.inf)
    found = made.search(Q[3], 2000, where="topic = 'sea'", pages=True)
    assert len(found) == allowed.sum()
    np.testing.assert_allclose(found.scores, -np.sort(-truth)[: len(found)], atol=2e-6)
    assert rows_of(made.similar("r40", 3, where="topic = 'sea'", distinct=0.999))[0] != 40


def test_values_are_counted(made: engine.Collection) -> None:
    live = [row for row in range(N) if row not in GONE]
    expected = {value: sum(topic(row) == value for row in live) for value in {topic(row) for row in live}}
    assert made.facets("topic") == expected
    assert list(made.facets("topic", most=2).values()) == sorted(expected.values(), reverse=True)[:2]
    assert made.facets("topic", "n < 30")["sea"] == sum(topic(row) == "sea" for row in live if row < 30)
    assert made.facets("tags", "n < 6") == {"[0]": 2, "[1]": 2, "[2]": 1}


# -- plus and minus ----------------------------------------------------------------------------


def test_terms_are_added_and_subtracted(made: engine.Collection) -> None:
    wanted = Term.of_vector(Q[0]) + 0.5 * Term.of_vector(Q[1]) - Term.of_item("r3") * 0.25
    assert isinstance(wanted, Terms) and [term.weight for term in wanted] == [1.0, 0.5, -0.25]
    direction = normalize((Q[0] + 0.5 * Q[1] - 0.25 * X[3])[None])[0]
    truth = scores_of(direction)
    truth[3] = -np.inf
    np.testing.assert_allclose(made.search(wanted, 9, exact=True).scores, -np.sort(-truth)[:9], atol=2e-6)
    like = made.search(Q[0], 9, like=Term.of_vector(Q[1]) * 0.5, unlike=[Term.of_item("r3", weight=0.25)], exact=True)
    np.testing.assert_allclose(like.scores, -np.sort(-truth)[:9], atol=2e-6)
    assert rows_of(made.search(-1 * (-1 * wanted), 9, exact=True)) == rows_of(made.search(wanted * 3, 9, exact=True))
    with pytest.raises(InvalidInput, match="terms are added to terms"):
        _ = wanted + "a text"
    assert [len(one) for one in made.search(Q, 4, like="r3")] == [4] * 6


# -- as data ----------------------------------------------------------------------------------


QUERIES = [
    Query((Term.of_text("a red bicycle"), Term.of_item(7, weight=-0.5)), 3),
    Query((Term.of_picture(b"\x89PNG"), Term.of_item("päth/ü.jpg")), 1, plan="flat@6 | 100@12", max_pixels=1000),
    Query((Term.of_vector([0.5, 2.0, -1e-3]),), exact=True, where="n > 3 AND topic LIKE 's%'", include_self=True),
    Query((Term.of_text("x"),), recall=0.9, dim=8, shape=Shape(offset=3, distinct=0.9, min_score=-0.5)),
    Query((Term.of_text("x"),), shape=Shape(group_by="topic", group_size=3, pages=True)),
    Query(shape=Shape(diverse=0.5, sort="-n")),
]


@pytest.mark.parametrize("query", QUERIES, ids=range(len(QUERIES)))
def test_a_question_goes_through_json(query: Query) -> None:
    written = json.dumps(query.to_json())
    again = Query.from_json(json.loads(written))
    assert again.to_json() == query.to_json() and again.digest == query.digest
    assert (again.terms, again.k, again.plan, again.shape) == (query.terms, query.k, query.plan, query.shape)


def test_a_digest_stands_for_the_question_and_not_for_its_page() -> None:
    one = Query((Term.of_text("a"),), 3, where="n>3")
    same = Query((Term.of_text("a"),), 9, where="n > 3", shape=Shape(offset=5))
    assert one.digest == same.digest
    others = [
        Query((Term.of_text("b"),), where="n>3"),
        Query((Term.of_text("a"),)),
        Query((Term.of_text("a", weight=2),)),
    ]
    assert len({one.digest, *(query.digest for query in others)}) == 4


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ([], "expected an object"),
        ({"version": 2}, "of version 1, found 2"),
        ({"version": True}, "of version 1"),
        ({"terms": {}}, "expected a list"),
        ({"terms": [{"text": "a", "item": 3}]}, "expected one of text, item"),
        ({"terms": [{"texts": "a"}]}, r"terms\[0\]: expected one of"),
        ({"terms": [{"text": 3}]}, "expected str"),
        ({"terms": [{"picture": "?"}]}, "base64"),
        ({"terms": [{"vector": [1, "x"]}]}, "a list of numbers"),
        ({"terms": [{"item": 1.5}]}, "an id or a path"),
        ({"terms": [{"text": "a", "weight": 0}]}, "other than 0"),
        ({"kk": 3}, "a query has no 'kk'.*did you mean 'k'"),
        ({"k": 0}, "at least 1"),
        ({"where": "n >"}, "n >"),
        ({"diverse": 0.5, "group_by": "n"}, "neither groups nor pages"),
        ({"group_size": 3}, "group_by says"),
        ({"offset": 3, "after": "x"}, "exclude each other"),
        ({"min_score": 2}, "from −1 to 1"),
        ({"distinct": 0}, "distinct"),
    ],
)
def test_json_that_is_no_question_is_refused_in_words(given: Any, match: str) -> None:
    with pytest.raises(NestvecError, match=match):
        Query.from_json(given)
