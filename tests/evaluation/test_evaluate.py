"""Whole evaluations of collections: what is drawn, what is left out, what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.api import Collection
from engine.evaluation.evaluate import evaluate
from engine.evaluation.labelled import label_table
from engine.evaluation.neighbours import neighbour_table
from engine.evaluation.options import EvaluateOptions
from engine.evaluation.representations import Representation
from engine.evaluation.rows import Row
from engine.evaluation.trec import read_run
from engine.planning.queries import QuerySet
from engine.progress import Silent
from indexers.errors import EncoderMismatch, HeadError, InvalidInput, ModalityError, SourceError
from tests.helpers import clustered, draw, index, needs_bundled
from tests.made_heads import fingerprint_of, rotation, saved, two_towers

N, DIM = 200, 16
BASE = clustered(N, DIM)
SPECIES = [["ash", "beech", "oak"][int(np.argmax(row[:3]))] for row in BASE]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Vectors with a column of species that ten rows lack, in two shards; every fifth row is removed."""
    path = tmp_path_factory.mktemp("evaluated") / "c.nest"
    with Collection.create(path, encoder="precomputed", dim=DIM, dtype="float32") as opened:
        for part in (slice(0, 120), slice(120, N)):
            opened.add_vectors(
                BASE[part],
                names=[f"row{row}" for row in range(N)[part]],
                captions=[f"one of {row}" for row in range(N)[part]],
                meta=[{"species": None if row < 10 else SPECIES[row], "n": row} for row in range(N)[part]],
            )
        opened.remove(ids=opened.snapshot.ids[::5].tolist())
    return path


TEXTS = ["a tree", "a boat", "the sea", "a hill"]
LIVE = np.array([row for row in range(N) if row % 5])


def run(root: Path, **options: Any) -> tuple[Row, ...]:
    with Collection.open(root) as opened:
        return evaluate(opened, EvaluateOptions(**options)).rows


def find(rows: tuple[Row, ...], table: str, name: str, metric: str, dim: int) -> Row:
    (row,) = [
        row
        for row in rows
        if (row.table, row.representation, row.metric, row.dim) == (table, name, metric, dim)
        and row.rerank in (None, dim)
    ]
    return row


def test_removed_rows_neither_ask_nor_answer(root: Path) -> None:
    base = BASE[LIVE]
    one = Representation("truncation", base, (QuerySet("items", base, np.arange(len(base))),))
    expected = neighbour_table([one], [4, 8, 16], 5, 20)
    found = run(root, dims=[4, 8, 16], k=5, shortlist=20, representations=["truncation"])
    assert [(row.dim, row.metric, row.count) for row in found] == [(r.dim, r.metric, r.count) for r in expected]
    assert [row.value for row in found] == pytest.approx([row.value for row in expected], abs=1e-9)
    assert found[0].count == len(LIVE)


def test_rows_without_a_label_neither_ask_nor_answer(root: Path) -> None:
    labelled = LIVE[LIVE >= 10]
    base = BASE[labelled]
    one = Representation("truncation", base, (QuerySet("items", base, np.arange(len(base))),))
    expected = label_table([one], [SPECIES[row] for row in labelled], [4, 16], 5)
    found = run(root, dims=[4, 16], k=5, shortlist=20, labels="species", representations=["truncation", "random"])
    for row in expected:
        ours = find(found, "labels", "truncation", row.metric, row.dim)
        assert (ours.value, ours.count) == (pytest.approx(row.value), row.count)
        assert find(found, "adaptive", "truncation", row.metric, row.dim).value == ours.value
    assert {row.representation for row in found if row.table == "adaptive"} == {"truncation"}


def test_the_seed_decides_and_nothing_else(root: Path) -> None:
    one, same, other = (
        [row for row in run(root, labels="species", queries=20, seed=seed) if row.metric != "ms"] for seed in (1, 1, 2)
    )
    assert one == same
    assert one != other
    assert {row.count for row in one} == {20}


