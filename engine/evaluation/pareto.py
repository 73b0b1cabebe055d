"""The curve that `tune` measured, drawn: recall against time, a line for each kind of query."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from engine.collection.plans import Tuning
from engine.evaluation.plots import KNOWN, OTHERS, plain, plot_files, require_matplotlib, save
from indexers.plan import SearchPlan

SIZE = (6.4, 4.2)


def draw_curve(paths: Sequence[Path], tuning: Tuning, plan: SearchPlan, *, title: str = "") -> list[Path]:
    """Draw a tuned curve and write it.

    Args:
        paths: files, or names without an ending (`plots.plot_files`).
        tuning: what was measured.
        plan: the chosen one, which is marked.
        title: stands above.

    Returns:
        the files that were written.

    Raises:
        DependencyMissing, InvalidInput, SourceError: see `plots.draw_plots`.
    """
    require_matplotlib()
    from matplotlib.figure import Figure

    figure = Figure(figsize=SIZE, layout="constrained")
    axes = figure.subplots()
    styles = (*(style for name, style in KNOWN.items() if name != "full"), *OTHERS)
    for kind, (colour, shape) in zip(tuning.fresh, styles, strict=False):
        shares = [point.recall[kind] for point in tuning.curve if kind in point.recall]
        times = [point.microseconds for point in tuning.curve if kind in point.recall]
        axes.plot(times, shares, color=colour, marker=shape, markersize=5, label=plain(f"{kind} queries"))
    chosen = next((point for point in tuning.curve if point.plan == plan), None)
    if chosen is not None:
        axes.axvline(chosen.microseconds, color="#8C8C8C", linewidth=1, label=f"chosen: {plan}")
    axes.axhline(tuning.target, color="#8C8C8C", linewidth=1, linestyle=":", label=f"wanted: {tuning.target:g}")
    axes.set_xscale("log")
    axes.set_xlabel(f"microseconds a query ({tuning.latency})")
    axes.set_ylabel(f"recall@{tuning.k}")
    axes.grid(True, alpha=0.3)
    axes.legend(frameon=False, fontsize=8, loc="lower right")
    figure.suptitle(plain(title), fontsize=11)
    files = [file for path in paths for file in plot_files(path)]
    for file in files:
        save(figure, file)
    return files
