"""Words beside vectors on two sets of WordNet, and how fast words are found; writes docs/benchmarks/hybrid.md.

    apt install wordnet-base; pip install tantivy
    python -m scripts.bench hybrid FOLDER

FOLDER keeps encoded texts for the next time. Half of the topics choose weights, the other half measures.
"""

from __future__ import annotations

import re
import shutil
import sqlite3
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from engine.api import Collection
from engine.collection.manifest import Words
from engine.jobs.blend import WEIGHTS, blend_of, values_of
from engine.query.ask import Query
from engine.query.fuse import BLEND
from engine.query.keywords import K1, B, Keywords
from engine.query.ranking import Ranking
from indexers.vectors import FloatArray, normalize
from scripts.bench import DOCS
from scripts.bench.datasets import WORDNET
from scripts.bench.machine import cpu_name
from scripts.bundled.wordnet import encoded, read_wordnet
from scripts.markdown_table import table

SEED, ROWS, TOPICS, CUT, DEPTH = 0, 30_000, 2_000, 10, 1_000
CAPTIONS, ASKED, FIRST = 200_000, 500, 100
Values = NDArray[np.float64]


@dataclass(frozen=True)
class Set:
    """Texts with vectors, and topics with the one row that answers each."""

    name: str
    about: str
    texts: list[str]
    xb: FloatArray
    topics: list[str]
    xq: FloatArray
    answers: NDArray[np.int64]


def sets(folder: Path, wordnet: Path) -> list[Set]:
    """Return both sets, encoded the first time."""
    words = read_wordnet(wordnet)
    picked = np.random.default_rng(SEED).permutation(len(words.glosses))[:ROWS]
    definitions = [re.split(r';\s*"', words.glosses[at])[0].strip() for at in picked]
    examples = [re.findall(r'"([^"]+)"', words.glosses[at]) for at in picked]
    names = [words.words[at] for at in picked]
    entries = [f"{name}: {definition}" for name, definition in zip(names, definitions, strict=True)]
    used = [at for at, some in enumerate(examples) if some and len(some[0].split()) > 2][:TOPICS]
    sentences, plain = [examples[at][0] for at in used], list(range(TOPICS))

    def vectors(texts: list[str], name: str) -> FloatArray:
        return normalize(encoded(texts, folder / f"hybrid-{name}.npy"))

    return [
        Set("usage", "words of a synset and their definition; asked with a sentence that uses one of them", entries,
            vectors(entries, "entries"), sentences, vectors(sentences, "sentences"), np.array(used)),
        Set("definitions", "definitions alone; asked with the words they define", definitions,
            vectors(definitions, "definitions"), names[:TOPICS], vectors(names[:TOPICS], "names"), np.array(plain)),
    ]  # fmt: skip


def gain(rank: int) -> float:
    """nDCG@10 of a list whose one answer is at a rank, from 0."""
    return 1 / float(np.log2(rank + 2)) if rank < CUT else 0.0


def rank_of(scores: Values, row: int) -> int:
    """Return how many rows are before one, those of equal scores and lower number too; far behind where it has none."""
    if not np.isfinite(scores[row]):
        return len(scores)
    return int((scores > scores[row]).sum() + (scores[:row] == scores[row]).sum())


def rivals_of(cosines: Values, words: Values) -> dict[str, Values]:
    """Return what others order rows by: their scores, −∞ where a row is no candidate."""
    near, far = np.argsort(-cosines, kind="stable")[:DEPTH], np.argsort(-words, kind="stable")[:DEPTH]
    far = far[words[far] > 0]
    ranks = np.zeros(len(cosines))
    for some in (near, far):
        ranks[some] += 1 / (61 + np.arange(len(some)))
    fused = {"RRF (60)": np.where(ranks > 0, ranks, -np.inf)}
    least, most = cosines[near[-1]], cosines[near[0]]
    parts = [np.full(len(cosines), 0.0), np.full(len(cosines), 0.0)]
    parts[0][near] = (cosines[near] - least) / max(most - least, 1e-9)
    if len(far):
        parts[1][far] = words[far] / words[far[0]]
    either = np.isin(np.arange(len(cosines)), np.concatenate([near, far]))
    fused["min-max of both lists, ½"] = np.where(either, (parts[0] + parts[1]) / 2, -np.inf)
    return fused


