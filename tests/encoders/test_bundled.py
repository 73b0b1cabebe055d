"""The bundled encoder against reference implementations, and on real pictures."""

from __future__ import annotations

import csv
import hashlib
import os
import subprocess
import sys
import threading
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engine.encoders.base import Encoder
from engine.encoders.bundled.bridge import SCALARS, asset_bytes, asset_hash, load_bridge, read_bridge
from engine.encoders.bundled.efficientnet_lite import EfficientNetLite0, same_padding
from engine.encoders.bundled.encoder import IMAGE_WEIGHTS, INSTALL, TEXT_WEIGHTS, TOKENIZER, BundledEncoder, PinnedFile
from engine.encoders.bundled.minilm import MAX_TOKENS, TOKENS_PER_BATCH, MiniLM, batches
from indexers.errors import EncoderError, InvalidInput, WeightsMissing
from indexers.vectors import FloatArray

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "data" / "sample"
needs_weights = pytest.mark.skipif(
    any(find_spec(pinned.package) is None for pinned in (IMAGE_WEIGHTS, TEXT_WEIGHTS)),
    reason=f"the weights of the bundled encoder are not installed: {INSTALL}",
)

# First eight dimensions of transformers 4.57.1's BertModel with mean pooling, for each sentence by itself.
GOLDEN_TEXTS = {
    "a red bicycle": (-0.004135, 0.059791, -0.087621, 0.05048, -0.055176, 0.023065, 0.097463, 0.030464),
    "A photograph of a tabby cat asleep on a wooden chair.": (
        0.096872, 0.01264, -0.0118, 0.043385, 0.015138, -0.000808, 0.024344, -0.030426,
    ),
    "Zwölf Boxkämpfer jagen Viktor quer über den Sylter Deich": (
        -0.044699, 0.100065, -0.009152, 0.000288, -0.056006, 0.001825, 0.015674, 0.024304,
    ),
    "": (-0.118838, 0.048299, -0.002548, -0.011011, 0.051952, 0.010292, 0.115433, 0.000701),
    # Far longer than the 256 tokens the model takes: cut, not refused.
    "word " * 600: (-0.008124, -0.095586, -0.038673, 0.049662, -0.043794, 0.023719, -0.018142, -0.020207),
}  # fmt: skip

# Logits of efficientnet-lite-pytorch 0.1.0 on the same weights, for `pattern` below: class → logit.
GOLDEN_LOGITS = {
    0: -0.26247, 111: 3.83314, 222: -0.4842, 333: -0.9331, 444: 0.11904, 555: -1.56794, 666: 1.98849, 885: 5.58971,
}  # fmt: skip


@pytest.fixture(scope="module")
def encoder() -> BundledEncoder:
    return BundledEncoder()


@pytest.fixture(scope="module")
def sample(encoder: BundledEncoder) -> dict[str, FloatArray]:
    """Vectors of the whole sample, by file name without its ending: "photos/cat" and so on."""
    with (SAMPLE / "captions.csv").open(encoding="utf-8") as file:
        files = [row["file"] for row in csv.DictReader(file)]
    batch = np.stack([encoder.prepare(Image.open(SAMPLE / file)) for file in files])
    vectors = encoder.encode_images(batch)
    return {file.rsplit(".", 1)[0]: vector for file, vector in zip(files, vectors, strict=True)}


def prepared(encoder: BundledEncoder, *names: str) -> FloatArray:
    return np.stack([encoder.prepare(Image.open(SAMPLE / "photos" / f"{name}.jpg")) for name in names])


def best(query: FloatArray, sample: dict[str, FloatArray], count: int) -> list[str]:
    return sorted(sample, key=lambda name: -float(sample[name] @ query))[:count]


def test_is_an_encoder(encoder: BundledEncoder) -> None:
    assert isinstance(encoder, Encoder)
    assert (encoder.name, encoder.dim, encoder.image_size, encoder.device) == ("bundled", 384, 224, "cpu")
    assert encoder.modalities == {"image", "text"}
    assert encoder.trained_dims == ()


# --- text -------------------------------------------------------------------------------------------------


@needs_weights
def test_sentences_equal_the_reference(encoder: BundledEncoder) -> None:
    vectors = encoder.encode_texts(list(GOLDEN_TEXTS))
    assert vectors.shape == (5, 384)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors[:, :8], list(GOLDEN_TEXTS.values()), atol=2e-6)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


@needs_weights
def test_sentences_do_not_depend_on_their_batch(encoder: BundledEncoder) -> None:
    texts = list(GOLDEN_TEXTS)
    alone = np.concatenate([encoder.encode_texts([text]) for text in texts])
    np.testing.assert_allclose(encoder.encode_texts(texts * 3), np.tile(alone, (3, 1)), atol=1e-5)


