"""Makes the frozen data sets of the benchmarks and describes them; docs/benchmarks/data.md says what they resemble.

    apt install wordnet-base; python -m scripts.bench data FOLDER

makes them all under FOLDER (about 4 GB) and fills in the tables of that page.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import click
import faiss
import numpy as np

from indexers.base import Neighbors
from indexers.vectors import FloatArray
from scripts.bench import DOCS
from scripts.bench.datasets import NAMES, POOLED, SEED, WORDNET, Dataset, load, nearest, truth
from scripts.bench.synthetic import SHAPES
from scripts.markdown_table import table

HASHED = 10_000  # rows under a hash
SAMPLE, PAIRS, ASKED = 50_000, 5_000, 1_000  # rows that figures of the base are made from
PAGE = DOCS / "data.md"
FROZEN = {
    "clip-768": "a5b5ec069425fe3d54391b1564a2bce3648f71305441bd3aef76545039c5a937",
    "resnet-2048": "acbe710bc431385ae8ed20317587f16bcf354a0e23351c50db41bac947e0f0f1",
}
"""SHA-256 of the first rows, not to change once an index was tuned; another BLAS may round the last bits otherwise."""


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
@click.option("--pictures", type=click.Path(path_type=Path), help="What scripts.bundled.bridge keeps.")
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
