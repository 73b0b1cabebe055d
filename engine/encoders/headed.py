"""An encoder with a head behind it: `bundled+head:nested.safetensors`.

It is an encoder like any other, with a fingerprint of its own. What comes out of the base goes
through the head: pictures through its tower for items, texts through its tower for queries.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

from engine.encoders.base import Device, Encoder, Fingerprint, Modality, differing, languages_of
from engine.heads.model import Head
from indexers.errors import EncoderMismatch, HeadError
from indexers.vectors import FloatArray

if TYPE_CHECKING:
    from PIL.Image import Image

MARK = "+head:"
"""What stands between an encoder's spec and the path of a head."""


def encoder_of_head(head: Head, *, name: str) -> Fingerprint:
    """Return the fingerprint of the encoder a head belongs to.

    Args:
        head: the head.
        name: what to call it in an error.

    Raises:
        HeadError: it does not say, or takes vectors of another dimension than it says.
    """
    try:
        found = Fingerprint.from_json(dict(head.encoder))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise HeadError(
            f"head {name} does not say which encoder it belongs to ({error!r}); train it again, or set its `encoder` "
            "to the fingerprint that `nestvec info --json` shows"
        ) from error
    if found.dim != head.dim_in:
        raise HeadError(f"head {name} takes {head.dim_in} dimensions, and says its encoder makes {found.dim}")
    return found


def require_encoder(head: Head, found: Fingerprint, *, name: str) -> None:
    """Refuse a head that belongs to another encoder, naming both and what differs.

    Args:
        head: the head.
        found: of the encoder whose vectors it would be given.
        name: what to call the head in an error.

    Raises:
        EncoderMismatch: the fingerprints are not equal.
        HeadError: the head does not say which encoder it belongs to.
    """
    wanted = encoder_of_head(head, name=name)
    if wanted == found:
        return
    raise EncoderMismatch(
        f"head {name} belongs to {wanted.model} ({wanted.digest}), and would be given vectors of {found.model} "
        f"({found.digest}). They differ in {differing(wanted, found)}. "
        "Use it with the encoder it was trained for, or train another."
    )


def headed_fingerprint(base: Fingerprint, head: Head) -> Fingerprint:
    """Return the fingerprint of what comes out of a head behind an encoder."""
    weights = blake3(f"{base.weights} {head.digest}".encode()).hexdigest()
    return Fingerprint(
        model=f"{base.model}{MARK}{head.objective}",
        weights=f"blake3:{weights}",
        preprocess=base.preprocess,
        dim=head.dim,
        trained_dims=head.dims,
    )


class HeadedEncoder:
    """An encoder and a head.

    Args:
        base: what encodes.
        head: what its vectors go through.
        path: the head's file, made absolute, so that the name means the same from every directory; or the name of
            a shipped head.

    Whether the head belongs to the encoder is checked when something is first asked of it: the
    fingerprint of `base` may have to read its weights.
    """

    def __init__(self, base: Encoder, head: Head, path: str | Path) -> None:
        from engine.encoders.bundled.shipped import is_shipped
        from engine.encoders.weights import absolute

        self.base = base
        self.head = head
        self._path = str(path) if is_shipped(path) else absolute(str(path))
        encoder_of_head(head, name=self._path)

    @property
    def name(self) -> str:
        """The spec string that makes this encoder again."""
        return f"{self.base.name}{MARK}{self._path}"

    @property
    def dim(self) -> int:
        """Length D of a vector: the head's."""
        return self.head.dim

    @property
    def modalities(self) -> frozenset[Modality]:
        """Those of the encoder."""
        return self.base.modalities

    @property
    def languages(self) -> frozenset[str] | None:
        """Those of the encoder."""
        return languages_of(self.base)

    @property
    def trained_dims(self) -> tuple[int, ...]:
        """The prefixes the head was trained for."""
        return self.head.dims

    @property
    def fingerprint(self) -> Fingerprint:
        """The encoder's and the head's in one.

        Raises:
            EncoderMismatch: the head belongs to another encoder.
        """
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> Fingerprint:
        base = self.base.fingerprint
        require_encoder(self.head, base, name=self._path)
        return headed_fingerprint(base, self.head)

    @property
    def device(self) -> Device:
        """Where the encoder computes; the head is applied on the CPU."""
        return self.base.device

    @property
    def image_size(self) -> int:
        """Side in pixels of the network's input picture; 0 without an image tower."""
        return self.base.image_size

    def prepare(self, picture: Image) -> NDArray[np.float32]:
        """Turn one RGB picture into the network's input, float32 [C, H, W]."""
        return self.base.prepare(picture)

    def encode_images(self, batch: NDArray[np.float32]) -> FloatArray:
        """Encode prepared pictures, float32 [n, C, H, W] → unit float32 [n, D].

        Raises:
            EncoderMismatch: the head belongs to another encoder.
        """
        _ = self.fingerprint
        return self.head(self.base.encode_images(batch), "items")

    def encode_texts(self, texts: Sequence[str]) -> FloatArray:
        """Encode texts → unit float32 [n, D].

        Raises:
            EncoderMismatch: the head belongs to another encoder.
        """
        _ = self.fingerprint
        return self.head(self.base.encode_texts(texts), "queries")
