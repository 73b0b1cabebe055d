"""What a process holds does not grow with a collection, but for what is promised; what cannot fit is refused."""

from __future__ import annotations

import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from engine.api import Collection
from engine.collection.shards import SHARD_BYTES
from engine.collection.verify import verify
from indexers.base import IndexSpec
from indexers.build import FIXED, build_bytes, require_memory
from indexers.errors import InvalidInput, NotEnoughMemory
from indexers.families.registry import FAMILIES, resolve
from indexers.memory import Left, group_limits, memory_left, parse_bytes, shown_bytes
from indexers.store import BLOCK_BYTES
from tests.helpers import COMMAND, clustered, index, python, save

MIB = 1 << 20
# Of a name while a run compares and writes: its key, sorted, and what it is told apart by.
BYTES_A_NAME = 128
# Of a row while searching: its id, and a bit that says whether it lives.
BYTES_A_ROW = 24
# What an allocator keeps, and what a sample every few milliseconds misses or meets by chance.
CHANCE = 24 * MIB
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "NESTVEC_THREADS": "1"}


class Held(NamedTuple):
    """What a process held at most, in anonymous memory, before it said that it builds and in all."""

    before_building: int
    peak: int
    code: int
    said: str


def held(arguments: Sequence[str | Path], *, env: Mapping[str, str] = {}, until_building: bool = False) -> Held:
    """Run the installed command and watch it, or only until it builds."""
    process = subprocess.Popen(
        [COMMAND, *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**os.environ, **ONE_THREAD, **env},
    )
    assert process.stderr is not None
    os.set_blocking(process.stderr.fileno(), False)
    said, before, peak = b"", 0, 0
    with process.stderr as told:
        while process.poll() is None:
            said += told.read() or b""
            peak = max(peak, anonymous(process.pid))
            if b"building" not in said:
                before = peak
            elif until_building:
                process.send_signal(signal.SIGTERM)
                process.wait()
            time.sleep(0.003)
        said += told.read() or b""
    return Held(before, peak, process.returncode, said.decode())


def anonymous(pid: int) -> int:
    try:
        text = (Path("/proc") / str(pid) / "status").read_text()
    except OSError:
        return 0
    found = re.search(r"RssAnon:\s+([0-9]+) kB", text)
    return int(found[1]) << 10 if found else 0


# -- what grows, and what does not -------------------------------------------------------------


