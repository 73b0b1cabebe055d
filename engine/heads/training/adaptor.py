"""Objective `adaptor`: the unsupervised Matryoshka-Adaptor (Yoon et al., 2024, arXiv:2407.20243).

A residual network f(x) = Px + g(x) is trained so that every prefix keeps the similarities the full vector
has, of each row with its nearest neighbours and of any two rows, while ‖f(x) − Px‖ holds it to what it
was. In the paper P is the identity; here it is the principal axes, a rotation, which changes none of the
similarities that are to be kept and begins where the prefixes are already good.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from engine.heads.layers import apply, export, moments, principal_axes, start
from engine.heads.model import Tower
from engine.heads.training.losses import kept_similarity
from engine.heads.training.objective import MOST_BASE, Defaults, draw, kept_shortlist, nearest, relative, sample
from engine.heads.training.options import Examples, Settled

if TYPE_CHECKING:
    import torch
    from torch import Tensor

DEFAULTS = Defaults(steps=1000, batch=256, rate=0.001, hidden=512)

NEAR = 10
MOST_QUERIES = 32_768
MOST_FIGURES = 1024
# Weights of the parts of the loss, beside 1 for the neighbours.
PAIRWISE = 1.0
RECONSTRUCTION = 1.0


class Adaptor:
    """The state of one training run.

    Args:
        train: what it learns from.
        held: what it is judged by.
        options: dims, weights, width, hidden, seed, device.
    """

    def __init__(self, train: Examples, held: Examples, options: Settled) -> None:
        import torch

        self._options = options
        self._weights = relative(options)
        axes = principal_axes(moments(train.x))
        arrays = start(axes, options.width or train.dim, options.hidden, options.seed)
        put = options.device
        parts = {name: torch.from_numpy(part.copy()).to(put) for name, part in arrays.items()}
        self._skip = parts["weight"]
        self._parameters = {name: part.requires_grad_() for name, part in parts.items() if name != "weight"}
        rows = sample(len(train), MOST_BASE, [options.seed, 4])
        self._base = torch.from_numpy(np.ascontiguousarray(train.x[rows])).to(put)
        own = torch.arange(len(self._base), device=put)
        count = min(MOST_QUERIES, len(self._base))
        self._near = nearest(self._base[:count], self._base, min(NEAR, len(self._base) - 1), own[:count])
        self._held = torch.from_numpy(held.x).to(put)
        self._held_near = nearest(self._held, self._base, min(NEAR, len(self._base)))

    @property
    def parameters(self) -> dict[str, Tensor]:
        """The hidden layer and the bias; the linear map stays."""
        return self._parameters

    def _tower(self) -> dict[str, Tensor]:
        return {"weight": self._skip, **self._parameters}

    def loss(self, generator: torch.Generator) -> Tensor:
        """Return the loss of a batch."""
        chosen = draw(len(self._near), self._options.batch, generator).to(self._base.device)
        return self._loss(self._base[chosen], self._near[chosen])

    def _loss(self, x: Tensor, near: Tensor) -> Tensor:
        from torch.nn.functional import linear

        after = apply(self._tower(), x)
        neighbours = self._base[near]
        kept = kept_similarity(
            x,
            after,
            neighbours,
            apply(self._tower(), neighbours),
            dims=self._options.dims,
            weights=self._weights,
            pairwise=PAIRWISE,
        )
        return kept + RECONSTRUCTION * (after - linear(x, self._skip)).square().sum(1).mean()

    def validation_loss(self) -> float:
        """Return the loss on the held-out rows."""
        import torch

        with torch.no_grad():
            return float(self._loss(self._held, self._held_near))

    def figures(self) -> dict[str, float]:
        """Return the shortlist recall of every dim against the vectors before the head."""
        import torch

        with torch.no_grad():
            queries = apply(self._tower(), self._held[:MOST_FIGURES])
            base = apply(self._tower(), self._base)
            return kept_shortlist(self._held_near[:MOST_FIGURES], queries, base, self._options.dims)

    def towers(self) -> tuple[Tower, Tower]:
        """Return the tower, for both sides."""
        tower = export(self._tower())
        return tower, tower
