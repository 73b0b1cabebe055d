"""Training: every objective learns, is the same for the same seed, and goes on where it was interrupted."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engine.heads.files import read_safetensors
from engine.heads.layers import moments, principal_axes
from engine.heads.model import Head, load_head
from engine.heads.training.checkpoint import Checkpoint
from engine.heads.training.options import Examples, TrainOptions
from engine.heads.training.train import Progress, train
from indexers.errors import HeadError, InvalidInput, InvalidVectors
from indexers.exact import exact_search
from indexers.vectors import FloatArray, normalize, truncate
from tests.helpers import clustered

N, DIM = 1500, 24
ENCODER = {"model": "precomputed", "dim": DIM}
KINDS = ("rotation", "supervised", "paired", "adaptor")


def labelled(n: int = N, seed: int = 0) -> tuple[FloatArray, np.ndarray]:
    """Make rows whose label lies in the directions with the *least* variance: plain and principal prefixes miss it."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 8, n)
    means = np.random.default_rng(1).normal(size=(8, 6))
    x = np.concatenate([3 * rng.normal(size=(n, DIM - 6)), means[labels] + 0.3 * rng.normal(size=(n, 6))], axis=1)
    return normalize(x.astype(np.float32)), labels


def views(n: int = N, seed: int = 0) -> tuple[FloatArray, FloatArray]:
    """Make two views of each thing, the second turned and noisy."""
    x = clustered(n, DIM, seed)
    turn = np.linalg.qr(np.random.default_rng(3).normal(size=(DIM, DIM)))[0]
    noise = 0.02 * np.random.default_rng(seed + 1).normal(size=x.shape)
    return x, normalize((x @ turn + noise).astype(np.float32))


def examples(objective: str, n: int = N, seed: int = 0) -> Examples:
    if objective == "supervised":
        return Examples(*labelled(n, seed))
    if objective == "paired":
        x, y = views(n, seed)
        return Examples(x, pairs=y)
    return Examples(clustered(n, DIM, seed))


def options(objective: str, **given: Any) -> TrainOptions:
    return replace(TrainOptions(objective, (4, 8), steps=60, batch=128), **given)


def fit(objective: str, **given: Any) -> Head:
    return train(examples(objective), options(objective, **given), encoder=ENCODER)


@pytest.mark.parametrize("objective", KINDS)
def test_the_same_seed_gives_the_same_bytes_and_another_does_not(objective: str, tmp_path: Path) -> None:
    once = fit(objective)
    assert once.to_bytes() == fit(objective).to_bytes()
    assert once.digest != fit(objective, seed=1).digest
    once.save(tmp_path / "h.safetensors")
    assert load_head(tmp_path / "h.safetensors").digest == once.digest
    training = once.training
    assert training["validation_loss"]["after"] < training["validation_loss"]["before"]
    assert (once.dims, once.dim, once.encoder) == ((4, 8), DIM, ENCODER)
    assert training["rows"] == N and training["options"]["seed"] == 0
    assert training["figures"]["before"].keys() == training["figures"]["after"].keys()


@pytest.mark.parametrize("objective", KINDS)
def test_a_run_that_is_interrupted_ends_as_one_that_is_not(objective: str, tmp_path: Path) -> None:
    partial = tmp_path / "h.partial"

    def interrupt(progress: Progress) -> None:
        if progress.step == 30:
            raise KeyboardInterrupt

    made = examples(objective), options(objective)
    with pytest.raises(KeyboardInterrupt):
        train(*made, encoder=ENCODER, checkpoint=partial, progress=interrupt)
    assert partial.exists()
    steps: list[int] = []
    head = train(*made, encoder=ENCODER, checkpoint=partial, progress=lambda p: steps.append(p.step))
    assert steps[0] == 30  # the look it was interrupted in is made again
    assert partial.exists()  # until the head is saved, it is all there is
    assert head.to_bytes() == train(*made, encoder=ENCODER).to_bytes()


