"""Opens the data of benchmarks: the frozen sets, and vectors of the same shape in other sizes.

docs/benchmarks/data.md says what they are and what they resemble:

    glosses-384   WordNet's glosses through MiniLM; held-out glosses and short keyword queries
    clip-768      synthetic, shaped like image embeddings of CLIP; more of the same, and texts beyond a modality gap
    resnet-2048   synthetic, shaped like pooled features of ResNet-50; more of the same, and shifted "sketches"
    bundled-384   drawings through the bundled encoder; styles it was not fitted on, and texts
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import faiss
import numpy as np

from engine.api import Collection
from engine.encoders.bundled.encoder import BundledEncoder
from engine.jobs.index import RunOptions
from indexers.base import IndexSpec, Neighbors
from indexers.vectors import FloatArray, normalize
from scripts.bench.synthetic import SHAPES, synthetic

NAMES = ("glosses-384", "clip-768", "resnet-2048", "bundled-384")
POOLED = "pooled-1280"  # real features to compare resnet-2048 with; nothing is timed on them
SIZED = "clip-768"  # what `sized` makes in other sizes
WORDNET = Path("/usr/share/wordnet")
SEED = 0
HELD = 3000  # glosses
SCANNED = 65_536  # rows compared at once


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
        pictures: inputs and features as scripts.bundled.bridge keeps them; `folder`/pictures if None.
    """

    def make(partial: Path) -> None:
        if name in SHAPES:
            synthetic(SHAPES[name], partial)
        elif name == "glosses-384":
            glosses(folder, wordnet, partial)
        elif name in ("bundled-384", POOLED):
            drawings(pictures or folder / "pictures", partial, pooled=name == POOLED)
        else:
            raise ValueError(f"expected one of {', '.join(NAMES)}; found {name!r}")

    return kept(name, folder / name, make, rows)


def sized(folder: Path, rows: int, dim: int) -> Dataset:
    """Return `rows` vectors of `dim` dimensions and queries to them, made under `folder` the first time."""
    shape = replace(SHAPES[SIZED], rows=rows, dim=dim)
    return kept(SIZED, folder / f"{rows}x{dim}", lambda partial: synthetic(shape, partial))


def kept(name: str, folder: Path, make: Callable[[Path], None], rows: int | None = None) -> Dataset:
    """Open a folder of vectors and queries, which `make` fills, under another name, where there is none."""
    if not folder.exists():
        partial = folder.with_name(f".{folder.name}.{os.getpid()}")
        partial.mkdir(parents=True, exist_ok=True)
        try:
            make(partial)
            partial.rename(folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    queries = {path.stem.removeprefix("queries-"): np.load(path) for path in sorted(folder.glob("queries-*.npy"))}
    return Dataset(name, np.load(folder / "xb.npy", mmap_mode="r")[:rows], queries, folder)


def half(queries: Mapping[str, FloatArray], which: int) -> dict[str, FloatArray]:
    """Return every second query of each kind: 0 to choose settings with, 1 to measure them."""
    return {kind: np.ascontiguousarray(xq[which::2], dtype=np.float32) for kind, xq in queries.items()}


def indexed(data: Dataset, specs: Sequence[IndexSpec] | None = None) -> Path:
    """Return the collection of a data set, which lies beside it; made the first time."""
    root = data.folder.with_suffix(".nest")
    if not root.exists():
        with Collection.create(root, encoder="precomputed", dim=data.xb.shape[1]) as made:
            made.index(data.folder / "xb.npy", RunOptions(device="cpu", specs=specs))
    return root


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
    from scripts.bundled.wordnet import encoded, read_wordnet

    words = read_wordnet(wordnet)
    x = normalize(encoded(words.glosses, folder / "glosses.npy"))
    names = normalize(encoded(words.words, folder / "words.npy"))
    order = np.random.default_rng(SEED).permutation(len(x))
    np.save(target / "queries-items.npy", x[order[:HELD]])
    np.save(target / "queries-texts.npy", names[order[:HELD]])
    np.save(target / "xb.npy", x[order[HELD:]])


def drawings(pictures: Path, target: Path, *, pooled: bool) -> None:
    """Write the bundled encoder's vectors of drawings, texts of the same concepts, or what its picture tower pools."""
    from engine.encoders.bundled.bridge import load_bridge
    from scripts.bundled.inputs import DEV_STYLE, FINAL_STYLE, INPUTS, TRAINED_STYLES, fetch, read_concepts, read_style

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
