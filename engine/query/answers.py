"""What a search gives back, and how items are found by name."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from numbers import Integral
from pathlib import Path
from typing import Any, overload

import numpy as np

from engine.collection.absent import near_path
from engine.collection.snapshot import Item, Snapshot
from engine.retrieval.searcher import Searcher
from indexers import checks
from indexers.base import MISSING, Neighbors
from indexers.errors import CorruptCollection, InvalidInput, ItemNotFound
from indexers.plan import SearchPlan
from indexers.vectors import FloatArray, IdArray

# Python refuses to read longer numbers.
MOST_DIGITS = 4000


@dataclass(frozen=True)
class Answers:
    """The answers to one query, best first.

    Attributes:
        query: what was asked: the text, the path or id, or None for a vector.
        scores: float32 [k], cosine similarities.
        ids: int64 [k].
    """

    query: str | int | None
    scores: FloatArray
    ids: IdArray
    _snapshot: Snapshot
    _positions: IdArray

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def items(self) -> list[Item]:
        """What is known of each answer: uri, caption, size, your own columns."""
        return [self._snapshot.item(int(position)) for position in self._positions]

    @property
    def uris(self) -> list[str]:
        """Where each answer is."""
        return [item.uri for item in self.items]

    @property
    def captions(self) -> list[str | None]:
        """The text that came with each answer, if any."""
        return [item.caption for item in self.items]


@dataclass(frozen=True, eq=False)
class AnswerList(Sequence[Answers]):
    """The answers to several queries, in their order; each is made when it is looked at.

    Attributes:
        scores: float32 [nq, k], cosine similarities, best first.
        ids: int64 [nq, k]; −1 at the end of a row, and a score of −∞, where an item has fewer others beside it.
    """

    scores: FloatArray
    ids: IdArray
    _names: Sequence[str | int | None]
    _snapshot: Snapshot
    _positions: IdArray

    def __len__(self) -> int:
        return len(self._names)

    @overload
    def __getitem__(self, at: int) -> Answers: ...

    @overload
    def __getitem__(self, at: slice) -> list[Answers]: ...

    def __getitem__(self, at: int | slice) -> Answers | list[Answers]:
        if isinstance(at, slice):
            return [self[i] for i in range(*at.indices(len(self)))]
        scores, ids, positions = self.scores[at], self.ids[at], self._positions[at]
        if len(ids) and ids.item(-1) == MISSING:
            there = ids != MISSING
            scores, ids, positions = scores[there], ids[there], positions[there]
        return Answers(self._names[at], scores, ids, self._snapshot, positions)


def _without(rows: Sequence[int | None], found: Neighbors, k: int) -> Neighbors:
    """Return k answers a query, without the row that is named for it, if any."""
    others = found.ids != np.array([[MISSING if row is None else row] for row in rows])
    kept = np.argsort(~others, axis=1, kind="stable")[:, :k]
    there = np.take_along_axis(others, kept, axis=1)
    scores, ids = np.take_along_axis(found.scores, kept, axis=1), np.take_along_axis(found.ids, kept, axis=1)
    return Neighbors(np.where(there, scores, np.float32(-np.inf)), np.where(there, ids, MISSING))


def answer_all(
    snapshot: Snapshot,
    searcher: Searcher,
    xq: Any,
    names: Sequence[str | int | None],
    k: int,
    plan: SearchPlan | None,
    dim: int | None,
    leave_out: Sequence[int | None] = (),
) -> AnswerList:
    """Search, and name what was found.

    Args:
        snapshot: the version that is searched.
        searcher: over a space of it.
        xq: real [nq, D], queries of that space.
        names: of each query.
        k: answers a query.
        plan: how; the collection's default if None.
        dim: stop at this prefix.
        leave_out: a row for each query that must not answer it, or None; empty for none at all.
    """
    queries, dim = searcher.check_queries(xq), checks.optional("dim", dim, checks.signed)
    more = any(position is not None for position in leave_out)
    found = searcher.search(queries, checks.whole("k", k) + 1 if more else k, plan, dim=dim)
    # Stored values that are infinite come first, and unit vectors have no such cosines.
    if found.scores.size and not math.isfinite(found.scores[:, 0].max() if len(queries) > 1 else found.scores.item(0)):
        raise CorruptCollection(f"{snapshot.root} holds vectors that are not finite; see `nestvec verify`")
    if more:
        found = _without(leave_out, found, k)
        ids = np.where(found.ids == MISSING, MISSING, snapshot.ids[found.ids])
    else:
        ids = snapshot.ids[found.ids]
    return AnswerList(found.scores, ids, names, snapshot, found.ids)


def find(snapshot: Snapshot, item: str | Path | int) -> int | None:
    """Return the row number of a stored item by id or path, or None if it is a file to be encoded.

    Raises:
        ItemNotFound: neither an item nor a file.
    """
    if isinstance(item, int):
        return snapshot.find_id(item)
    text = str(item)
    try:
        return snapshot.find_path(text)
    except ItemNotFound as error:
        with contextlib.suppress(OSError, ValueError):  # too long for a file name, or with a null in it
            if Path(text).is_file():
                return None
        if text.isdecimal() and len(text) < MOST_DIGITS:
            return snapshot.find_id(int(text))
        near = near_path(Path(text))
        meant = "a text is looked for by search" if near is None else f"did you mean {near}?"
        raise ItemNotFound(f"{error}, and no such file is there; {meant}") from error


def is_item(value: Any) -> bool:
    """Whether something is what one item is named by."""
    return isinstance(value, str | os.PathLike | Integral) and not isinstance(value, bool)


def as_items(items: Any) -> list[str | int]:
    """Return one item or several as a list, ids as Python's own int: answers hold NumPy's.

    Raises:
        InvalidInput: one of them is something that names no item.
    """
    return checks.one_or_several("item", items, as_item)


def as_item(name: str, given: Any) -> str | int:
    """Return what names an item: an id as Python's own int, or the text of a path.

    Raises:
        InvalidInput: it is something else.
    """
    if isinstance(given, Integral):
        return checks.whole(name, given, -checks.MOST_ID, checks.MOST_ID)
    if isinstance(given, str | os.PathLike):
        return checks.text(name, checks.as_text(given))
    vectors = isinstance(given, np.ndarray | np.floating | float)
    raise InvalidInput(
        f"{name}: expected an id, or the path of a picture, found {checks.brief(given)}"
        f"{': vectors are searched with by search' if vectors else ''}"
    )
