"""Topics with graded judgements, prefix by prefix."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from engine.evaluation.graded import Qrels, Run, measure
from engine.evaluation.nearest import nearest
from engine.evaluation.representations import Representation
from engine.evaluation.rows import Row, mean_row
from engine.progress import Advance, idle
from indexers.base import MISSING
from indexers.errors import InvalidInput

TABLE = "trec"
DEPTH = 1000
"""Answers a topic in a run, as at TREC."""

Keep = Callable[[str, int, Run], None]


def trec_table(
    representations: Iterable[Representation],
    topics: Sequence[str],
    documents: Sequence[str],
    qrels: Qrels,
    dims: Sequence[int],
    *,
    depth: int = DEPTH,
    keep: Keep | None = None,
    advance: Advance = idle,
) -> list[Row]:
    """Measure ranked lists against graded judgements.

    Args:
        representations: each with one query set, the topics' texts.
        topics: their ids, in the order of the query set.
        documents: what the judgements call each row of the base, [n].
        qrels: the judgements; every query in them counts (`graded.measure`).
        dims: prefix dimensions.
        depth: answers a topic.
        keep: is given each run: representation, prefix, scores by topic and document.
        advance: hears of every prefix that is done.

    Returns:
        a row for each of `graded.MEASURES`, representation and prefix.

    Raises:
        InvalidInput: ids and query vectors, or names and rows, are not as many.
    """
    rows: list[Row] = []
    for one in representations:
        (queries,) = one.queries
        if len(topics) != len(queries.xq) or len(documents) != len(one.base):
            raise InvalidInput(f"{one.name}: expected an id for each topic and a name for each row")
        for dim in one.measured(dims):
            found = nearest(one, queries, dim, depth)
            run = {
                topic: {documents[row]: float(score) for score, row in zip(scores, ids, strict=True) if row != MISSING}
                for topic, scores, ids in zip(topics, *found, strict=True)
            }
            rows += run_rows(one.name, dim, run, qrels)
            if keep is not None:
                keep(one.name, dim, run)
            advance(1)
    return rows


def run_rows(name: str, dim: int, run: Run, qrels: Qrels) -> list[Row]:
    """Return the figures of one run.

    Raises:
        InvalidInput: none of its queries is judged.
    """
    if not any(query in qrels for query in run):
        raise InvalidInput(
            f"{name}: none of its queries is judged: it answers {next(iter(run), None)!r}, …, "
            f"and the judgements speak of {next(iter(qrels), None)!r}, …"
        )
    figures = measure(run, qrels)
    return [mean_row(TABLE, name, "texts", dim, metric, np.array(values)) for metric, values in figures.items()]
