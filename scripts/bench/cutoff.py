"""Measure how well it is told that nothing relevant is there, and write docs/benchmarks/cutoff.md.

    OPENBLAS_NUM_THREADS=1 python -m scripts.bench cutoff FOLDER [--pictures FOLDER] [--few QUERIES]

A query is answerable where its class is in the collection, and is not once all of its class is taken out. What is told
of its answers then and there, by each way, is as good as it tells the two apart: the area under the ROC curve, over
queries of all classes together.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np
from numpy.typing import NDArray

from engine.encoders.registry import load_encoder
from engine.jobs.cutoff import conformal
from engine.query.chance import Beside, beside
from indexers.mask import Mask
from indexers.threads import on_one_thread
from indexers.vectors import FloatArray, IdArray, normalize
from scripts import ROOT
from scripts.bench import DOCS
from scripts.bench.machine import cpu_name
from scripts.bench.timing import clocked
from scripts.markdown_table import table

SEED, K, QUERIES = 0, 10, 240
ADVERBS = 2  # WordNet's file of them
SHARES, SPLITS = 0.95, 200
GLOSSES, LARGE = 40_000, 10_000
CLASSES, CLASSES_OF_LARGE = 120, 30
WAYS = ("flat cosine", "autocut: answers kept", "autocut: largest jump", "z-score of the cosine", "chance")


class Set(NamedTuple):
    """Queries of one kind to rows, with classes.

    Attributes:
        name: of the data, and of the kind of query.
        xb: unit float32 [n, D].
        xq: unit float32 [nq, D].
        target: the row that each query is about.
        classes: of the rows.
        own: whether a query is the row itself, which must not answer then.
    """

    name: str
    xb: FloatArray
    xq: FloatArray
    target: IdArray
    classes: IdArray
    own: bool = False


class Rows:
    """Rows in memory, as what is compared with them wants them."""

    def __init__(self, x: FloatArray) -> None:
        self.x, self.dim, self.live = x, x.shape[1], Mask.every(len(x))

    def vectors(self, rows: IdArray) -> FloatArray:
        """Return some of them."""
        return self.x[rows]


@dataclass(frozen=True)
class Told:
    """What each way tells of queries to one set: greater is likelier to be an answer."""

    answerable: dict[str, list[float]]
    not_so: dict[str, list[float]]
    chances: list[float]
    evidence: list[float]


def glosses(folder: Path, wordnet: Path) -> Iterator[Set]:
    """Yield words of synsets beside glosses, and glosses beside glosses; the class is the lexicographer's file."""
    from scripts.bundled.wordnet import encoded, read_wordnet

    read = read_wordnet(wordnet)
    order = np.random.default_rng(SEED).permutation(len(read.glosses))[:GLOSSES]
    xb = normalize(encoded([read.glosses[at] for at in order], folder / f"glosses-{GLOSSES}.npy"))
    words = normalize(encoded([read.words[at] for at in order[:3000]], folder / "words-3000.npy"))
    classes, rows = read.files[order], np.arange(GLOSSES)
    yield Set("glosses, words", xb, words, rows[:3000], classes)
    yield Set("glosses, items", xb, xb[:3000], rows[:3000], classes, own=True)


def sample() -> Iterator[Set]:
    """Yield captions beside the pictures of data/; of a class is whatever shares a word."""
    from engine.encoders.pictures import decode_picture

    encoder = load_encoder("bundled")
    with (ROOT / "data/sample/captions.csv").open(encoding="utf-8", newline="") as file:
        listed = [*csv.DictReader(file)]
    files = (ROOT / "data/sample" / row["file"] for row in listed)
    pictures = [decode_picture(file.read_bytes(), max_pixels=1 << 26, min_side=encoder.image_size) for file in files]
    x = normalize(encoder.encode_images(np.stack([encoder.prepare(picture) for picture in pictures])))
    captions = normalize(encoder.encode_texts([row["caption"] for row in listed]))
    # Who shares no word with another has no like of its own among pictures or captions.
    yield Set("sample, texts", x, captions, np.arange(len(x)), _by_words([row["caption"] for row in listed]))


