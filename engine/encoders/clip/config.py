"""Model configurations of CLIP from a file: what one may say, and reading it.

A configuration is somebody's file, and open_clip passes what stands in it on: to its own layers, to timm, to the
tokenizers of transformers. Only what is listed here goes through, of the type and in the range that a model can have:
nothing that would run code, fetch anything but a named tokenizer or text tower, or ask for more than its weights hold.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blake3 import blake3

from engine.encoders import weights
from engine.storage.regular import hash_regular, read_regular
from indexers.errors import EncoderError, InvalidSpec

MOST_BYTES = 1 << 20
# Of a model hub: one name, or an organisation's.
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,95}(/[A-Za-z0-9][\w.-]{0,95})?", re.ASCII)
_SOURCES = ("hf_model_name", "hf_tokenizer_name")
_TIMM_NAME = re.compile(r"\w{1,96}(\.\w{1,96})?", re.ASCII)


@dataclass(frozen=True)
class Rule:
    """What a value must be: in words, and as a test."""

    words: str
    holds: Callable[[Any], bool]

    def or_none(self) -> Rule:
        """Return the rule that lets null through as well."""
        return Rule(f"{self.words}, or null", lambda value: value is None or self.holds(value))


def _whole(low: int, high: int) -> Rule:
    return Rule(f"a whole number from {low} to {high}", lambda value: type(value) is int and low <= value <= high)


def _number(low: float, high: float) -> Rule:
    return Rule(
        f"a number from {low:g} to {high:g}", lambda value: type(value) in (int, float) and low <= value <= high
    )


def _one_of(*known: str) -> Rule:
    return Rule(f"one of {', '.join(map(repr, known))}", lambda value: isinstance(value, str) and value in known)


def _list(rule: Rule, length: int) -> Rule:
    return Rule(
        f"a list of {length}, each {rule.words}",
        lambda value: isinstance(value, list) and len(value) == length and all(map(rule.holds, value)),
    )


def _either(first: Rule, second: Rule) -> Rule:
    return Rule(f"{first.words}, or {second.words}", lambda value: first.holds(value) or second.holds(value))


def _only(**rules: Rule) -> Rule:
    """Make the rule of a little object that is handed on as it is."""
    return Rule(
        f"an object with {', '.join(f'{name} ({rule.words})' for name, rule in rules.items())}",
        lambda value: (
            isinstance(value, dict) and all(key in rules and rules[key].holds(one) for key, one in value.items())
        ),
    )


def _is_source(value: Any) -> bool:
    return isinstance(value, str) and (weights.is_path(value) or _HUB_NAME.fullmatch(value) is not None)


def _timm_knows(value: Any) -> bool:
    """Tell the names timm builds by itself: with a scheme in front it would go to a hub or a folder for more."""
    if not isinstance(value, str) or _TIMM_NAME.fullmatch(value) is None:
        return False
    import timm

    return bool(timm.is_model(value))


_TRUTH = Rule("true or false", lambda value: isinstance(value, bool))
_SOURCE = Rule("the name of a hub repository, such as roberta-base, or a folder with / or ./ in front", _is_source)
_SIDE, _WIDTH, _COUNT = _whole(1, 4096), _whole(1, 32_768), _whole(1, 1024)
_BLOCKS = {
    "mlp_ratio": _number(0.01, 64),
    "ls_init_value": _number(0, 100).or_none(),
    "final_ln_after_pool": _TRUTH,
    "output_tokens": _TRUTH,
    "act_kwargs": _only(approximate=_one_of("none", "tanh")).or_none(),
    "norm_kwargs": _only(eps=_number(0, 1)).or_none(),
    "block_type": _one_of("default", "custom").or_none(),
    **dict.fromkeys(("qk_norm", "scaled_cosine_attn", "scale_heads", "scale_attn_inner", "scale_attn"), _TRUTH),
    "scale_fc": _TRUTH,
}
_VISION = {
    **_BLOCKS,
    "layers": _either(_whole(1, 256), _list(_whole(1, 256), 4)),
    "width": _WIDTH,
    "head_width": _WIDTH,
    "patch_size": _SIDE.or_none(),
    "image_size": _either(_SIDE, _list(_SIDE, 2)),
    "patch_dropout": _number(0, 0.99),
    "attentional_pool": _either(_TRUTH, _one_of("parallel", "cascade")),
    "attn_pooler_queries": _COUNT,
    "attn_pooler_heads": _COUNT,
    "no_ln_pre": _TRUTH,
    "pos_embed_type": _one_of("learnable", "sin_cos_2d"),
    "pool_type": _one_of("tok", "avg", "none"),
    "timm_model_name": Rule("the name of a model that timm has itself", _timm_knows).or_none(),
    "timm_model_pretrained": _TRUTH,
    "timm_pool": _one_of("", "avg", "max", "avgmax", "catavgmax", "token", "map", "abs_attn", "rot_attn"),
    "timm_proj": _one_of("", "linear", "mlp", "none").or_none(),
    "timm_proj_bias": _TRUTH,
    "timm_drop": _number(0, 0.99),
    "timm_drop_path": _number(0, 0.99).or_none(),
}
_CLEAN = _one_of("whitespace", "lower", "canonicalize")
# What open_clip's own tokenizer takes, and what its wrapper of transformers' does: never what goes on to transformers.
_BPE_ARGUMENTS = _only(clean=_CLEAN)
_HF_ARGUMENTS = _only(
    clean=_CLEAN,
    strip_sep_token=_TRUTH,
    language=Rule(
        "a language code", lambda value: isinstance(value, str) and re.fullmatch(r"\w{1,32}", value) is not None
    ),
)
_TEXT = {
    **_BLOCKS,
    "context_length": _whole(1, 8192),
    "vocab_size": _whole(1, 4_000_000),
    "width": _WIDTH,
    "heads": _COUNT,
    "layers": _whole(1, 256),
    "embed_cls": _TRUTH,
    "pad_id": _whole(0, 4_000_000),
    "eos_id": _whole(0, 4_000_000),
    "no_causal_mask": _TRUTH,
    "pool_type": _one_of("first", "last", "argmax", "eos", "none"),
    "proj_bias": _TRUTH,
    "proj_type": _one_of("linear", "none"),
    "hf_tokenizer_name": _SOURCE.or_none(),
    "tokenizer_mode": _one_of("", "clips").or_none(),
    "tokenizer_kwargs": _HF_ARGUMENTS.or_none(),
    "hf_model_name": _SOURCE.or_none(),
    "hf_model_pretrained": _TRUTH,
    "hf_proj_type": _one_of("linear", "mlp").or_none(),
    "hf_pooler_type": _one_of("mean_pooler", "max_pooler", "cls_pooler", "cls_last_hidden_state_pooler").or_none(),
}
_MULTIMODAL = {
    **_BLOCKS,
    **{key: _TEXT[key] for key in ("context_length", "vocab_size", "width", "heads", "layers")},
    "dim_head": _WIDTH,
    "n_queries": _COUNT,
    "attn_pooler_heads": _COUNT,
}
_MODEL = {
    "embed_dim": _whole(1, 65_536),
    "quick_gelu": _TRUTH,
    "custom_text": _TRUTH,
    "init_logit_scale": _number(-1000, 1000),
    "init_logit_bias": _number(-1000, 1000).or_none(),
    "nonscalar_logit_scale": _TRUTH,
}
_TOWERS = {"vision_cfg": _VISION, "text_cfg": _TEXT, "multimodal_cfg": _MULTIMODAL}
_PREPROCESS = {
    "size": _either(_SIDE, _list(_SIDE, 2)).or_none(),
    "mode": _one_of("RGB").or_none(),
    "mean": _list(_number(-1000, 1000), 3).or_none(),
    "std": _list(_number(1e-6, 1000), 3).or_none(),
    "interpolation": _one_of("bicubic", "bilinear").or_none(),
    "resize_mode": _one_of("shortest", "longest", "squash").or_none(),
    "fill_color": _whole(0, 255).or_none(),
}


def read_config(text: str) -> dict[str, Any]:
    """Read a model configuration file.

    Args:
        text: its path, as the spec has it.

    Returns:
        `model_cfg`, `preprocess_cfg` and `trained_dims`; towers that lie in folders are named by absolute paths.

    Raises:
        WeightsMissing: there is no such file.
        InvalidSpec: it is not a model configuration of open_clip, or says what is not in the lists above.
    """
    path = weights.local_file(text, what=f"clip model configuration {text}")
    try:
        read = json.loads(read_regular(path, most=MOST_BYTES))
        if not isinstance(read, dict):
            raise ValueError("it is no object")
        model = read.get("model_cfg", {key: value for key, value in read.items() if key != "trained_dims"})
        preprocess, dims = read.get("preprocess_cfg", {}), read.get("trained_dims", [])
        if "model_cfg" in read:
            _require_known(read, {"model_cfg", "preprocess_cfg", "trained_dims"}, "the file")
        _check_model(model)
        _check(preprocess, _PREPROCESS, "preprocess_cfg")
        _check_dims(dims, model["embed_dim"])
    except (ValueError, RecursionError, OSError) as error:
        raise InvalidSpec(f"{path}: expected an open_clip model configuration in JSON, and: {error}") from error
    _locate(model["text_cfg"], path.parent)
    return {"model_cfg": model, "preprocess_cfg": preprocess, "trained_dims": tuple(dims)}


def _check_model(model: Any) -> None:
    if not isinstance(model, dict) or not {"embed_dim", "vision_cfg", "text_cfg"} <= model.keys():
        raise ValueError("embed_dim, vision_cfg and text_cfg are not all there")
    _check({key: value for key, value in model.items() if key not in _TOWERS}, _MODEL, "model_cfg")
    for tower in _TOWERS.keys() & model.keys():
        _check(model[tower], _TOWERS[tower], tower)
    _check_towers(model)


def _check_towers(model: Mapping[str, Any]) -> None:
    """Refuse values that are fine by themselves and not together."""
    vision, text = model["vision_cfg"], model["text_cfg"]
    arguments = text.get("tokenizer_kwargs")
    if arguments and not text.get("hf_tokenizer_name") and not _BPE_ARGUMENTS.holds(arguments):
        raise ValueError(f"tokenizer_kwargs without hf_tokenizer_name: expected {_BPE_ARGUMENTS.words}")
    # Towers that give their tokens too are parts of CoCa; anywhere else a tuple would come out of them.
    if "multimodal_cfg" not in model and (vision.get("output_tokens") or text.get("output_tokens")):
        raise ValueError("output_tokens: expected only beside multimodal_cfg")
    for name, tower, tokens in (("vision_cfg", vision, "tok"), ("text_cfg", text, "argmax")):
        if tower.get("pool_type") == "none" and not tower.get("attentional_pool"):
            raise ValueError(f"{name}.pool_type: none gives no vector; expected {tokens!r} or another")


def _check(found: Any, rules: Mapping[str, Rule], where: str) -> None:
    if not isinstance(found, dict):
        raise ValueError(f"{where}: expected an object, found {_shown(found)}")
    _require_known(found, rules, where)
    for key, value in found.items():
        if not rules[key].holds(value):
            raise ValueError(f"{where}.{key}: expected {rules[key].words}, found {_shown(value)}")


def _require_known(found: Mapping[str, Any], known: Any, where: str) -> None:
    if unknown := sorted(set(found) - set(known)):
        raise ValueError(f"{where}: {_shown(unknown[0])} is nothing a model configuration can say here; take it out")


def _check_dims(dims: Any, embed_dim: int) -> None:
    fits = isinstance(dims, list) and all(type(d) is int and 1 <= d <= embed_dim for d in dims)
    if not fits or dims != sorted(set(dims)):
        raise ValueError("trained_dims must ascend, from 1 at least to embed_dim at most")


def _shown(value: Any) -> str:
    """Return a value as it is written, but not a page of it."""
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:80]}…"


def _locate(text: dict[str, Any], folder: Path) -> None:
    """Make the folders that a configuration names absolute: they lie where it lies, not where the command runs."""
    for key in _SOURCES:
        if weights.is_path(text.get(key) or ""):
            text[key] = weights.absolute(str(folder / Path(text[key]).expanduser()))


def public_names(text: Mapping[str, Any]) -> dict[str, Any]:
    """Return a text tower's configuration in which a folder is known by what is in it: its path says nothing elsewhere.

    Raises:
        EncoderError: the folder cannot be read.
    """
    keys = [key for key in _SOURCES if weights.is_path(text.get(key) or "")]
    return {**text, **{key: f"folder {_hash_folder(Path(text[key]))}" for key in keys}}


def _hash_folder(folder: Path) -> str:
    try:
        hashes = [[path.name, hash_regular(path)] for path in sorted(folder.iterdir()) if path.is_file()]
    except OSError as error:
        raise EncoderError(f"{folder}: expected a folder of Hugging Face's files, and: {error.strerror}") from error
    return blake3(json.dumps(hashes).encode()).hexdigest(length=6)


def input_sides(config: Mapping[str, Any]) -> tuple[int, int]:
    """Return height and width of the network's input."""
    size = config["model_cfg"]["vision_cfg"].get("image_size", 224)
    return (int(size[0]), int(size[1])) if isinstance(size, list | tuple) else (int(size), int(size))


