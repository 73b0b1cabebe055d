"""Canaries notice when the same weights give other vectors; prompts stand in for captions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from blake3 import blake3
from numpy.typing import NDArray

from engine.api import Collection
from engine.collection.verify import verify
from engine.encoders.base import Fingerprint
from engine.encoders.precomputed import PrecomputedEncoder
from engine.jobs.canaries import check_canaries, gradient, write_canaries
from engine.jobs.create import create
from engine.planning.prompts import SAMPLE, text_sample
from indexers.errors import CorruptCollection, EncoderMismatch
from indexers.vectors import FloatArray
from tests.helpers import clustered, flip_bit


class Bytes:
    """An encoder that needs no weights: letters counted, colours averaged. `drift` is a library upgrade."""

    name = "bytes"
    dim = 32
    modalities = frozenset({"image", "text"})
    trained_dims = ()
    device = "cpu"
    image_size = 4
    fingerprint = Fingerprint("bytes", "none", "none", 32)

    def __init__(self, drift: float = 0.0) -> None:
        self.drift = drift
        self.asked: list[str] = []

    def _unit(self, rows: NDArray[Any]) -> FloatArray:
        rows = rows.astype(np.float32) + self.drift * np.arange(self.dim, dtype=np.float32)
        unit: FloatArray = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        return unit

    def prepare(self, picture: Any) -> NDArray[np.float32]:
        return np.asarray(picture.resize((4, 4)), dtype=np.float32).transpose(2, 0, 1)

    def encode_images(self, batch: NDArray[np.float32]) -> FloatArray:
        return self._unit(batch.reshape(len(batch), -1)[:, : self.dim])

    def encode_texts(self, texts: Sequence[str]) -> FloatArray:
        self.asked += texts
        return self._unit(np.array([list(blake3(text.encode()).digest()) for text in texts]) / 1.0)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    create(tmp_path / "c.nest", Bytes())
    return tmp_path / "c.nest"


def test_the_canary_picture_is_the_same_everywhere() -> None:
    pixels = np.asarray(gradient())
    assert pixels.shape == (256, 256, 3)
    assert blake3(pixels.tobytes()).hexdigest()[:16] == "f517ae44704d19f0"


def test_the_same_encoder_passes_and_another_does_not(root: Path) -> None:
    with Collection(root, encoder=Bytes()) as opened:
        ref = opened.space.canaries
        assert ref is not None
        check_canaries(root, ref, Bytes())
        check_canaries(root, ref, Bytes(drift=1e-4))
        with pytest.raises(EncoderMismatch, match=r"the (image|text) canary has cosine 0\.[0-9]+"):
            check_canaries(root, ref, Bytes(drift=20))
    assert list(verify(root)) == []


def test_damaged_canaries_are_no_mismatch(root: Path) -> None:
    with Collection(root, encoder=Bytes()) as opened:
        ref = opened.space.canaries
    assert ref is not None
    flip_bit(root / ref.path, -20)
    with pytest.raises(CorruptCollection, match="hash does not match"):
        check_canaries(root, ref, Bytes())
    (problem,) = verify(root)
    assert (problem.path, problem.derived) == (ref.path, False)


def test_an_encoder_that_takes_nothing_has_none(tmp_path: Path) -> None:
    precomputed = PrecomputedEncoder(name="", dim=4)
    assert write_canaries(tmp_path, "main", precomputed) is None
    check_canaries(tmp_path, None, precomputed)


def test_texts_are_captions_filled_up_with_prompts(root: Path) -> None:
    encoder = Bytes()
    with Collection(root, encoder=encoder) as opened:
        assert len(set(encoder.asked)) == 0
        opened.add_vectors(clustered(5, 32), captions=["a", "b", "a", None, ""])
        assert len(encoder.asked) == SAMPLE  # once, for the indexes that were built
        assert set(opened.space.plans[0].recall) == {"items", "texts"}
        sample = text_sample(encoder, opened.snapshot)
        assert sample is not None
        assert sample.shape == (SAMPLE, 32)
    assert encoder.asked[:SAMPLE] == encoder.asked[SAMPLE:]
    assert {"a", "b"} <= set(encoder.asked)
    assert len(set(encoder.asked)) == SAMPLE


def test_captions_of_removed_items_are_not_asked_again(root: Path) -> None:
    encoder = Bytes()
    with Collection(root, encoder=encoder) as opened:
        opened.add_vectors(clustered(3, 32), names=["0", "1", "2"], captions=["a", "a secret", "shared"])
        opened.add_vectors(clustered(2, 32, 1), names=["3", "4"], captions=["another secret", "shared"])
        opened.remove(["1", "2", "3"])
        encoder.asked.clear()
        opened.compact()
    assert {"a", "shared"} <= set(encoder.asked)
    assert {"a secret", "another secret"}.isdisjoint(encoder.asked)


def test_compacting_measures_the_plan_with_texts_again(root: Path) -> None:
    with Collection(root, encoder=Bytes()) as opened:
        opened.add_vectors(clustered(50, 32))
        opened.remove(ids=[0])
        opened.compact()
        assert set(opened.space.plans[0].recall) == {"items", "texts"}


def test_an_encoder_without_texts_has_no_sample(tmp_path: Path) -> None:
    with Collection.create(tmp_path / "c.nest", encoder="precomputed", dim=4) as opened:
        assert text_sample(opened.encoder, opened.snapshot) is None