def test_a_checkpoint_of_another_run_is_not_gone_on_from(tmp_path: Path) -> None:
    partial = tmp_path / "h.partial"

    def interrupt(_: Progress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(examples("rotation"), options("rotation"), encoder=ENCODER, checkpoint=partial, progress=interrupt)
    for other in (
        (examples("rotation", seed=1), options("rotation")),
        (examples("rotation"), options("rotation", steps=61)),
    ):
        with pytest.raises(HeadError, match="other data, options or versions"):
            train(*other, encoder=ENCODER, checkpoint=partial)
    whole = partial.read_bytes()
    partial.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(HeadError, match="damaged"):
        train(examples("rotation"), options("rotation"), encoder=ENCODER, checkpoint=partial)


def spoil(path: Path, **changes: Any) -> None:
    """Write a checkpoint again with other contents and a hash that fits them."""
    arrays, metadata = read_safetensors(path)
    said = {**json.loads(metadata["state"]), **{k: v for k, v in changes.items() if k in ("step", "best", "losses")}}
    arrays |= changes.get("arrays", {})
    kept = {name: array for name, array in arrays.items() if array is not None}
    losses = tuple((int(step), float(loss)) for step, loss in said["losses"])
    Checkpoint(metadata["run"], said["step"], said["best"], said["best_step"], losses, kept).save(path)


@pytest.mark.parametrize(
    "changes",
    [
        {"step": -5},
        {"step": 10**9},
        {"best": float("nan")},
        {"best": float("-inf")},
        {"losses": []},
        {"arrays": {"now.up": None}},
        {"arrays": {"now.up": np.ones((1, 1), np.float32)}},
        {"arrays": {"first.up": np.ones((3, 5), np.float32)}},
        {"arrays": {"best.bias": np.full(DIM, np.nan, np.float32)}},
        {"arrays": {"now.bias": np.zeros(DIM)}},
        {"arrays": {"more": np.zeros(1, np.float32)}},
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    partial = tmp_path / "h.partial"
    made = examples("adaptor"), options("adaptor", steps=20)

    def interrupt(progress: Progress) -> None:
        if progress.step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(*made, encoder=ENCODER, checkpoint=partial, progress=interrupt)
    whole = partial.read_bytes()
    spoil(partial, **changes)
    with pytest.raises(HeadError, match="damaged"):
        train(*made, encoder=ENCODER, checkpoint=partial)
    flipped = bytearray(whole)
    flipped[-5] ^= 1
    partial.write_bytes(flipped)
    with pytest.raises(HeadError, match="its own hash"):
        train(*made, encoder=ENCODER, checkpoint=partial)
    partial.write_bytes(whole)
    assert train(*made, encoder=ENCODER, checkpoint=partial).to_bytes() == train(*made, encoder=ENCODER).to_bytes()


@pytest.mark.parametrize("seed", [2**63, 10**30])
def test_any_seed_will_do(seed: int) -> None:
    assert fit("rotation", seed=seed, steps=3).training["options"]["seed"] == seed


# -- what each objective promises ------------------------------------------------------------


def kept(head: FloatArray, xb: FloatArray, xq: FloatArray, d: int, r: int = 30) -> float:
    """Shortlist recall of a rotation, by the oracle."""
    truth = exact_search(xb, xq, 10).ids
    found = exact_search(truncate(xb @ head.T, d), truncate(xq @ head.T, d), r).ids
    return float(np.mean([np.isin(true, got).mean() for true, got in zip(truth, found, strict=True)]))


def two_kinds(n: int, seed: int) -> FloatArray:
    """Make rows of which some vary in few directions, widely, and most in others: variance alone misleads."""
    rng = np.random.default_rng(seed)
    few = rng.random(n) < 0.4
    x = 0.05 * rng.normal(size=(n, DIM))
    x[few, :8] += rng.normal(size=(few.sum(), 8))
    x[~few, 8:] += 1.3 * rng.normal(size=((~few).sum(), DIM - 8)) / np.sqrt(1 + np.arange(DIM - 8))
    return normalize(x.astype(np.float32))


def test_a_rotation_changes_no_score_and_keeps_more_neighbours_than_the_principal_axes() -> None:
    x = two_kinds(5000, 0)
    xt, xb, xq = x[:2500], x[2500:4700], x[4700:]
    head = train(Examples(xt), TrainOptions("rotation", (4, 8, 16), steps=120, batch=128), encoder={})
    assert head.items.weight is not None
    np.testing.assert_allclose(head.items.weight @ head.items.weight.T, np.eye(DIM), atol=1e-5)
    np.testing.assert_allclose(head(xq) @ head(xb).T, xq @ xb.T, atol=1e-5)
    axes = principal_axes(moments(xt)).astype(np.float32)
    for d in (4, 8, 16):
        assert kept(head.items.weight, xb, xq, d) > kept(axes, xb, xq, d) + 0.03


def test_a_rotation_that_saw_queries_serves_them() -> None:
    """Queries lie elsewhere, as texts do beside pictures: what tells items apart for them varies little among items."""
    rng = np.random.default_rng(0)
    spread = np.r_[np.full(8, 3.0), np.full(DIM - 8, 1.0)]
    x = normalize((rng.normal(size=(4000, DIM)) * spread).astype(np.float32))
    asked = np.r_[np.full(8, 0.1), np.full(8, 3.0), np.full(DIM - 16, 0.1)]
    queries = normalize((rng.normal(size=(2000, DIM)) * asked).astype(np.float32))
    made = TrainOptions("rotation", (8,), steps=100, batch=128)
    blind = train(Examples(x[:2000]), made, encoder={}).items.weight
    served = train(Examples(x[:2000], queries=queries[:1500]), made, encoder={}).items.weight
    assert blind is not None and served is not None
    assert kept(served, x[2000:], queries[1500:], 8) > 3 * kept(blind, x[2000:], queries[1500:], 8)


def test_all_dims_up_to_the_full_one() -> None:
    head = train(examples("rotation"), options("rotation", dims=(1, 12, DIM)), encoder={})
    assert head.dims == (1, 12, DIM)


def accuracy(base: FloatArray, labels: np.ndarray, queries: FloatArray, wanted: np.ndarray, d: int) -> float:
    found = exact_search(truncate(base, d), truncate(queries, d), 1).ids[:, 0]
    return float((labels[found] == wanted).mean())


@pytest.mark.parametrize("how", [{}, {"hidden": 0}, {"shared_classifier": True}, {"width": 12, "hidden": 16}])
def test_a_supervised_head_finds_the_labels_in_a_short_prefix(how: dict[str, Any]) -> None:
    (x, labels), (xq, wanted) = labelled(), labelled(300, 9)
    head = train(Examples(x, labels), options("supervised", steps=200, rate=0.01, **how), encoder={})
    axes = principal_axes(moments(x)).astype(np.float32)
    for d in (4, 8):
        before = accuracy(x @ axes.T, labels, xq @ axes.T, wanted, d)
        assert accuracy(head(x), labels, head(xq), wanted, d) > before + 0.3


@pytest.mark.parametrize("how", [{}, {"fixed": "items"}, {"fixed": "queries"}, {"hidden": 8}])
def test_a_paired_head_brings_the_two_views_together(how: dict[str, Any]) -> None:
    (x, y), (xb, xq) = views(3000), views(400, 7)
    made = TrainOptions("paired", (8, 16), steps=400, batch=256, rate=0.01)
    head = train(Examples(x, pairs=y), replace(made, **how), encoder={})
    own = np.arange(len(xq))
    before = (exact_search(truncate(xb, 16), truncate(xq, 16), 1).ids[:, 0] == own).mean()
    after = (exact_search(truncate(head(xb), 16), truncate(head(xq, "queries"), 16), 1).ids[:, 0] == own).mean()
    assert before < 0.1
    assert after > 0.6
    if fixed := how.get("fixed"):
        probe = clustered(5, DIM)
        np.testing.assert_allclose(head(probe, fixed), probe, atol=1e-6)


def test_one_tower_for_both_sides_is_stored_once() -> None:
    head = train(examples("paired"), options("paired", shared_tower=True), encoder={})
    assert head.queries is head.items


def test_an_adaptor_keeps_similarities_better_than_a_cut() -> None:
    x = two_kinds(3000, 2)
    head = train(Examples(x[:2500]), TrainOptions("adaptor", (4, 8), steps=300, batch=256), encoder={})
    held, own = x[2500:], np.eye(500, dtype=bool)
    wanted = held @ held.T
    for d in (4, 8):
        plain, after = truncate(held, d), truncate(head(held), d)
        assert np.abs(after @ after.T - wanted)[~own].mean() < 0.8 * np.abs(plain @ plain.T - wanted)[~own].mean()


def test_it_stops_when_it_no_longer_gains_and_keeps_the_best() -> None:
    rng = np.random.default_rng(0)
    noise = Examples(normalize(rng.normal(size=(200, DIM)).astype(np.float32)), rng.integers(0, 4, 200))
    seen: list[Progress] = []
    made = TrainOptions("supervised", (4,), steps=2000, batch=64, hidden=64, rate=0.01, patience=3)
    head = train(noise, made, encoder={}, progress=seen.append)
    assert seen[-1].step < 2000
    assert head.training["best_step"] == seen[-1].step - 300
    assert head.training["validation_loss"]["after"] == pytest.approx(min(p.best for p in seen))


def test_torch_is_left_as_it_was_found() -> None:
    before = torch.are_deterministic_algorithms_enabled(), torch.get_num_threads()
    fit("adaptor", steps=2)
    assert (torch.are_deterministic_algorithms_enabled(), torch.get_num_threads()) == before


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("objective", KINDS)
def test_on_a_gpu_it_learns_as_much(objective: str) -> None:
    here, there = fit(objective), fit(objective, device="cuda")
    assert there.to_bytes() == fit(objective, device="cuda").to_bytes()
    ours, theirs = (one.training["validation_loss"]["after"] for one in (here, there))
    assert theirs == pytest.approx(ours, rel=0.02)


# -- what is refused -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("objective", "given", "said"),
    [
        ("magic", {}, "expected one of"),
        ("rotation", {"dims": ()}, "ascending"),
        ("rotation", {"dims": (8, 4)}, "ascending"),
        ("rotation", {"dims": (0, 4)}, "ascending"),
        ("rotation", {"dims": (4, DIM + 1)}, "no prefix can have 25"),
        ("supervised", {"dims": (4, 8), "width": 6}, "gives 6 dimensions"),
        ("rotation", {"weights": (1.0,)}, "2 numbers above 0"),
        ("rotation", {"weights": (1.0, 0.0)}, "2 numbers above 0"),
        ("rotation", {"weights": (1.0, float("nan"))}, "2 numbers above 0"),
        ("rotation", {"weights": (1.0, float("inf"))}, "2 numbers above 0"),
        ("rotation", {"seed": -1}, "0 or more"),
        ("rotation", {"width": 12}, "no such choice"),
        ("rotation", {"hidden": 4}, "no such choice"),
        ("rotation", {"shared_classifier": True}, "no such choice"),
        ("rotation", {"dims": (DIM,)}, "name shorter prefixes"),
        ("supervised", {"fixed": "items"}, "no such choice"),
        ("paired", {"fixed": "items", "shared_tower": True}, "at once"),
        ("paired", {"fixed": "items", "width": 12}, "fixed tower"),
        ("adaptor", {"hidden": 0}, "hidden layer"),
        ("rotation", {"steps": 0}, "above 0"),
        ("rotation", {"rate": float("nan")}, "above 0"),
        ("supervised", {"hidden": -1}, "0 or more"),
    ],
)
def test_options_that_cannot_be_carried_out(objective: str, given: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        train(examples(objective), options(objective, **given), encoder={})


def spoilt(x: FloatArray, value: float) -> FloatArray:
    x = x.copy()
    x[17] = value
    return x


@pytest.mark.parametrize(
    ("objective", "given", "said"),
    [
        ("rotation", Examples(spoilt(clustered(50, DIM), np.nan)), "row 17 has NaN"),
        ("rotation", Examples(spoilt(clustered(50, DIM), 0)), "row 17 has length zero"),
        ("rotation", Examples(clustered(19, DIM)), "at least 20 rows"),
        ("rotation", Examples(clustered(50, DIM), queries=clustered(50, 8)), "expected 24 dimensions"),
        ("rotation", Examples(clustered(50, DIM), queries=clustered(5, DIM)), "at least 20 queries"),
        ("adaptor", Examples(clustered(50, DIM), queries=clustered(50, DIM)), "from items alone"),
        ("supervised", Examples(clustered(50, DIM)), "needs a label"),
        ("supervised", Examples(clustered(50, DIM), np.zeros(50, np.int64)), "one class"),
        ("supervised", Examples(clustered(50, DIM), np.arange(50)), "names or ids"),
        ("supervised", Examples(clustered(50, DIM), np.arange(49)), "50 class numbers"),
        ("supervised", Examples(clustered(50, DIM), np.linspace(0, 1, 50)), "class numbers"),  # type: ignore[arg-type]
        ("paired", Examples(clustered(50, DIM)), "second vector"),
        ("paired", Examples(clustered(50, DIM), pairs=clustered(49, DIM)), "a row for each of the 50"),
        ("paired", Examples(clustered(50, DIM), pairs=clustered(50, 8)), "expected 24 dimensions"),
    ],
)
def test_examples_that_cannot_be_learned_from(objective: str, given: Examples, said: str) -> None:
    with pytest.raises((InvalidInput, InvalidVectors), match=said):
        train(given, options(objective), encoder={})


@pytest.mark.parametrize("objective", KINDS)
def test_as_few_rows_as_are_taken(objective: str) -> None:
    few = examples(objective, 20)
    head = train(few, options(objective, steps=3), encoder={})
    assert np.isfinite(head(few.x)).all()
