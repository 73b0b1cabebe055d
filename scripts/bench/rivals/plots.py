"""Pareto plots: what each system gives for the recall it reaches, on the tuning half."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from scripts.bench.rivals.choice import cost, front
from scripts.bench.rivals.figures import Measured
from scripts.bench.rivals.records import BATCH, SINGLE, Trial
from scripts.bench.rivals.systems import OURS

FROM = 0.85


def draw(measured: Measured, docs: Path) -> Path:
    """Draw batch speed and single latency over recall, and return the file written."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(12, 5), layout="constrained")
    labels = ("batch: queries a second", "single: queries a second, one thread")
    for number, (axis, mode, label) in enumerate(zip(axes, (BATCH, SINGLE), labels, strict=True)):
        _panel(axis, measured, mode, pyplot.get_cmap("tab20"), legend=number == 0)
        axis.set_ylabel(label)
    figure.suptitle(f"{measured.name}, {measured.rows:,} vectors of {measured.machine['dim']} dimensions")
    handles, names = axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside right center", frameon=False)
    path = docs / f"rivals-{measured.name}-{measured.rows}.png"
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
    return path


def _panel(axis: Any, measured: Measured, mode: str, colours: Any, *, legend: bool) -> None:
    for number, system in enumerate(measured.systems):
        points = front(_points(measured.book.all(Trial, system), mode))
        if not points and not legend:
            continue
        ours = system == OURS
        axis.plot(
            [recall for recall, _ in points],
            [speed for _, speed in points],
            marker="o",
            markersize=3.5,
            label=system,
            color="black" if ours else colours(number % 20),
            linewidth=2.4 if ours else 1.2,
            zorder=3 if ours else 2,
        )
    axis.set_yscale("log")
    axis.set_xlim(FROM, 1.002)
    axis.set_xlabel("recall@10, of the kind of query it is lower on")
    axis.grid(visible=True, which="both", linewidth=0.3)


def _points(trials: list[Trial], mode: str) -> Iterator[tuple[float, float]]:
    """Yield (recall, queries a second) of the settings somebody might want."""
    for one in trials:
        recall = min(one.recall.values())
        if recall >= FROM and (mode == BATCH or one.single):
            yield recall, 1 / cost(one, mode)
