"""One system in one process: reads orders as JSON lines on stdin, answers each with a JSON line on stdout.

    python worker.py SYSTEM THREADS

It runs in the system's own environment, on as many cores as it has threads. Orders are `grid`, `build`, `load`,
`search`, `memory` and `quit`; an answer has `error` where an order failed. What libraries print goes to stderr.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np  # noqa: E402

from rivals.base import Adapter, Floats, Ids, all_bytes  # noqa: E402
from rivals.memory import Memory, resident  # noqa: E402
from rivals.systems import SYSTEMS  # noqa: E402

WARM_UP = 32
LEAST_SINGLE = 50

Order = Mapping[str, Any]
Answer = dict[str, Any]


class Worker:
    """Carries out orders with one adapter."""

    def __init__(self, adapter: Adapter, threads: int) -> None:
        self._adapter = adapter
        self._threads = threads
        self._baseline = Memory(0, 0)
        self._orders: dict[str, Callable[[Order], Answer]] = {
            "grid": self._grid,
            "build": self._build,
            "load": self._load,
            "search": self._search,
            "memory": self._memory,
        }

    def obey(self, order: Order) -> Answer:
        """Carry out one order; whatever goes wrong is the answer."""
        try:
            return self._orders[order["op"]](order)
        except Exception as error:
            traceback.print_exc()
            return {"error": f"{type(error).__name__}: {error}".splitlines()[0][:500]}

    def _grid(self, order: Order) -> Answer:
        builds = self._adapter.grid(order["rows"], order["dim"])
        return {
            "version": self._adapter.version,
            "can_map": self._adapter.can_map,
            "builds": [{"params": one.params, "lines": one.lines} for one in builds],
        }

    def _build(self, order: Order) -> Answer:
        source, folder = Path(order["xb"]), Path(order["folder"])
        xb = np.load(source)
        started = time.perf_counter()
        self._adapter.build(xb, source, folder, order["params"], self._threads)
        seconds = time.perf_counter() - started
        return {"seconds": seconds, "disk": all_bytes(folder), "used": self._adapter.used_bytes(folder)}

    def _load(self, order: Order) -> Answer:
        self._baseline = resident(os.getpid())
        started = time.perf_counter()
        self._adapter.load(Path(order["folder"]), order["params"], self._threads, order["mapped"])
        return {"seconds": time.perf_counter() - started}

    def _search(self, order: Order) -> Answer:
        # Mapped, so that queries are not counted as memory of who is asked; a copy of what anybody should write to.
        xq: Floats = np.asarray(np.load(order["queries"], mmap_mode="c"))[: order.get("most")]
        self._adapter.use(order["params"])
        timed = _one_by_one if order["mode"] == "single" else _at_once
        ids, seconds = timed(self._adapter, xq, order)
        np.save(order["out"], ids)
        return {"seconds": seconds, "queries": len(ids)}

    def _memory(self, order: Order) -> Answer:
        own = resident(os.getpid()) - self._baseline
        return {"anonymous": own.anonymous, "mapped": own.mapped}


def _at_once(adapter: Adapter, xq: Floats, order: Order) -> tuple[Ids, list[float]]:
    """Search all queries in one call, several times; return the seconds of each."""
    adapter.search(xq[:WARM_UP], order["k"])
    seconds: list[float] = []
    while not seconds or (len(seconds) < order["repeats"] and sum(seconds) < order["budget"]):
        started = time.perf_counter()
        ids = adapter.search(xq, order["k"])
        seconds.append(time.perf_counter() - started)
    return ids, seconds


def _one_by_one(adapter: Adapter, xq: Floats, order: Order) -> tuple[Ids, list[float]]:
    """Search query after query until the budget is used up; return the seconds of each."""
    if not order.get("cold", False):
        for row in range(min(WARM_UP, len(xq))):
            adapter.search(xq[row : row + 1], order["k"])
    found, seconds, total = [], [], 0.0
    for row in range(len(xq)):
        query = xq[row : row + 1]
        started = time.perf_counter()
        found.append(adapter.search(query, order["k"]))
        seconds.append(time.perf_counter() - started)
        total += seconds[-1]
        if total > order["budget"] and row + 1 >= LEAST_SINGLE:
            break
    return np.concatenate(found), seconds


def own_cores(threads: int) -> None:
    """Stay on as many cores as there are threads, the last of those that are allowed."""
    if hasattr(os, "sched_setaffinity"):
        allowed = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, allowed[-threads:])


def main() -> None:
    """Serve until told to quit, or until stdin ends."""
    name, threads = sys.argv[1], int(sys.argv[2])
    # Libraries print; the real stdout is kept for answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    own_cores(threads)
    system = SYSTEMS[name]
    worker = Worker(importlib.import_module(f"rivals.{system.module}").make(system.variant), threads)
    for line in sys.stdin:
        order = json.loads(line)
        if order["op"] == "quit":
            break
        answers.write(json.dumps(worker.obey(order)) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
