"""Marks: the vector they make, compared with NumPy's own linear algebra, and what becomes of it in a collection."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import engine
from engine.api import Collection
from engine.query import feedback
from engine.query.ask import Query
from engine.query.feedback import BAD, COPY, MARKS, RIDGE, Spread
from engine.query.session import MOST_BYTES, read_session, write_session
from engine.query.terms import Marks, Term
from indexers.errors import CorruptCollection, InvalidInput, NestvecError
from indexers.vectors import FloatArray, normalize
from tests.made_heads import fingerprint_of, rotation, saved

N, DIM = 700, 16


def classes(seed: int = 3) -> tuple[FloatArray, Any]:
    """Rows of twelve classes of one covariance, which is large where classes do not differ."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 12, N)
    loud = np.where(np.arange(DIM) < 8, 0.5, 0.05)
    means = rng.normal(size=(12, DIM)) * np.where(np.arange(DIM) < 8, 0.1, 0.35)
    return normalize((means[label] + rng.normal(size=(N, DIM)) * loud).astype(np.float32)), label


X, LABEL = classes()


@pytest.fixture(scope="module", params=["float32", "float16"])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collection]:
    root = tmp_path_factory.mktemp("feedback") / "c.nest"
    with Collection.create(root, encoder="precomputed", dim=DIM, dtype=request.param) as made:
        made.add_vectors(X[:600], names=[f"r{row}" for row in range(600)], meta=[{"n": row} for row in range(600)])
        made.build(["flat@8", "ivf-pq@16"])
        made.add_vectors(X[600:], names=[f"r{row}" for row in range(600, N)])
        made.remove(["r5", "r650"])
        yield made


def oracle(x: FloatArray, asked: Any, good: FloatArray, bad: FloatArray) -> Any:
    """Do it again in double precision: neighbours by a full sort, the directions by one generalised eigenproblem."""
    x = x.astype(np.float64)
    mean = x.mean(axis=0)
    s = np.cov(x.T, bias=True)
    pairs = []
    for row, cosines in enumerate(x @ x.T):
        others = [other for other in np.argsort(-cosines, kind="stable") if cosines[other] < COPY]
        pairs.append(x[row] - x[others[0]])
    apart = np.array(pairs)
    noise = apart.T @ apart / (2 * len(apart))
    noise += RIDGE * np.trace(noise) / DIM * np.eye(DIM)
    root = np.linalg.inv(np.linalg.cholesky(noise))
    values, turned = np.linalg.eigh(root @ s @ root.T)
    axes = root.T @ turned  # axesᵀ N axes = 1, axesᵀ S axes = the values

    def scaled(vector: Any) -> Any:
        return vector / np.sqrt(vector @ s @ vector)

    def of(marked: FloatArray) -> Any:
        m = len(marked)
        gains = values / ((m + 1) * values + 1)
        return scaled(axes @ (gains * (axes.T @ (marked.astype(np.float64).mean(axis=0) - mean))))

    wanted = of(good)
    if len(bad):
        wanted = wanted - BAD * of(bad)
    if asked is not None:
        wanted = scaled(asked.astype(np.float64)) + MARKS * len(good) / (len(good) + 1) * wanted
    return wanted / np.linalg.norm(wanted)


@pytest.mark.parametrize(("good", "bad"), [([3], []), ([3, 40], [7]), (list(range(30)), list(range(30, 60)))])
@pytest.mark.parametrize("asked", [None, 11])
def test_the_vector_is_the_discriminant(good: list[int], bad: list[int], asked: int | None) -> None:
    q = None if asked is None else X[asked]
    found = Spread.of(X).direction(q, X[good], X[bad])
    assert found.dtype == np.float32 and np.linalg.norm(found) == pytest.approx(1, abs=1e-6)
    np.testing.assert_allclose(found, oracle(X, q, X[good], X[bad]), atol=2e-4)


