"""Finding weights without a network, and reading them."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from engine.encoders.weights import (
    absolute,
    cached_hub_file,
    hash_state,
    hub_file,
    read_state_dict,
    url_file,
    write_safetensors,
)
from indexers.errors import EncoderError, WeightsMissing


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nothing listens there
    monkeypatch.setenv("no_proxy", "")


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    return tmp_path


def put(cache: Path, repo: str, name: str, content: bytes) -> Path:
    """Lay a file into a hub cache the way the hub's client does."""
    folder = cache / f"models--{repo.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("a" * 40)
    file = folder / "snapshots" / ("a" * 40) / name
    file.parent.mkdir(parents=True)
    file.write_bytes(content)
    return file


def test_a_cached_file_needs_no_network(hub_cache: Path, no_network: None) -> None:
    file = put(hub_cache, "some/model", "second.bin", b"weights")
    assert hub_file("some/model", ("first.safetensors", "second.bin"), what="x") == file
    assert cached_hub_file("some/other", ("second.bin",)) is None


def test_without_a_network_the_answer_comes_quickly(hub_cache: Path, no_network: None) -> None:
    started = time.perf_counter()
    with pytest.raises(WeightsMissing) as caught:
        hub_file("some/model", ("m.safetensors", "m.bin"), what="clip:A/b")
    assert time.perf_counter() - started < 5
    for part in ("clip:A/b", "some/model/m.safetensors", str(hub_cache), "network", "bundled"):
        assert part in str(caught.value)


def test_published_files_are_looked_for_in_torchs_cache(
    tmp_path: Path, no_network: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TORCH_HOME", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(WeightsMissing, match="network gave no answer"):
        url_file("https://weights.invalid/net-0123abcd.pth", what="x")
    file = Path(torch.hub.get_dir()) / "checkpoints" / "net-0123abcd.pth"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"weights")
    assert url_file("https://weights.invalid/net-0123abcd.pth", what="x") == file


def test_a_published_file_is_fetched_once_and_its_hash_is_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import hashlib

    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    content = b"these are the weights"
    good, bad = hashlib.sha256(content).hexdigest()[:8], "00000000"
    for mark in (good, bad):
        (tmp_path / f"net-{mark}.pth").write_bytes(content)
    with pytest.raises(WeightsMissing, match="hash"):
        url_file(f"file://{tmp_path}/net-{bad}.pth", what="x")
    assert url_file(f"file://{tmp_path}/net-{good}.pth", what="x").read_bytes() == content
    (tmp_path / f"net-{good}.pth").unlink()
    assert url_file(f"file://{tmp_path}/net-{good}.pth", what="x").read_bytes() == content


def test_averaged_weights_are_preferred(tmp_path: Path) -> None:
    plain, averaged = {"w": torch.zeros(2)}, {"w": torch.ones(2)}
    torch.save({"state_dict": plain, "state_dict_ema": averaged}, tmp_path / "c.pth")
    assert torch.equal(read_state_dict(tmp_path / "c.pth")["w"], torch.ones(2))


def test_only_a_prefix_that_all_names_have_is_removed(tmp_path: Path) -> None:
    torch.save({"module.a": torch.zeros(1), "b": torch.ones(1)}, tmp_path / "c.pth")
    assert set(read_state_dict(tmp_path / "c.pth")) == {"module.a", "b"}


def test_a_whole_model_is_refused(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2), tmp_path / "model.pt")
    with pytest.raises(EncoderError, match="It was not run"):
        read_state_dict(tmp_path / "model.pt")


def test_tied_and_strided_weights_survive_the_conversion(tmp_path: Path) -> None:
    tied = torch.arange(6.0).reshape(2, 3)
    write_safetensors({"a": tied, "b": tied, "c": tied.T}, tmp_path / "w.safetensors")
    read = load_file(tmp_path / "w.safetensors")
    assert torch.equal(read["b"], tied)
    assert torch.equal(read["c"], tied.T)


def test_the_hash_sees_values_names_and_shapes() -> None:
    base = {"a": torch.arange(6.0), "b": torch.zeros(2)}
    assert hash_state(base) == hash_state(dict(reversed(base.items())))
    others = [
        {"a": torch.arange(6.0), "c": torch.zeros(2)},
        {"a": torch.arange(6.0).reshape(2, 3), "b": torch.zeros(2)},
        {"a": torch.arange(6.0), "b": torch.tensor([0.0, 1e-30])},
    ]
    assert len({hash_state(state) for state in [base, *others]}) == 4


def test_a_path_means_the_same_from_every_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")
    assert absolute("./w.pt") == str(tmp_path / "w.pt")
    assert absolute("../w.pt") == str(tmp_path.parent / "w.pt")
    assert absolute("~/w.pt") == "/home/me/w.pt"
    assert absolute("/w.pt") == "/w.pt"
