"""A picture is the same picture however it is given: by its path, its bytes, an open file, an image or its pixels."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from engine import Collection, Query, Term
from indexers.errors import InvalidInput, InvalidVectors, PictureError
from tests.helpers import clustered, draw
from tests.query.test_encode import D, Seeing, opened

__all__ = ["opened"]  # the fixture


def scores(found: Any) -> list[float]:
    return [round(float(one), 4) for one in found.scores]


def test_every_way_gives_the_same_answers(opened: Collection, tmp_path: Path) -> None:
    path = draw(tmp_path / "a.png", 1)
    expected, data, image = scores(opened.similar(path)), path.read_bytes(), Image.open(path)
    pixels = np.asarray(image.convert("RGB"))
    ways = (data, bytearray(data), memoryview(data), io.BytesIO(data), image, image.convert("RGBA"), pixels)
    for way in ways:
        answers = opened.similar(way)
        assert scores(answers) == expected and answers.query == "a picture", type(way)
    with path.open("rb") as file, path.open("rb", buffering=0) as raw:
        assert scores(opened.similar(file)) == scores(opened.similar(raw)) == expected
    found = opened.similar([path, data, image, pixels, io.BytesIO(data), "row-7", 7, clustered(20, D)[7]])
    assert [scores(one) == expected for one in found[:5]] == [True] * 5
    assert found[5].ids.tolist() == found[6].ids.tolist()
    term = Term.of_picture(image)
    assert term == pickle.loads(pickle.dumps(term)) and hash(term)  # noqa: S301 - our own
    assert scores(opened.ask(Query((term,)))) == expected and "bytes>" in repr(term) and len(repr(term)) < 99


def test_pixels_of_each_shape(opened: Collection) -> None:
    grey = np.arange(48 * 64, dtype=np.uint8).reshape(48, 64)
    expected = scores(opened.similar(np.stack([grey] * 3, axis=2)))
    assert scores(opened.similar(grey)) == scores(opened.similar(grey[:, :, None])) == expected
    clear = np.zeros((8, 8, 4), np.uint8)  # transparent black is laid over white
    assert scores(opened.similar(clear)) == scores(opened.similar(np.full((8, 8, 3), 255, np.uint8)))
    assert scores(opened.similar(grey[:, ::-1])) == scores(opened.similar(grey[:, ::-1].copy()))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "LAB", "I", "F", "I;16"])
def test_images_of_every_mode(opened: Collection, mode: str) -> None:
    deep = {"I": 200, "F": 1.0, "I;16": 60_000, "LAB": (200, 128, 128)}
    made = Image.new(mode, (16, 12), deep[mode]) if mode in deep else Image.new("RGB", (16, 12), "white").convert(mode)
    assert len(opened.similar(made, k=3)) == 3


def test_an_image_is_upright_by_its_exif(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6
    half = Image.new("RGB", (40, 20), "white")
    half.paste((200, 10, 10), (0, 0, 20, 20))
    half.save(tmp_path / "a.png", exif=exif)
    upright = Image.frombytes("RGB", (20, 40), Term.of_picture(Image.open(tmp_path / "a.png")).value[-2400:])  # type: ignore[arg-type,index]
    assert (upright.size, upright.getpixel((10, 5)), upright.getpixel((10, 35))) == (
        (20, 40),
        (200, 10, 10),
        (255,) * 3,
    )


def test_real_arrays_are_vectors(opened: Collection) -> None:
    rows = clustered(20, D)
    assert opened.similar(rows[3]).ids.tolist() == opened.search(rows[3]).ids.tolist()
    assert opened.similar(rows[3:5]).ids.tolist() == opened.search(rows[3:5]).ids.tolist()
    assert opened.similar(np.array([3, 4])).ids.tolist() == opened.similar([3, 4]).ids.tolist()
    assert opened.similar(np.array([3, 4], np.uint8)).ids.tolist() == opened.similar([3, 4]).ids.tolist()
    with pytest.raises(InvalidVectors):
        opened.similar(np.ones(D + 1))


@pytest.mark.parametrize(
    "odd",
    [
        *(np.ones((4, 4, 3)), np.ones((4, 4), np.int64), np.ones((4, 4), bool), np.ones((3, 8, 8), np.uint8)),
        *(np.ones((2, 8, 8, 3), np.uint8), np.ones((8, 8), np.uint16), np.ones((8, 8, 2), np.uint8), io.StringIO("a")),
    ],
)
def test_what_may_mean_several_things_is_refused_in_words(opened: Collection, odd: Any) -> None:
    with pytest.raises((InvalidInput, PictureError), match=r"expected pixels, uint8|open for bytes"):
        opened.similar(odd)


def closed() -> io.BytesIO:
    file = io.BytesIO(b"x")
    file.close()
    return file


def cut() -> Image.Image:
    whole = io.BytesIO()
    Image.effect_noise((64, 64), 99).save(whole, "JPEG")
    return Image.open(io.BytesIO(whole.getvalue()[:1500]))


@pytest.mark.parametrize(
    "bad",
    [b"", b"no picture", io.BytesIO(), closed(), cut(), np.zeros((0, 5), np.uint8), np.zeros((1, 900), np.uint8)],
)
def test_what_is_no_picture_is_said_and_which_it_was(opened: Collection, tmp_path: Path, bad: Any) -> None:
    good = draw(tmp_path / "a.png", 1)
    with pytest.raises(PictureError):
        opened.similar(bad)
    with pytest.raises(PictureError, match="input 2 of 3"):
        opened.similar([good, bad, good])


def test_a_path_is_named(opened: Collection, tmp_path: Path) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"no picture")
    with pytest.raises(PictureError, match=r"bad\.jpg"):
        opened.similar([draw(tmp_path / "a.png", 1), tmp_path / "bad.jpg"])


def test_a_text_is_no_picture(opened: Collection, tmp_path: Path) -> None:
    for picture in (b"\x89PNG", Image.new("RGB", (4, 4)), io.BytesIO(b"x")):
        with pytest.raises(InvalidInput, match="found by similar"):
            opened.search(picture)


def test_an_encoder_says_which_languages_it_knows(opened: Collection, tmp_path: Path) -> None:
    assert opened.search("ein roter Hund").notes == ()  # this one does not say

    class English(Seeing):
        languages = frozenset({"en"})

    with Collection(opened.root, encoder=English()) as other:
        (note,) = other.search("ein roter Hund").notes
        assert note.startswith('"ein roter Hund" looks like German, and ') and "\n" not in note
        assert other.search("a red dog").notes == ()
        found = other.search(["a dog", "\u732b", "\U0001f680"])
        assert [len(one.notes) for one in found] == [0, 1, 1]
        both = Query((Term.of_text("\u732b"), Term.of_text("ein roter Hund", weight=-1), Term.of_text("a dog")))
        assert len(other.ask(both).notes) == 2
        assert other.similar(0).notes == () and other.search(clustered(1, D)[0]).notes == ()
