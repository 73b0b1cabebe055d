"""What an encoder is: the protocol every encoder follows, and the fingerprint it is known by."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from indexers.errors import EncoderMismatch, InvalidInput, ModalityError
from indexers.vectors import FloatArray

if TYPE_CHECKING:
    from PIL.Image import Image

Modality = Literal["image", "text"]
Device = Literal["cpu", "cuda", "mps"]


@dataclass(frozen=True)
class Fingerprint:
    """What must be equal for two vectors to be comparable.

    Example:
        >>> vectors = engine.Collection.open("vectors.nest")
        >>> vectors.encoder.fingerprint
        Fingerprint(model='precomputed', weights='none', preprocess='none', dim=32, trained_dims=())

    Attributes:
        model: family and architecture, e.g. "clip:ViT-B-32"; never a path of this machine.
        weights: hash of the weights' values ("blake3:…" or "sha256:…"), or "none" for `precomputed`.
        preprocess: one line that names everything done to an input before the network.
        dim: the length D of a vector.
        trained_dims: prefix dimensions the model was trained for; empty for a model that was not.
        others: all that was read, also what is not known here: it is written again, and says nothing.
    """

    model: str
    weights: str
    preprocess: str
    dim: int
    trained_dims: tuple[int, ...] = ()
    others: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)

    @property
    def digest(self) -> str:
        """Sixteen hex digits that differ whenever any field does."""
        text = json.dumps(self._known(), sort_keys=True, ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def _known(self) -> dict[str, Any]:
        """Return what is compared, by name."""
        return {one.name: getattr(self, one.name) for one in fields(self) if one.compare}

    def to_json(self) -> dict[str, Any]:
        """Return the fields as JSON values, in the order in which they were read."""
        return {**self.others, **self._known(), "trained_dims": list(self.trained_dims)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Fingerprint:
        """Read what `to_json` wrote."""
        return cls(
            model=str(data["model"]),
            weights=str(data["weights"]),
            preprocess=str(data["preprocess"]),
            dim=int(data["dim"]),
            trained_dims=tuple(int(d) for d in data.get("trained_dims", ())),
            others=dict(data),
        )


@runtime_checkable
class Encoder(Protocol):
    """Turns pictures and texts into unit vectors of one space.

    `prepare` may be called from many threads at once; so may `encode_images` and
    `encode_texts`. Weights are loaded when first needed, so that making an encoder to
    read its name or fingerprint is cheap where the fingerprint is pinned.

    Example:
        >>> encoder = engine.Collection.open("photos.nest").encoder
        >>> encoder.name, encoder.dim, sorted(encoder.modalities)
        ('bundled', 384, ['image', 'text'])
        >>> encoder.encode_texts(["a red bicycle", "a bus"]).shape
        (2, 384)
    """

    @property
    def name(self) -> str:
        """The spec string that makes this encoder again."""
        ...

    @property
    def dim(self) -> int:
        """Length D of a vector."""
        ...

    @property
    def modalities(self) -> frozenset[Modality]:
        """Which of "image" and "text" it can encode."""
        ...

    @property
    def trained_dims(self) -> tuple[int, ...]:
        """Prefix dimensions the model was trained for, ascending; empty if none."""
        ...

    @property
    def fingerprint(self) -> Fingerprint:
        """What must be equal for vectors to be comparable."""
        ...

    @property
    def device(self) -> Device:
        """Where it computes."""
        ...

    @property
    def image_size(self) -> int:
        """Side in pixels of the network's input picture; 0 without an image tower."""
        ...

    def prepare(self, picture: Image) -> NDArray[np.float32]:
        """Turn one RGB picture into the network's input, float32 [C, H, W]."""
        ...

    def encode_images(self, batch: NDArray[np.float32]) -> FloatArray:
        """Encode prepared pictures, float32 [n, C, H, W] → unit float32 [n, D]."""
        ...

    def encode_texts(self, texts: Sequence[str]) -> FloatArray:
        """Encode texts → unit float32 [n, D]."""
        ...


@dataclass(frozen=True)
class EncoderInfo:
    """One line of `nestvec encoders`."""

    spec: str
    dim: int | None
    modalities: frozenset[Modality]
    available: bool
    note: str


def languages_of(encoder: Encoder) -> frozenset[str] | None:
    """Return the languages that an encoder's text tower knows, by ISO 639 code; None where it does not say.

    An encoder says it by a property `languages`. It is no part of the protocol: one that knows all, or that nobody
    has asked, has none.
    """
    known: frozenset[str] | None = getattr(encoder, "languages", None)
    return known


def check_prepared(batch: NDArray[np.float32], height: int, width: int) -> None:
    """Refuse what no `prepare` of a network with an input of that many pixels has made.

    Raises:
        InvalidInput: it is not of shape [n, 3, height, width].
    """
    if batch.ndim != 4 or batch.shape[1:] != (3, height, width):
        raise InvalidInput(f"expected prepared pictures of shape [n, 3, {height}, {width}], found {list(batch.shape)}")


def require_modality(encoder: Encoder, modality: Modality) -> None:
    """Refuse a query the encoder has no tower for, and say what to do.

    Raises:
        ModalityError: `modality` is not among the encoder's.
    """
    if modality in encoder.modalities:
        return
    has = " and ".join(sorted(encoder.modalities)) or "no inputs, only vectors that already exist"
    raise ModalityError(
        f"encoder {encoder.name} takes {has}, and was asked to encode {modality}. "
        + (
            "For text queries index with an encoder that has a text tower, "
            "such as clip:ViT-B-32/laion2b_s34b_b79k or bundled."
            if modality == "text"
            else "Query with the id or path of a stored item, or from Python with vectors."
        )
    )


def require_same(expected: Fingerprint, found: Fingerprint, *, where: str) -> None:
    """Refuse to mix vectors of two encoders, naming both and what differs.

    Raises:
        EncoderMismatch: the fingerprints are not equal.
    """
    if expected == found:
        return
    raise EncoderMismatch(
        f"{where} holds vectors of {expected.model} ({expected.digest}), "
        f"and {found.model} ({found.digest}) was given. They differ in {differing(expected, found)}. "
        f"Use the encoder the collection was made with, or make a new collection."
    )


def differing(expected: Fingerprint, found: Fingerprint) -> str:
    """Write out the fields in which two fingerprints differ."""
    ours, theirs = expected._known(), found._known()
    return "; ".join(f"{key}: {ours[key]} ≠ {theirs[key]}" for key in ours if ours[key] != theirs[key])


def hash_arrays(arrays: Iterable[tuple[str, NDArray[Any]]]) -> str:
    """Hash named arrays by name, dtype, shape and values, in the order of their names.

    Returns:
        "blake3:" and 64 hex digits; the same for the same weights however they were stored.
    """
    from blake3 import blake3

    hasher = blake3()
    for name, array in sorted(arrays, key=lambda pair: pair[0]):
        hasher.update(f"{name}\0{array.dtype.str}\0{array.shape}\0".encode())
        hasher.update(np.ascontiguousarray(array).view(np.uint8).reshape(-1).data)
    return f"blake3:{hasher.hexdigest()}"
