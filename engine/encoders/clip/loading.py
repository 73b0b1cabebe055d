"""Loading CLIP models: what a spec means, where its weights are, and building the model.

The grammar of specs is in the docstring of `engine.encoders.clip.encoder`.
"""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.encoders import weights
from engine.encoders.base import Device, Fingerprint
from engine.encoders.clip.config import input_sides, public_names, require_room, tokenizer_arguments
from indexers.errors import DependencyMissing, EncoderError, InvalidSpec, WeightsMissing, did_you_mean

MOST_CONFIG_BYTES = 1 << 24
# The files that hold the weights of a hub repository which names none.
_HUB_DEFAULTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")


@dataclass(frozen=True)
class ClipSpec:
    """What a spec says.

    Attributes:
        model: a model name of open_clip; "" when `config` is given.
        config: path of a model configuration; "" when `model` is given.
        tag: name of published weights; "" when `weights` is given.
        weights: path of a weights file; "" when `tag` is given.
    """

    model: str = ""
    config: str = ""
    tag: str = ""
    weights: str = ""


def parse_spec(text: str) -> ClipSpec:
    """Parse what follows "clip:" by the grammar in the module's docstring.

    Raises:
        InvalidSpec: says which of the three forms was expected.
    """
    if weights.is_path(text):
        match = re.fullmatch(r"(.+?\.json):(.+)", text)
        if match and weights.is_path(match[2]):
            return ClipSpec(config=match[1], weights=match[2])
        raise InvalidSpec(
            f"encoder clip:{text}: a path was found where a model name is expected. For a model "
            "configuration write clip:CONFIG.json:PATH, such as clip:./model.json:./weights.safetensors"
        )
    model, _, rest = text.partition("/")
    if not model or not rest:
        raise InvalidSpec(
            f"encoder clip:{text}: expected clip:MODEL/TAG such as clip:ViT-B-32/laion2b_s34b_b79k, "
            "or clip:MODEL/PATH such as clip:ViT-B-32/./weights.safetensors"
        )
    if weights.is_path(rest):
        return ClipSpec(model=model, weights=rest)
    return ClipSpec(model=model, tag=rest.lower().replace("-", "_"))


@dataclass(frozen=True)
class Loaded:
    """A model that is ready to compute, open_clip's transform for it, and its fingerprint."""

    model: Any
    transform: Any
    fingerprint: Fingerprint


def known_config(spec: ClipSpec) -> dict[str, Any]:
    """Return open_clip's configuration of a model, with what its published weights ask for.

    Returns:
        `model_cfg`, `preprocess_cfg` and `trained_dims`, as in a configuration file.

    Raises:
        InvalidSpec: open_clip has no such model or no such weights.
    """
    import difflib

    import open_clip

    known = open_clip.list_models()
    if spec.model not in known:  # looked for first: behind "hf-hub:" and "local-dir:" open_clip would go and read one
        near = difflib.get_close_matches(spec.model, known, n=4, cutoff=0.4)
        raise InvalidSpec(
            f"encoder clip: open_clip has no model {spec.model!r}. Near it: {', '.join(near) or 'nothing'}"
        )
    model = open_clip.get_model_config(spec.model)
    published: dict[str, Any] = {}
    if spec.tag:
        published = open_clip.pretrained.get_pretrained_cfg(spec.model, spec.tag)
        if not published:
            tags = open_clip.list_pretrained_tags_by_model(spec.model)
            raise InvalidSpec(
                f"encoder clip:{spec.model}: there are no published weights {spec.tag!r}; there are: "
                f"{', '.join(tags) or 'none'}. For a file of your own write its path with / or ./ in front"
                f"{did_you_mean(spec.tag, tags)}"
            )
        # Weights trained with QuickGELU give other vectors without it, and open_clip only warns.
        model["quick_gelu"] = bool(published.get("quick_gelu") or model.get("quick_gelu"))
    wanted = ("mean", "std", "interpolation", "resize_mode")
    preprocess = {key: published[key] for key in wanted if published.get(key) is not None}
    return {"model_cfg": model, "preprocess_cfg": preprocess, "trained_dims": ()}


def hub_files(spec: ClipSpec) -> tuple[str, tuple[str, ...]]:
    """Return the hub repository of published weights and the names their file may have.

    Raises:
        WeightsMissing: the weights are in no hub repository.
    """
    from open_clip.pretrained import get_pretrained_cfg

    location: str = get_pretrained_cfg(spec.model, spec.tag).get("hf_hub", "")
    repo, _, name = location.rpartition("/")
    if not repo:
        raise WeightsMissing(f"open_clip publishes {spec.model}/{spec.tag} in no hub repository; use another")
    return repo, ((f"{Path(name).stem}.safetensors", name) if name else _HUB_DEFAULTS)


def load(spec: ClipSpec, config: dict[str, Any], name: str, dim: int, device: Device) -> Loaded:
    """Read or fetch the weights and build the model on `device`.

    Raises:
        WeightsMissing: the weights are not on this machine and cannot be fetched.
        EncoderError: they are damaged, have NaN values, or do not fit the model.
        DependencyMissing: the model's text tower needs a package that is not installed.
    """
    from open_clip.transform import PreprocessCfg, image_transform_v2

    if spec.weights:
        source = weights.local_file(spec.weights, what=name)
    else:
        repo, files = hub_files(spec)
        source = weights.hub_file(repo, files, what=name)
    model = _build(config, source, name)
    state = model.state_dict()
    weights.check_finite(state, what=name)
    preprocess = PreprocessCfg(**model.visual.preprocess_cfg)
    fingerprint = Fingerprint(
        model=_public_name(spec, config),
        weights=weights.hash_state(state),
        preprocess=_describe(preprocess, config),
        dim=dim,
        trained_dims=tuple(config["trained_dims"]),
    )
    ready = model.eval().requires_grad_(False).to(device)
    return Loaded(ready, image_transform_v2(preprocess, is_train=False), fingerprint)


