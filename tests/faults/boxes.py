"""Executions in processes of their own: a parent that has imported everything and started nothing forks them.

A child works through a batch. What it is about to do is told beforehand, in a file and through a pipe, so that when it
dies or hangs the parent knows of what, and goes on with the next in another child.
"""

from __future__ import annotations

import faulthandler
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from indexers.errors import NestvecError
from tests.faults.bases import Base, build
from tests.faults.targets import Target

CPU_SECONDS, WALL_SECONDS = 5, 60
BATCH = 50
SHORTAGE = ("MemoryError", "bad_alloc", "not enough memory", "malloc of size", "realloc of size", "cannot allocate")


@dataclass(frozen=True)
class Run:
    """One execution.

    Attributes:
        number: which of the target's, by the seed; of a file that is replayed its place among them.
        slot: what the hostile file stood in for.
        outcome: "answers", the class of a named error, or what was found.
        data: the hostile file of a finding, as it can be replayed; empty for any other.
        detail: traceback of a finding, or what was written to stderr.
    """

    number: int
    slot: str
    outcome: str
    data: bytes = b""
    detail: str = ""

    @property
    def is_finding(self) -> bool:
        return bool(self.detail)


def prepare(folder: Path) -> Base:
    """Make the collections, in a child: this process must not start threads."""
    os.environ["NESTVEC_CACHE"] = "/dev/null/none"  # each file is hashed each time
    child = os.fork()
    if not child:
        code = 1
        try:
            build(folder)
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    if os.waitpid(child, 0)[1]:
        raise RuntimeError("the collections could not be made")
    return Base(folder)


def fuzz(base: Base, target: Target, seed: int, *, seconds: float, most: int | None = None) -> Iterator[Run]:
    """Yield executions until the time is over, or there were enough."""
    end, number = time.monotonic() + seconds, 0
    while time.monotonic() < end and (most is None or number < most):
        wanted = BATCH if most is None else min(BATCH, most - number)
        jobs = [(n, f"{target.name}:{seed}:{n}", None) for n in range(number, number + wanted)]
        for run in _batch(base, target, jobs, end):
            yield run
            number = run.number + 1


def replay(base: Base, target: Target, files: list[tuple[str, bytes]]) -> Iterator[Run]:
    """Yield executions of files that were kept: (slot, bytes) of each."""
    done = 0
    while done < len(files):
        jobs = [(n, "", files[n]) for n in range(done, len(files))]
        for run in _batch(base, target, jobs, time.monotonic() + WALL_SECONDS * len(files)):
            yield run
            done = run.number + 1


Job = tuple[int, str, "tuple[str, bytes] | None"]


def _batch(base: Base, target: Target, jobs: list[Job], end: float) -> Iterator[Run]:
    """Fork a child for some jobs and tell what it reports; ends early where it does."""
    with tempfile.TemporaryDirectory() as folder:
        box = Path(folder)
        shutil.copytree(base.folder, box / "base")
        reader, writer = os.pipe()
        child = os.fork()
        if not child:
            try:
                os.close(reader)
                _work(Base(box / "base"), target, jobs, box, writer, end)
            finally:
                os._exit(0)
        os.close(writer)
        yield from _reports(child, reader, box, base)


def _reports(child: int, reader: int, box: Path, base: Base) -> Iterator[Run]:
    started: tuple[int, str] | None = None
    with os.fdopen(reader, "r", encoding="utf-8") as lines:
        for line in lines:
            kind, number, slot, outcome = line.rstrip("\n").split("\t")
            if kind == "start":
                started = int(number), slot
                continue
            started = None
            finding = kind == "found"
            data = base.portable(slot, (box / f"found-{number}").read_bytes()) if finding else b""
            detail = (box / f"detail-{number}").read_text() if finding else ""
            yield Run(int(number), slot, outcome, data, detail)
    status = os.waitpid(child, 0)[1]
    if started is not None:
        number, slot = started
        name = signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else f"exit {status >> 8}"
        outcome = "timeout" if name in ("SIGPROF", "SIGALRM") else name
        said = (box / "stderr").read_text(errors="replace")[-3000:]
        # Portable names are those of the child's own copy, which are the base's.
        yield Run(number, slot, outcome, base.portable(slot, (box / "hostile").read_bytes()), said or outcome)


def _work(base: Base, target: Target, jobs: list[Job], box: Path, writer: int, end: float) -> None:
    """Do the jobs, in the child."""
    errors = os.open(box / "stderr", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(errors, 1)
    os.dup2(errors, 2)
    faulthandler.enable(os.fdopen(errors, "w"))
    os.chdir(box)
    kept, seeds = base.kept, target.seeds(base)
    others = [seed.data for seed in seeds]
    limit = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE") + target.memory
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    assert kept

    def tell(*parts: object) -> None:
        os.write(writer, ("\t".join(map(str, parts)) + "\n").encode())

    for number, text, given in jobs:
        if time.monotonic() > end:
            return
        if given is None:
            rng = random.Random(text)
            seed = rng.choice(seeds)
            slot, data = seed.slot, target.make(base, seed, rng, others)
        else:
            slot, data = given[0], base.local(*given)
        (box / "hostile").write_bytes(data)
        tell("start", number, slot, "")
        before = sorted(box.iterdir())
        signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
        signal.setitimer(signal.ITIMER_REAL, WALL_SECONDS)
        outcome, detail = _outcome(base, target, slot, data)
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        if sorted(box.iterdir()) != before:
            outcome, detail = "a file outside", "\n".join(map(str, box.iterdir()))
        base.restore()
        if detail:
            (box / f"detail-{number}").write_text(detail)
            (box / f"found-{number}").write_bytes(data)
        tell("found" if detail else "done", number, slot, outcome)
        sys.stderr.flush()


def _outcome(base: Base, target: Target, slot: str, data: bytes) -> tuple[str, str]:
    """Return what came of it, and where it is a finding, how."""
    try:
        target.work(base, slot, data)
    except NestvecError as error:
        if short := _shortage(error):
            return "memory", f"{short}\n{traceback.format_exc()[-4000:]}"
        return type(error).__name__, ""
    except BaseException as error:
        last = traceback.extract_tb(error.__traceback__)
        ours = next((one for one in reversed(last) if "site-packages" not in one.filename), last[-1])
        place = f"{Path(ours.filename).name}:{ours.lineno}"
        return f"{type(error).__name__} at {place}", traceback.format_exc()[-4000:]
    return "answers", ""


def _shortage(error: BaseException | None) -> str:
    """Say whether memory ran out on the way to an error."""
    while error is not None:
        text = f"{type(error).__name__}: {error}"
        if any(sign.lower() in text.lower() for sign in SHORTAGE):
            return text[:100].replace("\n", " ").replace("\t", " ")
        error = error.__cause__ or error.__context__
    return ""