def measured(one: Set, folder: Path, stem: str | None) -> tuple[dict[str, Values], Values]:
    """Return nDCG@10 by way and topic, and by topic and weight."""
    root = folder / f"hybrid-{one.name}.nest"
    shutil.rmtree(root, ignore_errors=True)
    found: dict[str, Values] = {}
    by_weight = np.empty((len(one.topics), len(WEIGHTS)))
    with Collection.create(root, encoder="precomputed", dim=one.xb.shape[1], dtype="float32") as made:
        add(made, one.xb, one.texts)
        made.index_words(["caption"], stem=stem)
        keywords, rows = Keywords(made.snapshot), np.arange(len(one.xb))
        for at, (topic, xq, answer) in enumerate(zip(one.topics, one.xq, one.answers.tolist(), strict=True)):
            query = Query((), exact=True).with_words(topic)
            ranking = Ranking(made.snapshot, made.searcher, xq[None], query, None, keywords)
            by_weight[at] = values_of(ranking, Called(), {str(answer): 1})
            cosines, words = one.xb @ xq, keywords.scores(keywords.look_up(topic), rows)
            ways = {
                "vectors": cosines,
                "words (BM25)": np.where(words > 0, words, -np.inf),
                **rivals_of(cosines, words),
            }
            for name, scores in ways.items():
                found.setdefault(name, np.zeros(len(one.topics)))[at] = gain(rank_of(scores, answer))
            best = made.search(xq, words=topic, k=CUT).ids.tolist()
            found.setdefault(f"nestvec, {BLEND:g}", np.zeros(len(one.topics)))[at] = (
                gain(best.index(answer)) if answer in best else 0.0
            )
    shutil.rmtree(root)
    return found, by_weight


def add(made: Collection, x: FloatArray, captions: list[str]) -> None:
    """Add vectors and their captions, with an index that takes no time: searches here are exact."""
    names = [f"r{row}" for row in range(len(x))]
    made.add_vectors(x[:FIRST], names=names[:FIRST], captions=captions[:FIRST])
    made.build(["flat@8"])
    made.add_vectors(x[FIRST:], names=names[FIRST:], captions=captions[FIRST:])


class Called(dict[int, str]):
    """Calls each row by its number."""

    def __missing__(self, row: int) -> str:
        return str(row)


def quality(one: Set, folder: Path, stem: str | None) -> tuple[list[str], Values]:
    """Return a line of the table for each way, and the means by weight."""
    found, by_weight = measured(one, folder, stem)
    blend = blend_of(by_weight[::2])
    fresh = {name: values[1::2] for name, values in found.items()}
    fresh[f"nestvec, tuned: {blend.weight:g} ({blend.low:g} to {blend.high:g})"] = by_weight[1::2][
        :, blend.weight == WEIGHTS
    ].ravel()
    stems = "stems" if stem else "words"
    return [f"{one.name}, {stems}|{name}|{values.mean():.4f}" for name, values in fresh.items()], by_weight.mean(axis=0)


# -- how fast ------------------------------------------------------------------------------------


def captions() -> tuple[list[str], list[str]]:
    """Return captions whose words are as frequent as those of a language (Zipf), and queries of four such words."""
    rng = np.random.default_rng(SEED)
    shares = 1 / np.arange(1, 30_001)
    shares /= shares.sum()
    lengths = rng.integers(6, 16, CAPTIONS)
    drawn = rng.choice(30_000, lengths.sum(), p=shares)
    ends = np.cumsum(lengths)
    texts = [" ".join(f"w{word}" for word in drawn[end - n : end]) for end, n in zip(ends, lengths, strict=True)]
    return texts, [" ".join(f"w{word}" for word in rng.choice(30_000, 4, p=shares)) for _ in range(ASKED)]


Search = Callable[[str], Any]


