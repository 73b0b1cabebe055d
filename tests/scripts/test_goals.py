"""The goals of the comparison with other systems: the ratios that the page begins with, from records that are known."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from scripts.bench.rivals.figures import Figures, Measured, read_all
from scripts.bench.rivals.goals import GOALS, at_equal_bytes, glance, reached
from scripts.bench.rivals.records import BATCH, SINGLE, Book, Built, Floor, Params, Run, Trial

KINDS = ("items", "texts")
ROWS = 1000


def records(
    system: str, build: Params, seconds: float, used: int, *, recall: float = 0.96, built: float = 10.0, held: int = 100
) -> list[Built | Trial | Run]:
    """Everything about a system whose queries take so many seconds, texts twice as long."""
    taken = dict(zip(KINDS, (seconds, 2 * seconds), strict=True))
    recalls = dict.fromkeys(KINDS, recall)
    runs = [
        Run(0, system, build, {}, mode, False, 0.1, held, 0, recalls, {k: [t] for k, t in taken.items()}, [0.1], count)
        for mode, count in ((BATCH, dict.fromkeys(KINDS, 1)), (SINGLE, dict.fromkeys(KINDS, 1)))
    ]
    trial = Trial(system, build, {}, recalls, {k: 1 / t for k, t in taken.items()}, taken)
    return [Built(system, "1", build, built, used * ROWS, used * ROWS, 1), trial, *runs]


def measured(folder: Path, *parts: list[Built | Trial | Run]) -> Measured:
    """Read what a folder says that holds these records, and what nestvec's index took to build."""
    own = folder / "toy"
    own.mkdir(parents=True)
    machine = {"data": "toy", "rows": ROWS, "dim": 8, "kinds": list(KINDS), "threads": 1, "cpu": "one"}
    (own / "machine.json").write_text(json.dumps(machine))
    book = Book(own / "records.jsonl")
    for part in parts:
        book.add(part)
    build = {"specs": "ivf-pq@4"}
    book.add([Floor("nestvec", build, {}, 0.95, mode, dict.fromkeys(KINDS, 1.0), 1.0, 2.0) for mode in (BATCH, SINGLE)])
    [found] = read_all(folder)
    return found


OWN = records("nestvec", {"specs": "ivf-pq@4"}, 1.0, 40, held=10)


def ratios(found: Measured) -> dict[str, float | None]:
    return {one.title: one.ratio(found, 0.95) for one in GOALS}


def glanced(found: Measured) -> list[str]:
    """Return the table of what is kept of a data set."""
    return glance([Figures(found.name, found.rows, (*found.figures, *reached(found)))])


def test_each_goal_is_a_ratio_to_the_best_of_its_rivals(tmp_path: Path) -> None:
    found = measured(
        tmp_path,
        OWN,
        records("hnswlib", {"M": 16}, 4.0, 90, held=100, built=30),
        records("faiss-hnsw", {"M": 32}, 3.0, 90, held=90, built=20),
        records("scann", {"leaves": 9}, 1.5, 60, held=5),
        records("faiss-factory", {"factory": "IVF9"}, 1.25, 60),
    )
    assert ratios(found) == {
        "batch, any": pytest.approx(1.25),
        "batch, graphs": pytest.approx(3.0),
        "batch, ScaNN": pytest.approx(1.5),
        "batch, FAISS strings": pytest.approx(1.25),
        "the same at equal bytes": None,
        "p50, any": pytest.approx(1.25),
        "p99, any": pytest.approx(1.25),
        "build, HNSW": pytest.approx(10.0),
        "memory, HNSW": pytest.approx(9.0),
    }
    page = "\n".join(glanced(found))
    assert "| [toy, 1,000](rivals-toy-1000.md) | ≥ 0.95 | 1.25 | 3.00 | 1.50 | **1.25** |" in page
    assert "0.99" not in page.split("|---")[1]


def test_what_was_no_goal_for_some_data_is_not_in_bold_there(tmp_path: Path) -> None:
    found = measured(tmp_path, OWN, records("faiss-factory", {"factory": "IVF9"}, 1.25, 60))
    figures = (*found.figures, *reached(found))
    bold = "**1.25**"
    assert bold in "\n".join(glance([Figures("clip-768", ROWS, figures)]))
    assert bold not in "\n".join(glance([Figures("glosses-384", ROWS, figures)]))


def test_equal_bytes_leave_larger_files_out(tmp_path: Path) -> None:
    large, small = {"factory": "IVF9,Flat"}, {"factory": "PCA4,IVF9"}
    fast = records("faiss-factory", large, 1.25, 41)
    assert at_equal_bytes(measured(tmp_path / "a", OWN, fast), 0.95) is None
    slow = records("faiss-factory", small, 1.75, 40)
    assert at_equal_bytes(measured(tmp_path / "b", OWN, fast, slow), 0.95) == pytest.approx(1.75)
    poor = records("faiss-factory", small, 1.75, 40, recall=0.5)
    found = measured(tmp_path / "c", OWN, fast, poor)
    assert at_equal_bytes(found, 0.95) == math.inf
    assert "none does" in "\n".join(glanced(found))


def test_equal_bytes_are_compared_in_the_rounds_where_the_fastest_of_all_has_no_more(tmp_path: Path) -> None:
    other = records("faiss-factory", {"factory": "PCA4,IVF9"}, 1.75, 40)
    for one in other:
        if isinstance(one, Run):
            one.seconds["items"][:] = [1.5]
    assert at_equal_bytes(measured(tmp_path, OWN, other), 0.95) == pytest.approx(1.5)


def test_the_worst_kind_of_query_counts(tmp_path: Path) -> None:
    other = records("scann", {"leaves": 9}, 3.0, 60)
    for one in other:
        if isinstance(one, Run):
            one.seconds["texts"][:] = [2.2]
    assert ratios(measured(tmp_path, OWN, other))["batch, ScaNN"] == pytest.approx(1.1)


def test_without_nestvec_there_is_nothing_to_compare(tmp_path: Path) -> None:
    assert glanced(measured(tmp_path, records("hnswlib", {"M": 16}, 4.0, 90))) == []