def emoji(pictures: Path) -> Iterator[Set]:
    """Yield names beside Noto's drawings, drawings beside drawings, and names beside names; a class is a subgroup."""
    from engine.encoders.bundled.bridge import load_bridge
    from engine.encoders.bundled.encoder import BundledEncoder
    from scripts.bundled.inputs import FINAL_STYLE, INPUTS, fetch, read_concepts, read_json, read_style

    names = ("emojibase-data-17.0.0.tgz", f"iconify-json-{FINAL_STYLE}.tgz")
    fetch(pictures, {name: INPUTS[name] for name in names})
    encoder, concepts = BundledEncoder(), read_concepts(pictures)
    seen = read_style(pictures, FINAL_STYLE, concepts, encoder)["plain"]
    subgroup = {row["hexcode"]: int(row.get("subgroup", -1)) for row in read_json(pictures / names[0], "en/data.json")}
    label = {concept.code: concept.label for concept in concepts}
    x = normalize(load_bridge()(seen.features, seen.logits))
    said = normalize(encoder.encode_texts([label[code] for code in seen.captions]))
    classes, rows = np.array([subgroup[code] for code in seen.captions]), np.arange(len(x))
    yield Set("emoji, texts", x, said, rows, classes)
    yield Set("emoji, pictures", x, x, rows, classes, own=True)
    yield Set("emoji, captions as texts", said, said, rows, classes, own=True)


def _by_words(texts: list[str]) -> IdArray:
    """Return classes of texts: two that share a word of four letters or more are of one."""
    classes = np.arange(len(texts))
    words = [{word.strip(",.") for word in text.lower().split() if len(word) > 3} for text in texts]
    first: dict[str, int] = {}
    for at, some in enumerate(words):
        for word in some:
            other = first.setdefault(word, at)
            classes[classes == classes[at]] = classes[other]
    return classes


def measured(one: Set, few: int) -> Told:
    """Ask queries of each class with it and without it."""
    rng = np.random.default_rng(SEED)
    told = Told({way: [] for way in WAYS}, {way: [] for way in WAYS}, [], [])
    known = rng.permutation(np.unique(one.classes[one.target]))[: CLASSES_OF_LARGE if len(one.xb) > LARGE else CLASSES]
    for wanted in known:
        asked = rng.permutation(np.flatnonzero(one.classes[one.target] == wanted))[: math.ceil(few / len(known))]
        for gone in (False, True):
            rows = np.flatnonzero(one.classes != wanted) if gone else np.arange(len(one.xb))
            searcher: Any = Rows(one.xb[rows])
            for at in asked:
                _ask(one, int(at), rows, searcher, told, gone=gone)
    return told


def foreign(one: Set, told: Told, texts: FloatArray) -> Told:
    """Ask texts of another world in place of queries whose class is gone; what was answerable stays."""
    found = Told(told.answerable, {way: [] for way in WAYS}, [], [])
    searcher: Any = Rows(one.xb)
    here = one._replace(xq=texts, target=np.full(len(texts), -1), own=False)
    for at in range(len(texts)):
        _ask(here, at, np.arange(len(one.xb)), searcher, found, gone=True)
    return found


def _ask(one: Set, at: int, rows: IdArray, searcher: Any, told: Told, *, gone: bool) -> None:
    scores = searcher.x @ one.xq[at]
    if one.own:
        scores[rows == one.target[at]] = -2
    best = np.argsort(-scores)[:K]
    found = beside(searcher, one.xq[at])
    assert found is not None
    evidence = found.evidence(searcher.vectors(best))
    into = told.not_so if gone else told.answerable
    for way, value in zip(WAYS, _ways(scores, best, float(evidence.max())), strict=True):
        into[way].append(value)
    if gone:
        told.chances.append(float(found.chance(searcher.vectors(best)).min()))
    else:
        told.evidence.append(_of_target(one, at, rows, searcher, found))


def _of_target(one: Set, at: int, rows: IdArray, searcher: Any, found: Beside) -> float:
    """Return the evidence of what a query is about; of a query that is a row, of a row of its class."""
    relevant = np.array([one.target[at]])
    if one.own:
        others = np.flatnonzero((one.classes[rows] == one.classes[one.target[at]]) & (rows != one.target[at]))
        relevant = others[[at % len(others)]] if len(others) else relevant
    return float(found.evidence(searcher.vectors(relevant))[0])


