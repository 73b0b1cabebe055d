"""What an objective is to the training loop, and what several of them share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from engine.heads.model import Tower
from engine.heads.training.losses import prefix
from engine.heads.training.options import TrainOptions
from indexers.vectors import IdArray

if TYPE_CHECKING:
    import torch
    from torch import Tensor

# Rows that are looked at to measure a head: bounds the time and the memory of a look.
MOST_BASE = 65_536
BLOCK = 512


@dataclass(frozen=True)
class Defaults:
    """An objective's own numbers, used where the options give none.

    Attributes:
        steps: at most.
        batch: rows a step.
        rate: highest learning rate.
        hidden: neurons of the hidden layer.
        decay: weight decay.
    """

    steps: int
    batch: int
    rate: float
    hidden: int = 0
    decay: float = 0.0


class Objective(Protocol):
    """A loss over examples and the numbers it trains."""

    @property
    def parameters(self) -> dict[str, Tensor]:
        """What is trained, by name."""
        ...

    def loss(self, generator: torch.Generator) -> Tensor:
        """Return the loss on a batch drawn with `generator`."""
        ...

    def validation_loss(self) -> float:
        """Return the loss on the validation rows, the same draw each time."""
        ...

    def figures(self) -> dict[str, float]:
        """Measure on the validation rows what a user will see, such as {"1-nn@64": 0.71}."""
        ...

    def towers(self) -> tuple[Tower, Tower]:
        """Return the towers for items and for queries as they are now."""
        ...


def relative(options: TrainOptions) -> list[float]:
    """Return the weights of the dims, scaled to a mean of 1."""
    given = np.asarray(options.weights or [1.0] * len(options.dims), dtype=np.float64)
    given = given / given.max()  # whose mean cannot overflow
    return [float(weight) for weight in given / given.mean()]


def draw(count: int, size: int, generator: torch.Generator) -> Tensor:
    """Draw `size` row numbers of `count`, with replacement, int64 [size] on the CPU."""
    import torch

    return torch.randint(count, (size,), generator=generator)


def nearest(xq: Tensor, xb: Tensor, k: int, own: Tensor | None = None) -> Tensor:
    """Return the k nearest rows by inner product, exactly.

    Args:
        xq: [nq, D].
        xb: [nb, D].
        k: neighbours; at most nb, or nb − 1 with `own`.
        own: int64 [nq], each query's own row in xb, which is no neighbour of itself; −1 for none.

    Returns:
        int64 [nq, k].
    """
    import torch

    found = []
    for first in range(0, len(xq), BLOCK):
        scores = xq[first : first + BLOCK] @ xb.T
        if own is not None:
            mine = own[first : first + BLOCK]
            rows = torch.nonzero(mine >= 0).squeeze(1)
            scores[rows, mine[rows]] = -torch.inf
        found.append(torch.topk(scores, k).indices)
    return torch.cat(found)


def sample(n: int, most: int, seed: Sequence[int]) -> IdArray:
    """Return at most `most` of n row numbers, ascending, the same for the same seed."""
    if n <= most:
        return np.arange(n)
    return np.sort(np.random.default_rng(list(seed)).choice(n, most, replace=False))


def kept_shortlist(truth: Tensor, xq: Tensor, xb: Tensor, dims: Sequence[int], *, r: int = 100) -> dict[str, float]:
    """Share of each query's true nearest rows that are among the best r by prefix.

    Args:
        truth: int64 [nq, k], the nearest rows at full dimension before the head.
        xq: [nq, D] queries after the head.
        xb: [nb, D] base rows after the head.
        dims: prefix dimensions.
        r: shortlist; shorter where xb is small, since the best 100 of 500 say nothing.

    Returns:
        {"shortlist@d": share}.
    """
    r = min(len(xb), max(truth.shape[1], min(r, len(xb) // 50)))
    figures = {}
    for d in dims:
        found = nearest(prefix(xq, d), prefix(xb, d), r)
        hits = (found[:, :, None] == truth[:, None, :]).any(1).float()
        figures[f"shortlist@{d}"] = round(float(hits.mean()), 4)
    return figures
