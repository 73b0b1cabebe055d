"""A mask says the same to NumPy, to FAISS and to the compiled searches, however it was made."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from indexers.base import Neighbors
from indexers.errors import InvalidInput
from indexers.mask import Allowed, Mask
from indexers.without_own import without_own

ALLOWED = st.integers(0, 70).flatmap(lambda n: arrays(bool, n))


def check(mask: Mask, allowed: Allowed) -> None:
    assert (len(mask), mask.rows, mask.count) == (len(allowed), len(allowed), int(allowed.sum()))
    np.testing.assert_array_equal(mask.allowed, allowed)
    np.testing.assert_array_equal(mask.numbers, np.flatnonzero(allowed))
    if mask.bits is None:
        assert allowed.all()
        assert mask.selector is None
    else:
        assert mask.selector is not None
        assert [bool(mask.selector.is_member(row)) for row in range(len(allowed))] == allowed.tolist()


@given(ALLOWED)
def test_it_says_what_it_was_made_of(allowed: Allowed) -> None:
    check(Mask.of(allowed), allowed)
    check(Mask.without(len(allowed), np.flatnonzero(~allowed)), allowed)
    check(Mask.every(len(allowed)), np.ones(len(allowed), dtype=bool))


@given(ALLOWED, st.data())
def test_both_are_both(one: Allowed, data: st.DataObject) -> None:
    other = data.draw(arrays(bool, len(one)))
    check(Mask.of(one) & Mask.of(other), one & other)


@given(ALLOWED, st.data())
def test_a_part_is_a_mask_of_its_own(allowed: Allowed, data: st.DataObject) -> None:
    first = data.draw(st.integers(0, len(allowed)))
    stop = data.draw(st.integers(first, len(allowed)))
    mask = Mask.of(allowed)
    check(mask.part(first, stop), allowed[first:stop])
    if mask.bits is not None:
        assert mask.part(first, stop) is mask.part(first, stop), "made once"


def test_what_names_no_row_is_passed_over() -> None:
    check(Mask.without(3, np.array([-1, 1, 3, 99])), np.array([True, False, True]))


@pytest.mark.parametrize("odd", [None, [True], np.ones(3), np.ones((2, 2), bool), "rows"])
def test_it_is_made_of_booleans(odd: object) -> None:
    with pytest.raises(InvalidInput, match="a mask is made of bool"):
        Mask.of(odd)  # type: ignore[arg-type]


def test_masks_of_other_rows_are_refused() -> None:
    with pytest.raises(InvalidInput, match="a mask of 4 rows was given for 5 rows"):
        Mask.every(5) & Mask.every(4)


@given(st.integers(1, 6), st.integers(1, 9), st.integers(1, 9), st.data())
def test_a_query_is_left_out_of_its_own_answers(nq: int, asked: int, k: int, data: st.DataObject) -> None:
    ids = np.array([data.draw(st.permutations(range(12))) for _ in range(nq)])[:, :asked].astype(np.int64)
    ids[:, asked - data.draw(st.integers(0, asked - 1)) :] = -1
    scores = np.where(ids < 0, -np.inf, -np.arange(asked)[None, :]).astype(np.float32)
    own = np.array(data.draw(st.lists(st.integers(-1, 11), min_size=nq, max_size=nq)))
    found = without_own(Neighbors(scores, ids), own, k)
    assert found.ids.shape == found.scores.shape == (nq, k)
    for query in range(nq):
        kept = [(i, s) for i, s in zip(ids[query], scores[query], strict=True) if i >= 0 and i != own[query]][:k]
        kept += [(-1, -np.inf)] * (k - len(kept))
        assert list(zip(found.ids[query], found.scores[query], strict=True)) == kept
