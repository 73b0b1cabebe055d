"""Objective `paired`: InfoNCE at every nested dimension between two views of the same thing.

The contrastive loss of CLIP (Radford et al., 2021, arXiv:2103.00020), summed over prefixes as in Matryoshka
Representation Learning (Kusupati et al., 2022, arXiv:2205.13147, section 4: ALIGN). Items (pictures, say)
and queries (their captions) each have a tower; one of them may be fixed, or one may serve both.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from engine.heads.layers import apply, export, moments, principal_axes, start
from engine.heads.model import Side, Tower
from engine.heads.training.losses import info_nce, prefix
from engine.heads.training.objective import Defaults, draw, nearest, relative
from engine.heads.training.options import Examples, Settled
from indexers.vectors import FloatArray

if TYPE_CHECKING:
    import torch
    from torch import Tensor

DEFAULTS = Defaults(steps=1500, batch=512, rate=0.001, decay=0.01)

TEMPERATURE = 0.05
# Beyond this the loss of a batch is decided by its rounding (CLIP's bound).
MOST_SCALE = math.log(100)
SIDES: tuple[Side, Side] = ("items", "queries")


class Paired:
    """The state of one training run.

    Args:
        train: what it learns from, with pairs.
        held: what it is judged by, with pairs.
        options: dims, weights, width, hidden, the fixed or shared tower, seed, device.
    """

    def __init__(self, train: Examples, held: Examples, options: Settled) -> None:
        import torch

        if train.pairs is None or held.pairs is None:
            raise TypeError("paired examples have pairs")
        self._options = options
        self._weights = relative(options)
        width = options.width or train.dim
        # Both towers begin as one rotation: what could be compared before can be compared from the first step.
        axes = principal_axes(moments(train.x) + moments(train.pairs))
        arrays: dict[str, FloatArray] = {}
        for side in ("items",) if options.shared_tower else SIDES:
            if side != options.fixed:
                begin = start(np.eye(train.dim) if options.fixed else axes, width, options.hidden, options.seed)
                arrays |= {f"{side}.{name}": part for name, part in begin.items()}
        arrays["log_scales"] = np.full(len(options.dims), -math.log(TEMPERATURE), dtype=np.float32)
        put = options.device
        self._parameters = {
            name: torch.from_numpy(part.copy()).to(put).requires_grad_() for name, part in arrays.items()
        }
        self._train = self._views(train.x, train.pairs)
        self._held = self._views(held.x, held.pairs)

    def _views(self, x: FloatArray, pairs: FloatArray) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return both views, and for each a number that equal rows share."""
        import torch

        groups = [np.unique(view, axis=0, return_inverse=True)[1].reshape(-1) for view in (x, pairs)]
        x_group, pair_group = (torch.from_numpy(group).to(self._options.device) for group in groups)
        device = self._options.device
        return torch.from_numpy(x).to(device), torch.from_numpy(pairs).to(device), x_group, pair_group

    @property
    def parameters(self) -> dict[str, Tensor]:
        """The towers that are not fixed, and one over the temperature of each dim."""
        return self._parameters

    def _tower(self, side: Side) -> dict[str, Tensor]:
        own = "items." if self._options.shared_tower else f"{side}."
        return {name.removeprefix(own): part for name, part in self._parameters.items() if name.startswith(own)}

    def loss(self, generator: torch.Generator) -> Tensor:
        """Return the loss of a batch."""
        views = self._train
        chosen = draw(len(views[0]), self._options.batch, generator).to(views[0].device)
        return self._loss(*(view[chosen] for view in views))

    def _loss(self, x: Tensor, pairs: Tensor, x_group: Tensor, pair_group: Tensor) -> Tensor:
        import torch

        same = (x_group[:, None] == x_group) | (pair_group[:, None] == pair_group)
        same = same & ~torch.eye(len(x), dtype=torch.bool, device=x.device)
        return info_nce(
            apply(self._tower("items"), x),
            apply(self._tower("queries"), pairs),
            same,
            self._parameters["log_scales"].clamp(max=MOST_SCALE),
            dims=self._options.dims,
            weights=self._weights,
        )

    def validation_loss(self) -> float:
        """Return the loss on the held-out pairs."""
        import torch

        with torch.no_grad():
            return float(self._loss(*self._held))

    def figures(self) -> dict[str, float]:
        """Return recall@1 of held-out items, given their pairs, among all held-out items, at every dim."""
        import torch

        x, pairs, _, pair_group = self._held
        figures = {}
        with torch.no_grad():
            items, queries = apply(self._tower("items"), x), apply(self._tower("queries"), pairs)
            for d in self._options.dims:
                found = nearest(prefix(queries, d), prefix(items, d), 1)[:, 0]
                figures[f"recall@1 {d}"] = round(float((pair_group[found] == pair_group).float().mean()), 4)
        return figures

    def towers(self) -> tuple[Tower, Tower]:
        """Return both towers; a fixed one is the identity."""
        items = export(self._tower("items"))
        return items, items if self._options.shared_tower else export(self._tower("queries"))
