"""How likely answers are by chance, beside NumPy over all rows; the cut that is made there, and its calibration."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import engine
from engine.collection.snapshot import Snapshot
from engine.jobs.cutoff import conformal, find_cutoff
from engine.query import chance
from engine.query.ask import Query
from engine.query.chance import chance_of, evidence_of
from engine.query.shape import Shape
from indexers.errors import InvalidInput, NestvecError
from indexers.vectors import FloatArray, normalize
from tests.helpers import Hears, clustered, nestvec

N, DIM, GONE = 900, 48, (5, 17)
X = normalize((clustered(N, DIM) + 0.2).astype(np.float32))
Q = normalize((X[40:480:55] + 0.1 * np.random.default_rng(7).normal(size=(8, DIM))).astype(np.float32))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[engine.Collection]:
    """A collection in half precision with rows that are gone, and rows that no index covers."""
    made = engine.Collection.create(tmp_path_factory.mktemp("chance") / "c.nest", encoder="precomputed", dim=DIM)
    meta = [{"n": row, "topic": "abc"[row % 3]} for row in range(N)]
    made.add_vectors(X[:800], names=[f"r{row}" for row in range(800)], meta=meta[:800])
    made.build(["flat@8"])
    made.add_vectors(X[800:], names=[f"r{row}" for row in range(800, N)], meta=meta[800:])
    made.remove([f"r{row}" for row in GONE])
    yield made
    made.close()


def truth(q: FloatArray, allowed: Any = None, dim: int | None = None) -> np.ndarray:
    """Return the chance of every row: whitened by the roots of the covariance's eigenvalues, and not by Cholesky."""
    live = np.ones(N, bool)
    live[list(GONE)] = False
    stored = X.astype(np.float16).astype(np.float64)
    if dim is not None:
        stored, q = (one[..., :dim] / np.linalg.norm(one[..., :dim], axis=-1, keepdims=True) for one in (stored, q))
    mean, (values, axes) = stored[live].mean(axis=0), np.linalg.eigh(np.cov(stored[live].T, bias=True))
    white = axes / np.sqrt(values + values.mean())
    rows, asked = (stored - mean) @ white, (q - mean) @ white
    lengths = np.linalg.norm(rows, axis=1)
    shortest = np.percentile(lengths[live], 5)
    cosines = rows @ asked / np.maximum(lengths, shortest) / max(np.linalg.norm(asked), shortest)
    among = live if allowed is None else live & allowed
    middle = np.median(cosines[among])
    below = np.sqrt(2 * np.mean(np.minimum(cosines[among] - middle, 0) ** 2)) / (1 - middle**2)
    evidence = (np.arctanh(np.clip(cosines, None, 1 - 1e-7)) - np.arctanh(middle)) / below
    found = np.array([chance_of(float(one), int(among.sum())) for one in evidence])
    found[~among] = np.nan
    return found


def rows_of(answers: engine.Answers) -> list[int]:
    return [int(item.path[1:]) for item in answers.items]


TOPIC_A = np.arange(N) % 3 == 0


@pytest.mark.parametrize("where", [None, "topic = 'a'"])
@pytest.mark.parametrize("dim", [None, 8])
def test_it_is_what_numpy_finds(made: engine.Collection, where: str | None, dim: int | None) -> None:
    for q in Q[:3]:
        wanted = truth(q, None if where is None else TOPIC_A, dim)
        answers = made.search(q, k=40, where=where, dim=dim)
        assert answers.chance is not None and answers.chance.dtype == np.float32
        np.testing.assert_allclose(answers.chance, wanted[rows_of(answers)], rtol=2e-2, atol=1e-6)


