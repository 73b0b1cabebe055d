"""One system in one process: reads orders as JSON lines on stdin, answers each with a JSON line on stdout.

    python -m scripts.bench.rivals.worker SYSTEM THREADS

It runs in the system's own environment, on as many cores as it has threads. Orders are `grid`, `build`, `load`,
`search`, `memory` and `quit`; an answer has `error` where an order failed. What libraries print goes to stderr.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from scripts.bench.rivals.base import Adapter, Floats, Ids, all_bytes
from scripts.bench.rivals.memory import Memory, resident
from scripts.bench.rivals.systems import SYSTEMS
from scripts.bench.timing import clocked

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
        _, seconds = clocked(self._adapter.build, xb, source, folder, order["params"], self._threads)
        return {"seconds": seconds, "disk": all_bytes(folder), "used": self._adapter.used_bytes(folder)}

    def _load(self, order: Order) -> Answer:
        self._baseline = resident(os.getpid())
        how = order["params"], self._threads, order["mapped"]
        return {"seconds": clocked(self._adapter.load, Path(order["folder"]), *how)[1]}

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
        ids, taken = clocked(adapter.search, xq, order["k"])
        seconds.append(taken)
    return ids, seconds


def _one_by_one(adapter: Adapter, xq: Floats, order: Order) -> tuple[Ids, list[float]]:
    """Search query after query until the budget is used up; return the seconds of each."""
    if not order.get("cold", False):
        for row in range(min(WARM_UP, len(xq))):
            adapter.search(xq[row : row + 1], order["k"])
    found, seconds, total = [], [], 0.0
    for row in range(len(xq)):
        ids, taken = clocked(adapter.search, xq[row : row + 1], order["k"])
        found.append(ids)
        seconds.append(taken)
        total += taken
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
    worker = Worker(importlib.import_module(f"scripts.bench.rivals.{system.module}").make(system.variant), threads)
    for line in sys.stdin:
        order = json.loads(line)
        if order["op"] == "quit":
            break
        answers.write(json.dumps(worker.obey(order)) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
