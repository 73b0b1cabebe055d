"""Rivals that search under filters, each in a process with its own environment; orders come as JSON lines.

    python -m scripts.bench.rivals.filtered SYSTEM THREADS

`open` says where vectors and columns are and where a system may keep what it makes of them; `search` asks one query in
every way the system has, several times; `quit` ends it. What libraries print goes to stderr.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from scripts.bench.rivals.base import Floats
from scripts.bench.rivals.session import Process, python_of, surroundings
from scripts.bench.rivals.systems import System
from scripts.bench.rivals.worker import own_cores
from scripts.bench.timing import clocked

FILTERED = {
    one.name: one
    for one in (System("qdrant-edge", "qdrant-edge", "edge"), System("lancedb-filtered", "lancedb", "lance_filtered"))
}
LIMIT = 7200.0
"""Seconds that an order may take: graphs over many rows are made in one."""

Where = Mapping[str, Any]
"""A filter: `below` a number that `part` is less than, `tags` that a row has all of, or `ids` that may answer."""

Search = Callable[[Floats, int], Any]
"""A search for one query, float32 [D], and k → ids."""


class Filtered(Protocol):
    """A system as this benchmark sees it.

    Attributes:
        version: of the library.
    """

    version: str

    def open(self, vectors: Path, columns: Path, folder: Path, threads: int) -> None:
        """Index unit vectors, a .npy file [n, D], with `part` and `tags` of a Parquet file, unless `folder` has it."""

    def ways(self, where: Where) -> dict[str, Search]:
        """Return the searches there are, by what they are called; the filter is made ready as far as it can be."""


class Rival(Process):
    """A running worker of this module.

    Args:
        system: of `FILTERED`.
        threads: it may use.
        log: where its stderr goes.
    """

    def __init__(self, system: System, threads: int, log: Path) -> None:
        command = [str(python_of(system)), "-P", "-m", "scripts.bench.rivals.filtered", system.name, str(threads)]
        environment = {**surroundings(threads), "RUST_LOG": "error", "LANCE_LOG": "error"}
        super().__init__(system.name, command, environment, log, LIMIT)


def _obey(rival: Filtered, order: Mapping[str, Any], threads: int) -> dict[str, Any]:
    try:
        if order["op"] == "open":
            rival.open(*(Path(order[name]) for name in ("vectors", "columns", "folder")), threads)
            return {"version": rival.version}
        q, k = np.array(order["query"], np.float32), int(order["k"])
        answers = {}
        for way, search in rival.ways(order["where"]).items():
            found = [clocked(search, q, k) for _ in range(order["rounds"])]
            answers[way] = {"ids": [int(one) for one in found[-1][0]], "seconds": [seconds for _, seconds in found]}
        return {"found": answers}
    except Exception as error:
        traceback.print_exc()
        return {"error": f"{type(error).__name__}: {error}".splitlines()[0][:500]}


def main() -> None:
    """Serve until told to quit, or until stdin ends."""
    name, threads = sys.argv[1], int(sys.argv[2])
    # Libraries print; the real stdout is kept for answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    rival: Filtered = importlib.import_module(f"scripts.bench.rivals.{FILTERED[name].module}").make()
    for line in sys.stdin:
        order = json.loads(line)
        if order["op"] == "quit":
            break
        if order["op"] == "search":
            own_cores(threads)  # what is made may use all of them
        answers.write(json.dumps(_obey(rival, order, threads)) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
