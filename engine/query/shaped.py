"""From rows in order to answers: copies taken out, groups made, variety chosen, a page cut."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice, takewhile
from typing import Any

import numpy as np

from engine.query.shape import SAME, Shape
from engine.query.values import NAN
from indexers.vectors import FloatArray, normalize

VARIED, LEAST_VARIED = 20, 200
"""From so many times k answers, and at least from so many, varied ones are chosen."""

ROUNDING = 1e-6
"""A score or cosine that is less than what is asked for by this is as much: the last bits are rounded."""

BLOCK = 256
"""Rows whose vectors are compared at once."""

Ranked = Iterator[tuple[int, float]]
Vectors = Callable[[Sequence[int]], FloatArray]
Valued = Callable[[int], Any]


@dataclass
class Chosen:
    """The rows that are given back to one query, best first, or group by group.

    Attributes:
        rows: their numbers.
        scores: cosines.
        groups: of each, the value of its group; empty where there are no groups.
        more: whether there may be others behind these.
    """

    rows: list[int] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    groups: list[Any] = field(default_factory=list)
    more: bool = False

    def add(self, row: int, score: float) -> None:
        """Take one."""
        self.rows.append(row)
        self.scores.append(score)


def filtered(ranked: Ranked, shape: Shape, vectors: Vectors) -> Ranked:
    """Return the rows that score enough, and are no copies of others where copies are not to answer."""
    if shape.min_score is not None:
        least = shape.min_score - ROUNDING
        ranked = takewhile(lambda one: one[1] >= least, ranked)
    # Copies would take all the places that variety is chosen from.
    least_alike = SAME if shape.distinct is None and shape.diverse is not None else shape.distinct
    return ranked if least_alike is None else _without_copies(ranked, least_alike, vectors)


def choose(
    ranked: Ranked, k: int, shape: Shape, vectors: Vectors, values: Valued | None, *, scaled: bool = False
) -> Chosen:
    """Take from rows in order what a shape leaves of them.

    Args:
        ranked: rows with their scores, the best first, filtered.
        k: answers that are wanted, or groups.
        shape: how; what answers came before is said by its offset.
        vectors: returns stored vectors of rows, float32 [n, D].
        values: returns the value of a row in the column that makes groups; None where there are none.
        scaled: whether scores have another scale than cosines: against likeness the best then counts as 1.
    """
    if values is not None:
        found = _grouped(ranked, k, shape, values)
    elif shape.diverse is not None:
        best = list(islice(ranked, max(LEAST_VARIED, VARIED * k)))
        found = _varied(best, k, shape.diverse, vectors, (best[0][1] or 1.0) if best and scaled else 1.0)
    else:
        found = Chosen()
        for row, score in islice(ranked, shape.offset, shape.offset + k):
            found.add(row, score)
        found.more = next(ranked, None) is not None
    return found


def _without_copies(ranked: Ranked, least: float, vectors: Vectors) -> Ranked:
    """Yield rows that are no copies of those before them."""
    kept: FloatArray | None = None
    while block := list(islice(ranked, BLOCK)):
        unit = normalize(vectors([row for row, _ in block]))
        alike = np.greater_equal(unit @ unit.T, least - ROUNDING)
        known = np.zeros(len(block), bool)
        if kept is not None:
            known = np.greater_equal(unit @ kept.T, least - ROUNDING).any(axis=1)
        new: list[int] = []
        for at in range(len(block)):
            if not known[at] and not alike[at, new].any():
                new.append(at)
        yield from (block[at] for at in new)
        kept = unit[new] if kept is None else np.concatenate([kept, unit[new]])


def _grouped(ranked: Ranked, k: int, shape: Shape, values: Valued) -> Chosen:
    """Return the best members of the best groups: rows are taken until these have all of theirs, or there are none."""
    groups: dict[Any, list[tuple[int, float]]] = {}
    last, full, more = shape.offset + k, 0, False
    for row, score in ranked:
        value = values(row)
        members = groups.get(value)
        if members is None and len(groups) == last:
            more = True
            if full == last:
                break
            continue
        if members is None:
            members = groups[value] = []
        if len(members) < shape.group_size:
            members.append((row, score))
            full += len(members) == shape.group_size
        if full == last and (more or not shape.pages):
            break
    found = Chosen(more=more)
    for value, members in islice(groups.items(), shape.offset, last):
        for row, score in members:
            found.add(row, score)
            found.groups.append(value)
    return found


def _varied(best: list[tuple[int, float]], k: int, weight: float, vectors: Vectors, one: float) -> Chosen:
    """Choose answers one by one that score well and are unlike those before them (maximal marginal relevance).

    A score of `one` counts as much as a likeness of 1.
    """
    found = Chosen()
    if not best:
        return found
    rows, scores = [row for row, _ in best], np.array([score for _, score in best], dtype=np.float32)
    unit = normalize(vectors(rows))
    nearest = np.zeros(len(rows), dtype=np.float32)
    left = np.ones(len(rows), dtype=bool)
    while len(found.rows) < min(k, len(rows)):
        worth = weight * (scores / np.float32(one)) - (1 - weight) * nearest
        at = int(np.argmax(np.where(left, worth, -np.inf)))
        left[at] = False
        likeness = unit @ unit[at]
        nearest = likeness if not found.rows else np.maximum(nearest, likeness)
        found.add(rows[at], float(scores[at]))
    return found


def sorted_by(found: Chosen, values: Sequence[Any], *, largest: bool) -> Chosen:
    """Order answers by values of a column, one each; what has none, or no number, comes last."""
    nothing = [value is None or value is NAN for value in values]
    order = sorted((at for at in range(len(values)) if not nothing[at]), key=lambda at: values[at], reverse=largest)
    order += [at for at in range(len(values)) if nothing[at]]

    def again(column: list[Any]) -> list[Any]:
        return [column[at] for at in order] if column else []

    return Chosen(again(found.rows), again(found.scores), again(found.groups), found.more)
