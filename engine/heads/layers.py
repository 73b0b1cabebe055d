"""A tower while it is trained: `model.Tower` in torch, where its parts have gradients."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from engine.heads.model import Tower
from indexers.vectors import FloatArray

if TYPE_CHECKING:
    from torch import Tensor

Parts = dict[str, "Tensor"]


def moments(x: FloatArray, *, centred: bool = True) -> NDArray[np.float64]:
    """Return the second moments of rows about their mean, or about the origin: float64 [D, D], not divided by n."""
    mean = x.mean(axis=0, dtype=np.float64) if centred else np.zeros(x.shape[1])
    total = np.zeros((x.shape[1], x.shape[1]))
    for first in range(0, len(x), 16384):
        block = x[first : first + 16384].astype(np.float64) - mean
        total += block.T @ block
    return total


def principal_axes(second_moments: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the directions in which rows differ most, the first first.

    Args:
        second_moments: float64 [D, D] from `moments`.

    Returns:
        float64 [D, D], orthonormal rows; the largest number of each is positive.
    """
    _, vectors = np.linalg.eigh(second_moments)
    axes = vectors[:, ::-1].T
    signs = np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(axis=1)])
    return np.ascontiguousarray(axes * signs[:, None])


def start(axes: NDArray[np.float64], width: int, hidden: int, seed: int) -> dict[str, FloatArray]:
    """Return the parts of a tower before training: the principal axes, and a hidden layer that adds nothing yet.

    Args:
        axes: float64 [D, D] from `principal_axes`.
        width: dimensions it gives; beyond D they begin as small random directions.
        hidden: neurons; none if 0.
        seed: of the random numbers.
    """
    rng = np.random.default_rng([seed, 3])
    dim = axes.shape[1]
    weight = axes[:width]
    if width > dim:
        weight = np.concatenate([axes, 0.1 * rng.normal(size=(width - dim, dim)) / np.sqrt(dim)])
    parts: dict[str, FloatArray] = {"weight": weight.astype(np.float32), "bias": np.zeros(width, np.float32)}
    if hidden:
        parts["up"] = (rng.normal(size=(hidden, dim))).astype(np.float32)
        parts["up_bias"] = np.zeros(hidden, np.float32)
        parts["down"] = np.zeros((width, hidden), np.float32)
    return parts


def apply(parts: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """Map [n, D_in] to [n, D_out], not normalised; the identity without parts. The formula of `Tower`."""
    from torch.nn.functional import gelu, linear

    if not parts:
        return x
    out = linear(x, parts["weight"], parts["bias"])
    if "up" in parts:
        out = out + linear(gelu(linear(x, parts["up"], parts["up_bias"]), approximate="tanh"), parts["down"])
    return out


def export(parts: Mapping[str, Tensor]) -> Tower:
    """Return the trained tower as arrays."""
    return Tower(**{name: np.array(part.detach().cpu().numpy()) for name, part in parts.items()})
