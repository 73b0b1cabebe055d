"""Builds, tunes and measures systems; every figure goes into the book as soon as it is there."""

from __future__ import annotations

import os
import shutil
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from scripts.bench.rivals.choice import Contender, contenders, graded, line_ends, winners
from scripts.bench.rivals.inputs import FRESH, TUNE, Inputs, K, Part
from scripts.bench.rivals.records import BATCH, SINGLE, Book, Built, Params, Run, Trial, Tuned, key_of, shown
from scripts.bench.rivals.session import RivalError, Session
from scripts.bench.rivals.systems import SYSTEMS, System

WORTH = 0.85  # below this recall nobody waits for latencies
TUNING_QUERIES = 150
SINGLE_QUERIES = 400
SLOW_QUERIES = 500
TUNING_BUDGET = 5.0
COLD_QUERIES = 50

Say = Callable[[str], None]


@dataclass(frozen=True)
class Options:
    """How to measure.

    Attributes:
        threads: for builds and batches; a single query has one.
        repeats: rounds.
        build_rounds: how many times each winner is built.
        most_builds: of each system's grid, the first so many; all if None.
        budget: seconds after which a measurement of one kind of query stops.
        limit: seconds an order to a worker may take.
    """

    threads: int = 2
    repeats: int = 5
    build_rounds: int = 1
    most_builds: int | None = None
    budget: float = 20.0
    limit: float = 3 * 3600.0


