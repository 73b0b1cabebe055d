"""ResNetEncoder against torchvision and timm themselves, with random weights saved here."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from engine.encoders.base import Encoder
from engine.encoders.device import set_torch_threads, torch_threads
from engine.encoders.registry import load_encoder
from engine.encoders.resnet.encoder import ResNetEncoder, list_pretrained
from engine.encoders.resnet.spec import ResNetSpec, parse_spec
from indexers.errors import EncoderError, InvalidInput, InvalidSpec, ModalityError, WeightsMissing

timm: Any = importlib.import_module("timm")  # both are typed in part only
timm_data: Any = importlib.import_module("timm.data")
PHOTOS = sorted((Path(__file__).parents[2] / "data" / "sample" / "photos").glob("*"))[:5]


@pytest.fixture(autouse=True, scope="module")
def one_torch_thread() -> Iterator[None]:
    """On a busy machine OpenMP's barriers make two threads several times slower than one."""
    with torch_threads():
        set_torch_threads(1)
        yield


def photos() -> list[Image.Image]:
    found = []
    for path in PHOTOS:
        with Image.open(path) as image:
            found.append(image.convert("RGB"))
    return found


def images(encoder: Encoder) -> np.ndarray:
    return encoder.encode_images(np.stack([encoder.prepare(photo) for photo in photos()]))


def unit(x: torch.Tensor) -> np.ndarray:
    return nn.functional.normalize(x.flatten(1), dim=-1).numpy()


def wake(model: nn.Module) -> nn.Module:
    """Give batch normalisation statistics that differ from the identity, as training would."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    return model.eval()


@pytest.fixture(scope="module")
def resnet18() -> nn.Module:
    torch.manual_seed(1)
    return wake(torchvision.models.resnet18(weights=None))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, resnet18: nn.Module) -> Path:
    at = tmp_path_factory.mktemp("resnet")
    torch.save(resnet18.state_dict(), at / "r18.pth")
    save_file(resnet18.state_dict(), at / "r18.safetensors")
    torch.save({"model": resnet18.state_dict(), "epoch": 1}, at / "training.pth")
    return at


def feature_map(model: nn.Module, pixels: torch.Tensor) -> torch.Tensor:
    """The last feature map, by torchvision's own tool for that."""
    from torchvision.models.feature_extraction import create_feature_extractor

    features: torch.Tensor = create_feature_extractor(model, ["layer4"])(pixels)["layer4"]
    return features


@pytest.mark.parametrize(
    ("weights", "pool"),
    [("r18.pth", None), ("r18.safetensors", None), ("training.pth", None)]
    + [("r18.pth", pool) for pool in ("avg", "max", "gem")],
)
def test_torchvision_features(folder: Path, resnet18: nn.Module, weights: str, pool: str | None) -> None:
    encoder = load_encoder(f"resnet:resnet18/{folder}/{weights}", device="cpu", pool=pool)
    transform = torchvision.models.ResNet18_Weights.DEFAULT.transforms()
    pixels = torch.stack([transform(photo) for photo in photos()])
    with torch.inference_mode():
        spatial = feature_map(resnet18, pixels)
    expected = {
        "avg": spatial.mean((2, 3)),
        "max": spatial.amax((2, 3)),
        "gem": spatial.clamp(min=1e-6).pow(3).mean((2, 3)).pow(1 / 3),
    }[pool or "avg"]
    ours = images(encoder)
    assert ours.dtype == np.float32
    assert ours.shape == (len(PHOTOS), 512)
    np.testing.assert_allclose(ours, unit(expected), atol=1e-5, rtol=0)
    np.testing.assert_array_equal(encoder.prepare(photos()[0]), pixels[0].numpy())
    assert f"@{pool or 'avg'}" in encoder.fingerprint.model


