from __future__ import annotations

import pytest

from engine.encoders.base import Encoder
from engine.encoders.registry import list_encoders, load_encoder
from indexers.errors import InvalidInput, InvalidSpec


def test_families_load() -> None:
    bundled = load_encoder("bundled", device="cpu")
    assert isinstance(bundled, Encoder)
    assert (bundled.name, bundled.device) == ("bundled", "cpu")
    assert load_encoder("precomputed", dim=5).dim == 5
    assert load_encoder("precomputed:a:b", dim=5).name == "precomputed:a:b"
    assert load_encoder("resnet:resnet18/DEFAULT", device="cpu").name == "resnet:resnet18/IMAGENET1K_V1"
    assert load_encoder("clip:ViT-B-32/openai", device="cpu").dim == 512


@pytest.mark.parametrize("spec", ["", "dino:vits14", "CLIP:ViT-B-32/openai", "bundle", ":x"])
def test_an_unknown_family_is_answered_with_an_example_of_each(spec: str) -> None:
    with pytest.raises(InvalidSpec) as caught:
        load_encoder(spec)
    for part in ("bundled", "clip:ViT-B-32/laion2b_s34b_b79k", "resnet:resnet50/IMAGENET1K_V2", "precomputed"):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("spec", "pool", "dim", "reason"),
    [
        ("bundled:x", None, None, "nothing after its name"),
        ("bundled", "gem", None, "only resnet"),
        ("clip:ViT-B-32/openai", "gem", None, "only resnet"),
        ("bundled", None, 64, "only precomputed"),
        ("precomputed:x", None, None, "dimension"),
        ("precomputed:x", "avg", 3, "only resnet"),
        ("clip", None, None, "expected something like"),
        ("resnet:", None, None, "expected something like"),
    ],
)
def test_options_that_do_not_apply(spec: str, pool: str | None, dim: int | None, reason: str) -> None:
    with pytest.raises(InvalidSpec, match=reason):
        load_encoder(spec, device="cpu", pool=pool, dim=dim)


def test_an_unknown_device_is_refused() -> None:
    with pytest.raises(InvalidInput, match="device"):
        load_encoder("bundled", device="tpu")


def test_the_families_are_listed() -> None:
    infos = list_encoders()
    families = [info.spec.partition(":")[0] for info in infos]
    assert families == ["bundled", "bundled+head", "clip", "resnet", "precomputed"]
    assert all(info.note for info in infos)
    assert infos[-1].available
    assert infos[0].dim == load_encoder("bundled", device="cpu").dim
    assert infos[0].modalities == load_encoder("bundled", device="cpu").modalities


def test_all_models_are_listed_and_their_specs_parse() -> None:
    infos = list_encoders(all_models=True)
    specs = [info.spec for info in infos]
    assert len(specs) > 1000
    for family in ("clip:", "resnet:timm:", "resnet:resnet"):
        listed = [spec for spec in specs if spec.startswith(family)]
        assert load_encoder(listed[-1], device="cpu").name == listed[-1]
    assert len(set(specs[5:])) == len(specs[5:])
