"""Compare search on a GPU with FAISS' own indexes there, at equal recall, and write docs/benchmarks/gpu.md.

    python -m scripts.bench gpu FOLDER

The data are the CLIP-like vectors of `data`, more of them; FOLDER keeps them and the collection. Every
system gets queries as NumPy arrays and gives ids back, on one device that nobody else uses.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import click
import faiss
import numpy as np

from engine.api import Collection
from indexers.base import IndexSpec, Neighbors
from indexers.exact import recall
from indexers.gpu import gpu_count, shared_resources
from indexers.plan import SearchPlan, Stage
from indexers.vectors import FloatArray
from scripts.bench import DOCS
from scripts.bench.datasets import SIZED, half, indexed, sized
from scripts.markdown_table import table

DIM = 768
K = 10
BATCHES = (1, 32, 1024)
TARGETS = (0.95, 0.99)
MARGIN = 0.002  # the best of many settings flatters itself
ROUNDS, CALLS = 5, 20
SPECS = ("flat@64:axes=1", "flat@96:axes=1", "flat@128:axes=1", "flat@192:axes=1", "ivf-flat@128:axes=1,nlist=4096")
SHORTLISTS = (50, 100, 200, 400, 800, 1600)
NPROBES = (8, 16, 32, 64, 128, 256)
CELLS, CODES, BITS = 4096, 96, 8
ITOPK = (32, 64, 128, 256, 512)

Search = Callable[[FloatArray], np.ndarray]


@dataclass(frozen=True)
class Setting:
    """One way to search: of which system, what it is called, and how."""

    system: str
    name: str
    search: Search


@dataclass(frozen=True)
class Timed:
    """Median seconds of a batch: by the clock, host to host, and on the device alone."""

    wall: float
    device: float


# -- systems ---------------------------------------------------------------------------------


def ours(opened: Collection) -> Iterator[Setting]:
    """Yield plans of the collection."""
    searcher = opened.searcher
    for text, shortlist in product(SPECS, SHORTLISTS):
        key = IndexSpec.parse(text).key
        for nprobe in NPROBES if key.startswith("ivf") else (0,):
            plan = SearchPlan(key, nprobe, (Stage(searcher.dim, shortlist),))
            yield Setting("nestvec", str(plan), lambda xq, plan=plan: searcher.search(xq, K, plan).ids)  # type: ignore[misc]


def flat(xb: FloatArray, half: bool) -> Iterator[Setting]:
    """Yield FAISS' scan of everything, in float32 or float16."""
    config = faiss.GpuIndexFlatConfig()
    config.useFloat16 = half
    index = faiss.GpuIndexFlatIP(shared_resources(), xb.shape[1], config)
    index.add(xb)
    name = "GpuIndexFlat, float16" if half else "GpuIndexFlat"
    yield Setting(name, "", lambda xq: index.search(xq, K)[1])


