"""Measure what each training objective buys on WordNet, and write docs/benchmarks/heads.md with its plots.

    apt install wordnet-base; python -m scripts.bench heads FOLDER

FOLDER keeps embeddings and trained heads between runs; delete it to make everything again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import click
import numpy as np
import torch

from engine.encoders.registry import load_encoder
from engine.evaluation.labelled import adaptive_grid, label_table
from engine.evaluation.neighbours import neighbour_table
from engine.evaluation.plots import draw_plots
from engine.evaluation.representations import Representation, represent
from engine.evaluation.rows import Row
from engine.heads.model import Head, load_head
from engine.heads.training.options import Examples, TrainOptions
from engine.heads.training.train import train
from engine.planning.queries import QuerySet
from indexers.exact import exact_search
from indexers.threads import available_cores
from indexers.vectors import FloatArray, normalize, truncate
from scripts.bench import DOCS
from scripts.bench.datasets import WORDNET, nearest
from scripts.bench.machine import cpu_name, peak_bytes
from scripts.bench.timing import clocked
from scripts.bundled.wordnet import WordNet, encoded, read_wordnet
from scripts.markdown_table import table

SEED = 0
HELD = 60_000  # rows held out from training: queries and base
QUERIES = 2_000
LABEL_QUERIES = 20_000
ROTATION_DIMS = (16, 32, 64, 128)
LABEL_DIMS = (8, 16, 32, 64, 128, 256, 384)
# Short prefixes converge last, and without weight of their own they are the ones that fall short. Chosen on a fifth of
# the training rows, never on the queries.
LABEL_WEIGHTS = (16.0, 8.0, 4.0, 1.0, 1.0, 1.0, 1.0)
LABEL_SEEDS = (0, 1, 2)
FIXED = "fixed-size heads"
LABELLED = TrainOptions("supervised", LABEL_DIMS, seed=SEED, steps=4500, patience=20)
TARGETS = {16: 0.62, 32: 0.85, 64: 0.975, 128: 0.999}


@dataclass(frozen=True)
class Bench:
    """The data and where things are kept."""

    folder: Path
    words: WordNet
    x: FloatArray
    order: np.ndarray

    def fit(self, name: str, examples: Examples, options: TrainOptions) -> tuple[Head, float]:
        """Train a head, or read the one that was trained before with its seconds."""
        path, took = self.folder / f"{name}.safetensors", self.folder / f"{name}.seconds"
        if path.exists() and took.exists():
            return load_head(path), float(took.read_text())
        click.echo(f"training {name}", err=True)
        encoder = load_encoder("bundled").fingerprint.to_json()
        partial = self.folder / f"{name}.partial"
        head, seconds = clocked(train, examples, options, encoder=encoder, checkpoint=partial)
        head.save(path)
        partial.unlink(missing_ok=True)
        took.write_text(f"{seconds:.1f}")
        return head, seconds


def by_dim(
    rows: Sequence[Row], metric: str, dims: Sequence[int], scale: float = 1.0, digits: int = 3
) -> list[list[str]]:
    """Return a line for each representation: its name, then value ± standard error at each dim."""
    lines = []
    for name in dict.fromkeys(row.representation for row in rows):
        own = {row.dim: row for row in rows if row.representation == name and row.metric == metric}
        cells = [
            f"{scale * own[d].value:.{digits}f} ± {scale * (own[d].error or 0):.{digits}f}" if d in own else ""
            for d in dims
        ]
        lines.append([name, *cells])
    return lines


# -- objectives without labels ---------------------------------------------------------------


def unlabelled(bench: Bench) -> list[str]:
    """Shortlist recall of rotation, adaptor, PCA, random axes and plain prefixes, on rows none has seen."""
    held, trained = bench.order[:HELD], bench.order[HELD:]
    xt, xq, xb = bench.x[trained], bench.x[held[:QUERIES]], bench.x[held[QUERIES:]]
    rotation, seconds = bench.fit("rotation", Examples(xt), TrainOptions("rotation", ROTATION_DIMS, seed=SEED))
    adaptor, adaptor_seconds = bench.fit("adaptor", Examples(xt), TrainOptions("adaptor", ROTATION_DIMS, seed=SEED))
    queries = [QuerySet("items", xq)]
    made = represent(xb, queries, names=("truncation", "random", "pca"), heads={"rotation": rotation}, seed=SEED)
    rows = neighbour_table(made, ROTATION_DIMS, k=10, shortlist=100)
    lines = by_dim(rows, "recall@10 in 100", ROTATION_DIMS)
    lines.append(["nested:adaptor", *kept_by(adaptor, xb, xq)])
    lines.append(["wanted of a rotation", *(f"{TARGETS[d]:.3f}" for d in ROTATION_DIMS)])
    before, after = xq[:200] @ xb[:5000].T, rotation(xq[:200]) @ rotation(xb[:5000]).T
    pca = next(represent(xb[:5000], queries, names=("pca",)))
    turned = {"truncation": (xb[:5000], xq), "pca": (pca.base, pca.queries[0].xq)}
    turned |= {head.objective: (head(xb[:5000]), head(xq)) for head in (rotation, adaptor)}
    near = np.argpartition(-before, 10, axis=1)[:, :10]
    errors = []
    for name, (b, q) in turned.items():
        moved = [np.abs(truncate(q[:200], d) @ truncate(b, d).T - before) for d in ROTATION_DIMS]
        of_near = [float(np.take_along_axis(one, near, axis=1).mean()) for one in moved]
        errors.append([name, *(f"{one.mean():.3f} / {own:.3f}" for one, own in zip(moved, of_near, strict=True))])
    plots = draw_plots([DOCS / "heads-rotation.png"], rows, title="WordNet glosses, MiniLM")
    return [
        "## Without labels: `rotation` and `adaptor`",
        "",
        f"Trained on {len(xt):,} glosses; {QUERIES:,} queries and {len(xb):,} base rows, none seen in training. "
        "Shortlist recall: the share of the true top 10 at 384 dimensions among the best 100 by the renormalised "
        "prefix. PCA is fitted to the very rows that are searched, which favours it.",
        "",
        *table(["prefix", *map(str, ROTATION_DIMS)], lines),
        f"The rotation took {seconds:.0f} s to train, the adaptor {adaptor_seconds:.0f} s. Scores at full "
        f"dimension moved by at most {np.abs(before - after).max():.1e} through the rotation.",
        "",
        "The adaptor's losses keep the *values* of similarities, not the order of neighbours. Mean absolute difference "
        "between the cosine of a prefix and the full one, of all rows / of the ten nearest (of 5,000):",
        "",
        *table(["prefix", *map(str, ROTATION_DIMS)], errors),
        *(f"![Recall by prefix]({path.name})" for path in plots),
        "",
    ]


def kept_by(head: Head, xb: FloatArray, xq: FloatArray) -> list[str]:
    """Return shortlist recall of the neighbours *before* the head: an adaptor changes the full dimension too."""
    truth, base, asked = nearest(xb, xq, 10).ids, head(xb), head(xq)
    cells = []
    for d in ROTATION_DIMS:
        found = nearest(truncate(base, d), truncate(asked, d), 100).ids
        hits = np.array([np.isin(true, got).mean() for true, got in zip(truth, found, strict=True)])
        cells.append(f"{hits.mean():.3f} ± {hits.std() / len(hits) ** 0.5:.3f}")
    return cells


# -- labels ----------------------------------------------------------------------------------


def supervised(bench: Bench) -> list[str]:
    """1-NN accuracy in the shape of the MRL paper's tables, and adaptive retrieval."""
    held, trained = bench.order[:LABEL_QUERIES], bench.order[LABEL_QUERIES:]
    xt, yt, xq, yq = bench.x[trained], bench.words.files[trained], bench.x[held], bench.words.files[held]
    examples, queries = Examples(xt, yt), [QuerySet("items", xq)]
    rows = label_table(
        represent(xt, queries, names=("truncation", "random", "pca"), seed=SEED), yt, LABEL_DIMS, query_labels=yq
    )
    taken = {"MRL": 0.0, FIXED: 0.0}
    runs: dict[tuple[str, int], list[Row]] = {}
    for seed in LABEL_SEEDS:
        for name, dims, options in label_heads(seed):
            head, seconds = bench.fit(f"{name}{f'-seed{seed}' if seed else ''}", examples, options)
            shown = {"mrl": "MRL", "mrl-e": "MRL-E"}.get(name, FIXED)
            taken[shown] = taken.get(shown, 0.0) + seconds
            one = Representation(shown, head(xt), (QuerySet("items", head(xq)),))
            for row in label_table([one], yt, dims, query_labels=yq):
                if row.metric == "1-NN":
                    runs.setdefault((shown, row.dim), []).append(row)
    for group in runs.values():
        mean = float(np.mean([row.value for row in group]))
        rows.append(replace(group[0], value=mean))
    plots = draw_plots(
        [DOCS / "heads-supervised.png"],
        sorted(rows, key=lambda row: (row.representation, row.dim)),
        title="WordNet, 45 classes",
    )
    mrl = bench.fit("mrl", examples, label_heads(SEED)[0][2])[0]
    return [
        "## Labels: `supervised`",
        "",
        f"The label is WordNet's lexicographer file (45 classes) of a gloss; split by synset, {len(xt):,} rows to "
        f"train on and to search, {len(xq):,} queries. 1-NN accuracy in percent, of heads the mean of "
        f"{len(LABEL_SEEDS)} seeds:",
        "",
        *table(["", *map(str, LABEL_DIMS)], by_dim(rows, "1-NN", LABEL_DIMS, 100, 2)),
        *gap_lines(runs),
        f"MRL is one head, trained in {taken['MRL'] / len(LABEL_SEEDS):.0f} s with weights {numbers(LABEL_WEIGHTS)}, "
        f"as MRL-E was; the seven fixed-size heads took {taken[FIXED] / len(LABEL_SEEDS):.0f} s together. All have 512 "
        f"hidden neurons beside the linear map, {LABELLED.steps} steps, and are taken where held-out training rows "
        "fared best. Weights and steps were chosen on a fifth of the training rows, never on the queries.",
        "",
        *(f"![Accuracy by prefix]({path.name})" for path in plots),
        "",
        *adaptive(mrl, xt, yt, xq[:QUERIES], yq[:QUERIES]),
    ]


