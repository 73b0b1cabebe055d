"""Every kind of TIFF file is read as tifffile wrote it, or refused with a reason: never as other pixels."""

from __future__ import annotations

import io
import itertools

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from engine.encoders.pictures import decode_picture
from indexers.errors import PictureError

HEIGHT, WIDTH = 48, 64
y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
COLOURS: NDArray[np.float64] = np.stack([x / (WIDTH - 1), y / (HEIGHT - 1), (x + y) / 110], axis=-1)
TYPES = ("u1", "u2", "u4", "i1", "i2", "i4", "f2", "f4", "f8")
KINDS = [
    *itertools.product(("rgb",), ("contig", "separate"), TYPES, "<>", (None, "zlib")),
    *itertools.product(("minisblack", "miniswhite"), (None,), TYPES, "<>", (None, "zlib")),
]
READ = {"rgb": {"u1", "u2"}, "minisblack": {"u1", "u2", "u4", "i1", "i2", "i4", "f4"}, "miniswhite": {"u1", "u2", "f4"}}
"""Types that are read in some way at least: what is refused is not all."""


def written(photometric: str, planar: str | None, kind: str, order: str, compression: str | None) -> bytes:
    values = COLOURS if photometric == "rgb" else COLOURS[..., 0]
    most = 1.0 if kind.startswith("f") else float(np.iinfo(kind).max)
    stored = (values * most if most == 1.0 else np.rint(values * most)).astype(kind)
    if planar == "separate":
        stored = np.moveaxis(stored, -1, 0)
    out = io.BytesIO()
    tifffile.imwrite(
        out, stored, photometric=photometric, planarconfig=planar, byteorder=order, compression=compression
    )
    return out.getvalue()


def wanted(photometric: str) -> NDArray[np.float64]:
    if photometric == "rgb":
        return COLOURS
    grey = COLOURS[..., 0] if photometric == "minisblack" else 1 - COLOURS[..., 0]
    return np.repeat(grey[..., None], 3, axis=-1)


def test_they_are_right_or_refused() -> None:
    read: dict[str, set[str]] = {}
    for photometric, planar, kind, order, compression in KINDS:
        data = written(photometric, planar, kind, order, compression)
        try:
            found = np.asarray(decode_picture(data), float) / 255
        except PictureError:
            continue
        wrong = np.abs(found - wanted(photometric)).max()
        assert wrong < 0.01, (photometric, planar, kind, order, compression, wrong)
        read.setdefault(photometric, set()).add(kind)
    assert read == READ


@pytest.mark.parametrize("least", [-100, 0])
def test_signed_numbers_go_from_the_least_to_the_most(least: int) -> None:
    values = np.linspace(least, 127, HEIGHT * WIDTH).reshape(HEIGHT, WIDTH)
    out = io.BytesIO()
    tifffile.imwrite(out, (values * 256).astype("i2"), photometric="minisblack")
    found = np.asarray(decode_picture(out.getvalue()), float)[..., 0]
    right = values * 2 if least == 0 else values + 128
    assert np.abs(found - right).max() <= 2


def test_twelve_bits_in_sixteen_are_refused() -> None:
    data = bytearray(written("minisblack", None, "u2", "<", None))
    with tifffile.TiffFile(io.BytesIO(bytes(data))) as file:
        at = file.pages[0].tags["BitsPerSample"].valueoffset
    data[at : at + 2] = (12).to_bytes(2, "little")
    with pytest.raises(PictureError, match="says 12 bits a number and has 16"):
        decode_picture(bytes(data))