def test_the_default_prefixes_and_representations(root: Path) -> None:
    rows = run(root)
    assert {row.table for row in rows} == {"neighbours"}
    dims = {name: [r.dim for r in rows if r.representation == name][::2] for name in ("truncation", "pca", "full")}
    assert dims == {"truncation": [8, 16], "pca": [8, 16], "full": [16]}
    for name in ("truncation", "pca", "random", "full"):
        assert find(rows, "neighbours", name, "recall@10", 16).value == 1.0


def test_a_head_is_measured_from_its_file_and_as_a_space(root: Path, tmp_path: Path) -> None:
    other = tmp_path / "c.nest"
    with Collection.create(other, encoder="precomputed", dim=DIM, dtype="float32") as opened:
        opened.add_vectors(BASE)
    made = two_towers(fingerprint_of(other), 6)
    path = saved(made, tmp_path / "mine.safetensors")
    with Collection.open(other) as opened:
        opened.apply_head(path)
        space = next(name for name in opened.snapshot.manifest.spaces if name != "main")
        rows = evaluate(opened, EvaluateOptions(heads=[path], representations=["truncation"])).rows
        # Texts cannot be encoded here; their way through the head is tested with pictures below.
        only = evaluate(opened, EvaluateOptions(spaces=["main"], representations=[], dims=[4])).rows
    assert {row.representation for row in rows} == {"truncation", "nested:mine", f"nested:{space}"}
    assert {row.representation for row in only} == {"space:main"}
    for dim in (2, 4):  # trained for: measured by default on all
        expected = find(rows, "neighbours", "nested:mine", "recall@10", dim)
        assert find(rows, "neighbours", f"nested:{space}", "recall@10", dim).value == expected.value
        assert find(rows, "neighbours", "truncation", "recall@10", dim)
    base = made(BASE, "items")
    one = Representation("by hand", base, (QuerySet("items", base, np.arange(N)),))
    by_hand = neighbour_table([one], [2], 10, 100)[0]
    assert find(rows, "neighbours", "nested:mine", "recall@10", 2).value == pytest.approx(by_hand.value)


def test_heads_that_do_not_fit(root: Path, tmp_path: Path) -> None:
    good = saved(rotation(fingerprint_of(root)), tmp_path / "a.safetensors")
    (tmp_path / "sub").mkdir()
    twice = saved(rotation(fingerprint_of(root)), tmp_path / "sub/a.safetensors")
    with pytest.raises(InvalidInput, match="two heads are called 'a'"):
        run(root, heads=[good, twice])
    with Collection.create(tmp_path / "d.nest", encoder="precomputed:other", dim=DIM):
        other = fingerprint_of(tmp_path / "d.nest")
    with pytest.raises(EncoderMismatch, match="precomputed:other"):
        run(root, heads=[saved(rotation(other), tmp_path / "b.safetensors")])
    with pytest.raises(HeadError):
        run(root, heads=[tmp_path / "none.safetensors"])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"dims": [8, 17]}, "from 1 to 16, found 17"),
        ({"dims": [0]}, "dims must be at least 1, found 0"),
        ({"dims": []}, "at least one prefix"),
        ({"k": 0}, "k must be at least 1"),
        ({"k": 20, "shortlist": 10}, "at least k = 20"),
        ({"queries": 0}, "queries must be at least 1"),
        ({"seed": -1}, "seed must be at least 0"),
        ({"labels": "colour"}, "no column 'colour'; it has caption, n, species"),
        ({"labels": "n"}, "different for every item"),
        ({"labels": "caption"}, "different for every item"),
        ({"representations": ["ica"]}, "found 'ica'"),
        ({"spaces": ["none"]}, "no space 'none'; it has main"),
        ({"topics": Path("t")}, "topics and qrels belong together"),
        ({"qrels": Path("t")}, "topics and qrels belong together"),
        ({"run_out": Path("t")}, "run files are written for topics"),
    ],
)
def test_what_is_refused(root: Path, options: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        run(root, **options)


def test_texts_need_a_text_tower(root: Path, tmp_path: Path) -> None:
    with pytest.raises(ModalityError):
        run(root, texts=TEXTS)
    (tmp_path / "t").write_text("1\ta tree\n")
    (tmp_path / "q").write_text("1 0 row1 1\n")
    with pytest.raises(ModalityError):
        run(root, topics=tmp_path / "t", qrels=tmp_path / "q")
    (tmp_path / "q").write_text("1 0 row0 1\n")
    with pytest.raises(InvalidInput, match=r"no judged document is in .*; found 'row0'"):  # it was removed
        run(root, topics=tmp_path / "t", qrels=tmp_path / "q")
    with pytest.raises(SourceError, match="cannot be read"):
        run(root, topics=tmp_path / "none", qrels=tmp_path / "q")


def test_labels_of_one_class_and_collections_of_one_item(tmp_path: Path) -> None:
    with Collection.create(tmp_path / "c.nest", encoder="precomputed", dim=4) as opened:
        opened.add_vectors(clustered(1, 4), captions=["a"])
        with pytest.raises(InvalidInput, match="has 1 items, and an evaluation needs at least two"):
            evaluate(opened)
        opened.add_vectors(clustered(9, 4, 1), captions=["a"] * 9)
        with pytest.raises(InvalidInput, match="two classes or more, found 1 in 10 items"):
            evaluate(opened, EvaluateOptions(labels="caption", k=2))


class Hears(Silent):
    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)