def _ways(scores: FloatArray, best: IdArray, evidence: float) -> tuple[float, ...]:
    """Return what each of WAYS tells."""
    others = scores[scores > -2]
    top = scores[best].astype(np.float64)
    kept, jump = autocut(top)
    return float(top[0]), -float(kept), jump, float((top[0] - others.mean()) / others.std()), evidence


def autocut(top: NDArray[np.float64]) -> tuple[int, float]:
    """Return how many answers stay before the first jump, as Weaviate's autocut finds it, and how large the largest is.

    Scores are scaled to 0 to 1, as ranks are; a jump is where what lies above the diagonal has a maximum.
    """
    span = float(top[0] - top[-1])
    if span <= 0:
        return len(top), 0.0
    above = (top[0] - top) / span - np.linspace(0, 1, len(top))
    inner = np.arange(1, len(top) - 1)
    peaks = inner[(above[inner] > above[inner - 1]) & (above[inner] > above[inner + 1])]
    return (int(peaks[0]) if len(peaks) else len(top)), float(-np.diff(top).min())


def auroc(good: list[float], bad: list[float]) -> float:
    """Return the share of pairs in which what is good has the greater value, of equal ones half."""
    ordered = np.sort(np.array(bad))
    below, upto = (np.searchsorted(ordered, good, side) for side in ("left", "right"))  # type: ignore[call-overload]
    return float((below + upto).mean() / (2 * len(ordered)))


def coverage(evidence: list[float]) -> tuple[float, float, float]:
    """Return what share of fresh ones a cut-off keeps: mean over splits, and how often it was in its interval."""
    rng, values = np.random.default_rng(SEED), np.array(evidence)
    kept, inside = [], 0
    for _ in range(SPLITS):
        order = rng.permutation(len(values))
        half = len(values) // 2
        cut = conformal(values[order[:half]].tolist(), SHARES, "bench")
        share = float((values[order[half:]] >= cut.evidence).mean())
        kept.append(share)
        # What is measured on as many others varies by itself.
        spread = 2 * math.sqrt(SHARES * (1 - SHARES) / (len(values) - half))
        inside += cut.low - spread <= share <= cut.high + spread
    return float(np.mean(kept)), float(np.std(kept)), inside / SPLITS


