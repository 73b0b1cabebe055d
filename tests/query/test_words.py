"""Words that are looked for, alone and beside vectors, compared with bm25s and with every row by NumPy."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bm25s
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import engine
from engine.query import fuse, keywords
from engine.query.fuse import SPREADS
from engine.query.keywords import K1, B, read_words
from indexers.errors import InvalidInput, NestvecError
from indexers.vectors import normalize
from tests.helpers import clustered, nestvec

N, DIM = 1500, 12
VOCABULARY = [f"w{number}" for number in range(60)]
SHARES = 1 / np.arange(1, 61)
RNG = np.random.default_rng(5)
TEXTS = [" ".join(RNG.choice(VOCABULARY, RNG.integers(1, 14), p=SHARES / SHARES.sum())) for _ in range(N)]
X = normalize(clustered(N, DIM))
Q = normalize(clustered(5, DIM, seed=7))
GONE = [5, 17, 900, 1499]
LIVE = np.setdiff1d(np.arange(N), GONE)
ASKED = ["w0", "w3 w50", "w0 w1 w2 w40 w59", "w7 w7 w8", "w33 nowhere", "w12 w13 w14 w15"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[engine.Collection]:
    """Captions in what is built, in a tail, and beside tombstones in both."""
    root = tmp_path_factory.mktemp("words") / "c.nest"
    made = engine.Collection.create(root, encoder="precomputed", dim=DIM, dtype="float32")
    names = [f"x{row}" for row in range(N)]
    for some in (slice(0, 1200), slice(1200, N)):
        meta = [{"n": row, "five": row % 5} for row in range(N)[some]]
        made.add_vectors(X[some], names=names[some], captions=TEXTS[some], meta=meta)
        if not some.start:
            made.index_words(["caption"])
            made.build(["flat@6"])
    made.remove([f"x{row}" for row in GONE])
    yield made
    made.close()


def oracle(text: str, rows: np.ndarray = LIVE) -> np.ndarray:
    """BM25 of every row, one by one."""
    documents = [TEXTS[row].split() for row in rows]
    mean = np.mean([len(one) for one in documents])
    total = np.zeros(N)
    for word, times in Counter(text.split()).items():
        having = [one.count(word) for one in documents]
        df = sum(count > 0 for count in having)
        idf = math.log(1 + (len(rows) - df + 0.5) / (df + 0.5))
        for row, count, one in zip(rows, having, documents, strict=True):
            total[row] += times * idf * count / (count + K1 * (1 - B + B * len(one) / mean))
    return total


def best(scores: np.ndarray, k: int) -> np.ndarray:
    order = np.lexsort((np.arange(N), -scores))
    return order[scores[order] > 0][:k]


@pytest.mark.parametrize("text", ASKED)
def test_scores_are_those_of_bm25s(made: engine.Collection, text: str) -> None:
    retriever = bm25s.BM25(method="lucene", k1=K1, b=B)
    retriever.index([TEXTS[row].split() for row in LIVE], show_progress=False)
    _, scores = retriever.retrieve([text.split()], k=20, show_progress=False)
    found = made.search(words=text, k=20)
    assert np.allclose(found.words, scores[0][: len(found)], rtol=1e-5)
    assert np.allclose(oracle(text)[found.ids], found.words, rtol=1e-5)
    assert np.isnan(found.scores).all()
    assert found.fused is None
    assert found.query == text


@pytest.mark.parametrize("text", ASKED)
@pytest.mark.parametrize("k", [1, 10, 5000])
def test_rows_are_in_the_order_of_their_scores(made: engine.Collection, text: str, k: int) -> None:
    scores = oracle(text)
    found = made.search(words=text, k=k)
    assert len(found) == min(k, int((scores > 0).sum()))
    assert np.allclose(found.words, np.sort(scores)[::-1][: len(found)], rtol=1e-5)
    assert sorted(found.ids) == sorted(set(found.ids))


@given(st.lists(st.sampled_from(VOCABULARY), min_size=1, max_size=9), st.integers(1, 40), st.integers(0, 4))
@settings(max_examples=60, deadline=None)
def test_leaving_out_what_cannot_win_changes_nothing(
    made: engine.Collection, words: list[str], k: int, five: int
) -> None:
    text = " ".join(words)
    for where, allowed in ((None, np.ones(N, bool)), (f"five = {five}", np.arange(N) % 5 == five)):
        scores = np.where(allowed, oracle(text), 0.0)
        found = made.search(words=text, k=k, where=where)
        assert len(found) == min(k, int((scores > 0).sum()))
        assert np.allclose(found.words, np.sort(scores)[::-1][: len(found)], rtol=1e-5)
        assert allowed[found.ids].all()


def test_phrases_and_beginnings(tmp_path: Path) -> None:
    texts = [
        "red mountain bike",
        "mountain red bike",
        "the mountain bikes",
        "bike",
        "red. Mountain-bike",
        "東京の猫",
        "京東",
    ]
    with engine.Collection.create(tmp_path / "c.nest", encoder="precomputed", dim=4) as made:
        names = [f"IMG_{2030 + at}.JPG" for at in range(7)]
        made.add_vectors(clustered(7, 4), names=names, captions=texts)
        assert not len(made.search(words="IMG_2031"))  # vectors are not looked for by their names, but on request
        made.index_words(["caption", "path"])

        def found(words: str) -> list[int]:
            return sorted(made.search(words=words, k=10).ids.tolist())

        assert found('"mountain bike"') == [0, 4]
        assert found('"Mountain BIK*"') == [0, 2, 4]
        assert found("bik*") == [0, 1, 2, 3, 4]
        assert found("IMG_2031") == found("img_2031.jpg") == found("2031") == [1]
        assert found("img_203*") == list(range(7))
        assert found('"bike img"') == []  # a caption's last word, and the first of a name
        assert found("東京") == [5]
        assert found("東京タワー 猫") == [5]
        assert found('"unclosed bike') == []
        assert found('mountain" bike"') == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("blend", [0.0, 0.3, 0.5, 1.0])
@pytest.mark.parametrize("where", [None, "five = 2", "n >= 1490"])
def test_both_together_are_the_best_of_all_rows(
    made: engine.Collection, blend: float, where: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fuse, "LEVELS", (16, 64))
    monkeypatch.setattr(keywords, "LEVELS", (16, 64))
    allowed = np.isin(np.arange(N), made.matching(where) if where else LIVE)
    for xq, text in zip(Q, ASKED, strict=False):
        cosines, words = (X @ xq).astype(np.float64), oracle(text)
        drawn = cosines[np.setdiff1d(np.linspace(0, N - 1, N).astype(int), GONE)]
        fused = (1 - blend) * (cosines - drawn.mean()) / (SPREADS * drawn.std()) + blend * words / words.max()
        fused[~allowed] = -np.inf
        found = made.search(xq, words=text, blend=blend, k=12, where=where)
        wanted = np.argsort(-fused, kind="stable")[: min(12, allowed.sum())]
        assert found.fused is not None
        assert np.allclose(found.fused, fused[wanted], atol=1e-4)
        assert np.allclose(fused[found.ids], fused[wanted], atol=1e-4)
        assert np.allclose(found.scores, cosines[found.ids], atol=1e-5)
        assert np.allclose(found.words, words[found.ids], rtol=1e-5)
        assert np.array_equal(found.ordered_by, found.fused)


ODD = [
    "rock'n'roll",
    "don't stop",
    "the dog’s bone",
    "l'été d'antan",
    "हिन्दी भाषा",
    "தமிழ் மொழி",
    "العَرَبِيَّة",
    "re\u0301sume\u0301",
    "ภาษาไทย",
    "中文字",
]


@pytest.mark.parametrize("stem", [None, "english"])
def test_a_text_finds_itself(tmp_path: Path, stem: str | None) -> None:
    with engine.Collection.create(tmp_path / "c.nest", encoder="precomputed", dim=4) as made:
        made.add_vectors(clustered(len(ODD), 4), captions=ODD)
        made.index_words(["caption"], stem=stem)
        for number, text in enumerate(ODD):
            assert made.search(words=text).ids.tolist() == [number]
            assert made.search(words=f'"{text}"').ids.tolist() == [number]
            assert made.search(words=text.split()[0][:-1] + "*").ids.tolist() == [number]
    assert [str(unit) for unit in read_words("don't e-mail 'quoted' a**b* ½ x_y")] == [
        *("dont", "e", "mail", "quoted", "a*", "b*", '"1 2"', '"x y"')
    ]


def test_what_is_usual_is_told_by_the_live_rows(tmp_path: Path) -> None:
    x = normalize(clustered(3000, 4))
    with engine.Collection.create(tmp_path / "c.nest", encoder="precomputed", dim=4) as made:
        made.add_vectors(x, captions=["rare" if row == 2001 else "w" for row in range(3000)])
        made.remove(ids=np.setdiff1d(np.arange(3000), [7, 2001]).tolist())
        found = made.search(x[7], words="rare", k=5)
        assert sorted(found.ids.tolist()) == [7, 2001]
        assert found.fused is not None
        assert np.isfinite(found.fused).all()


@pytest.mark.filterwarnings("error")
def test_no_rows(tmp_path: Path) -> None:
    with engine.Collection.create(tmp_path / "c.nest", encoder="precomputed", dim=4) as made:
        for query in (None, X[0, :4]):
            assert not len(made.search(query, words="w"))
        made.add_vectors(clustered(3, 4), captions=["w"] * 3)
        assert not len(made.search(X[0, :4], words="w", where="FALSE"))


def test_words_go_with_marks_and_chance(made: engine.Collection) -> None:
    plain = made.search(words="w0", k=9)
    assert made.search(words="w0", k=7, marks=engine.Marks(bad=plain.ids[:2])).ids.tolist() == plain.ids[2:].tolist()
    for query in (Q[0], Q[1]):
        sure = made.search(query, k=N, at_least=0.5, exact=True)
        both = made.search(query, words="w0 w9", k=N, at_least=0.5)
        assert sorted(both.ids) == sorted(sure.ids)
        assert list(both.fused) == sorted(both.fused, reverse=True)  # type: ignore[arg-type,call-overload]
    for marks in (None, engine.Marks(bad=[3])):
        with pytest.raises(InvalidInput, match="words alone have none"):
            made.search(words="w0", at_least=0.5, marks=marks)


def test_variety_of_what_words_find(made: engine.Collection) -> None:
    scores = oracle("w40 w41")
    pool = list[int]()
    for row in best(scores, N).tolist():
        if len(pool) < 200 and not (X[pool] @ X[row] >= 0.999).any():
            pool.append(row)
    chosen = [pool[0]]
    while len(chosen) < 8:
        likeness = (X[pool] @ X[chosen].T).max(axis=1)
        worth = np.where(np.isin(pool, chosen), -9, 0.5 * scores[pool] / scores[pool[0]] - 0.5 * likeness)
        chosen.append(pool[int(np.argmax(worth))])
    assert made.search(words="w40 w41", k=8, diverse=0.5).ids.tolist() == chosen


def test_words_of_nothing_leave_the_vectors(made: engine.Collection) -> None:
    found, alone = made.search(Q[0], words="nowhere", k=20), made.search(Q[0], k=20, exact=True)
    assert np.array_equal(found.ids, alone.ids)
    assert not len(made.search(words="nowhere"))


def test_pages_groups_and_copies(made: engine.Collection) -> None:
    for query in (None, Q[1]):
        whole = made.search(query, words="w0 w9", k=60)
        assert [a.item.id for a, _ in zip(made.iterate(query, words="w0 w9"), range(60), strict=False)] == [*whole.ids]
        pages, after = [], None
        for _ in range(4):
            page = made.search(query, words="w0 w9", k=15, after=after, pages=True) if after else None
            page = page or made.search(query, words="w0 w9", k=15, pages=True)
            pages += page.ids.tolist()
            after = page.cursor
        assert pages == whole.ids.tolist()
        groups = made.search(query, words="w0 w9", k=5, group_by="five")
        assert sorted(groups.groups or ()) == [0, 1, 2, 3, 4]
        assert made.search(query, words="w0 w9", k=60, offset=50).ids.tolist()[:10] == whole.ids[50:].tolist()
        assert (made.search(query, words="w0 w9", k=20, distinct=0.9).copies or [None])[0] is not None
        assert made.search(query, words="w0 w9", k=9, sort="-n").ids.tolist() == sorted(whole.ids[:9], reverse=True)


def test_several_queries_have_words_of_their_own(made: engine.Collection) -> None:
    queries = [
        engine.Query((engine.Term.of_vector(xq),), 5).with_words(text) for xq, text in zip(Q, ASKED, strict=False)
    ]
    together = made.ask_all(queries)
    for one, query in zip(together, queries, strict=True):
        assert np.array_equal(one.ids, made.ask(query).ids)
    batch = made.search(Q, words="w1", k=3)
    assert len(batch) == 5
    assert np.array_equal(batch[2].ids, made.search(Q[2], words="w1", k=3).ids)
    with pytest.raises(InvalidInput, match="terms and words alone"):
        made.ask_all([queries[0], engine.Query((), 5).with_words("w1", 0.2)])


def test_a_version_is_searched_with_its_own_words(made: engine.Collection, tmp_path: Path) -> None:
    root = tmp_path / "c.nest"
    with engine.Collection.create(root, encoder="precomputed", dim=4) as own, engine.Reader.open(root) as reader:
        own.add_vectors(clustered(3, 4), names=["a", "b", "c"], captions=["one", "two", "one two"])
        reader.refresh()
        assert sorted(reader.search(words="two").ids.tolist()) == [1, 2]
        own.add_vectors(clustered(1, 4), names=["d"], captions=["two"])
        assert len(reader.search(words="two")) == 2
        reader.refresh()
        assert len(reader.search(words="two")) == 3
        own.remove(["b"])
        assert len(own.search(words="two")) == 2


BAD: dict[str, Any] = {
    "": "not empty",
    "***": "no word",
    "?!": "no word",
    " ".join(f"v{number}" for number in range(300)): "300",
    "x" * 20_000: "letters",
    "half \ud83d": "Unicode",
    '"name \udcff"': "Unicode",
}


@pytest.mark.parametrize("words", BAD)
def test_no_words_are_refused(made: engine.Collection, words: str) -> None:
    with pytest.raises(InvalidInput, match=BAD[words]):
        engine.Query(words=words)


def test_a_question_is_asked_and_not_searched_for(made: engine.Collection) -> None:
    with pytest.raises(InvalidInput, match="asked by ask"):
        made.search(engine.Query(words="w0"))
    done = nestvec("search", made.root, "--words", "w0", "--at-least", "autos")
    assert done.returncode == 2
    assert b"or auto" in done.stderr


def test_what_goes_not_together_is_refused(made: engine.Collection) -> None:
    for wrong in (
        {"words": 3},
        {"words": "a", "blend": 1.5},
        {"blend": 0.5},
        {"words": "a", "blend": math.nan},
        {"words": "a", "shape": engine.Shape(min_score=0.5)},
    ):
        with pytest.raises(InvalidInput):
            engine.Query(**wrong)
    with pytest.raises(InvalidInput, match="no text in the query"):
        made.search(Q[0], words=True)
    with pytest.raises(InvalidInput):
        made.search()


@given(st.text(max_size=60))
@settings(max_examples=200, deadline=None)
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        units = read_words(text)
    except NestvecError:
        return
    assert units
    assert all(unit.words and times for unit, times in units.items())


def test_the_json_form_and_the_digest() -> None:
    query = engine.Query((engine.Term.of_text("a bicycle"),), 5).with_words("red bike", 0.25)
    said = query.to_json()
    assert (said["words"], said["blend"]) == ("red bike", 0.25)
    assert engine.Query.from_json(json.loads(json.dumps(said))) == query
    assert query.digest != query.with_words("red bikes", 0.25).digest
    assert "words" not in engine.Query((engine.Term.of_text("a"),)).to_json()


def test_it_is_explained(made: engine.Collection) -> None:
    query = engine.Query((engine.Term.of_vector(Q[0]),), 5).with_words("w0 nowhere")
    told = made.explain(query).notes
    assert told[1] == "words: nowhere is in 0 items, and counts 0.00 at most"
    assert told[0].startswith(f"words: w0 is in {sum('w0' in TEXTS[row].split() for row in LIVE):,} items")
    with pytest.raises(InvalidInput, match="there are none; words: w0"):
        made.explain(engine.Query().with_words("w0"))


def test_tables_and_records_have_both_scores(made: engine.Collection) -> None:
    found = made.search(Q[0], words="w0", k=3)
    table = found.to_arrow()
    assert {"score", "words", "fused"} <= set(table.column_names)
    assert found[0].fused == pytest.approx(float(table.column("fused")[0].as_py()))
    alone = made.search(words="w0", k=3).to_arrow()
    assert alone.column("score").null_count == 3
    assert "fused" not in alone.column_names


def test_the_command(made: engine.Collection) -> None:
    done = nestvec("search", made.root, "--words", "w3 w50", "-k", "3", "--json")
    [result, *_] = json.loads(done.stdout)["results"]
    assert result["score"] is None
    assert result["words"] == pytest.approx(float(made.search(words="w3 w50", k=1).words[0]), abs=1e-5)  # type: ignore[index]
    assert b"no item has any of these words" in nestvec("search", made.root, "--words", "nowhere").stderr
    for wrong in (("--words", "***"), ("--words", "a", "--hybrid"), ("a text", "--blend", "0.5"), ()):
        assert nestvec("search", made.root, *wrong).returncode == 2


def test_a_collection_without_items_has_no_words(tmp_path: Path) -> None:
    with engine.Collection.create(tmp_path / "c.nest", encoder="precomputed", dim=4) as none:
        assert len(none.search(words="red")) == 0
    done = nestvec("search", tmp_path / "c.nest", "--words", "red")
    assert (done.returncode, done.stderr) == (0, b"the collection has no items\n")


def test_bytes_that_are_no_text_are_refused() -> None:
    with pytest.raises(InvalidInput, match="a text of Unicode"):
        read_words("caf\udce9 bicycle")
