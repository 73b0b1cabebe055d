"""`engine.train_head`, as a program calls it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import engine
from engine.api import Collection
from engine.progress import Silent
from indexers.errors import EncoderMismatch, HeadError
from tests.helpers import clustered, index, save

OPTIONS = engine.TrainOptions("rotation", (2, 4), steps=20, batch=64)


def test_train_apply_and_search_from_python(tmp_path: Path) -> None:
    index(tmp_path / "c.nest", save(tmp_path / "v.npy", clustered(400, 8)), dtype="float32")
    head = engine.train_head(str(tmp_path / "c.nest"), OPTIONS, output=str(tmp_path / "h.safetensors"))
    assert engine.load_head(tmp_path / "h.safetensors").digest == head.digest
    assert head.training["source"] == ["c.nest"]
    with Collection.open(tmp_path / "c.nest") as opened:
        opened.apply_head(tmp_path / "h.safetensors", use=True)
        before = Collection.open(tmp_path / "c.nest", space="main").search(clustered(3, 8, 1), exact=True)
        after = opened.search(head(clustered(3, 8, 1)), exact=True)
    for ours, theirs in zip(after, before, strict=True):
        np.testing.assert_allclose(ours.scores, theirs.scores, atol=1e-5)
    with pytest.raises(HeadError, match="exists already"):
        engine.train_head(tmp_path / "v.npy", OPTIONS, output=tmp_path / "h.safetensors")
    engine.train_head([tmp_path / "v.npy"], OPTIONS, output=tmp_path / "h.safetensors", overwrite=True)


def test_a_head_of_other_vectors_is_refused_by_a_collection(tmp_path: Path) -> None:
    index(tmp_path / "c.nest", save(tmp_path / "v.npy", clustered(400, 8)))
    named = engine.ExampleOptions(encoder="precomputed:other")
    engine.train_head(tmp_path / "v.npy", OPTIONS, named, output=tmp_path / "h.safetensors")
    with Collection.open(tmp_path / "c.nest") as opened:
        with pytest.raises(EncoderMismatch, match="precomputed:other"):
            opened.apply_head(tmp_path / "h.safetensors")
        assert opened.version == Collection.open(tmp_path / "c.nest").version


def test_without_an_output_nothing_is_written(tmp_path: Path) -> None:
    said: list[str] = []

    class Listening(Silent):
        def say(self, text: str) -> None:
            said.append(text)

    engine.train_head(save(tmp_path / "v.npy", clustered(100, 8)), OPTIONS, listener=Listening())
    assert [path.name for path in tmp_path.iterdir()] == ["v.npy"]
    assert said[0] == "100 rows of precomputed, on cpu"
    assert said[-1].startswith("step 20 of 20")
