"""scripts/soak: searches go on, and are right, while others add, remove, compact and collect garbage."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np

from engine.api import Collection
from tests.helpers import clustered

THREADS, QUERIES = 4, 60


def test_ten_seconds_of_it() -> None:
    small = ("--seconds", "10", "--rows", "2000", "--dim", "32", "--processes", "2", "--threads", "2")
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.soak", *small],
        capture_output=True,
        text=True,
        env={**os.environ, "NESTVEC_THREADS": "1"},
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "nothing is wrong" in done.stdout
    assert "uncovered rows" in done.stdout


def test_many_threads_search_what_many_threads_refresh(tmp_path: Path) -> None:
    """Each thread searches and refreshes one open collection; every version holds one more of what is asked for."""
    x, q = clustered(3000, 16), clustered(1, 16, 1)[0]
    writer = Collection.create(tmp_path / "c.nest", encoder="precomputed", dim=16, dtype="float32")
    writer.add_vectors(x)
    failed: list[str] = []
    stop = threading.Event()

    def read(opened: Collection) -> None:
        before = 0
        while not stop.is_set():
            try:
                opened.refresh()
                answers = opened.search(q, k=QUERIES, exact=True)
                # What was added is the query itself: as many answers of score 1 as there were additions.
                found = int((answers.scores > 1 - 1e-5).sum())
                if found < before or len(set(answers.ids.tolist())) != len(answers):
                    failed.append(f"{found} after {before}")
                before = found
                assert len(answers.items) == QUERIES
            except Exception as error:
                failed.append(repr(error))

    with Collection.open(tmp_path / "c.nest") as opened:
        threads = [threading.Thread(target=read, args=(opened,)) for _ in range(THREADS)]
        for one in threads:
            one.start()
        for number in range(15):
            writer.add_vectors(np.asarray(q)[None, :], names=[f"same-{number}"])
        stop.set()
        for one in threads:
            one.join()
        opened.refresh()
        assert int((opened.search(q, k=QUERIES, exact=True).scores > 1 - 1e-5).sum()) == 15
    writer.close()
    assert not failed, failed[:5]


def test_one_of_many_that_refresh_does_it(tmp_path: Path) -> None:
    with Collection.create(tmp_path / "c.nest", encoder="precomputed", dim=8) as writer:
        writer.add_vectors(clustered(200, 8))
        with Collection.open(tmp_path / "c.nest") as opened:
            opened.search(np.ones(8, np.float32), k=3)
            held = opened.search(np.ones(8, np.float32), k=3)
            writer.add_vectors(clustered(5, 8, 1))
            moved: list[bool] = []
            start = threading.Barrier(THREADS)

            def refresh() -> None:
                start.wait()
                moved.append(opened.refresh())

            threads = [threading.Thread(target=refresh) for _ in range(THREADS)]
            for one in threads:
                one.start()
            for one in threads:
                one.join()
            assert sorted(moved) == [False] * (THREADS - 1) + [True]
            assert opened.version == writer.version
            assert len(opened) == 205
            assert len(held.items) == 3, "answers keep the version they were given from"