def ivf_pq(xb: FloatArray, rescored: Callable[[FloatArray, np.ndarray], np.ndarray]) -> Iterator[Setting]:
    """Yield FAISS' product codes in cells, whose shortlists are scored again on the device as ours are."""
    index = faiss.GpuIndexIVFPQ(shared_resources(), xb.shape[1], CELLS, CODES, BITS, faiss.METRIC_INNER_PRODUCT)
    index.train(xb[:: max(1, len(xb) // (CELLS * 64))])
    index.add(xb)
    for nprobe, shortlist in product(NPROBES, SHORTLISTS):

        def search(xq: FloatArray, nprobe: int = nprobe, shortlist: int = shortlist) -> np.ndarray:
            index.nprobe = nprobe
            return rescored(xq, index.search(xq, shortlist)[1])

        yield Setting("GpuIndexIVFPQ, rescored", f"nprobe={nprobe} | {shortlist}", search)


def cagra(xb: FloatArray) -> Iterator[Setting]:
    """Yield NVIDIA's graph, where the installed FAISS has it."""
    if not hasattr(faiss, "GpuIndexCagra"):
        click.echo("without CAGRA: the installed FAISS does not have it", err=True)
        return
    index = faiss.GpuIndexCagra(shared_resources(), xb.shape[1], faiss.METRIC_INNER_PRODUCT)
    index.train(xb)
    for itopk in ITOPK:
        parameters = faiss.SearchParametersCagra()
        parameters.itopk_size = itopk
        yield Setting(
            "CAGRA", f"itopk={itopk}", lambda xq, parameters=parameters: index.search(xq, K, params=parameters)[1]
        )


# -- measuring -------------------------------------------------------------------------------


def timed(search: Search, xq: FloatArray, batch: int, calls: int) -> Timed:
    """Search batches one after the other."""
    import torch

    wall, device = [], []
    for call in range(calls + 2):
        part = np.ascontiguousarray(xq[np.arange(call * batch, (call + 1) * batch) % len(xq)])
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize()
        started = time.perf_counter()
        begin.record()
        search(part)
        end.record()
        torch.cuda.synchronize()
        wall.append(time.perf_counter() - started)
        device.append(begin.elapsed_time(end) / 1e3)
    return Timed(statistics.median(wall[2:]), statistics.median(device[2:]))


def recalls(setting: Setting, queries: Mapping[str, FloatArray], truth: Mapping[str, Neighbors]) -> dict[str, float]:
    """Return recall@k by kind of query."""
    return {kind: recall(setting.search(xq), truth[kind]) for kind, xq in queries.items()}


def winners(
    settings: list[Setting], queries: Mapping[str, FloatArray], truth: Mapping[str, Neighbors]
) -> dict[tuple[float, int], Setting]:
    """Return, by target and batch, the setting of a system that reaches it fastest; none where none does."""
    found: dict[tuple[float, int], Setting] = {}
    grades = {one: min(recalls(one, queries, truth).values()) for one in settings}
    for target, batch in product(TARGETS, BATCHES):
        able = [one for one in settings if grades[one] >= target + MARGIN]
        taken = {one: statistics.fmean(timed(one.search, xq, batch, 5).wall for xq in queries.values()) for one in able}
        if taken:
            found[target, batch] = min(taken, key=lambda one: taken[one])
    return found


def measured(chosen: Mapping[str, Setting], queries: Mapping[str, FloatArray], batch: int) -> dict[str, Timed]:
    """Return medians over alternating rounds, the mean over kinds of query."""
    rounds: dict[str, list[Timed]] = {name: [] for name in chosen}
    for _ in range(ROUNDS):
        for name, one in chosen.items():
            made = [timed(one.search, xq, batch, CALLS) for xq in queries.values()]
            rounds[name].append(Timed(statistics.fmean(t.wall for t in made), statistics.fmean(t.device for t in made)))
    return {
        name: Timed(statistics.median(t.wall for t in made), statistics.median(t.device for t in made))
        for name, made in rounds.items()
    }


# -- the page --------------------------------------------------------------------------------


def lines(
    won: Mapping[str, Mapping[tuple[float, int], Setting]],
    queries: Mapping[str, FloatArray],
    truth: Mapping[str, Neighbors],
) -> Iterator[list[str]]:
    """Yield a line for each target, batch and system."""
    for target, batch in product(TARGETS, BATCHES):
        chosen = {name: found[target, batch] for name, found in won.items() if (target, batch) in found}
        times = measured(chosen, queries, batch)
        own = times.get("nestvec")
        for name, taken in sorted(times.items(), key=lambda one: one[1].wall):
            grades = recalls(chosen[name], queries, truth)
            yield [
                f"≥ {target}",
                f"{batch:,}",
                name,
                f"`{chosen[name].name}`".replace("|", "\\|") if chosen[name].name else "",
                " / ".join(f"{grade:.3f}" for grade in grades.values()),
                f"{taken.wall * 1e3:.3f}",
                f"{taken.device * 1e3:.3f}",
                f"{taken.wall / own.wall:.2f}" if own else "",
            ]


def page(rows: list[list[str]], shape: tuple[int, ...], kinds: list[str]) -> str:
    """Return the page."""
    import torch

    columns = (
        f"recall@{K}",
        "batch",
        "system",
        "setting",
        f"recall, {' / '.join(kinds)}",
        "ms a batch",
        "on the device",
    )
    device = torch.cuda.get_device_name(0)
    return (
        f"# Search on a GPU\n\nMade by `python -m scripts.bench gpu` on {device}, FAISS {faiss.__version__}, torch "
        f"{torch.__version__}: {shape[0]:,} × {shape[1]} of `{SIZED}` ([data.md](data.md)), {len(kinds)} kinds of "
        f"queries, medians of {ROUNDS} alternating rounds. Queries come from NumPy and ids go back to it in all of "
        "them; the time on the device is between two events around that. Settings were chosen on other queries.\n\n"
        + "\n".join(table((*columns, "× nestvec"), rows))
    )


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--rows", default=1_000_000, show_default=True, help="Vectors in the base.")
@click.option("--page", "target", type=click.Path(path_type=Path), default=DOCS / "gpu.md")
def main(folder: Path, rows: int, target: Path) -> None:
    """Measure on the GPU of this machine."""
    if not gpu_count():
        raise click.ClickException("FAISS sees no GPU here: run scripts/setup gpu, and see `nestvec doctor`")
    data = sized(folder, rows, DIM)
    xb, asked, fresh = np.array(data.xb), half(data.queries, 0), half(data.queries, 1)
    exact: Any = faiss.GpuIndexFlatIP(shared_resources(), xb.shape[1])
    exact.add(xb)
    truths = [{kind: Neighbors(*exact.search(xq, K)) for kind, xq in half.items()} for half in (asked, fresh)]
    del exact
    root = indexed(data, [IndexSpec.parse(text) for text in SPECS])
    with Collection.open(root, search_device="cuda") as opened:
        accelerator = opened.searcher.first.accelerator
        assert accelerator is not None
        systems = (
            ours(opened),
            flat(xb, False),
            flat(xb, True),
            ivf_pq(xb, lambda xq, ids: accelerator.rescore(xq, ids, K).ids),
            cagra(xb),
        )
        won = {}
        for settings in map(list, systems):
            if settings:
                click.echo(f"{settings[0].system}: {len(settings)} settings", err=True)
                won[settings[0].system] = winners(settings, asked, truths[0])
        text = page(list(lines(won, fresh, truths[1])), xb.shape, list(data.queries))
    target.write_text(text, encoding="utf-8")
    click.echo(target)
