"""Which column is taken for the vectors, and numbered columns that are one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine.api import Collection
from engine.ingest.joined import TableOptions
from engine.ingest.vector_files import vector_files
from engine.jobs.index import RunOptions
from engine.jobs.index import index as run_index
from engine.progress import Taken
from indexers.errors import InvalidInput, SourceError
from tests.helpers import Hears, clustered, index, nestvec, newest, save
from tests.ingest.made import listing, parquet, read

X, Y = clustered(12, 5), clustered(12, 5, seed=1)


def wide(path: Path, names: list[str], x: Any = X, **columns: Any) -> Path:
    made = {**columns, **{name: x[:, at] for at, name in enumerate(names)}}
    if path.suffix == ".parquet":
        pq.write_table(pa.table(made), path)
    elif path.suffix == ".jsonl":
        rows = [{name: column[row] for name, column in made.items()} for row in range(len(x))]
        path.write_text("".join(json.dumps(row, default=float) + "\n" for row in rows))
    else:
        lines = [",".join(made), *(",".join(str(column[row]) for column in made.values()) for row in range(len(x)))]
        path.write_text("\n".join(lines) + "\n")
    return path


# -- several columns of vectors ------------------------------------------------------------


def test_of_two_columns_the_usual_name_or_the_first_is_taken_and_the_other_left_out(tmp_path: Path) -> None:
    two = parquet(tmp_path / "a.parquet", image_embedding=X, text_embedding=Y, n=list(range(12)))
    usual = parquet(tmp_path / "b.parquet", other=X, emb=Y, n=list(range(12)))
    assert listing(two).taken == Taken("v", "image_embedding", ("text_embedding",))
    assert listing(usual).taken == Taken("v", "emb", ("other",))
    for path, expected in ((two, X), (usual, Y)):
        found = read(path)
        np.testing.assert_array_equal(found.vectors, expected)
        assert found.meta == [{"n": row} for row in range(12)]
    assert listing(parquet(tmp_path / "c.parquet", emb=Y, n=[0] * 12)).taken is None


def test_another_can_be_asked_for_and_is_remembered(tmp_path: Path) -> None:
    path = parquet(tmp_path / "a.parquet", image_embedding=X, text_embedding=Y, n=list(range(12)))
    said: list[str] = []
    options = RunOptions(table=TableOptions(vectors="text_embedding"), device="cpu")
    summary = run_index(tmp_path / "c.nest", [path], options, Hears(said.append))
    assert summary.taken == [Taken("a.parquet", "text_embedding", ("image_embedding",))]
    assert [text for text in said if "image_embedding" in text] == [str(summary.taken[0])]
    assert newest(tmp_path / "c.nest").sources[0].tables[0].vectors == "text_embedding"
    with Collection.open(tmp_path / "c.nest") as opened:
        assert opened.search(Y[3], k=1).uris == ["a.parquet#3"]
        assert opened.search(Y[3], k=1).items[0].meta == {"n": 3}
    again = index(tmp_path / "c.nest", path)
    assert (again.unchanged, again.changed) == (12, 0)


def test_to_ask_for_another_changes_what_was_read_of_a_file_that_did_not_change(tmp_path: Path) -> None:
    path, root = parquet(tmp_path / "a.parquet", image=X, text=Y), tmp_path / "c.nest"
    assert index(root, path).added == 12
    options = RunOptions(table=TableOptions(vectors="text"), device="cpu")
    assert run_index(root, [path], options).changed == 12
    assert run_index(root, [path], options).unchanged == 12
    with Collection.open(root) as opened:
        assert opened.search(Y[3], k=1).uris == ["a.parquet#3"]


def test_the_command_says_in_a_line_what_was_taken(tmp_path: Path) -> None:
    path = parquet(tmp_path / "a.parquet", image=X, text=Y)
    done = nestvec("index", path, tmp_path / "c.nest")
    assert done.stderr.decode().count("a.parquet: vectors are taken from image; left out") == 1
    done = nestvec("add", tmp_path / "c.nest", path, "--vectors", "text", "--json")
    assert json.loads(done.stdout)["taken"] == [
        {"source": "a.parquet", "column": "text", "left": ["image"], "spaces": []}
    ]
    assert json.loads(done.stdout)["changed"] == 12


@pytest.mark.parametrize(
    ("wanted", "match"),
    [
        ("txt", "no column 'txt' of vectors; it has image, text, n; did you mean 'text'"),
        ("n", "column 'n' holds int64, and vectors are lists of numbers"),
        ("name*", "no columns name0, name1, … that 'name[*]' names"),
        ("*_*", "expected one [*]"),
    ],
)
def test_what_is_asked_for_must_be_there(tmp_path: Path, wanted: str, match: str) -> None:
    path = parquet(tmp_path / "a.parquet", image=X, text=Y, n=list(range(12)))
    with pytest.raises(SourceError, match=match):
        listing(path, wanted).dim  # noqa: B018


def test_vectors_of_what_has_none(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="holds one array without a name"):
        listing(save(tmp_path / "a.npy", X), "emb").dim  # noqa: B018
    (tmp_path / "photos").mkdir()
    options = RunOptions(table=TableOptions(vectors="emb"))
    with pytest.raises(SourceError, match="'emb' names a column of vectors, and no source with such"):
        run_index(tmp_path / "c.nest", [tmp_path / "photos"], options)
    for wrong in (3, b"x"):
        with pytest.raises(InvalidInput, match="vectors"):
            TableOptions(vectors=wrong)  # type: ignore[arg-type]


def test_whole_numbers_are_vectors_where_the_name_or_the_user_says_so(tmp_path: Path) -> None:
    codes = [[1, -2, 127], [3, 4, -128]]
    for name, kind in (("embedding", pa.int8()), ("codes", pa.int16())):
        path = tmp_path / f"{name}.parquet"
        pq.write_table(pa.table({name: pa.array(codes, pa.list_(kind))}), path)
        np.testing.assert_array_equal(read(path, name).vectors, codes)
    assert vector_files(tmp_path / "codes.parquet") is None
    np.testing.assert_array_equal(read(tmp_path / "embedding.parquet").vectors, codes)


def test_a_column_of_tensors(tmp_path: Path) -> None:
    kind = pa.fixed_shape_tensor(pa.float32(), [5])
    column = pa.ExtensionArray.from_storage(kind, pa.array(X.tolist(), pa.list_(pa.float32(), 5)))
    pq.write_table(pa.table({"t": column}), tmp_path / "t.parquet")
    np.testing.assert_array_equal(read(tmp_path / "t.parquet").vectors, X)


# -- wide tables ---------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])
def test_numbered_columns_are_taken_in_the_order_of_their_numbers(tmp_path: Path, suffix: str) -> None:
    x = clustered(7, 12)
    names = [f"f{number}" for number in range(12)]
    shuffled = np.random.default_rng(0).permutation(12)
    path = wide(
        tmp_path / f"w{suffix}", [names[at] for at in shuffled], x[:, shuffled], file=list("abcdefg"), fame=[1] * 7
    )
    found = read(path, "f*")
    np.testing.assert_allclose(found.vectors, x, rtol=1e-6)
    assert found.names == list("abcdefg")
    assert found.meta == [{"fame": 1}] * 7
    taken = listing(path, "f*").taken
    assert taken is not None
    assert (taken.column, taken.left) == ("f0 … f11", ())


def test_numbers_may_begin_anywhere_and_have_zeros_before_them(tmp_path: Path) -> None:
    path = wide(tmp_path / "w.parquet", ["e_07_x", "e_08_x", "e_09_x", "e_10_x", "e_11_x"])
    np.testing.assert_array_equal(read(path, "e_*_x").vectors, X)


@pytest.mark.parametrize(
    ("names", "match"),
    [
        (["f0", "f1", "f2", "f4", "f5"], "takes columns 'f0' to 'f5', and number 3 is missing"),
        (["f0", "f1", "f2", "f3", "f03"], "columns 'f3' and 'f03' both have the number 3"),
        (["g0", "g1", "g2", "g3", "g4"], "no columns f0, f1, … that 'f[*]' names"),
    ],
)
def test_numbers_that_are_missing_or_there_twice_are_refused(tmp_path: Path, names: list[str], match: str) -> None:
    with pytest.raises(SourceError, match=match):
        listing(wide(tmp_path / "w.parquet", names), "f*").dim  # noqa: B018


@pytest.mark.parametrize("kind", ["text", "bool"])
def test_a_column_that_is_no_number_is_refused(tmp_path: Path, kind: str) -> None:
    other = ["x"] * 12 if kind == "text" else [True] * 12
    path = wide(tmp_path / "w.parquet", [f"f{number}" for number in range(5)], f5=other)
    with pytest.raises(SourceError, match=r"takes column 'f5', which holds (string|bool)"):
        listing(path, "f*").dim  # noqa: B018


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_a_cell_that_is_no_number_costs_its_row(tmp_path: Path, suffix: str) -> None:
    path = wide(tmp_path / f"w{suffix}", [f"f{number}" for number in range(5)], id=list(range(12)))
    text = path.read_text()
    where = str(X[3, 2]) if suffix == ".csv" else json.dumps(float(X[3, 2]))
    assert where in text
    path.write_text(text.replace(where, "oops" if suffix == ".csv" else '"oops"'))
    summary = index(tmp_path / "c.nest", path, vectors="f*")
    assert (summary.added, summary.failed) == (11, 1)


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])
@pytest.mark.parametrize("more", [{}, {"file": [f"{row}.jpg" for row in range(7)]}])
def test_a_wide_table_without_the_option_says_what_to_do(tmp_path: Path, suffix: str, more: dict[str, Any]) -> None:
    path = wide(tmp_path / f"w{suffix}", [f"emb_{number}" for number in range(9)], clustered(7, 9), **more)
    with pytest.raises(SourceError, match=r"9 numbered columns of numbers: take them with --vectors 'emb_\*'"):
        vector_files(path)


def test_a_table_of_pictures_with_numbers_stays_one(tmp_path: Path) -> None:
    (tmp_path / "0.jpg").write_bytes(b"")
    names = [f"score{number}" for number in range(9)]
    path = wide(tmp_path / "w.csv", names, clustered(7, 9), file=[f"{row}.jpg" for row in range(7)])
    assert vector_files(path) is None
    few = wide(tmp_path / "few.csv", ["x1", "x2", "y1", "y2", "w"], file=["a"] * 12)
    assert vector_files(few) is None
