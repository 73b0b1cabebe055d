"""An encoder with a head behind it is an encoder, and takes no head of another."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from engine.encoders.base import Encoder, Fingerprint, languages_of
from engine.encoders.bundled.encoder import BundledEncoder
from engine.encoders.headed import HeadedEncoder, encoder_of_head, headed_fingerprint
from engine.encoders.precomputed import PrecomputedEncoder
from engine.encoders.registry import load_encoder
from engine.heads.model import Head
from engine.jobs.canaries import gradient
from indexers.errors import EncoderMismatch, HeadError, InvalidSpec, WeightsMissing
from tests.helpers import flip_bit, needs_bundled
from tests.jobs.test_canaries import Bytes
from tests.made_heads import linear, rotation, saved, two_towers

OTHER = Fingerprint("other", "blake3:0", "none", 32)
TEXTS = ["a cat", "a dog", "two of them"]


def with_encoder(head: Head, encoder: object) -> Head:
    return Head(**{**{name: getattr(head, name) for name in Head.__dataclass_fields__}, "encoder": encoder})


def test_it_is_an_encoder() -> None:
    base = Bytes()
    headed = HeadedEncoder(base, linear(base.fingerprint, 12), "h.safetensors")  # type: ignore[arg-type]
    assert isinstance(headed, Encoder)
    assert (headed.dim, headed.trained_dims, headed.modalities) == (12, (2, 4), base.modalities)
    assert (headed.device, headed.image_size) == (base.device, base.image_size)
    assert headed.name == f"bytes+head:{Path.cwd() / 'h.safetensors'}"


def test_pictures_go_through_one_tower_and_texts_through_the_other() -> None:
    base = Bytes()
    head = two_towers(base.fingerprint, 12)
    headed = HeadedEncoder(base, head, "h.safetensors")  # type: ignore[arg-type]
    pictures = np.stack([base.prepare(gradient()), base.prepare(gradient().rotate(90))])
    assert np.array_equal(headed.prepare(gradient()), pictures[0])
    np.testing.assert_array_equal(headed.encode_images(pictures), head(base.encode_images(pictures), "items"))
    np.testing.assert_array_equal(headed.encode_texts(TEXTS), head(base.encode_texts(TEXTS), "queries"))
    assert np.abs(headed.encode_texts(TEXTS) - head(base.encode_texts(TEXTS), "items")).max() > 0.01
    np.testing.assert_allclose(np.linalg.norm(headed.encode_texts(TEXTS), axis=1), 1, atol=1e-6)


def test_the_fingerprint_is_of_both() -> None:
    base = Bytes.fingerprint
    head = linear(base, 12)
    found = headed_fingerprint(base, head)
    assert (found.model, found.preprocess, found.dim, found.trained_dims) == (
        "bytes+head:supervised",
        "none",
        12,
        (2, 4),
    )
    others = [headed_fingerprint(base, linear(base, 12, seed=1)), headed_fingerprint(OTHER, head)]
    others.append(headed_fingerprint(base, linear(base, 12, dims=(3,))))
    assert len({one.digest for one in [found, *others, base]}) == 5
    assert HeadedEncoder(Bytes(), head, "h").fingerprint == found  # type: ignore[arg-type]
    assert Fingerprint.from_json(found.to_json()) == found


def test_a_head_of_another_encoder_is_refused_when_it_is_used() -> None:
    """And not before: the fingerprint of an encoder may have to read gigabytes."""
    headed = HeadedEncoder(Bytes(), linear(OTHER, 12), "h.safetensors")  # type: ignore[arg-type]
    assert headed.name.endswith("h.safetensors")
    for ask in (
        lambda: headed.fingerprint,
        lambda: headed.encode_texts(TEXTS),
        lambda: headed.encode_images(headed.prepare(gradient())[None]),
    ):
        with pytest.raises(EncoderMismatch, match=rf"h\.safetensors belongs to other \({OTHER.digest}\).*of bytes \("):
            ask()


@pytest.mark.parametrize(
    "encoder",
    [{}, {"model": "x", "dim": 32}, {**OTHER.to_json(), "dim": "many"}, {**OTHER.to_json(), "dim": float("inf")}],
)
def test_a_head_that_does_not_say_whose_it_is_is_refused(encoder: object) -> None:
    head = with_encoder(linear(OTHER, 12), encoder)
    with pytest.raises(HeadError, match="does not say which encoder"):
        HeadedEncoder(Bytes(), head, "h")  # type: ignore[arg-type]
    with pytest.raises(HeadError, match="takes 32 dimensions, and says its encoder makes 31"):
        encoder_of_head(with_encoder(head, {**OTHER.to_json(), "dim": 31}), name="h")


def test_a_head_behind_a_head() -> None:
    one = HeadedEncoder(Bytes(), two_towers(Bytes.fingerprint, 12), "a")  # type: ignore[arg-type]
    head = rotation(one.fingerprint)
    both = HeadedEncoder(one, head, "b")
    np.testing.assert_array_equal(both.encode_texts(TEXTS), head(one.encode_texts(TEXTS), "queries"))
    assert both.fingerprint.model == "bytes+head:paired+head:rotation"
    assert both.name == f"bytes+head:{Path.cwd() / 'a'}+head:{Path.cwd() / 'b'}"


# -- by name ---------------------------------------------------------------------------------


def test_the_spec_makes_it_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundled = load_encoder("bundled", device="cpu")
    first = saved(linear(bundled.fingerprint, 16), tmp_path / "a b.safetensors")
    monkeypatch.chdir(tmp_path)
    found = load_encoder("bundled+head:a b.safetensors", device="cpu")
    assert (found.dim, found.device, found.name) == (16, "cpu", f"bundled+head:{first}")
    monkeypatch.chdir("/")
    assert load_encoder(found.name, device="cpu").fingerprint == found.fingerprint
    second = saved(rotation(found.fingerprint), tmp_path / "second.safetensors")
    chained = load_encoder(f"{found.name}+head:{second}", device="cpu")
    assert chained.name == f"{found.name}+head:{second}"
    assert chained.fingerprint.model.endswith("+head:supervised+head:rotation")


def test_specs_that_cannot_be(tmp_path: Path) -> None:
    path = saved(linear(OTHER, 12), tmp_path / "h.safetensors")
    with pytest.raises(InvalidSpec, match=r"expected a file after \+head:"):
        load_encoder("bundled+head:")
    with pytest.raises(InvalidSpec, match="one of the families"):
        load_encoder(f"bundle+head:{path}")
    for spec in (f"precomputed+head:{path}", f"precomputed:mine+head:{path}"):
        with pytest.raises(InvalidSpec, match=f"nestvec apply-head COLLECTION {path}"):
            load_encoder(spec, dim=32)
    with pytest.raises(InvalidSpec, match="only precomputed takes a dimension"):
        load_encoder(f"bundled+head:{path}", dim=32)
    with pytest.raises(WeightsMissing, match="found nothing"):
        load_encoder(f"bundled+head:{tmp_path / 'no.safetensors'}")
    with pytest.raises(EncoderMismatch, match="belongs to other"):
        _ = load_encoder(f"bundled+head:{path}", device="cpu").fingerprint
    flip_bit(path, 12)
    with pytest.raises(HeadError, match=r"h\.safetensors"):
        load_encoder(f"bundled+head:{path}")


@needs_bundled
def test_a_rotation_behind_a_real_encoder_keeps_every_score(tmp_path: Path) -> None:
    bundled = load_encoder("bundled", device="cpu")
    path = saved(rotation(bundled.fingerprint), tmp_path / "h.safetensors")
    turned = load_encoder(f"bundled+head:{path}", device="cpu")
    picture = bundled.prepare(gradient())[None]
    before = bundled.encode_images(picture) @ bundled.encode_texts(TEXTS).T
    np.testing.assert_allclose(turned.encode_images(picture) @ turned.encode_texts(TEXTS).T, before, atol=1e-5)


def test_it_knows_the_languages_of_its_encoder() -> None:
    base = BundledEncoder()
    headed = HeadedEncoder(base, rotation(base.fingerprint), "h.safetensors")
    assert languages_of(headed) == languages_of(base) == {"en"}
    assert languages_of(PrecomputedEncoder(name="", dim=4)) is None
