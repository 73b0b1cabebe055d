"""A few inputs with their embeddings, kept to notice a library upgrade that moves vectors."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from engine.encoders.base import Encoder
from engine.storage import layout, verified
from engine.storage.layout import FileRef
from engine.storage.place import new_file, written
from engine.storage.regular import read_regular
from indexers.errors import CorruptCollection, EncoderMismatch
from indexers.vectors import FloatArray

TEXT = "a photo of a cat"
PICTURE = "gradient-1"

# Other hardware and other kernels move an embedding by 1e-4; half precision on a GPU by 1e-3.
LEAST_COSINE = 0.995

# Two vectors of as many dimensions as there can be, written out.
MOST_BYTES = 64 << 20


def gradient() -> Image.Image:
    """Draw the canary picture: smooth colours and one hard edge, the same on every machine."""
    y, x = np.mgrid[0:256, 0:256]
    red, green, blue = x, y, np.where(x + y > 256, 255, 40)
    return Image.fromarray(np.stack([red, green, blue], axis=-1).astype(np.uint8))


def _canaries(encoder: Encoder) -> Iterator[tuple[str, str, FloatArray]]:
    if "image" in encoder.modalities:
        yield "image", PICTURE, encoder.encode_images(encoder.prepare(gradient())[None])[0]
    if "text" in encoder.modalities:
        yield "text", TEXT, encoder.encode_texts([TEXT])[0]


def write_canaries(root: Path, space: str, encoder: Encoder) -> FileRef | None:
    """Embed the canaries and store them; None for an encoder that takes no inputs."""
    found = [{"kind": kind, "input": name, "vector": vector.tolist()} for kind, name, vector in _canaries(encoder)]
    if not found:
        return None
    with new_file(root, layout.space_folder(space, layout.ENCODER), ".json") as new:
        new.temporary.write_text(json.dumps({"encoder": encoder.name, "canaries": found}))
    return written(new)


def check_canaries(root: Path, ref: FileRef | None, encoder: Encoder) -> None:
    """Embed the canaries again and compare.

    Raises:
        EncoderMismatch: the same weights now give other vectors.
        CorruptCollection: the canary file cannot be read.
    """
    if ref is None:
        return
    verified.Verified(root).ensure([ref])
    try:
        stored = json.loads(read_regular(root / ref.path, most=MOST_BYTES, own=True))["canaries"]
        known = {(c["kind"], c["input"]): np.asarray(c["vector"], dtype=np.float32) for c in stored}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise CorruptCollection(f"{root / ref.path} cannot be read: {error}") from error
    for kind, name, vector in _canaries(encoder):
        before = known.get((kind, name))
        if before is None or before.shape != vector.shape:
            continue
        cosine = float(before @ vector)
        if not cosine >= LEAST_COSINE:  # nor is NaN
            raise EncoderMismatch(
                f"{encoder.name} gives other vectors than when {root} was made: the {kind} canary has cosine "
                f"{cosine:.4f} with its stored embedding (at least {LEAST_COSINE} was expected). A library "
                "upgrade may have changed the model: go back to the older version, or make a new collection"
            )
