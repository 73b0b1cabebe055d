"""The plots are pictures with something in them, and the same figures give the same bytes."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engine.evaluation.plots import draw_plots, plot_files
from engine.evaluation.rows import Row
from indexers.errors import InvalidInput, SourceError
from tests.helpers import python

NAMES = ("truncation", "pca", "random", "full", "nested:mine", "nested:yours")
ROWS = [
    Row(table, name, queries, dim, None, metric, 0.1 + at / 10 + dim / 200, 0.01, 50)
    for at, name in enumerate(NAMES)
    for table, queries, metric in (
        ("neighbours", "items", "recall@10"),
        ("neighbours", "texts", "recall@10"),
        ("labels", "items", "mAP@10"),
    )
    for dim in ((64,) if name == "full" else (8, 16, 64))
] + [Row("adaptive", "pca", "items", 8, 8, "ms", 0.1, None, 5)]


def test_both_kinds_are_written(tmp_path: Path) -> None:
    files = draw_plots([tmp_path / "both", tmp_path / "one.png"], ROWS, title="made <up> & plain")
    assert [file.name for file in files] == ["both.png", "both.svg", "one.png"]
    assert sorted(one.name for one in tmp_path.iterdir()) == ["both.png", "both.svg", "one.png"]
    with Image.open(tmp_path / "both.png") as picture:
        assert picture.width > 1000 and picture.height > 800
        pixels = np.asarray(picture.convert("RGB")).reshape(-1, 3)
    # Every line is there in its colour: what is drawn over never hides all of it.
    for colour in ("0072B2", "E69F00", "8C8C8C", "D55E00", "009E73"):
        wanted = np.frombuffer(bytes.fromhex(colour), np.uint8)
        assert (np.abs(pixels.astype(int) - wanted).max(axis=1) < 8).sum() > 300, colour
    svg = (tmp_path / "both.svg").read_text()
    assert svg.startswith("<?xml") and svg.rstrip().endswith("</svg>")
    # Two panels of neighbours, one of labels, none of the times; text queries are by themselves.
    assert len(re.findall(r'<g id="axes_\d+">', svg)) == 3


def test_the_same_figures_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        draw_plots([tmp_path / name], ROWS)
    for suffix in (".png", ".svg"):
        assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()


def test_what_cannot_be_drawn(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"both without an ending; found 'a\.jpg'"):
        draw_plots([tmp_path / "a.jpg"], ROWS)
    with pytest.raises(InvalidInput, match="nothing to draw"):
        draw_plots([tmp_path / "a.png"], ROWS[-1:])
    with pytest.raises(SourceError, match="cannot be written"):
        draw_plots([tmp_path / "none/a.png"], ROWS)
    assert [file.name for file in plot_files(Path("x/run.PNG"))] == ["run.PNG"]


def test_without_matplotlib_it_says_what_to_install() -> None:
    said = python(
        "import sys; sys.modules['matplotlib'] = None\n"
        "from engine.evaluation import plots\n"
        "try:\n"
        "    plots.draw_plots([], [])\n"
        "except plots.DependencyMissing as error:\n"
        "    print(error)\n"
    )
    assert " ".join(said) == "plots need matplotlib: pip install 'nestvec[plots]'"
