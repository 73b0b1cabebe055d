"""The head that comes with the bundled encoder: `nested`."""

from __future__ import annotations

import csv
import hashlib
import json
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engine.api import Collection
from engine.encoders.base import Encoder
from engine.encoders.bundled.encoder import BundledEncoder
from engine.encoders.bundled.shipped import SHIPPED, ShippedHead, is_shipped, open_head
from engine.encoders.headed import HeadedEncoder, encoder_of_head
from engine.encoders.registry import list_encoders, load_encoder
from engine.heads.model import Head, load_head
from indexers.errors import EncoderMismatch, HeadError, WeightsMissing
from indexers.vectors import FloatArray, normalize
from tests.helpers import clustered, needs_bundled, nestvec
from tests.made_heads import linear

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "data" / "sample"
SPEC = "bundled+head:nested"
FULL, QUARTER = 384, 96


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return load_encoder(SPEC, device="cpu")


@pytest.fixture(scope="module")
def sample(encoder: Encoder) -> dict[str, FloatArray]:
    """Vectors of the whole sample, by file name without its ending."""
    with (SAMPLE / "captions.csv").open(encoding="utf-8") as file:
        names = [row["file"] for row in csv.DictReader(file)]
    vectors = encoder.encode_images(np.stack([encoder.prepare(Image.open(SAMPLE / name)) for name in names]))
    return {name.rsplit(".", 1)[0]: vector for name, vector in zip(names, vectors, strict=True)}


# --- the asset --------------------------------------------------------------------------------------------


def test_the_asset_is_pinned() -> None:
    pinned = SHIPPED["nested"]
    data = (files("engine.encoders") / "assets" / pinned.file).read_bytes()
    assert hashlib.sha256(data).hexdigest() == pinned.sha256
    assert len(data) < 4_000_000


def test_a_changed_or_missing_asset_is_refused() -> None:
    file = SHIPPED["nested"].file
    with pytest.raises(HeadError, match=f"expected SHA-256 {'0' * 64}, found {SHIPPED['nested'].sha256}"):
        ShippedHead(file, "0" * 64, "bundled").read()
    with pytest.raises(HeadError, match=r"python -m scripts\.bundled\.nested"):
        ShippedHead("none.safetensors", "0" * 64, "bundled").read()


def test_it_belongs_to_the_bundled_encoder() -> None:
    head = open_head("nested")
    assert encoder_of_head(head, name="nested") == BundledEncoder().fingerprint
    assert (head.dim_in, head.dim) == (FULL, FULL)
    assert QUARTER in head.dims


def test_its_card_names_data_licence_seed_and_figures() -> None:
    training = open_head("nested").training
    assert "Twemoji (CC-BY-4.0)" in training["trained_on"]
    assert training["licence"]
    assert training["options"]["seed"] == 0
    final = [title for title in training["held_out recall@1, 5, 10"] if title.startswith("final")]
    assert len(final) == 5


def test_held_out_it_is_better_than_the_plain_label_bridge() -> None:
    """Plain ConSE at full dimension, against the head at full dimension and at a quarter of it."""
    for title, rows in open_head("nested").training["held_out recall@1, 5, 10"].items():
        for dim in (FULL, QUARTER):
            # 22 photographs cannot tell 1.0 from 0.95: there the first place counts.
            k = 0 if title.endswith("photographs") else 2
            assert rows[f"nested @ {dim}"][k] >= rows[f"plain ConSE @ {FULL}"][k], (title, dim)


# --- by name ----------------------------------------------------------------------------------------------


def test_the_name_means_the_same_everywhere(encoder: Encoder) -> None:
    assert isinstance(encoder, HeadedEncoder)
    assert encoder.name == SPEC
    assert load_encoder(encoder.name, device="cpu").fingerprint == encoder.fingerprint
    assert is_shipped("nested")
    assert not is_shipped("nested.safetensors")
    with pytest.raises(WeightsMissing, match=r"nested\.safetensors"):
        load_encoder("bundled+head:nested.safetensors")


