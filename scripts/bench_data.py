#!/usr/bin/env python3
"""The frozen data sets of the benchmark; docs/benchmarks/data.md says what they are and what they resemble.

    apt install wordnet-base; python scripts/bench_data.py FOLDER

makes them all under FOLDER (about 4 GB) and fills in the tables of that page. Other scripts import `load` and `truth`.

    glosses-384   WordNet's glosses through MiniLM; held-out glosses and short keyword queries
    clip-768      synthetic, shaped like image embeddings of CLIP; more of the same, and texts beyond a modality gap
    resnet-2048   synthetic, shaped like pooled features of ResNet-50; more of the same, and shifted "sketches"
    bundled-384   drawings through the bundled encoder; styles it was not fitted on, and texts
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import click
import faiss
import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

from markdown_table import table  # noqa: E402

from engine.encoders.bundled.encoder import BundledEncoder  # noqa: E402
from indexers.base import Neighbors  # noqa: E402
from indexers.vectors import FloatArray, IdArray, normalize  # noqa: E402

Drawn = tuple[FloatArray, IdArray]  # rows, and the number of the fine cluster of each
NAMES = ("glosses-384", "clip-768", "resnet-2048", "bundled-384")
POOLED = "pooled-1280"  # real features to compare resnet-2048 with; nothing is timed on them
WORDNET = Path("/usr/share/wordnet")
SEED = 0
HELD, QUERIES = 3000, 2000  # of glosses, of what is drawn
BLOCK, SCANNED, HASHED = 10_000, 65_536, 10_000  # rows drawn from one seed, compared at once, under a hash
SAMPLE, PAIRS, ASKED = 50_000, 5_000, 1_000  # rows that figures of the base are made from
PAGE = ROOT / "docs" / "benchmarks" / "data.md"
FROZEN = {
    "clip-768": "a5b5ec069425fe3d54391b1564a2bce3648f71305441bd3aef76545039c5a937",
    "resnet-2048": "acbe710bc431385ae8ed20317587f16bcf354a0e23351c50db41bac947e0f0f1",
}
"""SHA-256 of the first rows, not to change once an index was tuned; another BLAS may round the last bits otherwise."""


@dataclass(frozen=True)
class Dataset:
    """One data set on disk.

    Attributes:
        name: one of NAMES.
        xb: unit float32 [n, D], mapped.
        queries: kind → unit float32 [nq, D], at least 2,000 each: split them before tuning.
        folder: where it is kept, and what is derived from it.
    """

    name: str
    xb: FloatArray
    queries: Mapping[str, FloatArray]
    folder: Path


def load(
    name: str, folder: Path, rows: int | None = None, *, wordnet: Path = WORDNET, pictures: Path | None = None
) -> Dataset:
    """Return a data set, made under `folder` when first asked for.

    Args:
        name: one of NAMES.
        folder: where they all are kept.
        rows: only the first rows of the base, which are a fair sample of it.
        wordnet: the folder of WordNet's data files.
        pictures: inputs and features as scripts/build_bundled keeps them; `folder`/pictures if None.
    """
    kept = folder / name
    if not kept.exists():
        partial = folder / f".{name}.{os.getpid()}"
        partial.mkdir(parents=True, exist_ok=True)
        try:
            if name in SHAPES:
                synthetic(SHAPES[name], partial)
            elif name == "glosses-384":
                glosses(folder, wordnet, partial)
            elif name in ("bundled-384", POOLED):
                drawings(pictures or folder / "pictures", partial, pooled=name == POOLED)
            else:
                raise ValueError(f"expected one of {', '.join(NAMES)}; found {name!r}")
            partial.rename(kept)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    xb = np.load(kept / "xb.npy", mmap_mode="r")[:rows]
    queries = {path.stem.removeprefix("queries-"): np.load(path) for path in sorted(kept.glob("queries-*.npy"))}
    return Dataset(name, xb, queries, kept)


def truth(dataset: Dataset, kind: str, k: int = 100) -> Neighbors:
    """Return the exact k best rows of every query of a kind, kept beside the data from the first time on."""
    path = dataset.folder / f"truth-{kind}-{len(dataset.xb)}-{k}.npz"
    if not path.exists():
        found = nearest(dataset.xb, dataset.queries[kind], k)
        partial = path.with_suffix(f".{os.getpid()}")
        with partial.open("wb") as file:
            np.savez(file, scores=found.scores, ids=found.ids)
        partial.rename(path)
    with np.load(path) as arrays:
        return Neighbors(arrays["scores"], arrays["ids"])


def nearest(xb: FloatArray, xq: FloatArray, k: int) -> Neighbors:
    """Return the k rows with the highest inner products in float32: FAISS's exhaustive scan, by blocks."""
    scores, ids = np.empty((len(xq), 0), dtype=np.float32), np.empty((len(xq), 0), dtype=np.int64)
    for start in range(0, len(xb), SCANNED):
        block = np.ascontiguousarray(xb[start : start + SCANNED])
        found, rows = faiss.knn(xq, block, min(k, len(block)), metric=faiss.METRIC_INNER_PRODUCT)
        scores, ids = np.concatenate([scores, found], axis=1), np.concatenate([ids, rows + start], axis=1)
        order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        scores, ids = np.take_along_axis(scores, order, axis=1), np.take_along_axis(ids, order, axis=1)
    return Neighbors(scores, ids)


