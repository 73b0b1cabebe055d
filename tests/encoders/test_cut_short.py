"""JPEG files that break off: read where next to nothing is missing, refused with how much is there elsewhere."""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
import pytest
from PIL import Image, ImageFile

from engine.encoders.pictures import decode_picture, decode_sized
from indexers.errors import PictureError
from tests.encoders.test_pictures import photo, saved

KINDS: Mapping[str, tuple[str, dict[str, object]]] = {
    "4:2:0": ("RGB", {}),
    "4:4:4": ("RGB", {"subsampling": 0}),
    "grey": ("L", {}),
    "cmyk": ("CMYK", {}),
    "restarts": ("RGB", {"restart_marker_rows": 1}),
    "restarts within a row": ("RGB", {"restart_marker_blocks": 7}),
    "progressive": ("RGB", {"progressive": True}),
    "progressive grey": ("L", {"progressive": True}),
    "progressive with restarts": ("RGB", {"progressive": True, "restart_marker_rows": 1}),
}


def jpeg(kind: str, size: tuple[int, int] = (640, 960)) -> bytes:
    mode, options = KINDS[kind]
    return saved(photo(size).convert(mode), "JPEG", quality=90, **options)


@pytest.mark.parametrize("min_side", [0, 100])
@pytest.mark.parametrize("kind", KINDS)
def test_a_jpeg_that_lacks_its_end_marker_is_read_whole(kind: str, min_side: int) -> None:
    data = jpeg(kind)
    whole = decode_sized(data, min_side=min_side)
    assert whole.note is None
    for cut in (data[:-2], data[:-1], data[:-2] + bytes(3000)):
        found = decode_sized(cut, min_side=min_side)
        assert found.note == "the JPEG has no end marker; all of its rows are there"
        assert (found.width, found.height) == (640, 960)
        assert np.array_equal(np.asarray(found.image), np.asarray(whole.image))
    assert ImageFile.LOAD_TRUNCATED_IMAGES is False


@pytest.mark.parametrize("min_side", [0, 100])
@pytest.mark.parametrize("kind", [kind for kind in KINDS if "progressive" not in kind])
def test_a_jpeg_that_lacks_its_last_rows(kind: str, min_side: int) -> None:
    data = jpeg(kind)
    whole = np.asarray(decode_picture(data, min_side=min_side), int)
    for share in (0.5, 0.8, 0.9):
        with pytest.raises(PictureError, match=r"JPEG cut short: ([0-9]+) % of its rows are there") as caught:
            decode_sized(data[: int(len(data) * share)], min_side=min_side)
        told = int(re.findall("([0-9]+) %", str(caught.value))[0])
        assert share * 100 - 5 < told <= share * 100 + 2
    found = decode_sized(data[: int(len(data) * 0.985)], min_side=min_side)
    told = re.fullmatch("the JPEG is cut short; (9[5-9]) % of its rows are there", found.note or "")
    assert told is not None, found.note
    there = int(found.image.height * int(told[1]) / 100) - 2
    assert np.array_equal(np.asarray(found.image)[:there], whole[:there])


def test_what_is_grey_is_not_what_is_missing() -> None:
    grey = photo((320, 480))
    grey.paste((128, 128, 128), (0, 100, 320, 480))
    data = saved(grey, "JPEG", quality=90)
    assert decode_sized(data[:-2]).note == "the JPEG has no end marker; all of its rows are there"
    for kind in ({"restart_marker_rows": 1}, {"restart_marker_blocks": 1}):
        data = saved(grey, "JPEG", quality=90, **kind)
        at = [found.start() for found in re.finditer(rb"\xff[\xd0-\xd7]", data)]
        for cut in (at[len(at) // 4], at[len(at) // 4] + 1, at[len(at) // 4] + 2):
            with pytest.raises(PictureError, match=r"JPEG cut short: [0-9]+ %"):
                decode_sized(data[:cut])


@pytest.mark.parametrize("kind", [kind for kind in KINDS if "progressive" in kind])
def test_a_progressive_jpeg_needs_all_its_scans(kind: str) -> None:
    data = jpeg(kind)
    last = data.rfind(b"\xff\xda")
    for cut in (last, last - 100, last // 2):
        with pytest.raises(PictureError, match="JPEG cut short: scans of it are missing"):
            decode_sized(data[:cut], min_side=100)
    with pytest.raises(PictureError, match=r"JPEG cut short: [0-8][0-9]? %"):
        decode_sized(data[: (last + len(data)) // 2], min_side=100)
    found = decode_sized(data[: len(data) - (len(data) - last) // 100], min_side=100)
    assert found.note is not None
    whole = np.asarray(decode_picture(data, min_side=100), int)
    assert np.abs(np.asarray(found.image, int) - whole).mean() < 1


def test_half_a_file_padded_with_zeros_is_half_a_picture() -> None:
    data = jpeg("4:2:0")
    for zeros in (100, len(data) // 2, 4 * len(data)):
        with pytest.raises(PictureError, match=r"JPEG cut short: [45][0-9] %"):
            decode_sized(data[: len(data) // 2] + bytes(zeros))
    assert decode_sized(data + bytes(3000)).note is None
    assert decode_sized(data + b"a film that goes with it" + bytes(3000)).note is None


@pytest.mark.parametrize("fmt", ["PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM"])
def test_other_formats_that_break_off_stay_refused(fmt: str) -> None:
    data = saved(photo((320, 240)), fmt)
    with pytest.raises(PictureError):
        decode_picture(data[: int(len(data) * 0.97)])


def test_a_jpeg_of_several_pictures_whose_first_is_cut() -> None:
    data = saved(photo((320, 480)), "MPO", save_all=True, append_images=[photo((320, 480))])
    end = data.index(b"\xff\xd8\xff", 100)
    assert decode_sized(data[: end - 2]).note is not None
    assert decode_sized(data).note is None
    assert isinstance(decode_sized(data).image, Image.Image)