def test_a_run_holds_a_shard_and_the_names(tmp_path: Path) -> None:
    dim, peaks = 2048, []
    sizes = (17_000, 34_000, 51_000)  # one shard of 64 MB and a bit, two, and three
    for n in sizes:
        source = tmp_path / "v.npy"
        rows = np.lib.format.open_memmap(source, "w+", np.float16, (n, dim))
        part = np.random.default_rng(0).standard_normal((1000, dim), dtype=np.float32)
        for start in range(0, n, 1000):
            rows[start : start + 1000] = np.roll(part, start // 1000 + 1, axis=1)
        del rows
        # Whether the allocator keeps a shard for the next one is a matter of chance; it never keeps two.
        most = SHARD_BYTES + BYTES_A_NAME * (n - sizes[0]) + CHANCE
        runs: list[int] = []
        # On a busy machine what was freed goes back later: what is held again and again is what counts.
        while not runs or (len(runs) < 3 and peaks and min(runs) - peaks[0] >= most):
            root = tmp_path / f"{n}-{len(runs)}.nest"
            found = held(("index", source, root, "--index", "flat@8"), until_building=True)
            assert "building" in found.said, found.said
            runs.append(found.before_building)
        peaks.append(min(runs))
        source.unlink()
        assert peaks[-1] - peaks[0] < most, [peak // MIB for peak in peaks]
    # The shard as it is gathered, whole, and in the pages of a file; the program and its libraries; names of a shard.
    assert max(peaks) < 6 * SHARD_BYTES + 128 * MIB, [peak // MIB for peak in peaks]


BUILD = """
import os, re, sys, threading, time
from pathlib import Path
from indexers.base import IndexSpec
from indexers.build import build
from indexers.families.registry import resolve
from indexers.store import VectorStore

def anonymous():
    return int(re.search(r"RssAnon:\\s+([0-9]+) kB", Path("/proc/self/status").read_text())[1]) << 10

def measure(name, path):
    store = VectorStore.open(Path(path))
    spec = resolve(IndexSpec.parse(name), len(store), store.dim)
    peak, stop, before = [0], [], anonymous()
    def watch():
        while not stop:
            peak[0] = max(peak[0], anonymous())
            time.sleep(0.001)
    thread = threading.Thread(target=watch)
    thread.start()
    built = build(spec, store, device="cpu")
    peak[0] = max(peak[0], anonymous())
    stop.append(True)
    thread.join()
    os.write(1, f"{peak[0] - before} ".encode())

for path in sys.argv[2:]:
    child = os.fork()
    if not child:
        measure(sys.argv[1], path)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
"""


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Files of vectors, by how many."""
    folder = tmp_path_factory.mktemp("stored")
    x = np.random.default_rng(0).standard_normal((60_000, 96), dtype=np.float32)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    sizes = (2000, 4000, 8000, 15_000, 30_000, 60_000)
    return {n: save(folder / f"{n}.npy", x[:n].astype(np.float16)) for n in sizes}


@pytest.mark.parametrize(
    "name", [*(f"{family}@64" for family in FAMILIES), "sq@64:axes=1", "ivf-flat@96:axes=1", "ivf-pq@64:refine=8"]
)
def test_a_build_stays_within_what_was_said(
    stored: dict[int, Path], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable, value in ONE_THREAD.items():
        monkeypatch.setenv(variable, value)
    sizes = [2000, 4000, 8000] if name.startswith("hnsw") else [15_000, 30_000, 60_000]
    peaks = [int(word) for word in python(BUILD, name, *(stored[n] for n in sizes))]
    specs = [resolve(IndexSpec.parse(name), n, 96) for n in sizes]
    wanted = [build_bytes(spec, n, 96) for spec, n in zip(specs, sizes, strict=True)]
    told = [(peak // MIB, needed // MIB) for peak, needed in zip(peaks, wanted, strict=True)]
    assert all(peak <= needed for peak, needed in zip(peaks, wanted, strict=True)), told
    # Nor is much refused that would fit.
    assert wanted[-1] < 2 * peaks[-1] + 2 * FIXED, told


def test_a_search_holds_no_vectors(tmp_path: Path) -> None:
    queries = save(tmp_path / "q.npy", clustered(20, 128, 9))
    sizes, peaks = (4000, 8000, 16_000), []
    for n in sizes:
        root = tmp_path / f"{n}.nest"
        index(root, save(tmp_path / "v.npy", clustered(n, 128)), specs=["flat@128", "ivf-pq@64"])
        run = ("search", root, "--vectors", queries, "--json")
        plans = (("--exact",), ("--plan", "ivf-pq@64 | 100@128"), ("--plan", "flat@128 | 100@128"))
        found = [held((*run, *plan)) for plan in plans]
        assert {one.code for one in found} == {0}, found
        peaks.append(max(one.peak for one in found))
    for n, more in zip(sizes[1:], peaks[1:], strict=True):
        # A block of rows as float32 is all of them where there are few.
        block = min(BLOCK_BYTES, 4 * 128 * n)
        assert more - peaks[0] < BYTES_A_ROW * (n - sizes[0]) + block + 6 * MIB, [peak // MIB for peak in peaks]


# -- what is refused ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("many") / "v.npy", clustered(19_000, 256).astype(np.float16))


def test_what_cannot_fit_is_refused_and_what_is_advised_does(tmp_path: Path, many: Path) -> None:
    root, budget = tmp_path / "c.nest", 160 * MIB
    env = {"NESTVEC_MEMORY": "160MiB"}
    wanted = ("index", many, root, "--index", "hnsw@16:m=512,efConstruction=8")
    refused = held(wanted, env=env)
    assert refused.code == 2, refused.said
    said = re.search(
        r"building hnsw@16 over 19,000 rows needs (\S+ MiB) of memory, and (\S+ MiB) are left "
        r"\(NESTVEC_MEMORY is 160MiB\); (\S+) would fit, with (\S+ MiB): --index (\S+)",
        refused.said,
    )
    assert said is not None, refused.said
    needed, left, other, fits, advised = said.groups()
    assert parse_bytes(needed) > parse_bytes(left) >= parse_bytes(fits) - 1
    assert other == advised
    assert "building the" not in refused.said
    # What was written is kept, nothing was begun, and little was held.
    assert refused.peak < budget
    folder = root / "spaces" / "main"
    assert not (folder / "indexes").exists()
    assert not (folder / "vectors").exists()
    with Collection.open(root) as collection:
        assert len(collection) == 19_000
    built = held(("index", many, root, "--index", advised), env=env)
    assert built.code == 0, built.said
    assert built.peak < budget, built.peak // MIB
    assert list(verify(root)) == []
    with Collection.open(root) as collection:
        assert [one.spec.key for one in collection.space.indexes] == [advised]


def test_tune_leaves_out_what_cannot_be_built(tmp_path: Path) -> None:
    root = tmp_path / "c.nest"
    index(root, save(tmp_path / "v.npy", clustered(6000, 32)), specs=["flat@32"])
    found = held(("tune", root), env={"NESTVEC_MEMORY": "10MB"})
    assert found.code == 0, found.said
    assert re.search(r"[0-9]+ of [0-9]+ indexes cannot be built: .* \(NESTVEC_MEMORY is 10MB\)", found.said), found.said
    with Collection.open(root) as collection:
        assert collection.space.plans[0].plan.index == "exact"


def test_a_budget_that_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NESTVEC_MEMORY", "lots")
    with pytest.raises(InvalidInput, match="NESTVEC_MEMORY: expected a size like 2GiB"):
        memory_left()


def test_a_budget_counts_what_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NESTVEC_MEMORY", "64GiB")
    left = memory_left()
    assert left is not None
    assert (64 << 30) - 2 * anonymous(os.getpid()) < left.bytes < 64 << 30
    monkeypatch.setenv("NESTVEC_MEMORY", "1")
    assert memory_left() == Left(0, "NESTVEC_MEMORY is 1")
    spec = resolve(IndexSpec("flat", 8), 10, 8)
    with pytest.raises(NotEnoughMemory, match=r"building flat@8 over 10 rows needs .* no index fits"):
        require_memory(spec, 10, 8)


def test_without_a_budget_the_machine_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NESTVEC_MEMORY", raising=False)
    left = memory_left()
    assert left is not None
    assert 0 < left.bytes < os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def test_control_groups_count_without_files_that_are_only_cached(tmp_path: Path) -> None:
    inner = tmp_path / "jobs" / "one"
    inner.mkdir(parents=True)
    for folder, most, used, cached in ((inner, 1 << 30, 900 * MIB, 300 * MIB), (inner.parent, "max", 1 << 34, 0)):
        (folder / "memory.max").write_text(f"{most}\n")
        (folder / "memory.current").write_text(f"{used}\n")
        (folder / "memory.stat").write_text(f"anon 5\ninactive_file {cached}\nactive_file {MIB}\nshmem 7\n")
    files = "memory.max", "memory.current", ("inactive_file", "active_file")
    # The outer one has no limit; where a group is mounted as the root, the name the process knows is not there.
    left = Left((1024 - 900 + 300 + 1) * MIB, "its control group may have 1.0 GiB")
    assert list(group_limits(tmp_path, "/jobs/one", *files)) == [left]
    assert list(group_limits(inner, "/docker/0123", *files)) == [left]
    (inner / "memory.current").write_text(f"{1 << 31}\n")
    (inner / "memory.stat").unlink()
    assert [one.bytes for one in group_limits(tmp_path, "jobs/one", *files)] == [0]


@pytest.mark.parametrize("name", ["RLIMIT_AS", "RLIMIT_DATA"])
def test_limits_of_the_process_count(name: str) -> None:
    code = "from indexers.memory import memory_left; left = memory_left(); print(left.bytes, left.why.split()[0])"
    most = 4 << 30

    def limit() -> None:
        resource.setrlimit(getattr(resource, name), (most, most))

    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, preexec_fn=limit, env={**os.environ, **ONE_THREAD}
    )
    assert found.returncode == 0, found.stderr
    size, why = found.stdout.split()
    assert 0 < int(size) < most
    assert why == name


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 KiB"), (1, "1 KiB"), (MIB, "1.0 MiB"), (MIB + 1, "1.1 MiB"), (3 << 30, "3.0 GiB")]
)
def test_sizes_are_shown_rounded_up(size: int, text: str) -> None:
    assert shown_bytes(size) == text
    assert parse_bytes(text.replace("KiB", "kiB")) >= size