def glosses(folder: Path, wordnet: Path, target: Path) -> None:
    """Write WordNet's glosses; "items" are glosses that were held out, "texts" the words of their synsets."""
    from wordnet_inputs import encoded, read_wordnet

    words = read_wordnet(wordnet)
    x = normalize(encoded(words.glosses, folder / "glosses.npy"))
    names = normalize(encoded(words.words, folder / "words.npy"))
    order = np.random.default_rng(SEED).permutation(len(x))
    np.save(target / "queries-items.npy", x[order[:HELD]])
    np.save(target / "queries-texts.npy", names[order[:HELD]])
    np.save(target / "xb.npy", x[order[HELD:]])


def drawings(pictures: Path, target: Path, *, pooled: bool) -> None:
    """Write the bundled encoder's vectors of drawings, texts of the same concepts, or what its picture tower pools."""
    from bundled_inputs import DEV_STYLE, FINAL_STYLE, INPUTS, TRAINED_STYLES, fetch, read_concepts, read_style

    from engine.encoders.bundled.bridge import load_bridge

    pictures.mkdir(parents=True, exist_ok=True)
    fetch(pictures, {name: sha256 for name, sha256 in INPUTS.items() if name.endswith(".tgz")})
    encoder, bridge, concepts = BundledEncoder(), load_bridge(), read_concepts(pictures)

    def vectors(style: str, views: slice) -> list[FloatArray]:
        seen = list(read_style(pictures, style, concepts, encoder).values())[views]
        return [normalize(one.features) if pooled else bridge(one.features, one.logits) for one in seen]

    views = slice(1 if pooled else None)
    parts = {"xb": np.concatenate([one for style in TRAINED_STYLES for one in vectors(style, views)])}
    parts["queries-items"] = np.concatenate([vectors(style, slice(1))[0] for style in (DEV_STYLE, FINAL_STYLE)])
    if not pooled:
        labels = list(dict.fromkeys(concept.label for concept in concepts))
        parts["queries-texts"] = encoder.encode_texts([*labels, *(f"a drawing of {label}" for label in labels)])
    for name, x in parts.items():
        np.save(target / f"{name}.npy", normalize(x)[np.random.default_rng(SEED).permutation(len(x))])


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
        xb[start : start + BLOCK] = drawn[: shape.rows - start]
        clusters.append(fine)
    xb.flush()
    np.save(target / "fine.npy", np.concatenate(clusters)[: shape.rows].astype(np.int32))
    shifted = "sketches" if shape.positive else "texts"
    for kind, (queries, fine) in (("items", world.like_base(2, 0, QUERIES)), (shifted, world.shifted(QUERIES))):
        np.save(target / f"queries-{kind}.npy", queries)
        np.save(target / f"fine-{kind}.npy", fine.astype(np.int32))


def spectrum(dataset: Dataset) -> list[str]:
    """Return a line: rows, D, and how many principal axes hold so much of the centred variance."""
    x = np.asarray(dataset.xb[:SAMPLE])
    x = x - x.mean(axis=0, dtype=np.float64).astype(np.float32)
    variance = np.linalg.eigvalsh((x.T @ x).astype(np.float64))[::-1]
    held = np.cumsum(variance) / variance.sum()
    counts = [str(int(np.searchsorted(held, share)) + 1) for share in (0.5, 0.8, 0.9, 0.95, 0.99)]
    return [dataset.name, f"{len(dataset.xb):,}", str(x.shape[1]), *counts]


