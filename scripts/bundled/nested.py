"""Make engine/encoders/assets/bundled_nested.safetensors again, and measure it beside what was not shipped.

    NESTVEC_THREADS=1 OMP_NUM_THREADS=1 python -m scripts.bundled.nested FOLDER

FOLDER keeps the inputs and features, the same as scripts.bundled.bridge keeps (about 700 MB), which are made if
they are not there; it needs what that one needs. About a quarter of an hour on one core when the features are there.
The same bits come out again on the same machine with the same number of threads.

docs/bundled.md explains what is compared. The choice was made on the "dev" sets only; "final" sets are read
to be reported. Each candidate is trained twice: without the dev and test concepts, behind a bridge that was
fitted without them, to be measured on those; and on all of them behind the shipped bridge, to be shipped.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping, Sequence, Set
from dataclasses import replace
from pathlib import Path

import numpy as np

from engine.encoders.bundled.bridge import Bridge, load_bridge
from engine.encoders.bundled.encoder import BundledEncoder
from engine.encoders.bundled.shipped import SHIPPED
from indexers.vectors import FloatArray, normalize
from scripts import ROOT
from scripts.bundled.fit import (
    ALL_PARTS,
    Fitted,
    Styles,
    codes_of,
    concept_vectors,
    fit,
    label_vectors,
    read_labels,
    trained_views,
)
from scripts.bundled.inputs import INPUTS, VIEWS, Concept, asked_folder, fetch, read_concepts, read_styles
from scripts.bundled.measure import KS, Exam, ask, embed_with, plain_conse, ranks_of, read_exams, texts_of
from scripts.bundled.nested_heads import DIMS, SEED, SHIP, Data, Heads, candidates
from scripts.bundled.wordnet import read_wordnet
from scripts.markdown_table import table

FULL, QUARTER = 384, 96
FOLDS = 5
WORDNET = {"wordnet-base_1%3a3.0-37_all.deb": "61060d960f9ada8fa120872312eccd3ecebfbab8c4579e4f5a74e1cf67620752"}
# Lexicographer files of what can be drawn: animals, artefacts, bodies, food, objects, people, plants.
DRAWABLE = (5, 6, 8, 13, 17, 18, 20)
GLOSSES = 4000
SHORTLIST, TRUE = 100, 10
SHORT_DIMS = (16, 32, 64, 96)
DESCRIBED = {
    "trained_on": "vectors that the bundled encoder gives to drawings of Twemoji (CC-BY-4.0), Fluent Emoji and Fluent "
    "Emoji Flat (MIT), EmojiOne 2 (CC-BY-4.0) and Firefox OS Emoji (Apache-2.0), to their Unicode CLDR names "
    "(Unicode-3.0), and to ImageNet class names and WordNet 3.0 glosses (WordNet licence)",
    "licence": "as nestvec; the numbers are fitted, no picture and no text is in it",
}


# set → (method, dim) → place of the first right picture of each query
Ranks = dict[str, dict[tuple[str, int], np.ndarray]]


def main() -> None:
    """Fetch, train, write the asset, train what it is compared with, and print the tables."""
    folder = asked_folder(__doc__)
    fetch(folder, {**INPUTS, **WORDNET})
    work = Work(folder)
    heads: dict[str, Heads] = {}
    for name, make in candidates().items():
        heads[name] = {fitted: make(data) for fitted, data in work.data.items()}
        print(f"trained: {name}", file=sys.stderr, flush=True)
        if name == SHIP:
            write(heads[name], work)
    print_recalls(measure(work, heads), list(heads))
    print_shortlists(work, heads)


def write(heads: Heads, work: Work) -> None:
    """Write the head that was trained on everything, with its card and held-out figures."""
    ranks = measure(work, {"nested": heads}, dims=(FULL, QUARTER))
    held_out = {
        title: {f"{name} @ {d}": shares(found) for (name, d), found in rows.items()} for title, rows in ranks.items()
    }
    training = {**heads["whole"].training, **DESCRIBED, "held_out recall@1, 5, 10": held_out}
    data = replace(heads["whole"], training=training).to_bytes()
    pinned = SHIPPED["nested"]
    (ROOT / "engine/encoders/assets" / pinned.file).write_bytes(data)
    found = hashlib.sha256(data).hexdigest()
    print(f"{pinned.file}: SHA-256 {found}, engine/encoders/bundled/shipped.py pins {pinned.sha256}", file=sys.stderr)


class Work:
    """Everything read, fitted and encoded once.

    Args:
        folder: inputs and features.
    """

    def __init__(self, folder: Path) -> None:
        encoder = BundledEncoder()
        self.fingerprint = encoder.fingerprint.to_json()
        self.texts = texts_of(encoder)
        self.concepts = read_concepts(folder)
        self.styles: Styles = read_styles(folder, self.concepts, encoder)
        self.labels = read_labels()
        self.classes = label_vectors(encoder, self.labels)
        self.targets = concept_vectors(encoder, self.concepts)
        self.plain = plain_conse(encoder, self.labels)
        self.parts: dict[Fitted, tuple[str, ...]] = {"small": ("train",), "whole": ALL_PARTS}
        self.bridges: dict[Fitted, Bridge] = {"small": self.fitted(self.codes("small")), "whole": load_bridge()}
        self.glosses = sampled_glosses(folder)
        self.exams = self._exams(folder, encoder)
        self.data: dict[Fitted, Data] = {fitted: self._data(fitted) for fitted in self.parts}

    def codes(self, which: Fitted) -> frozenset[str]:
        """Return the concepts a fit may see."""
        return codes_of(self.concepts, *self.parts[which])

    def fitted(self, codes: Set[str]) -> Bridge:
        """Return a bridge that saw these concepts."""
        return fit(self.classes, self.targets, self.concepts, self.styles, codes=codes)

    def _exams(self, folder: Path, encoder: BundledEncoder) -> tuple[Exam, ...]:
        exams = read_exams(folder, encoder, self.concepts, self.styles)
        lookup = next(exam for exam in exams if exam.title == "lookup: Noto to OpenMoji")
        return (Exam("dev: OpenMoji, style not trained on", "whole", lookup.base), *exams)

    def _data(self, which: Fitted) -> Data:
        codes = self.codes(which)
        kept = [concept for concept in self.concepts if concept.code in codes]
        number = {concept.code: i for i, concept in enumerate(kept)}
        views = trained_views(self.styles, codes)
        drawn = np.array([number[code] for view in views for code in view.captions])
        names = self.texts(tuple(concept.label for concept in kept))
        seen = np.concatenate([embed_with(self.bridges[which])(view) for view in views])
        unseen = np.empty_like(seen)
        for fold in range(FOLDS):
            bridge = self.fitted(frozenset(code for code in codes if fold_of(code) != fold))
            rows = np.array([fold_of(code) == fold for view in views for code in view.captions])
            unseen[rows] = np.concatenate([embed_with(bridge)(view) for view in views])[rows]
        plain = np.concatenate([np.full(len(view.captions), i % len(VIEWS) == 0) for i, view in enumerate(views)])
        return Data(seen, unseen, plain, drawn, names, self.classes, self._searched(kept), self.fingerprint)

    def _searched(self, concepts: Sequence[Concept]) -> FloatArray:
        labels = [concept.label for concept in concepts]
        drawings = [f"a drawing of {label}" for label in labels]
        tags = [", ".join((concept.label, *concept.tags[:8])) for concept in concepts]
        photos = [f"a photo of {name}" for name in self.labels.names]
        texts = (labels, drawings, tags, self.labels.names, photos, self.labels.glosses, self.glosses)
        return np.concatenate([self.texts(tuple(some)) for some in texts])


def fold_of(code: str) -> int:
    """Return the fold of a concept, the same each time."""
    return int(hashlib.sha256(code.encode()).hexdigest()[:8], 16) % FOLDS


def sampled_glosses(folder: Path) -> list[str]:
    """Return a sample of WordNet's definitions of what can be drawn, without their examples."""
    wordnet = read_wordnet(folder / "wordnet-base/usr/share/wordnet")
    drawable = [wordnet.glosses[i].partition(";")[0].strip() for i in np.flatnonzero(np.isin(wordnet.files, DRAWABLE))]
    chosen = np.random.default_rng(SEED).choice(len(drawable), GLOSSES, replace=False)
    return [drawable[i] for i in np.sort(chosen)]


