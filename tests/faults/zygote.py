"""Commands by the hundred: one process imports everything, and forks for each command that is to fail somewhere.

    python -m tests.faults.zygote

reads one JSON order a line (`argv`, `root`, `at`, `how`, `limit`) and answers each with `status` (of the child, as
`os.waitstatus_to_exitcode` gives it), `steps` and `said`. It runs nothing itself: a fork of a process that had
threads would hang.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, Self

from tests.faults.shim import KILL, Shim

NEVER = -1
ROOT = Path(__file__).parents[2]


class Outcome(NamedTuple):
    """How a command ended.

    Attributes:
        status: exit code; negative for the signal that killed it.
        steps: counted before it ended; 0 if it was killed.
        said: what it printed, on both streams.
    """

    status: int
    steps: int
    said: str


class Zygote:
    """A warmed process that runs commands."""

    def __init__(self) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "NESTVEC_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.zygote"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=environment,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=20)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def run(self, root: Path, *argv: str | Path, at: int = NEVER, how: str = KILL, limit: int = 0) -> Outcome:
        """Run a `nestvec` command on a collection.

        Args:
            root: the collection, below which steps are counted.
            argv: the command's arguments.
            at: the step that fails; none if NEVER.
            how: see `shim`.
            limit: bytes that no file may exceed; 0 for none.
        """
        assert self._process.stdin is not None and self._process.stdout is not None
        order = {"argv": [str(one) for one in argv], "root": str(root), "at": at, "how": how, "limit": limit}
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return Outcome(**json.loads(self._process.stdout.readline()))


@contextmanager
def zygote() -> Iterator[Zygote]:
    """Start a warmed process for a while."""
    with Zygote() as started:
        yield started


def main() -> None:
    """Carry out orders until there are no more."""
    import engine.api
    import engine.cli
    import engine.cli.output
    import engine.jobs.repair

    for verb in engine.cli.VERBS:
        __import__(f"engine.cli.{verb.replace('-', '_')}")
    for line in sys.stdin:
        order = json.loads(line)
        # Pipes and not files: how much a file may hold is one of the things that are limited.
        told, steps = os.pipe()
        heard, said = os.pipe()
        child = os.fork()
        if child == 0:
            _carry_out(order, steps, said)
        os.close(steps)
        os.close(said)
        with os.fdopen(heard, "rb") as output, os.fdopen(told, "rb") as count:
            text = output.read().decode(errors="replace")
            number = int(count.read() or 0)
        _, status = os.waitpid(child, 0)
        answer = {"status": os.waitstatus_to_exitcode(status), "steps": number, "said": text}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def _carry_out(order: dict[str, object], steps: int, said: int) -> None:
    """Run one command in the forked process, and end it."""
    code = 70
    try:
        os.dup2(said, 1)
        os.dup2(said, 2)
        sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        if order["limit"]:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (int(str(order["limit"])), resource.RLIM_INFINITY))
        shim = Shim(Path(str(order["root"])), int(str(order["at"])), str(order["how"]))
        shim.install()
        from engine.cli import main as command

        argv = order["argv"]
        assert isinstance(argv, list)
        sys.argv = ["nestvec", *argv]
        try:
            command()
        except SystemExit as end:
            code = int(end.code or 0)
        os.write(steps, str(shim.steps).encode())
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    main()
