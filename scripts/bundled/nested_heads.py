"""What `nested` compares: ways to make a head for the bundled encoder.

docs/bundled.md says what they reach.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from engine.heads.model import Head, Tower
from engine.heads.training.options import Examples, TrainOptions
from engine.heads.training.train import train
from indexers.vectors import FloatArray
from scripts.bundled.fit import Fitted

SHIP = "axes, then paired"
SEED = 0
DIMS = (16, 32, 64, 96, 128, 256)
# Chosen on the dev sets: more steps or a higher rate fit the drawings better, and forget concepts not trained on.
# The full dimension counts most, where a head has something to lose, and a quarter of it.
LINEAR = {"seed": SEED, "steps": 150, "weights": (1, 1, 1, 4, 1, 2, 4), "patience": 5}
PAIRED = TrainOptions("paired", (*DIMS, 384), rate=3e-4, **LINEAR)
SUPERVISED = TrainOptions("supervised", (*DIMS, 384), rate=3e-4, **LINEAR)
ROTATION = TrainOptions("rotation", DIMS, seed=SEED)


@dataclass(frozen=True)
class Data:
    """What a candidate may learn from, as the bundled encoder sees it; vectors are unit float32.

    Attributes:
        seen: drawings in the training styles through the bridge that was fitted on them [n, 384].
        unseen: the same through bridges that were fitted without their concepts [n, 384]: a head that
            learns from `seen` takes the bridge for better than it is on what it has not seen.
        once: which drawings are neither mirrored nor with a margin, bool [n].
        concepts: number of each drawing's concept, int64 [n].
        names: of the concepts [concepts, 384].
        classes: of ImageNet, centred: where ConSE puts photographs [1000, 384].
        texts: a sample of what may be searched for [m, 384].
        encoder: fingerprint.
    """

    seen: FloatArray
    unseen: FloatArray
    once: np.ndarray
    concepts: np.ndarray
    names: FloatArray
    classes: FloatArray
    texts: FloatArray
    encoder: Mapping[str, Any]

    @property
    def pictures(self) -> FloatArray:
        """Each drawing once, and the classes in place of photographs."""
        return np.concatenate([self.seen[self.once], self.classes])


Train = Callable[[Data], Head]
Heads = Mapping[Fitted, Head]


def candidates() -> dict[str, Train]:
    """Return what is compared: name → how it is trained."""
    fixed = replace(PAIRED, fixed="queries")
    return {
        "axes, then paired": lambda data: axes_then_paired(data, fixed),
        "principal axes of drawings": lambda data: axes_head(data, data.seen[data.once]),
        "principal axes of drawings and classes": lambda data: axes_head(data, data.pictures),
        "rotation, pictures": lambda data: rotated(data, None),
        "rotation, pictures and texts": lambda data: rotated(data, data.texts),
        "supervised": supervised,
        "paired, texts fixed, on fitted pictures": lambda data: paired(data, data.seen, fixed),
        "paired, texts fixed": lambda data: paired(data, data.unseen, fixed),
        "paired, one tower": lambda data: paired(data, data.unseen, replace(PAIRED, shared_tower=True)),
        "paired, two towers": lambda data: paired(data, data.unseen, PAIRED),
    }


def axes_head(data: Data, x: FloatArray) -> Head:
    """Return the principal axes of x as a head."""
    tower = Tower(np.ascontiguousarray(np.linalg.eigh(x.T.astype(np.float64) @ x)[1][:, ::-1].T, dtype=np.float32))
    return Head("rotation", x.shape[1], x.shape[1], DIMS, tower, tower, data.encoder)


def rotated(data: Data, queries: FloatArray | None) -> Head:
    """Return a trained rotation."""
    return train(Examples(data.pictures, queries=queries), ROTATION, encoder=data.encoder)


def supervised(data: Data) -> Head:
    """Return a head trained to tell concepts apart."""
    return train(Examples(data.unseen, labels=data.concepts), SUPERVISED, encoder=data.encoder)


def paired(data: Data, pictures: FloatArray, options: TrainOptions) -> Head:
    """Return a head that brings drawings to their names."""
    return train(Examples(pictures, pairs=data.names[data.concepts]), options, encoder=data.encoder)


def axes_then_paired(data: Data, options: TrainOptions) -> Head:
    """Turn both sides to the principal axes of pictures and classes; then train a linear map of pictures there.

    Texts are only turned: at full dimension they are compared as before, and what they say is not forgotten.
    """
    axes = axes_head(data, data.pictures).items.weight
    turned = Examples(data.unseen @ axes.T, pairs=(data.names @ axes.T)[data.concepts])
    head = train(turned, options, encoder=data.encoder)
    return replace(head, items=Tower(head.items.weight @ axes), queries=Tower(axes))