# --- figures ----------------------------------------------------------------------------------------------


def vectors(work: Work, exam: Exam, heads: Heads | None) -> tuple[FloatArray, FloatArray]:
    """Return a set's queries and base, after a head if there is one."""
    queries, base = ask(exam, embed_with(work.bridges[exam.fitted]), work.texts)
    if heads is None:
        return queries, base
    head = heads[exam.fitted]
    return head(queries, "queries" if exam.queries is None else "items"), head(base, "items")


def measure(work: Work, heads: Mapping[str, Heads], dims: Sequence[int] = (*DIMS, FULL)) -> Ranks:
    """Rank every set by every method at every prefix."""
    ranks: Ranks = {}
    for exam in work.exams:
        found = {"plain ConSE": ask(exam, work.plain, work.texts), "bundled": vectors(work, exam, None)}
        found |= {name: vectors(work, exam, pair) for name, pair in heads.items()}
        ranks[exam.title] = {
            (name, d): ranks_of(exam, *(normalize(side[:, :d]) for side in both))
            for name, both in found.items()
            for d in dims
        }
    return ranks


def shares(ranks: np.ndarray) -> list[float]:
    """Return recall@1, 5, 10."""
    return [round(float((ranks < k).mean()), 3) for k in KS]


def print_recalls(ranks: Ranks, names: Sequence[str]) -> None:
    """Print what is shipped beside what it replaces, every candidate, every prefix, and paired differences."""
    both = (FULL, QUARTER)
    show(["set", "method", *(f"{d}: @{k}" for d in both for k in KS)], [
        [title, name, *(with_error(rows[name, d], k) for d in both for k in KS)]
        for title, rows in ranks.items()
        for name in ("plain ConSE", "bundled", SHIP)
    ])  # fmt: skip
    for d in both:
        show([f"recall@10 at {d}", *ranks], [
            [name, *(f"{(rows[name, d] < 10).mean():.3f}" for rows in ranks.values())]
            for name in ("plain ConSE", "bundled", *names)
        ])  # fmt: skip
    show(["set, recall@10", "method", *map(str, (*DIMS, FULL))], [
        [title, name, *(f"{(rows[name, d] < 10).mean():.3f}" for d in (*DIMS, FULL))]
        for title, rows in ranks.items()
        for name in ("bundled", SHIP)
    ])  # fmt: skip
    show(["set, recall@10", *(f"{d}: less {other}" for d in both for other in (f"bundled at {d}", "plain ConSE"))], [
        [title, *(difference(rows[SHIP, d], rows[o]) for d in both for o in (("bundled", d), ("plain ConSE", FULL)))]
        for title, rows in ranks.items()
    ])  # fmt: skip


