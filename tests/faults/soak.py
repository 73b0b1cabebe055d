"""Search a collection from many threads and processes while others add, remove, compact and collect garbage.

    scripts/soak                                     # ten minutes
    scripts/soak --seconds 60 --rows 5000 --processes 1 --threads 2
    scripts/soak --keep /tmp/soak --seed 7           # where the collection is made, and left

Every answer is checked against the vectors of the version it was answered from: an exact one must be the k best, ties
allowed; one by the default plan must be of live rows with their scores, and find --recall of the best on average. At
the end the collection must hold what was added and not removed. Readers refresh as they go; watched are their
anonymous memory and open files, and how long a search takes by how many rows no index covers yet.
Exits with 1 if anything is wrong.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}

import click
import numpy as np

from engine.api import Collection
from engine.collection.commit import current_version
from engine.collection.garbage import collect
from engine.collection.snapshot import Snapshot
from engine.collection.verify import verify
from engine.jobs.due import TAIL_ROWS, TAIL_SHARE, tail_rows
from indexers.errors import CommitConflict
from indexers.threads import VARIABLE
from indexers.vectors import FloatArray

K = 10
CENTRES = 400
FIRST = "first"
BATCH_ROWS = (50, 600)
RESTS, RESTED = (0.0, 0.3, 4.0, 15.0), (5, 5, 1, 1)  # seconds between two batches, and how often
QUIET_SECONDS = 1.0
# float32 sums of D products in another order; stored vectors and queries are of unit length.
TOLERANCE = 3e-6
# A search may take as much longer with the most rows that no index covers as a scan of them does, and some for chance.
SLOWER, CHANCE_SECONDS = 5.0, 0.05
BINS = 8  # of uncovered rows, up to the cap
# Edges of a histogram of latencies: 20 µs to 100 s, 5 % apart.
EDGES = 2e-5 * 1.05 ** np.arange(317)
MORE_MEMORY, MORE_SHARE, MORE_FILES = 32 << 20, 0.25, 12


def made(name: str, seed: int, n: int, dim: int) -> FloatArray:
    """Return the vectors of a batch, in clusters all batches share, unit float32 [n, D]; the same whenever asked."""
    centres = np.random.default_rng(seed).normal(size=(CENTRES, dim))
    rng = np.random.default_rng([seed, *name.encode()])
    x = (centres[rng.integers(CENTRES, size=n)] + 0.7 * rng.normal(size=(n, dim))) / np.sqrt(1 + np.arange(dim) / 8)
    return np.asarray(x / np.linalg.norm(x, axis=1, keepdims=True), dtype=np.float32)


# -- readers ---------------------------------------------------------------------------------


class Oracle:
    """The stored vectors of versions, read shard by shard; not by the code that searches."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._shards: dict[str, tuple[Any, FloatArray]] = {}
        self._versions: dict[int, tuple[Any, FloatArray]] = {}
        self._lock = threading.Lock()

    def of(self, snapshot: Snapshot) -> tuple[Any, FloatArray]:
        """Return ids [live rows] and vectors [live rows, D] of a version that is held open."""
        with self._lock:
            number = snapshot.manifest.version
            if number not in self._versions:
                refs = snapshot.manifest.space().embeddings
                for at, ref in enumerate(refs):
                    if ref.path not in self._shards:
                        ids, stored = next(snapshot.stored_vectors("main", first=at, stop=at + 1))
                        self._shards[ref.path] = ids.copy(), stored.astype(np.float32)
                parts = [self._shards[ref.path] for ref in refs]
                live = snapshot.live.allowed
                ids, vectors = (np.concatenate(column)[live] for column in zip(*parts, strict=True))
                for old in sorted(self._versions)[:-2]:
                    del self._versions[old]
                self._shards = {ref.path: self._shards[ref.path] for ref in refs}
                self._versions[number] = ids, vectors
            return self._versions[number]


