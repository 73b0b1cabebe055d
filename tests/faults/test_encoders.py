"""An encoder that became another one behind the same name is refused, whatever was swapped; the old one is welcome.

And what a collection says about files of this machine is not enough to open them.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from open_clip.model import CLIP
from safetensors.torch import save_file

from engine.api import Collection
from engine.cli.search import command as search
from engine.collection.commit import commit, current_version
from engine.collection.manifest import Manifest
from indexers.errors import EncoderMismatch, EncoderNotNamed
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


def elsewhere(folder: Path, monkeypatch: pytest.MonkeyPatch, spec: str) -> Path:
    """Take a collection to a machine where nobody has named an encoder, and have it name another in its version."""
    monkeypatch.setenv("NESTVEC_CACHE", str(folder / "cache"))

    def change(base: Manifest) -> Manifest:
        return replace(base, spaces={"main": replace(base.space(), encoder=spec)})

    commit(folder / NAME, change, operation="encoder")
    return folder / NAME


@pytest.fixture
def taken(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made / NAME, tmp_path / NAME)
    for name in ("w.safetensors", "c.json", "asked.png"):
        shutil.copy2(made / name, tmp_path / name)
    return tmp_path


@pytest.mark.parametrize("form", ["clip:{0}/c.json:{0}/w.safetensors", "resnet:resnet18/{0}/w.safetensors"])
def test_a_collection_from_elsewhere_names_no_file_of_this_machine(
    taken: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    """Whatever asks for its encoder: the files are not opened."""
    spec = form.format(taken)
    root = elsewhere(taken, monkeypatch, spec)
    for name in ("w.safetensors", "c.json"):
        (taken / name).unlink()
        os.mkfifo(taken / name)  # whoever opened it would wait
    asks: list[Callable[[Collection], Any]] = [
        lambda opened: opened.search("a cat"),
        lambda opened: opened.similar(taken / "asked.png"),
        lambda opened: opened.encode_texts(["a cat"]),
        lambda opened: opened.add(taken / "asked.png"),
        lambda opened: opened.explain("a cat"),
    ]
    with Collection.open(root, device="cpu") as opened:
        for ask in asks:
            with pytest.raises(EncoderNotNamed, match="--encoder") as caught:
                ask(opened)
            assert spec in str(caught.value)
        assert len(opened.similar("1.png")) == 3


def test_what_the_user_names_is_used_then_and_from_then_on(taken: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = f"clip:{taken}/c.json:{taken}/w.safetensors"
    root = elsewhere(taken, monkeypatch, spec)
    asked = [str(root), "a cat", "--device", "cpu"]
    refused = CliRunner().invoke(search, asked)
    assert isinstance(refused.exception, EncoderNotNamed)
    assert spec in str(refused.exception)
    assert CliRunner().invoke(search, [*asked, "--encoder", spec]).exit_code == 0
    assert CliRunner().invoke(search, asked).exit_code == 0
    # Other files are other files, though they lie beside these.
    shutil.copy2(taken / "w.safetensors", taken / "v.safetensors")
    elsewhere(taken, monkeypatch, f"clip:{taken}/c.json:{taken}/v.safetensors")
    with Collection.open(root, device="cpu") as opened, pytest.raises(EncoderNotNamed):
        opened.search("a cat")
    with Collection.open(root, device="cpu", encoder=spec) as opened:
        assert len(opened.search("a cat")) == 4