@pytest.mark.parametrize("pool", [None, "avg", "max", "gem"])
def test_timm_features(tmp_path: Path, pool: str | None) -> None:
    torch.manual_seed(2)
    model: Any = wake(timm.create_model("resnet10t", pretrained=False))
    save_file(model.state_dict(), tmp_path / "r10.safetensors")
    encoder = load_encoder(f"resnet:resnet10t/{tmp_path}/r10.safetensors", device="cpu", pool=pool)
    config = timm_data.resolve_model_data_config(model)
    transform = timm_data.create_transform(**config, is_training=False)
    pixels = torch.stack([transform(photo) for photo in photos()])
    with torch.inference_mode():
        spatial = model.forward_features(pixels)
        own = model.forward_head(spatial, pre_logits=True)
    expected = {
        None: own,
        "avg": spatial.mean((2, 3)),
        "max": spatial.amax((2, 3)),
        "gem": spatial.clamp(min=1e-6).pow(3).mean((2, 3)).pow(1 / 3),
    }[pool]
    assert encoder.image_size == 176
    np.testing.assert_allclose(images(encoder), unit(expected), atol=1e-5, rtol=0)
    assert encoder.fingerprint.model == f"resnet:timm:resnet10t@{pool or 'avg'}"


@pytest.mark.parametrize(("pool", "own"), [(None, "map"), ("token", "token"), ("avg", "avg")])
def test_a_timm_vision_transformer(tmp_path: Path, pool: str | None, own: str) -> None:
    torch.manual_seed(3)
    name = "test_vit" if pool else "test_vit2"
    model = timm.create_model(name, pretrained=False, **({"global_pool": pool} if pool else {})).eval()
    save_file(model.state_dict(), tmp_path / "v.safetensors")
    encoder = load_encoder(f"resnet:timm:{name}/{tmp_path}/v.safetensors", device="cpu", pool=pool)
    pixels = torch.from_numpy(np.stack([encoder.prepare(photo) for photo in photos()]))
    with torch.inference_mode():
        expected = model.forward_head(model.forward_features(pixels), pre_logits=True)
    np.testing.assert_allclose(images(encoder), unit(expected), atol=1e-5, rtol=0)
    if pool:
        assert encoder.fingerprint.model.endswith(f"@{own}")
    if pool != "token":
        return
    with pytest.raises(InvalidSpec, match="feature map"):
        images(load_encoder(f"resnet:timm:{name}@gem/{tmp_path}/v.safetensors", device="cpu"))


@pytest.mark.parametrize("name", ["test_convnext", "test_efficientnet"])
def test_other_timm_networks(tmp_path: Path, name: str) -> None:
    torch.manual_seed(4)
    model: Any = wake(timm.create_model(name, pretrained=False, num_classes=7))
    save_file(model.state_dict(), tmp_path / "w.safetensors")
    encoder = load_encoder(f"resnet:timm:{name}/{tmp_path}/w.safetensors", device="cpu")
    pixels = torch.from_numpy(np.stack([encoder.prepare(photo) for photo in photos()]))
    with torch.inference_mode():
        expected = model.forward_head(model.forward_features(pixels), pre_logits=True)
    np.testing.assert_allclose(images(encoder), unit(expected), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("name", "cut", "pool"),
    [("mobilenet_v3_small", "classifier.3", "avg"), ("shufflenet_v2_x0_5", "fc", "own")],
)
def test_other_torchvision_networks(tmp_path: Path, name: str, cut: str, pool: str) -> None:
    torch.manual_seed(5)
    model = wake(torchvision.models.get_model(name, weights=None))
    torch.save(model.state_dict(), tmp_path / "w.pth")
    encoder = load_encoder(f"resnet:{name}/{tmp_path}/w.pth", device="cpu")
    pixels = torch.from_numpy(np.stack([encoder.prepare(photo) for photo in photos()]))
    model.set_submodule(cut, nn.Identity())
    with torch.inference_mode():
        np.testing.assert_allclose(images(encoder), unit(model(pixels)), atol=1e-5, rtol=0)
    assert f"@{pool}" in encoder.fingerprint.model


