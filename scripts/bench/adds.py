"""Add, replace and remove rows one at a time, and write docs/benchmarks/adds.md.

    python -m scripts.bench adds FOLDER

FOLDER keeps the collections while they are measured; both are deleted.
"""

from __future__ import annotations

import os
import shutil
import statistics
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np

from engine.api import Collection
from indexers.vectors import FloatArray, normalize
from scripts.bench import DOCS
from scripts.bench.machine import cpu_name
from scripts.bench.timing import clocked, median_seconds
from scripts.markdown_table import table

SEED, DIM, K, QUERIES = 0, 128, 10, 200
ROWS = 100_000
OTHERS = 500  # rows that are replaced, relabelled and removed in the end
MARKS = (100, 1_000, 3_000, 10_000, 30_000, 100_000)
LAST = 100  # adds whose median counts at each mark
FLOOR = 300


def draw(rows: int) -> FloatArray:
    """Draw unit rows around a thousand centres."""
    rng = np.random.default_rng(SEED)
    centres = rng.normal(size=(1000, DIM)).astype(np.float32)
    return normalize(centres[rng.integers(1000, size=rows)] + rng.normal(size=(rows, DIM)).astype(np.float32))


def on_disk(root: Path) -> tuple[int, int]:
    """Return how many files a folder holds, and their bytes."""
    found = [path.stat().st_size for path in root.rglob("*") if path.is_file()]
    return len(found), sum(found)


def floor(folder: Path, sizes: list[int]) -> float:
    """Return the median milliseconds of writing, flushing and naming files of some sizes, each in a folder that is."""

    def put(path: Path, size: int) -> None:
        with path.with_suffix(".tmp").open("wb") as out:
            out.write(os.urandom(size))
            out.flush()
            os.fsync(out.fileno())
        path.with_suffix(".tmp").rename(path)
        handle = os.open(path.parent, os.O_RDONLY)
        os.fsync(handle)
        os.close(handle)

    folder.mkdir(parents=True)
    taken = []
    for turn in range(FLOOR):
        taken.append(sum(clocked(put, folder / f"{turn}-{at}", size)[1] for at, size in enumerate(sizes)))
    shutil.rmtree(folder)
    return statistics.median(taken) * 1e3


def written(root: Path, before: set[str]) -> list[int]:
    """Return the sizes of files that were not there before."""
    return [path.stat().st_size for path in root.rglob("*") if path.is_file() and str(path) not in before]


def one_by_one(folder: Path, x: FloatArray) -> tuple[Path, list[list[str]]]:
    """Add rows one at a time, and return a line for each mark."""
    root, taken, lines = folder / "ones.nest", [], []
    with Collection.create(root, encoder="precomputed", dim=DIM) as opened:
        for number, vector in enumerate(x, start=1):
            before = {str(path) for path in root.rglob("*")} if number in MARKS else set()
            _, seconds = clocked(opened.add_vectors, vector[None], names=[f"row-{number}"])
            taken.append(seconds * 1e3)
            if number in MARKS:
                files, size = on_disk(root)
                new = written(root, before)
                three, one = floor(folder / "floor", new), floor(folder / "floor", [sum(new)])
                last = sorted(taken[-LAST:])
                middle = statistics.median(last)
                shards = len(opened.snapshot.manifest.items)
                lines.append([
                    f"{number:,}", f"{middle:.1f}", f"{last[int(LAST * 0.9)]:.1f}", f"{sum(taken) / number:.1f}",
                    f"{max(taken):,.0f}", f"{len(new)} files: {middle / three:.1f}", f"{middle / one:.1f}",
                    str(shards), str(files), f"{size / number:,.0f}",
                ])  # fmt: skip
    return root, lines


def at_once(folder: Path, x: FloatArray) -> Path:
    """Add the same rows in one call."""
    root = folder / "whole.nest"
    with Collection.create(root, encoder="precomputed", dim=DIM) as opened:
        opened.add_vectors(x, names=[f"row-{number}" for number in range(1, len(x) + 1)])
    return root


