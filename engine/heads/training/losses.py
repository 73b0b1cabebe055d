"""The losses of Matryoshka heads: each is a sum over prefix dimensions.

A prefix is the first d numbers *renormalised*, as everywhere in nestvec, and so every loss is one of
cosines. `weights` are relative: they are scaled to a mean of 1 by whoever calls.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def prefix(y: Tensor, d: int) -> Tensor:
    """Cut [..., D] to the first d numbers, at unit length."""
    from torch.nn.functional import normalize

    return normalize(y[..., :d], dim=-1)


def neighbourhood(
    wanted: Tensor,
    queries: Tensor,
    near: Tensor,
    others: Tensor,
    masked: Tensor,
    *,
    dims: Sequence[int],
    weights: Sequence[float],
    temperature: float,
) -> Tensor:
    """Cross-entropy between the neighbourhoods a full vector has and those its prefixes have.

    A neighbourhood is a softmax of cosines over candidates, as in stochastic neighbour embedding
    (Hinton and Roweis, 2002), here of each prefix against the full dimension.

    Args:
        wanted: [b, K + m], the softmax of full-dimension cosines with `near`, then `others`.
        queries: [b, D] after the map.
        near: [b, K, D] after the map, each query's true neighbours.
        others: [m, D] after the map, rows drawn at random and shared by the batch.
        masked: bool [b, m], where one of `others` is the query itself.
        dims: prefix dimensions.
        weights: of each.
        temperature: of both softmaxes.

    Returns:
        a scalar.
    """
    import torch

    total = queries.new_zeros(())
    for d, weight in zip(dims, weights, strict=True):
        q = prefix(queries, d)
        to_near = (q[:, None] * prefix(near, d)).sum(-1)
        to_others = (q @ prefix(others, d).T).masked_fill(masked, -1e4)
        scores = torch.cat([to_near, to_others], dim=1) / temperature
        total = total - weight * (wanted * torch.log_softmax(scores, dim=1)).sum(1).mean()
    return total


def matryoshka_cross_entropy(
    y: Tensor,
    labels: Tensor,
    classifiers: Sequence[Tensor],
    log_scales: Tensor,
    *,
    dims: Sequence[int],
    weights: Sequence[float],
) -> Tensor:
    """Cross-entropy at every nested dimension (Kusupati et al., 2022, arXiv:2205.13147, eq. 1).

    The paper's logits are inner products; here they are cosines times a learned scale, since the
    prefixes will be compared by cosine (as in NormFace, Wang et al., 2017, arXiv:1704.06369).

    Args:
        y: [b, D] after the head.
        labels: int64 [b].
        classifiers: one [C, d] for each dim (MRL), or a single [C, D] whose prefixes serve all (MRL-E).
        log_scales: [len(dims)], logarithm of the scale of each dim's logits.
        dims: prefix dimensions.
        weights: of each.
    """
    from torch.nn.functional import cross_entropy

    total = y.new_zeros(())
    for number, (d, weight) in enumerate(zip(dims, weights, strict=True)):
        classifier = classifiers[number] if len(classifiers) > 1 else classifiers[0]
        logits = prefix(y, d) @ prefix(classifier, d).T * log_scales[number].exp()
        total = total + weight * cross_entropy(logits, labels)
    return total


def info_nce(
    items: Tensor,
    queries: Tensor,
    same: Tensor,
    log_scales: Tensor,
    *,
    dims: Sequence[int],
    weights: Sequence[float],
) -> Tensor:
    """InfoNCE both ways at every nested dimension (van den Oord et al., 2018; Radford et al., 2021).

    Args:
        items: [b, D] after the items' tower.
        queries: [b, D] after the queries' tower, row for row their pairs.
        same: bool [b, b], true off the diagonal where two rows have the same query or the same item:
            neither is a wrong answer for the other, and they are left out.
        log_scales: [len(dims)], logarithm of one over the temperature.
        dims: prefix dimensions.
        weights: of each.
    """
    import torch
    from torch.nn.functional import cross_entropy

    right = torch.arange(len(items), device=items.device)
    total = items.new_zeros(())
    for number, (d, weight) in enumerate(zip(dims, weights, strict=True)):
        logits = (prefix(items, d) @ prefix(queries, d).T * log_scales[number].exp()).masked_fill(same, -1e4)
        total = total + weight * (cross_entropy(logits, right) + cross_entropy(logits.T, right)) / 2
    return total


def kept_similarity(
    before: Tensor,
    after: Tensor,
    before_near: Tensor,
    after_near: Tensor,
    *,
    dims: Sequence[int],
    weights: Sequence[float],
    pairwise: float,
) -> Tensor:
    """How far prefixes change similarities: the two unsupervised losses of the Matryoshka-Adaptor.

    Yoon et al., 2024, arXiv:2407.20243: |cos(x_i, x_j) − cos(f(x_i)[:d], f(x_j)[:d])| over the pairs of
    a row and its top-k neighbours, and over all pairs of the batch.

    Args:
        before: [b, D] the encoder's vectors, unit rows.
        after: [b, D'] the same after the head.
        before_near: [b, K, D] the neighbours of each row.
        after_near: [b, K, D'] the same after the head.
        dims: prefix dimensions.
        weights: of each.
        pairwise: weight of the second part.
    """
    wanted = before @ before.T
    wanted_near = (before[:, None] * before_near).sum(-1)
    total = before.new_zeros(())
    for d, weight in zip(dims, weights, strict=True):
        cut = prefix(after, d)
        near = (cut[:, None] * prefix(after_near, d)).sum(-1)
        topk = (near - wanted_near).abs().mean()
        total = total + weight * (topk + pairwise * (cut @ cut.T - wanted).abs().mean())
    return total
