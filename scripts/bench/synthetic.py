"""Synthetic vectors shaped like embeddings; docs/benchmarks/data.md says where each constant comes from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from indexers.vectors import FloatArray, IdArray, normalize

Drawn = tuple[FloatArray, IdArray]  # rows, and the number of the fine cluster of each
QUERIES = 2000  # of each kind that are drawn
BLOCK = 10_000  # rows drawn from one seed


@dataclass(frozen=True)
class Shape:
    """The constants of a synthetic set; data.md says where each comes from.

    Attributes:
        rows, dim, seed: of the base, and of everything random.
        slope, knee, fall: variance of axis j of the content, (j + knee)^−slope · exp(−fall · j / dim).
        coarse, fine: how many clusters, of both levels.
        zipf: exponent of the sizes of fine clusters, and of how many of them a coarse one has.
        parts: shares of the variance: coarse centres, fine centres, local directions, noise in all dimensions.
        pool, local: directions a coarse cluster varies in, and how many of them a fine one picks.
        spread: standard deviation of the logarithm of a fine cluster's distance from the mean.
        cone: length of the mean vector; that of the content is about 1.
        positive: whether negative values are cut off before the last rotation, as ReLU does.
        turn: of shifted queries: cosine of their mean with the base's, or (positive) how far it is turned away.
        vague: factor on their local part and noise (positive: on the noise alone).
        shared: of texts, how much of their content lies in directions that mean something for pictures.
        copies: share of the rows that are another one and a little noise, as photos of a burst are.
    """

    rows: int
    dim: int
    seed: int
    slope: float
    knee: float
    fall: float
    coarse: int
    fine: int
    zipf: float
    parts: tuple[float, float, float, float]
    pool: int
    local: int
    spread: float
    cone: float
    positive: bool
    turn: float
    vague: float
    shared: float = 1.0
    copies: float = 0.0


SHAPES = {
    "clip-768": Shape(
        rows=500_000, dim=768, seed=768, slope=1.1, knee=12, fall=1.6, coarse=300, fine=20_000, zipf=0.7,
        parts=(0.2, 0.22, 0.44, 0.14), pool=48, local=16, spread=0.05, cone=0.96, positive=False,
        turn=0.515, vague=0.4, shared=0.3,
    ),
    "resnet-2048": Shape(
        rows=200_000, dim=2048, seed=2048, slope=1.05, knee=7, fall=4, coarse=200, fine=8_000, zipf=0.7,
        parts=(0.2, 0.25, 0.43, 0.12), pool=48, local=16, spread=0.05, cone=0.72, positive=True,
        turn=1.5, vague=2.2,
    ),
}  # fmt: skip


class World:
    """What all rows of a synthetic set share, drawn from the seed of its shape."""

    def __init__(self, shape: Shape) -> None:
        rng = np.random.default_rng([shape.seed, 0])
        self.shape, dim = shape, shape.dim
        axes = np.arange(dim)
        variance = (axes + shape.knee) ** -shape.slope * np.exp(-shape.fall * axes / dim)
        self.std = np.sqrt(variance / variance.sum()).astype(np.float32)
        coarse, fine, local, self.noise = (float(share) ** 0.5 for share in shape.parts)
        sizes = rng.permutation(np.arange(1, shape.fine + 1) ** -shape.zipf)
        self.ends = np.cumsum(sizes / sizes.sum())
        shares = np.arange(1, shape.coarse + 1) ** -shape.zipf
        self.parent = rng.choice(shape.coarse, shape.fine, p=shares / shares.sum())
        self.centres = coarse * self.spectral(rng, shape.coarse)[self.parent] + fine * self.spectral(rng, shape.fine)
        self.pools = [self.spectral(rng, shape.pool) for _ in range(shape.coarse)]
        self.picks = np.argsort(rng.random((shape.fine, shape.pool)), axis=1)[:, : shape.local]
        weights = np.arange(1, shape.local + 1) ** -0.5
        self.weights = (local * weights / np.linalg.norm(weights)).astype(np.float32)
        self.scale = np.exp(shape.spread * rng.standard_normal(shape.fine) - shape.spread**2).astype(np.float32)
        self.mean = unit(np.exp(rng.normal(scale=0.5, size=dim)) if shape.positive else rng.normal(size=dim))
        gap = rng.normal(size=dim)
        self.gap = unit(np.abs(gap) if shape.positive else gap - (gap @ self.mean) * self.mean)
        self.inner, self.outer = (np.linalg.qr(rng.normal(size=(dim, dim)))[0].astype(np.float32) for _ in "ab")

    def spectral(self, rng: np.random.Generator, count: int) -> FloatArray:
        """Draw vectors [count, D] of mean length about 1 with the spectrum."""
        drawn: FloatArray = self.std * rng.standard_normal((count, self.shape.dim), dtype=np.float32)
        return drawn

    def content(self, rng: np.random.Generator, count: int, local: float = 1, noise: float = 1) -> Drawn:
        """Draw what tells rows apart [count, D], and the fine cluster of each."""
        shape = self.shape
        fine = np.searchsorted(self.ends, rng.random(count) * self.ends[-1])
        x = self.centres[fine] + noise * self.noise * self.spectral(rng, count)
        steps = local * self.weights * rng.standard_normal((count, shape.local), dtype=np.float32)
        along = np.zeros((count, shape.pool), dtype=np.float32)
        np.put_along_axis(along, self.picks[fine], steps, axis=1)
        coarse = self.parent[fine]
        for number in np.unique(coarse):
            rows = np.flatnonzero(coarse == number)
            x[rows] += along[rows] @ self.pools[number]
        return (x * self.scale[fine, None]).astype(np.float32), fine

    def finish(self, mean: FloatArray, x: FloatArray) -> FloatArray:
        """Put content on its cone, orthogonal to the gap, and rotate it, so that no axis order is given away."""
        level = x @ self.inner if self.shape.positive else x - np.outer(x @ self.gap, self.gap)
        x = np.maximum(mean + level, 0) if self.shape.positive else mean + level
        return normalize(np.ascontiguousarray(x @ self.outer))

    def like_base(self, stream: int, block: int, count: int) -> Drawn:
        """Draw rows of the base, or queries like it; the same for the same numbers."""
        x, fine = self.content(np.random.default_rng([self.shape.seed, stream, block]), count)
        return self.finish(self.shape.cone * self.mean, x), fine

    def shifted(self, count: int) -> Drawn:
        """Draw shifted queries: texts on the other side of a modality gap, or noisier pictures with another mean."""
        shape, rng = self.shape, np.random.default_rng([self.shape.seed, 3])
        if shape.positive:
            x, fine = self.content(rng, count, noise=shape.vague)
            x /= (1 + shape.parts[3] * (shape.vague**2 - 1)) ** 0.5
            return self.finish(shape.cone * unit(self.mean + shape.turn * self.gap), x), fine
        x, fine = self.content(rng, count, local=shape.vague, noise=shape.vague)
        own = normalize(self.spectral(rng, count) @ self.inner)
        x = shape.shared * normalize(x) + np.float32((1 - shape.shared**2) ** 0.5) * own
        mean = unit(shape.turn * self.mean + (1 - shape.turn**2) ** 0.5 * self.gap)
        return self.finish(shape.cone * mean, x), fine


def copied(shape: Shape, block: int, drawn: FloatArray, fine: IdArray) -> Drawn:
    """Make some rows of a block near-copies of others of it."""
    rng = np.random.default_rng([shape.seed, 4, block])
    copies = np.flatnonzero(rng.random(len(drawn)) < shape.copies)
    of = rng.integers(len(drawn), size=len(copies))
    noise = rng.standard_normal((len(copies), shape.dim), dtype=np.float32) * np.float32(0.05 * shape.dim**-0.5)
    drawn[copies], fine[copies] = normalize(drawn[of] + noise), fine[of]
    return drawn, fine


def unit(x: NDArray[np.floating]) -> FloatArray:
    """Return one vector as float32 of length 1."""
    return (x / np.linalg.norm(x)).astype(np.float32)


def synthetic(shape: Shape, target: Path) -> None:
    """Write a synthetic set block by block: the first rows do not depend on how many there are."""
    world = World(shape)
    xb = np.lib.format.open_memmap(target / "xb.npy", "w+", np.float32, (shape.rows, shape.dim))
    clusters = []
    for start in range(0, shape.rows, BLOCK):
        drawn, fine = world.like_base(1, start // BLOCK, BLOCK)
        if shape.copies:
            drawn, fine = copied(shape, start // BLOCK, drawn, fine)
        xb[start : start + BLOCK] = drawn[: shape.rows - start]
        clusters.append(fine)
    xb.flush()
    np.save(target / "fine.npy", np.concatenate(clusters)[: shape.rows].astype(np.int32))
    shifted = "sketches" if shape.positive else "texts"
    for kind, (queries, fine) in (("items", world.like_base(2, 0, QUERIES)), (shifted, world.shifted(QUERIES))):
        np.save(target / f"queries-{kind}.npy", queries)
        np.save(target / f"fine-{kind}.npy", fine.astype(np.int32))