def searched(root: Path, xq: FloatArray) -> tuple[float, float, float]:
    """Return milliseconds: to open and search once, one query at a time, and exactly."""

    def cold() -> None:
        with Collection.open(root) as opened:
            opened.search(xq[0], K)

    with Collection.open(root) as opened:
        one = median_seconds(lambda: [opened.search(q, K) for q in xq], 5) / len(xq)
        exact = median_seconds(lambda: [opened.search(q, K, exact=True) for q in xq[:50]], 5) / 50
        return median_seconds(cold, 9) * 1e3, one * 1e3, exact * 1e3


def others(root: Path, x: FloatArray) -> list[list[str]]:
    """Time other changes of one row in the large collection."""
    rng = np.random.default_rng(SEED)
    rows, each = rng.permutation(len(x)) + 1, min(OTHERS, len(x) // 3)
    lines = []
    with Collection.open(root) as opened:
        kinds: list[tuple[str, Callable[[int], object]]] = [
            ("replace", lambda row: opened.add_vectors(rng.normal(size=(1, DIM)), names=[f"row-{row}"])),
            ("another caption", lambda row: opened.add_vectors(x[row - 1 : row], names=[f"row-{row}"], captions=["c"])),
            ("remove", lambda row: opened.remove(f"row-{row}")),
        ]
        for at, (kind, change) in enumerate(kinds):
            taken = [clocked(change, int(row))[1] * 1e3 for row in rows[at * each : (at + 1) * each]]
            first, last = statistics.median(taken[:LAST]), statistics.median(taken[-LAST:])
            lines.append([kind, f"{each}", f"{first:.1f}", f"{last:.1f}", f"{max(taken):.0f}"])

        def batch() -> None:
            with opened.batch() as gathered:
                for row in range(1000):
                    gathered.add_vectors(rng.normal(size=(1, DIM)), names=[f"new-{row}"])

        lines.append(["1,000 adds in a `batch`", "1", f"{clocked(batch)[1] * 1e3:.0f} in all", "", ""])
    return lines


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--rows", default=ROWS, show_default=True)
@click.option("--page", type=click.Path(path_type=Path), default=DOCS / "adds.md")
def main(folder: Path, rows: int, page: Path) -> None:
    """Measure, and write the page."""
    x = draw(rows)
    xq = np.ascontiguousarray(x[np.random.default_rng(SEED).integers(rows, size=QUERIES)])
    ones, lines = one_by_one(folder, x)
    whole = at_once(folder, x)
    size, (few, less) = on_disk(ones)[1], on_disk(whole)
    speeds = [searched(root, xq) for root in (whole, ones, whole, ones)]
    best = [[min(one, two) for one, two in zip(speeds[at], speeds[at + 2], strict=True)] for at in (0, 1)]
    rounded = [[f"{one:.2f}" for one in each] for each in best]
    ratio = [f"{two / one:.2f}" for one, two in zip(*best, strict=True)]
    changed = others(ones, x)
    text = "\n".join([
        "# One row at a time",
        "",
        f"Made by `python -m scripts.bench adds` on {cpu_name()}: {rows:,} rows of {DIM} numbers, each added by a call "
        "of its own, which returns once the row is on the disk and can be searched. Milliseconds; indexes are built on "
        "the way, by the add that makes them due. *disk* is the median over what writing, flushing and naming the "
        "same bytes takes on this disk at that moment: in as many files as an add leaves, and in one. Files and bytes "
        "are all of the collection's, older versions and indexes included.",
        "",
        *table(
            ("rows", f"median of the last {LAST}", "90 %", "mean of all", "longest", "× disk", "× disk, one file",
             "shards", "files", "bytes a row"), lines,
        ),
        f"The same rows in one call: {few} files, {less / rows:,.0f} bytes a row; one at a time "
        f"{size / less:.2f} times as many bytes.",
        "",
        *table(
            ("search, ms", "open and search once", "one query", "one query, exactly"),
            [["added at once", *rounded[0]], ["one at a time", *rounded[1]], ["ratio", *ratio]],
        ),
        f"Other changes of one row, among {rows:,}:",
        "",
        *table(("change", "times", f"median of the first {LAST}", f"of the last {LAST}", "longest"), changed),
    ])  # fmt: skip
    page.write_text(text, encoding="utf-8")
    click.echo(text)
    for root in (ones, whole):
        shutil.rmtree(root)