def _build(config: dict[str, Any], source: Path, name: str) -> Any:
    """Make the model and load its weights, by open_clip's own code, which also converts old layouts."""
    import open_clip
    import torch

    tower = config["model_cfg"]["text_cfg"].get("hf_model_name")
    if tower:
        _require_transformers(name)
        _require_no_code(tower, name)
    with tempfile.TemporaryDirectory(prefix="nestvec-") as temporary, torch.random.fork_rng(devices=[]):
        folder = Path(temporary)
        _write_config(config, folder)
        # open_clip sees safetensors only: for other files it has a way of reading that runs code.
        linked = folder / "open_clip_model.safetensors"
        if source.suffix == ".safetensors":
            linked.symlink_to(source.resolve())
        else:
            weights.write_safetensors(weights.read_state_dict(source), linked)
        require_room(config, linked, f"{name}: the weights in {source}")
        try:
            return open_clip.create_model(f"local-dir:{folder}", precision="fp32", device="cpu")
        except Exception as error:  # architectures fail in many ways: shapes, missing keys, bad options
            raise EncoderError(
                f"{name}: the weights in {source} do not fit the model, or are damaged: {reason_of(error)}"
            ) from error


def _write_config(config: dict[str, Any], folder: Path) -> None:
    content = {key: config[key] for key in ("model_cfg", "preprocess_cfg")}
    (folder / "open_clip_config.json").write_text(json.dumps(content), encoding="utf-8")


def _public_name(spec: ClipSpec, config: dict[str, Any]) -> str:
    """Return the model's name for the fingerprint: never a path, which says nothing elsewhere."""
    if spec.model:
        return f"clip:{spec.model}/{spec.tag}" if spec.tag else f"clip:{spec.model}"
    model = config["model_cfg"]
    canonical = json.dumps({**model, "text_cfg": public_names(model["text_cfg"])}, sort_keys=True)
    return f"clip:config-{hashlib.sha256(canonical.encode()).hexdigest()[:12]}"


def _describe(preprocess: Any, config: dict[str, Any]) -> str:
    height, width = input_sides(config)
    text = public_names(config["model_cfg"]["text_cfg"])
    mean, std = (" ".join(f"{value:.8g}" for value in part) for part in (preprocess.mean, preprocess.std))
    return (
        f"resize {preprocess.resize_mode} to {height}×{width} {preprocess.interpolation}, "
        f"mean {mean}, std {std}; texts by {text.get('hf_tokenizer_name') or 'CLIP BPE'}, "
        f"{text.get('context_length', 77)} tokens"
    )


def make_tokenizer(spec: ClipSpec, config: dict[str, Any], name: str) -> Any:
    """Return open_clip's tokenizer for the model: a list of texts → int64 [n, context length].

    Raises:
        DependencyMissing: it needs a package that is not installed.
        WeightsMissing: its vocabulary is not on this machine and cannot be fetched.
    """
    import open_clip
    from open_clip.tokenizer import HFTokenizer

    text = config["model_cfg"]["text_cfg"]
    source = text.get("hf_tokenizer_name")
    if source:
        _require_transformers(name)
    try:
        if source:
            return HFTokenizer(source, **tokenizer_arguments(text))
        if spec.model:
            return open_clip.get_tokenizer(spec.model)
        with tempfile.TemporaryDirectory(prefix="nestvec-") as temporary:
            _write_config(config, Path(temporary))
            return open_clip.get_tokenizer(f"local-dir:{temporary}")
    except OSError as error:
        raise WeightsMissing(
            f"{name}: the tokenizer {source} is not on this machine and could not be fetched: {error}. "
            "Connect once to download it, or use the encoder `bundled`, which works offline."
        ) from error
    except Exception as error:  # the files of a tokenizer fail in many ways, and one that needs code is refused
        raise EncoderError(f"{name}: the tokenizer {source} cannot be used: {reason_of(error)}") from error


def _require_no_code(tower: str, name: str) -> None:
    """Refuse a text tower whose architecture is not one of transformers' own, but code beside its configuration.

    Raises:
        WeightsMissing: its configuration is not on this machine and cannot be fetched.
        EncoderError: it is no configuration, or names code.
    """
    from transformers import AutoConfig

    try:
        found = AutoConfig.from_pretrained(tower, trust_remote_code=False)
    except OSError as error:
        raise WeightsMissing(
            f"{name}: the text tower {tower} is not on this machine and could not be fetched: {error}. "
            "Connect once to download it, or use the encoder `bundled`, which works offline."
        ) from error
    except Exception as error:  # what needs code is refused there with a ValueError, and others fail otherwise
        raise EncoderError(f"{name}: the text tower {tower} cannot be used: {reason_of(error)}") from error
    if getattr(found, "auto_map", None):
        raise EncoderError(f"{name}: the text tower {tower} comes with code of its own, which is not run; use another")


def reason_of(error: Exception) -> str:
    """Return what a library says went wrong, in one line of some length."""
    return " ".join(str(error).split())[:400] or type(error).__name__


def _require_transformers(name: str) -> None:
    from importlib.util import find_spec

    if find_spec("transformers") is None:
        raise DependencyMissing(f"{name} reads text with the package transformers: pip install 'transformers>=4.53'")
