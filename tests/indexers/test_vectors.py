"""The algebra of vectors, and what is refused."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from indexers.errors import InvalidInput, InvalidVectors
from indexers.vectors import FloatArray, as_float32, as_matrix, as_queries, normalize, truncate
from tests.conftest import structured, unit


@st.composite
def matrices(draw: st.DrawFn) -> FloatArray:
    """Rows that have a direction, of lengths from tiny to huge, some with zeros in front."""
    n, D = draw(st.integers(1, 5)), draw(st.integers(1, 12))
    x = draw(arrays(np.float32, (n, D), elements=st.floats(-1, 1, width=16)))
    x[:, -1] += np.where(np.linalg.norm(x, axis=1) < 1e-2, 1.0, 0.0).astype(np.float32)
    x[:, -1] += np.where(np.linalg.norm(x, axis=1) < 1e-2, 1.0, 0.0).astype(np.float32)
    x *= np.float32(draw(st.sampled_from([1e-9, 1e-3, 1.0, 1e5, 1e18, 1e30])))
    return x


@given(matrices())
def test_normalize_gives_unit_rows_of_the_same_direction(x: FloatArray) -> None:
    made = normalize(x)
    assert made.dtype == np.float32
    np.testing.assert_allclose(made, unit(x), rtol=0, atol=1e-6)
    np.testing.assert_allclose(normalize(made), made, rtol=0, atol=1e-6)


@given(matrices(), st.data())
def test_truncate_is_a_unit_prefix_and_idempotent(x: FloatArray, data: st.DataObject) -> None:
    rows = normalize(x)
    d = data.draw(st.integers(1, x.shape[1]))
    prefix = truncate(rows, d)
    assert prefix.shape == (len(x), d)
    assert prefix.flags.c_contiguous
    lengths = np.linalg.norm(prefix.astype(np.float64), axis=1)
    empty = ~rows[:, :d].any(axis=1)
    assert (lengths[empty] == 0).all()
    squares_fit = np.linalg.norm(rows[:, :d].astype(np.float64), axis=1) > 1e-18
    np.testing.assert_allclose(lengths[squares_fit], 1, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(truncate(prefix, d), prefix)
    np.testing.assert_allclose(
        truncate(normalize(prefix[~empty & squares_fit]), d), prefix[~empty & squares_fit], rtol=0, atol=1e-6
    )


@given(matrices(), st.data())
def test_a_prefix_of_a_prefix_is_the_shorter_prefix(x: FloatArray, data: st.DataObject) -> None:
    rows = normalize(x)
    longer = data.draw(st.integers(1, x.shape[1]))
    shorter = data.draw(st.integers(1, longer))
    kept = np.linalg.norm(rows[:, :shorter].astype(np.float64), axis=1) > 1e-15
    twice = truncate(truncate(rows, longer), shorter)
    np.testing.assert_allclose(twice[kept], truncate(rows, shorter)[kept], rtol=0, atol=1e-6)


@pytest.mark.parametrize("n", [0, 1, 10])
def test_arguments_are_left_alone(n: int) -> None:
    """The prefix of a single row is contiguous in it, and must not be scaled there."""
    x = structured(10, 8, seed=0).xb[:n].copy()
    before = x.copy()
    x.flags.writeable = False
    assert truncate(x, 8) is x
    for d in range(1, 8):
        made = truncate(x, d)
        assert made.flags.writeable
        assert not np.shares_memory(made, x)
    normalize(x)
    np.testing.assert_array_equal(x, before)


def test_very_short_prefixes_are_scaled_like_any_other() -> None:
    """FAISS scales the queries' prefixes whatever their length; the rows must be treated alike."""
    x = unit(np.array([[3e-14, 4e-14, 1.0], [0, 0, 1]]))
    np.testing.assert_allclose(truncate(x, 2), [[0.6, 0.8], [0, 0]], rtol=1e-5)


@pytest.mark.parametrize("d", [0, -1, 9])
def test_truncate_refuses_what_is_no_prefix(d: int) -> None:
    with pytest.raises(InvalidVectors, match=f"prefix of {d} dimensions"):
        truncate(structured(4, 8, seed=0).xb, d)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        ([[1.0, np.nan]], "row 0 has NaN"),
        ([[1.0, 2.0], [np.inf, 1.0]], "row 1 has NaN or infinite"),
        # The sum of these is NaN, which must not be a warning of NumPy's instead.
        ([[np.inf, -np.inf]], "row 0 has NaN or infinite"),
        ([[1.0, 2.0, 3.0]], "expected 2 dimensions, found 3"),
        ([], "expected 2 dimensions, found 0"),
        (5.0, r"expected shape \[n, D\]"),
        (np.ones((1, 2, 2)), r"expected shape \[n, D\]"),
        ([[1.0, 2.0], [1.0]], "rows of one length"),
        ([["a", "b"]], "expected real numbers"),
        (None, "expected real numbers"),
        ([[True, False]], "expected real numbers"),
        ([[1j, 0]], "expected real numbers"),
        (np.array([[1, 2]], dtype="datetime64[s]"), "expected real numbers"),
    ],
)
def test_as_matrix_says_what_it_refuses(x: Any, message: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(InvalidVectors, match=message):
            as_matrix(x, dim=2)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.longdouble, np.int8, np.uint64, ">f4"])
