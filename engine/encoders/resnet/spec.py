"""What a `resnet:` spec says, and what a library makes of it.

The grammar of specs is in the docstring of `engine.encoders.resnet.encoder`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from engine.encoders import weights
from indexers.errors import EncoderError, InvalidSpec

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

Library = Literal["torchvision", "timm"]
GEM_POWER = 3.0
_GRAMMAR = re.compile(r"(?:(?P<library>torchvision|timm):)?(?P<name>[\w.-]+)(?:@(?P<pool>\w+))?/(?P<weights>.+)")


@dataclass(frozen=True)
class ResNetSpec:
    """What a spec says.

    Attributes:
        library: "torchvision" or "timm"; None where the spec leaves it open.
        name: the architecture's name in that library.
        pool: how the feature map becomes a vector; None for the architecture's own way.
        tag: name of published weights; "" when `weights` is given.
        weights: path of a weights file; "" when `tag` is given.
    """

    library: Library | None
    name: str
    pool: str | None
    tag: str = ""
    weights: str = ""


@dataclass(frozen=True)
class Recipe:
    """Everything about an encoder that is known before its weights are read.

    Attributes:
        spec: with the library and the tag filled in.
        transform: RGB picture → float tensor [3, H, W].
        preprocess: one line that names what `transform` does.
        height: H.
        width: W.
    """

    spec: ResNetSpec
    transform: Any
    preprocess: str
    height: int
    width: int


def parse_spec(text: str, pool: str | None) -> ResNetSpec:
    """Parse what follows "resnet:".

    Args:
        text: the spec.
        pool: a pooling given beside the spec; must not contradict one inside it.

    Raises:
        InvalidSpec: does not parse, or names two poolings.
    """
    match = _GRAMMAR.fullmatch(text)
    if match is None:
        raise InvalidSpec(
            f"encoder resnet:{text}: expected resnet:NAME/WEIGHTS such as resnet:resnet50/IMAGENET1K_V2, "
            "resnet:timm:resnet50/a1_in1k, resnet:resnet50@gem/DEFAULT or resnet:resnet18/./weights.pth"
        )
    inside = match["pool"]
    if pool is not None and inside is not None and pool != inside:
        raise InvalidSpec(f"encoder resnet:{text}: names the pooling {inside}, and pool={pool} was given")
    library: Library | None = "timm" if match["library"] == "timm" else "torchvision" if match["library"] else None
    named = match["weights"]
    local = weights.is_path(named)
    return ResNetSpec(
        library=library,
        name=match["name"],
        pool=inside or pool,
        tag="" if local else named,
        weights=named if local else "",
    )


def gem_pool(features: Tensor) -> Tensor:
    """Pool by the generalised mean, p = 3 (Radenović et al., 2018): between average and maximum.

    Args:
        features: [n, C, H, W]; what is below 1e-6 counts as 1e-6.

    Returns:
        float32 [n, C, 1, 1].
    """
    powered = features.float().clamp(min=1e-6).pow(GEM_POWER)
    return powered.mean(dim=(-2, -1), keepdim=True).pow(1.0 / GEM_POWER)


def without(state: Mapping[str, Tensor], modules: tuple[str, ...]) -> dict[str, Tensor]:
    """Return the state dict without the tensors of the named modules."""
    prefixes = tuple(f"{name}." for name in modules)
    return {key: tensor for key, tensor in state.items() if not key.startswith(prefixes)}


def load_strictly(model: Module, state: Mapping[str, Tensor], *, what: str) -> None:
    """Load weights of which none may be missing or left over.

    Raises:
        EncoderError: they do not fit; the message begins with the first differences.
    """
    try:
        model.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise misfit(what, error) from error


def misfit(what: str, error: Exception) -> EncoderError:
    """Return the error for weights of another architecture."""
    reason = " ".join(str(error).split())[:400]
    return EncoderError(f"{what}: the weights do not fit this architecture: {reason}")
