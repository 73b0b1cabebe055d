"""Image networks of torchvision and timm: the pooled features before the classifier.

A spec is::

    resnet:[LIBRARY:]NAME[@POOL]/WEIGHTS

LIBRARY is torchvision or timm; left out, it is torchvision if that has NAME, else timm. WEIGHTS
is a tag of that library (IMAGENET1K_V2, a1_in1k), DEFAULT, or a file: a path that begins with
"/", "./", "../" or "~", to .safetensors or a state dict (.pth). POOL is avg, max, gem (p = 3)
or, where timm has it, token and others; left out, it is the architecture's own.

Input size and normalisation come from the weights' own metadata. For a local file, which has
none, they are those of the architecture's default weights, and the fingerprint says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from engine.encoders import weights
from engine.encoders.base import Device, EncoderInfo, Fingerprint, Modality, check_prepared, require_modality
from engine.encoders.resnet.spec import Recipe, ResNetSpec, parse_spec
from indexers.errors import EncoderError
from indexers.threads import new_lock
from indexers.vectors import FloatArray, as_matrix, normalize

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor


@dataclass(frozen=True)
class _Loaded:
    """A model that is ready to compute, [n, 3, H, W] → [n, D], and its fingerprint."""

    model: Any
    fingerprint: Fingerprint


class ResNetEncoder:
    """One image network; see the module's docstring for what can be asked for.

    Names and files are checked at once, weights are read when first needed. All methods may be
    called from several threads at once.

    Args:
        source: the spec without its "resnet:".
        device: where it computes; on "cuda" in mixed precision (float16).
        pool: the pooling, where the spec does not name it.

    Raises:
        InvalidSpec: the spec does not parse, or names a model or weights that do not exist.
        WeightsMissing: a local file does not exist.
    """

    def __init__(self, source: str, *, device: Device = "cpu", pool: str | None = None) -> None:
        spec = parse_spec(source, pool)
        self._backend = _backend(spec)
        self._recipe: Recipe = self._backend.resolve(spec)
        self._device: Device = device
        self._lock = new_lock()
        self._loaded: _Loaded | None = None
        if spec.weights:
            weights.local_file(spec.weights, what=self.name)

    @property
    def name(self) -> str:
        """The spec string that makes this encoder again."""
        spec = self._recipe.spec
        library = "timm:" if spec.library == "timm" else ""
        pool = f"@{spec.pool}" if spec.pool else ""
        return f"resnet:{library}{spec.name}{pool}/{spec.tag or weights.absolute(spec.weights)}"

    @property
    def dim(self) -> int:
        """Length D of a vector; reads the weights."""
        return self._ready().fingerprint.dim

    @property
    def modalities(self) -> frozenset[Modality]:
        """Pictures only."""
        return frozenset({"image"})

    @property
    def trained_dims(self) -> tuple[int, ...]:
        """None: classifiers are not Matryoshka-trained."""
        return ()

    @property
    def device(self) -> Device:
        """Where it computes."""
        return self._device

    @property
    def image_size(self) -> int:
        """Side in pixels of the network's input picture; the longer one if they differ."""
        return max(self._recipe.height, self._recipe.width)

    @property
    def fingerprint(self) -> Fingerprint:
        """What must be equal for vectors to be comparable; reads the weights, to hash them."""
        return self._ready().fingerprint

    def prepare(self, picture: Image) -> NDArray[np.float32]:
        """Turn one RGB picture into the network's input by the library's own transform.

        Returns:
            float32 [3, H, W].
        """
        tensor: Tensor = self._recipe.transform(picture)
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
            InvalidVectors: the network's output has NaN values, or is zero throughout.
        """
        import torch

        check_prepared(batch, self._recipe.height, self._recipe.width)
        if not len(batch):
            return np.empty((0, self.dim), dtype=np.float32)
        model = self._ready().model
        inputs = torch.tensor(np.ascontiguousarray(batch, np.float32), device=self._device)
        mixed = torch.autocast(self._device, dtype=torch.float16, enabled=self._device == "cuda")
        with torch.inference_mode(), mixed:
            output = model(inputs).flatten(1).float().cpu().numpy()
        return normalize(as_matrix(output, name=self.name, dim=self.dim), name=self.name)

    def encode_texts(self, texts: Sequence[str]) -> FloatArray:
        """Refuse.

        Raises:
            ModalityError: always; the message names encoders with a text tower.
        """
        require_modality(self, "text")
        raise EncoderError(f"encoder {self.name} encodes no texts")

    def _ready(self) -> _Loaded:
        with self._lock:
            if self._loaded is None:
                self._loaded = self._load()
            return self._loaded

    def _load(self) -> _Loaded:
        import torch

        spec = self._recipe.spec
        if spec.weights:
            source = weights.local_file(spec.weights, what=self.name)
        else:
            source = self._backend.fetch(spec, what=self.name)
        with torch.random.fork_rng(devices=[]):  # building a model draws random numbers
            model, pool = self._backend.build(spec, weights.read_state_dict(source), what=self.name)
        model.eval().requires_grad_(False)
        state = model.state_dict()
        weights.check_finite(state, what=self.name)
        with torch.inference_mode():
            probe = model(torch.zeros(1, 3, self._recipe.height, self._recipe.width)).flatten(1)
        fingerprint = Fingerprint(
            model=_public_name(spec, pool),
            weights=weights.hash_state(state),
            preprocess=self._recipe.preprocess,
            dim=int(probe.shape[1]),
        )
        return _Loaded(model.to(self._device), fingerprint)


def _backend(spec: ResNetSpec) -> ModuleType:
    """Return the module that builds this model: torchvision's where nothing else is asked."""
    from engine.encoders.resnet import from_torchvision

    if spec.library == "torchvision" or (spec.library is None and from_torchvision.has(spec.name)):
        return from_torchvision
    from engine.encoders.resnet import from_timm

    return from_timm


def _public_name(spec: ResNetSpec, pool: str) -> str:
    """Return the model's name for the fingerprint: never a path, which says nothing elsewhere."""
    published = f"/{spec.tag}" if spec.tag else ""
    return f"resnet:{spec.library}:{spec.name}@{pool}{published}"


def list_pretrained() -> list[EncoderInfo]:
    """Return one line per published model of torchvision and timm; nothing is downloaded."""
    from engine.encoders.resnet import from_timm, from_torchvision

    return [*from_torchvision.list_pretrained(), *from_timm.list_pretrained()]
