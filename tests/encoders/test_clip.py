"""ClipEncoder against open_clip itself, on a small model that is made here."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from open_clip.model import CLIP, CustomTextCLIP
from PIL import Image
from safetensors.torch import save_file

from engine.encoders.base import Encoder
from engine.encoders.clip.encoder import ClipEncoder, list_pretrained
from engine.encoders.clip.loading import ClipSpec, parse_spec
from engine.encoders.device import set_torch_threads, torch_threads
from engine.encoders.registry import load_encoder
from indexers.errors import (
    DependencyMissing,
    EncoderError,
    InvalidInput,
    InvalidSpec,
    InvalidVectors,
    WeightsMissing,
)

PHOTOS = sorted((Path(__file__).parents[2] / "data" / "sample" / "photos").glob("*"))[:12]
TEXTS = ["a photo of a dog", "two boats on a lake", "Ein Fahrrad — vor dem Haus!", "", "word " * 200]
MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)
MODEL: dict[str, Any] = {
    "embed_dim": 32,
    "vision_cfg": {"image_size": 64, "layers": 2, "width": 64, "patch_size": 16, "head_width": 16},
    "text_cfg": {"context_length": 40, "vocab_size": 49408, "width": 64, "heads": 4, "layers": 2},
}


@pytest.fixture(autouse=True, scope="module")
def one_torch_thread() -> Iterator[None]:
    """On a busy machine OpenMP's barriers make two threads several times slower than one."""
    with torch_threads():
        set_torch_threads(1)
        yield


def photos() -> Iterator[Image.Image]:
    for path in PHOTOS:
        with Image.open(path) as image:
            yield image.convert("RGB")


@pytest.fixture(scope="module")
def reference() -> CLIP:
    torch.manual_seed(5)
    return CLIP(**MODEL).eval()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, reference: CLIP) -> Path:
    """Weights in every container we accept, and configurations bare and wrapped."""
    at = tmp_path_factory.mktemp("clip")
    state = reference.state_dict()
    save_file(state, at / "w.safetensors")
    torch.save(state, at / "w.pt")
    parallel = {f"module.{name}": tensor for name, tensor in state.items()}
    torch.save({"epoch": 3, "state_dict": parallel, "optimizer": {"lr": 0.1}}, at / "training.bin")
    (at / "bare.json").write_text(json.dumps(MODEL))
    wrapped = {
        "model_cfg": MODEL,
        "preprocess_cfg": {"mean": MEAN, "std": STD, "interpolation": "bilinear", "resize_mode": "squash"},
        "trained_dims": [8, 16, 32],
    }
    (at / "wrapped.json").write_text(json.dumps(wrapped))
    return at


@pytest.fixture(scope="module")
def encoder(folder: Path) -> ClipEncoder:
    return ClipEncoder(f"{folder}/bare.json:{folder}/w.safetensors", device="cpu")


def images(encoder: Encoder) -> np.ndarray:
    return encoder.encode_images(np.stack([encoder.prepare(photo) for photo in photos()]))


def unit(x: torch.Tensor) -> np.ndarray:
    return torch.nn.functional.normalize(x, dim=-1).numpy()


@pytest.mark.parametrize("weights", ["w.safetensors", "w.pt", "training.bin"])
def test_pictures_as_open_clip_encodes_them(folder: Path, reference: CLIP, weights: str) -> None:
    ours = images(load_encoder(f"clip:{folder}/bare.json:{folder}/{weights}", device="cpu"))
    transform = open_clip.image_transform(64, is_train=False)
    with torch.inference_mode():
        theirs = unit(reference.encode_image(torch.stack([transform(photo) for photo in photos()])))
    assert ours.dtype == np.float32
    assert ours.shape == (len(PHOTOS), 32)
    np.testing.assert_allclose(ours, theirs, atol=1e-5, rtol=0)
    # The comparison would notice two pictures changing places.
    assert np.abs(ours - np.roll(theirs, 1, axis=0)).max() > 1e-3


