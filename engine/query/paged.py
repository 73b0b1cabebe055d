"""Answers that are shaped: each query by itself, over all rows in the order of their scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from engine.collection.snapshot import Snapshot
from engine.query.answers import AnswerList, Searched, Shaped
from engine.query.ask import Query
from engine.query.cursor import Cursor
from engine.query.encode import Asked
from engine.query.ranking import Ranking
from engine.query.shape import Shape
from engine.query.shaped import BLOCK, ROUNDING, Chosen, choose, sorted_by
from engine.query.values import Values
from engine.retrieval.searcher import Searcher
from indexers.base import MISSING
from indexers.errors import InvalidInput
from indexers.mask import Mask
from indexers.vectors import FloatArray, normalize

if TYPE_CHECKING:
    from engine.query.keywords import Keywords
    from engine.query.where.columns import Columns

SLACK = 5e-3
"""By how much a score of what is stored in half precision may lie below the cosine."""


def answer_shaped(
    snapshot: Snapshot,
    searcher: Searcher,
    asked: Asked,
    queries: Sequence[Query],
    mask: Mask | None,
    columns: Columns | None,
    keywords: Keywords | None = None,
) -> AnswerList:
    """Search a version, and shape what was found.

    Args:
        snapshot: the version.
        searcher: over a space of it.
        asked: what is searched with.
        queries: the questions, which differ in their terms alone.
        mask: which rows their filter lets through; None where they have none.
        columns: of the version; None where no column is asked for.
        keywords: words of the version; None where none are looked for.

    Raises:
        InvalidInput: vectors have no such prefix, a cursor of another question, or `at_least` of which nothing is said.
    """
    xq = searcher.check_queries(asked.xq) if len(asked.xq) else asked.xq
    if len(xq) and (plan := queries[0].plan_on(searcher.routes)) is not None:
        searcher.routes.last_dim(plan, queries[0].dim)  # before anything is worked out by so many numbers
    found = []
    for number, (query, own) in enumerate(zip(queries, _own(asked, queries), strict=True)):
        ranking = Ranking(
            snapshot, searcher, xq[number : number + 1], query, without(mask, own, searcher.rows), keywords
        )
        found.append(_shaped(ranking, columns, mask))
    most = max((len(one.rows) for one, *_ in found), default=0)
    scores = np.full((len(found), most), -np.inf, dtype=np.float32)
    positions = np.full((len(found), most), MISSING, dtype=np.int64)
    for number, (one, _, own_scores) in enumerate(found):
        scores[number, : len(one.rows)], positions[number, : len(one.rows)] = own_scores, one.rows
    ids = np.where(positions == MISSING, MISSING, snapshot.ids[positions] if positions.size else positions)
    searched = Searched(searcher, xq, mask, queries[0].dim if queries else None) if len(xq) else None
    shaped = [one for _, one, _ in found]
    return AnswerList(scores, ids, asked.names, snapshot, positions, asked.notes, shaped, searched)


def _own(asked: Asked, queries: Sequence[Query]) -> Sequence[Sequence[int]]:
    """Return the rows that each query is of, and that must not answer it."""
    return asked.own if asked.own and not queries[0].include_self else [()] * len(queries)


def without(mask: Mask | None, rows: Sequence[int], count: int) -> Mask | None:
    """Return a mask without the rows that are asked with."""
    if not rows:
        return mask
    others = Mask.without(count, np.array(rows, dtype=np.int64))
    return others if mask is None else others & mask


def _shaped(ranking: Ranking, columns: Columns | None, mask: Mask | None) -> tuple[Chosen, Shaped, FloatArray]:
    """Answer one query: the rows, what they were shaped by, and their cosines.

    Args:
        ranking: the rows that may answer it.
        columns: of the version; None where no column is asked for.
        mask: what the filter lets through, the rows that are asked with among them.
    """
    query, snapshot, searcher = ranking.query, ranking.snapshot, ranking.searcher
    shape, digest = query.shape, f"{query.digest}/{searcher.space}"
    if shape.after is not None:
        begun = Cursor.parse(shape.after)
        if begun.digest != digest:
            raise InvalidInput("the cursor is of another question: what differs between its pages is k alone")
        shape = replace(shape, after=None, pages=True, offset=begun.offset)
    grouped = Values(columns, shape.group_by) if columns is not None and shape.group_by is not None else None
    if shape.at_least is not None:
        ranking = ranking.among(_unlikely(ranking, shape.at_least, mask))
    found = choose(ranking.ranked(), query.k, shape, searcher.vectors, grouped, scaled=not len(ranking.xq))
    more = shape.offset + (len(dict.fromkeys(found.groups)) if grouped is not None else len(found.rows))
    cursor = str(Cursor(snapshot.manifest.version, more, digest)) if found.more and shape.pages else None
    if columns is not None and shape.sort is not None:
        values = Values(columns, shape.sort.removeprefix("-"))
        found = sorted_by(found, [values(row) for row in found.rows], largest=shape.sort.startswith("-"))
    copies = None
    if shape.distinct is not None:
        copies = [_copies(snapshot, searcher, row, shape.distinct, ranking.mask) for row in found.rows]
    scores = ranking.scored(found.rows, found.scores)
    groups = None if grouped is None else found.groups
    return found, Shaped(copies, groups, cursor, scores.words, scores.fused), scores.cosines


def _unlikely(ranking: Ranking, at_least: float | str, mask: Mask | None) -> Mask:
    """Return which rows are as unlikely to answer a query by chance as it asks for.

    They are those that lie far enough along one direction: a search for it, down to the score that is enough, finds all
    of them, and by the bounds of exact search without looking at the others. Chance is that beside what the filter lets
    through, as it is told of the answers: an item that is asked with draws no rows anew.
    """
    from engine.query.chance import cut_of

    if not len(ranking.xq):
        raise InvalidInput("at_least is of vectors, and words alone have none")
    snapshot, searcher = ranking.snapshot, ranking.searcher
    cut = cut_of(searcher, ranking.xq[0], at_least, mask, ranking.query.dim)
    dim = cut.beside.background.dim
    along, floor = cut.beside.floor(cut.least)
    whole = np.zeros((1, searcher.dim), np.float32)
    whole[0, : len(along)] = along
    # Of what is stored in half precision first more than enough, and then by what is said of it.
    near = Query(
        exact=True, dim=None if dim == searcher.dim else dim, shape=Shape(min_score=min(1.0, max(-1.0, floor - SLACK)))
    )
    found = Ranking(snapshot, searcher, whole, near, ranking.mask).ranked()
    rows = np.array([row for row, _ in found], np.int64)
    unlikely = np.zeros(searcher.rows, bool)
    for start in range(0, len(rows), BLOCK):
        block = rows[start : start + BLOCK]
        unlikely[block[cut.keeps(searcher.vectors(block))]] = True
    return Mask.of(unlikely)


def _copies(snapshot: Snapshot, searcher: Searcher, row: int, least: float, mask: Mask | None) -> int:
    """Return how many other rows that may answer are copies of a row."""
    unit = normalize(searcher.vectors([row]))
    # What is stored in half precision is not quite of unit length: first more than enough, and of those the cosines.
    near = Query(exact=True, shape=Shape(min_score=max(-1.0, least - SLACK)))
    rows = [other for other, _ in Ranking(snapshot, searcher, unit, near, mask).ranked() if other != row]
    blocks = (rows[start : start + BLOCK] for start in range(0, len(rows), BLOCK))
    return sum(int((normalize(searcher.vectors(block)) @ unit[0] >= least - ROUNDING).sum()) for block in blocks)