@dataclass
class Found:
    """What a reader saw."""

    searches: int = 0
    refreshes: int = 0
    versions: set[int] = field(default_factory=set)
    wrong: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)
    recall: float = 0.0
    approximate: int = 0
    most_uncovered: int = 0
    times: Any = field(default_factory=lambda: np.zeros((BINS + 1, len(EDGES) + 1), dtype=np.int64))

    def note(self, what: str, detail: str) -> None:
        """Count something that is wrong."""
        self.wrong[what] += 1
        if len(self.examples) < 5:
            self.examples.append(f"{what}: {detail}")


def checked(ids: Any, scores: Any, live_ids: Any, truth: FloatArray, *, exact: bool) -> tuple[str, float]:
    """Return what is wrong with answers, or nothing, and their recall.

    Args:
        ids: int64 [k], answered.
        scores: float32 [k], answered.
        live_ids: int64 [n] of the version.
        truth: [n], the score of each.
        exact: whether they must be the best.
    """
    order = np.argsort(live_ids)
    at = np.minimum(np.searchsorted(live_ids, ids, sorter=order), len(live_ids) - 1)
    rows = order[at]
    best = -np.sort(-np.partition(truth, len(truth) - len(ids))[len(truth) - len(ids) :])
    if len(ids) != min(K, len(truth)) or len(set(ids.tolist())) != len(ids):
        return "too few answers, or one twice", 0.0
    if (live_ids[rows] != ids).any():
        return "an item that is not there", 0.0
    if np.abs(truth[rows] - scores).max() > TOLERANCE:
        return "a score that is not the item's", 0.0
    if (np.diff(scores) > 0).any():
        return "answers out of order", 0.0
    if exact and np.abs(best - scores).max() > TOLERANCE:
        return "not the best", 0.0
    return "", float((truth[rows] >= best[-1] - TOLERANCE).mean())