@needs_weights
def test_words_beyond_the_last_token_change_nothing(encoder: BundledEncoder) -> None:
    head = "word " * (MAX_TOKENS - 2)  # with the two tokens that mark begin and end
    whole, more, less = encoder.encode_texts([head, head + "bicycle", head[:-10] + " bicycle"])
    np.testing.assert_allclose(whole, more, atol=1e-6)
    assert np.abs(whole - less).max() > 1e-4


def test_batches_hold_every_row_once_and_stay_small() -> None:
    lengths = [3, 200, 7, 256, 1, 90] * 40
    found = list(batches(lengths))
    assert sorted(row for batch in found for row in batch) == list(range(len(lengths)))
    assert all(len(batch) * max(lengths[row] for row in batch) <= TOKENS_PER_BATCH for batch in found)
    assert list(batches([])) == []


def test_one_string_is_not_a_list_of_letters(encoder: BundledEncoder) -> None:
    with pytest.raises(InvalidInput, match=r"pass \[text\]"):
        encoder.encode_texts("a cat")


# --- pictures ---------------------------------------------------------------------------------------------


@needs_weights
def test_the_picture_tower_equals_the_reference(encoder: BundledEncoder) -> None:
    _, logits = encoder.features(pattern())
    assert logits.shape == (1, 1000)
    np.testing.assert_allclose(logits[0, list(GOLDEN_LOGITS)], list(GOLDEN_LOGITS.values()), atol=1e-4)
    assert logits[0].argmax() == 885


def pattern() -> FloatArray:
    """A smooth picture, float32 [1, 3, 224, 224], that needs no file."""
    y, x = np.mgrid[0:224, 0:224].astype(np.float32) / 224
    waves = [np.sin(7 * x + 3 * y), np.cos(11 * x * y), np.sin(23 * x) * np.cos(5 * y)]
    return np.stack(waves)[None].astype(np.float32)


@needs_weights
@pytest.mark.parametrize(
    ("photo", "classes"),
    [("cat", {281, 282, 285}), ("coffee", {967, 504, 968}), ("dahlia", {985, 738, 309}), ("rocket", {540, 657})],
)
def test_the_classifier_knows_photographs(encoder: BundledEncoder, photo: str, classes: set[int]) -> None:
    _, logits = encoder.features(prepared(encoder, photo))
    assert int(logits[0].argmax()) in classes


@needs_weights
def test_pictures_do_not_depend_on_their_batch(encoder: BundledEncoder) -> None:
    batch = prepared(encoder, "cat", "coffee", "rocket", "pagoda", "raccoon", "grass", "coins", "retina", "admiral")
    alone = np.concatenate([encoder.encode_images(batch[i : i + 1]) for i in range(len(batch))])
    together = encoder.encode_images(batch)
    assert together.dtype == np.float32
    np.testing.assert_allclose(together, alone, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-6)


def test_padding_is_tensorflows() -> None:
    assert same_padding(224, 3, 2) == (0, 1)
    assert same_padding(112, 5, 2) == (1, 2)
    assert same_padding(7, 5, 2) == (2, 2)
    assert same_padding(56, 5, 1) == (2, 2)
    assert same_padding(56, 1, 1) == (0, 0)


def test_prepare_scales_and_lays_transparency_on_white(encoder: BundledEncoder) -> None:
    clear = encoder.prepare(Image.new("RGBA", (50, 20), (255, 0, 0, 0)))
    assert clear.shape == (3, 224, 224)
    assert clear.dtype == np.float32
    np.testing.assert_allclose(clear, 1.0)
    grey = encoder.prepare(Image.new("L", (8, 300), 127))
    np.testing.assert_allclose(grey, 0.0)
    red = encoder.prepare(Image.new("RGB", (300, 300), (255, 0, 127)))
    np.testing.assert_allclose(red[:, 0, 0], [1.0, -127 / 128, 0.0], atol=1e-6)


def test_empty_in_empty_out(encoder: BundledEncoder) -> None:
    assert encoder.encode_texts([]).shape == (0, 384)
    assert encoder.encode_images(np.empty((0, 3, 224, 224), dtype=np.float32)).shape == (0, 384)


@pytest.mark.parametrize("shape", [(3, 224, 224), (1, 3, 256, 256), (1, 1, 224, 224), (0,)])
def test_other_shapes_are_refused(encoder: BundledEncoder, shape: tuple[int, ...]) -> None:
    with pytest.raises(InvalidInput, match=r"\[n, 3, 224, 224\]"):
        encoder.encode_images(np.zeros(shape, dtype=np.float32))


# --- both -------------------------------------------------------------------------------------------------


