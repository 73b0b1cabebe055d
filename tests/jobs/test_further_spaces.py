"""Several columns of vectors, each in a space of its own: taken, searched, kept up to date, repaired."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine.api import Collection
from engine.collection.failures import failures_of
from engine.collection.manifest import SourceTable
from engine.collection.verify import verify
from engine.evaluation.evaluate import evaluate
from engine.evaluation.options import EvaluateOptions
from engine.ingest.catalogue import StoredVectors
from engine.ingest.joined import TableOptions
from engine.jobs.index import RunOptions
from engine.jobs.index import index as run_index
from engine.jobs.repair import repair
from engine.jobs.spaces import HeadOptions, apply_head
from engine.jobs.tune import TuneOptions, tune_space
from engine.progress import Silent, Summary, Taken
from indexers.errors import HeadError, InvalidInput, InvalidVectors, ModalityError, SourceError
from indexers.vectors import FloatArray, normalize
from tests.helpers import clustered, draw, flip_bit, inside, nestvec, newest, save
from tests.made_heads import fingerprint_of, linear, saved

N = 300
X, Y = clustered(N, 8), clustered(N, 12, seed=1)
TWO = {"main": "image", "text": "words"}


def written(path: Path, x: Any = X, y: Any = Y, **columns: Any) -> Path:
    """Write a table of two columns of vectors, and others."""
    lists = {name: pa.array([None if v is None else list(v) for v in c]) for name, c in (("image", x), ("words", y))}
    pq.write_table(pa.table({**lists, **columns}), path)
    return path


def indexed(root: Path, path: Path, spaces: dict[str, str] | None = None, **table: Any) -> Summary:
    options = RunOptions(table=TableOptions(spaces=TWO if spaces is None else spaces, **table), device="cpu")
    return run_index(root, [path], options)


def assert_exact(opened: Collection, xb: FloatArray, xq: FloatArray, k: int = 7) -> None:
    """The scores are the best there are, within what half precision keeps."""
    best = -np.sort(-normalize(xq) @ normalize(xb).T, axis=1)[:, :k]
    np.testing.assert_allclose(opened.search(xq, k).scores, best, atol=2e-3)


def assert_holds(root: Path, x: FloatArray = X, y: FloatArray = Y) -> None:
    """Each space answers as the oracle does over its own vectors, and an item is the same one in both."""
    found: dict[str, list[str]] = {}
    for space, xb in (("main", x), ("text", y)):
        with Collection.open(root, space=space) as opened:
            xq = clustered(9, xb.shape[1], seed=5)
            assert_exact(opened, xb, xq)
            found[space] = [one.uris[0] for one in opened.search(xb[:20], k=1)]
            assert len(opened) == len(xb)
    assert found["main"] == found["text"]
    assert not list(verify(root))


def test_two_columns_become_two_spaces_of_the_same_items(tmp_path: Path) -> None:
    path, root = written(tmp_path / "a.parquet", n=list(range(N))), tmp_path / "c.nest"
    summary = indexed(root, path)
    assert (summary.added, summary.failed) == (N, 0)
    assert summary.taken == [Taken("a.parquet", "image", (), (("text", "words"),))]
    assert_holds(root)
    manifest = newest(root)
    assert manifest.roots == ["main", "text"]
    assert [manifest.space(name).encoder for name in manifest.roots] == ["precomputed", "precomputed:text"]
    assert manifest.sources[0].tables == (SourceTable(str(path), vectors="image", spaces=(("text", "words"),)),)
    with Collection.open(root) as opened:
        assert opened.search(X[3], k=1).items[0].meta == {"n": 3}
        assert opened.similar("a.parquet#3", k=2).uris[0] != "a.parquet#3"


def test_the_columns_are_remembered_and_what_changes_in_either_is_taken(tmp_path: Path) -> None:
    path, root = written(tmp_path / "a.parquet"), tmp_path / "c.nest"
    indexed(root, path)
    assert run_index(root, [path], RunOptions(device="cpu")).unchanged == N
    y = Y.copy()
    y[5] = clustered(1, 12, seed=9)[0]
    written(path, y=y)
    summary = run_index(root, [path], RunOptions(device="cpu"))
    assert (summary.changed, summary.unchanged + summary.relabelled) == (1, N - 1)
    assert_holds(root, y=y)


def test_rows_called_by_their_number_are_known_by_all_their_vectors(tmp_path: Path) -> None:
    path, root = written(tmp_path / "a.parquet"), tmp_path / "c.nest"
    indexed(root, path)
    with Collection.open(root) as opened:
        before = opened.search(X[10], k=1).items[0].id
    x, y = np.vstack([clustered(1, 8, seed=7), X]), np.vstack([clustered(1, 12, seed=7), Y])
    written(path, x, y)
    summary = run_index(root, [path], RunOptions(device="cpu"))
    assert (summary.added, summary.moved) == (1, N)
    with Collection.open(root) as opened:
        [item] = opened.search(X[10], k=1).items
        assert (item.id, item.path) == (before, "a.parquet#11")
    assert_holds(root, x, y)


def test_a_row_without_a_vector_in_one_of_them_is_one_failure(tmp_path: Path) -> None:
    x, y = list(X), list(Y)
    y[3], y[5], x[7] = None, y[5][:11], np.zeros(8)
    root = tmp_path / "c.nest"
    summary = indexed(root, written(tmp_path / "a.parquet", x, y))
    assert (summary.added, summary.failed) == (N - 3, 3)
    reasons = {one.path: one.reason for one in failures_of(root, newest(root))}
    assert reasons == {
        "a.parquet#3": "in space text: there is no vector in this row",
        "a.parquet#5": "in space text: the vector has 11 dimensions, and 12 are expected",
        "a.parquet#7": "the vector has length zero, and so no direction",
    }


@pytest.mark.parametrize("kind", ["npz", "wide.parquet", "wide.csv", "jsonl"])
def test_every_format_with_names_has_several(tmp_path: Path, kind: str) -> None:
    path, root, spaces = tmp_path / f"a.{kind}", tmp_path / "c.nest", TWO
    if kind == "npz":
        np.savez(path, image=X, words=Y)
    elif kind == "jsonl":
        rows = [{"image": x.tolist(), "words": y.tolist()} for x, y in zip(X, Y, strict=True)]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        spaces = {"main": "i*", "text": "w*"}
        columns = (
            {f"i{at}": X[:, at] for at in range(8)} | {f"w{at}": Y[:, at] for at in range(12)} | {"n": np.arange(N)}
        )
        if kind == "wide.parquet":
            pq.write_table(pa.table(columns), path)
        else:
            lines = [",".join(columns), *(",".join(str(one[row]) for one in columns.values()) for row in range(N))]
            path.write_text("\n".join(lines) + "\n")
    assert indexed(root, path, spaces).added == N
    assert_holds(root)
    with Collection.open(root) as opened:
        assert opened.search(X[3], k=1).items[0].meta == ({"n": 3} if kind.startswith("wide") else {})


def test_both_towers_of_clip_retrieval(tmp_path: Path) -> None:
    for folder in ("img_emb", "text_emb"):
        (tmp_path / "e" / folder).mkdir(parents=True)
    for part in range(2):
        own = slice(part * N // 2, (part + 1) * N // 2)
        save(tmp_path / "e" / "img_emb" / f"img_emb_{part}.npy", X[own])
        save(tmp_path / "e" / "text_emb" / f"text_emb_{part}.npy", Y[own])
    summary = indexed(tmp_path / "c.nest", tmp_path / "e", {"text": "text_emb"})
    assert summary.taken == [Taken("e", "img_emb", (), (("text", "text_emb"),))]
    assert_holds(tmp_path / "c.nest")
    save(tmp_path / "e" / "text_emb" / "text_emb_1.npy", Y[: N // 2 - 1])
    with pytest.raises(SourceError, match="fewer rows for space text than for the main one"):
        indexed(tmp_path / "d.nest", tmp_path / "e", {"text": "text_emb"})
    save(tmp_path / "e" / "text_emb" / "text_emb_1.npy", Y[: N // 2 + 1])
    with pytest.raises(SourceError, match="more rows for space text than for the main one"):
        indexed(tmp_path / "d.nest", tmp_path / "e", {"text": "text_emb"})
    (tmp_path / "e" / "text_emb" / "text_emb_1.npy").unlink()
    with pytest.raises(SourceError, match="1 files of vectors for space text, and 2 for the main one"):
        indexed(tmp_path / "d.nest", tmp_path / "e", {"text": "text_emb"})


def test_a_column_that_is_in_two_spaces_is_told(tmp_path: Path) -> None:
    summary = indexed(tmp_path / "c.nest", written(tmp_path / "a.parquet"), {"image": "image", "text": "words"})
    assert newest(tmp_path / "c.nest").roots == ["main", "image", "text"]
    assert "space image holds the same as the main one: --space main=image alone keeps them once" in str(
        summary.taken[0]
    )
    assert_holds(tmp_path / "c.nest")


# -- from Python ----------------------------------------------------------------------------


def test_vectors_are_handed_in_for_every_space(tmp_path: Path) -> None:
    root = tmp_path / "c.nest"
    with Collection.create(root, encoder="precomputed", dim=8, spaces={"text": 12}, dtype="float32") as made:
        assert made.add_vectors(X[:200], spaces={"text": Y[:200]}).added == 200
        with made.batch() as batch:
            batch.add_vectors(X[200:], spaces={"text": Y[200:]})
        assert batch.summary.added == 100
        made.build()
        for given in (None, {}, {"text": Y[:3], "more": Y[:3]}, {"words": Y[:3]}):
            with pytest.raises(InvalidInput, match="expected vectors for 'text', as items of this collection have one"):
                made.add_vectors(X[:3], spaces=given)
        with pytest.raises(InvalidInput, match="expected one for each of 3 vectors, found 2"):
            made.add_vectors(X[:3], spaces={"text": Y[:2]})
        with pytest.raises(InvalidVectors, match=r"spaces\['text'\]: expected numbers of shape \[n, 12\]"):
            made.add_vectors(X[:3], spaces={"text": X[:3]})
    assert_holds(root)


def test_rows_added_one_by_one_are_folded_in_every_space(tmp_path: Path) -> None:
    root = tmp_path / "c.nest"
    with Collection.create(root, encoder="precomputed", dim=8, spaces={"text": 12}, dtype="float32") as made:
        for at in range(70):
            made.add_vectors(X[at : at + 1], names=[f"r{at}"], spaces={"text": Y[at : at + 1]})
        assert len(made.snapshot.manifest.items) < 40
        made.remove("r3")
        made.compact()
    left = np.delete(np.arange(70), 3)
    assert_holds(root, X[left], Y[left])


@pytest.mark.parametrize(
    ("spaces", "match"),
    [
        ({"main": 8}, "and not main"),
        ({"A b": 8}, "found 'A b'"),
        ({"text": 0}, "at least 1"),
        ([8], "expected a mapping"),
    ],
)
def test_spaces_that_cannot_be(tmp_path: Path, spaces: Any, match: str) -> None:
    with pytest.raises(InvalidInput, match=match):
        Collection.create(tmp_path / "c.nest", encoder="precomputed", dim=8, spaces=spaces)
    assert not (tmp_path / "c.nest").exists()


def test_a_single_vector_has_those_of_all_spaces(tmp_path: Path) -> None:
    root = tmp_path / "c.nest"
    indexed(root, written(tmp_path / "a.parquet"))
    with Collection.open(root) as opened:
        stored = StoredVectors(opened.snapshot, opened.snapshot.manifest.roots)(17)
    np.testing.assert_allclose(stored, np.concatenate([X[17], Y[17]]), atol=2e-3)


# -- what is derived, tuned, evaluated and repaired -------------------------------------------


def test_a_head_makes_a_space_of_a_further_one(tmp_path: Path) -> None:
    root, path = tmp_path / "c.nest", written(tmp_path / "a.parquet", X[:200], Y[:200])
    indexed(root, path)
    head = linear(fingerprint_of(root, "text"), 6)
    apply_head(root, saved(head, tmp_path / "h.safetensors"), HeadOptions("short"))
    assert newest(root).space("short").base == "text"
    assert newest(root).root_of("short") == "text"
    indexed(root, written(path), {})
    assert_holds(root)
    with Collection.open(root, space="short") as opened:
        assert len(opened) == N
        assert_exact(opened, head(Y, "items"), clustered(9, 6, seed=3))
        with pytest.raises(ModalityError):
            opened.search("words")
    with Collection.open(root) as opened, pytest.raises(InvalidInput, match="not derived from another"):
        opened.remove_space("text")


def test_texts_lead_to_no_further_space(tmp_path: Path) -> None:
    root = tmp_path / "c.nest"
    indexed(root, written(tmp_path / "a.parquet", clustered(1200, 8), clustered(1200, 12, seed=1)))
    with Collection.open(root, space="text") as opened, pytest.raises(ModalityError, match="precomputed:text"):
        opened.search("words")
    with pytest.raises(InvalidInput, match="no encoder makes the vectors of space 'text'"):
        texts = [f"text {number}" for number in range(100)]
        tune_space(root, "text", TuneOptions(queries=texts), lambda: pytest.fail("no encoder is needed"), Silent())
    with Collection.open(root) as opened:
        told = evaluate(opened, EvaluateOptions(spaces=["text"], use_texts=False, k=5, shortlist=20, dims=[8]))
        assert {row.representation for row in told.rows if row.representation.startswith("space:")} == {"space:text"}


@pytest.mark.parametrize("left", ["matrix", "source"])
def test_a_damaged_shard_is_put_together_again(tmp_path: Path, left: str) -> None:
    root = tmp_path / "c.nest"
    indexed(root, written(tmp_path / "a.parquet"))
    entry = newest(root).space("text")
    assert entry.vectors is not None
    damaged = [entry.embeddings[0]] if left == "matrix" else [entry.embeddings[0], entry.vectors.file]
    for ref in damaged:
        flip_bit(inside(root, ref), ref.size // 2)
    done = repair(root, RunOptions(device="cpu"), Silent())
    assert not done.lost
    assert_holds(root)


# -- what is refused -------------------------------------------------------------------------


def test_pictures_and_sources_of_other_spaces_are_refused(tmp_path: Path) -> None:
    root = tmp_path / "c.nest"
    draw(tmp_path / "p" / "a.png", 1)
    indexed(root, written(tmp_path / "a.parquet"))
    before = newest(root).version
    with pytest.raises(SourceError, match="spaces text, which no encoder makes: pictures cannot be added"):
        run_index(root, [tmp_path / "p"], RunOptions(device="cpu"))
    with pytest.raises(SourceError, match="one each for the main space and text: say with --space NAME=COLUMN"):
        run_index(root, [save(tmp_path / "more.npy", X)], RunOptions(device="cpu"))
    with pytest.raises(SourceError, match="has vectors for the main space and more and text"):
        indexed(root, tmp_path / "a.parquet", {**TWO, "more": "words"})
    with pytest.raises(SourceError, match="holds vectors of 8 dimensions, and space text has 12"):
        indexed(root, written(tmp_path / "b.parquet", X, X))
    with pytest.raises(SourceError, match="no column 'wrods' of vectors"):
        indexed(tmp_path / "d.nest", tmp_path / "a.parquet", {"text": "wrods"})
    with pytest.raises(SourceError, match="no source with such was named"):
        indexed(tmp_path / "d.nest", tmp_path / "p", {"text": "words"})
    with pytest.raises(SourceError, match="holds one array without a name"):
        indexed(tmp_path / "d.nest", tmp_path / "more.npy", {"text": "words"})
    assert newest(root).version == before
    assert not (tmp_path / "d.nest").exists()


def test_a_head_that_belongs_to_no_space_of_the_collection_is_refused(tmp_path: Path) -> None:
    root = tmp_path / "c.nest"
    indexed(root, written(tmp_path / "a.parquet"))
    head = linear(fingerprint_of(root, "text"), 6)
    other = linear(type(fingerprint_of(root))("precomputed:else", "none", "none", 12), 6)
    assert head.encoder != other.encoder
    with pytest.raises((HeadError, InvalidInput, Exception), match="precomputed:else"):
        apply_head(root, saved(other, tmp_path / "h.safetensors"))


def test_the_command(tmp_path: Path) -> None:
    path = written(tmp_path / "a.parquet")
    for given, said in (
        ("text", "expected NAME=COLUMN"),
        ("=a", "expected NAME=COLUMN"),
        ("A=a", "a space is called by"),
    ):
        done = nestvec("index", path, tmp_path / "c.nest", "--space", given)
        assert (done.returncode, said in done.stderr.decode()) == (2, True)
    twice = nestvec("index", path, tmp_path / "c.nest", "--space", "text=words", "--space", "text=image")
    assert twice.returncode == 2
    both = nestvec("index", path, tmp_path / "c.nest", "--space", "main=words", "--vectors", "image")
    assert (both.returncode, "name one" in both.stderr.decode()) == (2, True)
    done = nestvec("index", path, tmp_path / "c.nest", "--space", "main=image", "--space", "text=words", "--json")
    assert json.loads(done.stdout)["taken"][0]["spaces"] == [["text", "words"]]
    found = nestvec("similar", tmp_path / "c.nest", "a.parquet#3", "--space", "text", "-k", "1", "--json")
    expected = np.argsort(-(Y @ Y[3]))[1]
    assert json.loads(found.stdout)["results"][0]["uri"] == f"a.parquet#{expected}"
