"""Vectors in CSV and TSV: written between brackets, however, or a number a column."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from engine.ingest.vector_files import vector_files
from indexers.errors import SourceError
from tests.helpers import clustered, index
from tests.ingest.made import listing, read

X = clustered(9, 4)


def written(path: Path, vectors: list[str], **columns: list[str]) -> Path:
    with path.open("w", newline="") as out:
        writer = csv.writer(out, delimiter="\t" if path.suffix == ".tsv" else ",")
        writer.writerow([*columns, "embedding"])
        writer.writerows(zip(*columns.values(), vectors, strict=True))
    return path


@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
@pytest.mark.parametrize("how", ["json", "numpy", "lines"])
def test_vectors_written_as_text(tmp_path: Path, suffix: str, how: str) -> None:
    ways = {
        "json": [str(row.tolist()) for row in X],
        "numpy": [str(row) for row in X],
        "lines": ["[" + "\n ".join(map(str, row.tolist())) + "]" for row in X],
    }
    path = written(tmp_path / f"v{suffix}", ways[how], file=[f"00{at}" for at in range(9)], n=list("123456789"))
    found = read(path)
    np.testing.assert_allclose(found.vectors, X, atol=1e-6)
    assert found.names == [f"00{at}" for at in range(9)]
    assert found.meta[8] == {"n": 9}


def test_rows_that_are_wrong_cost_a_row_each(tmp_path: Path) -> None:
    texts = [str(row.tolist()) for row in X]
    texts[1], texts[2], texts[3], texts[4], texts[5] = "", "0.1, 0.2", "[0.1 0.2 ... 0.4]", "[1, 2]", "[a, b, c, d]"
    path = written(tmp_path / "v.csv", texts, name=[f"n{at}" for at in range(9)])
    assert read(path).wrong == {
        1: "there is no vector in this row",
        2: "the vector is not written as numbers between brackets",
        3: "the vector was shortened when it was written",
        4: "the vector has 2 dimensions, and 4 are expected",
        5: "the vector holds something else than numbers",
    }
    summary = index(tmp_path / "c.nest", path)
    assert (summary.added, summary.failed) == (4, 5)


def test_a_table_of_pictures_stays_one(tmp_path: Path) -> None:
    path = written(tmp_path / "t.csv", ["a red bus"] * 3, file=["a.png", "b.png", "c.png"])
    assert vector_files(path) is None
    boxes = tmp_path / "b.csv"
    boxes.write_text('file,box\na.png,"[0.1, 0.2]"\n')
    assert vector_files(boxes) is None
    assert vector_files(boxes, (), "box") is not None


def test_a_table_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "v.csv").write_bytes(b"")
    assert vector_files(tmp_path / "v.csv") is None
    for content in (b"", b"a,b\n1\n", b"a,a\n1,2\n", b"a\n\xff\n"):
        (tmp_path / "v.csv").write_bytes(content)
        with pytest.raises(SourceError):
            listing(tmp_path / "v.csv", "a").dim  # noqa: B018
