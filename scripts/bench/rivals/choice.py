"""Which settings win, and how good answers are: no measuring here."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from indexers.base import MISSING, Neighbors
from indexers.exact import recall
from indexers.vectors import FloatArray, IdArray
from scripts.bench.rivals.records import BATCH, MODES, Floor, Params, Trial

TARGETS = (0.95, 0.99)
MARGIN = 0.002
"""Added to a target on the tuning half, since the best of many settings flatters itself."""

GAIN = 0.0005
"""A line of settings ends where the next step finds no more than this."""


@dataclass(frozen=True)
class Contender:
    """A setting that goes into the final rounds."""

    system: str
    build: Params
    search: Params
    mode: str
    mapped: bool = False


def graded(found: IdArray, truth: Neighbors, xb: FloatArray, xq: FloatArray) -> float:
    """Return recall@k of ids [nq, k]: what ties with the k-th true answer counts, what is given twice counts once."""
    order = np.argsort(found, axis=1, kind="stable")
    ordered = np.take_along_axis(found, order, axis=1)
    again = np.zeros(found.shape, dtype=bool)
    np.put_along_axis(again, order[:, 1:], ordered[:, 1:] == ordered[:, :-1], axis=1)
    ids = np.where(again | (found < 0) | (found >= len(xb)), MISSING, found)
    rows = np.asarray(xb[np.maximum(ids, 0).ravel()]).reshape(*ids.shape, -1)
    scores = np.einsum("qkd,qd->qk", rows, xq)
    return recall(ids, truth, scores=scores.astype(np.float32))


def reaches(trial: Trial, target: float) -> bool:
    """Say whether every kind of query finds enough."""
    return min(trial.recall.values()) >= target + MARGIN


def cost(trial: Trial, mode: str) -> float:
    """Return seconds a query, the mean over the kinds."""
    values = [1 / qps for qps in trial.qps.values()] if mode == BATCH else list(trial.single.values())
    return sum(values) / len(values)


def weight(trial: Trial, mode: str) -> float:
    """Return what settings are chosen by: for single queries what is typical and what is rare count alike."""
    if mode == BATCH:
        return cost(trial, mode)
    tail = trial.tail or trial.single
    return sum(math.sqrt(trial.single[kind] * tail[kind]) for kind in trial.single)


def choose(trials: Iterable[Trial], target: float, mode: str) -> Trial | None:
    """Return the fastest setting, by `weight`, that reaches the target on every kind of query, or None."""
    able = [one for one in trials if reaches(one, target) and (mode == BATCH or one.single)]
    return min(able, key=lambda one: weight(one, mode), default=None)


def winners(trials: Sequence[Trial], system: str) -> dict[tuple[float, str], Trial]:
    """Return a system's winner for each (target, mode) it can reach."""
    own = [one for one in trials if one.system == system]
    found = {(target, mode): choose(own, target, mode) for target in TARGETS for mode in MODES}
    return {key: trial for key, trial in found.items() if trial is not None}


def of_winners(floors: Iterable[Floor], trials: Sequence[Trial], system: str) -> list[Floor]:
    """Return the floors of settings that win still: others may have been tried since."""
    won = winners(trials, system)
    kept = []
    for one in floors:
        trial = won.get((one.target, one.mode))
        if trial is not None and (trial.build, trial.search) == (one.build, one.search):
            kept.append(one)
    return kept


def contenders(trials: Sequence[Trial], mappers: Iterable[str]) -> list[Contender]:
    """Return the winners of all systems, each once; those for single queries mapped as well, where that is possible."""
    mapping = set(mappers)
    found: dict[str, Contender] = {}
    for system in dict.fromkeys(one.system for one in trials):
        for (_, mode), trial in winners(trials, system).items():
            for mapped in (False, True) if mode != BATCH and system in mapping else (False,):
                one = Contender(system, trial.build, trial.search, mode, mapped)
                found.setdefault(repr(one), one)
    return list(found.values())


def line_ends(trials: Sequence[Trial]) -> bool:
    """Say whether the rest of a line can be left out: it finds all that is asked for, or no longer gains."""
    if not trials:
        return False
    if reaches(trials[-1], TARGETS[-1]):
        return True
    return len(trials) > 1 and _total(trials[-1].recall) - _total(trials[-2].recall) < GAIN


def _total(recalls: Mapping[str, float]) -> float:
    return sum(recalls.values()) / len(recalls)


def front(points: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return the points (recall, goodness) that no other beats in both, by rising recall."""
    best: list[tuple[float, float]] = []
    for point in sorted(set(points), key=lambda one: (-one[0], -one[1])):
        if not best or point[1] > best[-1][1]:
            best.append(point)
    return best[::-1]
