"""Items whose classes are known, and texts that ask for one: what marked answers are measured on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.encoders.registry import load_encoder
from indexers.vectors import FloatArray, IdArray, normalize
from scripts.bench.synthetic import SHAPES, World

SEED = 24
MOST_JUDGED, QUERIES = 20, 180
LEAST, MEMBERS = 12, 3
"""Items that a class of drawings has, and queries that are the words of a gloss of a class."""

LEXICOGRAPHERS = """
all adjectives|pertaining to something|adverbs|unique beginners for nouns|acts or actions|animals|man-made
objects|attributes of people and objects|body parts|cognitive processes and contents|communicative processes and
contents|natural events|feelings and emotions|foods and drinks|groupings of people or objects|spatial
position|goals|natural objects|people|natural phenomena|plants|possession and transfer of possession|natural
processes|quantities and units of measure|relations between people or things or ideas|two and three dimensional
shapes|stable states of affairs|substances|time and temporal relations|grooming, dressing and bodily care|size,
temperature change, intensifying|thinking, judging, analyzing, doubting|telling, asking, ordering,
singing|fighting, athletic activities|eating and drinking|touching, hitting, tying, digging|sewing, baking,
painting, performing|feeling|walking, flying, swimming|seeing, hearing, feeling|buying, selling,
owning|political and social activities and events|being, having, spatial relations|raining, snowing, thawing,
thundering|participial adjectives
"""
"""What the 45 files of WordNet's lexicographers hold, by their numbers (lexnames(5WN))."""


@dataclass(frozen=True)
class Labelled:
    """Items whose classes are known, and texts that ask for one.

    Attributes:
        name: of the set, and what it is.
        x: unit float32 [n, D].
        xq: unit float32 [nq, D].
        wanted: the class of each query, int64 [nq].
        relevant: bool [nq, n].
    """

    name: str
    x: FloatArray
    xq: FloatArray
    wanted: IdArray
    relevant: NDArray[np.bool_]


def gaussian() -> Labelled:
    """Draw 60 classes that differ in their means alone, and texts beyond a gap: discriminants are made for it."""
    rng = np.random.default_rng(SEED)
    dim, classes, rows, queries = 256, 60, 20_000, QUERIES
    turn = np.linalg.qr(rng.normal(size=(dim, dim)))[0]
    deviation = (np.arange(dim) + 3.0) ** -0.6
    deviation /= np.linalg.norm(deviation)
    mean, gap = normalize(rng.normal(size=(2, dim)).astype(np.float32))
    centres = normalize(rng.normal(size=(classes, dim)).astype(np.float32))
    label, wanted = rng.integers(0, classes, rows), np.arange(queries) % classes
    x = mean + 0.35 * centres[label] + 0.9 * (rng.normal(size=(rows, dim)) * deviation) @ turn
    own = normalize(((rng.normal(size=(queries, dim)) * deviation) @ turn).astype(np.float32))
    xq = 0.5 * mean + 0.8 * gap + 0.3 * (centres[wanted] + own)
    return Labelled("gaussian", unit(x), unit(xq), wanted, wanted[:, None] == label)


def clip(rows: int) -> Labelled:
    """Draw rows shaped like CLIP's, whose classes are the coarse clusters, and texts beyond a gap."""
    world = World(replace(SHAPES["clip-768"], rows=rows))
    x, fine = world.like_base(1, 0, rows)
    xq, asked = world.shifted(2000)
    label, wanted = world.parent[fine], world.parent[asked]
    enough = np.flatnonzero(np.bincount(label, minlength=wanted.max() + 1)[wanted] > MOST_JUDGED)[:QUERIES]
    return Labelled("clip-768", x, xq[enough], wanted[enough], wanted[enough, None] == label)


