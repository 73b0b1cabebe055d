"""What words count beside vectors, found on judged topics."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.collection import changes
from engine.collection.commit import commit
from engine.collection.plans import Blend
from engine.evaluation import trec
from engine.evaluation.collected import documents
from engine.evaluation.few import warn_of_few
from engine.evaluation.graded import Judged, ndcg
from engine.progress import Listener, over_rows
from engine.query.ask import Query
from engine.query.keywords import Keywords
from engine.query.ranking import Ranking
from engine.query.reader import Reader
from engine.query.terms import Term
from engine.storage.disk import writing

WEIGHTS = np.linspace(0, 1, 21)
DEPTH, CUT = 1000, 10
DRAWS, SEED = 1000, 0


def tune_blend(opened: Reader, topics: Path, qrels: Path, listener: Listener) -> Blend:
    """Find the weight with the best nDCG@10, and search by it from now on.

    Args:
        opened: the collection and the space.
        topics: a file of TREC topics.
        qrels: a file of judgements, of items by path or id.
        listener: hears how far it is.

    Returns:
        the weight, with its interval by the bootstrap (Efron 1979) over topics. What both together reach is measured on
        each half of the topics with the weight that the other half chose.

    Raises:
        SourceError, InvalidInput: the files cannot be read, or do not fit together.
    """
    texts, judged = trec.read_topics(topics), trec.read_qrels(qrels)
    names = trec.common(texts, judged, str(topics))
    warn_of_few(len(names), "judged queries", listener)
    rows = opened.snapshot.live.numbers
    called_in_order, absent = documents(opened.snapshot, rows, judged)
    called = dict(zip(rows.tolist(), called_in_order, strict=True))
    if absent:
        listener.say(f"{absent} judged documents are not in the collection, and count as not found")
    keywords, xq = Keywords(opened.snapshot), opened.encode_texts([texts[name] for name in names])
    values = np.empty((len(names), len(WEIGHTS)))
    with over_rows(listener, "topics", len(names)) as advance:
        for number, name in enumerate(names):
            query = Query((Term.of_text(texts[name]),), exact=True).with_words(texts[name])
            asked = xq[number : number + 1]
            ranking = Ranking(opened.snapshot, opened.searcher, asked, query, None, keywords)
            values[number] = values_of(ranking, called, judged[name])
            advance(1)
    found = blend_of(values)
    with writing(opened.root):
        commit(opened.root, changes.found_out(opened.root, opened.space_name, blend=found), operation="words")
    return found


def values_of(ranking: Ranking, called: Mapping[int, str], judged: Judged) -> NDArray[np.float64]:
    """Return the nDCG of one query with words by weight.

    Args:
        ranking: the rows that may answer it.
        called: what judgements call each row.
        judged: the judgements of the query.
    """
    rows, near, words = ranking.candidates(DEPTH)
    found = np.empty(len(WEIGHTS))
    for at, weight in enumerate(WEIGHTS):
        order = np.lexsort((rows, -((1 - weight) * near + weight * words)))[:CUT]
        found[at] = ndcg([called[row] for row in rows[order].tolist()], judged, CUT)
    return found


def blend_of(values: NDArray[np.float64]) -> Blend:
    """Choose a weight.

    Args:
        values: nDCG by topic and weight, float64 [topics, WEIGHTS].
    """
    rng, topics = np.random.default_rng(SEED), len(values)
    draws = rng.integers(0, topics, (DRAWS, topics))
    low, high = np.quantile([_best(values[draw].mean(axis=0)) for draw in draws], [0.025, 0.975])
    halves = values[::2], values[1::2] if topics > 1 else values
    both = [other[:, _best(one.mean(axis=0)) == WEIGHTS].ravel() for one, other in (halves, halves[::-1])]
    means = values.mean(axis=0)
    ndcg_by = {"vectors": means[0], "words": means[-1], "both": np.concatenate(both).mean()}
    return Blend(_best(means), float(low), float(high), topics, {name: float(one) for name, one in ndcg_by.items()})


def _best(means: NDArray[np.float64]) -> float:
    """Return the weight of the best mean; of several the one in their middle."""
    at = np.flatnonzero(means >= means.max() - 1e-12)
    return float(WEIGHTS[at[len(at) // 2]])
