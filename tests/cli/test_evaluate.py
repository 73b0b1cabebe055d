"""`nestvec evaluate`, through the installed command."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.helpers import clustered, index, needs_bundled, nestvec, save

COLUMNS = ["table", "representation", "queries", "dim", "rerank", "metric", "value", "error", "count"]


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `c.nest`, made of a `.npy` and a table that says of what kind each row is."""
    folder = tmp_path_factory.mktemp("labelled")
    x = clustered(150, 16)
    with open(folder / "t.csv", "w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["name", "kind"])
        out.writerows([f"row{number}", "up" if row[0] > 0 else "down"] for number, row in enumerate(x))
    index(folder / "c.nest", save(folder / "v.npy", x), table=folder / "t.csv")
    return folder


def test_figures_files_and_plots(labelled: Path) -> None:
    done = nestvec(
        *("evaluate", "c.nest", "--labels", "kind", "--dims", "4,8,16", "--queries", "40", "-k", "5", "--json"),
        *("--parquet", "a.parquet", "--plot", "a.png", "--plot", "stem"),
        cwd=labelled,
    )
    assert done.returncode == 0, done.stderr.decode()
    found = json.loads(done.stdout)
    assert (found["items"], found["dim"], found["seed"]) == (150, 16, 0)
    assert all(list(row) == COLUMNS for row in found["rows"])
    assert {row["table"] for row in found["rows"]} == {"neighbours", "labels", "adaptive"}
    assert {row["metric"] for row in found["rows"]} == {"recall@5", "recall@5 in 100", "1-NN", "mAP@5", "ms"}
    assert {row["dim"] for row in found["rows"] if row["representation"] == "truncation"} == {4, 8, 16}
    assert pq.read_table(labelled / "a.parquet").to_pylist() == found["rows"]
    with Image.open(labelled / "a.png") as picture:
        assert len(picture.convert("RGB").resize((200, 200)).getcolors(40_000) or ()) > 20
    assert (labelled / "stem.png").read_bytes() == (labelled / "a.png").read_bytes()
    assert b"</svg>" in (labelled / "stem.svg").read_bytes()
    assert done.stderr.decode().splitlines()[-1] == "wrote stem.svg"


def test_the_tables(labelled: Path) -> None:
    done = nestvec("evaluate", "c.nest", "--dims", "4,16", cwd=labelled)
    assert done.returncode == 0, done.stderr.decode()
    lines = done.stdout.decode().splitlines()
    assert lines[0] == "neighbours, queries: items (150); ± standard error"
    assert lines[1].split() == ["representation", "dim", "recall@10", "recall@10", "in", "100"]
    assert [line.split()[:2] for line in lines[2:]] == [
        *([name, dim] for name in ("truncation", "pca", "random") for dim in ("4", "16")),
        ["full", "16"],
    ]
    again = nestvec("evaluate", "c.nest", "--dims", "16,4", cwd=labelled)
    assert again.stdout == done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "give a collection, or --run with --qrels"),
        (("c.nest", "--dims", "8;16"), "expected numbers like 8,16,32"),
        (("c.nest", "--dims", "32"), "from 1 to 16, found 32"),
        (("c.nest", "-k", "0"), "0 is not in the range"),
        (("c.nest", "-k", "200"), "at least k = 200"),
        (("c.nest", "--labels", "colour"), "no column 'colour'; it has caption, kind"),
        (("c.nest", "--plot", "a.jpg"), "a plot is written as .png or .svg"),
        (("c.nest", "--plot", "none/a.png"), "there is no folder none"),
        (("c.nest", "--parquet", "none/a.parquet"), "there is no folder none"),
        (("c.nest", "--topics", "t.csv"), "topics and qrels belong together"),
        (("c.nest", "--space", "none"), "no space 'none'"),
        (("--run", "t.csv"), "--run needs --qrels"),
        (("c.nest", "--run", "t.csv", "--qrels", "t.csv"), "--run is scored by itself"),
        (("--run", "t.csv", "--qrels", "t.csv", "--dims", "8"), "would change nothing"),
        (("--run", "t.csv", "--qrels", "t.csv", "--plot", "a.png"), "nothing for --plot"),
    ],
)
def test_wrong_usage(labelled: Path, arguments: tuple[str, ...], said: str) -> None:
    done = nestvec("evaluate", *arguments, cwd=labelled)
    assert done.returncode == 2, done.stderr.decode()
    assert said in done.stderr.decode()
    assert not done.stdout


def test_a_run_is_scored_by_itself(tmp_path: Path) -> None:
    (tmp_path / "a.run").write_text("1 Q0 a 1 2.0 t\n1 Q0 b 2 1.0 t\n2 Q0 b 1 1.0 t\n")
    (tmp_path / "q").write_text("1 0 b 1\n2 0 b 1\n3 0 b 1\n")
    done = nestvec("evaluate", "--run", "a.run", "--qrels", "q", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr.decode()
    found = {row["metric"]: row["value"] for row in json.loads(done.stdout)["rows"]}
    assert found["MAP"] == found["MRR@10"] == pytest.approx((1 / 2 + 1 + 0) / 3)
    (tmp_path / "q").write_text("1 0 b 1\n2 0 b\n")
    done = nestvec("evaluate", "--run", "a.run", "--qrels", "q", cwd=tmp_path)
    assert (done.returncode, done.stderr.decode()[:13]) == (1, "nestvec: q:2:")
    (tmp_path / "q").write_text("x 0 b 1\n")
    done = nestvec("evaluate", "--run", "a.run", "--qrels", "q", cwd=tmp_path)
    assert done.returncode == 2
    assert b"none of its queries is judged" in done.stderr


@needs_bundled
def test_pictures_with_captions_and_judgements(pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "t.tsv").write_text("1\ta drawing\n")
    (tmp_path / "q.txt").write_text("1 0 p1.png 2\n1 0 p2.png 1\n")
    done = nestvec(
        *("evaluate", pictures / "c.nest", "--dims", "32,384", "-k", "2", "--shortlist", "3"),
        *("--topics", "t.tsv", "--qrels", "q.txt", "--plot", "a.svg"),
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr.decode()
    said = done.stdout.decode()
    for title in ("queries: items (4)", "trec"):
        assert title in said
    assert "image" not in said
    warned = done.stderr.decode()
    assert "only 4 items to ask with: a share may be off by ± 0.49" in warned
    assert "left out, different captions: 1 to ask with" in warned
    assert "judged topics: one to ask with: a share may be off by ± 0.98" in warned
    assert "nDCG@10" in said
    assert (tmp_path / "a.svg").stat().st_size > 10_000