def test_preprocessing_comes_from_the_configuration(folder: Path, reference: CLIP) -> None:
    encoder = ClipEncoder(f"{folder}/wrapped.json:{folder}/w.safetensors")
    transform = open_clip.image_transform(
        64, is_train=False, mean=MEAN, std=STD, interpolation="bilinear", resize_mode="squash"
    )
    for photo in photos():
        prepared = encoder.prepare(photo)
        assert prepared.dtype == np.float32
        np.testing.assert_array_equal(prepared, transform(photo).numpy())
    with torch.inference_mode():
        theirs = unit(reference.encode_image(torch.stack([transform(photo) for photo in photos()])))
    np.testing.assert_allclose(images(encoder), theirs, atol=1e-5, rtol=0)
    assert "squash" in encoder.fingerprint.preprocess
    assert "0.5 0.4 0.3" in encoder.fingerprint.preprocess


def test_texts_as_open_clip_encodes_them(encoder: ClipEncoder, reference: CLIP) -> None:
    tokens = open_clip.SimpleTokenizer(context_length=40)(TEXTS)
    with torch.inference_mode():
        theirs = unit(reference.encode_text(tokens))
    ours = encoder.encode_texts(TEXTS)
    np.testing.assert_allclose(ours, theirs, atol=1e-5, rtol=0)
    np.testing.assert_allclose(np.linalg.norm(ours, axis=1), 1.0, atol=1e-6)


def test_texts_longer_than_one_batch(encoder: ClipEncoder) -> None:
    many = [f"picture number {i}" for i in range(300)]
    whole = encoder.encode_texts(many)
    np.testing.assert_allclose(whole[299], encoder.encode_texts([many[299]])[0], atol=1e-6)
    assert whole.shape == (300, 32)


def test_results_do_not_depend_on_the_batch(encoder: ClipEncoder) -> None:
    batch = np.stack([encoder.prepare(photo) for photo in photos()])
    whole = encoder.encode_images(batch)
    alone = np.concatenate([encoder.encode_images(row[None]) for row in batch])
    np.testing.assert_allclose(whole, alone, atol=2e-6, rtol=0)
    np.testing.assert_allclose(encoder.encode_images(batch[::-1]), whole[::-1], atol=2e-6, rtol=0)


def test_empty_batches(encoder: ClipEncoder) -> None:
    assert encoder.encode_images(np.empty((0, 3, 64, 64), np.float32)).shape == (0, 32)
    assert encoder.encode_texts([]).shape == (0, 32)


def test_it_says_what_it_is(folder: Path, encoder: ClipEncoder) -> None:
    assert isinstance(encoder, Encoder)
    assert encoder.name == f"clip:{folder}/bare.json:{folder}/w.safetensors"
    assert (encoder.dim, encoder.image_size, encoder.device) == (32, 64, "cpu")
    assert encoder.modalities == {"image", "text"}
    assert encoder.trained_dims == ()
    assert ClipEncoder(f"{folder}/wrapped.json:{folder}/w.pt").trained_dims == (8, 16, 32)


def test_the_fingerprint_follows_the_weights_and_not_the_file(folder: Path, encoder: ClipEncoder) -> None:
    moved = folder / "elsewhere"
    moved.mkdir()
    (moved / "renamed.json").write_text(json.dumps(MODEL, indent=3, sort_keys=True))
    (moved / "other.pt").write_bytes((folder / "w.pt").read_bytes())
    again = ClipEncoder(f"{moved}/renamed.json:{moved}/other.pt")
    assert again.fingerprint == encoder.fingerprint
    assert str(folder) not in json.dumps(again.fingerprint.to_json())
    state = torch.load(folder / "w.pt", weights_only=True)
    state["visual.proj"][0, 0] += 1e-3
    torch.save(state, moved / "tuned.pt")
    assert ClipEncoder(f"{moved}/renamed.json:{moved}/tuned.pt").fingerprint != encoder.fingerprint


