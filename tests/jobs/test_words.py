"""Which words are known, and what they count beside vectors."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import engine
from engine.collection.reading import from_json
from engine.jobs.blend import WEIGHTS, blend_of
from indexers.errors import CollectionError, InvalidInput
from tests.helpers import clustered, index, nestvec, newest

TITLES = ["riding bicycles", "a bicycle race", "boats", None]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "c.nest"
    with engine.Collection.create(root, encoder="precomputed", dim=8) as made:
        meta = [{"title": title, "kind": "wheel", "size": 3} if title else {"size": 1} for title in TITLES]
        made.add_vectors(
            clustered(4, 8), names=["a", "b", "c", "d"], captions=["sea", "sea", "wood", "wood"], meta=meta
        )
    return root


def test_the_usual_columns_are_known(root: Path) -> None:
    with engine.Collection.open(root) as opened:
        assert opened.search(words="bicycle").ids.tolist() == [1]
        assert not len(opened.search(words="wheel"))


def test_columns_are_named_and_remembered(root: Path) -> None:
    with engine.Collection.open(root) as opened:
        opened.index_words(["kind", "caption", "kind"])
        assert newest(root).words.columns == ("kind", "caption")
        assert sorted(opened.search(words="wheel").ids.tolist()) == [0, 1, 2]
        assert not len(opened.search(words="bicycle"))
        opened.add_vectors(clustered(1, 8), names=["e"], meta=[{"kind": "wheel"}])
        assert len(opened.search(words="wheel")) == 4
        opened.build(["flat@4"])
        words = newest(root).words
        assert words.columns == ("kind", "caption")
        assert words.covering is not None
        assert words.covering.file.rows == 5
        assert len(opened.search(words="wheel")) == 4
        opened.index_words()
        assert len(opened.search(words="bicycle")) == 1


def test_stems_count_where_they_are_wanted(root: Path) -> None:
    with engine.Collection.open(root) as opened:
        opened.index_words(stem="english")
        assert sorted(opened.search(words="bicycles ride").ids.tolist()) == [0, 1]
        for begins in ("bicycl*", "bicycle*", "bicycles*"):
            assert sorted(opened.search(words=begins).ids.tolist()) == [0, 1]
        assert opened.search(words='"riding bicycle*"').ids.tolist() == [0]
        assert opened.search(words='"bicycle races"').ids.tolist() == [1]


def test_what_holds_no_texts_is_refused(root: Path) -> None:
    with engine.Collection.open(root) as opened:
        for wrong, told in (
            (["titel"], "did you mean 'title'"),
            (["size"], "no column of texts 'size'"),
            ([], "expected at least one"),
        ):
            with pytest.raises(InvalidInput, match=told):
                opened.index_words(wrong)
        with pytest.raises(InvalidInput, match="no stems of 'klingon'"):
            opened.index_words(stem="klingon")
        assert newest(root).operation != "words"


def test_an_empty_collection_remembers_it(tmp_path: Path) -> None:
    with engine.Collection.create(tmp_path / "c.nest", encoder="precomputed", dim=8) as made:
        made.index_words(stem="english")
        made.add_vectors(clustered(1, 8), names=["a"], captions=["boats"])
        assert len(made.search(words="boat")) == 1


# -- what they count -------------------------------------------------------------------------------


def test_the_weight_is_the_best_and_its_interval_has_it() -> None:
    rng = np.random.default_rng(0)
    best = np.clip(rng.normal(0.3, 0.1, 200), 0, 1)
    values = 1 - np.abs(WEIGHTS[None, :] - best[:, None])
    found = blend_of(values)
    assert found.weight == pytest.approx(WEIGHTS[values.mean(axis=0).argmax()])
    assert found.low <= found.weight <= found.high
    assert found.high - found.low < 0.2
    assert found.topics == 200
    assert found.ndcg["both"] == pytest.approx(values.mean(axis=0).max(), abs=0.01)
    assert blend_of(values[:1]).topics == 1


NAMES = ["bicycle", "bus", "anchor", "camera", "candle", "bread", "bell", "bat", "balloon", "banana"]
DRAWINGS = Path(__file__).parents[2] / "data/sample/drawings"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    (tmp_path / "P").mkdir()
    for name in NAMES:
        shutil.copy(DRAWINGS / f"{name}.png", tmp_path / "P")
    index(tmp_path / "photos.nest", tmp_path / "P", encoder="bundled")
    return tmp_path / "photos.nest"


@pytest.fixture
def judged(tmp_path: Path) -> tuple[Path, Path]:
    topics, qrels = tmp_path / "topics.tsv", tmp_path / "qrels.txt"
    topics.write_text("".join(f"{at}\ta picture of a {name}\n" for at, name in enumerate(NAMES)))
    qrels.write_text("".join(f"{at} 0 {name}.png 1\n" for at, name in enumerate(NAMES)))
    return topics, qrels


def test_the_weight_is_found_stored_and_used(photos: Path, judged: tuple[Path, Path]) -> None:
    done = nestvec("words", photos, "--topics", judged[0], "--qrels", judged[1], "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    with engine.Collection.open(photos) as opened:
        blend = opened.space.blend
        assert blend is not None
        assert said["weight"] == blend.weight
        assert blend.topics == len(NAMES)
        mine = opened.search("a bicycle", words=True, k=5)
        same = opened.search("a bicycle", words=True, blend=blend.weight, k=5)
        assert np.array_equal(mine.ids, same.ids)
        assert blend.ndcg["both"] >= blend.ndcg["vectors"] - 0.2
    assert nestvec("words", photos, "--topics", judged[0]).returncode == 2


@pytest.mark.parametrize("weight", [0.3, 2.0, -1.0])
def test_a_weight_that_is_none_makes_the_version_unreadable(root: Path, weight: float) -> None:
    manifest, blend = newest(root), engine.Blend(weight, 0.0, 1.0, 3, {"both": 0.5})
    entry = replace(manifest.space(), blend=blend)
    text = replace(manifest, spaces={"main": entry}).to_json()
    if weight == 0.3:
        assert from_json(text, name="v").space().blend == blend
    else:
        with pytest.raises(CollectionError, match="is no share"):
            from_json(text, name="v")
