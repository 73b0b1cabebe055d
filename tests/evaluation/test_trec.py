"""The files of TREC: what is read is what was written, and a bad line is named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.evaluation.judged import run_rows, trec_table
from engine.evaluation.representations import Representation
from engine.evaluation.trec import common, read_qrels, read_run, read_texts, read_topics, run_file, write_run
from engine.planning.queries import QuerySet
from indexers.errors import InvalidInput, SourceError
from tests.evaluation.made import DIM, order_of
from tests.helpers import clustered

Reader = Callable[[Path], Any]


def test_what_is_written_is_read(tmp_path: Path) -> None:
    run = {"q1": {"/photos/é.jpg": float(np.float32(0.1)), "b": -2.5e-9}, "q2": {"c": 1.0}}
    path = run_file(tmp_path / "runs", "nested:my head", 64)
    assert path.name == "nested-my-head-64.run"
    write_run(path, run)
    found = read_run(path)
    assert {q: {d: np.float32(s) for d, s in each.items()} for q, each in found.items()} == {
        q: {d: np.float32(s) for d, s in each.items()} for q, each in run.items()
    }
    assert path.read_text().splitlines()[0] == "q1 Q0 /photos/é.jpg 1 0.100000001 nestvec"
    assert [one.name for one in path.parent.iterdir()] == [path.name]


def test_a_name_with_a_space_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="white space"):
        write_run(tmp_path / "a.run", {"q": {"my photo.jpg": 1.0}})
    assert not list(tmp_path.iterdir())


def test_what_is_read(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"\xef\xbb\xbf1\ta red bicycle\r\n\n 2 \ttwo\twords\n")
    assert read_topics(path) == {"1": "a red bicycle", "2": "two\twords"}
    assert read_texts(path) == ["1\ta red bicycle", "2 \ttwo\twords"]
    path.write_text("1 0 my photo.jpg 2\n1\t0\tb.jpg\t-1\n2 0 b.jpg 0\n")
    assert read_qrels(path) == {"1": {"my photo.jpg": 2, "b.jpg": -1}, "2": {"b.jpg": 0}}
    path.write_text("1 Q0 my photo.jpg 1 0.5 tag\n1 Q0 b 2 5e-1 tag\n")
    assert read_run(path) == {"1": {"my photo.jpg": 0.5, "b": 0.5}}


@pytest.mark.parametrize(
    ("read", "text", "said"),
    [
        (read_topics, "1\ta\nno tab here\n", ":2: expected a query id, a tab and a text"),
        (read_topics, "1\t \n", ":1: expected a query id"),
        (read_topics, "\ttext\n", ":1: expected a query id"),
        (read_topics, "1\ta\n1\tb\n", ":2: topic '1' is there already"),
        (read_topics, "\n", "has no topics"),
        (read_texts, "\n", "has no texts"),
        (read_qrels, "1 0 a 1\n\n1 0 b\n", ":3: expected `qid 0 docno grade`"),
        (read_qrels, "1 0 a 1.5\n", ":1: expected `qid 0 docno grade` with a whole number"),
        (read_qrels, "1 0 a 99999999999999\n", ":1: expected"),
        (read_qrels, "1 0 a 1\n1 0 a 2\n", ":2: 'a' is judged twice"),
        (read_qrels, "", "has no judgements"),
        (read_run, "1 Q0 a 1 0.5 t\n1 Q0 b 2 high t\n", ":2: expected `qid Q0 docno rank score tag`"),
        (read_run, "1 Q0 a 1 nan t\n", ":1: expected .* with a finite score"),
        (read_run, "1 Q0 a 1 0.5\n", ":1: expected"),
        (read_run, "1 Q0 a 1 0.5 t\n1 Q0 a 2 0.4 t\n", ":2: 'a' is answered twice"),
        (read_run, "", "has no answers"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, read: Reader, text: str, said: str) -> None:
    (tmp_path / "file").write_text(text)
    with pytest.raises(SourceError, match=said):
        read(tmp_path / "file")


@pytest.mark.parametrize("read", [read_topics, read_texts, read_qrels, read_run])
def test_a_file_that_cannot_be_read(tmp_path: Path, read: Reader) -> None:
    with pytest.raises(SourceError, match="cannot be read: No such file"):
        read(tmp_path / "none")
    (tmp_path / "file").write_bytes(b"1\t\xff\n")
    with pytest.raises(SourceError, match="not a UTF-8 text"):
        read(tmp_path / "file")


def test_ids_that_do_not_meet() -> None:
    assert common({"1": "a", "2": "b"}, {"2": {"d": 1}, "3": {"d": 1}}, "topics") == ["2"]
    with pytest.raises(InvalidInput, match="'1', …, and the judgements speak of '01'"):
        common({"1": "a"}, {"01": {"d": 1}}, "topics")
    with pytest.raises(InvalidInput, match="none of its queries is judged: it answers '1'"):
        run_rows("r", 0, {"1": {"d": 1.0}}, {"01": {"d": 1}})


def test_the_table_is_of_the_nearest_rows() -> None:
    base, xq = clustered(50, DIM), clustered(3, DIM, 1)
    one = Representation("r", base, (QuerySet("topics", xq, None, "queries"),))
    names = [f"doc{row}" for row in range(50)]
    qrels = {f"q{i}": {names[order_of(base, xq[i], DIM, None)[i]]: 1} for i in range(3)} | {"none": {"doc1": 1}}
    runs: dict[int, Any] = {}
    rows = trec_table(
        [one], ["q0", "q1", "q2"], names, qrels, [4, DIM], depth=20, keep=lambda _n, dim, run: runs.update({dim: run})
    )
    (mrr,) = [row for row in rows if (row.metric, row.dim) == ("MRR@10", DIM)]
    assert mrr.value == pytest.approx((1 + 1 / 2 + 1 / 3 + 0) / 4)
    assert (mrr.count, mrr.queries) == (4, "texts")
    for dim in (4, DIM):
        expected = [[names[row] for row in order_of(base, query, dim, None)[:20]] for query in xq]
        assert [sorted(run, key=lambda d: -run[d]) for run in runs[dim].values()] == expected
    with pytest.raises(InvalidInput, match="an id for each topic"):
        trec_table([one], ["q0"], names, qrels, [4])