def test_results_do_not_depend_on_the_batch(folder: Path) -> None:
    encoder = ResNetEncoder(f"resnet18/{folder}/r18.pth")
    batch = np.stack([encoder.prepare(photo) for photo in photos()])
    alone = np.concatenate([encoder.encode_images(row[None]) for row in batch])
    np.testing.assert_allclose(encoder.encode_images(batch), alone, atol=2e-6, rtol=0)
    assert encoder.encode_images(batch[:0]).shape == (0, 512)


def test_it_says_what_it_is(folder: Path) -> None:
    encoder = ResNetEncoder(f"resnet18/{folder}/r18.pth", pool="gem")
    assert isinstance(encoder, Encoder)
    assert encoder.name == f"resnet:resnet18@gem/{folder}/r18.pth"
    assert encoder.modalities == {"image"}
    assert (encoder.dim, encoder.image_size, encoder.trained_dims) == (512, 224, ())
    again = load_encoder(encoder.name, device="cpu")
    assert again.fingerprint == encoder.fingerprint
    assert str(folder) not in str(encoder.fingerprint.to_json())
    assert "as IMAGENET1K_V1" in encoder.fingerprint.preprocess  # whose metadata a local file borrows
    with pytest.raises(ModalityError, match="text tower"):
        encoder.encode_texts(["a dog"])


def test_the_fingerprint_is_of_what_computes_the_vectors(folder: Path, tmp_path: Path) -> None:
    plain = ResNetEncoder(f"resnet18/{folder}/r18.pth").fingerprint
    assert ResNetEncoder(f"resnet18/{folder}/training.pth").fingerprint == plain
    assert ResNetEncoder(f"resnet18/{folder}/r18.pth", pool="max").fingerprint != plain
    state = torch.load(folder / "r18.pth", weights_only=True)
    # Another classifier changes nothing; another convolution does.
    state["fc.weight"], state["fc.bias"] = torch.zeros(3, 512), torch.zeros(3)
    torch.save(state, tmp_path / "tuned.pth")
    assert ResNetEncoder(f"resnet18/{tmp_path}/tuned.pth").fingerprint == plain
    state["conv1.weight"][0, 0, 0, 0] += 0.01
    torch.save(state, tmp_path / "other.pth")
    assert ResNetEncoder(f"resnet18/{tmp_path}/other.pth").fingerprint != plain


@pytest.mark.parametrize("library", ["torchvision", "timm"])
def test_weights_that_do_not_fit(folder: Path, tmp_path: Path, library: str) -> None:
    state = torch.load(folder / "r18.pth", weights_only=True)
    with pytest.raises(EncoderError, match="do not fit"):
        assert ResNetEncoder(f"{library}:resnet34/{folder}/r18.pth").dim
    del state["layer4.1.conv2.weight"]
    torch.save(state, tmp_path / "part.pth")
    with pytest.raises(EncoderError, match=r"layer4\.1\.conv2\.weight"):
        assert ResNetEncoder(f"{library}:resnet18/{tmp_path}/part.pth").dim
    state = torch.load(folder / "r18.pth", weights_only=True)
    state["layer1.0.conv1.weight"][0] = float("nan")
    torch.save(state, tmp_path / "nan.pth")
    with pytest.raises(EncoderError, match="NaN"):
        assert ResNetEncoder(f"{library}:resnet18/{tmp_path}/nan.pth").dim


def test_input_of_another_shape(folder: Path) -> None:
    with pytest.raises(InvalidInput, match=r"\[n, 3, 224, 224\], found \[1, 3, 200, 224\]"):
        ResNetEncoder(f"resnet18/{folder}/r18.pth").encode_images(np.zeros((1, 3, 200, 224), np.float32))


@pytest.mark.parametrize(
    ("text", "pool", "expected"),
    [
        ("resnet50/DEFAULT", None, ResNetSpec(None, "resnet50", None, tag="DEFAULT")),
        ("timm:resnet50/a1_in1k", None, ResNetSpec("timm", "resnet50", None, tag="a1_in1k")),
        ("torchvision:resnet50@gem/X", "gem", ResNetSpec("torchvision", "resnet50", "gem", tag="X")),
        ("resnet50//w/a@b/x.pth", "max", ResNetSpec(None, "resnet50", "max", weights="/w/a@b/x.pth")),
        ("resnet50/~/x.pth", None, ResNetSpec(None, "resnet50", None, weights="~/x.pth")),
    ],
)
def test_the_grammar(text: str, pool: str | None, expected: ResNetSpec) -> None:
    assert parse_spec(text, pool) == expected


