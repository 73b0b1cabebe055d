"""`nestvec tune`, through the installed command."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engine.cli.tune import command as tune_command
from engine.planning.families import FAMILIES
from indexers.memory import SIZE
from tests.helpers import clustered, index, nestvec, save

N = 2000


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tune")
    x = clustered(N + 100, 32)
    index(folder / "c.nest", save(folder / "v.npy", x[:N]), specs=["sq@32"])
    save(folder / "q.npy", x[N:])
    return folder


@pytest.fixture
def own(collection: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(collection, tmp_path / "own"))


def test_a_curve_a_plot_and_searches_by_recall(own: Path) -> None:
    done = nestvec(
        *("tune", "c.nest", "--recall", "0.9", "-k", "5", "--queries", "q.npy", "--json", "--plot", "curve"), cwd=own
    )
    assert done.returncode == 0, done.stderr.decode()
    found = json.loads(done.stdout)
    assert (found["target"], found["k"], found["latency"]) == (0.9, 5, "batch")
    assert found["plan"] in [point["plan"] for point in found["curve"]]
    assert set(found["fresh"]) == {"items", "queries"}
    with Image.open(own / "curve.png") as picture:
        assert len(picture.convert("RGB").resize((200, 200)).getcolors(40_000) or ()) > 20
    assert b"</svg>" in (own / "curve.svg").read_bytes()
    under = found.get("filters", {})
    assert list(under) == ([] if found["plan"] == "exact" else list(FAMILIES))
    told = nestvec("info", "c.nest", cwd=own).stdout.decode()
    assert all((f"           {family}" in told) == bool(under) for family in FAMILIES)
    explained = nestvec("explain", "c.nest", "5", "--item", "--where", "id < 50", cwd=own).stdout.decode()
    assert all((f"\n{family}  " in explained) == bool(under) for family in FAMILIES)
    assert "tuned      for recall@5 0.9; on fresh queries: items" in told
    exact = [json.loads(line) for line in nestvec(*vectors("--exact"), cwd=own).stdout.splitlines()]
    kept = [json.loads(line) for line in nestvec(*vectors("--recall", "0.9"), cwd=own).stdout.splitlines()]
    shares = [
        len({r["id"] for r in a["results"]} & {r["id"] for r in b["results"]}) / 5
        for a, b in zip(exact, kept, strict=True)
    ]
    assert len(shares) == 100
    assert np.mean(shares) >= 0.85


def vectors(*more: str) -> tuple[str, ...]:
    return ("search", "c.nest", "--vectors", "q.npy", "-k", "5", "--json", *more)


def test_the_table_marks_the_plan(own: Path) -> None:
    done = nestvec("tune", "c.nest", "--memory", "1GiB", cwd=own)
    assert done.returncode == 0, done.stderr.decode()
    lines = done.stdout.decode().splitlines()
    assert lines[0].split() == ["plan", "items", "µs", "a", "query", "(batch)"]
    assert sum("←" in line for line in lines) == 1
    assert lines[-2].startswith("recall@10 on fresh queries: items ")
    assert lines[-1].startswith("the index takes ")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--recall", "2"), 2, "2.0 is not in the range 0<x<=1"),
        (("--recall", "much"), 2, "is not a valid float"),
        (("--memory", "lots"), 2, "expected a size like 2GiB"),
        (("--latency", "soon"), 2, "batch"),
        (("--queries", "gone.npy"), 2, "gone.npy"),
        (("--queries", "texts.txt"), 2, "takes no texts"),
        (("--plot", "curve.pdf"), 2, ".png or .svg"),
        (("--space", "other"), 2, "has no space 'other'"),
    ],
)
def test_mistakes(collection: Path, arguments: tuple[str, ...], code: int, said: str) -> None:
    (collection / "texts.txt").write_text("a dog\n" * 60)
    done = nestvec("tune", "c.nest", *arguments, cwd=collection)
    assert done.returncode == code, done.stderr.decode()
    assert said in done.stderr.decode()
    assert not done.stdout


@pytest.mark.parametrize(
    ("text", "size"),
    [("2GiB", 2 << 30), ("500MB", 500_000_000), ("1.5k", 1500), ("77", 77), ("3 TiB", 3 << 40), ("10B", 10)],
)
def test_sizes(text: str, size: int) -> None:
    option = next(one for one in tune_command.params if one.name == "memory")
    assert SIZE.fullmatch(text)
    assert option.callback is not None
    assert option.callback(None, option, text) == size  # type: ignore[arg-type]
