from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from engine.encoders.base import Encoder, Fingerprint
from engine.encoders.precomputed import PrecomputedEncoder
from indexers.errors import InvalidSpec, ModalityError


def test_it_says_what_it_is() -> None:
    encoder = PrecomputedEncoder(name="glove", dim=300)
    assert isinstance(encoder, Encoder)
    assert (encoder.name, encoder.dim, encoder.device, encoder.image_size) == ("precomputed:glove", 300, "cpu", 0)
    assert encoder.modalities == frozenset()
    assert encoder.trained_dims == ()
    assert encoder.fingerprint == Fingerprint("precomputed:glove", "none", "none", 300)
    assert PrecomputedEncoder(name="", dim=3).name == "precomputed"


def test_names_and_dimensions_are_not_mixed() -> None:
    digests = {PrecomputedEncoder(name=name, dim=dim).fingerprint.digest for name in ("", "a", "b") for dim in (2, 3)}
    assert len(digests) == 6


def test_it_encodes_nothing() -> None:
    encoder = PrecomputedEncoder(name="x", dim=4)
    with pytest.raises(ModalityError, match="vectors"):
        encoder.prepare(Image.new("RGB", (2, 2)))
    with pytest.raises(ModalityError, match="vectors"):
        encoder.encode_images(np.zeros((1, 3, 2, 2), np.float32))
    with pytest.raises(ModalityError, match="precomputed:x"):
        encoder.encode_texts(["a"])


@pytest.mark.parametrize(("name", "dim"), [("x", 0), ("x", -3), ("a\nb", 4)])
def test_what_is_refused(name: str, dim: int) -> None:
    with pytest.raises(InvalidSpec):
        PrecomputedEncoder(name=name, dim=dim)


def test_it_needs_no_torch() -> None:
    code = (
        "import sys; from engine.encoders.registry import load_encoder, list_encoders;"
        "load_encoder('precomputed:x', dim=3).fingerprint; load_encoder('bundled', device='cpu').fingerprint;"
        "list_encoders(); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