@pytest.mark.parametrize("text", ["", "resnet50", "resnet50/", "/x", "keras:resnet50/x", "a b/c", "resnet50@/x"])
def test_what_does_not_parse(text: str) -> None:
    with pytest.raises(InvalidSpec, match="resnet50/IMAGENET1K_V2"):
        parse_spec(text, None)


def test_unknown_names_are_refused_at_once() -> None:
    with pytest.raises(InvalidSpec, match="pooling gem, and pool=avg"):
        parse_spec("resnet50@gem/DEFAULT", "avg")
    with pytest.raises(InvalidSpec, match="resnet50"):
        ResNetEncoder("resnet5000/DEFAULT")
    with pytest.raises(InvalidSpec, match="IMAGENET1K_V1, IMAGENET1K_V2"):
        ResNetEncoder("resnet50/V9")
    with pytest.raises(InvalidSpec, match="a1_in1k"):
        ResNetEncoder("timm:resnet50/V9")
    with pytest.raises(WeightsMissing, match=r"/nowhere\.pth"):
        ResNetEncoder("resnet50//nowhere.pth")
    with pytest.raises(InvalidSpec, match="torchvision has no"):
        ResNetEncoder("torchvision:resnet10t/DEFAULT")


def test_a_pooling_that_is_not_possible(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidSpec, match="avg, max, gem"):
        images(load_encoder(f"resnet:resnet18/{folder}/r18.pth", device="cpu", pool="median"))
    with pytest.raises(InvalidSpec, match="pool=median"):
        images(load_encoder(f"resnet:timm:resnet18/{folder}/r18.pth", device="cpu", pool="median"))


def test_default_is_resolved_so_that_it_stays_what_it_was() -> None:
    assert ResNetEncoder("resnet50/DEFAULT").name == "resnet:resnet50/IMAGENET1K_V2"
    encoder = ResNetEncoder("timm:resnet10t/DEFAULT", pool="max")
    assert encoder.name == "resnet:timm:resnet10t@max/c3_in1k"


def test_weights_that_are_not_here_and_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nothing listens there
    monkeypatch.setenv("no_proxy", "")
    with pytest.raises(WeightsMissing) as caught:
        assert ResNetEncoder("resnet50/IMAGENET1K_V2").dim
    for part in ("https://download.pytorch.org/models/resnet50-11ad3fa6.pth", str(tmp_path), "bundled"):
        assert part in str(caught.value)


def test_weights_in_torchs_cache_are_used(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    cache = tmp_path / "hub" / "checkpoints"
    cache.mkdir(parents=True)
    (cache / "resnet18-f37072fd.pth").write_bytes((folder / "r18.pth").read_bytes())
    encoder = ResNetEncoder("resnet18/IMAGENET1K_V1")
    np.testing.assert_array_equal(images(encoder), images(ResNetEncoder(f"resnet18/{folder}/r18.pth")))
    assert encoder.fingerprint.model == "resnet:torchvision:resnet18@avg/IMAGENET1K_V1"
    available = {info.spec for info in list_pretrained() if info.available}
    assert "resnet:resnet18/IMAGENET1K_V1" in available
    assert "resnet:resnet50/IMAGENET1K_V1" not in available


@pytest.mark.gpu
def test_cuda_agrees_with_the_cpu(folder: Path) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    spec = f"resnet:resnet18/{folder}/r18.pth"
    on_gpu, on_cpu = load_encoder(spec, device="cuda"), load_encoder(spec, device="cpu")
    np.testing.assert_allclose(images(on_gpu), images(on_cpu), atol=5e-3)
    assert on_gpu.fingerprint == on_cpu.fingerprint