def require_room(config: Mapping[str, Any], weights: Path, what: str) -> None:
    """Refuse a model far larger than its weights, before it is built: every number of it must be in that file.

    Args:
        config: as `read_config` returns it.
        weights: the file they are read from.
        what: what to call them in the error.

    Raises:
        EncoderError: it is.
    """
    wanted, size = fewest_numbers(config), weights.stat().st_size
    if wanted > size:
        raise EncoderError(
            f"{what} do not fit the model: it has at least {wanted:,} numbers, and they are {size:,} bytes. "
            "Correct the configuration, or name the weights that belong to it."
        )


def fewest_numbers(config: Mapping[str, Any]) -> int:
    """Return how many numbers a model has at least: those of its large matrices, of towers that are open_clip's own."""
    model = config["model_cfg"]
    vision, text = model["vision_cfg"], model["text_cfg"]
    found = 0
    if not vision.get("timm_model_name"):
        width, layers, patch = vision.get("width", 768), vision.get("layers", 12), vision.get("patch_size") or 16
        if isinstance(layers, list):
            found += sum(layers) * width * width
        else:
            learned = vision.get("pos_embed_type", "learnable") == "learnable"
            found += math.prod(side // patch for side in input_sides(config)) * width if learned else 0
            found += _block_numbers(layers, width, vision)
    if not text.get("hf_model_name"):
        width = text.get("width", 512)
        found += text.get("vocab_size", 49408) * width + _block_numbers(text.get("layers", 12), width, text)
    return found


def _block_numbers(layers: int, width: int, tower: Mapping[str, Any]) -> int:
    """Return the numbers of the attention's four matrices and the perceptron's two, for every block."""
    return layers * (4 * width * width + 2 * width * int(width * tower.get("mlp_ratio", 4.0)))


def tokenizer_arguments(text: Mapping[str, Any]) -> dict[str, Any]:
    """Return what open_clip's wrapper of a Hugging Face tokenizer is called with, beside the tokenizer's name.

    What it does not know itself goes on to transformers, which is told here that it must not run what comes with a
    tokenizer: without that word it asks on the terminal.
    """
    return {
        "context_length": text.get("context_length", 77),
        "tokenizer_mode": text.get("tokenizer_mode"),
        **(text.get("tokenizer_kwargs") or {}),
        "trust_remote_code": False,
    }