class Reader:
    """Threads that search one open collection, each of which refreshes it now and then."""

    def __init__(self, root: Path, seed: int, dim: int, cap: int) -> None:
        self.collection = Collection.open(root)
        self.oracle = Oracle(root)
        self.found, self.cap = Found(), cap
        self._seed, self._dim = seed, dim
        self._lock = threading.Lock()

    def run(self, threads: int, until: float) -> None:
        """Search until then."""
        running = [threading.Thread(target=self._search, args=(number, until)) for number in range(threads)]
        for one in running:
            one.start()
        for one in running:
            one.join()

    def _search(self, number: int, until: float) -> None:
        chance = random.Random(self._seed * 1000 + number)
        asked = made(f"queries-{number}", self._seed, 512, self._dim)
        while time.time() < until:
            try:
                if chance.random() < 0.05:
                    self.found.refreshes += self.collection.refresh()
                self._once(asked[chance.randrange(len(asked))], exact=chance.random() < 0.5)
            except Exception as error:
                with self._lock:
                    self.found.note(type(error).__name__, traceback.format_exc(limit=-4))
                time.sleep(0.1)

    def _once(self, query: FloatArray, *, exact: bool) -> None:
        started = time.perf_counter()
        answers = self.collection.search(query, K, exact=exact)
        taken = time.perf_counter() - started
        snapshot = answers._snapshot  # the version it was answered from
        uncovered = tail_rows(snapshot.manifest, "main")
        ids, vectors = self.oracle.of(snapshot)
        wrong, recall = checked(answers.ids, answers.scores, ids, vectors @ query, exact=exact)
        name = answers.items[0].path if len(answers) else ""
        with self._lock:
            found = self.found
            found.searches += 1
            found.versions.add(snapshot.manifest.version)
            found.most_uncovered = max(found.most_uncovered, uncovered)
            found.times[min(uncovered * BINS // self.cap, BINS), np.searchsorted(EDGES, taken)] += 1
            if wrong:
                found.note(wrong, f"version {snapshot.manifest.version}, exact {exact}, {answers.ids.tolist()}, {name}")
            elif not exact:
                found.recall += recall
                found.approximate += 1

    def told(self) -> dict[str, Any]:
        """Return what was found, as JSON values."""
        found = self.found
        return {
            "searches": found.searches,
            "refreshes": found.refreshes,
            "versions": len(found.versions),
            "wrong": dict(found.wrong),
            "examples": found.examples,
            "recall": found.recall,
            "approximate": found.approximate,
            "most_uncovered": found.most_uncovered,
            "times": found.times.tolist(),
        }


# -- writers ---------------------------------------------------------------------------------


def write(root: Path, seed: int, dim: int, rows: int, until: float) -> dict[str, Any]:
    """Add and remove batches around a number of rows; return what must be there in the end."""
    chance = random.Random(seed)
    batches: dict[str, int] = {FIRST: rows}
    removed: dict[str, set[int]] = {FIRST: set()}
    done: Counter[str] = Counter()
    with Collection.open(root) as collection:
        while time.time() < until:
            # Now and then long enough for somebody to compact.
            time.sleep(min(chance.choices(RESTS, RESTED)[0], max(0.0, until - time.time())))
            live = sum(size - len(removed[name]) for name, size in batches.items())
            try:
                if chance.random() < (0.7 if live < 1.2 * rows else 0.3):
                    name, size = f"batch-{done['added']}", chance.randint(*BATCH_ROWS)
                    x = made(name, seed, size, dim)
                    collection.add_vectors(x, names=[f"{name}-{row}" for row in range(size)])
                    batches[name], removed[name] = size, set()
                    done["added"] += 1
                else:
                    name = chance.choice(list(batches))
                    left = sorted(set(range(batches[name])) - removed[name])
                    some = chance.sample(left, min(len(left), chance.randint(*BATCH_ROWS)))
                    if some:
                        collection.remove([f"{name}-{row}" for row in some])
                        removed[name].update(some)
                        done["removed"] += 1
            except CommitConflict:
                done["conflicts"] += 1  # somebody compacts, and says so
    wanted = {name: sorted(set(range(size)) - removed[name]) for name, size in batches.items()}
    return {"wanted": wanted, "sizes": batches, **done}


def tidy(root: Path, seed: int, until: float) -> dict[str, Any]:
    """Compact and collect garbage now and then; both make way for whoever writes."""
    chance = random.Random(seed + 1)
    done: Counter[str] = Counter()
    while time.time() < until:
        time.sleep(min(chance.uniform(0.5, 3), max(0.0, until - time.time())))
        try:
            before = current_version(root)
            time.sleep(QUIET_SECONDS)
            if current_version(root) == before:  # somebody who adds all the time is never compacted under
                with Collection.open(root) as collection:
                    collection.compact()
                done["compacted"] += 1
            else:
                gone = collect(root, older_than=timedelta(0), wait=2)
                done["collected"] += 1
                done["files"] += len(gone.files)
        except CommitConflict:
            done["conflicts"] += 1
    return dict(done)


# -- all together ----------------------------------------------------------------------------


class Watched:
    """A process of ours: anonymous memory and open files of it, once a second."""

    def __init__(self, role: str, options: dict[str, Any]) -> None:
        self.role = role
        arguments = [sys.executable, "-m", __spec__.name, "--role", role, "--plan", json.dumps(options)]
        self.process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.memory: list[int] = []
        self.files: list[int] = []

    def look(self) -> None:
        """Take a sample."""
        folder = Path("/proc") / str(self.process.pid)
        try:
            text = (folder / "status").read_text()
            self.files.append(len(os.listdir(folder / "fd")))
        except OSError:
            return
        self.memory += [int(line.split()[1]) << 10 for line in text.splitlines() if line.startswith("RssAnon")]

    def ended(self, seconds: float) -> dict[str, Any]:
        """Wait for it, and return what it says; an error where it failed."""
        try:
            out, error = self.process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGKILL)
            out, error = self.process.communicate()
            return {"error": f"{self.role} hangs\n{error}"}
        if self.process.returncode:
            return {"error": f"{self.role} ended with {self.process.returncode}\n{error}"}
        told: dict[str, Any] = json.loads(out.splitlines()[-1])
        return told

    def grown(self) -> list[str]:
        """Return what has grown from the second quarter of the run to the last."""
        quarter = len(self.memory) // 4
        if quarter < 3:
            return []
        before, after = (
            float(np.median(part)) for part in (self.memory[quarter : 2 * quarter], self.memory[-quarter:])
        )
        files = [float(np.median(part)) for part in (self.files[quarter : 2 * quarter], self.files[-quarter:])]
        found = []
        if after > before * (1 + MORE_SHARE) + MORE_MEMORY:
            found.append(f"{self.role}: memory grew from {before / 1e6:.0f} to {after / 1e6:.0f} MB")
        if files[1] > files[0] + MORE_FILES:
            found.append(f"{self.role}: open files grew from {files[0]:.0f} to {files[1]:.0f}")
        return found


def percentile(counts: Any, share: float) -> float:
    """Return a percentile of a histogram over `EDGES`, in seconds."""
    total = counts.sum()
    at = int(np.searchsorted(np.cumsum(counts), share * total)) if total else 0
    return float(EDGES[min(at, len(EDGES) - 1)])


def left_behind(root: Path, wanted: dict[str, list[int]], sizes: dict[str, int], seed: int, dim: int) -> list[str]:
    """Return what is wrong with a collection at the end: damage, items too many or too few, or other vectors."""
    wrong = [str(problem) for problem in verify(root)]
    names = {f"{name}-{row}": (name, row) for name, kept in wanted.items() for row in kept}
    vectors: dict[str, FloatArray] = {}
    with Collection.open(root) as collection:
        snapshot = collection.snapshot
        paths = [path for table in snapshot.item_tables(["path"]) for path in table.column("path").to_pylist()]
        stored = np.concatenate([one for _, one in snapshot.stored_vectors("main")]).astype(np.float32)
        found = {paths[row]: row for row in snapshot.live.numbers}
    for what, some in (("lost", names.keys() - found.keys()), ("too many", found.keys() - names.keys())):
        if some:
            wrong.append(f"{len(some)} items {what}, among them {sorted(some)[:3]}")
    for path in names.keys() & found.keys():
        name, row = names[path]
        if name not in vectors:
            vectors[name] = made(name, seed, sizes[name], dim)
        if np.abs(vectors[name][row] - stored[found[path]]).max() > 1e-3:
            wrong.append(f"{path} has another vector")
    return wrong


def report(
    readers: list[dict[str, Any]], writer: dict[str, Any], tidier: dict[str, Any], cap: int
) -> tuple[list[str], float]:
    """Print the figures, and return what is wrong with them, and the recall of the default plan."""
    wrong: list[str] = []
    times = np.sum([one["times"] for one in readers], axis=0)
    searches, approximate = (sum(one[name] for one in readers) for name in ("searches", "approximate"))
    recall = sum(one["recall"] for one in readers) / max(1, approximate)
    most = max(one["most_uncovered"] for one in readers)
    click.echo(
        f"{searches:,} searches, {sum(one['refreshes'] for one in readers):,} refreshes, "
        f"{max(one['versions'] for one in readers):,} versions seen, recall {recall:.4f}"
    )
    counted = {name: value for name, value in writer.items() if name not in ("wanted", "sizes")}
    click.echo(f"writer: {counted}; tidier: {tidier}")
    click.echo(f"{'uncovered rows':>20}{'searches':>12}{'p50 ms':>10}{'p99 ms':>10}")
    found = []
    for at, counts in enumerate(times):
        if counts.sum():
            p50, p99 = percentile(counts, 0.5), percentile(counts, 0.99)
            upto = f"{at * cap // BINS:,} – {(at + 1) * cap // BINS:,}" if at < BINS else f"over {cap:,}"
            click.echo(f"{upto:>20}{counts.sum():>12,}{1000 * p50:>10.2f}{1000 * p99:>10.2f}")
            if counts.sum() >= 200:
                found.append(p99)
    whole = times.sum(axis=0)
    click.echo(
        f"{'all':>20}{searches:>12,}{1000 * percentile(whole, 0.5):>10.2f}{1000 * percentile(whole, 0.99):>10.2f}"
    )
    click.echo(f"most rows that no index covered: {most:,}; a run builds when they are over {cap:,}")
    if not searches:
        wrong.append("nobody could search")
    if most > cap + BATCH_ROWS[1]:
        wrong.append(f"{most:,} rows were not covered, and {cap:,} and a batch are the most there should be")
    if found and max(found) > SLOWER * found[0] + CHANCE_SECONDS:
        wrong.append(f"p99 rises from {1000 * found[0]:.1f} to {1000 * max(found):.1f} ms with the rows not covered")
    for one in readers:
        wrong += [f"{count} times {what}" for what, count in one["wrong"].items()] + one["examples"]
    return wrong, recall


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--seconds", default=600.0, show_default=True, help="How long.")
@click.option("--rows", default=20_000, show_default=True, help="Of the collection, about.")
@click.option("--dim", default=64, show_default=True, help="Of its vectors.")
@click.option("--processes", default=2, show_default=True, help="That search.")
@click.option("--threads", default=3, show_default=True, help="In each of them.")
@click.option("--recall", "least", default=0.9, show_default=True, help="That the default plan must keep.")
@click.option("--seed", default=0, show_default=True, help="Of everything that is drawn.")
@click.option("--keep", type=click.Path(path_type=Path), help="Where to make the collection, and leave it.")
@click.option("--role", hidden=True)
@click.option("--plan", hidden=True)
def main(**options: Any) -> None:
    """See the head of this file."""
    role, plan = options.pop("role"), options.pop("plan")
    if role is not None:
        click.echo(json.dumps(act(role, json.loads(plan))))
        return
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        os.environ["NESTVEC_CACHE"] = str(Path(folder) / "cache")
        wrong = soak(Path(options.pop("keep") or folder) / "soak.nest", **options)
    for one in wrong:
        click.echo(f"WRONG {one}")
    click.echo("nothing is wrong" if not wrong else f"{len(wrong)} findings")
    sys.exit(bool(wrong))


def act(role: str, plan: dict[str, Any]) -> dict[str, Any]:
    """Be one of the processes."""
    root, seed, until = Path(plan["root"]), plan["seed"], plan["until"]
    if role == "writer":
        return write(root, seed, plan["dim"], plan["rows"], until)
    if role == "tidier":
        return tidy(root, seed, until)
    reader = Reader(root, seed + int(role.removeprefix("reader-")), plan["dim"], plan["cap"])
    reader.run(plan["threads"], until)
    return reader.told()


def soak(
    root: Path, seconds: float, rows: int, dim: int, processes: int, threads: int, least: float, seed: int
) -> list[str]:
    """Make a collection, let processes at it, and return what is wrong."""
    with Collection.create(root, encoder="precomputed", dim=dim) as collection:
        collection.add_vectors(made(FIRST, seed, rows, dim), names=[f"{FIRST}-{row}" for row in range(rows)])
    cap = max(TAIL_ROWS, int(TAIL_SHARE * rows))
    options = {"root": str(root), "seed": seed, "dim": dim, "rows": rows, "threads": threads, "cap": cap}
    options["until"] = time.time() + seconds
    roles = [*(f"reader-{number}" for number in range(processes)), "writer", "tidier"]
    running = [Watched(role, options) for role in roles]
    while time.time() < options["until"]:
        time.sleep(min(1.0, max(0.0, options["until"] - time.time())))
        for one in running:
            one.look()
    told = [one.ended(120) for one in running]
    wrong = [str(one["error"]) for one in told if "error" in one]
    if wrong:
        return wrong
    *readers, writer, tidier = told
    found, recall = report(readers, writer, tidier, cap)
    wrong += found
    if recall < least:
        wrong.append(f"recall of the default plan is {recall:.4f}, less than {least}")
    for one in running[:processes]:
        if one.memory:
            spread = [value / 1e6 for value in (min(one.memory), float(np.median(one.memory)), max(one.memory))]
            click.echo(
                f"{one.role}: {spread[0]:.0f}, {spread[1]:.0f}, {spread[2]:.0f} MB anonymous and "
                f"{min(one.files)} to {max(one.files)} open files"
            )
        wrong += one.grown()
    return wrong + left_behind(root, writer["wanted"], writer["sizes"], seed, dim)


if __name__ == "__main__":
    os.environ.setdefault(VARIABLE, "1")
    main()
