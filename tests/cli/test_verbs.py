"""Every verb, through the installed command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.cli import VERBS
from tests.helpers import COMMAND, clustered, flip_bit, needs_bundled, nestvec, save


def lines(done: subprocess.CompletedProcess[bytes]) -> list[Any]:
    """Parse the JSON a command printed, one value a line."""
    assert done.returncode == 0, done.stderr.decode()
    return [json.loads(line) for line in done.stdout.splitlines()]


# -- help and usage ------------------------------------------------------------------------


def test_help_lists_every_verb() -> None:
    for flag in ("--help", "-h"):
        done = nestvec(flag)
        assert done.returncode == 0
        assert all(f"  {verb} " in done.stdout.decode() for verb in VERBS)
    files = {path.stem for path in (Path(__file__).parents[2] / "engine/cli").glob("*.py")}
    assert {verb.replace("-", "_") for verb in VERBS} <= files


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_an_example(verb: str) -> None:
    done = nestvec(verb, "--help")
    assert done.returncode == 0
    said = done.stdout.decode()
    assert "Example:" in said
    assert f"nestvec {verb}" in said.split("Example:")[1]


def test_the_version() -> None:
    assert nestvec("--version").stdout.split()[-1].count(b".") == 2


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("nope",),
        ("search",),
        ("search", "c.nest"),
        ("search", "c.nest", "-k", "0", "x"),
        ("search", "c.nest", "--vectors", "q.npy", "text"),
        ("search", "c.nest", "--vectors", "q.npy", "--plan", "nonsense"),
        ("search", "c.nest", "--vectors", "q.npy", "--exact", "--plan", "exact"),
        ("search", "c.nest", "--vectors", "q.npy", "--dim", "9"),
        ("search", "c.nest", "--vectors", "c.nest/versions/0000000001.json"),
        ("index", "q.npy", "d.nest", "--index", "flat"),
        ("index", "q.npy", "d.nest", "--encoder", "nope"),
        ("index", "q.npy", "d.nest", "--dtype", "float64"),
        ("remove", "c.nest"),
    ],
)
def test_wrong_usage_is_2(vectors: Path, arguments: tuple[str, ...]) -> None:
    done = nestvec(*arguments, cwd=vectors)
    assert done.returncode == 2, done.stderr.decode()
    assert done.stderr
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("info", "none.nest"), "make one with: nestvec index"),
        (("info", "q.npy"), "not a nestvec collection"),
        (("info", "\x1b[31m.nest"), "\\x1b[31m.nest"),
        (("search", "c.nest", "a text"), "has a text tower"),
        (("similar", "c.nest", "none.jpg"), "not in c.nest"),
        (("similar", "c.nest", "99999999999999999999"), "no item with id"),
        (("similar", "c.nest", "q.npy"), "takes no inputs"),
        (("remove", "c.nest", "none"), "not in c.nest"),
        (("remove", "c.nest", "--id", "777"), "no item with id 777"),
        (("remove", "c.nest", "--below", "none"), "no item lies below"),
        (("index", "none", "d.nest"), "does not exist"),
        (("index", "q.npy", "q.npy"), "is a file"),
        (("index", "q.npy", "."), "not empty"),
        (("index", "c.nest", "d.nest"), "is a collection, not a source"),
        (("add", "none.nest", "q.npy"), "not a nestvec collection"),
        (("search", "c.nest", "--vectors", "q.npy", "--html", "none/x.html"), "No such file or directory"),
    ],
)
def test_what_fails_is_1_and_says_why(vectors: Path, arguments: tuple[str, ...], said: str) -> None:
    done = nestvec(*arguments, cwd=vectors)
    text = done.stderr.decode()
    assert done.returncode == 1, text
    assert said in text or said.replace("takes no inputs", "takes no inputs, only vectors") in text, text
    assert text.startswith("nestvec: ") or "\nnestvec: " in text
    assert "Traceback" not in text


# -- the verbs -----------------------------------------------------------------------------


def test_index_add_remove_compact(tmp_path: Path) -> None:
    v, w = save(tmp_path / "v.npy", clustered(50, 8)), save(tmp_path / "w.npy", clustered(5, 8, 1))
    (made,) = lines(nestvec("index", v, "c.nest", "--index", "flat@4", "--dtype", "float32", "--json", cwd=tmp_path))
    assert (made["added"], made["failed"], made["version"]) == (50, 0, 4)
    (added,) = lines(nestvec("add", "c.nest", w, "--json", cwd=tmp_path))
    assert (added["added"], added["unindexed"]) == (5, 5)
    (removed,) = lines(nestvec("remove", "c.nest", "v.npy#3", "--id", "4", "--json", cwd=tmp_path))
    assert removed["removed"] == 2
    (compacted,) = lines(nestvec("compact", "c.nest", "--json", cwd=tmp_path))
    assert compacted["removed"] == 2
    (found,) = lines(nestvec("info", "c.nest", "--json", cwd=tmp_path))
    space = found["spaces"]["main"]
    assert (found["items"], found["deleted"], found["shards"], space["dtype"]) == (53, 0, 1, "float32")
    assert [one["spec"] for one in space["indexes"]] == ["flat@4"]


def test_rows_that_fail_are_3(tmp_path: Path) -> None:
    bad = clustered(5, 8)
    bad[2] = np.nan
    done = nestvec("index", save(tmp_path / "v.npy", bad), "c.nest", cwd=tmp_path)
    assert done.returncode == 3
    assert b"4 added, 1 failed" in done.stdout
    assert b"nestvec info c.nest --failures" in done.stderr
    shown = nestvec("info", "c.nest", "--failures", cwd=tmp_path)
    assert shown.stdout == b"v.npy/v.npy#2: the vector has NaN or infinite values\n"
    (failure,) = lines(nestvec("info", "c.nest", "--failures", "--json", cwd=tmp_path))
    assert failure == {"source": "v.npy", "path": "v.npy#2", "reason": "the vector has NaN or infinite values"}


def test_a_table_is_remembered_until_it_is_dropped(tmp_path: Path) -> None:
    save(tmp_path / "v.npy", clustered(3, 8))
    (tmp_path / "t.csv").write_text("id,says\na,1\nb,2\nc,3\n")
    options = ("--table", "t.csv", "--name-column", "id", "--caption-column", "says")
    nestvec("index", "v.npy", "c.nest", *options, cwd=tmp_path)
    (again,) = lines(nestvec("index", "v.npy", "c.nest", "--json", cwd=tmp_path))
    assert (again["unchanged"], again["unjoined"], again["unread"]) == (3, [], [])
    shown = nestvec("info", "c.nest", cwd=tmp_path).stdout.decode()
    assert f"table {tmp_path / 't.csv'}, name column id, caption column says" in shown
    (tmp_path / "t.csv").rename(tmp_path / "away")
    gone = nestvec("index", "v.npy", "c.nest", cwd=tmp_path)
    assert gone.returncode == 3
    assert b"--no-table" in gone.stderr
    assert nestvec("index", "v.npy", "c.nest", "--no-table", cwd=tmp_path).returncode == 0


def test_info(vectors: Path) -> None:
    said = nestvec("info", "c.nest", cwd=vectors).stdout.decode()
    for part in ("60 (0 removed, 0 failed)", "precomputed, 8 × float16", "sq@8:bits=8", "bytes an item", "recall@10"):
        assert part in said


def test_search_answers_in_the_order_of_the_queries(vectors: Path) -> None:
    found = lines(nestvec("search", "c.nest", "--vectors", "q.npy", "-k", "2", "--json", cwd=vectors))
    assert [list(answers) for answers in found] == [["query", "results"]] * 3
    assert [answers["query"] for answers in found] == [None] * 3
    assert [answers["results"][0]["id"] for answers in found] == [0, 1, 2]
    for answers in found:
        assert [result["rank"] for result in answers["results"]] == [1, 2]
        for result in answers["results"]:
            assert list(result) == ["rank", "id", "uri", "score", "chance", "caption", "meta"]
            assert result["meta"] == {"n": result["id"]}
        scores = [result["score"] for result in answers["results"]]
        assert scores == sorted(scores, reverse=True)
        assert scores[0] == pytest.approx(1, abs=2e-3)


@pytest.mark.parametrize("option", [("--exact",), ("--plan", "sq@8 | 50@8"), ("--dim", "4"), ("-k", "1000000000")])
def test_search_with_options(vectors: Path, option: tuple[str, ...]) -> None:
    found = lines(nestvec("search", "c.nest", "--vectors", "q.npy", "--json", *option, cwd=vectors))
    assert [answers["results"][0]["id"] for answers in found] == [0, 1, 2]
    assert {len(answers["results"]) for answers in found} == {60 if "-k" in option else 10}


def test_one_item_that_cannot_be_looked_for_is_named_and_the_others_are_answered(vectors: Path) -> None:
    done = nestvec("similar", "c.nest", "row-5", "none.jpg", "row-7", "--json", cwd=vectors)
    assert done.returncode == 3
    assert [json.loads(one)["query"] for one in done.stdout.splitlines()] == ["row-5", "row-7"]
    assert done.stderr.decode().count("none.jpg") == 1
    done = nestvec("similar", "c.nest", "none.jpg", "nor-this.png", cwd=vectors)
    assert done.returncode == 1
    assert "none.jpg" in done.stderr.decode()
    assert "nor-this.png" in done.stderr.decode()


def test_similar_leaves_the_item_itself_out(vectors: Path) -> None:
    (without,) = lines(nestvec("similar", "c.nest", "row-5", "-k", "60", "--json", cwd=vectors))
    assert (without["query"], len(without["results"])) == ("row-5", 59)
    assert 5 not in [result["id"] for result in without["results"]]
    first, second = lines(
        nestvec("similar", "c.nest", "5", "row-7", "--include-self", "--json", "-k", "1", cwd=vectors)
    )
    assert (first["query"], first["results"][0]["id"], second["results"][0]["id"]) == ("5", 5, 7)


def test_explain(vectors: Path) -> None:
    (found,) = lines(nestvec("explain", "c.nest", "row-5", "--item", "--plan", "sq@8 | 50@8", "--json", cwd=vectors))
    assert (found["query"], found["plan"], found["k"], found["rows"]) == ("row-5", "sq@8 | 50@8", 10, 60)
    assert [step["name"] for step in found["steps"]] == ["sq@8:bits=8", "rerank@8"]
    said = nestvec("explain", "c.nest", "row-5", "--item", cwd=vectors).stdout.decode()
    assert "whole search" in said
    assert "exact, reading " in said


def test_verify(own: Path) -> None:
    assert nestvec("verify", "c.nest", cwd=own).stdout == b"everything is as it was written\n"
    (whole,) = lines(nestvec("verify", "c.nest", "--json", cwd=own))
    assert whole == {"collection": "c.nest", "problems": []}
    damaged = next((own / "c.nest").rglob("vectors/*.npy"))
    flip_bit(damaged, 200)
    done = nestvec("verify", "c.nest", cwd=own)
    assert done.returncode == 1
    assert damaged.name.encode() in done.stdout
    assert b"it can be built again" in done.stdout
    assert b"nestvec repair" in done.stderr
    told = json.loads(nestvec("verify", "c.nest", "--json", cwd=own).stdout)
    assert [problem["derived"] for problem in told["problems"]] == [True]


def test_encoders() -> None:
    found = lines(nestvec("encoders", "--json"))
    assert {"bundled", "precomputed:NAME"} <= {one["spec"] for one in found}
    assert all(set(one) == {"spec", "dim", "modalities", "available", "note"} for one in found)


def test_doctor() -> None:
    done = nestvec("doctor", "--json")
    found = json.loads(done.stdout)
    assert {"python", "numpy", "faiss", "torch", "bundled"} <= set(found["facts"])
    assert done.returncode == (1 if found["problems"] else 0)


# -- with pictures and texts ---------------------------------------------------------------


@needs_bundled
def test_texts_from_a_file_and_from_stdin(pictures: Path, tmp_path: Path) -> None:
    asked = ["a red circle", "the sea", "caf\u00e9"]
    file = tmp_path / "queries.txt"
    file.write_text("\ufeff" + "\r\n\n".join(asked) + "\n")
    from_file = nestvec("search", pictures / "c.nest", "--queries", file, "--json", "-k", "2")
    found = lines(from_file)
    assert [answers["query"] for answers in found] == asked
    assert all(len(answers["results"]) == 2 for answers in found)
    stdin = "".join(f"{text}\n" for text in asked).encode()
    from_stdin = nestvec("search", pictures / "c.nest", "--queries", "-", "--json", "-k", "2", stdin=stdin)
    assert from_stdin.stdout == from_file.stdout
    latin = nestvec("search", pictures / "c.nest", "--queries", "-", stdin=b"caf\xe9\n")
    assert (latin.returncode, b"UTF-8" in latin.stderr) == (2, True)


@needs_bundled
def test_a_text_is_answered_in_words(pictures: Path) -> None:
    done = nestvec("search", pictures / "c.nest", "-q", "a red circle", "-q", "the sea")
    assert done.returncode == 0
    said = os.fsdecode(done.stdout)  # one picture has a name that is not UTF-8
    assert said.startswith("a red circle\n  1  ")
    assert "\n\nthe sea\n  1  " in said
    assert "\x1b" not in said
    for wrong in ("  ", b"caf\xe9"):
        assert nestvec("search", pictures / "c.nest", wrong).returncode == 2


@needs_bundled
def test_similar_to_a_file_that_is_not_indexed(pictures: Path, tmp_path: Path) -> None:
    from tests.helpers import draw

    other = draw(tmp_path / "other.png", 0)
    (found,) = lines(nestvec("similar", pictures / "c.nest", other, "--json"))
    assert found["query"] == str(other)
    assert found["results"][0]["uri"] == str(pictures / "photos/p0.png")
    assert len(found["results"]) == 4
    (tmp_path / "text.png").write_text("no picture")
    done = nestvec("similar", pictures / "c.nest", tmp_path / "text.png")
    assert (done.returncode, b"not a picture" in done.stderr) == (1, True)


# -- torch ---------------------------------------------------------------------------------

WITHOUT_TORCH = """
import sys
from engine.cli import main
class Refused:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"torch", "open_clip", "timm", "torchvision"}:
            raise AssertionError(f"{name} was imported")
sys.meta_path.insert(0, Refused())
main()
"""


@pytest.mark.parametrize(
    "arguments",
    [
        ("--help",),
        ("info", "c.nest"),
        ("search", "c.nest", "--vectors", "q.npy"),
        ("similar", "c.nest", "row-5"),
        ("explain", "c.nest", "row-5", "--item"),
        ("index", "q.npy", "d.nest"),
        ("add", "c.nest", "q.npy"),
        ("remove", "c.nest", "row-5"),
        ("compact", "c.nest"),
        ("verify", "c.nest"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_precomputed_vectors_need_no_torch(own: Path, arguments: tuple[str, ...]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, *arguments], cwd=own, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert COMMAND.exists()
