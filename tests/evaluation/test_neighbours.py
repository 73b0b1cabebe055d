"""Neighbour recall against its definition."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from engine.evaluation.nearest import nearest, scores_of, without_own
from engine.evaluation.neighbours import neighbour_table
from engine.evaluation.representations import Representation, represent
from engine.planning.queries import QuerySet
from indexers.base import MISSING, Neighbors
from indexers.errors import InvalidInput, InvalidVectors
from tests.evaluation.made import DIM, items, orders, standard_error
from tests.helpers import clustered


@pytest.mark.parametrize("own", [True, False])
@pytest.mark.parametrize(("k", "shortlist"), [(1, 1), (5, 20)])
def test_both_recalls_are_what_they_say(own: bool, k: int, shortlist: int) -> None:
    one = items()
    if not own:
        one = replace(one, queries=(QuerySet("texts", clustered(25, DIM, 9)),))
    rows = neighbour_table([one], [2, 4, 8, DIM], k, shortlist)
    truth = orders(one, DIM)
    for dim in (2, 4, 8, DIM):
        by_prefix = orders(one, dim)
        for metric, cut in ((f"recall@{k}", k), (f"recall@{k} in {shortlist}", shortlist)):
            values = [len(set(a[:k]) & set(b[:cut])) / k for a, b in zip(truth, by_prefix, strict=True)]
            (row,) = [row for row in rows if (row.dim, row.metric) == (dim, metric)]
            assert row.value == pytest.approx(sum(values) / len(values))
            assert row.error == pytest.approx(standard_error(values))
            assert (row.count, row.queries, row.rerank) == (len(values), one.queries[0].name, None)


def test_at_full_dimension_everything_is_found() -> None:
    base = clustered(200, DIM)
    asked = QuerySet("items", base[:40], np.arange(40))
    for row in neighbour_table(represent(base, [asked]), [DIM], 10, 50):
        assert row.value == 1.0, row


def test_a_query_is_never_its_own_answer() -> None:
    one = items()
    own = one.queries[0].own
    assert own is not None
    for dim in (1, 4, DIM):
        found = nearest(one, one.queries[0], dim, 10)
        assert (found.ids != own[:, None]).all()
        assert [row.tolist() for row in found.ids] == [order[:10] for order in orders(one, dim)] or dim == 1


def test_copies_of_a_query_do_answer_it() -> None:
    base = np.repeat(clustered(5, DIM), 4, axis=0)
    one = Representation("copies", base, (QuerySet("items", base[:8], np.arange(8)),))
    found = nearest(one, one.queries[0], DIM, 3)
    assert (found.ids // 4 == np.arange(8)[:, None] // 4).all()
    assert (found.ids != np.arange(8)[:, None]).all()
    # Which of the copies a prefix finds first is chance, and all are right.
    assert all(row.value == 1.0 for row in neighbour_table([one], [DIM], 2, 2))


def test_more_neighbours_than_there_are() -> None:
    base = clustered(4, DIM)
    one = Representation("few", base, (QuerySet("items", base, np.arange(4)),))
    found = nearest(one, one.queries[0], DIM, 5)
    assert (found.ids[:, 3:] == MISSING).all() and np.isneginf(found.scores[:, 3:]).all()
    assert (found.ids[:, :3] != MISSING).all()
    assert all(row.value == 1.0 for row in neighbour_table([one], [2, DIM], 5, 10))


def test_taking_out_what_is_not_there_leaves_the_best() -> None:
    found = Neighbors(np.array([[3, 2, 1], [3, 2, 1]], np.float32), np.array([[7, 8, 9], [7, 8, 9]]))
    assert without_own(found, np.array([8, 5]), 2).ids.tolist() == [[7, 9], [7, 8]]
    assert without_own(found, None, 2).ids.tolist() == [[7, 8], [7, 8]]
    assert without_own(found, np.array([8, 5]), 3).ids.tolist() == [[7, 9, MISSING], [7, 8, 9]]


def test_scores_of_given_rows() -> None:
    base, xq = clustered(9, DIM), clustered(2, DIM, 1)
    scores = scores_of(base, xq, np.array([[0, MISSING], [8, 1]]))
    assert scores[0, 0] == pytest.approx(float(base[0] @ xq[0]), abs=1e-6)
    assert np.isneginf(scores[0, 1])
    assert scores[1, 1] == pytest.approx(float(base[1] @ xq[1]), abs=1e-6)


def test_one_query_has_no_standard_error() -> None:
    base = clustered(9, DIM)
    rows = neighbour_table([Representation("one", base, (QuerySet("texts", base[:1]),))], [4], 2, 3)
    assert [row.error for row in rows] == [None, None]


def test_what_measures_nothing() -> None:
    one = items()
    for k, shortlist, said in ((0, 10, "k must be at least 1"), (10, 9, "at least k = 10 rows, found 9")):
        with pytest.raises(InvalidInput, match=said):
            neighbour_table([one], [4], k, shortlist)
    with pytest.raises(InvalidInput, match="no texts to ask with"):
        neighbour_table([replace(one, queries=(QuerySet("texts", one.base[:0]),))], [4])
    with pytest.raises(InvalidVectors):
        neighbour_table([one], [0])
