"""Objective `rotation`: the orthogonal matrix under which every prefix keeps the most neighbours.

Scores at the full dimension do not change, whatever it learns. It begins as the principal axes (the best
answer to another question: least squared error), and learns that each row's full-dimension neighbours be
its neighbours at every prefix. The parameter is a free matrix W [D, max dim]; the rotation's columns are
those of its QR decomposition, which keeps the span of the first d columns for every d, and a prefix's
cosines depend on that span alone. The remaining columns complete the basis, in the order of the principal axes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from engine.heads.layers import moments, principal_axes
from engine.heads.model import Tower
from engine.heads.training.losses import neighbourhood
from engine.heads.training.objective import MOST_BASE, Defaults, draw, kept_shortlist, nearest, relative, sample
from engine.heads.training.options import MOST_SEED, Examples, Settled
from indexers.vectors import FloatArray

if TYPE_CHECKING:
    import torch
    from torch import Tensor

DEFAULTS = Defaults(steps=300, batch=512, rate=0.01)

NEAR = 10
OTHERS = 4096
MOST_QUERIES = 32_768
MOST_FIGURES = 1024
# How many neighbours the softmax of a full vector's cosines should spread over: its temperature follows
# from that, and so fits encoders whose cosines lie close together as well as those whose do not.
PERPLEXITY = 12.0
LOOKS = 4
BATCH_OF_A_LOOK = 256


class Rotation:
    """The state of one training run.

    Args:
        train: what it learns from; `queries`, where given, are half of every batch.
        held: what it is judged by.
        options: dims, weights, seed, device.
    """

    def __init__(self, train: Examples, held: Examples, options: Settled) -> None:
        import torch

        self._options = options
        self._dims = [d for d in options.dims if d < train.dim]
        self._weights = [w for w, d in zip(relative(options), options.dims, strict=True) if d < train.dim]
        rows = sample(len(train), MOST_BASE, [options.seed, 4])
        self._base = torch.from_numpy(np.ascontiguousarray(train.x[rows])).to(options.device)
        self._sides = [self._pool(train.x[rows], own=True)]
        self._held = [self._pool(held.x, own=False)]
        if train.queries is not None and held.queries is not None:
            self._sides.append(self._pool(train.queries, own=False))
            self._held.append(self._pool(held.queries, own=False))
        self._temperature = self._find_temperature()
        self._moments, basis = self._best_start(train.x)
        self._free = basis.requires_grad_()

    def _pool(self, x: FloatArray, *, own: bool) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries, their nearest base rows, and each one's own base row or −1."""
        import torch

        rows = sample(len(x), MOST_QUERIES, [self._options.seed, 5])
        xq = torch.from_numpy(np.ascontiguousarray(x[rows])).to(self._options.device)
        mine = torch.from_numpy(rows if own else np.full(len(rows), -1)).to(self._options.device)
        return xq, nearest(xq, self._base, min(NEAR, len(self._base) - 1), mine), mine

    def _find_temperature(self) -> float:
        """Return the temperature at which a full vector's neighbourhood has the wanted perplexity."""
        import torch

        generator = torch.Generator().manual_seed(self._options.seed % MOST_SEED)
        xq, near, mine = self._sides[-1]
        chosen = draw(len(xq), BATCH_OF_A_LOOK, generator).to(xq.device)
        others = draw(len(self._base), min(OTHERS, len(self._base)), generator).to(xq.device)
        low, high = 1e-3, 1.0
        for _ in range(24):
            middle = (low * high) ** 0.5
            p = self._neighbourhood(xq[chosen], near[chosen], others, mine[chosen], middle)[0]
            entropy = -(p * torch.log(p.clamp_min(1e-30))).sum(1).mean()
            low, high = (middle, high) if float(entropy.exp()) < PERPLEXITY else (low, middle)
        return float(f"{(low * high) ** 0.5:.3g}")

    def _neighbourhood(
        self, xq: Tensor, near: Tensor, others: Tensor, mine: Tensor, temperature: float
    ) -> tuple[Tensor, Tensor]:
        """Return the softmax of full-dimension cosines [b, K + m], and where a candidate is the query itself."""
        import torch

        masked = (mine[:, None] == others[None, :]) | (near[:, :, None] == others).any(1)
        to_near = (xq[:, None] * self._base[near]).sum(-1)
        to_others = (xq @ self._base[others].T).masked_fill(masked, -1e4)
        return torch.softmax(torch.cat([to_near, to_others], dim=1) / temperature, dim=1), masked

    def _best_start(self, x: FloatArray) -> tuple[NDArray[np.float64], Tensor]:
        """Return second moments, about the mean or about the origin, whose principal axes lose less, and these."""
        import torch

        found = []
        for centred in (True, False):
            about = moments(x, centred=centred)
            axes = principal_axes(about)[: max(self._dims, default=1)].T
            basis = torch.from_numpy(np.ascontiguousarray(axes, dtype=np.float32)).to(self._options.device)
            found.append((self._validation_loss(basis), about, basis))
        _, about, basis = min(found, key=lambda one: one[0])
        return about, basis

    # -- the objective -------------------------------------------------------------------

    @property
    def parameters(self) -> dict[str, Tensor]:
        """The free matrix [D, max dim]."""
        return {"free": self._free}

    def loss(self, generator: torch.Generator) -> Tensor:
        """Return the neighbourhood loss of a batch, half of it queries where there are some."""
        import torch

        size = self._options.batch // len(self._sides)
        basis = torch.linalg.qr(self._free)[0]
        parts = [self._batch_loss(side, size, basis, generator) for side in self._sides]
        return torch.stack(parts).mean()

    def _batch_loss(
        self, side: tuple[Tensor, Tensor, Tensor], size: int, basis: Tensor, generator: torch.Generator
    ) -> Tensor:
        xq, near, mine = side
        chosen = draw(len(xq), size, generator).to(xq.device)
        others = draw(len(self._base), min(OTHERS, len(self._base)), generator).to(xq.device)
        wanted, masked = self._neighbourhood(xq[chosen], near[chosen], others, mine[chosen], self._temperature)
        return neighbourhood(
            wanted,
            xq[chosen] @ basis,
            self._base[near[chosen]] @ basis,
            self._base[others] @ basis,
            masked,
            dims=self._dims,
            weights=self._weights,
            temperature=self._temperature,
        )

    def validation_loss(self) -> float:
        """Return the loss on held-out rows and queries."""
        import torch

        return self._validation_loss(torch.linalg.qr(self._free.detach())[0])

    def _validation_loss(self, basis: Tensor) -> float:
        import torch

        generator = torch.Generator().manual_seed(self._options.seed % MOST_SEED)
        with torch.no_grad():
            parts = [
                self._batch_loss(side, BATCH_OF_A_LOOK, basis, generator) for _ in range(LOOKS) for side in self._held
            ]
        return float(torch.stack(parts).mean())

    def figures(self) -> dict[str, float]:
        """Return the shortlist recall of every dim, of items and, where it serves them, of queries."""
        import torch

        matrix = torch.from_numpy(self.matrix()).to(self._options.device)
        figures: dict[str, float] = {}
        for name, (xq, near, _) in zip(("items", "queries"), self._held, strict=False):
            xq, near = xq[:MOST_FIGURES], near[:MOST_FIGURES]
            kept = kept_shortlist(near, xq @ matrix.T, self._base @ matrix.T, self._dims)
            figures |= {f"{name} {key}": value for key, value in kept.items()}
        return figures

    def matrix(self) -> FloatArray:
        """Return the rotation, float32 [D, D]: its rows are the new axes."""
        learned = self._free.detach().cpu().numpy().astype(np.float64)
        q, r = np.linalg.qr(learned, mode="complete")
        width = learned.shape[1]
        first, rest = q[:, :width] * np.where(np.diag(r) < 0, -1.0, 1.0), q[:, width:]
        # What is left of the space, by its own principal axes.
        rest = rest @ principal_axes(rest.T @ self._moments @ rest).T if width < len(q) else rest
        return np.ascontiguousarray(np.concatenate([first, rest], axis=1).T, dtype=np.float32)

    def towers(self) -> tuple[Tower, Tower]:
        """Return the rotation, for both sides."""
        tower = Tower(weight=self.matrix())
        return tower, tower
