"""Files that a collection names are opened if the user named them, on this machine, and not otherwise."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.encoders.registry import load_encoder
from engine.encoders.trusted import has_path, note, require_named
from indexers.errors import EncoderNotNamed


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NESTVEC_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


WITH_PATHS = [
    "clip:ViT-B-32//a/w.safetensors",
    "clip:ViT-B-32/~/w.pt",
    "clip:./m.json:../w.pt",
    "resnet:resnet18//a/w.pth",
    "resnet:timm:resnet18@gem/./w.pth",
    "bundled+head:h.safetensors",
    "bundled+head:nested+head:/a/h.safetensors",
    "bundled+head:/a/h.safetensors+head:nested",
    "clip:ViT-B-32//a/w.safetensors+head:nested",
]
WITHOUT = [
    "bundled",
    "bundled+head:nested",
    "clip:ViT-B-32/openai",
    "resnet:resnet50/IMAGENET1K_V2",
    "resnet:timm:resnet50/a1_in1k",
    "precomputed:/a/model",
]


@pytest.mark.parametrize("spec", WITH_PATHS)
def test_a_spec_with_a_path_counts_once_it_was_named(spec: str, cache: Path) -> None:
    assert has_path(spec)
    with pytest.raises(EncoderNotNamed, match="--encoder") as caught:
        require_named(spec)
    assert spec in str(caught.value)
    note(spec)
    note(spec)
    require_named(spec)
    assert len((cache / "encoders.jsonl").read_text().splitlines()) == 1
    for other in WITH_PATHS:
        if other != spec:
            with pytest.raises(EncoderNotNamed):
                require_named(other)


@pytest.mark.parametrize("spec", WITHOUT)
def test_a_spec_without_one_needs_no_word(spec: str, cache: Path) -> None:
    assert not has_path(spec)
    require_named(spec)
    note(spec)
    assert not cache.exists()


def test_what_is_loaded_by_name_was_named(tmp_path: Path) -> None:
    from torch import save
    from torchvision.models import resnet18

    save(resnet18(weights=None).state_dict(), tmp_path / "r.pth")
    encoder = load_encoder(f"resnet:resnet18/{tmp_path}/r.pth", device="cpu")
    require_named(encoder.name)


def test_a_note_that_cannot_be_kept_or_read_grants_nothing(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for content in (b"\xff\xfe\n", b"[1\n{}\n[]\nnull\n3\n", b'"clip:ViT-B-32//a/w.safe'):
        cache.mkdir(exist_ok=True)
        (cache / "encoders.jsonl").write_bytes(content)
        with pytest.raises(EncoderNotNamed):
            require_named(WITH_PATHS[0])
    monkeypatch.setenv("NESTVEC_CACHE", "/dev/null/cache")
    note(WITH_PATHS[0])
    with pytest.raises(EncoderNotNamed):
        require_named(WITH_PATHS[0])