def test_a_named_architecture_with_a_file_of_your_own(tmp_path: Path) -> None:
    config = open_clip.get_model_config("ViT-S-32-alt")
    torch.manual_seed(0)
    config.pop("custom_text", None)
    model = CLIP(**config).eval()
    save_file(model.state_dict(), tmp_path / "s.safetensors")
    encoder = load_encoder(f"clip:ViT-S-32-alt/{tmp_path}/s.safetensors", device="cpu")
    assert encoder.fingerprint.model == "clip:ViT-S-32-alt"
    transform = open_clip.image_transform(224, is_train=False)
    photo = next(photos())
    with torch.inference_mode():
        theirs = unit(model.encode_image(transform(photo)[None]))
        texts = unit(model.encode_text(open_clip.get_tokenizer("ViT-S-32-alt")(["a dog"])))
    np.testing.assert_allclose(encoder.encode_images(encoder.prepare(photo)[None]), theirs, atol=1e-5)
    np.testing.assert_allclose(encoder.encode_texts(["a dog"]), texts, atol=1e-5)


def test_a_separate_text_tower_and_oblong_input(tmp_path: Path) -> None:
    model = {**MODEL, "custom_text": True, "vision_cfg": {**MODEL["vision_cfg"], "image_size": [64, 96]}}
    torch.manual_seed(1)
    reference = CustomTextCLIP(**{k: v for k, v in model.items() if k != "custom_text"}).eval()
    save_file(reference.state_dict(), tmp_path / "w.safetensors")
    (tmp_path / "m.json").write_text(json.dumps(model))
    encoder = ClipEncoder(f"{tmp_path}/m.json:{tmp_path}/w.safetensors")
    batch = np.stack([encoder.prepare(photo) for photo in photos()])
    assert batch.shape[1:] == (3, 64, 96)
    assert encoder.image_size == 96
    with torch.inference_mode():
        theirs = unit(reference.encode_image(torch.from_numpy(batch)))
    np.testing.assert_allclose(encoder.encode_images(batch), theirs, atol=1e-5)


def test_loading_leaves_torchs_random_numbers_alone(folder: Path) -> None:
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    assert ClipEncoder(f"{folder}/bare.json:{folder}/w.safetensors").fingerprint.dim == 32
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_broken_weights_are_refused(folder: Path, tmp_path: Path, value: float) -> None:
    state = torch.load(folder / "w.pt", weights_only=True)
    state["ln_final.weight"][3] = value
    save_file(state, tmp_path / "bad.safetensors")
    encoder = ClipEncoder(f"{folder}/bare.json:{tmp_path}/bad.safetensors")
    with pytest.raises(EncoderError, match=r"ln_final\.weight has NaN"):
        encoder.encode_texts(["a"])


