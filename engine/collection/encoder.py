"""The encoder of a collection: loaded from what a version says of it, and behind it the heads of a space."""

from __future__ import annotations

from pathlib import Path

from engine.collection.manifest import Manifest, Space
from engine.collection.spaces import head_of, line
from engine.encoders.base import Encoder, require_same
from engine.encoders.headed import HeadedEncoder
from engine.encoders.registry import load_encoder
from engine.encoders.trusted import require_named


def encoder_for(root: Path, manifest: Manifest, space: str, encoder: Encoder) -> Encoder:
    """Return what encodes into a space: the encoder, with the heads of the collection that lead there behind it.

    Args:
        root: the collection.
        manifest: the version.
        space: the space.
        encoder: that of the space everything is derived from.

    Raises:
        CorruptCollection: a head is missing or damaged.
    """
    for name in line(manifest, space):
        head, ref = head_of(root, manifest, name), manifest.space(name).head
        encoder = HeadedEncoder(encoder, head, root / ("" if ref is None else ref.path))
    return encoder


PRECOMPUTED = "precomputed"


def is_precomputed(spec: str) -> bool:
    """Whether a spec is of vectors that somebody brings."""
    return spec.partition(":")[0] == PRECOMPUTED


def encoder_of(space: Space, *, wanted: str | None, pool: str | None, device: str) -> Encoder:
    """Load a space's encoder, or the one that was named if it is the same.

    Raises:
        EncoderMismatch: it makes other vectors than the space holds.
        EncoderNotNamed: none was named, and the space's is in files that nobody has named on this machine.
    """
    if wanted is None:
        require_named(space.encoder)
    spec = space.encoder if wanted is None else wanted
    encoder = load_encoder(spec, device=device, pool=pool, dim=space.dim if is_precomputed(spec) else None)
    require_same(space.fingerprint, encoder.fingerprint, where="the collection")
    return encoder
