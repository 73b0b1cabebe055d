"""What a model configuration may say: everything open_clip's own say, and nothing that reaches further."""

from __future__ import annotations

import json
import sys
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from open_clip.model import CLIP
from safetensors.torch import save_file

from engine.encoders.clip.config import fewest_numbers, read_config, tokenizer_arguments
from engine.encoders.clip.encoder import ClipEncoder
from engine.encoders.clip.loading import known_config, parse_spec
from indexers.errors import DependencyMissing, EncoderError, InvalidSpec, NestvecError

MODEL: dict[str, Any] = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "patch_size": 16, "head_width": 16},
    "text_cfg": {"context_length": 20, "vocab_size": 49408, "width": 8, "heads": 2, "layers": 1},
}


def changed(part: str, **values: Any) -> dict[str, Any]:
    model = deepcopy(MODEL)
    (model if part == "model_cfg" else model.setdefault(part, {})).update(values)
    return model


def write(folder: Path, content: Any) -> Path:
    (folder / "m.json").write_text(content if isinstance(content, str) else json.dumps(content))
    return folder / "m.json"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("weights") / "w.safetensors"
    torch.manual_seed(3)
    save_file(CLIP(**deepcopy(MODEL)).state_dict(), file)
    return file


def test_every_configuration_of_open_clip_itself_is_read() -> None:
    configurations = sorted((Path(open_clip.__file__).parent / "model_configs").glob("*.json"))
    assert len(configurations) > 100
    for path in configurations:
        assert read_config(str(path))["model_cfg"] == json.loads(path.read_text())


BEYOND: list[tuple[str, dict[str, Any]]] = [
    ("tokenizer_kwargs", changed("text_cfg", hf_tokenizer_name="a/b", tokenizer_kwargs={"trust_remote_code": True})),
    ("tokenizer_kwargs", changed("text_cfg", hf_tokenizer_name="a/b", tokenizer_kwargs={"cache_dir": "/tmp"})),
    ("tokenizer_kwargs", changed("text_cfg", hf_tokenizer_name="a/b", tokenizer_kwargs={"clean": "rm"})),
    ("tokenizer_kwargs", changed("text_cfg", hf_tokenizer_name="a/b", tokenizer_kwargs={"strip_sep_token": 1})),
    ("tokenizer_kwargs", changed("text_cfg", tokenizer_kwargs={"bpe_path": "/etc/passwd"})),
    ("tokenizer_kwargs", changed("text_cfg", tokenizer_kwargs={"reduction_mask": "syntax"})),
    ("tokenizer_kwargs", changed("text_cfg", tokenizer_kwargs={"strip_sep_token": True})),
    ("trust_remote_code", changed("text_cfg", trust_remote_code=True)),
    ("hf_model_name", changed("text_cfg", hf_model_name="hf-hub:a/b")),
    ("hf_model_name", changed("text_cfg", hf_model_name="a/b/c")),
    ("hf_tokenizer_name", changed("text_cfg", hf_tokenizer_name=["a"])),
    ("hf_tokenizer_name", changed("text_cfg", hf_tokenizer_name="https://example.org/t")),
    ("timm_model_name", changed("vision_cfg", timm_model_name="hf-hub:a/b")),
    ("timm_model_name", changed("vision_cfg", timm_model_name="hf_hub:a/b")),
    ("timm_model_name", changed("vision_cfg", timm_model_name="local-dir:/tmp")),
    ("timm_model_name", changed("vision_cfg", timm_model_name="/tmp/model")),
    ("timm_model_name", changed("vision_cfg", timm_model_name="no_such_model_anywhere")),
    ("layers", changed("vision_cfg", layers=10**9)),
    ("layers", changed("vision_cfg", layers=[1, 1, 1])),
    ("layers", changed("vision_cfg", layers=True)),
    ("layers", changed("text_cfg", layers=-1)),
    ("width", changed("text_cfg", width=2**40)),
    ("width", changed("text_cfg", width=32.0)),
    ("context_length", changed("text_cfg", context_length=10**6)),
    ("image_size", changed("vision_cfg", image_size=[32, 32, 32])),
    ("image_size", changed("vision_cfg", image_size=10**6)),
    ("mlp_ratio", changed("vision_cfg", mlp_ratio=float("nan"))),
    ("mlp_ratio", changed("vision_cfg", mlp_ratio=1e9)),
    ("norm_kwargs", changed("text_cfg", norm_kwargs={"device": "meta"})),
    ("act_kwargs", changed("text_cfg", act_kwargs={"approximate": "x"})),
    ("output_tokens", changed("vision_cfg", output_tokens=True)),
    ("pool_type", changed("vision_cfg", pool_type="none")),
    ("pool_type", changed("text_cfg", pool_type="none")),
    ("embed_dim", changed("model_cfg", embed_dim=0)),
    ("cast_dtype", changed("model_cfg", cast_dtype="float16")),
    ("n_queries", changed("multimodal_cfg", n_queries=10**9)),
    ("vision_cfg", {**MODEL, "vision_cfg": [1]}),
    ("mean", {"model_cfg": MODEL, "preprocess_cfg": {"mean": [0.5, 0.5]}}),
    ("std", {"model_cfg": MODEL, "preprocess_cfg": {"std": [0.5, 0.5, 0]}}),
    ("interpolation", {"model_cfg": MODEL, "preprocess_cfg": {"interpolation": "none"}}),
    ("fill_color", {"model_cfg": MODEL, "preprocess_cfg": {"fill_color": 2**70}}),
    ("pretrained", {"model_cfg": MODEL, "pretrained": "/tmp/x"}),
]