def test_batches_and_items_have_it_too(made: engine.Collection) -> None:
    several = made.search(Q, k=3)
    for number, answers in enumerate(several):
        np.testing.assert_allclose(answers.chance, made.search(Q[number], k=3).chance, rtol=1e-3)  # type: ignore[arg-type]
    assert several[-1].chance is not None
    like = made.similar("r30", k=2)
    np.testing.assert_allclose(
        like.chance,
        truth(normalize(X[30:31].astype(np.float16).astype(np.float32))[0])[rows_of(like)],
        rtol=2e-2,
        atol=1e-6,
    )
    summed = made.search(engine.Term.of_vector(Q[0]) - 0.5 * engine.Term.of_vector(Q[1]), k=2)
    assert summed.chance is not None and len(summed.chance) == 2


def test_nothing_is_computed_for_who_does_not_look(tmp_path: Path, made: engine.Collection) -> None:
    with engine.Reader.open(made.root) as reader:
        found = reader.search(np.repeat(Q, 1250, axis=0), k=2)
        assert reader.searcher not in chance._KEPT
        assert found[0].chance is not None
        kept = chance._KEPT[reader.searcher]
        assert [*kept] == [DIM] and len(kept[DIM].sample) == N - len(GONE)


@pytest.mark.parametrize("unlikely", [0.2, 0.9, 0.95])
@pytest.mark.parametrize(
    ("how", "allowed"),
    [({}, None), ({"where": "topic = 'a'"}, TOPIC_A), ({"dim": 8}, None), ({"plan": "flat@8 | 300@24"}, None)],
)
def test_the_cut_keeps_all_that_is_unlikely_enough(
    made: engine.Collection, how: dict[str, Any], allowed: Any, unlikely: float
) -> None:
    some = 0
    for q in Q:
        wanted = truth(q, allowed, how.get("dim"))
        answers = made.search(q, k=N, at_least=unlikely, **how)
        least = 1 - unlikely
        sure = np.flatnonzero(wanted <= least * 0.97)
        maybe = np.flatnonzero(wanted <= least * 1.03)
        assert set(sure) <= set(rows_of(answers)) <= set(maybe)
        assert list(answers.scores) == sorted(answers.scores, reverse=True)
        some += len(answers)
    assert some


def test_the_cut_and_the_chance_that_is_told_agree_where_an_item_is_asked_with(
    made: engine.Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chance, "SAMPLE", 200)  # of fewer rows, others are drawn
    with engine.Reader.open(made.root) as reader:
        for row in range(40, 480, 55):
            whole = reader.similar(f"r{row}", k=N)
            assert whole.chance is not None
            cut = reader.similar(f"r{row}", k=N, at_least=0.9)
            assert cut.ids.tolist() == whole.ids[whole.chance <= 0.1].tolist()


def test_words_beside_a_query_are_cut_by_its_vector(made: engine.Collection, tmp_path: Path) -> None:
    alone = made.search(X[30], k=N, at_least=0.9)
    both = made.search(X[30], k=N, words="r31 r33", at_least=0.9)
    assert sorted(both.ids) == sorted(alone.ids) and both.fused is not None and len(alone)
    assert sorted(made.similar("r30", k=N, words="r31", at_least=0.9).ids) == sorted(set(alone.ids) - {30})
    with pytest.raises(InvalidInput, match="words alone have none"):
        made.search(words="r31", at_least=0.9)
    np.save(tmp_path / "q.npy", X[30:31])
    beside = ["--vectors", tmp_path / "q.npy", "--words", "r31", "-k", "900", "--at-least", "0.9", "--json"]
    told = json.loads(nestvec("search", made.root, *beside).stdout)
    assert sorted(one["id"] for one in told["results"]) == sorted(alone.ids)


def test_of_long_vectors_the_first_numbers_are_compared(
    made: engine.Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chance, "MOST_DIMENSIONS", 16)
    with engine.Reader.open(made.root) as reader:
        for q in Q[:3]:
            wanted, answers = truth(q, dim=16), reader.search(q, k=40)
            np.testing.assert_allclose(answers.chance, wanted[rows_of(answers)], rtol=2e-2, atol=1e-6)  # type: ignore[arg-type]
            kept = set(rows_of(reader.search(q, k=N, at_least=0.9)))
            assert set(np.flatnonzero(wanted <= 0.097)) <= kept <= set(np.flatnonzero(wanted <= 0.103))


