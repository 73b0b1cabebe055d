"""Decoders say nothing on their own: what matters of a picture is a row with its name."""

from __future__ import annotations

import io
import json
import logging
import struct
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import pytest
from PIL import Image

from engine.encoders.hushed import hush_libtiff, hushed
from engine.encoders.pictures import decode_picture
from tests.encoders.test_lean import chunk, segment, with_chunks
from tests.encoders.test_pictures import corners, photo, saved
from tests.helpers import COMMAND


def tiff(tag: int, kind: int, value: int) -> bytes:
    """A compressed TIFF one of whose tags says something odd."""
    data = bytearray(saved(photo((90, 70)), "TIFF", compression="tiff_lzw"))
    first = struct.unpack_from("<I", data, 4)[0]
    for at in range(first + 2, first + 2 + 12 * struct.unpack_from("<H", data, first)[0], 12):
        if struct.unpack_from("<H", data, at)[0] == tag:
            struct.pack_into("<HII", data, at + 2, kind, 1, value)
    return bytes(data)


def mpo() -> bytes:
    data = saved(corners(), "JPEG")
    return data[:2] + segment(0xE2, b"MPF\0" + b"x" * 200) + data[2:]


def palette() -> bytes:
    image = corners().quantize(8)
    return saved(image, "PNG", transparency=bytes([0, 128, 255, 255, 255, 255, 255, 255]))


LOUD = {
    "exif.jpg": saved(corners(), "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + b"\x12\x34" * 9),
    "values.jpg": saved(corners(), "JPEG", exif=b"Exif\0\0II*\0\x08\0\0\0\1\0\x12\1\3\0\xff\0\0\0\xff\xff\0\0\0\0\0\0"),
    "mpo.jpg": mpo(),
    "palette.png": palette(),
    "apng.png": with_chunks(saved(corners(), "PNG"), chunk(b"acTL", bytes(8))),
    "samples.tif": tiff(277, 3, 2048),
    "strips.tif": tiff(279, 4, 1 << 30),
    "rows.tif": tiff(278, 4, 0),
    "unknown.tif": tiff(284, 3, 99),
    "cut.tif": saved(photo((90, 70)), "TIFF", compression="tiff_lzw")[:9000],
    "fax.tif": saved(photo((90, 70)).convert("1"), "TIFF", compression="group4").replace(b"\0\0\0\0", b"\1\7\0\0"),
    "broken.tif": saved(photo((90, 70)), "TIFF", compression="jpeg").replace(b"\xff\xdb", b"\xff\xdc"),
}


def quiet(data: bytes) -> None:
    try:
        decode_picture(data)
    except Exception as error:  # whether it is read is another matter
        assert type(error).__name__ == "PictureError", error


@pytest.mark.parametrize("name", LOUD)
def test_nothing_is_said(name: str, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        quiet(LOUD[name])
    assert (caught, caplog.records) == ([], [])
    assert capfd.readouterr() == ("", "")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "photos"
    made.mkdir()
    for name, data in LOUD.items():
        (made / name).write_bytes(data)
    return made


OPEN_ALL = """
import sys
from PIL import Image
for name in sys.argv[1:]:
    try:
        opened = Image.open(name)
        opened.getexif()
        opened.convert("RGBA")
    except Exception:
        pass
"""


def test_these_files_would_be_loud(folder: Path) -> None:
    run = [sys.executable, "-c", OPEN_ALL, *(folder / name for name in LOUD)]
    said = subprocess.run(run, capture_output=True, text=True, check=True).stderr
    for word in ("Corrupt EXIF", "malformed MPO", "Invalid APNG", "More samples per pixel"):
        assert word in said
    assert "LZWDecode" in said or "TIFF" in said  # from C


def test_libtiff_is_found() -> None:
    with Image.open(io.BytesIO(saved(corners(), "TIFF", compression="tiff_lzw"))) as opened:
        opened.load()
    assert hush_libtiff()


def test_filters_and_levels_are_as_before() -> None:
    log = logging.getLogger("PIL")
    before, level = list(warnings.filters), log.level

    def work() -> None:
        for data in LOUD.values():
            quiet(data)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    with hushed(), hushed():
        assert len(warnings.filters) == len(before) + 1
        with pytest.warns(UserWarning, match="of others"):
            warnings.warn("of others", stacklevel=1)
    assert (list(warnings.filters), log.level) == (before, level)


def test_a_run_says_what_failed_and_nothing_else(folder: Path) -> None:
    (folder / "whole.jpg").write_bytes(saved(photo((90, 70)), "JPEG"))
    (folder / "cut.jpg").write_bytes(saved(photo((80, 64)), "JPEG")[:-2])
    root = folder.parent / "c.nest"
    run = (COMMAND, "index", folder, root, "--json")
    found = subprocess.run(run, capture_output=True, text=True, check=False)
    summary = json.loads(found.stdout)
    said = found.stderr.splitlines()
    assert summary["noted"] == [
        {"source": "photos", "path": "cut.jpg", "note": "the JPEG has no end marker; all of its rows are there"}
    ]
    assert "cut.jpg: the JPEG has no end marker; all of its rows are there" in said
    for word in ("Warning", "warn", "EXIF", "TIFF", "LZW", "Fax", "samples", "PIL", "libtiff"):
        assert not any(word in line for line in said), said
    failed = subprocess.run((COMMAND, "info", root, "--failures"), capture_output=True, text=True, check=True).stdout
    assert summary["failed"] == sum(name in failed for name in LOUD) > 0
    assert summary["added"] == len(LOUD) + 2 - summary["failed"]
