"""CLIP models of open_clip: pictures and sentences in one space.

A spec is one of::

    clip:MODEL/TAG            clip:ViT-B-32/laion2b_s34b_b79k       published weights
    clip:MODEL/PATH           clip:ViT-B-32//home/me/tuned.pt       weights of your own
    clip:CONFIG.json:PATH     clip:./model.json:./weights.safetensors   and your own architecture

MODEL ends at the first "/". A PATH or a CONFIG begins with "/", "./", "../" or "~", and CONFIG
ends at the first ".json:". PATH is a .safetensors file or a state dict (.pt, .bin), which a
training checkpoint may hold. CONFIG is open_clip's model configuration, bare or as `model_cfg`
beside `preprocess_cfg` (the open_clip_config.json of a model hub); a list `trained_dims` in it
names the prefix dimensions the model was trained for. What else it may say is in
`engine.encoders.clip.config`; folders of a tokenizer or text tower lie relative to it.

Published weights are preprocessed as they were published, your own as the configuration says.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from engine.encoders import weights
from engine.encoders.base import Device, EncoderInfo, Fingerprint, Modality, check_prepared
from engine.encoders.clip.config import input_sides, read_config
from engine.encoders.clip.loading import (
    ClipSpec,
    Loaded,
    hub_files,
    known_config,
    load,
    make_tokenizer,
    parse_spec,
    reason_of,
)
from indexers.errors import EncoderError, InvalidInput
from indexers.threads import new_lock
from indexers.vectors import FloatArray, as_matrix, normalize

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

TEXTS_PER_BATCH = 256
# open_clip's own is meant by None and by "". A model with another may know any language.
ENGLISH_TOKENIZERS = frozenset((None, "", "bert-base-uncased", "roberta-base", "timm/ViT-B-16-SigLIP"))
_MODALITIES: frozenset[Modality] = frozenset({"image", "text"})


class ClipEncoder:
    """One CLIP model; see the module's docstring for what can be asked for.

    Names and files are checked at once, weights are read when first needed. All methods may be
    called from several threads at once.

    Args:
        source: the spec without its "clip:".
        device: where it computes; on "cuda" in mixed precision (float16).

    Raises:
        InvalidSpec: the spec does not parse, or names a model or tag that open_clip does not have.
        WeightsMissing: a local file does not exist.
    """

    def __init__(self, source: str, *, device: Device = "cpu") -> None:
        self._spec = parse_spec(source)
        self._device: Device = device
        self._lock = new_lock()
        self._loaded: Loaded | None = None
        self._tokenizer: Any = None
        self._config = read_config(self._spec.config) if self._spec.config else known_config(self._spec)
        if self._spec.weights:
            weights.local_file(self._spec.weights, what=self.name)

    @property
    def name(self) -> str:
        """The spec string that makes this encoder again."""
        spec = self._spec
        if spec.config:
            return f"clip:{weights.absolute(spec.config)}:{weights.absolute(spec.weights)}"
        return f"clip:{spec.model}/{spec.tag or weights.absolute(spec.weights)}"

    @property
    def dim(self) -> int:
        """Length D of a vector."""
        return int(self._config["model_cfg"]["embed_dim"])

    @property
    def modalities(self) -> frozenset[Modality]:
        """Pictures and texts."""
        return _MODALITIES

    @property
    def languages(self) -> frozenset[str] | None:
        """English where the texts go through a tokenizer made for it; None where it is another."""
        text = self._config["model_cfg"]["text_cfg"]
        tokenizer = text.get("hf_tokenizer_name") or text.get("hf_model_name")
        return frozenset(("en",)) if tokenizer in ENGLISH_TOKENIZERS else None

    @property
    def trained_dims(self) -> tuple[int, ...]:
        """Prefix dimensions that the model's configuration says it was trained for."""
        return tuple(self._config["trained_dims"])

    @property
    def device(self) -> Device:
        """Where it computes."""
        return self._device

    @property
    def image_size(self) -> int:
        """Side in pixels of the network's input picture; the longer one if they differ."""
        return max(input_sides(self._config))

    @property
    def fingerprint(self) -> Fingerprint:
        """What must be equal for vectors to be comparable; reads the weights, to hash them."""
        return self._ready().fingerprint

    def prepare(self, picture: Image) -> NDArray[np.float32]:
        """Turn one RGB picture into the network's input by open_clip's own transform.

        Returns:
            float32 [3, H, W].
        """
        tensor: Tensor = self._ready().transform(picture)
        return np.ascontiguousarray(tensor.numpy(), dtype=np.float32)

    def encode_images(self, batch: NDArray[np.float32]) -> FloatArray:
        """Encode prepared pictures.

        Args:
            batch: float32 [n, 3, H, W] as `prepare` makes them.

        Returns:
            Unit float32 [n, D].

        Raises:
            InvalidInput: another shape.
            WeightsMissing: the weights are not on this machine and cannot be fetched.
            EncoderError: the weights are damaged or do not fit the model.
            InvalidVectors: the network's output has NaN values.
        """
        import torch

        check_prepared(batch, *input_sides(self._config))
        if not len(batch):
            return np.empty((0, self.dim), dtype=np.float32)
        model = self._ready().model
        return self._forward(model.encode_image, torch.tensor(np.ascontiguousarray(batch, np.float32)))

    def encode_texts(self, texts: Sequence[str]) -> FloatArray:
        """Encode texts; what is beyond the model's context length is cut off.

        Args:
            texts: n strings.

        Returns:
            Unit float32 [n, D].

        Raises:
            InvalidInput: one string instead of a sequence of them.
            DependencyMissing: the model's tokenizer needs a package that is not installed.
            WeightsMissing, EncoderError, InvalidVectors: as `encode_images`.
        """
        if isinstance(texts, str):
            raise InvalidInput("expected a sequence of texts, found one string; pass [text]")
        model, tokenize = self._ready().model, self._text_tokenizer()
        rows = [np.empty((0, self.dim), dtype=np.float32)]
        for start in range(0, len(texts), TEXTS_PER_BATCH):
            tokens = tokenize(list(texts[start : start + TEXTS_PER_BATCH]))
            rows.append(self._forward(model.encode_text, tokens))
        return np.concatenate(rows)

    def _forward(self, tower: Any, inputs: Tensor) -> FloatArray:
        import torch

        mixed = torch.autocast(self._device, dtype=torch.float16, enabled=self._device == "cuda")
        with torch.inference_mode(), mixed:
            try:
                output = tower(inputs.to(self._device)).float().cpu().numpy()
            except Exception as error:  # a model that could be built may still not fit what comes in
                if "out of memory" in str(error):  # whoever encodes a batch makes it smaller
                    raise
                raise EncoderError(f"{self.name}: the model cannot compute: {reason_of(error)}") from error
        return normalize(as_matrix(output, name=self.name, dim=self.dim), name=self.name)

    def _ready(self) -> Loaded:
        with self._lock:
            if self._loaded is None:
                self._loaded = load(self._spec, self._config, self.name, self.dim, self._device)
            return self._loaded

    def _text_tokenizer(self) -> Any:
        with self._lock:
            if self._tokenizer is None:
                self._tokenizer = make_tokenizer(self._spec, self._config, self.name)
            return self._tokenizer


def list_pretrained() -> list[EncoderInfo]:
    """Return one line per published model of open_clip; `available` where its weights are cached."""
    from open_clip import get_model_config
    from open_clip import list_pretrained as offered

    found = []
    for model, tag in offered():
        spec = ClipSpec(model=model, tag=tag)
        repo, names = hub_files(spec)
        config = get_model_config(model)
        here = weights.cached_hub_file(repo, names) is not None
        note = "on this machine" if here else f"downloaded once from {repo}"
        dim = int(config["embed_dim"]) if config else None
        found.append(EncoderInfo(f"clip:{model}/{tag}", dim, _MODALITIES, here, note))
    return found
