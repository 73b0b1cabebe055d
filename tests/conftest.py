"""What every test shares: vectors with structure, small collections, and a cache of their own."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import faiss
import numpy as np
import pytest
from numpy.typing import NDArray

from engine.api import Collection
from engine.cli import _carried_out
from engine.jobs.build import BuildOptions, build_indexes
from engine.progress import Silent
from indexers.base import IndexSpec, Neighbors
from indexers.gpu import gpu_count
from indexers.vectors import FloatArray, IdArray

Scores = NDArray[np.float64]


class Data(NamedTuple):
    """Unit float32 vectors.

    Attributes:
        xb: [n, D] base vectors: clusters, whose variance falls from the first dimension to the last.
        xq: [nq, D] queries drawn like the base vectors (image to image).
        xt: [nq, D] queries that lie beside them (text to image): each has cosine 0.25 with one base
            vector, and all lean the same way.
    """

    xb: FloatArray
    xq: FloatArray
    xt: FloatArray


needs_gpu = pytest.mark.skipif(gpu_count() == 0, reason="FAISS sees no GPU (faiss-cpu, or no driver)")


def unit(x: NDArray[np.floating]) -> FloatArray:
    """Normalise in double precision, on purpose not with the code under test."""
    rows = np.asarray(x, dtype=np.float64)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def structured(n: int, D: int, seed: int, nq: int = 20) -> Data:
    rng = np.random.default_rng(seed)
    spectrum = 1 / np.sqrt(1 + np.arange(D))
    centres = rng.normal(size=(max(4, n // 40), D)) * spectrum
    cluster = rng.integers(len(centres), size=n + nq)
    x = unit(centres[cluster] + 0.5 * rng.normal(size=(n + nq, D)) * spectrum)
    xb, xq = x[:n], x[n:]
    near = xb[rng.integers(n, size=nq)].astype(np.float64)
    aside = rng.normal(size=D) + 0.7 * rng.normal(size=(nq, D)) * spectrum
    aside -= (aside * near).sum(axis=1, keepdims=True) * near
    aside /= np.maximum(np.linalg.norm(aside, axis=1, keepdims=True), 1e-12)
    return Data(xb, xq, unit(0.25 * near + np.sqrt(1 - 0.25**2) * aside))


def prefix_scores(xb: FloatArray, xq: FloatArray, d: int) -> Scores:
    """Cosines [nq, n] by the first `d` numbers, in double precision; full vectors as they are stored."""
    base, queries = xb[:, :d].astype(np.float64), xq[:, :d].astype(np.float64)
    if d < xb.shape[1]:
        base = base / np.maximum(np.linalg.norm(base, axis=1, keepdims=True), 1e-300)
        queries = queries / np.maximum(np.linalg.norm(queries, axis=1, keepdims=True), 1e-300)
    return np.clip(queries @ base.T, -1, 1)


def assert_answers(found: Neighbors, truth: Scores, k: int, atol: float = 2e-6) -> None:
    """Check that answers are the k best of `truth` [nq, n], where −inf marks rows that must not come.

    Rows that tie (to `atol`) may stand for each other; nothing else may differ.
    """
    nq = len(truth)
    assert found.ids.shape == found.scores.shape == (nq, k)
    assert found.ids.dtype == np.int64
    assert found.scores.dtype == np.float32
    assert found.ids.min(initial=0) >= 0, "a missing answer"
    best = -np.sort(-truth, axis=1)[:, :k]
    own = np.take_along_axis(truth, found.ids, axis=1)
    assert np.isfinite(own).all(), "a row that must not be answered"
    assert all(len(set(row)) == k for row in found.ids.tolist()), "a row twice"
    np.testing.assert_allclose(found.scores, best, rtol=0, atol=atol, err_msg="not the best scores, or not in order")
    np.testing.assert_allclose(own, best, rtol=0, atol=atol, err_msg="rows that do not have these scores")


def recall_of(found: IdArray, truth: Scores, k: int, tol: float = 1e-6) -> float:
    """Share of the k best of `truth` [nq, n] among `found` [nq, ≥ k], ties allowed."""
    kth = -np.sort(-truth, axis=1)[:, k - 1 : k]
    own = np.where(found >= 0, np.take_along_axis(truth, np.maximum(found, 0), axis=1), -np.inf)
    return float(np.minimum((own >= kth - tol).sum(axis=1), k).mean() / k)


def stored_rows(collection: Collection) -> FloatArray:
    """Every row of the space searched as its shards hold it, float32 [rows, D], deleted ones included."""
    blocks = [np.asarray(stored, np.float32) for _, stored in collection.snapshot.stored_vectors(collection.space_name)]
    return np.concatenate([np.empty((0, collection.space.dim), np.float32), *blocks])


def live_scores(collection: Collection, xq: FloatArray, d: int | None = None) -> Scores:
    """Cosines of queries with the stored values, −inf for rows that were deleted."""
    scores = prefix_scores(stored_rows(collection), xq, d or collection.space.dim)
    scores[:, collection.snapshot.deleted] = -np.inf
    return scores


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keep the tests out of the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("NESTVEC_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="session", autouse=True)
def interruptible() -> None:
    """Hear Ctrl-C, and let the commands that tests start hear it, though the tests were started with `nohup` or `&`."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def one_faiss_thread() -> None:
    """On a busy machine the barriers of OpenMP make two threads many times slower than one."""
    faiss.omp_set_num_threads(1)


Carried = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def carried_out(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Carried:
    """Run the command in this process, which has imported already what takes long."""

    def run(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
        words = ["nestvec", *map(str, arguments)]
        monkeypatch.chdir(cwd)
        monkeypatch.setattr("sys.argv", words)
        capfd.readouterr()
        code = _carried_out()
        return subprocess.CompletedProcess(words, code, *capfd.readouterr())

    return run


MakeCollection = Callable[..., Collection]


@pytest.fixture(scope="session")
def make_collection(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MakeCollection]:
    """Make precomputed collections: rows in an index, rows added after it, rows deleted from either."""
    opened: list[Collection] = []

    def make(
        xb: FloatArray,
        specs: Sequence[str] | None = None,
        *,
        dtype: str = "float32",
        tail: FloatArray | None = None,
        deleted: Sequence[int] = (),
        pruned: bool = False,
    ) -> Collection:
        root = tmp_path_factory.mktemp("collection") / "c.nest"
        collection = Collection.create(root, encoder="precomputed", dim=xb.shape[1], dtype=dtype)
        opened.append(collection)
        collection.add_vectors(xb, names=[f"row-{i}" for i in range(len(xb))])
        if pruned:
            wanted = None if specs is None else [IndexSpec.parse(spec) for spec in specs]
            build_indexes(root, "main", BuildOptions(wanted, prune_from=1), Silent())
            collection.refresh()
        else:
            collection.build(specs)
        if tail is not None:
            collection.add_vectors(tail, names=[f"tail-{i}" for i in range(len(tail))])
        if len(deleted):
            collection.remove(ids=[int(collection.snapshot.ids[row]) for row in deleted])
        return collection

    yield make
    for collection in opened:
        collection.close()
