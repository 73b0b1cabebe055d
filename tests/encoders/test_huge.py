"""Very large pictures: what they hold, what waits for what, and what is refused."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import threading
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engine.encoders import huge, png_rows, rgb
from engine.encoders.huge import HUGE_PIXELS, held_by, in_turn
from engine.encoders.pictures import decode_picture, decode_sized
from indexers.errors import PictureError
from tests.encoders.test_lean import chunk, exif
from tests.encoders.test_pictures import corners, photo, saved

SIDE = (8192, 6400)  # 52 million pixels
MIB = 1 << 20


def large_png(colours: int, channels: int, depth: int = 8, size: tuple[int, int] = SIDE) -> bytes:
    """A PNG whose left half is dark and whose right half is light, made without holding it."""
    width, height = size
    dark, light = (bytes(levels[4 - channels :]) for levels in ([40, 60, 80, 255], [220, 200, 180, 255]))
    row = b"\0" + dark * (width // 2) + light * (width // 2)
    packer = zlib.compressobj(1)
    body = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, depth, colours, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


DECODE = """
import re, sys, threading
from pathlib import Path
from engine.encoders.pictures import decode_picture, decode_sized
from engine.encoders.formats import readable

def told(name):
    return int(re.search(name + r":\\s+([0-9]+) kB", Path("/proc/self/status").read_text())[1]) << 10

readable()
decode_picture(Path(sys.argv[1]).read_bytes())
data, sizes = Path(sys.argv[2]).read_bytes(), []
Path("/proc/self/clear_refs").write_text("5")
before = told("VmRSS")
def work():
    found = decode_sized(data, min_side=int(sys.argv[3]))
    sizes.append((found.width, found.height, *found.image.size))