def test_marks_find_the_rest_of_a_class_better_than_the_query_and_a_mean() -> None:
    """On data as the discriminant is made for; docs/benchmarks/feedback.md has what is not."""
    spread, rng, gains = Spread.of(X), np.random.default_rng(0), []
    for wanted in range(12):
        own = np.flatnonzero(wanted == LABEL)
        q = normalize((X[own[0]] + 0.4 * rng.normal(size=DIM)).astype(np.float32)[None])[0]
        good = X[own[1:4]]

        def precision(vector: Any, of: Any = own) -> float:
            scores = X @ vector
            scores[of[:4]] = -2
            hits = np.flatnonzero(np.isin(np.argsort(-scores), of[4:]))
            return float(((np.arange(len(hits)) + 1) / (hits + 1)).mean())

        one = precision(spread.direction(q, good, X[:0]))
        gains.append((one - precision(q), one - precision(q + good.mean(axis=0))))
    text, mean = np.mean(gains, axis=0)
    assert text > 0.2 and mean > 0.1


@pytest.mark.parametrize("rows", [1, 2, 3, 10])
def test_few_rows_and_rows_that_do_not_differ(rows: int) -> None:
    for x in (X[:rows], np.repeat(X[:1], rows, axis=0)):
        found = Spread.of(np.ascontiguousarray(x)).direction(X[20], x[:1], x[1:2])
        assert np.isfinite(found).all() and np.linalg.norm(found) == pytest.approx(1, abs=1e-5)
    same = Spread.of(np.repeat(X[:1], rows, axis=0))
    np.testing.assert_allclose(same.direction(X[20], X[:1], X[:0]), X[20], atol=1e-6)
    np.testing.assert_allclose(same.direction(None, X[:1], X[:0]), X[0], atol=1e-6)


def test_a_search_with_marks_is_that_with_their_vector(made: Collection) -> None:
    marks = Marks(good=[30, "r44"], bad=["r9"])
    stored = normalize(made.searcher.vectors(np.arange(N)))
    live = np.setdiff1d(np.arange(N), [5, 650])
    vector = oracle(stored[live], stored[11], stored[[30, 44]], stored[[9]])
    expected = [row for row in live[np.argsort(-(stored[live] @ vector), kind="stable")] if row not in (30, 44, 9)]
    for found in (
        made.search(X[11], k=20, exact=True, marks=marks),
        made.similar(X[11], k=20, exact=True, marks=marks),
        made.ask(Query((Term.of_vector(X[11]),), 20, exact=True, marks=marks)),
        made.search(X[11], k=20, marks=marks, min_score=-1.0),
    ):
        rows = [int(item.name[1:]) for item in found.items]
        agreed = len(set(rows) & set(expected[:20]))
        assert agreed >= 19 and not found.notes  # places may change where scores are as equal as single precision
        np.testing.assert_allclose(found.scores, np.sort(stored[rows] @ vector)[::-1], atol=2e-3)
    every = [int(answer.item.name[1:]) for answer in made.iterate(X[11], marks=marks, where="n < 100")]
    assert sorted(every) == [row for row in range(100) if row not in (5, 9, 30, 44)]
    assert every[:5] == [row for row in expected if row < 100][:5]


def test_plans_filters_and_several_queries_apply(made: Collection) -> None:
    marks = Marks(good=[30, 44])
    exact = made.search(X[11], k=10, exact=True, marks=marks)
    planned = made.search(X[11], k=10, plan="flat@8 | 690@16", marks=marks)
    assert planned.ids.tolist() == exact.ids.tolist()
    filtered = made.search(X[11], k=10, where="n < 60", marks=marks)
    assert {item.meta["n"] for item in filtered.items} <= set(range(60)) - {30, 44}
    both = made.search(X[11:13], k=10, exact=True, marks=marks)
    assert both.ids[0].tolist() == exact.ids.tolist() and both.ids[1].tolist() != exact.ids.tolist()
    with_them = made.ask(Query((Term.of_vector(X[11]),), N, exact=True, marks=marks, include_self=True))
    assert len(with_them) == N - 2 and {30, 44} <= {int(item.name[1:]) for item in with_them.items}