def label_heads(seed: int) -> list[tuple[str, tuple[int, ...], TrainOptions]]:
    """Return what is compared: name, dims that are measured, how it is trained."""
    own = replace(LABELLED, seed=seed)
    nested = replace(own, weights=LABEL_WEIGHTS)
    alone = [(f"fixed-{d}", (d,), replace(own, dims=(d,), width=d)) for d in LABEL_DIMS]
    return [("mrl", LABEL_DIMS, nested), ("mrl-e", LABEL_DIMS, replace(nested, shared_classifier=True)), *alone]


def numbers(weights: Sequence[float]) -> str:
    """Write weights."""
    return ", ".join(f"{weight:g}" for weight in weights)


def gap_lines(runs: Mapping[tuple[str, int], Sequence[Row]]) -> list[str]:
    """Say how far MRL and MRL-E are from the heads trained for one dimension, seed by seed."""
    lines = []
    for name in ("MRL", "MRL-E"):
        cells = []
        for d in LABEL_DIMS:
            pairs = zip(runs[name, d], runs[FIXED, d], strict=True)
            gaps = 100 * np.array([nested.value - alone.value for nested, alone in pairs])
            cells.append(f"{gaps.mean():+.2f} ± {gaps.std(ddof=1) / len(gaps) ** 0.5:.2f}")
        lines.append([f"{name} less the fixed-size head", *cells])
    return ["In points, ± over seeds:", "", *table(["", *map(str, LABEL_DIMS)], lines)]


