"""Encoders by name: `load_encoder("bundled")`, and what else there is.

Importing this module imports no torch; a family's module is imported when it is chosen.
"""

from __future__ import annotations

from importlib.util import find_spec

from engine.encoders.base import Encoder, EncoderInfo, Modality
from engine.encoders.device import choose_device
from engine.encoders.headed import MARK
from engine.encoders.trusted import note
from indexers.errors import InvalidSpec, did_you_mean

_EXAMPLES = {
    "bundled": "bundled",
    "clip": "clip:ViT-B-32/laion2b_s34b_b79k",
    "resnet": "resnet:resnet50/IMAGENET1K_V2",
    "precomputed": "precomputed:my-model",
}
# Where the weights of the examples are cached: a hub repository with its file, a file of torch's.
_CLIP_EXAMPLE = ("laion/CLIP-ViT-B-32-laion2B-s34B-b79K", ("open_clip_model.safetensors",))
_RESNET_EXAMPLE = "resnet50-11ad3fa6.pth"
_BOTH: frozenset[Modality] = frozenset({"image", "text"})
_IMAGE: frozenset[Modality] = frozenset({"image"})


def load_encoder(spec: str, *, device: str = "auto", pool: str | None = None, dim: int | None = None) -> Encoder:
    """Make the encoder that the user names. Weights are read when they are first needed.

    That it was named is noted (`engine.encoders.trusted`): a spec that somebody else names, a collection, goes through
    `require_named` first.

    Args:
        spec: "bundled", "clip:MODEL/PRETRAINED", "resnet:NAME/WEIGHTS", "precomputed" or
            "precomputed:NAME"; the modules clip and resnet say what else they understand. Behind
            any but the last two "+head:FILE.safetensors" puts a head, and "+head:nested" the shipped one.
        device: "auto", "cpu", "cuda" or "mps".
        pool: how a resnet's feature map becomes one vector; for that family only.
        dim: length of a vector; for `precomputed`, which needs it, only.

    Raises:
        InvalidSpec: the spec does not parse, names nothing that exists, or an option does not apply.
        InvalidInput: the device is not there.
        WeightsMissing: a local weights file or head does not exist.
        HeadError: the file of the head is damaged, or is no head.
    """
    loaded = _loaded(spec, device=device, pool=pool, dim=dim)
    note(loaded.name)
    return loaded


def _loaded(spec: str, *, device: str, pool: str | None, dim: int | None) -> Encoder:
    if MARK in spec:
        return _headed(spec, device=device, pool=pool, dim=dim)
    family, colon, rest = spec.partition(":")
    if family not in _EXAMPLES:
        known = ", ".join(f"{name} (such as {example})" for name, example in _EXAMPLES.items())
        raise InvalidSpec(
            f"encoder {spec!r}: expected one of the families {known}; found {family!r}{did_you_mean(family, _EXAMPLES)}"
        )
    if pool is not None and family != "resnet":
        raise InvalidSpec(f"encoder {spec!r}: pool={pool} was given, and only resnet has a choice of pooling")
    if dim is not None and family != "precomputed":
        raise InvalidSpec(f"encoder {spec!r}: dim={dim} was given, and only precomputed takes a dimension")
    if family == "precomputed":
        return _precomputed(spec, rest, dim)
    if family == "bundled" and colon:
        raise InvalidSpec(f"encoder {spec!r}: bundled takes nothing after its name")
    if family != "bundled" and not rest:
        raise InvalidSpec(f"encoder {spec!r}: expected something like {_EXAMPLES[family]}")
    return _computing(family, rest, device, pool)


def _headed(spec: str, *, device: str, pool: str | None, dim: int | None) -> Encoder:
    from engine.encoders.bundled.shipped import open_head
    from engine.encoders.headed import HeadedEncoder

    # From the right: the base may have a head itself.
    base, _, path = spec.rpartition(MARK)
    if not path:
        raise InvalidSpec(f"encoder {spec!r}: expected a file after {MARK}, such as {base}{MARK}nested.safetensors")
    if base.partition(":")[0] == "precomputed":
        raise InvalidSpec(
            f"encoder {spec!r}: vectors that exist already do not go through an encoder. Index them as {base}, and "
            f"then apply the head: nestvec apply-head COLLECTION {path}"
        )
    head = open_head(path, what=spec)
    return HeadedEncoder(_loaded(base, device=device, pool=pool, dim=dim), head, path)


def _precomputed(spec: str, rest: str, dim: int | None) -> Encoder:
    from engine.encoders.precomputed import PrecomputedEncoder

    if dim is None:
        raise InvalidSpec(f"encoder {spec!r}: the dimension of the vectors must be given (dim=512, say)")
    return PrecomputedEncoder(name=rest, dim=dim)


def _computing(family: str, rest: str, device: str, pool: str | None) -> Encoder:
    where = choose_device(device)
    if family == "bundled":
        from engine.encoders.bundled.encoder import BundledEncoder

        return BundledEncoder(device=where)
    if family == "clip":
        from engine.encoders.clip.encoder import ClipEncoder

        return ClipEncoder(rest, device=where)
    from engine.encoders.resnet.encoder import ResNetEncoder

    return ResNetEncoder(rest, device=where, pool=pool)


def list_encoders(*, all_models: bool = False) -> list[EncoderInfo]:
    """Describe the families, and on request every model they offer.

    Args:
        all_models: also list each pretrained model of open_clip, torchvision and timm. This
            imports them and looks for their weights on this machine; nothing is downloaded.

    Returns:
        The families first. `available` is true for what works without a network right now.
    """
    found = _families()
    if all_models:
        from engine.encoders.clip.encoder import list_pretrained as clip_models
        from engine.encoders.resnet.encoder import list_pretrained as resnet_models

        found += [*clip_models(), *resnet_models()]
    return found


def _families() -> list[EncoderInfo]:
    from engine.encoders import weights
    from engine.encoders.bundled.encoder import IMAGE_WEIGHTS, INSTALL, TEXT_WEIGHTS
    from engine.encoders.bundled.shipped import SHIPPED

    bundled = all(find_spec(weights.package) is not None for weights in (IMAGE_WEIGHTS, TEXT_WEIGHTS))
    clip = weights.cached_hub_file(*_CLIP_EXAMPLE) is not None
    resnet = (weights.torch_cache() / _RESNET_EXAMPLE).is_file()
    fetched = "downloaded once; or local weights: "
    return [
        EncoderInfo("bundled", 384, _BOTH, bundled, "small, works offline" if bundled else INSTALL),
        *(
            EncoderInfo(f"{head.encoder}{MARK}{name}", 384, _BOTH, bundled, "the same, good at short prefixes")
            for name, head in SHIPPED.items()
        ),
        EncoderInfo(_EXAMPLES["clip"], 512, _BOTH, clip, f"{fetched}clip:MODEL/./weights.safetensors"),
        EncoderInfo(_EXAMPLES["resnet"], 2048, _IMAGE, resnet, f"{fetched}resnet:NAME/./weights.pth"),
        EncoderInfo("precomputed:NAME", None, frozenset(), True, "vectors that already exist; needs dim"),
    ]
