"""Figures of merit of ranked lists against graded judgements, equal to those of trec_eval."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

Judged = Mapping[str, int]
Qrels = Mapping[str, Judged]
"""Query id → document → grade; a grade above 0 is relevant."""

Run = Mapping[str, Mapping[str, float]]
"""Query id → document → score."""


def ranked(scores: Mapping[str, float]) -> list[str]:
    """Return the documents in trec_eval's order: by score as a 32-bit number, ties by name, the last one first."""
    return sorted(scores, key=lambda document: (float(np.float32(scores[document])), document), reverse=True)


def ndcg(found: Sequence[str], judged: Judged, cut: int) -> float:
    """Normalised discounted cumulative gain: the grade is the gain, divided by log₂(rank + 1).

    Järvelin and Kekäläinen (2002), in trec_eval's form (`ndcg_cut`).
    """
    ideal = _dcg(sorted((grade for grade in judged.values() if grade > 0), reverse=True)[:cut])
    return _dcg([max(0, judged.get(document, 0)) for document in found[:cut]]) / ideal if ideal else 0.0


def _dcg(gains: Sequence[int]) -> float:
    return sum(gain / math.log2(rank + 1) for rank, gain in enumerate(gains, start=1))


def average_precision(found: Sequence[str], judged: Judged) -> float:
    """Average precision over the whole list, divided by the number of relevant documents there are (`map`)."""
    hits, total = 0, 0.0
    for rank, document in enumerate(found, start=1):
        if judged.get(document, 0) > 0:
            hits += 1
            total += hits / rank
    return total / _relevant(judged) if hits else 0.0


def reciprocal_rank(found: Sequence[str], judged: Judged, cut: int) -> float:
    """1/rank of the first relevant document among the first `cut`, 0 without one."""
    return next((1 / rank for rank, one in enumerate(found[:cut], start=1) if judged.get(one, 0) > 0), 0.0)


def recall(found: Sequence[str], judged: Judged, cut: int) -> float:
    """Share of the relevant documents that are among the first `cut`."""
    return _hits(found, judged, cut) / _relevant(judged) if _relevant(judged) else 0.0


def precision(found: Sequence[str], judged: Judged, cut: int) -> float:
    """Share of the first `cut` that are relevant; a shorter list is divided by `cut` all the same."""
    return _hits(found, judged, cut) / cut


def _hits(found: Sequence[str], judged: Judged, cut: int) -> int:
    return sum(judged.get(document, 0) > 0 for document in found[:cut])


def _relevant(judged: Judged) -> int:
    return sum(grade > 0 for grade in judged.values())


MEASURES: Mapping[str, Callable[[Sequence[str], Judged], float]] = {
    "nDCG@10": lambda found, judged: ndcg(found, judged, 10),
    "MAP": average_precision,
    "MRR@10": lambda found, judged: reciprocal_rank(found, judged, 10),
    "recall@10": lambda found, judged: recall(found, judged, 10),
    "recall@100": lambda found, judged: recall(found, judged, 100),
    "P@10": lambda found, judged: precision(found, judged, 10),
}


def measure(run: Run, qrels: Qrels) -> dict[str, list[float]]:
    """Score a run.

    Args:
        run: queries that are not judged are passed over.
        qrels: every judged query counts, one the run does not answer, or that has nothing relevant, with 0.

    Returns:
        for each of MEASURES its value for each query of `qrels`, in their order.
    """
    lists = {query: ranked(run.get(query, {})) for query in qrels}
    return {
        name: [compute(lists[query], judged) for query, judged in qrels.items()] for name, compute in MEASURES.items()
    }