def adaptive(head: Head, xb: FloatArray, yb: np.ndarray, xq: FloatArray, yq: np.ndarray) -> list[str]:
    """A shortlist of 200 by d_s, reranked by 384."""
    one = Representation("MRL", head(xb), (QuerySet("items", head(xq)),))
    rows = adaptive_grid([one], yb, LABEL_DIMS, k=10, shortlist=200, query_labels=yq)
    value = {(row.dim, row.rerank, row.metric): row.value for row in rows}
    full = value[384, 384, "mAP@10"]
    lines = [
        [
            str(d),
            f"{100 * value[d, 384, 'mAP@10']:.2f}",
            f"{100 * (value[d, 384, 'mAP@10'] - full):+.2f}",
            f"{100 * value[d, 384, '1-NN']:.2f}",
            f"{value[d, 384, 'ms']:.2f}",
            f"{value[384, 384, 'ms'] / value[d, 384, 'ms']:.1f} ×",
        ]
        for d in LABEL_DIMS
    ]
    return [
        "### Adaptive retrieval",
        "",
        f"With the MRL head: the best 200 of {len(xb):,} by the first d_s numbers, reranked by all 384. Wall-clock "
        "of one query on one thread, from its vector to its ten answers; the last line is exact search. The scan of "
        "the prefix is exact too: an index makes both faster (see search.md).",
        "",
        *table(["d_s", "mAP@10", "points from full", "1-NN", "ms a query", "faster"], lines),
    ]


# -- pairs -----------------------------------------------------------------------------------