def test_too_few_tell_nothing_and_few_are_told_of(root: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="items: 3 to ask with, which tells nothing; at least 4 are wanted"):
        run(root, queries=3)
    with pytest.raises(InvalidInput, match="texts: 1 to ask with"):
        run(root, texts=["a tree"])
    with pytest.raises(InvalidInput, match="k = 159 of 159 others: every prefix finds them all"):
        run(root, k=159, shortlist=159)
    with Collection.create(tmp_path / "c.nest", encoder="precomputed", dim=4) as opened:
        opened.add_vectors(clustered(60, 4), meta=[{"kind": str(row % 2)} if row < 3 else {} for row in range(60)])
        with pytest.raises(InvalidInput, match="items with a label in 'kind': 3 to ask with"):
            evaluate(opened, EvaluateOptions(labels="kind"))
        heard = Hears()
        evaluate(opened, EvaluateOptions(queries=9, dims=[2]), heard)
        assert heard.said == [
            "only 9 items to ask with: a share may be off by ± 0.33 (95 % interval)",
            "a shortlist of 100 holds all 59 others: what is found in it tells nothing",
        ]
        heard = Hears()
        evaluate(opened, EvaluateOptions(dims=[2], shortlist=50), heard)
        assert heard.said == []


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six pictures; two share a caption and one has none."""
    folder = tmp_path_factory.mktemp("evaluated pictures") / "photos"
    for number, caption in enumerate(["a red ball", "a blue box", "a green hill", "a red ball", "the sea", ""]):
        draw(folder / f"p{number}.png", number)
        if caption:
            (folder / f"p{number}.txt").write_text(caption)
    index(folder.parent / "c.nest", folder, specs=["flat@32"])
    return folder.parent


@needs_bundled
def test_pictures_are_asked_for_by_their_captions(pictures: Path, tmp_path: Path) -> None:
    root = pictures / "c.nest"
    head = rotation(fingerprint_of(root), dims=(16,))
    path = saved(head, tmp_path / "turned.safetensors")
    rows = run(root, dims=[16, 384], heads=[path], k=2, shortlist=3)
    counts = {(row.table, row.queries): row.count for row in rows}
    assert counts == {
        ("neighbours", "items"): 6,
        ("neighbours", "texts"): 4,
        ("captions", "texts"): 4,
        ("captions", "items"): 5,
    }
    # A rotation changes nothing at full dimension, on either side.
    for row in [row for row in rows if row.representation == "nested:turned" and row.dim == 384]:
        (same,) = [
            other
            for other in rows
            if (other.table, other.queries, other.metric, other.dim, other.representation)
            == (row.table, row.queries, row.metric, 384, "truncation")
        ]
        assert row.value == pytest.approx(same.value)
    assert {row.queries for row in run(root, use_texts=False, k=2)} == {"items"}
    asked = run(root, texts=TEXTS, use_texts=False, dims=[384], k=2)
    assert {(row.queries, row.count) for row in asked} == {("items", 6), ("texts", 4)}
    with pytest.raises(InvalidInput, match="texts: expected a text that is not empty"):
        run(root, texts=[*TEXTS, " "], use_texts=False, k=2)


@needs_bundled
def test_one_caption_is_left_out(tmp_path: Path) -> None:
    for number in range(5):
        draw(tmp_path / f"photos/p{number}.png", number)
    (tmp_path / "photos/p0.txt").write_text("a red ball")
    index(tmp_path / "c.nest", tmp_path / "photos", specs=["flat@32"])
    heard = Hears()
    with Collection.open(tmp_path / "c.nest") as opened:
        found = evaluate(opened, EvaluateOptions(k=2, shortlist=3, dims=[384]), heard)
    assert {(row.table, row.queries) for row in found.rows} == {("neighbours", "items")}
    assert heard.said[-1].startswith("left out, different captions: 1 to ask with, which tells nothing")


@needs_bundled
def test_texts_go_through_the_heads_of_a_space(pictures: Path, tmp_path: Path) -> None:
    root = tmp_path / "c.nest"
    index(root, pictures / "photos")
    path = saved(two_towers(fingerprint_of(root), 32, dims=(8, 32)), tmp_path / "mine.safetensors")
    with Collection.open(root) as opened:
        opened.apply_head(path, use=True)
        rows = evaluate(opened, EvaluateOptions(heads=[path], k=2, shortlist=3, dims=[8, 32])).rows
    stored = [row for row in rows if row.representation == "nested:nested"]
    tried = [row for row in rows if row.representation == "nested:mine"]
    assert {row.queries for row in stored} == {"items", "texts"}
    assert [(r.table, r.queries, r.dim, r.metric) for r in stored] == [
        (r.table, r.queries, r.dim, r.metric) for r in tried
    ]
    # The collection stores vectors with 16 bits, and a head tried from a file gives 32.
    assert [row.value for row in stored] == pytest.approx([row.value for row in tried], abs=0.02)


@needs_bundled
@pytest.mark.parametrize("kind", ["uri", "path", "id"])
def test_judgements_name_items_by_path_or_id(pictures: Path, tmp_path: Path, kind: str) -> None:
    root = pictures / "c.nest"
    with Collection.open(root) as opened:
        answers = opened.search("the sea", k=6, exact=True)
        items = answers.items
        names = [{"uri": one.uri, "path": one.path, "id": str(one.id)}[kind] for one in items]
    (tmp_path / "t").write_text("7\tthe sea\n8\tnot judged\n")
    (tmp_path / "q").write_text(f"7 0 {names[1]} 2\n7 0 {names[4]} 1\n7 0 gone.png 1\n9 0 {names[0]} 1\n")
    out = {} if any(" " in name for name in names) else {"run_out": tmp_path / "runs"}
    rows = run(root, dims=[16, 384], k=2, topics=tmp_path / "t", qrels=tmp_path / "q", **out)
    found = {row.metric: row.value for row in rows if (row.table, row.representation) == ("trec", "full")}
    assert found["MRR@10"] == pytest.approx(1 / 2 / 2)  # of two judged queries one has no topic
    assert found["MAP"] == pytest.approx((1 / 2 + 2 / 5) / 3 / 2)
    if out:
        written = sorted(path.name for path in (tmp_path / "runs").iterdir())
        assert written[0] == "full-384.run" and len(written) == 7
        ranked = read_run(tmp_path / "runs/full-384.run")
        assert list(ranked) == ["7"]
        assert sorted(ranked["7"], key=lambda name: -ranked["7"][name]) == names
