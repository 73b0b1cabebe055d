"""Hostile files, whose hashes are right: everything that reads one gives an answer or a named error."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine.collection.lookup import Lookup
from engine.collection.shards import ITEM_SCHEMA, read_table
from engine.storage.layout import FileRef
from indexers.base import FaissIndex, IndexSpec
from indexers.build import build
from indexers.errors import CorruptCollection
from indexers.families.registry import family, resolve
from indexers.files import FOOTER, MAGIC, read_index, write_index
from indexers.prefix import unwrap
from indexers.store import VectorStore
from tests.conftest import structured

CORPUS = Path(__file__).parent / "corpus"
N, D = 300, 24


def fuzz(*arguments: str) -> list[str]:
    """Fuzz and return what it found."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.fuzz", *arguments], capture_output=True, text=True, check=False
    )
    assert "executions" in done.stdout, done.stderr
    found = re.findall(r"^    \d+ × (.*)$", done.stdout, flags=re.MULTILINE)
    assert done.returncode == bool(found), done.stderr
    return [f"{what}\n{done.stdout}" for what in found]


def test_what_was_once_found_is_refused() -> None:
    assert not fuzz("--replay", str(CORPUS))


def test_a_little_of_every_format() -> None:
    assert not fuzz("--executions", "25", "--seconds", "2.5", "--seed", "25")


# -- graphs ------------------------------------------------------------------------------------


def graph(folder: Path, change: Callable[[Any], None]) -> FaissIndex:
    """Write an HNSW index whose graph was changed, and read it."""
    spec = resolve(IndexSpec.parse("hnsw@24:m=4"), N, D)
    xb = structured(N, D, seed=0).xb
    index = build(spec, VectorStore(xb), device="cpu")
    change(index.hnsw)
    write_index(index, folder / "i.faiss")
    return read_index(folder / "i.faiss", spec=spec, full_dim=D, rows=N)


def set_number(name: str, at: int, value: int) -> Callable[[Any], None]:
    def change(hnsw: Any) -> None:
        numbers = getattr(hnsw, name)
        faiss.rev_swig_ptr(numbers.data(), numbers.size())[at] = value

    return change


def lead_down(hnsw: Any) -> None:
    """Link a row of the upper floor to one that has no room for links there."""
    levels, offsets = faiss.vector_to_array(hnsw.levels), faiss.vector_to_array(hnsw.offsets)
    at = int(offsets[np.flatnonzero(levels > 1)[0]]) + int(faiss.vector_to_array(hnsw.cum_nneighbor_per_level)[1])
    set_number("neighbors", at, int(np.flatnonzero(levels == 1)[-1]))(hnsw)


def test_a_graph_as_it_is(tmp_path: Path) -> None:
    assert graph(tmp_path, lambda hnsw: None).ntotal == N


@pytest.mark.parametrize(
    "change",
    [
        set_number("neighbors", 3, N),
        set_number("neighbors", 0, -2),
        set_number("levels", 7, 200),
        set_number("levels", 7, 0),
        set_number("offsets", 5, 1 << 40),
        set_number("offsets", 0, 1),
        set_number("cum_nneighbor_per_level", 1, 1000),
        lambda hnsw: setattr(hnsw, "entry_point", N),
        lambda hnsw: setattr(hnsw, "entry_point", -1),
        lambda hnsw: setattr(hnsw, "max_level", 9),
        lead_down,
    ],
)
def test_graphs_that_lead_outside(tmp_path: Path, change: Callable[[Any], None]) -> None:
    """FAISS finds some of this itself, in one release more than in another."""
    with pytest.raises(CorruptCollection, match="is not the index it should be"):
        graph(tmp_path, change)


# -- what FAISS would do before anybody could look ------------------------------------------------


def test_cells_in_another_file_are_not_opened(tmp_path: Path) -> None:
    spec = resolve(IndexSpec.parse("ivf-flat@24:nlist=2"), N, D)
    xb = structured(N, D, seed=0).xb
    data = faiss.serialize_index(build(spec, VectorStore(xb), device="cpu")).tobytes()
    path = tmp_path / "i.faiss"
    body = data[: data.index(b"ilar")] + b"ilod" + bytes(200)
    path.write_bytes(body + FOOTER.pack(MAGIC, len(body)))
    with pytest.raises(CorruptCollection, match="'ilod' where ilar"):
        read_index(path, spec=spec, full_dim=D, rows=N)


@pytest.mark.parametrize(
    "text",
    [
        "ivf-flat@24:nlist=999999999",
        "hnsw@24:m=999999999",
        "sq@24:bits=5",
        "flat@24:axes=1",
        "flat@9999999",
        "ivf-pq@24",
    ],
)
def test_specs_that_would_fill_the_memory_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "i.faiss").write_bytes(bytes(100) + FOOTER.pack(MAGIC, 100))
    with pytest.raises(CorruptCollection, match="is not the index it should be"):
        read_index(tmp_path / "i.faiss", spec=IndexSpec.parse(text), full_dim=D, rows=N)