def base_line(dataset: Dataset) -> list[str]:
    """Return a line: cosines of pairs and neighbours, local dimension, clusters and hubs of the base."""
    x = np.asarray(dataset.xb[:SAMPLE])
    pairs = (x[:PAIRS] @ x[:PAIRS].T)[np.triu_indices(min(PAIRS, len(x)), 1)]
    found = nearest(dataset.xb, x[:ASKED], 101)
    own = found.ids == np.arange(len(found.ids))[:, None]
    own[~own.any(axis=1), -1] = True  # a row behind a hundred copies of itself
    near = Neighbors(found.scores[~own].reshape(-1, 100), found.ids[~own].reshape(-1, 100))
    learned, rest = np.split(x, [len(x) * 4 // 5])
    means = faiss.Kmeans(x.shape[1], 256, niter=8, seed=SEED + 1, max_points_per_centroid=SAMPLE)
    means.train(learned)
    left = means.index.search(rest, 1)[0].mean() / ((rest - learned.mean(axis=0)) ** 2).sum(axis=1).mean()
    hubs = np.bincount(nearest(x[:HASHED], x[:HASHED], 11).ids[:, 1:].ravel(), minlength=len(x[:HASHED]))
    skew = float((((hubs - hubs.mean()) / hubs.std()) ** 3).mean())
    spread = [f"{value:.2f}" for value in (pairs.mean(), pairs.std(), pairs.min())]
    return [dataset.name, *spread, *neighbour_cells(dataset, near), f"{1 - left:.2f}", f"{skew:.1f}"]


def query_line(dataset: Dataset, kind: str) -> list[str]:
    """Return a line: what `base_line` says, of queries of one kind against the base."""
    xq, mean = dataset.queries[kind], np.asarray(dataset.xb[:SAMPLE]).mean(axis=0)
    centre = xq.mean(axis=0)
    cosines = [f"{value:.2f}" for value in (centre @ mean, centre @ centre, np.linalg.norm(centre - mean))]
    return [f"{dataset.name}, {kind}", f"{len(xq):,}", *cosines, *neighbour_cells(dataset, truth(dataset, kind), kind)]


def neighbour_cells(dataset: Dataset, near: Neighbors, kind: str | None = None) -> list[str]:
    """Return cosines of the 1st, 10th and 100th neighbour, the local dimension, and the share in the same cluster."""
    cells = [f"{near.scores[:, place].mean():.3f}" for place in (0, 9, 99)] + [f"{local_dimension(near.scores):.1f}"]
    if dataset.name not in SHAPES:
        return [*cells, "–"]
    fine = np.load(dataset.folder / "fine.npy")
    asked = np.load(dataset.folder / f"fine-{kind}.npy") if kind else fine
    return [*cells, f"{(fine[near.ids[:, :10]] == asked[: len(near.ids), None]).mean():.2f}"]


def local_dimension(cosines: FloatArray) -> float:
    """Return the mean of Levina and Bickel's maximum-likelihood estimates from neighbours' cosines [nq, 100]."""
    distances = np.sqrt(np.maximum(2 - 2 * cosines.astype(np.float64), 0))
    usable = distances[:, :-1] > 1e-3  # not copies
    logs = np.where(usable, np.log(distances[:, -1:] / np.maximum(distances[:, :-1], 1e-3)), 0).sum(axis=1)
    return float((usable.sum(axis=1) / np.maximum(logs, 1e-9)).mean())


def frozen_line(dataset: Dataset) -> list[str]:
    """Return a line: seed and SHA-256 of the first rows, and whether they are those that were frozen."""
    found = hashlib.sha256(np.ascontiguousarray(dataset.xb[:HASHED]).tobytes()).hexdigest()
    same = "yes" if found == FROZEN[dataset.name] else "no"
    return [dataset.name, str(SHAPES[dataset.name].seed), f"`{found}`", same]


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--wordnet", type=click.Path(path_type=Path), default=WORDNET, show_default=True)
@click.option("--pictures", type=click.Path(path_type=Path), help="What scripts/build_bundled keeps.")
def main(folder: Path, wordnet: Path, pictures: Path | None) -> None:
    """Make every data set under FOLDER and fill in the tables of docs/benchmarks/data.md."""
    sets = [load(name, folder, wordnet=wordnet, pictures=pictures) for name in (*NAMES, POOLED)]
    asked = [(dataset, kind) for dataset in sets for kind in dataset.queries]
    near = ("1st", "10th", "100th neighbour", "local dimension", "same cluster")
    shares = ("50 %", "80 %", "90 %", "95 %", "99 %")
    frozen = [frozen_line(one) for one in sets if one.name in SHAPES]
    tables = {
        "spectrum": table(["", "n", "D", *shares], map(spectrum, sets)),
        "base": table(["", "mean", "deviation", "least", *near, "256 means", "hubs"], map(base_line, sets)),
        "queries": table(["", "n", "with base", "among themselves", "gap", *near], (query_line(*one) for one in asked)),
        "frozen": table(["", "seed", "SHA-256", "as frozen"], frozen),
    }
    text = PAGE.read_text()
    for name, lines in tables.items():
        before, _, rest = text.partition(f"<!-- {name} -->\n")
        text = "\n".join([f"{before}<!-- {name} -->", "", *lines, f"<!-- end -->{rest.partition('<!-- end -->')[2]}"])
    PAGE.write_text(text)
    click.echo("\n".join(line for lines in tables.values() for line in lines))


if __name__ == "__main__":
    main()