@dataclass(frozen=True)
class Bench:
    """One data set under measurement."""

    inputs: Inputs
    book: Book
    options: Options
    say: Say

    # -- workers ---------------------------------------------------------------------------

    def session(self, system: System, threads: int) -> Session:
        """Start a worker."""
        return Session(system, threads, self.inputs.folder / f"{system.name}.log", self.options.limit)

    def built_folder(self, system: System, build: Params) -> Path:
        """Return where a build lies, or will."""
        return self.inputs.folder / "builds" / system.name / key_of(build)

    def load(self, session: Session, build: Params, mapped: bool = False) -> float:
        """Load a build and return the seconds it took."""
        folder = self.built_folder(session.system, build)
        return float(session.order("load", {"folder": str(folder), "params": build, "mapped": mapped})["seconds"])

    def ask(self, session: Session, part: Part, search: Params, mode: str, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Search queries and return the answer with `recall` added."""
        out = self.inputs.folder / "found.npy"
        order = {"queries": str(part.path), "params": search, "k": K, "mode": mode, "out": str(out), **asked}
        answer = session.order("search", order)
        found = np.load(out)
        first = first_of(part, len(found))
        return {**answer, "recall": graded(found, first.truth, self.inputs.xb, first.queries)}

    # -- building --------------------------------------------------------------------------

    def build(self, system: System, build: Params, folder: Path, version: str) -> None:
        """Build into a new folder, which appears when it is whole."""
        scratch = folder.with_name(f"{folder.name}.partial")
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        self.say(f"{system.name}: building {shown(build)}")
        threads = self.options.threads
        order = {"xb": str(self.inputs.source), "folder": str(scratch), "params": build}
        with self.session(system, threads) as session:
            made = session.order("build", order)
        self.book.add([Built(system.name, version, build, made["seconds"], made["disk"], made["used"], threads)])
        shutil.rmtree(folder, ignore_errors=True)
        scratch.rename(folder)

    # -- tuning ----------------------------------------------------------------------------

    def tune(self, system: System) -> None:
        """Try a system's builds and settings on the tuning half; those that worked before are left out."""
        with self.session(system, 1) as session:
            grid = session.order("grid", {"rows": len(self.inputs.xb), "dim": self.inputs.xb.shape[1]})
        done = {key_of(one.build) for one in self.book.all(Tuned, system.name) if one.error is None}
        for one in grid["builds"][: self.options.most_builds]:
            if key_of(one["params"]) in done:
                continue
            try:
                self.tune_build(system, one["params"], one["lines"], grid["version"])
            except RivalError as error:
                self.say(str(error))
                self.book.add(
                    [Tuned(system.name, one["params"], str(error).replace(str(self.inputs.folder), "FOLDER"))]
                )
            self.prune(system)

    def tune_build(self, system: System, build: Params, lines: Sequence[Sequence[Params]], version: str) -> None:
        """Build once and try every line of settings."""
        folder = self.built_folder(system, build)
        if not folder.exists():
            self.build(system, build, folder, version)
        self.say(f"{system.name}: tuning {shown(build)}")
        trials: list[Trial] = []
        with self.session(system, self.options.threads) as session:
            self.load(session, build)
            for line in lines:
                tried: list[Trial] = []
                for search in line:
                    if line_ends(tried):
                        break
                    tried.append(self.try_batch(session, build, search))
                trials += tried
        with self.session(system, 1) as session:
            self.load(session, build)
            trials = [self.try_single(session, one) if worth(one) else one for one in trials]
        self.book.add([*trials, Tuned(system.name, build)])
        best = max((min(one.recall.values()) for one in trials), default=0.0)
        self.say(f"{system.name}: {len(trials)} settings, recall up to {best:.3f}")

    def try_batch(self, session: Session, build: Params, search: Params) -> Trial:
        """Measure recall and batch speed of one setting, on few queries where it finds little, or is slow."""
        recalls, qps = {}, {}
        for kind, part in self.inputs.half(TUNE).items():
            asked = {"repeats": 2, "budget": TUNING_BUDGET / 5}
            found = self.ask(session, part, search, BATCH, {**asked, "most": TUNING_QUERIES})
            slow = min(found["seconds"]) / found["queries"] * len(part.queries) > TUNING_BUDGET
            if found["recall"] >= WORTH:
                found = self.ask(session, part, search, BATCH, {**asked, "most": SLOW_QUERIES if slow else None})
            recalls[kind], qps[kind] = found["recall"], found["queries"] / min(found["seconds"])
        return Trial(session.system.name, build, search, recalls, qps)

    def try_single(self, session: Session, trial: Trial) -> Trial:
        """Add the time of single queries: mean and 99th percentile of the better of two passes."""
        asked = {"most": SINGLE_QUERIES, "budget": TUNING_BUDGET}
        single, tail = {}, {}
        for kind, part in self.inputs.half(TUNE).items():
            passes = [self.ask(session, part, trial.search, SINGLE, asked)["seconds"] for _ in range(2)]
            best = [min(pair) for pair in zip(*passes, strict=False)]
            single[kind], tail[kind] = statistics.fmean(best), float(np.percentile(best, 99))
        return replace(trial, single=single, tail=tail)

    def prune(self, system: System) -> None:
        """Delete the builds of a system that hold none of its winners."""
        kept = {key_of(one.build) for one in winners(self.book.all(Trial, system.name), system.name).values()}
        for folder in (self.inputs.folder / "builds" / system.name).glob("*"):
            if folder.name not in kept:
                shutil.rmtree(folder)

    # -- the final rounds --------------------------------------------------------------------

    def rounds(self, names: Sequence[str]) -> None:
        """Measure the winners of all systems in alternating rounds on the fresh half."""
        trials = [one for name in names for one in self.book.all(Trial, name)]
        mappers = [name for name in names if self.can_map(SYSTEMS[name])]
        final = contenders(trials, mappers)
        for number in range(self.options.repeats):
            # Who begins rotates, so that none always follows the same other.
            first = number * max(1, len(final) // self.options.repeats)
            for one in (*final[first:], *final[:first]):
                if not self.was_run(number, one):
                    self.attempt(number, one)

    def attempt(self, number: int, one: Contender) -> None:
        """Measure a contender in a round; a failure is said and costs no more than that."""
        try:
            self.book.add([self.run(number, one)])
        except RivalError as error:
            self.say(str(error))

    def can_map(self, system: System) -> bool:
        """Ask a system whether it can serve from a mapped file."""
        with self.session(system, 1) as session:
            return bool(session.order("grid", {"rows": len(self.inputs.xb), "dim": self.inputs.xb.shape[1]})["can_map"])

    def was_run(self, number: int, one: Contender) -> bool:
        """Say whether a round of this contender is in the book."""
        return any(number == run.round and one == contender_of(run) for run in self.book.all(Run, one.system))

    def rebuild(self, names: Sequence[str]) -> None:
        """Build the winners of systems once more, for the median of build times, until there are enough."""
        final = contenders([one for name in names for one in self.book.all(Trial, name)], ())
        for system, build in {(one.system, key_of(one.build)): (one.system, one.build) for one in final}.values():
            made = [one for one in self.book.all(Built, system) if one.params == build]
            if len(made) < self.options.build_rounds:
                self.build(SYSTEMS[system], build, self.built_folder(SYSTEMS[system], build), made[0].version)

    def run(self, number: int, one: Contender) -> Run:
        """Measure one contender in a fresh process."""
        system = SYSTEMS[one.system]
        folder = self.built_folder(system, one.build)
        if not folder.exists():
            self.build(system, one.build, folder, self.book.all(Built, one.system)[0].version)
        self.say(f"round {number + 1}: {one.system} {one.mode}{' mapped' if one.mapped else ''} {shown(one.search)}")
        single = one.mode == SINGLE
        fresh = self.inputs.half(FRESH)
        if single:
            drop_cached(folder)
        cold: list[float] = []
        recalls, seconds, queries = {}, {}, {}
        with self.session(system, 1 if single else self.options.threads) as session:
            loaded = self.load(session, one.build, one.mapped)
            if single:
                asked = {"most": COLD_QUERIES, "budget": self.options.budget, "cold": True}
                cold = [s for p in fresh.values() for s in self.ask(session, p, one.search, SINGLE, asked)["seconds"]]
            for kind, part in fresh.items():
                asked = {"repeats": 3, "budget": self.options.budget, "cold": False}
                # Once unmeasured: memory that is mapped is then as warm as it gets, and every cache as warm as it is.
                self.ask(session, part, one.search, one.mode, asked)
                found = self.ask(session, part, one.search, one.mode, asked)
                recalls[kind], seconds[kind], queries[kind] = found["recall"], found["seconds"], found["queries"]
            memory = session.order("memory")
        return Run(
            round=number,
            system=one.system,
            build=one.build,
            search=one.search,
            mode=one.mode,
            mapped=one.mapped,
            load=loaded,
            anonymous=memory["anonymous"],
            mapped_bytes=memory["mapped"],
            recall=recalls,
            seconds=seconds,
            cold=cold,
            queries=queries,
        )


def first_of(part: Part, n: int) -> Part:
    """Return the first n queries of a part."""
    truth = part.truth._replace(scores=part.truth.scores[:n], ids=part.truth.ids[:n])
    return replace(part, queries=part.queries[:n], truth=truth)


def contender_of(run: Run) -> Contender:
    """Return what a run was a run of."""
    return Contender(run.system, run.build, run.search, run.mode, run.mapped)


def worth(trial: Trial) -> bool:
    """Say whether anybody would wait for the latencies of a setting."""
    return min(trial.recall.values()) >= WORTH


def drop_cached(folder: Path) -> None:
    """Ask the system to forget the pages of every file below a folder."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
