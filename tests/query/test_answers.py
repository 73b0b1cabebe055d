"""Answers to several queries: matrices for who wants numbers, one by one for who wants names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from engine import AnswerList, Answers, Collection
from indexers.base import MISSING
from indexers.exact import exact_search
from tests.conftest import structured

ROWS, D = 200, 16


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Collection]:
    data = structured(ROWS, D, seed=3)
    with Collection.create(tmp_path / "c.nest", encoder="precomputed", dim=D) as made:
        made.add_vectors(data.xb)
        made.build()
        yield made


def test_several_queries_give_matrices_and_each_its_answers(opened: Collection) -> None:
    data = structured(ROWS, D, seed=3)
    found = opened.search(data.xq[:5], k=4, exact=True)
    assert isinstance(found, AnswerList) and len(found) == 5
    assert found.ids.shape == found.scores.shape == (5, 4)
    assert found.ids.dtype == np.int64 and found.scores.dtype == np.float32
    truth = exact_search(data.xb.astype(np.float16).astype(np.float32), data.xq[:5], 4).ids
    np.testing.assert_array_equal(found.ids, truth)
    for i, one in enumerate(found):
        assert isinstance(one, Answers) and one.query is None and len(one) == 4
        np.testing.assert_array_equal(one.ids, found.ids[i])
        np.testing.assert_array_equal(one.scores, found.scores[i])
        assert [item.id for item in one.items] == one.ids.tolist()
    assert [one.ids.tolist() for one in found[1:3]] == found.ids[1:3].tolist()
    assert found[-1].ids.tolist() == found.ids[-1].tolist()
    with pytest.raises(IndexError):
        found[5]


def test_no_query_has_no_answers(opened: Collection) -> None:
    for found in (opened.search([]), opened.search(np.empty((0, D))), opened.similar([])):
        assert isinstance(found, AnswerList) and list(found) == []
        assert len(found.ids) == len(found.scores) == 0


def test_items_are_not_among_their_own_answers(opened: Collection) -> None:
    found = opened.similar([7, 3], k=5)
    assert [one.query for one in found] == [7, 3]
    assert found.ids.shape == (2, 5) and 7 not in found.ids[0] and 3 not in found.ids[1]
    with_self = opened.similar([7, 3], k=6, include_self=True)
    assert with_self.ids[:, 0].tolist() == [7, 3]
    np.testing.assert_array_equal(found.ids, with_self.ids[:, 1:])


def test_where_there_are_fewer_others_than_asked_for(opened: Collection) -> None:
    found = opened.similar([7, 3], k=ROWS + 5)
    assert (found.ids[:, -1] == MISSING).all() and np.isneginf(found.scores[:, -1]).all()
    for asked, one in zip((7, 3), found, strict=True):
        assert sorted(one.ids) == [row for row in range(ROWS) if row != asked]
        assert np.isfinite(one.scores).all() and len(one.items) == ROWS - 1


@pytest.mark.parametrize("rows", [1, 3])
def test_one_item_alone_is_like_nothing(tmp_path: Path, rows: int) -> None:
    with Collection.create(tmp_path / "c.nest", encoder="precomputed", dim=D) as made:
        made.add_vectors(structured(40, D, seed=3).xb[:rows])
        made.remove(ids=range(1, rows)) if rows > 1 else None
        for exact in (False, True):
            assert len(made.similar(0, k=1, exact=exact)) == 0
            assert [len(one) for one in made.similar([0, 0], k=2, exact=exact)] == [0, 0]
            assert made.similar(0, k=1, exact=exact, include_self=True).ids.tolist() == [0]
