"""The comparison with others: how winners are chosen, what is read and written, and a worker with a system in it."""

from __future__ import annotations

import json
import mmap
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from indexers.base import Neighbors
from indexers.exact import exact_search
from scripts.bench.rivals import hdf5, report
from scripts.bench.rivals.choice import Contender, choose, contenders, front, graded, line_ends, winners
from scripts.bench.rivals.figures import read_all, read_figures
from scripts.bench.rivals.inputs import FRESH, TUNE, Asked, Inputs, make_inputs
from scripts.bench.rivals.measuring import Bench, Options, contender_of
from scripts.bench.rivals.memory import Memory, descendants, parse_rollup, resident
from scripts.bench.rivals.records import BATCH, SINGLE, Book, Built, Run, Trial, Tuned, key_of, shown
from scripts.bench.rivals.session import RivalError, Session, python_of
from scripts.bench.rivals.systems import SYSTEMS, System
from tests.conftest import Data, structured

# FAISS is a dependency of nestvec: the one rival that runs without an environment of its own.
FLAT = System("faiss-flat", None, "faiss_factory", "flat")


@pytest.fixture(scope="module")
def data() -> Data:
    return structured(1200, 32, seed=5, nq=30)


@pytest.fixture(scope="module")
def inputs(data: Data, tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    folder = tmp_path_factory.mktemp("bench")
    np.save(folder / "all.npy", data.xb)
    kinds = {"items": Asked(data.xq), "texts": Asked(data.xt)}
    return make_inputs("toy", folder / "out", folder / "all.npy", 1000, kinds)


def trial(system: str, ef: int, recalls: tuple[float, float], qps: float, single: float | None = None) -> Trial:
    kinds = ("items", "texts")
    return Trial(
        system,
        {"M": 16},
        {"ef": ef},
        dict(zip(kinds, recalls, strict=True)),
        dict.fromkeys(kinds, qps),
        {} if single is None else dict.fromkeys(kinds, single),
    )


# -- choosing ------------------------------------------------------------------------------


def test_a_winner_finds_enough_on_every_kind_of_query() -> None:
    one_kind = trial("a", 16, (0.999, 0.94), 9000, 1e-4)
    both = trial("a", 32, (0.999, 0.96), 5000, 2e-4)
    slower = trial("a", 64, (0.999, 0.97), 3000, 3e-4)
    assert choose([slower, one_kind, both], 0.95, BATCH) == both
    assert choose([slower, one_kind, both], 0.99, BATCH) is None


def test_a_target_just_met_where_one_tunes_is_not_enough() -> None:
    assert choose([trial("a", 16, (0.9505, 0.9505), 9000)], 0.95, BATCH) is None


def test_batches_and_single_queries_have_winners_of_their_own() -> None:
    fast_batch, fast_single = trial("a", 1, (1, 1), 900, 9e-4), trial("a", 2, (1, 1), 800, 1e-4)
    unmeasured = trial("a", 3, (1, 1), 100)
    found = winners([fast_batch, fast_single, unmeasured, trial("b", 1, (1, 1), 9999, 1e-9)], "a")
    assert found[0.95, BATCH] == found[0.99, BATCH] == fast_batch
    assert found[0.95, SINGLE] == found[0.99, SINGLE] == fast_single


def test_a_single_setting_wins_by_what_is_typical_and_what_is_rare() -> None:
    steady = replace(trial("a", 1, (1, 1), 900, 1.1e-4), tail={"items": 2e-4, "texts": 2e-4})
    fast_mostly = replace(trial("a", 2, (1, 1), 900, 1e-4), tail={"items": 4e-4, "texts": 4e-4})
    assert choose([fast_mostly, steady], 0.95, SINGLE) == steady
    older = [replace(one, tail={}) for one in (steady, fast_mostly)]
    assert choose(older, 0.95, SINGLE) == older[1]


def test_each_winner_contends_once_and_mapped_where_that_is_possible() -> None:
    trials = [trial("a", 1, (1, 1), 900, 1e-4), trial("b", 1, (0.96, 0.96), 900, 1e-4)]
    found = contenders(trials, ["b"])
    expected = [("a", BATCH, False), ("a", SINGLE, False), ("b", BATCH, False), ("b", SINGLE, False)]
    assert [(one.system, one.mode, one.mapped) for one in found] == [*expected, ("b", SINGLE, True)]


def test_a_line_ends_when_it_finds_all_or_no_longer_gains() -> None:
    rising = [trial("a", 1, (0.8, 0.7), 9), trial("a", 2, (0.9, 0.8), 8)]
    assert not line_ends([]) and not line_ends(rising[:1]) and not line_ends(rising)
    assert line_ends([*rising, trial("a", 4, (0.9001, 0.8001), 7)])
    assert line_ends([trial("a", 1, (0.999, 0.993), 9)])


def test_the_front_holds_what_nothing_beats() -> None:
    points = [(0.9, 100.0), (0.95, 50.0), (0.94, 40.0), (0.99, 10.0), (0.9, 90.0)]
    assert front(points) == [(0.9, 100.0), (0.95, 50.0), (0.99, 10.0)]


# -- recall --------------------------------------------------------------------------------


def test_recall_counts_ties_once_and_no_answer_twice(data: Data) -> None:
    xb = np.concatenate([data.xb, data.xb[:1]])  # the first row twice: they tie
    xq = np.ascontiguousarray(data.xb[:1])
    truth = exact_search(xb, xq, 10)
    assert graded(truth.ids, truth, xb, xq) == 1.0
    only_best = exact_search(xb, xq, 1)
    assert graded(np.array([[len(xb) - 1]]), only_best, xb, xq) == 1.0
    again = np.repeat(truth.ids[:, :1], 10, axis=1)
    assert graded(again, truth, xb, xq) == pytest.approx(0.1)
    nothing = np.full((1, 10), -1)
    assert graded(nothing, truth, xb, xq) == 0.0
    assert graded(np.full((1, 10), len(xb) + 7), truth, xb, xq) == 0.0


def test_the_halves_are_apart_and_their_truth_is_of_the_rows_that_are_searched(data: Data, inputs: Inputs) -> None:
    assert len(inputs.xb) == 1000
    for kind, queries in (("items", data.xq), ("texts", data.xt)):
        parts = [inputs.parts[half, kind] for half in (TUNE, FRESH)]
        together = np.concatenate([part.queries for part in parts])
        assert sorted(map(bytes, together)) == sorted(map(bytes, np.unique(together, axis=0)))
        np.testing.assert_allclose(np.sort(together, axis=0), np.sort(queries, axis=0), atol=1e-6)
        for part in parts:
            np.testing.assert_array_equal(part.truth.ids, exact_search(data.xb[:1000], part.queries, 10).ids)


# -- memory --------------------------------------------------------------------------------

ROLLUP = """55d0c0000000-7ffd00000000 ---p 00000000 00:00 0                          [rollup]
Rss:              102400 kB
Pss:               90000 kB
Anonymous:         40960 kB
AnonHugePages:      2048 kB
"""


def test_smaps_are_read_and_told_apart() -> None:
    assert parse_rollup(ROLLUP) == Memory(anonymous=40960 * 1024, mapped=61440 * 1024)
    with pytest.raises(ValueError, match="Anonymous"):
        parse_rollup("Rss: 1 kB\n")


def test_what_is_taken_and_what_is_mapped_shows(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.ones(8 << 20, dtype=np.uint8))
    before = resident(os.getpid())
    # From the system, not from NumPy, whose allocator may still have pages of an earlier test.
    own = np.frombuffer(mmap.mmap(-1, 8 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS), dtype=np.uint8)
    own[:] = 1
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    assert own.sum() + mapped.sum() == 16 << 20
    taken = resident(os.getpid()) - before
    assert taken.anonymous >= 7 << 20
    assert taken.mapped >= 7 << 20


def test_children_count() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        assert {os.getpid(), child.pid} <= set(descendants(os.getpid()))


# -- the worker ----------------------------------------------------------------------------


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    with Session(FLAT, 1, tmp_path / "worker.log", 60) as session:
        yield session


def test_a_worker_builds_loads_and_searches(data: Data, inputs: Inputs, session: Session, tmp_path: Path) -> None:
    grid = session.order("grid", {"rows": 1000, "dim": 32})
    assert grid["builds"] == [{"params": {"factory": "Flat"}, "lines": [[{}]]}]
    (tmp_path / "index").mkdir()
    params = {"factory": "Flat"}
    order = {"xb": str(inputs.source), "folder": str(tmp_path / "index"), "params": params}
    built = session.order("build", order)
    assert built["seconds"] > 0 and built["used"] == built["disk"] >= 1000 * 32 * 4
    session.order("load", {"folder": str(tmp_path / "index"), "params": params, "mapped": True})
    part, out = inputs.parts[FRESH, "texts"], tmp_path / "found.npy"
    for mode, most, times in ((BATCH, None, 2), (SINGLE, 5, 5)):
        asked = {"queries": str(part.path), "params": {}, "k": 10, "mode": mode, "out": str(out)}
        answer = session.order("search", {**asked, "most": most, "repeats": 2, "budget": 60})
        n = 5 if most else len(part.queries)
        assert answer["queries"] == n and len(answer["seconds"]) == times
        truth = Neighbors(part.truth.scores[:n], part.truth.ids[:n])
        assert graded(np.load(out), truth, inputs.xb, part.queries[:n]) == 1.0
    assert set(session.order("memory")) == {"anonymous", "mapped"}


def test_a_worker_says_what_went_wrong_and_goes_on(session: Session, tmp_path: Path) -> None:
    with pytest.raises(RivalError, match="faiss-flat: load: RuntimeError"):
        session.order("load", {"folder": str(tmp_path), "params": {}, "mapped": False})
    assert session.order("grid", {"rows": 1000, "dim": 32})["can_map"] is True


def test_a_worker_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    with (
        Session(FLAT, 1, tmp_path / "worker.log", 0.01) as session,
        pytest.raises(RivalError, match="took longer than"),
    ):
        session.order("grid", {"rows": 1000, "dim": 32})


def test_a_rival_that_is_not_installed_says_how(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("NESTVEC_RIVALS", str(tmp_path))
    with pytest.raises(RivalError, match="scripts/bench/rivals/setup scann"):
        python_of(SYSTEMS["scann"])
    assert python_of(SYSTEMS["nestvec"]) == Path(sys.executable)


# -- from end to end -----------------------------------------------------------------------


@contextmanager
def compared(inputs: Inputs, rounds: int) -> Iterator[Bench]:
    """Measure plain FAISS, in the environment of nestvec."""
    report.write_machine(inputs, 1)
    said: list[str] = []
    bench = Bench(inputs, Book(inputs.folder / "records.jsonl"), Options(threads=1, repeats=rounds), said.append)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SYSTEMS, FLAT.name, FLAT)
        bench.tune(FLAT)
        bench.rounds([FLAT.name])
        yield bench


@pytest.fixture(scope="module")
def measured(inputs: Inputs) -> Iterator[Bench]:
    with compared(inputs, rounds=2) as bench:
        yield bench


def test_a_comparison_from_tuning_to_the_page(measured: Bench, tmp_path: Path) -> None:
    runs = measured.book.all(Run)
    modes = {(run.round, run.mode, run.mapped) for run in runs}
    assert modes == {(n, *how) for n in (0, 1) for how in ((BATCH, False), (SINGLE, False), (SINGLE, True))}
    assert all(run.recall == {"items": 1.0, "texts": 1.0} for run in runs)
    _, parquet, page, *plots = report.write(measured.inputs.folder.parent, tmp_path / "docs")
    assert "| faiss-flat |" in page.read_text() and "faiss-flat (mapped)" in page.read_text()
    assert parquet.stat().st_size > 0 and {path.suffix for path in plots} == {".png"}
    [found] = read_all(measured.inputs.folder.parent)
    assert found.value(FLAT.name, 0.99, BATCH, "recall") == 1.0
    qps = found.value(FLAT.name, 0.99, BATCH, "qps")
    assert qps is not None and qps > 0


def test_a_report_keeps_what_the_folder_does_not_hold(measured: Bench, tmp_path: Path) -> None:
    docs, empty = tmp_path / "docs", tmp_path / "empty"
    before = {path: path.read_bytes() for path in report.write(measured.inputs.folder.parent, docs)}
    empty.mkdir()
    written = report.write(empty, docs)
    assert {path.name for path in written} == {"rivals.md", "rivals.parquet"}
    assert {path: path.read_bytes() for path in before} == before

    other = tmp_path / "other" / "toy"
    other.mkdir(parents=True)
    for name in ("machine.json", "records.jsonl"):
        text = (measured.inputs.folder / name).read_text()
        (other / name).write_text(text.replace('"rows": 1000', '"rows": 500'))
    report.write(other.parent, docs)
    assert {path.stem for path in docs.glob("rivals-*.md")} == {"rivals-toy-1000", "rivals-toy-500"}
    assert [(one.name, one.rows) for one in read_figures(docs / "rivals.parquet")] == [("toy", 500), ("toy", 1000)]
    page = (docs / "rivals.md").read_text()
    assert "## toy: from 500 to 1,000 rows" in page and "| faiss-flat | " in page and "| 1.0× |" in page


def test_a_run_that_goes_on_does_nothing_twice(measured: Bench, tmp_path: Path) -> None:
    path, torn = tmp_path / "records.jsonl", b'{"kind": "Run", "rou'  # killed in the middle of a line
    before = (measured.inputs.folder / path.name).read_bytes() + torn
    path.write_bytes(before)
    again = Bench(measured.inputs, Book(path), measured.options, measured.say)
    again.tune(FLAT)
    again.rounds([FLAT.name])
    assert path.read_bytes() == before
    again.book.add([Tuned("other", {"M": 1})])
    assert Book(path).all(Tuned)[-1] == Tuned("other", {"M": 1})


def test_figures_of_other_threads_are_not_mixed_in(measured: Bench) -> None:
    report.write_machine(measured.inputs, 1)
    with pytest.raises(report.OtherThreads, match="was measured with 1 threads, not 2"):
        report.write_machine(measured.inputs, 2)


def test_records_come_back_as_they_were(tmp_path: Path) -> None:
    book = Book(tmp_path / "records.jsonl")
    records = [
        Built("a", "1.0", {"M": 16}, 1.5, 100, 90, 2),
        trial("a", 16, (0.9, 0.8), 100, 1e-3),
        Tuned("a", {"M": 16}, "it broke"),
        Run(0, "a", {"M": 16}, {"ef": 1}, SINGLE, True, 0.1, 5, 6, {"x": 1.0}, {"x": [0.1]}, [0.2], {"x": 1}),
    ]
    book.add(records)
    again = Book(tmp_path / "records.jsonl")
    assert [one for kind in (Built, Trial, Tuned, Run) for one in again.all(kind, "a")] == records
    assert contender_of(again.all(Run)[0]) == Contender("a", {"M": 16}, {"ef": 1}, SINGLE, True)
    assert key_of({"a": 1, "b": 2}) == key_of({"b": 2, "a": 1}) != key_of({"a": 1})
    assert shown({"factory": "Flat"}) == "Flat" and shown({"ef": 24}) == "ef=24"


# -- ann-benchmarks ------------------------------------------------------------------------


def write_ann(path: Path, data: Data, distance: str) -> None:
    truth = exact_search(data.xb, data.xq, 20)
    with h5py.File(path, "w") as out:
        out.attrs["distance"] = distance
        out.create_dataset("train", data=3 * data.xb)
        out.create_dataset("test", data=2 * data.xq)
        out.create_dataset("neighbors", data=truth.ids.astype("i"))
        out.create_dataset("distances", data=(1 - truth.scores).astype("f"))


def test_files_of_ann_benchmarks_are_read_and_results_written(data: Data, tmp_path: Path) -> None:
    write_ann(tmp_path / "toy-32-angular.hdf5", data, "angular")
    inputs = hdf5.read(tmp_path / "toy-32-angular.hdf5", tmp_path / "out")
    np.testing.assert_allclose(inputs.xb, data.xb, atol=1e-6)
    part = inputs.parts[TUNE, "test"]
    np.testing.assert_array_equal(part.truth.ids, exact_search(data.xb, part.queries, 10).ids)
    ids = exact_search(data.xb, data.xq, 10).ids
    ids[0, -1] = -1
    result = hdf5.Result(
        dataset=inputs.name,
        algo="flat",
        name="flat()",
        batch_mode=True,
        run_count=3,
        best_search_time=0.5,
        build_time=2.0,
        index_size=64.0,
        times=np.full(len(ids), 0.5, np.float32),
        neighbors=ids,
        distances=1 - hdf5.cosines(data.xb, data.xq, ids),
    )
    path = hdf5.write(tmp_path / "results", result, [{"M": 16}, {"ef": 32}])
    assert path.relative_to(tmp_path).as_posix() == "results/toy-32-angular/10/flat-batch/M_16_ef_32.hdf5"
    with h5py.File(path) as stored:
        assert stored.attrs["algo"] == "flat" and stored.attrs["batch_mode"] and stored.attrs["count"] == 10
        assert stored.attrs["best_search_time"] == 0.5 and stored.attrs["run_count"] == 3
        np.testing.assert_array_equal(stored["neighbors"], ids)
        assert np.isinf(stored["distances"][0, -1]) and stored["distances"][1, 0] < 1
        assert stored["times"].shape == (len(ids),)


def test_a_comparison_on_a_file_of_ann_benchmarks(data: Data, tmp_path: Path) -> None:
    write_ann(tmp_path / "toy-32-angular.hdf5", data, "angular")
    with compared(hdf5.read(tmp_path / "toy-32-angular.hdf5", tmp_path / "out"), rounds=1) as bench:
        written = [path.parent.name for path in hdf5.export(bench, [FLAT.name])]
        _, _, page, *_ = report.write(bench.inputs.folder.parent, tmp_path / "docs")
    assert sorted(written) == ["faiss-flat", "faiss-flat-batch"]
    assert "Kinds of query: test." in page.read_text() and "| faiss-flat |" in page.read_text()


def test_other_distances_are_refused(data: Data, tmp_path: Path) -> None:
    write_ann(tmp_path / "toy.hdf5", data, "euclidean")
    with pytest.raises(hdf5.NotAngular, match="expected the distance 'angular', found 'euclidean'"):
        hdf5.read(tmp_path / "toy.hdf5", tmp_path / "out")


def test_files_of_another_kind_are_refused(tmp_path: Path) -> None:
    (tmp_path / "toy.hdf5").write_bytes(b"no such thing")
    with pytest.raises(hdf5.NotAngular, match="expected an HDF5 file"):
        hdf5.read(tmp_path / "toy.hdf5", tmp_path / "out")


def test_the_command_says_what_it_needs(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "scripts.bench", "rivals", str(tmp_path)]
    for arguments, wanted in (([], "name one of"), (["--systems", "oracle"], "name one of")):
        done = subprocess.run([*command, *arguments], capture_output=True, text=True)
        assert done.returncode == 2 and wanted in done.stderr
    np.save(tmp_path / "x.npy", np.eye(4, dtype=np.float32))
    done = subprocess.run([*command, "--vectors", str(tmp_path / "x.npy")], capture_output=True, text=True)
    assert done.returncode == 2 and "--queries KIND=FILE.npy" in done.stderr
    assert json.dumps(done.stdout) == '""'