@pytest.mark.parametrize(("said", "content"), BEYOND, ids=[f"{i}-{said}" for i, (said, _) in enumerate(BEYOND)])
def test_what_is_not_listed_is_refused_in_words(tmp_path: Path, said: str, content: dict[str, Any]) -> None:
    path = write(tmp_path, content)
    with pytest.raises(InvalidSpec, match=said) as caught:
        ClipEncoder(f"{path}:{tmp_path}/w.safetensors")
    assert str(path) in str(caught.value)
    assert len(str(caught.value)) < 700


@pytest.mark.parametrize("content", ["[" * 100_000, '{"a": ' * 50_000, "\x00", "null", "3", '"x"', " " * (2 << 20)])
def test_files_that_are_no_configuration_at_all(tmp_path: Path, content: str) -> None:
    with pytest.raises(InvalidSpec, match=r"m\.json"):
        read_config(str(write(tmp_path, content)))


def test_a_model_far_larger_than_its_weights_is_not_built(tmp_path: Path, weights: Path) -> None:
    for tower, values in (("vision_cfg", {"layers": 256, "width": 32_768}), ("text_cfg", {"vocab_size": 4_000_000})):
        path = write(tmp_path, changed(tower, **values))
        with pytest.raises(EncoderError, match="it has at least"):
            ClipEncoder(f"{path}:{weights}").encode_texts(["a"])


def test_a_model_has_at_least_the_numbers_it_is_said_to_have() -> None:
    for name in ("ViT-S-32-alt", "RN50", "coca_base"):
        config = open_clip.get_model_config(name)
        least = fewest_numbers({"model_cfg": config})
        with torch.device("meta"):
            model = open_clip.CLIP if "multimodal_cfg" not in config else open_clip.CoCa
            built = model(**{key: value for key, value in config.items() if key != "custom_text"})
        total = sum(tensor.numel() for tensor in built.state_dict().values())
        assert 0.2 * total < least <= total


def test_a_tokenizer_is_told_not_to_run_code() -> None:
    text = {"context_length": 64, "tokenizer_mode": "clips", "tokenizer_kwargs": {"clean": "canonicalize"}}
    assert tokenizer_arguments(text) == {
        "context_length": 64,
        "tokenizer_mode": "clips",
        "clean": "canonicalize",
        "trust_remote_code": False,
    }
    # open_clip's own configurations too: their tokenizers come from a hub.
    for name in ("ViT-B-16-SigLIP", "xlm-roberta-base-ViT-B-32"):
        found = tokenizer_arguments(known_config(parse_spec(f"{name}/./w"))["model_cfg"]["text_cfg"])
        assert found["trust_remote_code"] is False


