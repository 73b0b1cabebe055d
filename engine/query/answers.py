"""What a search gives back."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, overload

import numpy as np

from engine.collection.snapshot import Item, Snapshot
from engine.query.ask import Query
from engine.query.encode import Asked
from engine.retrieval.searcher import Searcher
from engine.storage.names import printable, shown
from indexers.base import MISSING, Neighbors
from indexers.errors import CorruptCollection, DependencyMissing, NestvecError
from indexers.mask import Mask
from indexers.vectors import FloatArray, IdArray
from indexers.without_own import without_own

if TYPE_CHECKING:
    from pyarrow import Table

SHOWN, WIDEST = 10, 60
"""Lines and letters of a line that are written of answers by `repr`."""


class Answer(NamedTuple):
    """One answer.

    Example:
        >>> for item, score, *_ in engine.Collection.open("photos.nest").search("a red bicycle", k=2):
        ...     print(item.caption, round(score, 1))
        bicycle 0.4
        ...

    Attributes:
        item: what is known of it.
        score: cosine similarity.
        copies: how many others are copies of it; None where copies answer themselves.
        group: the value of its group; None where there are no groups.
        words: BM25; None where no words were looked for.
        fused: what it was ordered by, where words were looked for beside something else; None where not.
    """

    item: Item
    score: float
    copies: int | None = None
    group: Any = None
    words: float | None = None
    fused: float | None = None


@dataclass(frozen=True, eq=False, repr=False)
class Answers:
    """The answers to one query, best first.

    Example:
        >>> answers = engine.Collection.open("photos.nest").search("a red bicycle", k=3)
        >>> answers.captions[0], round(float(answers.scores[0]), 2), len(answers)
        ('bicycle', 0.4, 3)

    Attributes:
        query: what was asked: the text, the path or id; "a picture" for one without a path, None for a vector.
        scores: float32 [k], cosine similarities.
        ids: int64 [k].
        notes: what whoever asked should know, a sentence each: that a text is not in a language the encoder knows.
        copies: of each answer, how many others that may answer are copies of it; None where copies answer themselves.
        groups: of each answer, the value of its group; None where there are no groups.
        cursor: what the next page is asked with, as `after`; None where there is none.
        words: where words were looked for, the BM25 of each answer, float32 [k], 0 where it has none; else None. Where
            nothing else was asked with, answers are ordered by it, and `scores` are NaN.
        fused: where both were, what answers are ordered by, float32 [k]: scores and words on one scale; else None.
    """

    query: str | int | None
    scores: FloatArray
    ids: IdArray
    _snapshot: Snapshot
    _positions: IdArray
    notes: tuple[str, ...] = ()
    copies: list[int] | None = None
    groups: list[Any] | None = None
    cursor: str | None = None
    words: FloatArray | None = None
    fused: FloatArray | None = None
    _searched: Searched | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def __iter__(self) -> Iterator[Answer]:
        for row in range(len(self)):
            yield self[row]

    def __getitem__(self, at: int) -> Answer:
        """Return one answer, the best by 0."""
        at = range(len(self))[at]
        copies = None if self.copies is None else self.copies[at]
        group = None if self.groups is None else self.groups[at]
        words, fused = (None if one is None else float(one[at]) for one in (self.words, self.fused))
        return Answer(self.items[at], float(self.scores[at]), copies, group, words, fused)

    @property
    def ordered_by(self) -> FloatArray:
        """What the answers are ordered by, float32 [k]: cosines, BM25, or both together."""
        return self.scores if self.words is None else self.words if self.fused is None else self.fused

    def __repr__(self) -> str:
        asked = "a vector" if self.query is None else printable(repr(self.query))
        lines = [f"<{len(self)} answer{'' if len(self) == 1 else 's'} to {_cut(asked)}>"]
        for row in range(min(len(self), SHOWN)):
            lines.append(f"  {self.ordered_by[row]:.4f}  {self.ids[row]:>8}  {self._line(row)}".rstrip())
        if len(self) > SHOWN:
            lines.append(f"  … and {len(self) - SHOWN} more")
        return "\n".join(lines)

    @property
    def snapshot(self) -> Snapshot:
        """The version they are of."""
        return self._snapshot

    def _repr_html_(self) -> str:
        """Return them as a notebook shows them, with thumbnails."""
        from engine.query.thumbnails import answers_html

        return answers_html(self)

    def _line(self, row: int) -> str:
        """Say where an answer is; nothing where that cannot be read: whoever looks at it wants no error."""
        try:
            item = self._snapshot.item(int(self._positions[row]))
        except NestvecError:
            return ""
        return "  ".join(_cut(printable(text)) for text in (shown(item.name), item.caption) if text)

    @cached_property
    def items(self) -> list[Item]:
        """What is known of each answer: uri, caption, size, your own columns."""
        return [self._snapshot.item(int(position)) for position in self._positions]

    @property
    def uris(self) -> list[str]:
        """Where each answer is: the path of its file, which can be opened and asked with; of a vector its name.

        Bytes of a path that are not UTF-8 are surrogates in it, as everywhere in Python (`os.fsencode`).
        """
        return [item.uri for item in self.items]

    @property
    def captions(self) -> list[str | None]:
        """The text that came with each answer, if any."""
        return [item.caption for item in self.items]

    @cached_property
    def chance(self) -> FloatArray | None:
        """How likely the best of all that may answer would score so if it had nothing to do with the query, [k].

        Found out when it is asked for: see `query.chance`. None where there are too few items to say.

        Example:
            >>> engine.Collection.open("vectors.nest").search(np.load("vectors.npy")[0], k=1).chance.tolist()
            [0.0]
        """
        if self._searched is None:
            return None
        from engine.query.chance import chances

        searcher, xq, mask, dim = self._searched
        return chances(searcher, xq[0], self._positions, mask, dim)

    def to_arrow(self) -> Table:
        """Return a `pyarrow.Table`: rank, id, uri, score, caption, and the columns of the items."""
        from engine.query.tables import answers_table

        return answers_table([self])

    def to_pandas(self) -> Any:
        """Return a `pandas.DataFrame` of what `to_arrow` returns.

        Raises:
            DependencyMissing: pandas is not installed.
        """
        with requiring("pandas"):
            return self.to_arrow().to_pandas()

    def to_polars(self) -> Any:
        """Return a `polars.DataFrame` of what `to_arrow` returns.

        Raises:
            DependencyMissing: polars is not installed.
        """
        with requiring("polars"):
            import polars

            return polars.from_arrow(self.to_arrow())


@contextmanager
def requiring(package: str) -> Iterator[None]:
    """Let an error of a package that is not installed say how to install it."""
    try:
        yield
    except ImportError as error:
        raise DependencyMissing(f"{package} is not installed, and makes these tables: pip install {package}") from error


def _cut(text: str) -> str:
    return text if len(text) <= WIDEST else f"{text[: WIDEST - 1]}…"


@dataclass(frozen=True, eq=False, repr=False)
class AnswerList(Sequence[Answers]):
    """The answers to several queries, in their order; each is made when it is looked at.

    Example:
        >>> found = engine.Collection.open("photos.nest").search(["a red bicycle", "a bus"], k=2)
        >>> found.ids.shape, [answers.captions[0] for answers in found]
        ((2, 2), ['bicycle', 'bus'])

    Attributes:
        scores: float32 [nq, k], cosine similarities, best first.
        ids: int64 [nq, k]; −1 at the end of a row, and a score of −∞, where an item has fewer others beside it.
    """

    scores: FloatArray
    ids: IdArray
    _names: Sequence[str | int | None]
    _snapshot: Snapshot
    _positions: IdArray
    _notes: Sequence[tuple[str, ...]] = ()
    _shaped: Sequence[Shaped] = ()
    _searched: Searched | None = None

    def __len__(self) -> int:
        return len(self._names)

    def __repr__(self) -> str:
        asked = ", ".join(_cut(printable(repr(name))) for name in self._names[:3] if name is not None)
        asked = f" ({asked}{', …' if len(self) > 3 else ''})" if asked else ""
        queries = "1 query" if len(self) == 1 else f"{len(self)} queries"
        return f"<answers to {queries}{asked}, {self.ids.shape[1]} each>"

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
        notes = self._notes[at] if self._notes else ()
        shaped = self._shaped[at] if self._shaped else NOT_SHAPED
        searched = None if self._searched is None else self._searched.only(range(len(self))[at])
        return Answers(self._names[at], scores, ids, self._snapshot, positions, notes, *shaped, searched)


class Searched(NamedTuple):
    """What answers were searched with.

    Attributes:
        searcher: what searched.
        xq: unit float32 [nq, D].
        mask: which rows might answer; None for all that are live.
        dim: the prefix; None for all numbers.
    """

    searcher: Searcher
    xq: FloatArray
    mask: Mask | None
    dim: int | None

    def only(self, at: int) -> Searched:
        """Return the same of one query."""
        return self._replace(xq=self.xq[at : at + 1])


class Shaped(NamedTuple):
    """What answers have where they were shaped; see `Answers`."""

    copies: list[int] | None
    groups: list[Any] | None
    cursor: str | None
    words: FloatArray | None = None
    fused: FloatArray | None = None


NOT_SHAPED = Shaped(None, None, None)


def answer_all(
    snapshot: Snapshot, searcher: Searcher, asked: Asked, how: Query, mask: Mask | None = None
) -> AnswerList:
    """Search a version, and name what was found.

    Args:
        snapshot: the version.
        searcher: over a space of it.
        asked: what is searched with.
        how: k, plan and all else but its terms.
        mask: which rows its filter lets through; None where it has none.
    """
    xq = searcher.check_queries(asked.xq)
    found = _found(searcher, asked, xq, how, mask)
    check_finite(found, snapshot.root)
    ids = snapshot.ids[found.ids]
    if asked.own:
        ids = np.where(found.ids == MISSING, MISSING, ids)
    searched = Searched(searcher, xq, mask, how.dim)
    return AnswerList(found.scores, ids, asked.names, snapshot, found.ids, asked.notes, (), searched)


def check_finite(found: Neighbors, root: Path) -> None:
    """Refuse answers with a score that no unit vectors have: stored values that are infinite come first.

    Raises:
        CorruptCollection: there are such.
    """
    if found.scores.size and _is_infinite(found):
        raise CorruptCollection(f"{root} holds vectors that are not finite; see `nestvec verify`")


def _is_infinite(found: Neighbors) -> bool:
    """Whether the best answer of a query has no finite score; where there is none, it has none to have."""
    if len(found.ids) == 1:
        return not math.isfinite(found.scores.item(0)) and found.ids.item(0) != MISSING
    return bool((~np.isfinite(found.scores[:, 0]) & (found.ids[:, 0] != MISSING)).any())


def _found(searcher: Searcher, asked: Asked, xq: FloatArray, how: Query, mask: Mask | None) -> Neighbors:
    """Search, and leave items out of their own answers."""
    plan = how.plan_on(searcher.routes)
    most = 0 if how.include_self or not asked.own else max(map(len, asked.own))
    if not most:
        return searcher.search(xq, how.k, plan, dim=how.dim, mask=mask)
    if most == 1:
        own = np.array([rows[0] if rows else MISSING for rows in asked.own])
        return searcher.search(xq, how.k, plan, dim=how.dim, mask=mask, own=own)
    parts = []
    for row, rows in enumerate(asked.own):
        others = Mask.without(searcher.rows, np.array(rows, np.int64))
        others = others if mask is None else others & mask
        parts.append(searcher.search(xq[row : row + 1], how.k, plan, dim=how.dim, mask=others))
    k = max(part.ids.shape[1] for part in parts)
    scores, ids = zip(*(without_own(part, None, k) for part in parts), strict=True)
    return Neighbors(np.concatenate(scores), np.concatenate(ids))
