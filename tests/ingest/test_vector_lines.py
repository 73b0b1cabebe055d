"""Vectors in JSONL: what costs a row, and what costs the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.ingest.formats import lines
from engine.ingest.vector_files import vector_files
from indexers.errors import SourceError
from tests.helpers import clustered, index
from tests.ingest.made import read

X = clustered(9, 4)


def jsonl(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def row(at: int, **more: Any) -> dict[str, Any]:
    return {"name": f"n{at}", "caption": f"c{at}", "embedding": X[at].tolist(), **more}


def test_lines_with_columns(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "v.jsonl", [row(at, n=at, tags=["a"], when="2020-01-02") for at in range(9)])
    found = read(path)
    np.testing.assert_array_equal(found.vectors, X)
    assert (found.names[8], found.captions[8], found.wrong) == ("n8", "c8", {})
    assert found.meta[8]["n"] == 8
    assert found.meta[8]["when"] == "2020-01-02"


def test_whole_numbers_among_others(tmp_path: Path) -> None:
    rows = [{"embedding": [1, 0, 0]}, {"embedding": [0.5, 1, 2**70]}, {"embedding": [0, 0, 1e-300]}]
    found = read(jsonl(tmp_path / "v.ndjson", rows))
    np.testing.assert_allclose(found.vectors[:2], [[1, 0, 0], [0.5, 1, 2.0**70]], rtol=1e-6)
    assert found.vectors[2, 2] > 0
    assert found.names == ["v.ndjson#0", "v.ndjson#1", "v.ndjson#2"]


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        ({"name": "b", "embedding": [1.0, 2.0]}, "the vector has 2 dimensions, and 4 are expected"),
        ({"name": "b", "embedding": []}, "the vector has 0 dimensions, and 4 are expected"),
        ({"name": "b", "embedding": None}, "there is no vector in this row"),
        ({"name": "b"}, "there is no vector in this row"),
        ({"name": "b", "embedding": "n/a"}, "the vector holds something else than numbers"),
        ({"name": "b", "embedding": [1.0, 2.0, "3", 4.0]}, "the vector holds something else than numbers"),
        ({"name": "b", "embedding": [[1.0], 2.0, 3.0, 4.0]}, "the vector holds something else than numbers"),
        ({"name": "b", "embedding": [True, 2.0, 3.0, 4.0]}, "the vector holds something else than numbers"),
        ({"name": "b", "embedding": {"a": 1}}, "the vector holds something else than numbers"),
        ('{"name": "b", "embedding": [1.0', "its line is not a JSON object"),
        ("[1, 2]", "its line is not a JSON object"),
        ("[" * 100_000, "its line is not a JSON object"),
        ('{"name": "\udcff"}'.encode("utf-8", "surrogatepass").decode("latin-1"), None),
    ],
)
def test_a_row_that_is_wrong_costs_that_row(tmp_path: Path, bad: Any, why: str | None) -> None:
    path = jsonl(tmp_path / "v.jsonl", [*(row(at) for at in range(4)), bad, *(row(at) for at in range(4, 9))])
    found = read(path)
    assert len(found.names) == 10
    assert list(found.wrong) == [4]
    assert why is None or found.wrong[4] == why
    np.testing.assert_array_equal(np.delete(found.vectors, 4, axis=0), X)
    summary = index(tmp_path / "c.nest", path)
    assert (summary.added, summary.failed) == (9, 1)


@pytest.mark.parametrize("number", ["null", "NaN", "Infinity", "1e999", "1" * 400])
def test_a_number_that_is_none_costs_its_row(tmp_path: Path, number: str) -> None:
    path = jsonl(tmp_path / "v.jsonl", [row(0), f'{{"name": "b", "embedding": [1.0, {number}, 3.0, 4.0]}}', row(1)])
    summary = index(tmp_path / "c.nest", path)
    assert (summary.added, summary.failed) == (2, 1)


def test_columns_whose_values_are_of_several_kinds(tmp_path: Path) -> None:
    odd: list[Any] = [1, "x", [1, "y"], {"a": None}, 2**70, True, None, 0.5]
    found = read(jsonl(tmp_path / "v.jsonl", [row(at, odd=value) for at, value in enumerate(odd)]))
    assert [one.get("odd") for one in found.meta] == [
        "1",
        "x",
        '[1, "y"]',
        '{"a": null}',
        str(2**70),
        "true",
        None,
        "0.5",
    ]


def test_a_column_that_comes_late_and_one_that_goes(tmp_path: Path) -> None:
    rows = [row(at % 9, name=f"m{at}", **({"late": 1} if at > 5000 else {"early": 2})) for at in range(6000)]
    found = read(jsonl(tmp_path / "v.jsonl", rows))
    assert (found.meta[0], found.meta[5999]) == ({"early": 2}, {"late": 1})
    assert len(set(found.names)) == 6000


def test_a_table_of_pictures_with_boxes_is_none_of_vectors(tmp_path: Path) -> None:
    rows = [{"file": f"{at}.jpg", "bbox": [0.1, 0.2, 0.3, 0.4]} for at in range(3)]
    assert vector_files(jsonl(tmp_path / "t.jsonl", rows)) is None
    assert vector_files(jsonl(tmp_path / "u.jsonl", [{"bbox": one["bbox"]} for one in rows])) is not None
    assert read(tmp_path / "t.jsonl", "bbox").names == ["0.jpg", "1.jpg", "2.jpg"]


def test_a_line_without_end_is_refused_before_it_fills_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "MOST_LINE", 1000)
    path = jsonl(tmp_path / "v.jsonl", [row(0), row(1, text="x" * 1000)])
    with pytest.raises(SourceError, match="line 2 is longer than 1,000 bytes"):
        read(path, "embedding")


def test_lines_are_taken_as_few_at_once_as_bytes_allow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = jsonl(tmp_path / "v.jsonl", [row(at) for at in range(9)])
    whole = read(path)
    monkeypatch.setattr(lines, "BYTES_AT_ONCE", 300)
    assert read(path).names == whole.names
    np.testing.assert_array_equal(read(path).vectors, X)
