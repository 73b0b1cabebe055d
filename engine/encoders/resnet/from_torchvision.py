"""Image classifiers of torchvision without their classifier: a backend of `resnet:` specs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.encoders import weights
from engine.encoders.base import EncoderInfo
from engine.encoders.resnet.spec import Recipe, ResNetSpec, gem_pool, load_strictly, without
from indexers.errors import InvalidSpec, did_you_mean

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

# Their published weights expect another input than their transforms give (`transform_input`).
_LEFT_OUT = frozenset({"googlenet", "inception_v3"})


def has(name: str) -> bool:
    """Tell whether torchvision has this classifier."""
    import torchvision

    return name in torchvision.models.list_models(module=torchvision.models) and name not in _LEFT_OUT


def resolve(spec: ResNetSpec) -> Recipe:
    """Find the weights' own preprocessing; for a local file, that of the default weights.

    Raises:
        InvalidSpec: no such model or weights.
    """
    if not has(spec.name):
        raise InvalidSpec(f"encoder resnet: torchvision has no image classifier {spec.name!r}; try timm:")
    published = _published(spec)
    presets = published.transforms()
    side = int(presets.crop_size[0])
    mean, std = (" ".join(f"{value:.8g}" for value in part) for part in (presets.mean, presets.std))
    line = (
        f"resize shorter side to {presets.resize_size[0]} {presets.interpolation.value}, "
        f"centre crop {side}×{side}, mean {mean}, std {std}"
    )
    if spec.weights:
        line += f" (as {published.name})"
    resolved = replace(spec, library="torchvision", tag="" if spec.weights else published.name)
    return Recipe(resolved, presets, line, side, side)


def _published(spec: ResNetSpec) -> Any:
    """Return torchvision's entry for the published weights, or the default one for a local file."""
    from torchvision.models import get_model_weights

    entries = get_model_weights(spec.name)
    wanted = "DEFAULT" if spec.weights else spec.tag
    if wanted in entries.__members__:
        return entries[wanted]
    raise InvalidSpec(
        f"encoder resnet:{spec.name}: torchvision has no weights {wanted!r}; it has "
        f"{', '.join(entry.name for entry in entries)} and DEFAULT. For timm's write resnet:timm:{spec.name}/"
        f"{wanted}, for a file of your own put / or ./ before its path"
        f"{did_you_mean(wanted, [entry.name for entry in entries])}"
    )


def fetch(spec: ResNetSpec, *, what: str) -> Path:
    """Return the file of published weights, downloading it once.

    Raises:
        WeightsMissing: not on this machine, and no network.
    """
    return weights.url_file(_published(spec).url, what=what)


def build(spec: ResNetSpec, state: Mapping[str, Tensor], *, what: str) -> tuple[Module, str]:
    """Build the model with the weights in `state`, its classifier cut off.

    Returns:
        The module, [n, 3, H, W] → [n, D], and the name of its pooling.

    Raises:
        EncoderError: the weights are of another architecture.
        InvalidSpec: the architecture cannot be pooled as asked.
    """
    from torch import nn
    from torchvision.models import get_model

    vision_transformer = spec.name.startswith("vit_")
    size = {"image_size": int(_published(spec).meta["min_size"][0])} if vision_transformer else {}
    model: nn.Module = get_model(spec.name, weights=None, **size)
    classifier = _last_linear(model, spec.name)
    model.set_submodule(classifier, nn.Identity())
    load_strictly(model, without(state, (classifier,)), what=what)
    return model, _pool(model, spec)


def _last_linear(model: Module, name: str) -> str:
    from torch import nn

    linear: list[str] = [path for path, module in model.named_modules() if isinstance(module, nn.Linear)]
    if not linear:
        raise InvalidSpec(f"encoder resnet:{name}: this architecture has no linear classifier to cut off")
    return linear[-1]


def _pool(model: Module, spec: ResNetSpec) -> str:
    """Put the pooling asked for into the model, and return its name."""
    from torch import nn

    own = getattr(model, "avgpool", None)
    if isinstance(own, nn.AdaptiveAvgPool2d) and own.output_size in (1, (1, 1)):
        choices = {"avg": own, "max": nn.AdaptiveMaxPool2d(1), "gem": _gem_module()}
        pool = spec.pool or "avg"
    else:
        choices = {}
        pool = "token" if hasattr(model, "class_token") else "own"
    if spec.pool is not None and spec.pool not in choices:
        has_choice = ", ".join(choices) or f"only its own ({pool}): give no pool, or use timm:{spec.name}"
        raise InvalidSpec(f"encoder resnet:{spec.name}: pool={spec.pool} is not possible; it has {has_choice}")
    if pool in choices:
        model.set_submodule("avgpool", choices[pool])
    return pool


def _gem_module() -> Module:
    from torch import nn

    class Gem(nn.Module):
        def forward(self, features: Tensor) -> Tensor:
            return gem_pool(features)

    return Gem()


def list_pretrained() -> list[EncoderInfo]:
    """Return one line per published set of weights; `available` where it is cached."""
    import torchvision
    from torchvision.models import get_model_weights, list_models

    found = []
    for name in list_models(module=torchvision.models):
        if name in _LEFT_OUT:
            continue
        for entry in get_model_weights(name):
            here = (weights.torch_cache() / str(entry.url).rsplit("/", 1)[-1]).is_file()
            note = "on this machine" if here else f"downloaded once from {entry.url}"
            found.append(EncoderInfo(f"resnet:{name}/{entry.name}", None, frozenset({"image"}), here, note))
    return found
