"""The `precomputed` encoder: a name and a dimension for vectors that were made elsewhere.

It encodes nothing. It stands where an encoder is expected, so that a table of vectors can
be a collection of its own, searched with stored items or with vectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from engine.encoders.base import Device, Fingerprint, Modality, require_modality
from indexers.errors import EncoderError, InvalidSpec
from indexers.vectors import FloatArray

if TYPE_CHECKING:
    from PIL.Image import Image


class PrecomputedEncoder:
    """Stands for whatever made the vectors.

    Args:
        name: what the user calls the vectors' origin ("" for no name); part of the fingerprint,
            so that two differently named origins are not mixed.
        dim: length D of a vector.

    Raises:
        InvalidSpec: `dim` is below 1, or `name` has control characters.
    """

    def __init__(self, *, name: str, dim: int) -> None:
        if dim < 1:
            raise InvalidSpec(f"precomputed: expected a dimension above 0, found {dim}")
        if not name.isprintable():
            raise InvalidSpec(f"precomputed: expected a name of printable characters, found {name!r}")
        self._label = f"precomputed:{name}" if name else "precomputed"
        self._dim = dim

    @property
    def name(self) -> str:
        """The spec string; with `dim` it makes this encoder again."""
        return self._label

    @property
    def dim(self) -> int:
        """Length D of a vector."""
        return self._dim

    @property
    def modalities(self) -> frozenset[Modality]:
        """Empty: nothing can be encoded."""
        return frozenset()

    @property
    def trained_dims(self) -> tuple[int, ...]:
        """Empty: nothing is known about how the vectors were trained."""
        return ()

    @property
    def fingerprint(self) -> Fingerprint:
        """The name and the dimension; the weights are "none"."""
        return Fingerprint(model=self._label, weights="none", preprocess="none", dim=self._dim)

    @property
    def device(self) -> Device:
        """Always "cpu": there is nothing to compute."""
        return "cpu"

    @property
    def image_size(self) -> int:
        """Always 0: there is no image tower."""
        return 0

    def prepare(self, picture: Image) -> NDArray[np.float32]:
        """Refuse.

        Raises:
            ModalityError: always.
        """
        require_modality(self, "image")
        raise EncoderError(f"encoder {self._label} prepares no pictures")

    def encode_images(self, batch: NDArray[np.float32]) -> FloatArray:
        """Refuse.

        Raises:
            ModalityError: always.
        """
        require_modality(self, "image")
        raise EncoderError(f"encoder {self._label} encodes no pictures")

    def encode_texts(self, texts: Sequence[str]) -> FloatArray:
        """Refuse.

        Raises:
            ModalityError: always.
        """
        require_modality(self, "text")
        raise EncoderError(f"encoder {self._label} encodes no texts")