def cells_of(index: FaissIndex) -> Any:
    return family("ivf-pq").parts(unwrap(index)[1])[0]


ODD_PARTS: dict[str, Callable[[FaissIndex], Any]] = {
    "a code book": lambda index: cells_of(index).pq.centroids,
    "centroids": lambda index: faiss.downcast_index(cells_of(index).quantizer).codes,
    "a rotation": lambda index: faiss.downcast_VectorTransform(index.chain.at(index.chain.size() - 1)).A,
    "ranges": lambda index: family("ivf-pq").parts(unwrap(index)[1])[1].sq.trained,
}


@pytest.mark.parametrize("number", [np.nan, np.inf, 1e30])
@pytest.mark.parametrize("part", ODD_PARTS)
def test_an_index_of_what_is_no_number_is_refused(tmp_path: Path, part: str, number: float) -> None:
    """In steps of a table, whole numbers, NaN would become anything; and not only the first entry can be one."""
    spec = resolve(IndexSpec.parse("ivf-pq@24:m=12,nlist=4,refine=8"), N, D)
    index = build(spec, VectorStore(structured(N, D, seed=0).xb), device="cpu")
    held = ODD_PARTS[part](index)
    numbers = faiss.rev_swig_ptr(held.data(), held.size())
    numbers.view(np.float32)[5] = number
    write_index(index, tmp_path / "i.faiss")
    with pytest.raises(CorruptCollection, match="holds NaN, or larger numbers"):
        read_index(tmp_path / "i.faiss", spec=spec, full_dim=D, rows=N)


# -- tables ------------------------------------------------------------------------------------


def stored(root: Path, folder: str, table: pa.Table) -> FileRef:
    path = root / folder / f"{'0' * 32}.parquet"
    path.parent.mkdir(parents=True)
    pq.write_table(table, path, compression="zstd", store_schema=False)
    return FileRef(f"{folder}/{path.name}", path.stat().st_size, "0" * 64, table.num_rows)


def repeated(text: str, times: int) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(np.zeros(times, np.int32)), pa.array([text]))


def test_texts_that_would_fill_the_memory_are_refused(tmp_path: Path) -> None:
    table = pa.table({name: repeated("x" * (1 << 20), 4000) for name in ("source", "path", "reason")})
    ref = stored(tmp_path, "failures", table)
    assert ref.size < 1 << 20
    with pytest.raises(CorruptCollection, match="bytes of text are more than"):
        read_table(tmp_path, ref)


def test_rows_that_were_not_declared_are_not_read(tmp_path: Path) -> None:
    ref = stored(tmp_path, "deletes", pa.table({"row": pa.array(np.zeros(1_000_000, np.int8))}))
    assert ref.size < 1 << 16
    with pytest.raises(CorruptCollection, match="expected 3 rows, found 1000000"):
        read_table(tmp_path, FileRef(ref.path, ref.size, ref.blake3, 3))


@pytest.mark.parametrize("column", [pa.array([None, 1], pa.int32()), pa.array([1, 2]), pa.array([[1], [2]])])
def test_tombstones_of_another_kind_are_refused(tmp_path: Path, column: pa.Array) -> None:
    ref = stored(tmp_path, "deletes", pa.table({"shard": ["a", "b"], "row": column}))
    with pytest.raises(CorruptCollection, match=r"'row' is missing|'row' are missing|does not write"):
        read_table(tmp_path, ref)


def test_texts_of_a_lookup_outside_of_it_are_not_read(tmp_path: Path) -> None:
    """Arrow looks at places of texts only when told to check all of a file."""
    columns = [pa.array([1, 2] if pa.types.is_integer(f.type) else ["x", "yy"], f.type) for f in ITEM_SCHEMA]
    batch = pa.record_batch(columns, schema=ITEM_SCHEMA)
    with pa.ipc.new_file(str(tmp_path / "l.arrow"), ITEM_SCHEMA) as writer:
        writer.write_batch(batch)
    data, right = (tmp_path / "l.arrow").read_bytes(), np.array([0, 1, 3], np.int32).tobytes()
    for places in ([0, 1 << 30, 3], [0, 2, 1], [0, -8, 3]):
        changed = data.replace(right, np.array(places, np.int32).tobytes())
        assert changed != data
        (tmp_path / "l.arrow").write_bytes(changed)
        with pytest.raises(CorruptCollection):
            [Lookup.open(tmp_path / "l.arrow", 2, []).row(row) for row in range(2)]
        with pytest.raises(CorruptCollection):
            Lookup.open(tmp_path / "l.arrow", 2, []).table(0, 2)