def glosses(folder: Path, wordnet: Path, rows: int) -> Labelled:
    """Take WordNet's glosses, whose classes are the files of its lexicographers.

    Each is asked for by what it is said to hold, and by the words of glosses of it that are not among the rows.
    """
    from scripts.bundled.wordnet import encoded, read_wordnet

    words, rng = read_wordnet(wordnet), np.random.default_rng(0)
    chosen = np.sort(rng.permutation(len(words.glosses))[:rows])
    x = encoded([words.glosses[row] for row in chosen], folder / f"feedback-glosses-{rows}.npy")
    others = np.setdiff1d(np.arange(len(words.glosses)), chosen)
    texts, wanted = [], []
    for label, said in enumerate(" ".join(LEXICOGRAPHERS.split()).split("|")):
        own = others[words.files[others] == label]
        asked = [said, *(words.words[row] for row in rng.choice(own, min(MEMBERS, len(own)), replace=False))]
        texts += asked
        wanted += [label] * len(asked)
    classes = np.array(wanted)
    return Labelled("glosses", unit(x), _texts(texts), classes, classes[:, None] == words.files[chosen])


def drawings(folder: Path) -> Iterator[Labelled]:
    """Take emoji with Unicode's groups and subgroups: those of the sample, and all in two styles."""
    from engine.encoders.bundled.bridge import load_bridge
    from engine.encoders.bundled.encoder import BundledEncoder
    from scripts.bundled.inputs import DEV_STYLE, FINAL_STYLE, INPUTS, fetch, read_concepts, read_json, read_style

    folder.mkdir(parents=True, exist_ok=True)
    names = ("emojibase-data-17.0.0.tgz", *(f"iconify-json-{style}.tgz" for style in (DEV_STYLE, FINAL_STYLE)))
    fetch(folder, {name: INPUTS[name] for name in names})
    emoji, said = (read_json(folder / names[0], f"en/{part}.json") for part in ("data", "messages"))
    called = {("group", one["order"]): one["message"] for one in said["groups"]}
    called |= {("subgroup", one["order"]): one["message"] for one in said["subgroups"]}
    classes = {one["hexcode"]: [(kind, one.get(kind)) for kind in ("group", "subgroup")] for one in emoji}
    encoder, bridge, concepts = BundledEncoder(), load_bridge(), read_concepts(folder)
    seen = [read_style(folder, style, concepts, encoder)["plain"] for style in (DEV_STYLE, FINAL_STYLE)]
    x = np.concatenate([bridge(one.features, one.logits) for one in seen])
    codes = [code for one in seen for code in one.captions]
    labels = {concept.label.lower(): concept.code for concept in concepts}
    sampled = {labels[name] for name in _sample_names() if name in labels}
    # Noto stands last, and the sample's drawings are of it.
    last = len(codes) - len(seen[-1].captions)
    rows = [row for row in range(last, len(codes)) if codes[row] in sampled]
    yield _grouped("sample", x[rows], [classes[codes[row]] for row in rows], called)
    yield _grouped("drawings", x, [classes[code] for code in codes], called)


def _sample_names() -> Iterator[str]:
    from scripts import ROOT

    for file in sorted((ROOT / "data" / "sample" / "drawings").iterdir()):
        yield file.stem.replace("_", " ")


def _grouped(name: str, x: FloatArray, labels: Sequence[Sequence[Any]], called: dict[Any, str]) -> Labelled:
    """Ask for every class of a group or subgroup by its name, and by "a drawing of" it."""
    texts, wanted, relevant = [], [], []
    for number, (label, said) in enumerate(called.items()):
        own = np.array([label in some for some in labels])
        if own.sum() >= LEAST:
            plain = said.replace("-", " ")
            texts += [plain, f"a drawing of {plain}"]
            wanted += [number, number]
            relevant += [own, own]
    return Labelled(name, unit(x), _texts(texts), np.array(wanted), np.array(relevant))


def unit(x: Any) -> FloatArray:
    return normalize(np.ascontiguousarray(x, np.float32))


def _texts(texts: list[str]) -> FloatArray:
    return unit(load_encoder("bundled").encode_texts(texts))