def test_marks_alone_ask(made: Collection) -> None:
    found = made.ask(Query(k=30, marks=Marks(good=[30])))
    share = np.mean([LABEL[int(item.name[1:])] == LABEL[30] for item in found.items])
    assert len(found) == 30 and share > 0.5 and found.query == "marks"
    with pytest.raises(InvalidInput, match="no item that is there is marked good"):
        made.ask(Query(marks=Marks(bad=[30])))
    with pytest.raises(InvalidInput, match="no terms"):
        made.ask(Query())


def test_only_bad_marks_are_left_out_and_say_so(made: Collection) -> None:
    plain = made.search(X[11], k=12, exact=True)
    found = made.search(X[11], k=10, exact=True, marks=Marks(bad=plain.ids[:2]))
    assert found.ids.tolist() == plain.ids[2:].tolist()
    np.testing.assert_allclose(found.scores, plain.scores[2:], atol=1e-6)
    assert "nothing is marked good" in found.notes[0]


def test_what_is_gone_is_told_and_counts_for_nothing(made: Collection) -> None:
    found = made.search(X[11], k=10, exact=True, marks=Marks(good=[5, "nowhere.png", 30], bad=[10**9]))
    assert found.notes == ("marked, and not in the collection: 5, nowhere.png, 1000000000",)
    same = made.search(X[11], k=10, exact=True, marks=Marks(good=[30]))
    assert found.ids.tolist() == same.ids.tolist()
    every = made.search(X[11], k=10, exact=True, marks=Marks(good=[5], bad=["no"]))
    assert every.ids.tolist() == made.search(X[11], k=10, exact=True).ids.tolist()
    assert len(every.notes) == 1


def test_more_marks_than_dimensions_and_the_same_ones_twice(made: Collection) -> None:
    rows = [row for row in range(300) if row != 5]
    found = made.search(X[11], k=3, marks=Marks(good=rows[:200], bad=rows[200:]))
    assert len(found) == 3 and np.isfinite(found.scores).all()
    once, twice = (made.search(X[11], k=9, marks=Marks(good=good)) for good in ([30], [30, "r30", "30", 30]))
    assert once.ids.tolist() == twice.ids.tolist()
    with pytest.raises(InvalidInput, match="marked good and bad"):
        made.search(X[11], marks=Marks(good=[30], bad=["r30"]))
    with pytest.raises(InvalidInput, match="marked good and bad"):
        Marks(good=[30], bad=[30])


def test_three_rows(tmp_path: Path) -> None:
    with Collection.create(tmp_path / "c.nest", encoder="precomputed", dim=DIM) as small:
        small.add_vectors(X[:3])
        found = small.search(X[9], k=5, marks=Marks(good=[0], bad=[1]))
        assert found.ids.tolist() == [2]
        assert len(small.search(X[9], k=5, marks=Marks(good=[0, 1, 2]))) == 0


def test_a_head_and_a_new_version(tmp_path: Path) -> None:
    with Collection.create(tmp_path / "c.nest", encoder="precomputed", dim=DIM) as main:
        main.add_vectors(X[:300])
        head = saved(rotation(fingerprint_of(tmp_path / "c.nest")), tmp_path / "h.safetensors")
        main.apply_head(head, "turned")
        with Collection.open(tmp_path / "c.nest", space="turned") as turned:
            ids = [one.similar(11, k=9, exact=True, marks=Marks([30, 31], [9])).ids.tolist() for one in (main, turned)]
            assert len(set(ids[0]) & set(ids[1])) >= 8  # the same up to rounding: all is turned alike
        before = main._spread
        main.add_vectors(X[300:600])
        main.search(X[11], marks=Marks([30]))
        assert before is not None and main._spread is not None and main._spread[0] > before[0]
        kept = main._spread
        main.search(X[12], marks=Marks([31]))
        assert main._spread is kept