def show(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table for docs/bundled.md; what is not a name stands to the right."""
    names = sum(not cell[:1].isdigit() and cell[:1] not in "+-" for cell in rows[0])
    print("\n".join(table(head, rows, left=range(names))))


def with_error(ranks: np.ndarray, k: int) -> str:
    """Return recall@k and its standard error."""
    p = float((ranks < k).mean())
    return f"{p:.3f} ± {(p * (1 - p) / len(ranks)) ** 0.5:.3f}"


def difference(ranks: np.ndarray, others: np.ndarray) -> str:
    """Return the mean difference in recall@10 of the same queries, and its standard error."""
    gained = (ranks < 10).astype(float) - (others < 10)
    return f"{gained.mean():+.3f} ± {gained.std() / len(gained) ** 0.5:.3f}"


def print_shortlists(work: Work, heads: Mapping[str, Heads]) -> None:
    """Print how many of a text's true 10 at full dimension are among the best 100 by prefix, on large sets."""
    exams = [exam for exam in work.exams if exam.queries is None and len(exam.base.captions) > 5 * SHORTLIST]
    rows = [
        [name, *(f"{share:.3f}" for exam in exams for share in kept(*vectors(work, exam, pair)))]
        for name, pair in {"bundled": None, **heads}.items()
    ]
    show(["true 10 in the best 100", *(f"{exam.title}: {d}" for exam in exams for d in SHORT_DIMS)], rows)


def kept(queries: FloatArray, base: FloatArray) -> list[float]:
    """Return the share of each query's true nearest rows in its shortlist, at each prefix."""
    true = best(queries, base, TRUE)
    shares_kept = []
    for d in SHORT_DIMS:
        found = best(normalize(queries[:, :d]), normalize(base[:, :d]), SHORTLIST)
        shares_kept.append(float((found[:, :, None] == true[:, None]).any(1).mean()))
    return shares_kept


def best(queries: FloatArray, base: FloatArray, k: int) -> np.ndarray:
    """Return the k nearest rows of each query, int64 [n, k]."""
    return np.argsort(-(queries @ base.T), axis=1, kind="stable")[:, :k]


if __name__ == "__main__":
    main()
