"""An encoder that became another one behind the same name is refused, whatever was swapped; the old one is welcome."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from open_clip.model import CLIP
from safetensors.torch import save_file

from engine.api import Collection
from engine.collection.commit import current_version
from indexers.errors import EncoderMismatch
from tests.faults.states import assert_sound
from tests.helpers import draw, index

NAME = "c.nest"

PREPROCESS = {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4], "interpolation": "bicubic", "resize_mode": "shortest"}
MODEL: dict[str, Any] = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "patch_size": 16, "head_width": 16},
    "text_cfg": {"context_length": 20, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
}


def write_weights(folder: Path, seed: int) -> None:
    torch.manual_seed(seed)
    save_file(CLIP(**MODEL).state_dict(), folder / "w.safetensors")


def write_config(folder: Path, **changed: Any) -> None:
    text = json.dumps({"model_cfg": MODEL, "preprocess_cfg": {**PREPROCESS, **changed}})
    (folder / "c.json").write_text(text)


def one_weight(folder: Path) -> None:
    """Change a single number in the last layer."""
    from safetensors.torch import load_file

    state = load_file(folder / "w.safetensors")
    state["visual.proj"][3, 5] += 0.5
    save_file(state, folder / "w.safetensors")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A little CLIP with random weights, pictures, and a collection of them."""
    folder = tmp_path_factory.mktemp("made")
    write_weights(folder, 1)
    write_config(folder)
    for number in range(4):
        draw(folder / "photos" / f"{number}.png", number)
    draw(folder / "asked.png", 9)
    index(folder / NAME, folder / "photos", encoder=f"clip:{folder}/c.json:{folder}/w.safetensors")
    return folder


SWAPS: dict[str, tuple[Callable[[Path], None], str]] = {
    "other weights": (lambda folder: write_weights(folder, 2), "weights"),
    "one weight": (one_weight, "weights"),
    "another mean": (lambda folder: write_config(folder, mean=[0.5, 0.4, 0.301]), "preprocess"),
    "another interpolation": (lambda folder: write_config(folder, interpolation="bilinear"), "preprocess"),
    "another way to cut": (lambda folder: write_config(folder, resize_mode="squash"), "preprocess"),
}
ASKED: list[Callable[[Path], Any]] = [
    lambda folder: Collection.open(folder / NAME, device="cpu").search("a cat"),
    lambda folder: Collection.open(folder / NAME, device="cpu").similar(folder / "asked.png"),
    lambda folder: index(folder / NAME, folder / "photos"),
]


@pytest.mark.parametrize(("swap", "what"), SWAPS.values(), ids=SWAPS)
def test_it_is_refused_wherever_it_would_encode(
    made: Path, tmp_path: Path, swap: Callable[[Path], None], what: str
) -> None:
    for name in ("w.safetensors", "c.json"):
        shutil.copy2(made / name, tmp_path / name)
    version = current_version(made / NAME)
    draw(made / "photos" / "new.png", 7)  # something to encode
    swap(made)
    for ask in ASKED:
        with pytest.raises(EncoderMismatch, match=f"They differ in {what}: "):
            ask(made)
    # What needs no encoder goes on.
    with Collection.open(made / NAME, device="cpu") as opened:
        assert len(opened.similar("1.png")) == 3
    assert current_version(made / NAME) == version
    (made / "photos" / "new.png").unlink()
    for name in ("w.safetensors", "c.json"):
        shutil.copy2(tmp_path / name, made / name)
    for ask in ASKED:
        ask(made)
    assert_sound(made / NAME)
