"""Places between two poles, compared with NumPy, and columns of which each item has its own value."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from engine.api import Collection
from engine.query.between import pole, told_of_poles
from engine.query.terms import Term
from indexers.errors import InvalidInput, ItemNotFound, ModalityError
from indexers.vectors import normalize
from tests.helpers import clustered

N, DIM = 500, 12
X = normalize(clustered(N, DIM, seed=5))


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Collection]:
    with Collection.create(tmp_path / "c.nest", encoder="precomputed", dim=DIM, dtype="float32") as made:
        made.add_vectors(X[:400], names=[f"r{row}" for row in range(400)], meta=[{"n": row} for row in range(400)])
        made.build(["flat@6"])
        made.add_vectors(X[400:], names=[f"r{row}" for row in range(400, N)])
        made.remove(["r7", "r450"])
        yield made


LIVE = np.setdiff1d(np.arange(N), [7, 450])


def expected(low: Any, high: Any, rows: Any) -> Any:
    """Project on the line between the poles, which are 0 and 1."""
    low, high = (np.asarray(one, np.float64) / np.linalg.norm(one) for one in (low, high))
    along = X[rows].astype(np.float64) @ (high - low)
    return (along - low @ (high - low)) / (high @ (high - low) - low @ (high - low))


def test_places_are_the_projection(made: Collection) -> None:
    found = made.between([1, "r2"], [3, 4, 5])
    assert found.column_names == ["id", "between", "share"]
    rows = found["id"].to_numpy()
    assert rows.tolist() == LIVE.tolist()  # ids are given in order, and nothing was replaced
    wanted = expected(X[1] + X[2], X[3] + X[4] + X[5], rows)
    np.testing.assert_allclose(found["between"].to_numpy(), wanted, atol=1e-6)
    lower = np.array([(wanted < one - 1e-7).sum() for one in wanted]) / (len(rows) - 1)
    np.testing.assert_allclose(found["share"].to_numpy(), lower, atol=1.5 / len(rows))
    assert found["share"].to_numpy().min() == 0 and found["share"].to_numpy().max() == 1


def test_poles_are_0_and_1_and_may_be_anything(made: Collection) -> None:
    by_items = made.between(1, 3)
    places = dict(zip(by_items["id"].to_pylist(), by_items["between"].to_pylist(), strict=True))
    assert places[1] == pytest.approx(0, abs=1e-6) and places[3] == pytest.approx(1, abs=1e-6)
    for low, high in (
        (X[1], X[3]),
        (Term.of_item(1), Term.of_vector(X[3])),
        ([X[1]], ["r3"]),
        (2 * Term.of_item(1) + Term.of_item(1), [Term.of_item(3)]),
    ):
        np.testing.assert_allclose(made.between(low, high)["between"].to_numpy(), by_items["between"], atol=1e-5)
    turned = made.between(3, 1)
    np.testing.assert_allclose(turned["between"].to_numpy(), 1 - by_items["between"].to_numpy(), atol=1e-6)


def test_only_what_a_filter_lets_through(made: Collection) -> None:
    found = made.between(1, 3, "n >= 5 AND n < 10")
    assert found["id"].to_pylist() == [5, 6, 8, 9] and sorted(found["share"].to_pylist()) == [0, 1 / 3, 2 / 3, 1]
    assert made.between(1, 3, "n = 5")["share"].to_pylist() == [0]
    assert len(made.between(1, 3, "n < 0")) == 0


def test_what_is_no_pole(made: Collection) -> None:
    with pytest.raises(InvalidInput, match="both poles are the same"):
        made.between(1, [1, 1])
    with pytest.raises(InvalidInput, match="found nothing"):
        made.between([], 1)
    with pytest.raises(ItemNotFound):
        made.between(1, [7])
    with pytest.raises(ModalityError):
        made.between("r1", 3)  # a text
    for wrong in (None, 1.5, object(), {"a": 1}, [None]):
        with pytest.raises(InvalidInput):
            made.between(wrong, 1)


def test_poles_of_two_kinds_are_told() -> None:
    text, item = pole("low", "cheap"), pole("high", [3])
    assert told_of_poles(text, text) is None and told_of_poles(item, item) is None
    assert "one pole is of texts" in str(told_of_poles(text, item))


def test_places_become_a_column(made: Collection) -> None:
    found = made.between(1, 3)
    assert (
        made.update_each(found["id"], {"look": found["between"], "rank": found["share"].to_numpy()}).relabelled == 498
    )
    order = made.search(X[9], k=498, sort="look", exact=True).ids
    wanted = dict(zip(found["id"].to_pylist(), found["between"].to_pylist(), strict=True))
    assert order.tolist() == sorted(wanted, key=lambda one: (wanted[one], order.tolist().index(one)))
    assert len(made.matching("rank > 0.9")) == sum(one > 0.9 for one in found["share"].to_pylist())
    assert made.snapshot.item(3).meta["look"] == pytest.approx(1, abs=1e-6)


def test_each_item_its_own_value(made: Collection) -> None:
    made.update_each(
        ["r3", "r1", "r460"], {"kind": ["c", "a", None], "caption": ["three", None, "far"], "m": [3, 1, 46]}
    )
    got = made.get([1, 3, 460, 2], columns=["kind", "caption", "m"]).to_pylist()
    assert [tuple(row.values()) for row in got] == [("a", None, 1), ("c", "three", 3), (None, "far", 46), (None,) * 3]
    made.update_each(pa.array([3]), {"m": [None]})
    assert made.get([3, 1], columns=["m"])["m"].to_pylist() == [None, 1]
    version = made.version
    assert made.update_each([], {"m": []}).version == made.update_each([1], {}).version == version


def test_values_that_do_not_fit(made: Collection) -> None:
    version = made.version
    for items, columns, message in (
        ([1, 2], {"m": [1]}, "a value for each of 2 items"),
        ([1, 2], {"m": "ab"}, "a value for each"),
        ([1, "r1"], {"m": [1, 2]}, "comes twice"),
        ([1], {"id": [1]}, "not yours to set"),
        ([1], {"m": ["\ud800"]}, "not valid Unicode"),
        ([1], {"caption": [3]}, "caption"),
        ([1], 3, "mapping"),
    ):
        with pytest.raises(InvalidInput, match=message):
            made.update_each(items, columns)
    for gone in ([7], np.array([1, 7]), np.array([10**6]), ["r7"]):
        with pytest.raises(ItemNotFound):
            made.update_each(gone, {"m": [1] * len(gone)})
    assert made.version == version