STUB = """
class AutoTokenizer:
    calls = []
    @classmethod
    def from_pretrained(cls, name, **arguments):
        import torch
        from types import SimpleNamespace
        cls.calls.append((name, arguments))
        return lambda texts, max_length, **_: SimpleNamespace(input_ids=torch.ones(len(texts), max_length).long())
class AutoConfig:
    @classmethod
    def from_pretrained(cls, name, **arguments):
        assert arguments == {"trust_remote_code": False}, arguments
        raise ValueError("this needs code")
"""


@pytest.fixture
def transformers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The two names of the optional package that are called, where the package itself is not installed."""
    (tmp_path / "stub").mkdir()
    (tmp_path / "stub" / "transformers.py").write_text(STUB)
    monkeypatch.syspath_prepend(str(tmp_path / "stub"))
    monkeypatch.delitem(sys.modules, "transformers", raising=False)
    import transformers

    yield transformers
    sys.modules.pop("transformers", None)


def test_texts_go_through_a_hugging_face_tokenizer(tmp_path: Path, weights: Path, transformers: Any) -> None:
    (tmp_path / "tokens").mkdir()
    (tmp_path / "tokens" / "vocabulary").write_text("1")
    named = changed("text_cfg", hf_tokenizer_name="./tokens", tokenizer_kwargs={"strip_sep_token": False})
    encoder = ClipEncoder(f"{write(tmp_path, named)}:{weights}")
    assert encoder.encode_texts(["a", "b"]).shape == (2, 16)
    [(name, arguments)] = transformers.AutoTokenizer.calls
    assert name == str(tmp_path / "tokens")  # beside the configuration, wherever the command runs
    assert arguments["trust_remote_code"] is False
    # The folder is known by what is in it.
    fingerprint = encoder.fingerprint
    assert str(tmp_path) not in json.dumps(fingerprint.to_json())
    (tmp_path / "tokens" / "vocabulary").write_text("2")
    assert ClipEncoder(f"{tmp_path}/m.json:{weights}").fingerprint != fingerprint


def test_a_text_tower_that_needs_code_is_refused(tmp_path: Path, weights: Path, transformers: Any) -> None:
    assert transformers
    path = write(tmp_path, changed("text_cfg", hf_model_name="some/tower"))
    with pytest.raises(EncoderError, match="some/tower cannot be used: this needs code"):
        ClipEncoder(f"{path}:{weights}").encode_texts(["a"])


def test_every_configuration_ends_in_vectors_or_in_a_named_error(tmp_path: Path, weights: Path) -> None:
    vision = {
        "patch_size": 7,
        "head_width": 5,
        "pool_type": "avg",
        "attentional_pool": "cascade",
        "layers": [1, 1, 1, 1],
    }
    text = {
        "vocab_size": 1000,
        "heads": 3,
        "pool_type": "last",
        "eos_id": 5,
        "hf_tokenizer_name": "a/b",
        "embed_cls": True,
    }
    tried = [changed("vision_cfg", **{k: v}) for k, v in vision.items()]
    tried += [changed("text_cfg", **{k: v}) for k, v in text.items()]
    for content in [*tried, changed("model_cfg", quick_gelu=True), changed("multimodal_cfg", layers=1)]:
        encoder = ClipEncoder(f"{write(tmp_path, content)}:{weights}")
        try:
            vectors = encoder.encode_texts(["a", "b"])
        except (EncoderError, DependencyMissing):
            continue
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("spec", ["local-dir:.", "hf-hub:some", "local-dir:/tmp"])
def test_a_model_name_is_one_open_clip_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spec: str) -> None:
    """And neither a folder nor a hub to go and read a configuration from."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": MODEL}))
    with pytest.raises(NestvecError, match=r"no model|a path was found|expected clip"):
        ClipEncoder(f"{spec}/./w.safetensors")