def draw(path: Path, told: dict[str, Told]) -> None:
    """Draw how often a chance of at most so much is found for what cannot be answered."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 4.5))
    for name, one in told.items():
        axes.plot(np.sort(one.chances), np.linspace(0, 1, len(one.chances)), label=name)
    axes.plot([0, 1], [0, 1], color="black", linewidth=0.8, linestyle="--", label="if all were by chance")
    axes.set(xlabel="chance of the best answer", ylabel="share of queries without an answer")
    axes.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)


def costs() -> list[list[str]]:
    """Measure what it takes to know rows at random, and of each query then."""
    lines = []
    for dim in (384, 512, 768, 2048):
        rng = np.random.default_rng(SEED)
        rows: Any = Rows(normalize(rng.normal(size=(20_000, dim)).astype(np.float32)))
        q, best = rows.x[0], np.arange(K)
        first = clocked(lambda _, rows=rows, q=q: beside(rows, q), None)[1]
        again = [clocked(lambda _: beside(rows, q).chance(rows.vectors(best)), None)[1] for _ in range(200)]  # type: ignore[union-attr]  # noqa: B023
        lines.append([str(dim), f"{1e3 * first:.0f}", f"{1e3 * float(np.median(again)):.2f}"])
    return lines


def report(told: dict[str, Told], sizes: dict[str, int], taken: list[list[str]]) -> str:
    """Return the page."""
    pooled = Told(
        {way: [value for name, one in told.items() if name in sizes for value in one.answerable[way]] for way in WAYS},
        {way: [value for name, one in told.items() if name in sizes for value in one.not_so[way]] for way in WAYS},
        [],
        [],
    )
    lines = [
        [name, f"{sizes[name]:,}" if name in sizes else "", str(len(one.not_so[WAYS[0]]))]
        + [f"{auroc(one.answerable[way], one.not_so[way]):.3f}" for way in WAYS]
        for name, one in {**told, "all together": pooled}.items()
    ]
    kept = []
    for name, one in told.items():
        if not one.evidence:
            continue
        mean, deviation, inside = coverage(one.evidence)
        kept.append([name, str(len(one.evidence)), f"{mean:.3f} ± {deviation:.3f}", f"{inside:.2f}"])
    said = [
        [name, *(f"{np.mean(np.array(one.chances) <= part):.2f}" for part in (0.01, 0.05, 0.25, 0.5))]
        for name, one in told.items()
    ]
    return "\n".join([
        "# Is anything relevant?",
        "",
        f"Made by `OPENBLAS_NUM_THREADS=1 python -m scripts.bench cutoff` on {cpu_name()}, seed {SEED}. Encoder: "
        "`bundled`. Each query is "
        "asked twice: of all rows, and of rows without any of its class. Figures are areas under the ROC curve, 0.5 "
        f"where nothing is told and 1 where all is: which of the two is it, by the best {K} answers?",
        "",
        "- *glosses*: WordNet's, a sample; the class is the lexicographer's file. *emoji*: Noto's drawings; "
        "the class is Unicode's subgroup. *sample*: the pictures of data/; a class is what shares a word.",
        "- *adverbs*: the same answerable queries; in place of those whose class is gone adverbs of WordNet, which "
        "no picture shows.",
        "- *flat cosine*: of the best. *autocut*: Weaviate's, over ten answers. *z-score*: of the best cosine among "
        "those of all rows. *chance*: what `answers.chance` is made of.",
        "- *all together*: one threshold for every set and kind of query, as whoever knows none of them has to set it.",
        "",
        *table(("set, queries", "rows", "queries", *WAYS), lines, left=(0,)),
        "## Are the probabilities so?",
        "",
        "What is left when a class is taken out is still like the query: names of other animals, when cats are gone. "
        "So these are shares of queries without an answer for which the least chance of ten answers is at most the "
        "number above the column; for what has nothing to do with the rows, as *adverbs*, they are to be about so "
        "large.",
        "",
        *table(("set, queries", "0.01", "0.05", "0.25", "0.5"), said, left=(0,)),
        "![chance of the best answer where there is none](cutoff.png)",
        "",
        "## A cut-off that keeps its share",
        "",
        f"The conformal cut-off for {SHARES:.0%} of what is relevant, found with half of the queries, on the others: "
        f"mean and deviation over {SPLITS} splits, and how often it was within the interval that was told (and what "
        "as many fresh queries vary by themselves).",
        "",
        *table(("set, queries", "queries", "kept", "within"), kept, left=(0,)),
        "## What it takes",
        "",
        "Of 20,000 rows on one thread, in milliseconds: to know what rows at random are like, once a version; and of "
        "each query with ten answers, once somebody asks.",
        "",
        *table(("D", "once", "a query"), taken),
    ])  # fmt: skip


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--pictures", type=click.Path(path_type=Path), help="What scripts.bundled.bridge keeps.")
@click.option("--wordnet", type=click.Path(path_type=Path), default=Path("/usr/share/wordnet"))
@click.option("--few", type=int, default=QUERIES, help="Queries of each kind.")
def main(folder: Path, pictures: Path | None, wordnet: Path, few: int) -> None:
    """Measure every set, and write the page."""
    folder.mkdir(parents=True, exist_ok=True)
    makers: list[Callable[[], Iterator[Set]]] = [lambda: glosses(folder, wordnet), sample]
    if pictures is not None:
        makers.append(lambda: emoji(pictures))
    told: dict[str, Told] = {}
    sizes: dict[str, int] = {}
    from scripts.bundled.wordnet import read_wordnet

    read = read_wordnet(wordnet)
    adverbs = [words for words, file in zip(read.words, read.files, strict=True) if file == ADVERBS][::37][:few]
    with on_one_thread():
        strange = normalize(load_encoder("bundled").encode_texts(adverbs))
        for maker in makers:
            for one in maker():
                told[one.name], sizes[one.name] = measured(one, few), len(one.xb)
                if one.name in ("sample, texts", "emoji, texts"):
                    told[f"{one.name}; adverbs"] = foreign(one, told[one.name], strange)
                click.echo(f"{one.name}: {len(told[one.name].chances)} queries")
        page = report(told, sizes, costs())
    (folder / "cutoff.json").write_text(json.dumps({name: asdict(one) for name, one in told.items()}))
    draw(DOCS / "cutoff.png", told)
    (DOCS / "cutoff.md").write_text(page)
    click.echo(page)
