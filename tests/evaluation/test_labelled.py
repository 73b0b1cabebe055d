"""Accuracy, mAP and adaptive retrieval against their definitions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from engine.evaluation.labelled import adaptive_grid, label_table
from engine.evaluation.representations import Representation
from engine.evaluation.rows import Row
from engine.planning.queries import QuerySet
from indexers.errors import InvalidInput
from tests.evaluation.made import DIM, items, order_of, orders, standard_error
from tests.helpers import clustered

NAMES = np.array(["ash", "beech", "oak"])


def species(one: Representation) -> list[str]:
    return NAMES[np.argmax(one.base[:, :3], axis=1)].tolist()


def written_out(answers: list[int], wanted: str, labels: list[str], k: int) -> tuple[float, float]:
    """Return 1-NN and AP@k of one query."""
    hits, total = 0, 0.0
    for rank, row in enumerate(answers[:k], start=1):
        if labels[row] == wanted:
            hits += 1
            total += hits / rank
    return float(labels[answers[0]] == wanted), total / k


def value(rows: list[Row], metric: str, dim: int, rerank: int | None = None) -> Row:
    (row,) = [row for row in rows if (row.metric, row.dim, row.rerank) == (metric, dim, rerank)]
    return row


@pytest.mark.parametrize("k", [1, 10])
def test_accuracy_and_map_are_what_they_say(k: int) -> None:
    one = items()
    labels, own = species(one), one.queries[0].own
    assert own is not None
    rows = label_table([one], labels, [4, DIM], k)
    for dim in (4, DIM):
        pairs = [written_out(o, labels[q], labels, k) for o, q in zip(orders(one, dim), own, strict=True)]
        for metric, values in (("1-NN", [a for a, _ in pairs]), (f"mAP@{k}", [b for _, b in pairs])):
            row = value(rows, metric, dim)
            assert row.value == pytest.approx(sum(values) / len(values))
            assert row.error == pytest.approx(standard_error(values))


def test_queries_from_outside_bring_their_labels() -> None:
    base = clustered(60, DIM)
    one = Representation("held out", base, (QuerySet("items", base[:5]),))
    labels = species(one)
    (accuracy, _) = label_table([one], labels, [DIM], 1, query_labels=labels[:5])
    assert accuracy.value == 1.0  # nothing is left out: each finds its copy
    (accuracy, _) = label_table([one], labels, [DIM], 1, query_labels=["a new one"] * 5)
    assert accuracy.value == 0.0
    with pytest.raises(InvalidInput, match="give query_labels"):
        label_table([one], labels, [DIM])
    with pytest.raises(InvalidInput, match="each of 5 queries"):
        label_table([one], labels, [DIM], query_labels=labels[:4])


def test_a_class_of_one_is_never_right_once_it_is_left_out() -> None:
    base = clustered(20, DIM)
    one = Representation("left out", base, (QuerySet("items", base[:1], np.array([0])),))
    rows = label_table([one], [1] + [2] * 19, [DIM], 5)
    assert [row.value for row in rows] == [0.0, 0.0]


def test_adaptive_retrieval_is_a_shortlist_and_a_rerank() -> None:
    one, k, shortlist = items(), 5, 12
    labels, own = species(one), one.queries[0].own
    assert own is not None
    rows = adaptive_grid([one], labels, [2, 4], k, shortlist, timed=3, runs=2)
    assert {(row.dim, row.rerank) for row in rows} == {(2, 2), (2, 4), (2, 16), (4, 4), (4, 16), (16, 16)}
    for dim, finer in ((2, 4), (2, 16), (4, 16), (16, 16), (2, 2)):
        pairs = []
        for query, row in zip(one.queries[0].xq, own, strict=True):
            first = order_of(one.base, query, dim, row)[:shortlist]
            second = [r for r in order_of(one.base, query, finer, row) if r in first]
            pairs.append(written_out(second, labels[row], labels, k))
        assert value(rows, "1-NN", dim, finer).value == pytest.approx(np.mean([a for a, _ in pairs]))
        assert value(rows, "mAP@5", dim, finer).value == pytest.approx(np.mean([b for _, b in pairs]))
        timed = value(rows, "ms", dim, finer)
        assert 0 < timed.value < 1000
        assert (timed.error, timed.count) == (None, 3)


def test_adaptive_retrieval_at_full_dimension_is_exact_search() -> None:
    one = items()
    labels = species(one)
    grid = adaptive_grid([one], labels, [4], 10, 20, timed=1, runs=1)
    plain = label_table([one], labels, [DIM], 10)
    for metric in ("1-NN", "mAP@10"):
        assert value(grid, metric, DIM, DIM).value == value(plain, metric, DIM).value


def test_the_time_grows_with_the_work() -> None:
    # A hundredfold in bytes: what else a busy machine does is far less than that.
    base = clustered(30_000, 800)
    one = Representation("large", base, (QuerySet("items", base[:5], np.arange(5)),))
    rows = adaptive_grid([one], np.arange(30_000) % 7, [8], 10, 50, timed=5, runs=9)
    assert value(rows, "ms", 8, 8).value < value(rows, "ms", 800, 800).value


def test_labels_that_say_nothing() -> None:
    one = items()
    for table in (label_table, adaptive_grid):
        with pytest.raises(InvalidInput, match="two classes or more, found 1"):
            table([one], ["oak"] * 120, [4])
        with pytest.raises(InvalidInput, match="a label for each of 120 rows, found 119"):
            table([one], ["oak"] * 118 + ["ash"], [4])
        with pytest.raises(InvalidInput, match="k must be at least 1"):
            table([one], species(one), [4], 0)
    with pytest.raises(InvalidInput, match="at least k = 10"):
        adaptive_grid([replace(one)], species(one), [4], 10, 5)