def engines(texts: list[str], folder: Path) -> dict[str, Search]:
    """Return what finds the ten best captions, by name."""
    import bm25s
    import tantivy

    root = folder / "captions.nest"
    shutil.rmtree(root, ignore_errors=True)
    with Collection.create(root, encoder="precomputed", dim=8) as made:
        x = np.random.default_rng(SEED).normal(size=(len(texts), 8)).astype(np.float32)
        add(made, x, texts)
        made.index_words(["caption"])
        keywords = Keywords(made.snapshot)
        assert made.snapshot.manifest.words.bare() == Words(("caption",))
    retriever = bm25s.BM25(method="lucene", k1=K1, b=B)
    retriever.index([text.split() for text in texts], show_progress=False)
    schema = tantivy.SchemaBuilder().add_text_field("body").build()
    index = tantivy.Index(schema)
    writer = index.writer(num_threads=1)
    for text in texts:
        writer.add_document(tantivy.Document(body=text))
    writer.commit()
    index.reload()
    searcher = index.searcher()
    database = sqlite3.connect(":memory:")
    database.execute("CREATE VIRTUAL TABLE t USING fts5(body)")
    database.executemany("INSERT INTO t VALUES (?)", [(text,) for text in texts])
    ask = "SELECT rowid FROM t WHERE t MATCH ? ORDER BY bm25(t) LIMIT 10"
    return {
        "nestvec": lambda query: keywords.best(keywords.look_up(query), CUT),
        "bm25s": lambda query: retriever.retrieve([query.split()], k=CUT, show_progress=False),
        "tantivy": lambda query: searcher.search(index.parse_query(query, ["body"]), CUT),
        "SQLite FTS5": lambda query: database.execute(ask, (" OR ".join(query.split()),)).fetchall(),
    }


def speed(folder: Path) -> tuple[list[list[str]], float]:
    """Return a line for each engine, asked in turn, and by how much scores differ from those of bm25s at most."""
    texts, queries = captions()
    searches = engines(texts, folder)
    taken: dict[str, list[float]] = {name: [] for name in searches}
    worst = 0.0
    for query in queries:
        answers = {}
        for name, search in searches.items():
            begun = time.perf_counter()
            answers[name] = search(query)
            taken[name].append((time.perf_counter() - begun) * 1e3)
        mine, theirs = answers["nestvec"][1], answers["bm25s"][1][0]
        worst = max(worst, float(np.abs(mine - theirs[: len(mine)]).max(initial=0)))
    lines = [[name, *(f"{np.percentile(ms, share):.2f}" for share in (50, 90, 99))] for name, ms in taken.items()]
    return lines, worst


def draw(path: Path, curves: dict[str, Values], flat: dict[str, float]) -> None:
    """Draw nDCG by weight, and what RRF has."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    for (name, values), colour in zip(curves.items(), ("C0", "C1", "C2", "C3"), strict=False):
        axes.plot(WEIGHTS, values, color=colour, label=name)
        axes.axhline(flat[name], color=colour, linestyle=":", linewidth=1)
    axes.set(xlabel="what words count (dotted: RRF)", ylabel="nDCG@10")
    axes.legend(frameon=False)
    figure.savefig(path, dpi=120)


@click.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--wordnet", type=click.Path(exists=True, path_type=Path), default=WORDNET, show_default=True)
@click.option("--page", type=click.Path(path_type=Path), default=DOCS / "hybrid.md", show_default=True)
def main(folder: Path, wordnet: Path, page: Path) -> None:
    """Words beside vectors, and how fast words are found."""
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[Sequence[str]] = []
    curves: dict[str, Values] = {}
    flat: dict[str, float] = {}
    both = sets(folder, wordnet)
    for one in both:
        for stem in (None, "english"):
            lines, means = quality(one, folder, stem)
            rows += [line.split("|") for line in lines]
            name = lines[0].partition("|")[0]
            curves[name] = means
            flat[name] = next(float(line.rpartition("|")[2]) for line in lines if "|RRF" in line)
    timed, worst = speed(folder)
    draw(page.with_suffix(".png"), curves, flat)
    told = [
        "# Words beside vectors",
        "",
        f"`python -m scripts.bench hybrid` on {cpu_name()}, one thread, seed {SEED}.",
        "",
        f"Two sets of {ROWS:,} synsets of WordNet through the text encoder of `bundled`, {TOPICS:,} topics each with "
        f"one right answer: {'; '.join(f'*{one.name}*: {one.about}' for one in both)}. nDCG@{CUT} on the half of the "
        f"topics that chose no weight; RRF and min-max see {DEPTH:,} rows of either list.",
        "",
        *table(["set", "way", f"nDCG@{CUT}"], rows, left=(0, 1)),
        f"![nDCG@{CUT} by what words count]({page.with_suffix('.png').name})",
        "",
        f"Milliseconds a query for the {CUT} best of {CAPTIONS:,} captions of 6 to 15 words by Zipf's law, four words "
        f"a query, {ASKED} queries, engines in turn in one process. Scores are those of bm25s within {worst:.1e}.",
        "",
        *table(["engine", "p50", "p90", "p99"], timed),
    ]
    page.write_text("\n".join(told), encoding="utf-8")
    click.echo("\n".join(told))


if __name__ == "__main__":
    main()
