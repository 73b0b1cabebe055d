"""Tables of captions and columns: CSV, TSV, JSONL and Parquet, however odd."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from engine.collection.lookup import conform, union_schema
from engine.ingest.entries import Entry
from engine.ingest.rows import ItemRows
from engine.ingest.tables import LabelTable, check_names, read_table
from indexers.errors import SourceError

ROWS = [
    {"file": "a.png", "caption": "a cat", "rating": 5},
    {"file": "sub/b.png", "caption": None, "rating": None},
    {"file": "0001", "caption": "2020-01-01", "rating": 3},
]


def write(folder: Path, suffix: str, rows: list[dict[str, Any]]) -> Path:
    path = folder / f"table{suffix}"
    if suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif suffix in {".jsonl", ".ndjson"}:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        between = "\t" if suffix == ".tsv" else ","
        lines = [rows[0], *(["" if value is None else str(value) for value in row.values()] for row in rows)]
        path.write_text("".join(between.join(line) + "\n" for line in lines))
    return path


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".ndjson", ".parquet"])
def test_every_kind_of_table_is_joined_by_path_and_by_last_part(tmp_path: Path, suffix: str) -> None:
    table = LabelTable.open(write(tmp_path, suffix, ROWS))
    assert table.labels("a.png") == ("a cat", {"rating": 5})
    assert table.labels("deep/below/a.png") == ("a cat", {"rating": 5})
    assert table.labels("sub/b.png") is not None
    assert table.labels("b.png") is None
    # A name that looks like a number and a caption that looks like a date are texts.
    assert table.labels("0001") == ("2020-01-01", {"rating": 3})
    assert table.used == {"a.png", "sub/b.png", "0001"}
    table.check_joined()


def test_columns_can_be_named(tmp_path: Path) -> None:
    path = write(tmp_path, ".csv", [{"key": "x", "photo": "007", "says": "true"}])
    table = LabelTable.open(path, name_column="photo", caption_column="says")
    assert table.rows == {"007": ("true", {"key": "x"})}
    with pytest.raises(SourceError, match=r"no column 'nope'; it has key, photo, says"):
        LabelTable.open(path, name_column="nope")
    with pytest.raises(SourceError, match="no column 'nope'"):
        LabelTable.open(path, name_column="photo", caption_column="nope")


def test_a_table_without_names_of_files(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"expected a column of file names.*found x.*--name-column"):
        LabelTable.open(write(tmp_path, ".csv", [{"x": "1"}]))


def test_a_table_that_has_nothing_to_do_with_the_files(tmp_path: Path) -> None:
    table = LabelTable.open(write(tmp_path, ".csv", ROWS))
    assert table.labels("other.png") is None
    with pytest.raises(SourceError, match="none of the 3 rows"):
        table.check_joined()


def test_a_file_has_one_row(tmp_path: Path) -> None:
    rows = [{"file": "a.png", "caption": "x"}, {"file": "./a.png", "caption": "y"}]
    with pytest.raises(SourceError, match=r"'\./a\.png' twice"):
        LabelTable.open(write(tmp_path, ".csv", rows))


def test_a_row_needs_a_name(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="row 2 has nothing in its column of file names"):
        LabelTable.open(write(tmp_path, ".parquet", [{"file": "a.png"}, {"file": None}]))


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_two_columns_of_a_name_are_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"t{suffix}"
    if suffix == ".csv":
        path.write_text("file,x,x\na,1,2\n")
    else:
        pq.write_table(pa.table([["a"], [1], [2]], names=["file", "x", "x"]), path)
    with pytest.raises(SourceError, match="several columns called x"):
        LabelTable.open(path)


@pytest.mark.parametrize(
    ("suffix", "content"),
    [
        (".csv", b""),
        (".csv", b"file,caption\na,b,c,d\n"),
        (".csv", b"file,caption\ncaf\xe9.png,x\n"),
        (".jsonl", b"{"),
        (".jsonl", b'{"file": 1}\n{"file": {"a": 2}}\n'),
        (".parquet", b"PAR1"),
        (".xlsx", b"PK"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"t{suffix}"
    path.write_bytes(content)
    with pytest.raises(SourceError, match=r"cannot be read|expected a table|no column|names of files|twice|file names"):
        LabelTable.open(path)


def test_a_table_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="cannot be read as a csv table"):
        read_table(tmp_path / "none.csv")


def test_a_byte_order_mark_and_lines_in_quotes(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(b'\xef\xbb\xbffile,caption\r\na.png,"two\nlines, with a comma"\r\n')
    assert LabelTable.open(path).rows == {"a.png": ("two\nlines, with a comma", {})}


def test_names_as_nestvec_writes_them_and_as_they_are(tmp_path: Path) -> None:
    table = LabelTable.open(write(tmp_path, ".csv", [{"file": "50%41.png", "caption": "x"}]))
    assert table.labels("sub/50%2541.png") == ("x", {})
    assert table.labels("sub/50%41.png") == ("x", {})


def test_what_is_done_for_each_column_takes_no_look_at_all_others(tmp_path: Path) -> None:
    """Some ten milliseconds each; what looked at all names for each took half a minute."""
    names = [f"c{number}" for number in range(32_000)]
    rows = ItemRows()
    rows.add(Entry("source", "path", meta=dict.fromkeys(names[:4000], 7)), 1, "b3:0", 1, 1)
    started = time.process_time()
    check_names(names, tmp_path)
    table = rows.table()
    assert conform(table, union_schema([table.schema])).equals(table)
    assert time.process_time() - started < 5


def test_messages_name_some_of_many_columns(tmp_path: Path) -> None:
    names = ",".join(f"c{number}" for number in range(1000))
    (tmp_path / "t.csv").write_text(f"{names}\n{',' * 999}\n")
    with pytest.raises(SourceError, match=r"found c0, c1, .*c19 and 980 more; name it") as found:
        LabelTable.open(tmp_path / "t.csv")
    assert len(str(found.value)) < 1000
    (tmp_path / "t.csv").write_text(f"file,{names},{names}\n")
    with pytest.raises(SourceError, match=r"several columns called c0, .* and 980 more"):
        LabelTable.open(tmp_path / "t.csv")


def test_more_columns_than_anybody_can_use_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"t\.csv has 40,000 columns, and at most 32,768 are stored"):
        check_names([f"c{number}" for number in range(40_000)], tmp_path / "t.csv")


@pytest.mark.parametrize("end", ["", "\n", "\r\n", '\n"d.jpg",x\n', '\nd.jpg,"d"\n'])
def test_a_quote_that_is_closed_nowhere_is_told(tmp_path: Path, end: str) -> None:
    (tmp_path / "t.csv").write_text('file,caption\na.jpg,one\nb.jpg,"two\nc.jpg,three' + end)
    with pytest.raises(SourceError, match=r"closed nowhere|Expected 2 columns"):
        read_table(tmp_path / "t.csv")


@pytest.mark.parametrize(
    ("text", "value"),
    [('"two\nlines"', "two\nlines"), ('"two\nlines"\n\n', "two\nlines"), ('"the ""\nlast"""\n', 'the "\nlast"')],
)
def test_values_of_several_lines_are_read(tmp_path: Path, text: str, value: str) -> None:
    (tmp_path / "t.csv").write_text(f"file,caption\na.jpg,one\nb.jpg,{text}")
    assert read_table(tmp_path / "t.csv").column("caption").to_pylist() == ["one", value]
