"""Vectors that exist already: every file they come in, and every way such a file can be wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine.collection.cells import value_of
from engine.collection.manifest import Source
from engine.ingest.entries import Block
from engine.ingest.unit import contents_of, unit_rows
from engine.ingest.vector_files import VectorFile, vector_files
from engine.ingest.vectors import VectorFiles
from indexers.errors import SourceError
from indexers.vectors import FloatArray
from tests.helpers import clustered, save

SOURCE = Source("v", "vectors", "/v")


def listing(path: Path, table: Path | None = None, **columns: str) -> VectorFiles:
    files = vector_files(path, [table] if table else [])
    assert files is not None
    return VectorFiles(SOURCE, files, name_column=columns.get("names"), caption=columns.get("captions"))


def whole(found: VectorFiles) -> tuple[list[str], FloatArray]:
    blocks = list(found.blocks())
    return [path for block in blocks for path in block.paths], np.concatenate([block.vectors for block in blocks])


def one(found: VectorFiles) -> Block:
    (block,) = found.blocks()
    return block


def parquet(path: Path, vectors: Any, kind: pa.DataType | None = None, **columns: Any) -> Path:
    column = pa.array(vectors.tolist() if isinstance(vectors, np.ndarray) else vectors, kind)
    pq.write_table(pa.table({**columns, "embedding": column}), path)
    return path


# -- .npy ----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int8", "uint8", ">f4"])
def test_npy_of_any_real_type(tmp_path: Path, dtype: str) -> None:
    x = clustered(5000, 6) if dtype[0] != "i" and dtype[0] != "u" else (clustered(5000, 6) * 100 + 100)
    path = save(tmp_path / "x.npy", x.astype(dtype))
    found = listing(path)
    assert found.dim == 6
    names, vectors = whole(found)
    assert vectors.dtype == np.float32
    np.testing.assert_array_equal(vectors, x.astype(dtype).astype(np.float32))
    assert names == [f"x.npy#{row}" for row in range(5000)]
    assert whole(found)[0] == names


def test_npy_in_columns_first_order(tmp_path: Path) -> None:
    x = clustered(50, 6)
    np.save(tmp_path / "x.npy", np.asfortranarray(x))
    np.testing.assert_array_equal(whole(listing(tmp_path / "x.npy"))[1], x)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (np.zeros(3), r"shape \[n, D\], found float64 \[3\]"),
        (np.zeros((2, 2, 2)), r"found float64 \[2, 2, 2\]"),
        (np.zeros((2, 2), complex), "found complex128"),
        (np.array([["a", "b"]]), "found <U1"),
        (np.array([[{}]]), "not a .npy file"),
        (np.zeros((0, 8)), "holds no vectors"),
        (b"", "not a .npy file"),
        (b"\x93NUMPY\x01\x00", "not a .npy file"),
    ],
)
def test_what_is_no_matrix_is_refused(tmp_path: Path, content: Any, match: str) -> None:
    path = tmp_path / "x.npy"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        np.save(path, content, allow_pickle=True)
    with pytest.raises(SourceError, match=match):
        _ = listing(path).dim


def test_a_file_that_was_cut_short_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "x.npy", clustered(50, 6))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(SourceError, match=r"not a \.npy file"):
        list(listing(path).blocks())


# -- Parquet -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [pa.list_(pa.float32()), pa.list_(pa.float64(), 6), pa.large_list(pa.float16())])
def test_parquet_with_any_list_of_floats(tmp_path: Path, kind: pa.DataType) -> None:
    x = clustered(5000, 6)
    path = parquet(tmp_path / "x.parquet", x, kind, file=[f"{n}.jpg" for n in range(5000)], text=["t"] * 5000)
    names, vectors = whole(listing(path))
    np.testing.assert_allclose(vectors, x, atol=1e-3)
    assert names[4999] == "4999.jpg"
    first = next(listing(path).blocks())
    assert (first.captions, first.meta) == (["t"] * 4096, None)


def test_parquet_rows_without_a_vector_become_nan(tmp_path: Path) -> None:
    path = parquet(tmp_path / "x.parquet", [None, [1.0, 2.0], None, [3.0, None]], pa.list_(pa.float32()))
    np.testing.assert_array_equal(whole(listing(path))[1], [[np.nan] * 2, [1, 2], [np.nan] * 2, [3, np.nan]])


def test_parquet_whose_first_rows_have_no_vector(tmp_path: Path) -> None:
    path = parquet(tmp_path / "x.parquet", [None] * 5000 + [[1.0, 2.0]] * 3, pa.list_(pa.float32()))
    found = listing(path)
    assert found.dim == 2
    assert whole(found)[1].shape == (5003, 2)


@pytest.mark.parametrize("later", [2, 5000])
def test_a_row_of_another_length_costs_that_row(tmp_path: Path, later: int) -> None:
    rows: list[Any] = [[1.0, 2.0]] * later + [[1.0, 2.0, 3.0], [], None, [4.0, None], [5.0, 6.0]]
    found = listing(parquet(tmp_path / "x.parquet", rows, pa.list_(pa.float32())))
    assert found.dim == 2
    blocks = list(found.blocks())
    vectors = np.concatenate([block.vectors for block in blocks])
    assert vectors.shape == (later + 5, 2)
    np.testing.assert_array_equal(vectors[later:], [*[[np.nan] * 2] * 3, [4, np.nan], [5, 6]])
    wrong = {row + block_at: why for block_at, block in offsets(blocks) for row, why in block.wrong.items()}
    assert wrong == {
        later: "the vector has 3 dimensions, and 2 are expected",
        later + 1: "the vector has 0 dimensions, and 2 are expected",
        later + 2: "there is no vector in this row",
    }


def offsets(blocks: list[Block]) -> list[tuple[int, Block]]:
    starts = np.cumsum([0, *map(len, blocks)]).tolist()
    return list(zip(starts, blocks, strict=False))


def test_the_dimension_is_the_collections_or_that_of_most_of_the_first_rows(tmp_path: Path) -> None:
    rows = [[1.0], [1.0, 2.0], [3.0, 4.0], [5.0, 6.0, 7.0]]
    found = listing(parquet(tmp_path / "x.parquet", rows, pa.list_(pa.float32())))
    assert found.dim == 2
    assert not found.fits("main", 4)
    assert found.fits("main", 3)
    assert sorted(one(found).wrong) == [0, 1, 2]
    tied = listing(parquet(tmp_path / "y.parquet", [None, [1.0], [1.0, 2.0]], pa.list_(pa.float32())))
    assert tied.dim == 1


@pytest.mark.parametrize("rows", [[[], []], [None, None]])
def test_parquet_with_nothing_in_its_lists(tmp_path: Path, rows: list[Any]) -> None:
    with pytest.raises(SourceError, match="holds no vectors"):
        _ = listing(parquet(tmp_path / "x.parquet", rows, pa.list_(pa.float32()))).dim


def said(block: Block) -> list[dict[str, Any]]:
    return [{name: value_of(one) for name, one in block.meta_of(row).items()} for row in range(len(block))]


def test_parquet_columns_become_meta(tmp_path: Path) -> None:
    path = parquet(
        tmp_path / "x.parquet", clustered(2, 4), name=["a", None], caption=["x", None], n=[1, None], odd=[[1, 2], []]
    )
    block = one(listing(path))
    assert block.paths == ["a", "x.parquet#1"]
    assert block.captions == ["x", None]
    assert said(block) == [{"n": 1, "odd": [1, 2]}, {"n": None, "odd": []}]
    assert len({*block.meta_keys.tolist()}) == 2


def test_columns_can_be_named_and_must_be_there(tmp_path: Path) -> None:
    path = parquet(tmp_path / "x.parquet", clustered(2, 4), a=["x", "y"], b=["u", "v"], name=["n", "m"])
    block = one(listing(path, names="b", captions="a"))
    assert (block.paths, block.captions) == (["u", "v"], ["x", "y"])
    for columns in ({"names": "c"}, {"captions": "c"}):
        with pytest.raises(SourceError, match="no column 'c'"):
            list(listing(path, **columns).blocks())


def test_parquet_without_vectors_is_something_else(tmp_path: Path) -> None:
    pq.write_table(pa.table({"file": ["a.png"], "tags": [["x"]]}), tmp_path / "t.parquet")
    assert vector_files(tmp_path / "t.parquet") is None
    (tmp_path / "t.csv").write_text("file,tags\na.png,x\n")
    assert vector_files(tmp_path / "t.csv") is None
    assert vector_files(tmp_path) is None


def test_damaged_parquet_is_refused(tmp_path: Path) -> None:
    path = parquet(tmp_path / "x.parquet", clustered(50, 4))
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(SourceError, match="cannot be read as Parquet"):
        vector_files(path)


# -- tables beside them --------------------------------------------------------------------


def test_a_table_beside_an_array(tmp_path: Path) -> None:
    path = save(tmp_path / "x.npy", clustered(3, 4))
    (tmp_path / "t.csv").write_text("file,caption,stars\n007,one,5\nb,two,\nc,,1\n")
    block = one(listing(path, tmp_path / "t.csv"))
    assert block.paths == ["007", "b", "c"]
    assert block.captions == ["one", "two", ""]
    assert said(block) == [{"stars": 5}, {"stars": None}, {"stars": 1}]


def test_a_table_beside_parquet_hides_columns_of_the_same_name(tmp_path: Path) -> None:
    path = parquet(tmp_path / "x.parquet", clustered(2, 4), name=["a", "b"], own=[1, 2])
    (tmp_path / "t.csv").write_text("name,more\nc,3\nd,4\n")
    block = one(listing(path, tmp_path / "t.csv"))
    assert block.paths == ["c", "d"]
    assert block.meta == [{"more": 3, "own": 1}, {"more": 4, "own": 2}]


@pytest.mark.parametrize("rows", [0, 4999, 5001])
def test_a_table_of_another_length_is_refused(tmp_path: Path, rows: int) -> None:
    path = save(tmp_path / "x.npy", clustered(5000, 4))
    (tmp_path / "t.csv").write_text("file\n" + "".join(f"{n}\n" for n in range(rows)))
    with pytest.raises(SourceError, match=rf"t\.csv has {rows} rows, and .*x\.npy has 5000"):
        list(listing(path, tmp_path / "t.csv").blocks())


# -- clip-retrieval ------------------------------------------------------------------------


def clip_retrieval(folder: Path, sizes: list[int]) -> Path:
    (folder / "img_emb").mkdir()
    (folder / "metadata").mkdir()
    start = 0
    for number, size in enumerate(sizes):
        save(folder / f"img_emb/img_emb_{number}.npy", clustered(12, 4)[start : start + size].astype(np.float16))
        names = [f"/data/{n}.jpg" for n in range(start, start + size)]
        table = pa.table({"image_path": names, "caption": [f"number {n}" for n in range(start, start + size)]})
        pq.write_table(table, folder / f"metadata/metadata_{number}.parquet")
        start += size
    return folder


def test_a_folder_of_clip_retrieval(tmp_path: Path) -> None:
    found = listing(clip_retrieval(tmp_path, [1] * 11))
    names, vectors = whole(found)
    assert names == [f"/data/{n}.jpg" for n in range(11)]  # in the order of numbers: 2 before 10
    np.testing.assert_allclose(vectors, clustered(12, 4)[:11], atol=1e-3)
    assert [block.captions for block in found.blocks()][10] == ["number 10"]


def test_clip_retrieval_without_metadata_or_with_the_wrong_one(tmp_path: Path) -> None:
    folder = clip_retrieval(tmp_path, [3, 4])
    (folder / "metadata/metadata_1.parquet").unlink()
    assert whole(listing(folder))[0][3:] == [f"img_emb_1.npy#{n}" for n in range(4)]
    (folder / "metadata/metadata_0.parquet").write_bytes(b"PAR1")
    with pytest.raises(SourceError, match="metadata_0"):
        list(listing(folder).blocks())
    save(folder / "img_emb/img_emb_x.npy", clustered(1, 4))
    with pytest.raises(SourceError, match="expected img_emb_NUMBER"):
        listing(folder)


def test_files_of_several_dimensions_are_refused(tmp_path: Path) -> None:
    one, other = save(tmp_path / "a.npy", clustered(3, 4)), save(tmp_path / "b.npy", clustered(3, 5))
    files = [VectorFile(one, None), VectorFile(other, None)]
    with pytest.raises(SourceError, match=r"b\.npy holds vectors of 5 dimensions beside others of 4"):
        list(VectorFiles(SOURCE, files, name_column=None, caption=None).blocks())


# -- made unit length ----------------------------------------------------------------------


def test_rows_are_normalised_and_wrong_ones_told_apart() -> None:
    x = clustered(6, 4) * np.array([[1], [1e-30], [1e20], [3], [1], [1]], np.float32)
    x[3, 1], x[4], x[5, 0] = np.nan, 0, np.inf
    unit, wrong = unit_rows(x, {"main": 4})
    np.testing.assert_allclose(unit[[0, 1, 2]], clustered(6, 4)[[0, 1, 2]], atol=1e-6)
    assert (unit[[3, 4, 5]] == 0).all()
    assert {row: reason.split("has ")[1][:6] for row, reason in wrong.items()} == {
        **{3: "NaN or", 4: "length", 5: "NaN or"},
    }
    good, none = unit_rows(clustered(50, 4) * 7, {"main": 4})
    assert none == {}
    np.testing.assert_allclose(good, clustered(50, 4), atol=1e-6)


def test_contents_differ_where_rows_do() -> None:
    x = clustered(50, 4)
    assert len(set(contents_of(x))) == 50
    assert contents_of(x[7:9]) == contents_of(x)[7:9]
    assert contents_of(np.asfortranarray(x)) == contents_of(x)
