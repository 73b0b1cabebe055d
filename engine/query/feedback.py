"""From marked answers to one vector, which every index, plan and filter then serves as any other.

A linear discriminant takes both classes, good answers and all the others, to vary alike: one covariance says in which
directions vectors differ though they mean the same. Few marks cannot tell it, and that of all rows is another: it is
large where topics differ, which is what is marked. So it is told by each row and its nearest neighbour, which mean
about the same, and have no label: as noise is told from signal by minimum noise fractions (Green et al. 1988). The
rest is probabilistic discriminant analysis (Ioffe 2006; Prince & Elder 2007): with N the covariance between neighbours,
S that of all rows, m good marks and ḡ their mean, the direction of their class is

    v = ((m + 1) S + N)⁻¹ S N⁻¹ (ḡ − mean)

that is N⁻¹(ḡ − mean), less bold in directions in which S is small beside N, the more so the fewer marks there are. It
is added to what was asked with, both scaled by how their scores deviate over all rows. The figures, and what was tried
beside it, stand in docs/decisions/marks-learn-from-neighbours.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from engine.collection.snapshot import Snapshot
from engine.query.ask import Query
from engine.query.encode import Asked
from engine.query.terms import Marks
from engine.retrieval.searcher import Searcher
from indexers.errors import CorruptCollection, InvalidInput, ItemNotFound
from indexers.vectors import FloatArray, IdArray, normalize

ROWS, PAIRS = 10_000, 2_048
"""Rows that S is told by, and those of them that are compared with all of these for N: the same for any collection."""

COPY = 0.9995
"""Rows with this cosine are copies of each other: how they differ says nothing."""

RIDGE = 0.3
"""What is added to the diagonal of N, in means of it: few pairs are not believed to the last."""

MARKS, BAD = 2.0, 0.2
"""How much good marks count beside the query in the end (half of it after one), and bad ones beside good ones."""

SAME = 1e-9
"""Vectors whose variance is less do not differ."""

SEED, BLOCK = 24, 256
MOST_NAMED = 5

Matrix = NDArray[np.float64]


class Spread(NamedTuple):
    """How the vectors of a space differ.

    Attributes:
        mean: float64 [D].
        every: covariance of all rows, float64 [D, D]; S above.
        noise: covariance of what differs between neighbours, with the ridge, float64 [D, D]; N above.
        pull: S N⁻¹, which every question takes, float64 [D, D]; zeros where the vectors do not differ.
    """

    mean: Matrix
    every: Matrix
    noise: Matrix
    pull: Matrix

    @classmethod
    def of(cls, x: FloatArray) -> Spread:
        """Tell it by some rows, unit float32 [n, D], in no order."""
        mean = x.mean(axis=0, dtype=np.float64)
        centred = x - mean.astype(np.float32)
        every, noise = (centred.T @ centred).astype(np.float64) / len(x), _between_neighbours(x)
        if np.trace(every) < SAME:
            return cls(mean, every, np.eye(len(mean)), np.zeros_like(every))
        size = float(np.trace(noise)) or float(np.trace(every))
        noise = noise + RIDGE * size / len(mean) * np.eye(len(mean))
        return cls(mean, every, noise, np.linalg.solve(noise, every).T)

    def direction(self, asked: FloatArray | None, good: FloatArray, bad: FloatArray) -> FloatArray:
        """Return what to search with, unit float32 [D].

        Args:
            asked: the vector of the query's terms, unit float32 [D]; None where it has none.
            good: vectors of answers that were marked good, unit float32 [n, D], n ≥ 1.
            bad: of those that were marked bad, likewise, perhaps none.
        """
        wanted = self._scaled(self._of_class(good))
        if len(bad):
            wanted = wanted - BAD * self._scaled(self._of_class(bad))
        if asked is not None:
            wanted = self._scaled(asked.astype(np.float64)) + MARKS * len(good) / (len(good) + 1) * wanted
        if not wanted.any():  # vectors that do not differ tell of no direction
            wanted = (good.mean(axis=0) if asked is None else asked).astype(np.float64)
        found: FloatArray = normalize(wanted.astype(np.float32)[None], name="marks")[0]
        return found

    def _of_class(self, marked: FloatArray) -> Matrix:
        """Return the direction of what was marked alike, float64 [D]; v above."""
        away = self.pull @ (marked.mean(axis=0, dtype=np.float64) - self.mean)
        return np.linalg.solve((len(marked) + 1) * self.every + self.noise, away).astype(np.float64)

    def _scaled(self, vector: Matrix) -> Matrix:
        """Return a vector whose scores over all rows deviate by 1; zeros where they do not differ."""
        deviation = max(0.0, float(vector @ self.every @ vector)) ** 0.5
        return vector / deviation if deviation > SAME else np.zeros_like(vector)


def _between_neighbours(x: FloatArray) -> Matrix:
    """Return the covariance of what differs between some rows and the nearest that is no copy, float64 [D, D]."""
    pairs, most = 0, min(PAIRS, len(x))
    found: Matrix = np.zeros((x.shape[1], x.shape[1]))
    for start in range(0, most, BLOCK):
        block = x[start : min(start + BLOCK, most)]
        cosines: FloatArray = block @ x.T
        cosines[cosines >= COPY] = -2.0  # the row itself too
        nearest: IdArray = np.argmax(cosines, axis=1)
        has_one = np.max(cosines, axis=1) > -2.0
        apart = block[has_one] - x[nearest[has_one]]
        found = found + (apart.T @ apart).astype(np.float64)
        pairs += len(apart)
    mean: Matrix = found / max(1, 2 * pairs)
    return mean


def spread_of(searcher: Searcher, root: object) -> Spread:
    """Tell how the vectors of a space differ, by at most `ROWS` of its live rows, the same ones every time.

    Raises:
        CorruptCollection: some of them are not finite.
    """
    rows: IdArray = np.random.default_rng(SEED).permutation(searcher.live.numbers)[:ROWS]
    order = np.argsort(rows)  # they are read as they lie
    x = np.empty((len(rows), searcher.dim), np.float32)
    x[order] = searcher.vectors(rows[order])
    if not np.isfinite(x).all():
        raise CorruptCollection(f"{root} holds vectors that are not finite; see `nestvec verify`")
    return Spread.of(normalize(x))


class Judged(NamedTuple):
    """Marks as rows of a version.

    Attributes:
        good, bad: row numbers, each once.
        gone: what was marked and is in the version no longer.
    """

    good: list[int]
    bad: list[int]
    gone: list[str | int]


def judged(marks: Marks, snapshot: Snapshot) -> Judged:
    """Find what was marked.

    Raises:
        InvalidInput: an item was marked good and bad.
    """
    gone: list[str | int] = []

    def rows(items: Sequence[str | int]) -> list[int]:
        found: dict[int, None] = {}
        for item in items:
            try:
                found[row_of(snapshot, item)] = None
            except ItemNotFound:
                gone.append(item)
        return list(found)

    good, bad = rows(marks.good), rows(marks.bad)
    if both := set(good) & set(bad):
        raise InvalidInput(f"item {snapshot.ids[min(both)]} is marked good and bad: it is one of them")
    return Judged(good, bad, gone)


def row_of(snapshot: Snapshot, item: str | int) -> int:
    """Return the row of an item by its id or path.

    Raises:
        ItemNotFound: there is none.
    """
    if isinstance(item, int):
        return snapshot.find_id(item)
    try:
        return snapshot.find_path(item)
    except ItemNotFound:
        if not (item.isascii() and item.isdecimal() and len(item) < 19):
            raise
        return snapshot.find_id(int(item))


def with_marks(
    queries: Sequence[Query],
    snapshot: Snapshot,
    searcher: Searcher,
    encode: Callable[[Sequence[Query]], Asked],
    spread: Callable[[], Spread],
) -> tuple[Asked, list[str]]:
    """Turn queries with the same marks into a vector each, and say what became of the marks.

    Args:
        queries: they differ in their terms alone; some may have none.
        snapshot: the version that is searched.
        searcher: over a space of it.
        encode: returns the vectors of terms.
        spread: returns how the vectors of the space differ; called only where something was marked good.

    Returns:
        the queries, which no marked item is to answer, and of each a sentence.

    Raises:
        InvalidInput: a query has no terms, and no item is marked good.
    """
    found = judged(queries[0].marks, snapshot)
    with_terms = [number for number, query in enumerate(queries) if query.terms]
    if not with_terms and not found.good and all(query.words is not None for query in queries):
        return Asked(
            np.empty((0, searcher.dim), np.float32),
            [query.name for query in queries],
            [(*found.bad,)] * len(queries),
            [_notes(found)] * len(queries),
        ), [_told(found, None)] * len(queries)
    if len(with_terms) < len(queries) and not found.good:
        raise InvalidInput("there is nothing to look for: no terms, and no item that is there is marked good")
    plain = encode([queries[number] for number in with_terms]) if with_terms else None
    xq, own = np.zeros((len(queries), searcher.dim), np.float32), [(*found.good, *found.bad)] * len(queries)
    notes: list[tuple[str, ...]] = [_notes(found)] * len(queries)
    for at, number in enumerate(with_terms):
        assert plain is not None
        xq[number] = searcher.check_queries(plain.xq[at : at + 1])[0]
        own[number] = tuple(dict.fromkeys((*plain.own[at], *own[number])))
        notes[number] = (*(plain.notes[at] if plain.notes else ()), *notes[number])
    told = [_told(found, None) for _ in queries]
    if found.good:
        good, bad = (normalize(searcher.vectors(rows)) for rows in (found.good, found.bad))
        known = spread()
        for number, query in enumerate(queries):
            asked = xq[number].copy() if query.terms else None
            xq[number] = known.direction(asked, good, bad)
            told[number] = _told(found, None if asked is None else float(asked @ xq[number]))
    return Asked(xq, [query.name for query in queries], own, notes), told


def _notes(found: Judged) -> tuple[str, ...]:
    """Say which marks say nothing."""
    notes = []
    if found.gone:
        named = ", ".join(map(str, found.gone[:MOST_NAMED]))
        more = f" and {len(found.gone) - MOST_NAMED} more" if len(found.gone) > MOST_NAMED else ""
        notes.append(f"marked, and not in the collection: {named}{more}")
    if found.bad and not found.good:
        notes.append("nothing is marked good: what is marked bad is left out, and changes nothing else")
    return tuple(notes)


def _told(found: Judged, cosine: float | None) -> str:
    counts = f"{len(found.good)} marked good and {len(found.bad)} bad"
    if not found.good:
        return f"{counts}: the vector is that of the terms"
    if cosine is None:
        return f"{counts}: the vector is made of them alone"
    return f"{counts}: the vector that is searched with has a cosine of {cosine:.2f} with that of the terms"
