"""Whole vectors out of FAISS' own index files: what FAISS reconstructs, and what somebody made to hurt."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest

from engine.ingest.vector_files import vector_files
from indexers.errors import NestvecError, SourceError
from indexers.flat_files import FlatFile
from tests.helpers import clustered
from tests.ingest.made import listing, read

X = clustered(5000, 6)


def written(path: Path, factory: str, *, metric: int = faiss.METRIC_INNER_PRODUCT, ids: Any = None, x: Any = X) -> Path:
    """Write an index as anybody does."""
    index = faiss.index_factory(x.shape[1], factory, metric)
    index.train(x)
    index.add(x) if ids is None else index.add_with_ids(x, ids)
    faiss.write_index(index, str(path))
    return path


@pytest.mark.parametrize("metric", [faiss.METRIC_INNER_PRODUCT, faiss.METRIC_L2, faiss.METRIC_L1])
@pytest.mark.parametrize("factory", ["Flat", "IVF7,Flat"])
def test_vectors_in_the_order_they_were_added(tmp_path: Path, factory: str, metric: int) -> None:
    found = read(written(tmp_path / "x.faiss", factory, metric=metric))
    np.testing.assert_array_equal(found.vectors, X)
    assert found.names[4999] == "x.faiss#4999"
    assert found.meta[4999] == {}


@pytest.mark.parametrize("factory", ["IDMap,Flat", "IDMap2,Flat", "IVF7,Flat", "IDMap,IVF7,Flat"])
def test_ids_that_were_given_name_the_rows(tmp_path: Path, factory: str) -> None:
    ids = np.random.default_rng(0).permutation(5000).astype(np.int64) + 2**60
    path = written(tmp_path / "x.index", factory, ids=ids)
    found = read(path)
    index = faiss.read_index(str(path))
    order = np.argsort([int(name) for name in found.names])
    np.testing.assert_array_equal(found.vectors[order], X[np.argsort(ids)])
    assert found.meta[7] == {"id": int(found.names[7])}
    if factory == "IDMap2,Flat":
        np.testing.assert_array_equal(index.reconstruct(int(found.names[7])), found.vectors[7])


def test_an_index_with_a_map_of_its_rows(tmp_path: Path) -> None:
    for kind in (faiss.DirectMap.Array, faiss.DirectMap.Hashtable):
        index = faiss.index_factory(6, "IVF3,Flat", faiss.METRIC_L2)
        index.train(X)
        index.add(X[:50])
        index.set_direct_map_type(kind)
        faiss.write_index(index, str(tmp_path / "x.faiss"))
        np.testing.assert_array_equal(read(tmp_path / "x.faiss").vectors, X[:50])


def test_cells_most_of_which_are_empty(tmp_path: Path) -> None:
    index = faiss.index_factory(6, "IVF64,Flat", faiss.METRIC_L2)
    index.train(X)
    index.add(X[:3])
    faiss.write_index(index, str(tmp_path / "x.faiss"))
    np.testing.assert_array_equal(read(tmp_path / "x.faiss").vectors, X[:3])


@pytest.mark.parametrize("factory", ["IVF7,SQ8", "HNSW8,Flat", "PQ3x4", "L2norm,Flat", "SQfp16"])
def test_what_does_not_hold_whole_vectors_is_refused_in_words(tmp_path: Path, factory: str) -> None:
    path = written(tmp_path / "x.faiss", factory, x=X[:500])
    with pytest.raises(SourceError, match="whole vectors are in those that FAISS calls Flat and IVF,Flat"):
        listing(path).dim  # noqa: B018


@pytest.mark.parametrize("content", [b"", b"IxFI", b"hello, world, this is no index at all, and it is long"])
def test_what_is_no_index_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.faiss").write_bytes(content)
    with pytest.raises(SourceError, match="no index file that vectors can be taken from"):
        listing(tmp_path / "x.faiss").dim  # noqa: B018
    assert vector_files(tmp_path / "x.faiss") is not None


def test_rows_are_left_in_the_file_until_they_are_wanted(tmp_path: Path) -> None:
    with written(tmp_path / "x.faiss", "Flat").open("rb") as file:
        found = FlatFile(file)
    assert (len(found), found.dim, found.ids) == (5000, 6, None)
    assert found.rows(10, 10).shape == (0, 6)
    np.testing.assert_array_equal(found.rows(4998, 5000), X[4998:])


@pytest.mark.parametrize("factory", ["Flat", "IDMap,Flat", "IVF3,Flat"])
def test_a_file_changed_anyhow_is_read_or_refused(tmp_path: Path, factory: str) -> None:
    ids = None if factory == "Flat" else np.arange(40) * 3
    whole = written(tmp_path / "x.faiss", factory, ids=ids, x=X[:40]).read_bytes()
    rng, outcomes = random.Random(0), set()
    for _ in range(1500):
        data = bytearray(whole)
        for _ in range(rng.randint(1, 3)):
            at = rng.randrange(min(len(data), rng.choice((60, 200, len(data)))))
            data[at] = rng.choice((0, 1, 127, 128, 255, rng.randrange(256)))
        (tmp_path / "y.faiss").write_bytes(data[: rng.choice((len(data), len(data), rng.randrange(len(data))))])
        try:
            outcomes.add(len(read(tmp_path / "y.faiss").names))
        except NestvecError as error:
            outcomes.add(type(error))
    assert {40, SourceError} <= outcomes