threads = [threading.Thread(target=work) for _ in range(int(sys.argv[4]))]
[one.start() for one in threads]
[one.join() for one in threads]
print(told("VmHWM") - before, *sizes[0])
"""


def peak(tmp_path: Path, data: bytes, *, min_side: int = 224, threads: int = 1) -> list[int]:
    """Return what decoding held at most, the size of the picture in the file, and as what it came."""
    small, large = tmp_path / "small.png", tmp_path / "large"
    small.write_bytes(saved(corners(), "PNG"))
    large.write_bytes(data)
    run = [sys.executable, "-c", DECODE, str(small), str(large), str(min_side), str(threads)]
    found = subprocess.run(run, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=True)
    return [int(word) for word in found.stdout.split()]


@pytest.mark.parametrize(("colours", "channels"), [(6, 4), (2, 3), (0, 1)])
def test_a_large_png_is_never_held_twice_nor_are_two(tmp_path: Path, colours: int, channels: int) -> None:
    data = large_png(colours, channels)
    for threads in (1, 2):
        held, *sizes = peak(tmp_path, data, threads=threads)
        assert held < 1.3 * SIDE[0] * SIDE[1] * channels, held // MIB
        assert sizes == [*SIDE, 586, 458]  # 14 pixels each way are one


def test_a_large_picture_of_another_format_is_held_once(tmp_path: Path) -> None:
    stream = io.BytesIO()
    Image.new("RGBA", SIDE, (9, 200, 9, 255)).save(stream, "TIFF", compression="tiff_lzw")
    held, *_ = peak(tmp_path, stream.getvalue(), threads=2)
    assert held < 1.3 * SIDE[0] * SIDE[1] * 4, held // MIB


def test_a_large_png_in_full_is_held_as_it_comes_out(tmp_path: Path) -> None:
    held, *sizes = peak(tmp_path, large_png(6, 4), min_side=0)
    assert held < 1.3 * SIDE[0] * SIDE[1] * 4 + 4 * MIB, held // MIB  # what a process takes up besides
    assert sizes == [*SIDE, *SIDE]


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1", "I;16", "P with a hole", "RGB with a hole"])
@pytest.mark.parametrize("min_side", [0, 20])
def test_rows_make_the_same_picture(mode: str, min_side: int, monkeypatch: pytest.MonkeyPatch) -> None:
    image = photo((301, 203)).convert(mode.split()[0] if mode != "I;16" else "L")
    options: dict[str, object] = {}
    if "hole" in mode:
        options["transparency"] = 7 if mode[0] == "P" else (image.getpixel((5, 5)))
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image).astype(np.uint16) * 200 + 77)
    if mode in ("RGBA", "LA"):
        image.putalpha(photo((301, 203)).convert("L"))
    data = saved(image, "PNG", exif=exif(6), **options)
    whole = decode_sized(data)
    monkeypatch.setattr(huge, "HUGE_PIXELS", 1000)
    monkeypatch.setattr(rgb, "STRIP_PIXELS", 301 * 12)
    found = decode_sized(data, min_side=min_side)
    assert (found.width, found.height) == (203, 301)
    if min_side:
        right = whole.image.transpose(Image.Transpose.ROTATE_90).reduce(5).transpose(Image.Transpose.ROTATE_270)
        assert found.image.size == right.size == (41, 61)
        assert np.abs(np.asarray(found.image, int) - np.asarray(right, int)).max() <= 1
    else:
        assert np.array_equal(np.asarray(found.image), np.asarray(whole.image))


@pytest.mark.parametrize("fmt", ["JPEG", "WEBP", "TIFF", "BMP", "GIF", "HEIF", "AVIF", "JXL", "JPEG2000", "PPM", "PNG"])
def test_every_format_takes_the_other_way(fmt: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = saved(photo((301, 203)), fmt)
    whole = decode_picture(data)
    monkeypatch.setattr(huge, "HUGE_PIXELS", 1000)
    found = decode_sized(data, min_side=30)
    assert (found.width, found.height) == (301, 203)
    assert 60 <= min(found.image.size) < 120
    small = np.asarray(whole.resize(found.image.size, Image.Resampling.BOX), int)
    assert np.abs(np.asarray(found.image, int) - small).mean() < 6


def test_a_float_picture_is_stretched_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.linspace(-3, 9, 200 * 100, dtype=np.float32).reshape(100, 200)
    data = saved(Image.fromarray(values), "TIFF")
    whole = np.asarray(decode_picture(data))
    monkeypatch.setattr(rgb, "STRIP_PIXELS", 900)
    assert np.array_equal(np.asarray(decode_picture(data)), whole)
    assert (whole.min(), whole.max()) == (0, 255)


def test_a_large_png_that_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    data = saved(photo((301, 203)), "PNG")
    monkeypatch.setattr(huge, "HUGE_PIXELS", 1000)
    with pytest.raises(PictureError, match=r"PNG cut short: [67][0-9] % of its rows"):
        decode_picture(data[: len(data) * 7 // 10])
    wrong = bytearray(data)
    wrong[len(data) // 2] ^= 1
    with pytest.raises(PictureError, match="PNG"):
        decode_picture(bytes(wrong))
    assert len(data) > png_rows.PIECE


def test_what_does_not_fit_is_refused_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huge, "HUGE_PIXELS", 1000)
    monkeypatch.setenv("NESTVEC_MEMORY", "1")
    with pytest.raises(
        PictureError, match=r"64×32 pixels take 8 KiB of memory.* 0 KiB are left \(NESTVEC_MEMORY is 1\)"
    ) as caught:
        decode_picture(saved(corners(), "TIFF"))
    assert isinstance(caught.value.__cause__, MemoryError)  # it is tried again
    with pytest.raises(PictureError, match="of memory"):
        decode_picture(saved(corners(), "JXL"))
    monkeypatch.setattr(huge, "HUGE_PIXELS", HUGE_PIXELS)
    assert decode_picture(saved(corners(), "TIFF")).size == (64, 32)


def test_small_ones_do_not_wait_and_large_ones_do() -> None:
    done = threading.Event()

    def large() -> None:
        with in_turn((10_000, 10_000), 1):
            done.set()

    with in_turn((10_000, 10_000), 1):
        other = threading.Thread(target=large)
        other.start()
        assert decode_picture(saved(corners(), "PNG")).size == (64, 32)
        assert not done.wait(0.2)
    other.join()
    assert done.is_set()
    assert held_by((10, 10), "WEBP") > held_by((10, 10), "TIFF", "RGB") == 400