def test_vectors_that_are_not_finite_are_refused(made: Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    with Collection.open(made.root) as again:
        gather = type(again.searcher).vectors
        monkeypatch.setattr(type(again.searcher), "vectors", lambda self, rows: gather(self, rows) * np.nan)
        with pytest.raises(CorruptCollection, match="not finite"):
            feedback.spread_of(again.searcher, again.root)
    with pytest.raises(NestvecError, match="NaN"):
        made.search([np.nan] * DIM, marks=Marks([30]))


def test_marks_in_a_question_as_json(made: Collection) -> None:
    query = Query((Term.of_text("sea"),), marks=Marks([3, "a.png"], [7]))
    written = query.to_json()
    assert written["marks"] == {"good": [3, "a.png"], "bad": [7]}
    assert Query.from_json(json.loads(json.dumps(written))) == query
    assert "marks" not in Query((Term.of_text("sea"),)).to_json()
    assert query.digest != Query((Term.of_text("sea"),)).digest
    for wrong in ([], 3, {"good": 3}, {"good": [1.5]}, {"good": [True]}, {"fine": []}, {"good": [1], "bad": [1]}):
        with pytest.raises(InvalidInput, match="mark"):
            Query.from_json({"version": 1, "marks": wrong})


def test_pages_with_marks(made: Collection) -> None:
    marks = Marks([30, 44])
    first = made.search(X[11], k=5, pages=True, marks=marks)
    second = made.search(X[11], k=5, after=first.cursor, marks=marks)
    every = made.search(X[11], k=10, exact=True, marks=marks)
    assert [*first.ids, *second.ids] == every.ids.tolist()
    with pytest.raises(InvalidInput, match="another question"):
        made.search(X[11], k=5, after=first.cursor, marks=Marks([30]))


def test_explain_says_what_becomes_of_marks(made: Collection) -> None:
    found = made.explain(Query((Term.of_vector(X[11]),), 5, marks=Marks([30], [9, 10**9])))
    assert found.notes[0].startswith("1 marked good and 1 bad: the vector that is searched with has a cosine of 0.")
    assert "1000000000" in found.notes[1]
    assert made.explain(X[11], 5).notes == ()


def test_a_session_comes_back_and_is_whole_or_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, query = (
        tmp_path / "s.json",
        Query((Term.of_text("sea"), Term.of_item("a\udcff.png", weight=-1)), marks=Marks([3])),
    )
    assert read_session(path) == Query()
    write_session(path, query)
    assert read_session(path) == query and [one.name for one in tmp_path.iterdir()] == ["s.json"]
    monkeypatch.setattr("engine.storage.disk.rename", lambda *_: (_ for _ in ()).throw(OSError(28, "full")))
    with pytest.raises(OSError, match="full"):
        write_session(path, Query())
    assert read_session(path) == query and [one.name for one in tmp_path.iterdir()] == ["s.json"]


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "{",
            "[]",
            "3",
            "null",
            "[" * 100_000,
            '{"version": 2}',
            '{"version": 1, "k": 3}',
            '{"marks": {"good": 3}}',
        ),
        *('{"terms": [{"text": 3}]}', '{"marks": {"good": [1], "bad": [1]}}', '{"where": "id < 3"}', "\ud800"),
    ],
)
def test_a_session_of_others_is_refused_in_words(tmp_path: Path, text: str) -> None:
    path = tmp_path / "s.json"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(InvalidInput, match=r"s\.json"):
        read_session(path)


def test_a_session_that_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="a folder"):
        read_session(tmp_path)
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(MOST_BYTES + 1)
    with pytest.raises(InvalidInput, match="larger"):
        read_session(tmp_path / "huge")


def test_public() -> None:
    assert engine.Marks is Marks and not Marks() and Marks(3).good == (3,) and Marks(bad="a.png").bad == ("a.png",)
    for wrong in (1.5, [None], True, [""], {"a": 1}):
        with pytest.raises(InvalidInput):
            Marks(good=wrong)  # type: ignore[arg-type]
