"""From a picture's features to the space of sentences: the constants of the `bundled` encoder.

Two estimates of "the vector of this picture's caption" are added:

- through the label space (ConSE, Norouzi et al., 2014, arXiv:1312.5650): the classifier's probabilities
  weight the vectors of the class names;
- straight from the features, by ridge regression on drawings with known names.

The classifier knows photographs and the regression knows drawings, so a picture's Mahalanobis distance
from the drawings (a novelty score as in Lee et al., 2018, arXiv:1807.03888) sets the weights.
docs/bundled.md tells how the constants were made and what they reach.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

import numpy as np

from indexers.errors import EncoderError
from indexers.vectors import FloatArray, normalize

ASSET = "bundled_bridge.safetensors"
AXES = 256
ARRAYS = {
    "labels": (1000, 384),
    "ridge": (1280, 384),
    "feature_mean": (1280,),
    "axes": (1280, AXES),
    "precision": (AXES,),
}
SCALARS = (
    "temperature",
    "drawing_weight",
    "photo_weight",
    "novelty_middle",
    "novelty_width",
    "rest_precision",
)


@dataclass(frozen=True)
class Bridge:
    """The constants; arrays are float32.

    Attributes:
        labels: centred vectors of the class names, [1000, 384], unit rows.
        ridge: from centred features to the centred vector of a caption, [1280, 384].
        feature_mean: mean of the square roots of the drawings' features, [1280].
        axes: the drawings' principal axes, [1280, 256], orthonormal columns.
        precision: one over the drawings' variance along each axis, [256].
        temperature: what logits are divided by before the softmax.
        drawing_weight: weight of the label space for a picture that is like the drawings.
        photo_weight: weight of the label space for a picture that is not.
        novelty_middle: where the weight is half-way between the two.
        novelty_width: how fast it changes there.
        rest_precision: one over the drawings' variance in the other directions.
    """

    labels: FloatArray
    ridge: FloatArray
    feature_mean: FloatArray
    axes: FloatArray
    precision: FloatArray
    temperature: float
    drawing_weight: float
    photo_weight: float
    novelty_middle: float
    novelty_width: float
    rest_precision: float

    def __call__(self, features: FloatArray, logits: FloatArray) -> FloatArray:
        """Map features [n, 1280] and logits [n, 1000] to unit float32 [n, 384]."""
        x = np.sqrt(features) - self.feature_mean
        weight = self.label_weight(x)[:, None]
        by_label = normalize(_product(softmax(logits / np.float32(self.temperature)), self.labels))
        return normalize(weight * by_label + (1 - weight) * normalize(_product(x, self.ridge)))

    def label_weight(self, x: FloatArray) -> FloatArray:
        """Return the weight of the label space for centred features [n, 1280] → float32 [n]."""
        steps = (self.novelty(x) - self.novelty_middle) / self.novelty_width
        photo = 0.5 * (1 + np.tanh(steps / 2))
        weight = self.drawing_weight + (self.photo_weight - self.drawing_weight) * photo
        return np.asarray(weight, dtype=np.float32)

    def novelty(self, x: FloatArray) -> FloatArray:
        """Return the mean squared distance from the drawings, in their variances: [n, 1280] → [n].

        About 1 for a drawing like those the constants were made from, 3 and more for a photograph.
        """
        along = np.square(_product(x, self.axes))
        rest = np.square(x).sum(axis=1) - along.sum(axis=1)
        return np.asarray((along @ self.precision + rest * self.rest_precision) / x.shape[1], dtype=np.float32)


def _product(a: FloatArray, b: FloatArray) -> FloatArray:
    """Multiply matrices with torch: while pictures are encoded its threads keep to one a core (`indexers.threads`),
    and NumPy's would spin beside them.
    """
    import torch

    product: FloatArray = (torch.from_numpy(np.ascontiguousarray(a)) @ torch.from_numpy(b)).numpy()
    return product


def softmax(logits: FloatArray) -> FloatArray:
    """Turn logits [n, c] into probabilities [n, c]."""
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True), dtype=np.float32)


@lru_cache(maxsize=1)
def asset_bytes() -> bytes:
    """Read the shipped asset.

    Raises:
        EncoderError: the file is not in the installed package.
    """
    try:
        return (files("engine.encoders") / "assets" / ASSET).read_bytes()
    except OSError as error:
        raise EncoderError(
            f"expected engine/encoders/assets/{ASSET} in the installed package, found none: {error}. "
            "Install nestvec again, or make the file with python -m scripts.bundled.bridge."
        ) from error


@lru_cache(maxsize=1)
def asset_hash() -> str:
    """Return the SHA-256 of the shipped asset, 64 hex digits."""
    return hashlib.sha256(asset_bytes()).hexdigest()


def read_bridge(data: bytes) -> Bridge:
    """Read constants as scripts/bundled writes them.

    Raises:
        EncoderError: not safetensors, or not the tensors this version reads.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        tensors = load(data)
    except SafetensorError as error:
        raise EncoderError(f"expected the bundled encoder's constants in safetensors, found: {error}") from error
    expected = {**ARRAYS, "scalars": (len(SCALARS),)}
    found = {name: array.shape for name, array in tensors.items()}
    if found != expected:
        raise EncoderError(f"expected the bundled encoder's constants, {expected}, found {found}")
    arrays = {name: tensors[name].astype(np.float32) for name in ARRAYS}
    scalars = dict(zip(SCALARS, (float(x) for x in tensors["scalars"]), strict=True))
    return Bridge(
        labels=arrays["labels"],
        ridge=arrays["ridge"],
        feature_mean=arrays["feature_mean"],
        axes=arrays["axes"],
        precision=arrays["precision"],
        temperature=scalars["temperature"],
        drawing_weight=scalars["drawing_weight"],
        photo_weight=scalars["photo_weight"],
        novelty_middle=scalars["novelty_middle"],
        novelty_width=scalars["novelty_width"],
        rest_precision=scalars["rest_precision"],
    )


def load_bridge() -> Bridge:
    """Read the shipped constants.

    Raises:
        EncoderError: the asset is missing or malformed.
    """
    return read_bridge(asset_bytes())
