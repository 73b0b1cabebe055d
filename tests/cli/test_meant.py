"""What a person means: words that are one query, pictures, arguments the other way round, names nearly right."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.helpers import draw, needs_bundled, nestvec


def told(*arguments: str | Path, cwd: Path) -> str:
    """Run a command that is refused as wrong usage, and return what it said."""
    done = nestvec(*arguments, cwd=cwd)
    assert done.returncode == 2, done.stderr.decode()
    assert not done.stdout
    return done.stderr.decode()


def queries(*arguments: str | Path, cwd: Path) -> tuple[list[str], str]:
    """Run a search, and return what was asked and what was said about it."""
    done = nestvec("search", *arguments, "--json", "-k", "2", cwd=cwd)
    assert done.returncode == 0, done.stderr.decode()
    return [json.loads(line)["query"] for line in done.stdout.splitlines()], done.stderr.decode()


@pytest.fixture
def photos(pictures: Path, tmp_path: Path) -> Path:
    """A folder with a copy of the collection and a picture beside it."""
    shutil.copytree(pictures / "c.nest", tmp_path / "c.nest")
    draw(tmp_path / "a.png", 1)
    shutil.copyfile(tmp_path / "a.png", tmp_path / "picture")
    (tmp_path / "notes").write_text("no picture")
    return tmp_path


@needs_bundled
def test_words_are_one_query(photos: Path) -> None:
    assert queries("c.nest", "a", "dog", "on", "grass", cwd=photos) == (
        ["a dog on grass"],
        'searching for "a dog on grass"\n',
    )
    assert queries("c.nest", "a dog on grass", cwd=photos) == (["a dog on grass"], "")
    asked, said = queries("c.nest", "a red circle", "the sea", cwd=photos)
    assert asked == ["a red circle the sea"]
    assert said == 'searching for "a red circle the sea"; for several queries put -q before each\n'
    assert queries("c.nest", "-q", "a red circle", "--query", "the sea", cwd=photos)[0] == ["a red circle", "the sea"]
    assert queries("c.nest", "a", "dog", "-q", "the sea", cwd=photos)[0] == ["a dog", "the sea"]
    assert queries("c.nest", "notes", cwd=photos) == (["notes"], "")
    assert "there is no file none.jpg" in queries("c.nest", "none.jpg", cwd=photos)[1]


@needs_bundled
def test_a_picture_is_a_picture(photos: Path) -> None:
    for name in ("a.png", "picture"):
        done = nestvec("search", "c.nest", name, "-k", "2", cwd=photos)
        assert done.stdout == nestvec("similar", "c.nest", name, "-k", "2", cwd=photos).stdout
        assert f"{name}: a picture, so this looks for what is like it" in done.stderr.decode()
    assert queries("c.nest", "a.png", "picture", cwd=photos)[0] == ["a.png", "picture"]
    assert queries("c.nest", "-q", "a.png", cwd=photos)[0] == ["a.png"]
    said = told("search", "c.nest", "a.png", "in", "spring", cwd=photos)
    assert "a.png is a picture and 'in' is not" in said
    assert "nestvec similar COLLECTION a.png" in said
    assert "nestvec search COLLECTION -q 'a.png in spring'" in said
    assert "one of them" in told("search", "c.nest", "a.png", "-q", "the sea", cwd=photos)
    explained = nestvec("explain", "c.nest", "a.png", cwd=photos)
    assert (explained.returncode, b"a.png: a picture" in explained.stderr) == (0, True)
    assert nestvec("explain", "c.nest", "the", "sea", cwd=photos).stderr == b'searching for "the sea"\n'
    assert "2 items were given" in told("explain", "c.nest", "a.png", "picture", cwd=photos)


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
        (("search", "c.nest", "--exat", "cat"), "Did you mean '--exact'?"),
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
def test_nearly_right(vectors: Path, arguments: tuple[str, ...], said: str) -> None:
    assert said in told(*arguments, cwd=vectors)


def test_files_that_do_not_exist(vectors: Path) -> None:
    for arguments, said in (
        (("index", "q.nyp", "d.nest"), "q.nyp does not exist; did you mean q.npy?"),
        (("similar", "c.nest", "q.nyp"), "'q.nyp' is not in c.nest, and no such file is there; did you mean q.npy?"),
        (("similar", "c.nest", "a dog"), "a text is looked for by search"),
        (("info", "d.nest"), "did you mean c.nest?"),
    ):
        done = nestvec(*arguments, cwd=vectors)
        assert (done.returncode, said in done.stderr.decode()) == (1, True), done.stderr.decode()
