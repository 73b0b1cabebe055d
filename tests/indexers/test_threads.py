"""How many cores there are to share."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import faiss
import pytest

from indexers.errors import InvalidInput
from indexers.threads import VARIABLE, available_cores, on_one_thread


def test_all_that_the_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    assert available_cores() == len(os.sched_getaffinity(0))
    monkeypatch.setenv(VARIABLE, " ")
    assert available_cores() == len(os.sched_getaffinity(0))


def test_fewer_where_wanted_and_never_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "1")
    assert available_cores() == 1
    monkeypatch.setenv(VARIABLE, "100000")
    assert available_cores() == len(os.sched_getaffinity(0))


@pytest.mark.parametrize("value", ["0", "-1", "two", "1.5", "²", "٣x", "9" * 5000])
def test_other_values_are_refused(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv(VARIABLE, value)
    with pytest.raises(InvalidInput, match=VARIABLE):
        available_cores()


def test_one_thread_for_whoever_asks_and_no_one_else() -> None:
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(3)
    seen: list[int] = []
    try:
        with pytest.raises(ZeroDivisionError), on_one_thread():
            seen.append(faiss.omp_get_max_threads())
            beside = threading.Thread(target=lambda: seen.append(faiss.omp_get_max_threads()))
            beside.start()
            beside.join()
            raise ZeroDivisionError
        assert faiss.omp_get_max_threads() == 3
    finally:
        faiss.omp_set_num_threads(before)
    assert seen == [1, alone()]


def alone() -> int:
    """What a thread that nobody spoke to works with."""
    found: list[int] = []
    fresh = threading.Thread(target=lambda: found.append(faiss.omp_get_max_threads()))
    fresh.start()
    fresh.join()
    return found[0]


@pytest.mark.parametrize(("said", "kept"), [({}, "20"), ({"OPENBLAS_THREAD_TIMEOUT": "26"}, "26")])
def test_idle_threads_of_numpy_are_told_to_sleep_before_it_is_imported(said: dict[str, str], kept: str) -> None:
    code = "import engine, os, sys; print(os.environ['OPENBLAS_THREAD_TIMEOUT'], 'numpy' in sys.modules)"
    environment = {name: value for name, value in os.environ.items() if name != "OPENBLAS_THREAD_TIMEOUT"}
    told = subprocess.run(
        [sys.executable, "-c", code], env={**environment, **said}, capture_output=True, text=True, check=True
    )
    assert told.stdout.split() == [kept, "False"]