def test_a_prefix_that_is_not_there_is_refused(made: engine.Collection) -> None:
    for dim in (-1, 0, DIM + 1, 2**31 - 1):
        with pytest.raises(NestvecError, match="cannot stop at"):
            made.search(Q[0], at_least=0.9, dim=dim)


def test_nothing_matches_and_items_that_ask(made: engine.Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not len(made.search(Q[0], at_least=0.9, where="FALSE"))
    monkeypatch.setattr(chance, "SAMPLE", 200)
    with engine.Reader.open(made.root) as reader:
        for item in reader.snapshot.ids[reader.snapshot.live.numbers[:40]].tolist():
            found, every = reader.similar(item, k=N, at_least=0.5), reader.similar(item, k=N, exact=True)
            assert every.chance is not None
            assert sorted(found.ids) == sorted(every.ids[every.chance <= 0.5])


def test_it_goes_with_pages_groups_and_scores(made: engine.Collection) -> None:
    q = Q[0]
    whole = made.search(q, k=N, at_least=0.5)
    assert len(whole) > 4
    pages, page = [], made.search(q, k=2, at_least=0.5, pages=True)
    pages += rows_of(page)
    while page.cursor is not None:
        page = made.search(q, k=2, at_least=0.5, after=page.cursor)
        pages += rows_of(page)
    assert pages == rows_of(whole)
    groups = made.search(q, k=5, at_least=0.5, group_by="topic")
    best = {TOPIC: next(row for row in rows_of(whole) if "abc"[row % 3] == TOPIC) for TOPIC in set(groups.groups or ())}
    assert rows_of(groups) == [best[group] for group in groups.groups or ()]
    least = float(whole.scores[2])
    assert rows_of(made.search(q, k=N, at_least=0.5, min_score=least)) == rows_of(whole)[:3]


def test_what_has_nothing_to_do_with_the_rows_is_above_chance_no_more_often_than_it_says(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    drawn = rng.normal(size=(3400, 64)) / np.sqrt(1 + np.arange(64)) + 0.1
    rows, asked = np.split(normalize(drawn.astype(np.float32)), [3000])
    with engine.Collection.create(tmp_path / "c.nest", encoder="precomputed", dim=64, dtype="float32") as made:
        made.add_vectors(rows)
        searcher = made.searcher
    found = []
    for q in asked:
        one = chance.beside(searcher, q)
        assert one is not None
        found.append(float(one.chance(rows).min()))
    # About evenly spread over 0 to 1.
    shares = [float(np.mean(np.array(found) <= part)) for part in (0.05, 0.25, 0.5, 0.75)]
    assert np.allclose(shares, (0.05, 0.25, 0.5, 0.75), atol=0.12) and shares[0] <= 0.1, shares


def test_chance_and_evidence_are_each_others_inverse() -> None:
    assert chance_of(3.0, 1) == pytest.approx(0.0013499, rel=1e-4)
    assert chance_of(-40.0, 7) == 1.0 and chance_of(60.0, 10**9) == 0.0
    for rows in (100, 10**6):
        for unlikely in (0.01, 0.5, 0.95, 1 - 1e-9):
            assert chance_of(evidence_of(unlikely, rows), rows) == pytest.approx(1 - unlikely, rel=1e-6)


@pytest.mark.parametrize("rows", [1, 2, 10, 99, 100])
def test_of_few_rows_nothing_is_said(tmp_path: Path, rows: int) -> None:
    with engine.Collection.create(tmp_path / "c.nest", encoder="precomputed", dim=DIM) as few:
        few.add_vectors(X[:rows])
        answers = few.search(Q[0], k=3)
        assert (answers.chance is None) == (rows < 100)
        if rows < 100:
            with pytest.raises(InvalidInput, match="nothing can be said of"):
                few.search(Q[0], at_least=0.9)


def test_of_rows_that_are_all_alike_nothing_is_said(tmp_path: Path) -> None:
    with engine.Collection.create(tmp_path / "c.nest", encoder="precomputed", dim=DIM) as alike:
        alike.add_vectors(np.repeat(X[:1], 150, axis=0), names=[str(one) for one in range(150)])
        assert alike.search(Q[0], k=3).chance is None


def test_where_nothing_matches_nothing_is_cut(made: engine.Collection) -> None:
    assert len(made.search(X[30], at_least=0.9, where="n < 0")) == 0
    assert made.search(X[30], at_least=0.9, where="n < 0", group_by="topic").groups == []


def test_few_matching_rows_are_beside_all(made: engine.Collection) -> None:
    found = made.search(X[30], k=3, where="n < 40")
    assert found.chance is not None and found.chance[0] < 1e-6


@pytest.mark.parametrize("odd", [0, 1, -0.1, 1.5, math.nan, "often", True, b"auto"])
def test_odd_ones_are_refused(odd: Any) -> None:
    with pytest.raises(NestvecError, match="at_least"):
        Shape(at_least=odd)


def test_it_is_data(made: engine.Collection) -> None:
    query = Query((engine.Term.of_vector(Q[0]),), shape=Shape(at_least=0.9))
    again = Query.from_json(json.loads(json.dumps(query.to_json())))
    assert again == query and query.to_json()["at_least"] == 0.9 and query.digest != Query(query.terms).digest
    assert "at_least" not in Query(query.terms).to_json()
    assert made.ask(again).ids.tolist() == made.search(Q[0], at_least=0.9).ids.tolist()
    with pytest.raises(InvalidInput, match="tune --cutoff"):
        made.search(Q[0], at_least="auto")


def test_the_command_says_it(made: engine.Collection, tmp_path: Path) -> None:
    # Like no row more than another: what they have in common, and a little of nothing.
    mean = X.mean(axis=0)
    nothing = normalize((mean + 0.02 * np.random.default_rng(1).normal(size=DIM)).astype(np.float32)[None])
    np.save(tmp_path / "q.npy", np.concatenate([nothing, X[30:31]]))
    done = nestvec("search", made.root, "--vectors", tmp_path / "q.npy", "--json", "-k", "2")
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert [min(one["chance"] for one in each["results"]) <= 0.05 for each in told] == [False, True]
    assert done.stderr.decode().count("not above chance") == 1
    done = nestvec("search", made.root, "--vectors", tmp_path / "q.npy", "--json", "--at-least", "0.95")
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert told[0]["results"] == [] and told[1]["results"]
    assert all(one["chance"] <= 0.05 for one in told[1]["results"])
    assert nestvec("search", made.root, "--vectors", tmp_path / "q.npy", "--at-least", "1").returncode == 2
    nestvec("search", made.root, "--vectors", tmp_path / "q.npy", "--html", tmp_path / "x.html")
    assert "<h2>query 1</h2>" in (tmp_path / "x.html").read_text()
    np.save(tmp_path / "q.npy", nothing)
    asked = ["search", made.root, "--vectors", tmp_path / "q.npy"]
    for more, why in (
        (["--at-least", "0.95"], "no answer is left by --at-least"),
        (["--at-least", "0.95", "--where", "n < 800"], "no answer is left by --at-least"),
        (["--min-score", "1", "--offset", "3"], "no answer is left by --min-score and --offset"),
        (["--at-least", "0.95", "--where", "n < 0"], "no item matches --where"),
        (["--words", "r30"], "by their vectors not above chance"),
    ):
        assert why in nestvec(*asked, *more).stderr.decode()


class Spelt:
    """An encoder of texts that are numbers: each is near the row of that number."""

    modalities = frozenset({"text"})

    def encode_texts(self, texts: list[str]) -> FloatArray:
        rows = np.array([int(text.split()[0]) for text in texts])
        noise = np.stack([np.random.default_rng(row).normal(size=DIM) for row in rows])
        return normalize((X[rows] + 0.16 * noise).astype(np.float32))


@pytest.fixture(scope="module")
def captioned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[engine.Collection]:
    made = engine.Collection.create(tmp_path_factory.mktemp("captioned") / "c.nest", encoder="precomputed", dim=DIM)
    captions = [f"{row} of {row % 2}" if row % 2 == 0 else None for row in range(N)]
    made.add_vectors(X, names=[f"r{row}" for row in range(N)], captions=captions)
    yield made
    made.close()


def kept(made: engine.Collection, rows: np.ndarray) -> float:
    """Return the share of rows that queries of theirs keep by the stored cut-off."""
    asked = Spelt().encode_texts([str(row) for row in rows])
    found = made.search(asked, k=N, at_least="auto")
    return float(
        np.mean([f"r{row}" in {item.path for item in one.items} for row, one in zip(rows, found, strict=True)])
    )


def test_a_cutoff_keeps_its_share_of_fresh_queries(captioned: engine.Collection) -> None:
    options = engine.CutoffOptions(share=0.9)
    manifest, found = find_cutoff(captioned.root, "main", options, Spelt, Hears())  # type: ignore[arg-type]
    captioned.refresh()
    assert captioned.space.cutoff == found and manifest.space("main").cutoff == found
    assert (found.queries, found.kind, found.share) == (450, "captions", 0.9) and found.low < 0.9 < found.high
    share = kept(captioned, np.arange(1, N, 2))  # rows without a caption: nothing was chosen with these
    spread = 2.5 * math.sqrt(0.09 / 450)
    assert found.low - spread <= share <= found.high + spread
    # A filter lets fewer rows answer, and what is relevant stays so.
    one = captioned.search(X[31], k=N, at_least="auto")
    assert captioned.search(X[31], k=N, at_least="auto", where="id >= 0").ids.tolist() == one.ids.tolist()


def test_judgements_give_one_too(captioned: engine.Collection) -> None:
    topics = {str(row): f"{row} x" for row in range(100)}
    qrels = {str(row): {f"r{row}": 1, f"r{row + 1}": 0} for row in range(90)}
    options = engine.CutoffOptions(0.95, topics, qrels)
    _, found = find_cutoff(captioned.root, "main", options, Spelt, Hears())  # type: ignore[arg-type]
    assert (found.queries, found.kind) == (90, "qrels")
    with pytest.raises(InvalidInput, match="needs 99 queries"):
        find_cutoff(captioned.root, "main", engine.CutoffOptions(0.99, topics, qrels), Spelt, Hears())  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="belong together"):
        engine.CutoffOptions(0.9, topics)


def test_it_is_read_back_and_stays_with_what_is_added(captioned: engine.Collection, tmp_path: Path) -> None:
    find_cutoff(captioned.root, "main", engine.CutoffOptions(0.9), Spelt, Hears())  # type: ignore[arg-type]
    captioned.refresh()
    captioned.add_vectors(normalize(clustered(5, DIM, seed=9)), names=[f"late{row}" for row in range(5)])
    captioned.build(["flat@8"])
    with Snapshot.open(captioned.root) as snapshot:
        assert snapshot.manifest.space("main").cutoff == captioned.space.cutoff is not None


def test_a_conformal_share_is_kept_within_its_interval() -> None:
    rng, shares, inside = np.random.default_rng(0), [], 0
    for _ in range(300):
        drawn = rng.gamma(2.0, size=200)
        cut = conformal(drawn.tolist(), 0.95, "captions")
        fresh = math.exp(-cut.evidence) * (1 + cut.evidence)  # what of a gamma distribution of shape 2 lies above
        shares.append(fresh)
        inside += cut.low <= fresh <= cut.high
    assert 0.95 <= np.mean(shares) <= 0.96
    assert 0.91 <= inside / 300 <= 0.985
