"""Every verb that reads pictures takes --max-pixels, and says alike what is too large."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.api import Collection
from engine.query.ask import Query
from engine.query.terms import Term
from indexers.errors import PictureError
from tests.helpers import draw, nestvec

TOLD = "64×48 pixels are more than the limit of 3000; --max-pixels takes a higher one"


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A picture that is in no collection."""
    path = tmp_path_factory.mktemp("other") / "other.png"
    return draw(path, 7)


@pytest.mark.parametrize("verb", ["similar", "search", "explain"])
def test_asking_with_a_picture(pictures: Path, other: Path, verb: str) -> None:
    refused = nestvec(verb, pictures / "c.nest", other, "--max-pixels", "3000")
    assert refused.returncode == 1
    assert f"{other}: {TOLD}" in refused.stderr.decode()
    assert nestvec(verb, pictures / "c.nest", other, "--max-pixels", "4000").returncode == 0


@pytest.mark.parametrize("verb", ["index", "add"])
def test_taking_pictures_in(pictures: Path, other: Path, tmp_path: Path, verb: str) -> None:
    order = (other.parent, tmp_path / "c.nest") if verb == "index" else (tmp_path / "c.nest", other.parent)
    if verb == "add":
        Collection.create(tmp_path / "c.nest", encoder="bundled").close()
    nestvec(verb, *order, "--max-pixels", "3000")
    failures = nestvec("info", tmp_path / "c.nest", "--failures").stdout.decode()
    assert TOLD in failures
    done = nestvec(verb, *order, "--json")
    assert json.loads(done.stdout)["added"] == 1


def test_a_sheet(pictures: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.html"
    run = ("similar", pictures / "c.nest", "p1.png", "--html", sheet)
    assert nestvec(*run, "--max-pixels", "3000").returncode == 0
    assert f"not shown: {TOLD}" in sheet.read_text()
    assert "data:image/jpeg" not in sheet.read_text()
    nestvec(*run)
    assert "data:image/jpeg" in sheet.read_text()


def test_in_python(pictures: Path, other: Path) -> None:
    with Collection.open(pictures / "c.nest") as opened:
        asked: tuple[Callable[[int], object], ...] = (
            lambda most: opened.similar(other, max_pixels=most),
            lambda most: opened.explain_item(other, max_pixels=most),
            lambda most: opened.encode_picture(other, max_pixels=most),
            lambda most: opened.ask(Query((Term.of_item(other),), max_pixels=most)),
        )
        for one in asked:
            with pytest.raises(PictureError, match="more than the limit of 3000; --max-pixels"):
                one(3000)
            one(4000)
