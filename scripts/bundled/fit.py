"""How the bridge of the bundled encoder is fitted, for `bridge` and `nested`.

docs/bundled.md explains the method. The constants were chosen on the "dev" sets only.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence, Set
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import numpy as np
from safetensors.numpy import save

from engine.encoders.bundled.bridge import ARRAYS, AXES, SCALARS, Bridge, read_bridge
from engine.encoders.bundled.encoder import BundledEncoder
from indexers.vectors import FloatArray, normalize
from scripts.bundled.inputs import TRAINED_STYLES, Concept, Pictures

RIDGE = 0.3  # in units of the features' mean variance
TEMPERATURE, DRAWING_WEIGHT, PHOTO_WEIGHT = 2.0, 0.3, 0.8
NOVELTY_MIDDLE, NOVELTY_WIDTH = 3.0, 0.17
ALL_PARTS = ("train", "dev", "test")

Styles = dict[str, dict[str, Pictures]]
Fitted = Literal["small", "whole"]
"""Which fit may be measured: "small" saw neither dev nor test concepts, "whole" saw all."""


@dataclass(frozen=True)
class Labels:
    """Texts of the 1000 ImageNet classes, in the classifier's order."""

    names: list[str]
    synonyms: list[list[str]]
    glosses: list[str]


def read_labels() -> Labels:
    """Read the class names and glosses that timm ships, without importing timm."""
    spec = find_spec("timm")
    if spec is None or not spec.submodule_search_locations:
        sys.exit("timm: expected it installed, found none; pip install timm")
    folder = Path(spec.submodule_search_locations[0]) / "data/_info"
    synsets = (folder / "imagenet_synsets.txt").read_text().split()
    lemmas, glosses = (
        dict(line.split("\t") for line in (folder / f"imagenet_synset_to_{kind}.txt").read_text().splitlines())
        for kind in ("lemma", "definition")
    )
    synonyms = [[word.strip() for word in lemmas[synset].split(",")] for synset in synsets]
    return Labels([words[0] for words in synonyms], synonyms, [glosses[synset] for synset in synsets])


def label_vectors(encoder: BundledEncoder, labels: Labels) -> FloatArray:
    """Return centred vectors of the classes [1000, 384]: name, prompt, synonyms and gloss averaged."""
    texts = encoder.encode_texts
    vectors = texts(labels.names) + texts([f"a photo of {name}" for name in labels.names])
    vectors += normalize(np.stack([texts(words).mean(axis=0) for words in labels.synonyms]))
    vectors += texts([f"{name}: {gloss}" for name, gloss in zip(labels.names, labels.glosses, strict=True)])
    return centred(normalize(vectors))


def concept_vectors(encoder: BundledEncoder, concepts: Sequence[Concept]) -> FloatArray:
    """Return the ridge's targets [n, 384]: name, prompt, and name with keywords averaged."""
    texts = encoder.encode_texts
    vectors = texts([c.label for c in concepts]) + texts([f"a drawing of {c.label}" for c in concepts])
    return normalize(vectors + texts([", ".join((c.label, *c.tags[:8])) for c in concepts]))


def centred(x: FloatArray) -> FloatArray:
    """Subtract the mean row and normalise."""
    return normalize(x - x.mean(axis=0))


def codes_of(concepts: Sequence[Concept], *parts: str) -> frozenset[str]:
    """Return the codes of the concepts in some parts of the split."""
    return frozenset(concept.code for concept in concepts if concept.part in parts)


def trained_views(styles: Styles, codes: Set[str]) -> list[Pictures]:
    """Return the trained styles' drawings of some concepts, as they are, mirrored and with a margin."""
    views = [view for style in TRAINED_STYLES for view in styles[style].values()]
    return [view.take(i for i, code in enumerate(view.captions) if code in codes) for view in views]


def fit(
    labels: FloatArray, targets: FloatArray, concepts: Sequence[Concept], styles: Styles, *, codes: Set[str]
) -> Bridge:
    """Fit the bridge on the trained styles' drawings of some concepts.

    Args:
        labels: vectors of the classes [1000, 384].
        targets: a vector for each concept [n, 384].
        concepts: all of them.
        styles: style → view → drawings.
        codes: the concepts that may be seen.
    """
    row = {concept.code: i for i, concept in enumerate(concepts)}
    kept = trained_views(styles, codes)
    x = np.sqrt(np.concatenate([view.features for view in kept]))
    wanted = targets[[row[code] for view in kept for code in view.captions]]
    mean = x.mean(axis=0)
    axes, precision, rest = principal_axes(x - mean)
    bridge = Bridge(
        labels=labels,
        ridge=ridge(x - mean, wanted - wanted.mean(axis=0)),
        feature_mean=mean,
        axes=axes,
        precision=precision,
        temperature=TEMPERATURE,
        drawing_weight=DRAWING_WEIGHT,
        photo_weight=PHOTO_WEIGHT,
        novelty_middle=NOVELTY_MIDDLE,
        novelty_width=NOVELTY_WIDTH,
        rest_precision=rest,
    )
    return read_bridge(save(tensors(bridge)))  # rounded to float16, as it is shipped and measured


def ridge(x: FloatArray, y: FloatArray) -> FloatArray:
    """Solve ridge regression from centred x [n, 1280] to centred y [n, 384] → [1280, 384]."""
    gram = (x.T @ x).astype(np.float64)
    gram[np.diag_indices_from(gram)] += RIDGE * np.trace(gram) / len(gram)
    return np.asarray(np.linalg.solve(gram, (x.T @ y).astype(np.float64)), dtype=np.float32)


def principal_axes(x: FloatArray) -> tuple[FloatArray, FloatArray, float]:
    """Return the leading axes [1280, 256], one over the variances there [256], and in the other directions."""
    variances, axes = np.linalg.eigh(np.cov(x.T))
    variances, axes = variances[::-1], axes[:, ::-1]
    leading = (1 / variances[:AXES]).astype(np.float32)
    return axes[:, :AXES].astype(np.float32), leading, float(1 / variances[AXES:].mean())


def tensors(bridge: Bridge) -> dict[str, np.ndarray]:
    """Return a bridge as the asset holds it: matrices in float16, the rest in float32."""
    arrays = {name: getattr(bridge, name) for name in ARRAYS}
    stored = {n: np.ascontiguousarray(a, dtype=np.float16 if a.ndim > 1 else np.float32) for n, a in arrays.items()}
    return {**stored, "scalars": np.array([getattr(bridge, name) for name in SCALARS], dtype=np.float32)}