def test_as_matrix_takes_any_real_dtype_and_layout(dtype: Any) -> None:
    x = np.arange(12).reshape(3, 4)
    for array in (x.astype(dtype), np.asfortranarray(x.astype(dtype)), x.astype(dtype)[:, ::-1][:, ::-1]):
        made = as_matrix(array)
        assert made.dtype == np.float32
        assert made.dtype.isnative
        assert made.flags.c_contiguous
        np.testing.assert_array_equal(made, x)


def test_as_matrix_makes_one_row_of_a_vector_and_copies_nothing_needlessly() -> None:
    x = structured(3, 4, seed=0).xb
    assert as_matrix(x) is x
    assert as_matrix(x[0].tolist(), dim=4).shape == (1, 4)
    assert as_matrix(np.empty((0, 4)), dim=4).shape == (0, 4)


@pytest.mark.parametrize("beside", [1.0, 1e30])
def test_normalize_refuses_rows_without_direction(beside: float) -> None:
    """The answer must not depend on what other rows there are."""
    x = np.array([[beside, 0.0], [0.0, 0.0]], dtype=np.float32)
    with pytest.raises(InvalidVectors, match="row 1 has length zero"):
        normalize(x)
    with pytest.raises(InvalidInput, match="queries: row 0"):
        normalize(x[1:], name="queries")


@settings(max_examples=60)
@given(st.floats(-307, 307), st.sampled_from([np.float32, np.float64, np.longdouble]))
def test_a_row_of_any_length_is_a_direction(exponent: float, dtype: type) -> None:
    if dtype is np.float32 and not -36 < exponent < 37:
        return
    x = np.array([[3.0, 4.0], [1.0, 0.0]]) * np.array([[10.0**exponent], [1.0]])
    for queries in (x.astype(dtype), x[:1].astype(dtype), x[0].astype(dtype)):
        made = as_queries(queries, name="x", dim=2)
        np.testing.assert_allclose(made[0], [0.6, 0.8], rtol=1e-5)
    np.testing.assert_allclose(normalize(as_matrix(x.astype(dtype))), [[0.6, 0.8], [1, 0]], rtol=1e-5)


@pytest.mark.parametrize("least", [np.float32(1e-45), 5e-324, np.nextafter(np.longdouble(0), np.longdouble(1))])
def test_the_smallest_numbers_there_are_have_a_direction(least: Any) -> None:
    np.testing.assert_array_equal(normalize(as_matrix(np.array([[least, 0]]))), [[1, 0]])


def test_an_ordinary_row_is_the_same_bit_for_bit_whatever_is_beside_it() -> None:
    x = structured(50, 8, seed=0).xb * np.float32(3.7)
    alone = x / np.sqrt(np.einsum("ij,ij->i", x, x, dtype=np.float32))[:, None]
    np.testing.assert_array_equal(normalize(x), alone)
    for odd in (1e-300, 1e-38, 1e25, 1e300):
        beside = as_float32(np.vstack([x.astype(np.float64), np.full((1, 8), odd)]))
        np.testing.assert_array_equal(beside[:-1], x)
        np.testing.assert_array_equal(normalize(beside)[:-1], alone)


def test_what_is_not_finite_stays_so() -> None:
    odd = as_float32(np.array([[np.nan, 1e-300], [np.inf, 1], [-np.inf, 1e300], [0, 0]]))
    assert np.isfinite(odd).all(axis=1).tolist() == [False, False, False, True]


@pytest.mark.parametrize("shape", [(1, 9), (9,), (3, 9)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16])
def test_queries_are_checked_and_normalised_whichever_way(shape: tuple[int, ...], dtype: type) -> None:
    x = (100 * structured(3, 9, seed=2).xb[: shape[0] if len(shape) > 1 else 1].reshape(shape)).astype(dtype)
    found = as_queries(x, name="queries", dim=9)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, normalize(as_matrix(x)), rtol=3e-7)


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("rows", [1, 2])
def test_queries_without_direction_are_refused(value: float, rows: int) -> None:
    x = np.zeros((rows, 4), np.float32)
    x[-1, 2] = value
    x[0, 0] = 1 if rows > 1 else 0
    with pytest.raises(InvalidVectors):
        as_queries(x, name="queries", dim=4)


@given(st.floats(-37, 37))
def test_queries_of_any_length_keep_their_direction(exponent: float) -> None:
    x = structured(1, 8, seed=3).xb * np.float32(10.0**exponent)
    if not 1e-12 < np.linalg.norm(x.astype(np.float64)) < 1e37:
        return
    np.testing.assert_allclose(as_queries(x, name="queries", dim=8), structured(1, 8, seed=3).xb, rtol=1e-5)


def test_queries_of_another_shape_are_refused() -> None:
    for wrong in (np.ones((1, 5), np.float32), np.ones((1, 1, 4), np.float32), np.ones(5, np.float32), "text"):
        with pytest.raises(InvalidVectors):
            as_queries(wrong, name="queries", dim=4)
