"""Finding the picture of a caption and the caption of a picture, prefix by prefix."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from engine.evaluation.nearest import BLOCK_BYTES
from engine.evaluation.ranking import Values, rank_of_first
from engine.evaluation.representations import Representation
from engine.evaluation.rows import Row, mean_row
from engine.progress import Advance, idle
from indexers.errors import InvalidInput
from indexers.vectors import FloatArray, IdArray, truncate

TABLE = "captions"
CAPTIONS = "captions"
"""Name of the query set that holds the distinct captions."""

CUTS = (1, 5, 10)


def caption_table(
    representations: Iterable[Representation],
    caption_of: IdArray,
    dims: Sequence[int],
    queries: int = 1000,
    *,
    seed: int = 0,
    advance: Advance = idle,
) -> list[Row]:
    """Measure retrieval across the two towers.

    Args:
        representations: each with a query set called "captions", the distinct captions, one vector each.
        caption_of: int64 [n], for each row of the base the number of its caption; −1 where it has none.
        dims: prefix dimensions.
        queries: captions, and pictures, that are drawn to ask with.
        seed: of the draw.
        advance: hears of every prefix that is done.

    Returns:
        rows of "texts" (text → image: each distinct caption asks for the items that have it, among all rows) and of
        "items" (image → text: items ask for their caption among the distinct ones). "recall@K" is the share of queries
        with a right answer among the best K, as is usual for captions; "MRR" the mean of 1/rank of the first right one.
        Where it ties with wrong ones it stands in their middle (`ranking.rank_of_first`).

    Raises:
        InvalidInput: no row has a caption, or a representation has no set "captions".
    """
    rows: list[Row] = []
    asking, items = draw(caption_of, queries, seed)
    with_caption = [np.flatnonzero(caption_of == caption) for caption in asking]
    own_caption = [caption_of[item : item + 1] for item in items]
    for one in representations:
        texts = next((each.xq for each in one.queries if each.name == CAPTIONS), None)
        if texts is None:
            raise InvalidInput(f"{one.name}: expected a query set called {CAPTIONS!r} with the distinct captions")
        for dim in one.measured(dims):
            pictures, words = truncate(one.base, dim), truncate(texts, dim)
            rows += _figures(one.name, "texts", dim, _ranks(words[asking], pictures, with_caption))
            rows += _figures(one.name, "items", dim, _ranks(pictures[items], words, own_caption))
            advance(1)
    return rows


def draw(caption_of: IdArray, queries: int, seed: int) -> tuple[IdArray, IdArray]:
    """Draw the captions and the items that ask.

    Raises:
        InvalidInput: no row has a caption.
    """
    captioned = np.flatnonzero(caption_of >= 0)
    if not len(captioned):
        raise InvalidInput("no item has a caption: expected captions beside the pictures or from a --table")
    rng = np.random.default_rng(seed)
    distinct = np.unique(caption_of[captioned])
    asking = rng.choice(distinct, min(queries, len(distinct)), replace=False)
    items = rng.choice(captioned, min(queries, len(captioned)), replace=False)
    return np.sort(asking), np.sort(items)


def _ranks(xq: FloatArray, base: FloatArray, relevant: Sequence[IdArray]) -> Values:
    """Return the rank of the first right row for each query."""
    return np.array([rank_of_first(row, right) for row, right in _scores(xq, base, relevant)], dtype=np.float64)


def _scores(xq: FloatArray, base: FloatArray, relevant: Sequence[IdArray]) -> Iterator[tuple[FloatArray, IdArray]]:
    step = max(1, BLOCK_BYTES // (4 * len(base)))
    for start in range(0, len(xq), step):
        yield from zip(xq[start : start + step] @ base.T, relevant[start : start + step], strict=True)


def _figures(name: str, asked: str, dim: int, ranks: Values) -> list[Row]:
    metrics = {f"recall@{cut}": (ranks <= cut).astype(np.float64) for cut in CUTS}
    metrics["MRR"] = 1 / ranks
    return [mean_row(TABLE, name, asked, dim, metric, values) for metric, values in metrics.items()]
