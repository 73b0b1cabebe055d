"""The driver's end of a process that is measured: starts it, gives orders, and takes what it answers."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from scripts import ROOT
from scripts.bench.rivals.systems import System

# One for each library that has its own idea of how many threads there are.
THREADS = (
    "NESTVEC_THREADS",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "RAYON_NUM_THREADS",
    "TOKIO_WORKER_THREADS",
    "LANCE_CPU_THREADS",
)


def surroundings(threads: int) -> dict[str, str]:
    """Return the environment of a process that has so many threads and finds this checkout's packages first."""
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, **dict.fromkeys(THREADS, str(threads)), "PYTHONPATH": path}


class RivalError(Exception):
    """A system failed, took too long, or is not installed."""


def python_of(system: System) -> Path:
    """Return the interpreter of a system's environment.

    Raises:
        RivalError: scripts/bench/rivals/setup has not made it.
    """
    if system.environment is None:
        return Path(sys.executable)
    root = Path(os.environ.get("NESTVEC_RIVALS", ROOT / ".rivals"))
    python = root / system.environment / "bin" / "python"
    if not (root / system.environment / ".stamp").exists():
        raise RivalError(f"{system.name} is not installed; run scripts/bench/rivals/setup {system.environment}")
    return python


class Process:
    """A running process that takes orders, JSON lines both ways.

    Args:
        name: what errors call it.
        command: that starts it.
        environment: its variables.
        log: where its stderr goes.
        limit: seconds an order may take.
    """

    def __init__(
        self, name: str, command: Sequence[str], environment: Mapping[str, str], log: Path, limit: float
    ) -> None:
        self._name = name
        self._limit = limit
        self._log = log.open("ab")
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=self._log, env=environment)
        self._waiting = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def order(self, op: str, order: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Give an order and wait for its answer.

        Raises:
            RivalError: it failed, the worker died, or it took longer than the limit.
        """
        stdin = self._process.stdin
        assert stdin is not None
        try:
            stdin.write(json.dumps({"op": op, **(order or {})}).encode() + b"\n")
            stdin.flush()
        except BrokenPipeError as error:
            raise RivalError(f"{self._name}: the worker is gone; see {self._log.name}") from error
        answer: dict[str, Any] = json.loads(self._line(op))
        if "error" in answer:
            raise RivalError(f"{self._name}: {op}: {answer['error']}")
        return answer

    def _line(self, op: str) -> bytes:
        stdout = self._process.stdout
        assert stdout is not None
        deadline = time.monotonic() + self._limit
        with selectors.DefaultSelector() as selector:
            selector.register(stdout, selectors.EVENT_READ)
            while b"\n" not in self._waiting:
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    self._process.kill()
                    raise RivalError(f"{self._name}: {op} took longer than {self._limit:.0f} s")
                part = os.read(stdout.fileno(), 1 << 16)
                if not part:
                    raise RivalError(f"{self._name}: the worker died in {op}; see {self._log.name}")
                self._waiting += part
        line, _, self._waiting = self._waiting.partition(b"\n")
        return line

    def close(self) -> None:
        """Tell the worker to quit, and make sure that it does."""
        if self._process.stdin is not None:
            try:
                self._process.stdin.write(b'{"op": "quit"}\n')
                self._process.stdin.close()
            except BrokenPipeError:
                pass
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._log.close()


class Session(Process):
    """A running worker.

    Args:
        system: what it runs.
        threads: it may use.
        log: where its stderr goes.
        limit: seconds an order may take.
    """

    def __init__(self, system: System, threads: int, log: Path, limit: float) -> None:
        self.system = system
        command = [str(python_of(system)), "-P", "-m", "scripts.bench.rivals.worker", system.name, str(threads)]
        environment = {**surroundings(threads), "RUST_LOG": "error", "LANCE_LOG": "error"}
        super().__init__(system.name, command, environment, log, limit)