class Bomb:
    """Runs code when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.target,))


@pytest.mark.parametrize("form", ["torch", "plain"])
def test_a_checkpoint_runs_no_code(folder: Path, tmp_path: Path, form: str) -> None:
    target = tmp_path / "it-ran"
    if form == "torch":
        torch.save({"state_dict": Bomb(target)}, tmp_path / "bomb.pt")
    else:
        (tmp_path / "bomb.pt").write_bytes(pickle.dumps({"state_dict": Bomb(target)}, protocol=2))
    encoder = ClipEncoder(f"{folder}/bare.json:{tmp_path}/bomb.pt")
    with pytest.raises(EncoderError, match="It was not run"):
        encoder.encode_texts(["a"])
    assert not target.exists()


@pytest.mark.parametrize("name", ["half.safetensors", "half.pt", "text.pt", "empty.safetensors"])
def test_damaged_files(folder: Path, tmp_path: Path, name: str) -> None:
    content = {"text.pt": b"these are no weights", "empty.safetensors": b""}
    whole = folder / f"w.{name.rsplit('.', 1)[1]}"
    damaged = content.get(name, whole.read_bytes()[: whole.stat().st_size // 2])
    (tmp_path / name).write_bytes(damaged)
    with pytest.raises(EncoderError, match=name):
        ClipEncoder(f"{folder}/bare.json:{tmp_path}/{name}").encode_texts(["a"])


def test_weights_of_another_shape_or_without_a_layer(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "wide.json").write_text(json.dumps({**MODEL, "embed_dim": 48}))
    with pytest.raises(EncoderError, match="do not fit"):
        ClipEncoder(f"{tmp_path}/wide.json:{folder}/w.pt").encode_texts(["a"])
    state = torch.load(folder / "w.pt", weights_only=True)
    del state["visual.proj"]
    save_file(state, tmp_path / "part.safetensors")
    with pytest.raises(EncoderError, match=r"visual\.proj"):
        ClipEncoder(f"{folder}/bare.json:{tmp_path}/part.safetensors").encode_texts(["a"])
    torch.save({"step": 3, "note": "x"}, tmp_path / "other.pt")
    with pytest.raises(EncoderError, match="expected names with tensors"):
        ClipEncoder(f"{folder}/bare.json:{tmp_path}/other.pt").encode_texts(["a"])


def test_input_of_another_kind(encoder: ClipEncoder) -> None:
    with pytest.raises(InvalidInput, match=r"\[n, 3, 64, 64\], found \[2, 3, 32, 64\]"):
        encoder.encode_images(np.zeros((2, 3, 32, 64), np.float32))
    with pytest.raises(InvalidInput, match="found one string"):
        encoder.encode_texts("a dog")
    with pytest.raises(InvalidVectors, match="NaN"):
        encoder.encode_images(np.full((1, 3, 64, 64), np.nan, np.float32))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ViT-B-32/laion2b_s34b_b79k", ClipSpec(model="ViT-B-32", tag="laion2b_s34b_b79k")),
        ("ViT-B-32/LAION2B-s34b-b79k", ClipSpec(model="ViT-B-32", tag="laion2b_s34b_b79k")),
        ("ViT-B-32//home/me/ft.pt", ClipSpec(model="ViT-B-32", weights="/home/me/ft.pt")),
        ("ViT-B-32/./a/b:c.pt", ClipSpec(model="ViT-B-32", weights="./a/b:c.pt")),
        ("ViT-B-32/~/ft.pt", ClipSpec(model="ViT-B-32", weights="~/ft.pt")),
        ("ViT-B-32/../ft.pt", ClipSpec(model="ViT-B-32", weights="../ft.pt")),
        ("./m.json:./w.pt", ClipSpec(config="./m.json", weights="./w.pt")),
        ("/a/m.json:~/w.json:x.pt", ClipSpec(config="/a/m.json", weights="~/w.json:x.pt")),
        ("../a:b/m.json:/w.pt", ClipSpec(config="../a:b/m.json", weights="/w.pt")),
    ],
)
def test_the_grammar(text: str, expected: ClipSpec) -> None:
    assert parse_spec(text) == expected


@pytest.mark.parametrize(
    "text", ["", "ViT-B-32", "ViT-B-32/", "/", "/openai", "./m.json", "./m.json:w.pt", "./m.yaml:./w.pt", "~"]
)
def test_what_does_not_parse(text: str) -> None:
    with pytest.raises(InvalidSpec, match="clip:"):
        parse_spec(text)


def test_unknown_names_are_refused_at_once_with_the_near_ones() -> None:
    with pytest.raises(InvalidSpec, match="ViT-B-32"):
        ClipEncoder("ViT-B32/openai")
    with pytest.raises(InvalidSpec, match="laion2b_s34b_b79k"):
        ClipEncoder("ViT-B-32/laion5b")
    with pytest.raises(WeightsMissing, match=r"/nowhere/w\.pt"):
        ClipEncoder("ViT-B-32//nowhere/w.pt")
    with pytest.raises(WeightsMissing, match="is a folder"):
        ClipEncoder("ViT-B-32//")


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"embed_dim": 3}', '{"model_cfg": {"embed_dim": 1}}'])
def test_configurations_that_are_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "m.json").write_text(content)
    with pytest.raises(InvalidSpec, match=r"m\.json"):
        ClipEncoder(f"{tmp_path}/m.json:./w.pt")


@pytest.mark.parametrize("dims", [[16, 8], [0, 8], [8, 64], [8, 8], "x"])
def test_trained_dims_must_ascend_within_the_dimension(tmp_path: Path, dims: object) -> None:
    (tmp_path / "m.json").write_text(json.dumps({"model_cfg": MODEL, "trained_dims": dims}))
    with pytest.raises(InvalidSpec):
        ClipEncoder(f"{tmp_path}/m.json:./w.pt")


def test_weights_that_are_not_here_and_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    encoder = ClipEncoder("ViT-B-32/laion2b_s34b_b79k")
    assert encoder.dim == 512
    with pytest.raises(WeightsMissing) as caught:
        encoder.encode_texts(["a dog"])
    message = str(caught.value)
    for part in ("laion/CLIP-ViT-B-32-laion2B-s34B-b79K/open_clip_model.safetensors", str(tmp_path), "bundled"):
        assert part in message


def test_quick_gelu_follows_the_published_weights() -> None:
    from engine.encoders.clip.loading import known_config

    assert known_config(parse_spec("ViT-B-32/openai"))["model_cfg"]["quick_gelu"] is True
    assert known_config(parse_spec("ViT-B-32/laion2b_s34b_b79k"))["model_cfg"]["quick_gelu"] is False


def test_published_models_are_listed() -> None:
    infos = list_pretrained()
    by_spec = {info.spec: info for info in infos}
    assert len(infos) > 100
    assert by_spec["clip:ViT-B-32/laion2b_s34b_b79k"].dim == 512
    for info in infos[:20]:
        parse_spec(info.spec.removeprefix("clip:"))


def test_a_tokenizer_that_needs_a_package(folder: Path, tmp_path: Path) -> None:
    if _installed("transformers"):
        pytest.skip("transformers is installed")
    text = {**MODEL["text_cfg"], "hf_tokenizer_name": "some/tokenizer"}
    (tmp_path / "m.json").write_text(json.dumps({**MODEL, "text_cfg": text}))
    encoder = ClipEncoder(f"{tmp_path}/m.json:{folder}/w.safetensors")
    assert images(encoder).shape == (len(PHOTOS), 32)  # pictures need no tokenizer
    with pytest.raises(DependencyMissing, match="pip install 'transformers"):
        encoder.encode_texts(["a"])


def _installed(package: str) -> bool:
    from importlib.util import find_spec

    return find_spec(package) is not None


@pytest.mark.gpu
def test_cuda_agrees_with_the_cpu(folder: Path, encoder: ClipEncoder) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    spec = f"clip:{folder}/bare.json:{folder}/w.safetensors"
    on_gpu = load_encoder(spec, device="cuda")
    np.testing.assert_allclose(images(on_gpu), images(encoder), atol=5e-3)
    np.testing.assert_allclose(on_gpu.encode_texts(TEXTS), encoder.encode_texts(TEXTS), atol=5e-3)
    assert on_gpu.fingerprint == encoder.fingerprint


@pytest.mark.parametrize(
    ("spec", "known"),
    [
        *(("ViT-B-32/laion2b_s34b_b79k", {"en"}), ("ViT-B-16-SigLIP/webli", {"en"})),
        *(("roberta-ViT-B-32/laion2b_s12b_b32k", {"en"}), ("ViT-L-14-CLIPA/datacomp1b", {"en"})),
        *(("xlm-roberta-base-ViT-B-32/laion5b_s13b_b90k", None), ("nllb-clip-base/v1", None)),
        *(("ViT-B-16-SigLIP2/webli", None), ("ViT-B-16-SigLIP-i18n-256/webli", None)),
    ],
)
def test_the_tokenizer_says_which_languages_it_knows(spec: str, known: set[str] | None) -> None:
    assert ClipEncoder(spec).languages == known
