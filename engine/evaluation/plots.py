"""Figures against dimension, one line a representation, drawn with matplotlib (extra `plots`)."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.evaluation.rows import Row
from engine.storage.names import printable
from indexers.errors import DependencyMissing, InvalidInput, SourceError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SUFFIXES = (".png", ".svg")
COLUMNS = 2
PANEL = (4.6, 3.3)
DPI = 160

# The colours of Okabe and Ito (2008), which the colour-blind can tell apart; shapes say it a second time.
KNOWN = {"truncation": ("#0072B2", "o"), "pca": ("#E69F00", "s"), "random": ("#8C8C8C", "v"), "full": ("#000000", "")}
OTHERS = (("#D55E00", "D"), ("#009E73", "^"), ("#CC79A7", "P"), ("#56B4E9", "X"), ("#B8A800", "*"))


def plot_files(path: Path) -> list[Path]:
    """Return the files a plot is written to: the one that is named, or both kinds where there is no ending.

    Raises:
        InvalidInput: another ending than .png or .svg.
    """
    if not path.suffix:
        return [path.with_name(path.name + suffix) for suffix in SUFFIXES]
    if path.suffix.lower() not in SUFFIXES:
        raise InvalidInput(
            f"a plot is written as {' or '.join(SUFFIXES)}, or both without an ending; found {path.name!r}"
        )
    return [path]


def require_matplotlib() -> None:
    """Say how to install matplotlib where it is missing.

    Raises:
        DependencyMissing: it is.
    """
    from importlib.util import find_spec

    if find_spec("matplotlib") is None:
        raise DependencyMissing("plots need matplotlib: pip install 'nestvec[plots]'")


def draw_plots(paths: Sequence[Path], rows: Sequence[Row], *, title: str = "") -> list[Path]:
    """Draw the figures and write them; the same figures give the same bytes.

    Args:
        paths: files, or names without an ending (`plot_files`).
        rows: what was measured; "adaptive" is not drawn.
        title: stands above the panels.

    Returns:
        the files that were written.

    Raises:
        DependencyMissing: matplotlib is not installed.
        InvalidInput: an ending that is neither .png nor .svg, or nothing to draw.
        SourceError: a file cannot be written.
    """
    require_matplotlib()
    files = [file for path in paths for file in plot_files(path)]
    figure = _figure(rows, title)
    for file in files:
        save(figure, file)
    return files


def save(figure: Figure, file: Path) -> None:
    """Write a figure in the kind its ending says; the same figure gives the same bytes."""
    import matplotlib

    kind = file.suffix.lower().removeprefix(".")
    temporary = file.with_name(f".tmp-{os.getpid()}-{file.name}")
    # A date and random ids would make every SVG another file.
    metadata = {"Date": None} if kind == "svg" else {"Software": None}
    try:
        with matplotlib.rc_context({"svg.hashsalt": "nestvec"}):
            figure.savefig(temporary, format=kind, dpi=DPI, metadata=metadata)
        temporary.replace(file)
    except OSError as error:
        raise SourceError(f"{file} cannot be written: {error.strerror or error}") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def plain(text: str) -> str:
    """Return text that matplotlib draws as it is: no formula, and nothing that an SVG must not hold."""
    return printable(text).replace("$", r"\$")


def _panels(rows: Sequence[Row]) -> dict[tuple[str, str], list[Row]]:
    """Return the figures of each panel by what it shows and what was asked."""
    panels: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        if (what := _title(row)) is not None:
            panels.setdefault((what, row.queries), []).append(row)
    return panels


def _title(row: Row) -> str | None:
    """Return the title of the panel a figure belongs to; None where it is not drawn."""
    kind = "text" if row.queries == "texts" else "item"
    if row.table == "neighbours" and row.representation != "full":  # which is what the others are compared with
        cut, _, shortlist = row.metric.partition(" in ")
        return f"neighbours: {cut}{f' in a shortlist of {shortlist}' if shortlist else ''}, {kind} queries"
    if row.table == "labels":
        return f"labels: {'1-NN accuracy' if row.metric == '1-NN' else row.metric}"
    if row.table == "captions" and row.metric == "recall@10":
        return f"captions: {row.metric}, {'text → image' if kind == 'text' else 'image → text'}"
    if row.table == "trec" and row.metric == "nDCG@10":
        return f"judgements: {row.metric}"
    return None


def _figure(rows: Sequence[Row], title: str) -> Figure:
    from matplotlib.figure import Figure

    panels = _panels(rows)
    if not panels:
        raise InvalidInput("there is nothing to draw: expected figures by prefix dimension")
    across = min(COLUMNS, len(panels))
    down = -(-len(panels) // across)
    figure = Figure(figsize=(PANEL[0] * across, PANEL[1] * down + 0.75), layout="constrained")
    grid = figure.subplots(down, across, squeeze=False)
    names = list(dict.fromkeys(row.representation for row in rows))
    styles = _styles(names)
    drawn: dict[str, Any] = {}
    for axes, ((what, _), part) in zip(grid.flat, panels.items(), strict=False):
        drawn |= _panel(axes, part, styles)
        axes.set_title(what, fontsize=10.5, loc="left")
    for axes in list(grid.flat)[len(panels) :]:
        axes.set_visible(False)
    if title:
        figure.suptitle(plain(title), fontsize=11.5)
    named = [name for name in names if name in drawn]
    most = 3 if across == 1 else 5
    columns = -(-len(named) // -(-len(named) // most))
    lines, texts = [drawn[name] for name in named], [plain(name) for name in named]
    figure.legend(lines, texts, loc="outside lower center", ncols=columns, frameon=False, fontsize=10)
    return figure


def _styles(names: Sequence[str]) -> dict[str, tuple[str, str]]:
    others = [name for name in names if name not in KNOWN]
    return KNOWN | {name: OTHERS[at % len(OTHERS)] for at, name in enumerate(others)}


def _panel(axes: Axes, rows: Sequence[Row], styles: dict[str, tuple[str, str]]) -> dict[str, Any]:
    """Draw the lines of one panel and return them by representation."""
    drawn: dict[str, Any] = {}
    for name in dict.fromkeys(row.representation for row in rows):
        part = sorted((row for row in rows if row.representation == name), key=lambda row: row.dim)
        colour, marker = styles[name]
        if name == "full":
            drawn[name] = axes.axhline(part[0].value, color=colour, linestyle=(0, (4, 3)), linewidth=1.2, zorder=1)
            continue
        dims, values = [row.dim for row in part], [row.value for row in part]
        errors = [row.error or 0.0 for row in part]
        drawn[name] = axes.errorbar(
            dims,
            values,
            yerr=errors,
            color=colour,
            marker=marker,
            markersize=6,
            markeredgecolor="white",
            markeredgewidth=0.7,
            linewidth=1.6,
            capsize=4,
            capthick=1.2,
            elinewidth=1.2,
            ecolor=colour,
        )
    dims = sorted({row.dim for row in rows})
    axes.set_xscale("log", base=2)
    axes.set_xticks(dims, [str(dim) for dim in dims], fontsize=9)
    axes.minorticks_off()
    highest = max(row.value + (row.error or 0.0) for row in rows)
    axes.set_ylim(0, 1.03 if highest > 0.6 else max(1.15 * highest, 0.01))
    axes.tick_params(axis="y", labelsize=9)
    axes.set_xlabel("prefix dimension", fontsize=9.5)
    axes.grid(axis="both", color="#E3E3E3", linewidth=0.7)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return drawn
