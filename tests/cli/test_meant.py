"""What a person means: words that are one query, pictures, arguments the other way round, names nearly right."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.cli.meant import Meaning, is_picture, understood
from tests.conftest import Carried
from tests.helpers import draw, needs_bundled

Told = Callable[..., str]
Queries = Callable[..., tuple[list[str], str]]


@pytest.fixture
def told(carried_out: Carried) -> Told:
    """Run a command that is refused as wrong usage, and return what it said."""

    def run(*arguments: str | Path, cwd: Path) -> str:
        done = carried_out(*arguments, cwd=cwd)
        assert (done.returncode, done.stdout) == (2, ""), done
        return done.stderr

    return run


@pytest.fixture
def queries(carried_out: Carried) -> Queries:
    """Run a search, and return what was asked and what was said about it."""

    def run(*arguments: str | Path, cwd: Path) -> tuple[list[str], str]:
        done = carried_out("search", *arguments, "--json", "-k", "2", cwd=cwd)
        assert done.returncode == 0, done.stderr
        return [json.loads(line)["query"] for line in done.stdout.splitlines()], done.stderr

    return run


@pytest.fixture
def beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder, where we are, with a picture under two names and a file that is none."""
    draw(tmp_path / "a.png", 1)
    shutil.copyfile(tmp_path / "a.png", tmp_path / "picture")
    (tmp_path / "notes").write_text("no picture")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("words", "sentence", "said"),
    [
        (["a", "dog", "on", "grass"], "a dog on grass", 'searching for "a dog on grass"\n'),
        (["a dog on grass"], "a dog on grass", ""),
        (
            ["a red circle", "the sea"],
            "a red circle the sea",
            'searching for "a red circle the sea"; for several queries put -q before each\n',
        ),
        (["notes"], "notes", ""),
        (["none.jpg"], "none.jpg", "there is no file none.jpg: searching for these words; "),
        ([], "", ""),
    ],
)
def test_words_are_one_query(
    beside: Path, capfd: pytest.CaptureFixture[str], words: list[str], sentence: str, said: str
) -> None:
    assert understood(words) == Meaning(sentence, ())
    out, err = capfd.readouterr()
    assert (out, err.startswith(said), bool(err)) == ("", True, bool(said))


def test_a_picture_is_a_picture(beside: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert understood(["a.png", "picture"]) == Meaning("", ("a.png", "picture"))
    assert capfd.readouterr().err.startswith("a.png, picture: pictures, so this looks for what is like it")
    assert not any(map(is_picture, ["", "\0", "notes", "none.png", ".", "x" * 9000, "/dev/null"]))


def test_pictures_and_words_at_once(vectors: Path, beside: Path, told: Told) -> None:
    said = told("search", vectors / "c.nest", "a.png", "in", "spring", cwd=beside)
    assert "a.png is a picture and 'in' is not" in said
    assert "nestvec similar COLLECTION a.png" in said
    assert "nestvec search COLLECTION -q 'a.png in spring'" in said
    assert "one of them" in told("search", vectors / "c.nest", "a.png", "-q", "the sea", cwd=beside)
    assert "2 items were given" in told("explain", vectors / "c.nest", "a.png", "picture", cwd=beside)


@needs_bundled
def test_words_and_pictures_are_searched_for(pictures: Path, beside: Path, queries: Queries) -> None:
    assert queries(pictures / "c.nest", "a", "dog", "-q", "the sea", cwd=beside)[0] == ["a dog", "the sea"]
    assert queries(pictures / "c.nest", "picture", cwd=beside)[0] == ["picture"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("search", "a dog", "c.nest"), "comes first: nestvec search c.nest 'a dog'"),
        (("search", "a", "dog", "c.nest"), "comes first: nestvec search c.nest a dog"),
        (("similar", "q.npy", "c.nest"), "comes first: nestvec similar c.nest q.npy"),
        (("explain", "a dog", "c.nest"), "comes first: nestvec explain c.nest 'a dog'"),
        (("remove", "row-1", "c.nest"), "comes first: nestvec remove c.nest row-1"),
        (("add", "q.npy", "c.nest"), "comes first: nestvec add c.nest q.npy"),
        (("apply-head", "q.npy", "c.nest"), "comes first: nestvec apply-head c.nest q.npy"),
        (("rollback", "1", "c.nest"), "comes first: nestvec rollback c.nest 1"),
        (("diff", "1", "c.nest"), "comes first: nestvec diff c.nest 1"),
        (("index", "c.nest", "q.npy"), "comes last: nestvec index q.npy c.nest"),
        (("serch", "c.nest", "cat"), "there is no verb 'serch'; did you mean 'search'?"),
        (("c.nest", "cat"), "did you mean: nestvec search c.nest cat"),
        (("c.nest",), "did you mean: nestvec info c.nest"),
        (("zzz",), "there is no verb 'zzz'; they are index, add, search"),
        (("search", "c.nest", "--exakt", "cat"), "Did you mean '--exact'?"),
        (("search", "c.nest", "cat", "--space", "mian"), "no space 'mian'; it has main; did you mean 'main'?"),
        (("search", "c.nest", "--vectors", "q.npy", "--plan", "sp@8 | 9@8"), "no index 'sp@8'"),
        (("index", "q.npy", "d.nest", "--encoder", "precomputd"), "did you mean 'precomputed'?"),
        (("index", "q.npy", "d.nest", "--index", "fla@4"), "did you mean 'flat'?"),
        (("index", "q.npy", "d.nest", "--index", "sq@4:bit=8"), "did you mean 'bits'?"),
        (("evaluate", "c.nest", "--labels", "N"), "no column 'N'; it has caption, n."),
        (("evaluate", "c.nest", "--labels", "capton"), "did you mean 'caption'?"),
        (
            ("train", "c.nest", "--objective", "supervised", "--labels", "N", "--dims", "4", "-o", "x.safetensors"),
            "did you mean 'n'?",
        ),
    ],
)
def test_nearly_right(vectors: Path, told: Told, arguments: tuple[str, ...], said: str) -> None:
    assert said in told(*arguments, cwd=vectors)


def test_files_that_do_not_exist(vectors: Path, carried_out: Carried) -> None:
    for arguments, said in (
        (("index", "q.nyp", "d.nest"), "q.nyp does not exist; did you mean q.npy?"),
        (("similar", "c.nest", "q.nyp"), "'q.nyp' is not in c.nest, and no such file is there; did you mean q.npy?"),
        (("similar", "c.nest", "a dog"), "a text is looked for by search"),
        (("info", "d.nest"), "did you mean c.nest?"),
    ):
        done = carried_out(*arguments, cwd=vectors)
        assert (done.returncode, said in done.stderr) == (1, True), done.stderr