def test_it_is_the_very_file(encoder: Encoder) -> None:
    path = Path(str(files("engine.encoders") / "assets" / SHIPPED["nested"].file))
    assert load_head(path).digest == open_head("nested").digest
    assert load_encoder(f"bundled+head:{path}").fingerprint == encoder.fingerprint


def test_a_file_of_that_name_is_reached_by_its_path(tmp_path: Path) -> None:
    head: Head = linear(BundledEncoder().fingerprint, 8)
    head.save(tmp_path / "nested")
    assert open_head(tmp_path / "nested").digest == head.digest


def test_nestvec_encoders_lists_it() -> None:
    found = {one.spec: one for one in list_encoders()}
    assert found[SPEC].dim == FULL
    assert found[SPEC].available == found["bundled"].available


# --- what it does -----------------------------------------------------------------------------------------

# First four numbers of each of the vectors of `made` behind the head.
GOLDEN = {
    "items": (
        -0.102146, -0.039352, -0.047355, -0.037555,
        0.049926, -0.002349, -0.043227, -0.012088,
        0.060459, 0.016025, -0.010325, -0.00052,
    ),
    "queries": (
        -0.10156, -0.044052, -0.046264, -0.035922,
        0.04878, -0.000436, -0.035453, 0.003711,
        0.061438, 0.00888, 0.002759, -0.003703,
    ),
}  # fmt: skip


def made() -> FloatArray:
    """Three vectors that need no weights, unit float32 [3, 384]."""
    return normalize(np.sin(np.outer(np.arange(1, 4), np.arange(1, FULL + 1))).astype(np.float32))


@pytest.mark.parametrize("side", ["items", "queries"])
def test_golden_values(side: str) -> None:
    head = open_head("nested")
    vectors = head(made(), "items" if side == "items" else "queries")
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(vectors[:, :4].ravel(), GOLDEN[side], atol=2e-6)


def test_texts_are_only_turned() -> None:
    weight = open_head("nested").queries.weight
    assert weight is not None
    np.testing.assert_allclose(weight @ weight.T, np.eye(FULL), atol=1e-4)


@needs_bundled
@pytest.mark.parametrize("dim", [FULL, QUARTER])
@pytest.mark.parametrize(
    ("query", "picture"),
    [
        ("a red bicycle", "drawings/bicycle"),
        ("a cup of coffee", "photos/coffee"),
        ("a cat", "photos/cat"),
        ("an orange flower", "photos/dahlia"),
    ],
)
def test_sentences_find_pictures(
    encoder: Encoder, sample: dict[str, FloatArray], query: str, picture: str, dim: int
) -> None:
    vector = normalize(encoder.encode_texts([query])[:, :dim])[0]
    scores = {name: float(normalize(row[None, :dim])[0] @ vector) for name, row in sample.items()}
    assert picture in sorted(scores, key=lambda name: -scores[name])[:3]


@needs_bundled
def test_index_and_apply_head_by_name(tmp_path: Path) -> None:
    def said(*arguments: str | Path) -> str:
        done = nestvec(*arguments, cwd=tmp_path)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode()

    def answers(*arguments: str) -> list[str]:
        return [one["uri"] for one in json.loads(said("search", *arguments, "a cup of coffee", "--json"))["results"]]

    said("index", SAMPLE, "whole.nest", "--encoder", SPEC)
    said("index", SAMPLE, "base.nest", "--encoder", "bundled")
    said("apply-head", "base.nest", "nested")
    direct, derived = answers("whole.nest", "-k", "5"), answers("base.nest", "-k", "5", "--space", "nested")
    assert any(uri.endswith("coffee.jpg") for uri in direct[:3])
    assert direct[:3] == derived[:3]
    with Collection.open(tmp_path / "whole.nest") as opened:
        assert opened.snapshot.manifest.space().encoder == SPEC
    said("verify", "base.nest")


def test_it_is_refused_for_another_encoder(tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", clustered(30, FULL))
    done = nestvec("index", "v.npy", "c.nest", "--encoder", "precomputed", cwd=tmp_path)
    assert done.returncode == 0, done.stderr.decode()
    with Collection.open(tmp_path / "c.nest") as opened, pytest.raises(EncoderMismatch, match="head nested belongs to"):
        opened.apply_head("nested")
