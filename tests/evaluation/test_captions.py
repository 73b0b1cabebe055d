"""Text → image and image → text against their definitions."""

from __future__ import annotations

import numpy as np
import pytest

from engine.evaluation.captions import caption_table, draw
from engine.evaluation.representations import Representation
from engine.planning.queries import QuerySet
from indexers.errors import InvalidInput
from tests.evaluation.made import DIM, order_of
from tests.helpers import clustered


def data() -> tuple[Representation, np.ndarray]:
    """Forty items; ten have no caption, and some share one."""
    rng = np.random.default_rng(5)
    base = clustered(40, DIM)
    caption_of = np.concatenate([np.arange(20), rng.integers(0, 20, 10), np.full(10, -1)])
    texts = base[:20] + 0.3 * rng.normal(size=(20, DIM)).astype(np.float32)
    texts /= np.linalg.norm(texts, axis=1, keepdims=True)
    return Representation("two towers", base, (QuerySet("captions", texts, None, "queries"),)), caption_of


@pytest.mark.parametrize("dim", [3, DIM])
def test_both_directions_are_what_they_say(dim: int) -> None:
    one, caption_of = data()
    texts = one.queries[0].xq
    rows = caption_table([one], caption_of, [dim])
    ranks = {
        "texts": [
            min(order_of(one.base, text, dim, None).index(item) + 1 for item in np.flatnonzero(caption_of == number))
            for number, text in enumerate(texts)
        ],
        "items": [
            order_of(texts, one.base[item], dim, None).index(caption_of[item]) + 1
            for item in np.flatnonzero(caption_of >= 0)
        ],
    }
    found = {(row.queries, row.metric): row for row in rows}
    for asked, of in ranks.items():
        for cut in (1, 5, 10):
            assert found[asked, f"recall@{cut}"].value == pytest.approx(np.mean([rank <= cut for rank in of]))
        assert found[asked, "MRR"].value == pytest.approx(np.mean([1 / rank for rank in of]))
        assert found[asked, "MRR"].count == len(of)


def test_what_scores_everything_the_same_finds_nothing() -> None:
    base = np.tile(clustered(1, DIM), (101, 1))
    one = Representation("collapsed", base, (QuerySet("captions", base, None, "queries"),))
    for row in caption_table([one], np.arange(101), [DIM]):
        assert row.value == (pytest.approx(1 / 51) if row.metric == "MRR" else 0.0)


def test_the_draw_follows_its_seed() -> None:
    _, caption_of = data()
    asking, asked = draw(caption_of, 6, 3)
    assert len(set(asking.tolist())) == len(set(asked.tolist())) == 6
    assert (caption_of[asked] >= 0).all()
    assert all(np.array_equal(a, b) for a, b in zip(draw(caption_of, 6, 3), (asking, asked), strict=True))


def test_no_captions() -> None:
    one, _ = data()
    with pytest.raises(InvalidInput, match="no item has a caption"):
        caption_table([one], np.full(40, -1), [4])
    with pytest.raises(InvalidInput, match="query set called 'captions'"):
        caption_table([one.asked("texts")], np.zeros(40, np.int64), [4])