def paired(bench: Bench) -> list[str]:
    """A reverse dictionary: from the words to their gloss, among glosses that were not seen."""
    pairs = encoded(bench.words.words, bench.folder / "words.npy")
    held, trained = bench.order[:HELD], bench.order[HELD:]
    examples = Examples(bench.x[trained], pairs=pairs[trained])
    dims = (16, 32, 64, 128, 384)
    xb, xq = bench.x[held], pairs[held[:QUERIES]]
    lines = [["truncation", *first_found(xb, xq, dims)]]
    for name, given in (("paired", {}), ("paired, items fixed", {"fixed": "items"})):
        options = replace(TrainOptions("paired", dims, seed=SEED), **given)
        head, seconds = bench.fit(name.replace(", ", "-").replace(" ", "-"), examples, options)
        lines.append([f"{name} ({seconds:.0f} s)", *first_found(head(xb), head(xq, "queries"), dims)])
    rotation, seconds = bench.fit(
        "rotation-queries",
        Examples(bench.x[trained], queries=pairs[trained]),
        TrainOptions("rotation", dims[:-1], seed=SEED),
    )
    lines.append([f"rotation with queries ({seconds:.0f} s)", *first_found(rotation(xb), rotation(xq), dims)])
    return [
        "## Pairs: `paired`",
        "",
        f"A reverse dictionary: a query is the words of a synset, the answer its gloss among {HELD:,} glosses that "
        f"were not trained on, as none of the {QUERIES:,} queries was. Recall@10:",
        "",
        *table(["", *map(str, dims)], lines),
    ]


def first_found(xb: FloatArray, xq: FloatArray, dims: Sequence[int]) -> list[str]:
    """Return recall@10 of row i for query i."""
    cells = []
    for d in dims:
        found = exact_search(truncate(xb, d), truncate(xq, d), 10, block=8192).ids
        hits = (found == np.arange(len(xq))[:, None]).any(axis=1)
        cells.append(f"{hits.mean():.3f} ± {hits.std() / len(hits) ** 0.5:.3f}")
    return cells


# -- cost ------------------------------------------------------------------------------------


def cost(bench: Bench) -> list[str]:
    """Seconds to train each objective with its default options on 100,000 rows of 512 dimensions."""
    rng = np.random.default_rng(SEED)
    centres = rng.normal(size=(3000, 512)).astype(np.float32)
    labels = rng.integers(0, len(centres), 100_000)
    spectrum = np.arange(1, 513, dtype=np.float32) ** -0.45
    rows = [(centres[labels] + 0.7 * rng.normal(size=(len(labels), 512)).astype(np.float32)) * spectrum for _ in "ab"]
    x, pairs = (normalize(one) for one in rows)
    dims = (16, 32, 64, 128, 256)
    lines = []
    for objective in ("rotation", "supervised", "paired", "adaptor"):
        examples = Examples(
            x,
            labels=labels % 100 if objective == "supervised" else None,
            pairs=pairs if objective == "paired" else None,
        )
        head, seconds = bench.fit(f"cost-{objective}", examples, TrainOptions(objective, dims, seed=SEED))
        lines.append([f"`{objective}`", f"{seconds:.0f}", str(head.training["best_step"])])
    return [
        "## What training costs",
        "",
        f"100,000 × 512 structured vectors, dims {', '.join(map(str, dims))}, default options, {available_cores()} "
        f"threads. Peak memory of the whole run {peak_bytes() / 1e9:.1f} GB.",
        "",
        *table(["objective", "seconds", "best step"], lines),
    ]


PARTS = {"unlabelled": unlabelled, "supervised": supervised, "paired": paired, "cost": cost}


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--wordnet", type=click.Path(path_type=Path), default=WORDNET, show_default=True)
@click.option("--only", type=click.Choice(list(PARTS)), help="Measure one part; the others keep their figures.")
def main(folder: Path, wordnet: Path, only: str | None) -> None:
    """Train and measure every objective."""
    folder.mkdir(parents=True, exist_ok=True)
    DOCS.mkdir(parents=True, exist_ok=True)
    words = read_wordnet(wordnet)
    x = normalize(encoded(words.glosses, folder / "glosses.npy"))
    bench = Bench(folder, words, x, np.random.default_rng(SEED).permutation(len(x)))
    for name, measure in PARTS.items():
        if only in (None, name):
            (folder / f"{name}.json").write_text(json.dumps(measure(bench)))
    head = [
        "# What each objective buys",
        "",
        f"Made by `python -m scripts.bench heads` with seed {SEED}: {len(x):,} glosses of WordNet 3.0 as MiniLM "
        f"vectors (384 dimensions), torch {torch.__version__}, {cpu_name()}; on one thread (NESTVEC_THREADS=1), beside "
        "other work, where nothing else is said. ± is one standard error over queries. Times are wall-clock.",
        "",
    ]
    found = [json.loads((folder / f"{name}.json").read_text()) for name in PARTS if (folder / f"{name}.json").exists()]
    text = "\n".join([*head, *(line for part in found for line in part)]).rstrip() + "\n"
    (DOCS / "heads.md").write_text(text)
    click.echo(text)