@needs_weights
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
    encoder: BundledEncoder, sample: dict[str, FloatArray], query: str, picture: str
) -> None:
    assert picture in best(encoder.encode_texts([query])[0], sample, 3)


@needs_weights
def test_a_crop_finds_its_photograph(encoder: BundledEncoder, sample: dict[str, FloatArray]) -> None:
    for name in ("cat", "coffee", "raccoon", "pagoda", "dahlia"):
        photo = Image.open(SAMPLE / "photos" / f"{name}.jpg")
        width, height = photo.size
        crop = photo.crop((width // 12, height // 12, width * 11 // 12, height * 11 // 12)).convert("L")
        vector = encoder.encode_images(encoder.prepare(crop)[None])[0]
        assert f"photos/{name}" in best(vector, sample, 3), name


@needs_weights
def test_threads_share_one_load() -> None:
    encoder = BundledEncoder()
    batch, answers = np.zeros((1, 3, 224, 224), dtype=np.float32), []

    def work() -> None:
        answers.append((encoder.encode_texts(["a cat"]), encoder.encode_images(batch)))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 4
    for texts, images in answers[1:]:
        np.testing.assert_allclose(texts, answers[0][0], atol=1e-6)
        np.testing.assert_allclose(images, answers[0][1], atol=1e-6)


def test_the_fingerprint_needs_no_torch() -> None:
    code = (
        "import sys; from engine.encoders.bundled.encoder import BundledEncoder as B; "
        "print(B().fingerprint.digest, 'torch' in sys.modules)"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env)
    assert run.stdout.split() == [BundledEncoder().fingerprint.digest, "False"]


def test_the_fingerprint_covers_all_four_files() -> None:
    parts = (IMAGE_WEIGHTS.sha256, TEXT_WEIGHTS.sha256, TOKENIZER.sha256, hashlib.sha256(asset_bytes()).hexdigest())
    expected = f"sha256:{hashlib.sha256(' '.join(parts).encode()).hexdigest()}"
    assert BundledEncoder().fingerprint.weights == expected
    assert asset_hash() == parts[-1]


# --- files ------------------------------------------------------------------------------------------------


def test_a_missing_package_says_what_to_install() -> None:
    with pytest.raises(WeightsMissing) as caught:
        PinnedFile("no_such_package_of_weights", "model/x.bin", "0" * 64).read()
    message = str(caught.value)
    assert "model/x.bin" in message
    assert "no_such_package_of_weights" in message
    assert INSTALL in message


def test_a_missing_file_says_where_it_was_looked_for() -> None:
    with pytest.raises(WeightsMissing, match=r"looked in: .*engine.encoders"):
        PinnedFile("engine.encoders", "assets/none.bin", "0" * 64).read()


def test_a_changed_file_is_refused() -> None:
    with pytest.raises(EncoderError, match=f"expected SHA-256 {'0' * 64}, found {asset_hash()}"):
        PinnedFile("engine.encoders", "assets/bundled_bridge.safetensors", "0" * 64).read()


def test_bytes_that_are_no_weights_are_refused() -> None:
    with pytest.raises(EncoderError, match="EfficientNet-Lite0"):
        EfficientNetLite0(b"not a checkpoint", "cpu")
    with pytest.raises(EncoderError, match="MiniLM"):
        MiniLM(b"not safetensors", b"{}", "cpu")
    with pytest.raises(EncoderError, match="safetensors"):
        read_bridge(b"not safetensors")


def test_a_bridge_of_other_shapes_is_refused() -> None:
    from safetensors.numpy import save

    with pytest.raises(EncoderError, match="'labels': \\(2, 3\\)"):
        read_bridge(save({"labels": np.zeros((2, 3), dtype=np.float32)}))


def test_the_shipped_bridge() -> None:
    bridge = load_bridge()
    assert len(asset_bytes()) < 4_000_000
    np.testing.assert_allclose(np.linalg.norm(bridge.labels, axis=1), 1, atol=2e-3)
    np.testing.assert_allclose(bridge.axes.T @ bridge.axes, np.eye(bridge.axes.shape[1]), atol=5e-3)
    assert len(SCALARS) == 6
    assert 0 < bridge.drawing_weight < bridge.photo_weight <= 1


@needs_weights
def test_photographs_lean_on_the_label_space_and_drawings_do_not(encoder: BundledEncoder) -> None:
    bridge = load_bridge()
    drawings = [encoder.prepare(Image.open(SAMPLE / "drawings" / f"{n}.png")) for n in ("taxi", "lion", "guitar")]
    features, _ = encoder.features(np.stack([*prepared(encoder, "raccoon", "pagoda", "coffee"), *drawings]))
    weights = bridge.label_weight(np.sqrt(features) - bridge.feature_mean)
    assert weights[:3].min() > weights[3:].max() + 0.2
