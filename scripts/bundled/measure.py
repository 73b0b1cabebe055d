"""How the bundled encoder and heads behind it are measured, for `bridge` and `nested`.

docs/bundled.md says what the sets are. "dev" sets serve to choose, "final" sets and
"lookup" to report.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from engine.encoders.bundled.bridge import Bridge, softmax
from engine.encoders.bundled.encoder import BundledEncoder
from indexers.vectors import FloatArray, normalize
from scripts.bundled.fit import ALL_PARTS, Fitted, Labels, Styles, centred
from scripts.bundled.inputs import DEV_STYLE, FINAL_STYLE, Concept, Pictures, read_photos, read_stamps
from scripts.markdown_table import table

KS = (1, 5, 10)

Embed = Callable[[Pictures], FloatArray]
Texts = Callable[[tuple[str, ...]], FloatArray]


@dataclass(frozen=True)
class Exam:
    """One set to be measured on.

    Attributes:
        title: what the tables call it.
        fitted: which fit may be measured on it.
        base: pictures to be found; one with the caption "" only stands in the way.
        queries: pictures to ask with; if None, each distinct caption of the base is one query.
    """

    title: str
    fitted: Fitted
    base: Pictures
    queries: Pictures | None = None

    @property
    def captions(self) -> tuple[str, ...]:
        """What is asked for, one of each query."""
        return tuple(sorted(set(self.base.captions) - {""})) if self.queries is None else self.queries.captions


def read_exams(folder: Path, encoder: BundledEncoder, concepts: Sequence[Concept], styles: Styles) -> tuple[Exam, ...]:
    """Return every set of docs/bundled.md in the order of its table."""
    stamps = read_stamps(folder, encoder)
    photos = {which: read_photos(folder, which, encoder) for which in ("dev", "final")}
    noto = named(styles[FINAL_STYLE]["plain"], concepts, ALL_PARTS)

    def drawn(style: str, *parts: str) -> Pictures:
        return named(styles[style]["plain"], concepts, parts)

    return (
        Exam("dev: OpenMoji, concepts not trained on", "small", drawn(DEV_STYLE, "dev")),
        Exam("dev: photographs", "whole", photos["dev"]),
        Exam("final: Noto, style and concepts not trained on", "small", drawn(FINAL_STYLE, "test")),
        Exam("final: Noto, style not trained on", "whole", noto),
        Exam("final: Tux Paint stamps", "whole", stamps),
        Exam("final: photographs", "whole", photos["final"]),
        Exam("final: photographs among the Noto drawings", "whole", among(photos["final"], noto)),
        Exam(
            "lookup: Noto to OpenMoji, concepts not trained on",
            "small",
            drawn(DEV_STYLE, "dev", "test"),
            drawn(FINAL_STYLE, "dev", "test"),
        ),
        Exam("lookup: Noto to OpenMoji", "whole", drawn(DEV_STYLE, *ALL_PARTS), noto),
    )


def named(pictures: Pictures, concepts: Sequence[Concept], parts: Sequence[str]) -> Pictures:
    """Return a style's drawings of the concepts in `parts`, captioned with their names."""
    label = {concept.code: concept.label for concept in concepts if concept.part in parts}
    kept = pictures.take(i for i, code in enumerate(pictures.captions) if code in label)
    return Pictures(tuple(label[code] for code in kept.captions), kept.features, kept.logits)


def among(pictures: Pictures, others: Pictures) -> Pictures:
    """Return pictures and others that nobody asks for."""
    return Pictures(
        (*pictures.captions, *("" for _ in others.captions)),
        np.concatenate([pictures.features, others.features]),
        np.concatenate([pictures.logits, others.logits]),
    )


# --- methods ----------------------------------------------------------------------------------------------


def embed_with(bridge: Bridge) -> Embed:
    """Return what maps pictures into the space of sentences by a bridge."""
    return lambda pictures: bridge(pictures.features, pictures.logits)


def plain_conse(encoder: BundledEncoder, labels: Labels) -> Embed:
    """Return ConSE as published: probabilities weight the vectors of the class names."""
    names = encoder.encode_texts(labels.names)
    return lambda pictures: normalize(softmax(pictures.logits) @ names)


def by_features(pictures: Pictures) -> FloatArray:
    """Return the picture tower's own features, centred over the pictures: the rival for image → image."""
    return centred(np.sqrt(pictures.features))


def texts_of(encoder: BundledEncoder) -> Texts:
    """Return the encoder's text tower, which encodes the same texts once."""
    return cache(encoder.encode_texts)


# --- figures ----------------------------------------------------------------------------------------------


def ask(exam: Exam, embed: Embed, texts: Texts) -> tuple[FloatArray, FloatArray]:
    """Return the vectors of a set's queries and of its base."""
    queries = texts(exam.captions) if exam.queries is None else embed(exam.queries)
    return queries, embed(exam.base)


def recalls(exam: Exam, queries: FloatArray, base: FloatArray) -> dict[str, float]:
    """Return the share of queries with a picture of their caption among the first k, and the counts."""
    ranks = ranks_of(exam, queries, base)
    figures = {f"recall@{k}": round(float((ranks < k).mean()), 3) for k in KS}
    return {**figures, "queries": len(ranks), "pictures": len(base)}


def ranks_of(exam: Exam, queries: FloatArray, base: FloatArray) -> np.ndarray:
    """Return the place, from 0, of the first right picture of each query that has one."""
    right = np.array(exam.captions)[:, None] == np.array(exam.base.captions)[None, :]
    order = np.argsort(-(queries @ base.T), axis=1, kind="stable")
    first: np.ndarray = np.take_along_axis(right, order, axis=1).argmax(axis=1)
    return first[right.any(axis=1)]


def print_table(figures: dict[str, dict[str, float]]) -> None:
    """Print the figures as a table for docs/bundled.md."""
    columns = [*(f"recall@{k}" for k in KS), "queries", "pictures"]
    rows = [[*title.split(" | "), *(str(row[column]) for column in columns)] for title, row in figures.items()]
    print("\n".join(table(["set", "method", *columns], rows, left=(0, 1))))
