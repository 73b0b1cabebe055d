"""Classification by neighbours, prefix by prefix, and adaptive retrieval with its real cost."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.evaluation.nearest import nearest
from engine.evaluation.neighbours import check_cuts
from engine.evaluation.ranking import average_precision
from engine.evaluation.representations import Representation
from engine.evaluation.rows import Row, mean_row
from engine.planning.queries import QuerySet
from engine.progress import Advance, idle
from engine.retrieval.rerank import rerank
from indexers.base import MISSING, Neighbors
from indexers.errors import InvalidInput
from indexers.store import VectorStore
from indexers.threads import on_one_thread
from indexers.vectors import FloatArray, IdArray, truncate
from indexers.without_own import without_own

LABELS = "labels"
ADAPTIVE = "adaptive"
TIMED = 20
RUNS = 5

Labels = NDArray[Any]


def label_table(
    representations: Iterable[Representation],
    labels: Sequence[Any] | Labels,
    dims: Sequence[int],
    k: int = 10,
    *,
    query_labels: Sequence[Any] | Labels | None = None,
    advance: Advance = idle,
) -> list[Row]:
    """Measure 1-NN accuracy and mAP@k by prefix, as the MRL paper does.

    AP@k is that of the authors' code: the precisions at the ranks of right answers, summed and divided by k
    (`ranking.average_precision`).

    Args:
        representations: each with query sets of the same queries, in the same order.
        labels: [n], of the base rows.
        dims: prefix dimensions.
        k: answers that are judged.
        query_labels: [nq]; those of the rows the queries are (`QuerySet.own`) by default.
        advance: hears of every prefix that is done.

    Raises:
        InvalidInput: k < 1, labels that do not fit or of one class only, no query labels where they are needed.
    """
    check_cuts(k, k)
    codes, wanted = _codes(labels, query_labels)
    rows: list[Row] = []
    for one in representations:
        for queries in one.queries:
            truth = _labels_of(one, queries, codes, wanted)
            for dim in one.measured(dims):
                found = nearest(one, queries, dim, k)
                rows += _judged(LABELS, one, queries, dim, found.ids, codes, truth)
                advance(1)
    return rows


def _codes(labels: Any, query_labels: Any) -> tuple[IdArray, IdArray | None]:
    """Number the classes; labels of the queries that no row has get numbers of their own."""
    base = np.asarray(labels)
    both = base if query_labels is None else np.concatenate([base, np.asarray(query_labels)])
    codes = np.unique(both, return_inverse=True)[1].astype(np.int64).reshape(-1)
    classes = len(np.unique(codes[: len(base)]))
    if classes < 2:
        raise InvalidInput(f"expected labels of two classes or more, found {classes}: everything would be right")
    return codes[: len(base)], None if query_labels is None else codes[len(base) :]


def _labels_of(one: Representation, queries: QuerySet, codes: IdArray, wanted: IdArray | None) -> IdArray:
    if len(codes) != len(one.base):
        raise InvalidInput(f"{one.name}: expected a label for each of {len(one.base)} rows, found {len(codes)}")
    if wanted is None and queries.own is None:
        raise InvalidInput(f"{one.name}: the {queries.name} are no rows of the base; give query_labels")
    truth = codes[queries.own] if wanted is None and queries.own is not None else wanted
    if truth is None or len(truth) != len(queries.xq):
        raise InvalidInput(f"{one.name}: expected a label for each of {len(queries.xq)} queries")
    return truth


def _judged(
    table: str,
    one: Representation,
    queries: QuerySet,
    dim: int,
    found: IdArray,
    codes: IdArray,
    truth: IdArray,
    rerank_dim: int | None = None,
) -> list[Row]:
    right = (codes[np.maximum(found, 0)] == truth[:, None]) & (found != MISSING)
    metrics = {"1-NN": right[:, 0].astype(np.float64), f"mAP@{found.shape[1]}": average_precision(right)}
    return [
        mean_row(table, one.name, queries.name, dim, name, values, rerank=rerank_dim)
        for name, values in metrics.items()
    ]


def adaptive_grid(
    representations: Iterable[Representation],
    labels: Sequence[Any] | Labels,
    dims: Sequence[int],
    k: int = 10,
    shortlist: int = 100,
    *,
    query_labels: Sequence[Any] | Labels | None = None,
    timed: int = TIMED,
    runs: int = RUNS,
    advance: Advance = idle,
) -> list[Row]:
    """Measure adaptive retrieval: a shortlist by one prefix, reranked by another, for every pair of them.

    Where both are the same there is nothing to rerank, and the best k by the prefix are the answer; at (D, D) that is
    exact search, whose time stands beside the others of the same run.

    Args:
        representations: as in `label_table`.
        labels: as in `label_table`, and so `query_labels`.
        dims: prefix dimensions of both steps.
        k: answers that are judged.
        shortlist: R, candidates that are reranked.
        timed: queries that are timed, one after another, FAISS on one thread as in a search of one query.
        runs: how often; the median of their means counts.
        advance: hears of every pair that is done.

    Returns:
        rows "1-NN", "mAP@k" and "ms" (wall-clock a query, from its vector to its k answers: FAISS scan of the
        prefixes, gather, scores, order) for each representation and pair dim ≤ rerank.

    Raises:
        InvalidInput: as `label_table`, or shortlist < k.
    """
    check_cuts(k, shortlist)
    codes, wanted = _codes(labels, query_labels)
    rows: list[Row] = []
    for one in representations:
        store = VectorStore(np.ascontiguousarray(one.base, dtype=np.float32))
        for queries in one.queries:
            truth = _labels_of(one, queries, codes, wanted)
            measured = one.measured([*dims, one.dim])
            for dim in measured:
                index = _flat(truncate(one.base, dim))
                first = _first(index, queries, dim, shortlist)
                for finer in measured[measured.index(dim) :]:
                    found = _then(store, queries, first, dim, finer, k)
                    rows += _judged(ADAPTIVE, one, queries, dim, found.ids, codes, truth, finer)
                    ms = _timed(index, store, queries, dim, finer, k, shortlist, timed, runs)
                    count = min(timed, len(truth))
                    rows.append(Row(ADAPTIVE, one.name, queries.name, dim, finer, "ms", ms, None, count))
                    advance(1)
    return rows


def _flat(prefixes: FloatArray) -> Any:
    import faiss

    index = faiss.IndexFlatIP(prefixes.shape[1])
    index.add(prefixes)
    return index


def _first(index: Any, queries: QuerySet, dim: int, keep: int) -> Neighbors:
    """Return the best `keep` by the prefix, without what is the query itself."""
    wanted = min(keep + (queries.own is not None), index.ntotal)
    return without_own(Neighbors(*index.search(truncate(queries.xq, dim), wanted)), queries.own, keep)


def _then(store: VectorStore, queries: QuerySet, first: Neighbors, dim: int, finer: int, k: int) -> Neighbors:
    """Return the best k of a shortlist by a finer prefix; by the same one they are its first."""
    if finer > dim:
        return rerank(store, queries.xq, first.ids, finer, k)
    return Neighbors(first.scores[:, :k], first.ids[:, :k])


def _timed(
    index: Any,
    store: VectorStore,
    queries: QuerySet,
    dim: int,
    finer: int,
    k: int,
    shortlist: int,
    timed: int,
    runs: int,
) -> float:
    """Return milliseconds a query, the median of several runs over single queries on one thread."""
    own = queries.own
    singles = [
        QuerySet(queries.name, queries.xq[i : i + 1], None if own is None else own[i : i + 1])
        for i in range(min(timed, len(queries.xq)))
    ]
    keep = shortlist if finer > dim else k
    taken = []
    with on_one_thread():
        for _ in range(max(1, runs)):
            begin = time.perf_counter()
            for query in singles:
                _then(store, query, _first(index, query, dim, keep), dim, finer, k)
            taken.append((time.perf_counter() - begin) / len(singles))
    return 1000 * float(np.median(taken))
