"""Heads: what they compute, and that a file of one is either whole or refused."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load, save

from engine.heads.model import Head, Tower, gelu, head_from_bytes, load_head
from indexers.errors import HeadError, InvalidInput, InvalidVectors
from indexers.vectors import FloatArray
from tests.helpers import clustered

DIM = 12
ENCODER = {"model": "precomputed", "dim": DIM}


def array(*shape: int, seed: int = 0) -> FloatArray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def rotation(dim: int = DIM, seed: int = 0) -> FloatArray:
    return np.linalg.qr(array(dim, dim, seed=seed))[0]


def network(out: int = 8) -> Tower:
    return Tower(array(out, DIM), array(5, DIM, seed=1), array(5, seed=2), array(out, 5, seed=3), array(out, seed=4))


def make(
    objective: str = "paired", items: Tower | None = None, queries: Tower | None = None, dims: tuple[int, ...] = (2, 4)
) -> Head:
    tower = items or network()
    dim = DIM if not tower.arrays else len(next(iter(tower.arrays.values())))
    return Head(objective, DIM, dim, dims, tower, queries or tower, ENCODER, {"seed": 7})


def turned(**how: Any) -> Head:
    tower = Tower(rotation(**how))
    return make("rotation", tower)


def test_a_tower_is_the_formula_it_declares() -> None:
    x = clustered(20, DIM).astype(np.float64)
    tower = network()
    assert tower.weight is not None and tower.up is not None and tower.up_bias is not None
    assert tower.down is not None and tower.bias is not None
    hidden = x @ tower.up.T + tower.up_bias
    hidden = 0.5 * hidden * (1 + np.tanh(np.sqrt(2 / np.pi) * (hidden + 0.044715 * hidden**3)))
    out = x @ tower.weight.T + hidden @ tower.down.T + tower.bias
    out /= np.linalg.norm(out, axis=1, keepdims=True)
    np.testing.assert_allclose(make()(x), out, atol=1e-5)


def test_gelu_is_torch_s() -> None:
    import torch

    x = np.linspace(-6, 6, 101, dtype=np.float32)
    expected = torch.nn.functional.gelu(torch.from_numpy(x), approximate="tanh").numpy()
    np.testing.assert_allclose(gelu(x), expected, atol=1e-6)


def test_a_tower_without_parts_is_the_identity() -> None:
    x = clustered(9, DIM)
    np.testing.assert_allclose(make("paired", network(DIM), Tower())(x, "queries"), x, atol=1e-6)


def test_blocks_and_no_rows_at_all() -> None:
    head = make()
    x = clustered(20_000, DIM)
    whole = head(x)
    np.testing.assert_allclose(head(x[9000:9010]), whole[9000:9010], atol=1e-6)
    assert head(x[:0]).shape == (0, 8)


@given(st.integers(0, 2**32 - 1), st.integers(2, 40))
def test_a_rotation_changes_no_score(seed: int, dim: int) -> None:
    x = clustered(12, dim, seed)
    tower = Tower(rotation(dim, seed))
    head = Head("rotation", dim, dim, (1,), tower, tower, {}, {})
    np.testing.assert_allclose(head(x) @ head(x).T, x @ x.T, atol=1e-5)


@pytest.mark.parametrize(
    "head",
    [make(), turned(), make(queries=network(8)), make(items=network(DIM), queries=Tower()), make("adaptor", Tower())],
)
def test_a_file_gives_the_head_back(head: Head, tmp_path: Path) -> None:
    head.save(tmp_path / "h.safetensors")
    found = load_head(tmp_path / "h.safetensors")
    x = clustered(5, DIM)
    for side in ("items", "queries"):
        assert np.array_equal(found(x, side), head(x, side))
    assert (found.queries is found.items) == (head.queries is head.items)
    assert found.digest == head.digest
    assert found.to_bytes() == head.to_bytes()
    assert (found.dims, found.encoder, found.training) == (head.dims, head.encoder, head.training)
    assert [path.name for path in tmp_path.iterdir()] == ["h.safetensors"]


def test_the_digest_is_of_what_decides_the_vectors() -> None:
    one = make()
    assert one.digest == Head(**{**vars_of(one), "training": {"seed": 8}, "encoder": {}}).digest
    assert one.digest != Head(**{**vars_of(one), "dims": (2, 3)}).digest
    assert one.digest != make(items=network(7)).digest
    assert one.digest != make(queries=Tower(**one.items.arrays, **{})).digest


def vars_of(head: Head) -> dict[str, Any]:
    return {name: getattr(head, name) for name in Head.__dataclass_fields__}


def test_the_header_can_be_read_by_anybody() -> None:
    data = make().to_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    said = json.loads(data[8 : 8 + length])["__metadata__"]
    assert said["objective"] == "paired"
    assert said["dims"] == "2,4"
    assert json.loads(said["training"]) == {"seed": 7}


@given(st.data())
def test_a_file_that_was_cut_or_changed_is_refused_or_still_a_head(data: st.DataObject) -> None:
    whole = make().to_bytes()
    cut = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(HeadError):
        head_from_bytes(whole[:cut], name="cut")
    at = data.draw(st.integers(0, len(whole) - 1))
    other = bytearray(whole)
    other[at] ^= 1 << data.draw(st.integers(0, 7))
    try:
        found = head_from_bytes(bytes(other), name="changed")
    except HeadError:
        return
    assert np.isfinite(found.items.arrays["weight"]).all()


def rewritten(head: Head, *, arrays: dict[str, FloatArray | None] | None = None, **metadata: str) -> bytes:
    data = head.to_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    said = {**json.loads(data[8 : 8 + length])["__metadata__"], **metadata}
    kept = {**load(data), **(arrays or {})}
    return save({name: array for name, array in kept.items() if array is not None}, metadata=said)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "damaged"),
        (b"\xff" * 64, "damaged"),
        (save({"a": np.ones(3, np.float32)}), "another safetensors file"),
        (struct.pack("<Q", 24) + b'{"__metadata__":null}   ', "another safetensors file|damaged"),
        (rewritten(make(), format="nestvec-head 2"), "nestvec-head 2"),
        (rewritten(make(), objective="magic"), "magic"),
        (rewritten(make(), dims="4,2"), "prefixes"),
        (rewritten(make(), dims="2,9"), "prefixes"),
        (rewritten(make(), dims=""), "damaged header"),
        (rewritten(make(), dim="9"), "expected float32"),
        (rewritten(make(), encoder="[" * 100_000), "damaged header"),
        (rewritten(make(), training="7"), "damaged header"),
        (rewritten(make(), arrays={"items.bias": np.full(8, np.nan, np.float32)}), "NaN"),
        (rewritten(make(), arrays={"items.bias": np.zeros(9, np.float32)}), "expected float32"),
        (rewritten(make(), arrays={"items.down": None}), "half of a hidden layer"),
        (rewritten(make(), arrays={"items.extra": np.zeros(1, np.float32)}), "damaged header"),
        (rewritten(make(), arrays={"queries.bias": np.zeros(8, np.float32)}), "damaged header"),
        (rewritten(turned(), arrays={"items.weight": 2 * rotation()}), "not orthogonal"),
        (rewritten(turned(), arrays={"items.bias": np.zeros(DIM, np.float32)}), "is none"),
        (rewritten(turned(), arrays={"items.weight": None}), "is none"),
    ],
)
def test_a_file_that_is_no_head_is_refused_in_our_words(data: bytes, said: str) -> None:
    with pytest.raises(HeadError, match=said):
        head_from_bytes(data, name="h.safetensors")


def test_a_head_takes_only_its_own_vectors() -> None:
    with pytest.raises(InvalidVectors, match="expected 12 dimensions"):
        make()(array(3, DIM + 1))
    with pytest.raises(InvalidVectors, match="NaN"):
        make()(np.full((1, DIM), np.nan))
    with pytest.raises(InvalidInput, match="sides"):
        make()(array(3, DIM), "text")  # type: ignore[arg-type]


def test_a_head_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    with pytest.raises(HeadError, match="cannot be written"):
        make().save(tmp_path / "missing" / "h.safetensors")
    with pytest.raises(HeadError, match="cannot be read"):
        load_head(tmp_path / "h.safetensors")
