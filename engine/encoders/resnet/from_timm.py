"""Image models of timm without their classifier: a backend of `resnet:` specs."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.encoders import weights
from engine.encoders.base import EncoderInfo
from engine.encoders.resnet.spec import Recipe, ResNetSpec, gem_pool, misfit, without
from indexers.errors import InvalidSpec, WeightsMissing

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

_HUB_FILES = ("model.safetensors", "pytorch_model.bin")

_MAP_POOLS = ("avg", "max", "avgmax", "catavgmax")  # of networks whose features are a map
_TOKEN_POOLS = ("token", "avg", "avgmax", "max", "map")  # of transformers


def resolve(spec: ResNetSpec) -> Recipe:
    """Find the weights' own preprocessing; for a local file, that of the default weights.

    Raises:
        InvalidSpec: no such model or weights.
    """
    data: Any = importlib.import_module("timm.data")  # typed in part only
    published = _published(spec)
    config = data.resolve_data_config(pretrained_cfg=published.to_dict())
    _, height, width = config["input_size"]
    mean, std = (" ".join(f"{value:.8g}" for value in config[key]) for key in ("mean", "std"))
    line = (
        f"resize {config['interpolation']} and {config['crop_mode']} crop {config['crop_pct']:g} "
        f"to {height}×{width}, mean {mean}, std {std}"
    )
    if spec.weights:
        line += f" (as {published.tag or 'default'})"
    resolved = replace(spec, library="timm", tag="" if spec.weights else published.tag)
    return Recipe(resolved, data.create_transform(**config, is_training=False), line, int(height), int(width))


def _published(spec: ResNetSpec) -> Any:
    """Return timm's entry for the published weights, or the default one for a local file."""
    import timm

    if not timm.is_model(spec.name) or "." in spec.name:
        near = ", ".join(timm.list_models(f"*{spec.name[:6]}*")[:6]) or "nothing"
        raise InvalidSpec(f"encoder resnet: neither torchvision nor timm has a model {spec.name!r}. Near it: {near}")
    default = bool(spec.weights) or spec.tag == "DEFAULT"
    try:
        entry = timm.get_pretrained_cfg(spec.name if default else f"{spec.name}.{spec.tag}")
    except RuntimeError:  # timm's answer to a tag it does not know
        entry = None
    if entry is None:
        tags = [full.partition(".")[2] for full in timm.list_pretrained(f"{spec.name}.*")]
        raise InvalidSpec(
            f"encoder resnet:timm:{spec.name}: there are no published weights {spec.tag!r}; there are: "
            f"{', '.join(filter(None, tags)) or 'none'}. For a file of your own put / or ./ before its path"
        )
    return entry


def fetch(spec: ResNetSpec, *, what: str) -> Path:
    """Return the file of published weights, downloading it once.

    Raises:
        WeightsMissing: not on this machine, and no network, or timm publishes none.
    """
    entry = _published(spec)
    if entry.hf_hub_id:
        names = (entry.hf_hub_filename,) if entry.hf_hub_filename else _HUB_FILES
        repo, _, revision = entry.hf_hub_id.partition("@")
        return weights.hub_file(repo, names, what=what, revision=revision or None)
    if entry.url:
        return weights.url_file(entry.url, what=what)
    raise WeightsMissing(f"{what}: timm publishes no weights for it; give a local file instead")


def build(spec: ResNetSpec, state: Mapping[str, Tensor], *, what: str) -> tuple[Module, str]:
    """Build the model with the weights in `state`, its classifier left out.

    Returns:
        The module, [n, 3, H, W] → [n, D], and the name of its pooling.

    Raises:
        EncoderError: the weights are of another architecture.
        InvalidSpec: the architecture cannot be pooled as asked.
    """
    timm: Any = importlib.import_module("timm")
    entry = _published(spec)
    names = entry.classifier or ()
    # With a class count of 0 on both sides timm loads strictly, and through its own conversions.
    overlay = {
        "state_dict": without(state, (names,) if isinstance(names, str) else tuple(names)),
        "num_classes": 0,
        "label_offset": 0,
        "custom_load": False,
    }
    pooling = {} if spec.pool is None else {"global_pool": "" if spec.pool == "gem" else spec.pool}
    name = f"{spec.name}.{spec.tag}" if spec.tag else spec.name
    try:
        model: Any = timm.create_model(name, pretrained=True, num_classes=0, pretrained_cfg_overlay=overlay, **pooling)
    except (RuntimeError, KeyError) as error:
        raise misfit(what, error) from error
    except (AssertionError, TypeError, ValueError) as error:
        raise InvalidSpec(f"{what}: timm cannot build {name} with pool={spec.pool}: {error}") from error
    model.pretrained_cfg["state_dict"] = None
    if spec.pool == "gem":
        return _gem_module(model, what), "gem"
    if spec.pool is not None:
        _require_pool(model, spec.pool, f"{what}: timm cannot build {name} with pool={spec.pool}")
    return model, spec.pool or _own_pool(model)


def _require_pool(model: Any, pool: str, what: str) -> None:
    """Refuse a pooling that a model does not have: timm only asserts it, which `python -O` leaves out."""
    layers: Any = importlib.import_module("timm.layers")
    is_map = any(isinstance(module, layers.SelectAdaptivePool2d) for module in model.modules())
    known = _MAP_POOLS if is_map else _TOKEN_POOLS
    if pool not in known:
        raise InvalidSpec(f"{what}; it knows {', '.join(known)}")


def _own_pool(model: Any) -> str:
    """Return the name of a model's own pooling: "avg" for most networks, "token" for most ViTs."""
    for module in model.modules():
        pool = getattr(module, "pool_type", None) or getattr(module, "global_pool", None)
        if isinstance(pool, str) and pool:
            return pool
    return "own"


def _gem_module(model: Any, what: str) -> Module:
    from torch import nn

    channels = int(model.num_features)

    class Gem(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = model

        def forward(self, pictures: Tensor) -> Tensor:
            features: Tensor = self.body.forward_features(pictures)
            if features.ndim == 4 and features.shape[1] != channels and features.shape[3] == channels:
                features = features.permute(0, 3, 1, 2)
            if features.ndim != 4 or features.shape[1] != channels:
                raise InvalidSpec(f"{what}: pool=gem needs a feature map, and this architecture gives tokens")
            return gem_pool(features)

    return Gem()


def list_pretrained() -> list[EncoderInfo]:
    """Return one line per published set of weights; `available` where it is cached."""
    import timm

    found = []
    for full in timm.list_pretrained():
        name, _, tag = full.partition(".")
        entry = timm.get_pretrained_cfg(full)
        if entry is None or not tag or not entry.hf_hub_id:
            continue
        here = weights.cached_hub_file(entry.hf_hub_id, _HUB_FILES) is not None
        note = "on this machine" if here else f"downloaded once from {entry.hf_hub_id}"
        found.append(EncoderInfo(f"resnet:timm:{name}/{tag}", None, frozenset({"image"}), here, note))
    return found
