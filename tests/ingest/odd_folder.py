"""A folder of some hundred odd files, with what is to become of each: `python -m tests.ingest.odd_folder DIR` makes it.

Every format in every way to name and to damage it, what is no picture, what cannot be opened, and what nobody wants.
"""

from __future__ import annotations

import io
import os
import socket
import struct
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

from engine.encoders.formats import readable

ITEM, FAILS, PASSED = "item", "fails", "passed over"

Made = tuple[str, bytes, str]
"""A name, what is in the file, and what is to become of it."""

SIDE = 24
_SEEDS = iter(range(1, 100_000))


def picture(mode: str = "RGB", size: tuple[int, int] = (SIDE, SIDE)) -> Image.Image:
    """Return a picture like no other, of any mode."""
    seed = next(_SEEDS)
    places = [(x, y) for y in range(size[1]) for x in range(size[0])]
    colours = [((seed * 37 + 11 * x) % 256, (seed * 91 + 7 * y) % 256, (x * y + seed) % 256) for x, y in places]
    image = Image.new("RGB", size)
    image.putdata(colours)
    if mode in ("LA", "RGBA"):
        image.putalpha(Image.new("L", size, 128 + seed % 100))
    if mode == "LA":
        return image.convert("LA")
    if mode == "I;16":
        levels = [red * 256 + green for red, green, _ in colours]
        return Image.frombytes("I;16", size, struct.pack(f"<{len(levels)}H", *levels))
    return image if mode in ("RGB", "RGBA") else image.convert(mode)


def saved(kind: str, mode: str = "RGB", size: tuple[int, int] = (SIDE, SIDE), **how: object) -> bytes:
    """Return a picture as a file of some format."""
    out = io.BytesIO()
    picture(mode, size).save(out, kind, **how)
    return out.getvalue()


def psd() -> bytes:
    """Return a Photoshop file: a header and its flattened picture."""
    head = b"8BPS" + struct.pack(">H6xHIIHH", 1, 3, SIDE, SIDE, 8, 3) + bytes(12)
    planes = b"".join(channel.tobytes() for channel in picture().split())
    return head + struct.pack(">H", 0) + planes


def pfm() -> bytes:
    """Return a picture of floating-point numbers."""
    seed = next(_SEEDS)
    numbers = [((seed + x) % 7) / 7 for x in range(SIDE * SIDE)]
    return b"Pf\n%d %d\n-1.0\n" % (SIDE, SIDE) + struct.pack(f"<{len(numbers)}f", *numbers)


MODES: dict[str, tuple[str, tuple[str, ...]]] = {
    "JPEG": (".jpg", ("RGB", "L", "CMYK")),
    "PNG": (".png", ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")),
    "GIF": (".gif", ("P", "L")),
    "WEBP": (".webp", ("RGB", "RGBA")),
    "BMP": (".bmp", ("1", "L", "P", "RGB", "RGBA")),
    "TIFF": (".tif", ("1", "L", "P", "RGB", "RGBA", "CMYK", "I;16")),
    "ICO": (".ico", ("RGBA",)),
    "PPM": (".ppm", ("1", "L", "RGB")),
    "JPEG2000": (".jp2", ("L", "RGB")),
    "AVIF": (".avif", ("RGB",)),
    "HEIF": (".heic", ("RGB",)),
    "JXL": (".jxl", ("RGB",)),
}


def every_format() -> Iterator[tuple[str, Callable[[], bytes]]]:
    """Yield a suffix for each format and mode, and what makes a file of it."""
    for kind, (suffix, modes) in MODES.items():
        if kind in readable() or kind == "PPM":
            for mode in modes:
                yield suffix, partial(saved, kind, mode)
    yield ".psd", psd
    yield ".pfm", pfm


def named() -> Iterator[Made]:
    """Yield pictures under every kind of name: what is in a file counts, and not how it is called."""
    for number, (suffix, make) in enumerate(every_format()):
        for name in (
            f"{number}{suffix}",
            f"{number}up{suffix.upper()}",
            f"{number} bare",
            f"{number}wrong{'.png' if suffix == '.jpg' else '.jpg'}",
            f"{number}.backup.2019{suffix}",
            f"{number}.txt{suffix}",
        ):
            yield f"named/{name}", make(), ITEM


def damaged() -> Iterator[Made]:
    """Yield files that are cut off, hold something else, or nothing."""
    for number, (suffix, make) in enumerate(every_format()):
        data = make()
        if suffix != ".ico":  # a tenth of which may be all there is of one of its pictures
            yield f"damaged/{number}tenth{suffix}", data[: len(data) // 10], FAILS
        yield f"damaged/{number}empty{suffix}", b"", FAILS
        yield f"damaged/{number}noise{suffix}", bytes((seed * 131 + number) % 251 + 1 for seed in range(400)), FAILS
        yield f"damaged/{number}more{suffix}", data + b"\0trailing" * 9, ITEM


def odd_names() -> Iterator[Made]:
    """Yield pictures whose names a shell, a terminal or a URL would take for something else."""
    plain = '-rf --json %41 100% a%20b #hash a?b a*b [x] $HOME `ls` a;b a&b a|b con nul ~ a\\b it\'s say"x"'
    names = [*plain.split(), "a b", "a\nb", "a\tb", " lead", "trail ", "\x1b[31mred", "\u202egnp", "\u200b", "a" * 200]
    names += ["caf\u00e9", "cafe\u0301", "\u732b", "\U0001f680", "\u00e9" * 80]
    for name in names:
        yield f"names/{name}.png", saved("PNG"), ITEM
    for number in range(8):
        yield f"names/deep{'/down' * (4 + 4 * number)}/{number}.png", saved("PNG"), ITEM


def turned() -> Iterator[Made]:
    """Yield pictures that stand in every way, and of every shape that is one."""
    for orientation in range(10):
        exif = Image.Exif()
        exif[0x0112] = orientation
        yield f"turned/{orientation}.jpg", saved("JPEG", exif=exif), ITEM
        yield f"turned/{orientation}.png", saved("PNG", exif=exif), ITEM
    for width, height in ((1, 1), (1, 2), (2, 1), (1, 150), (150, 1), (3, 500), (64, 64), (17, 31)):
        yield f"turned/{width}x{height}.png", saved("PNG", size=(width, height)), ITEM
    yield "turned/line.png", saved("PNG", size=(1, 400)), FAILS
    yield "turned/strip.png", saved("PNG", size=(900, 2)), FAILS
    ways: tuple[dict[str, Any], ...] = ({"progressive": True}, {"quality": 1}, {"quality": 100}, {"subsampling": 2})
    for number, how in enumerate(ways):
        yield f"turned/how{number}.jpg", saved("JPEG", **how), ITEM
    frames = [picture("P") for _ in range(3)]
    out = io.BytesIO()
    frames[0].save(out, "GIF", save_all=True, append_images=frames[1:], duration=50)
    yield "turned/moves.gif", out.getvalue(), ITEM


def no_pictures() -> Iterator[Made]:
    """Yield what is no picture: documents and films are passed over, what was meant as one is a failure."""
    documents = [*".txt .md .pdf .mp4 .mov .zip .json .xmp .db .ini .doc .mp3 .py".split(), ""]
    for number, suffix in enumerate(documents):
        yield f"others/{number}{suffix}", b"%PDF-1.4 or words, words, words" * 3, PASSED
    for suffix in ".svg .eps .xcf .exr .tga .jpg .png .heic .cr2 .nef .dng .psd .tif".split():
        yield f"others/text{suffix[1:]}{suffix}", b"these are words, and no picture of anything" * 3, FAILS
    yield "others/drawing", b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"></svg>', FAILS


def not_wanted() -> Iterator[Made]:
    """Yield pictures where no program keeps what people mean by pictures."""
    folders = ".hidden .thumbnails @eaDir @eadir/x.jpg #recycle #snapshot $RECYCLE.BIN lost+found".split()
    folders += ["System Volume Information", "node_modules/lib", "__MACOSX", ".Trash-1000/files", "Catalog.lrdata/1"]
    folders += ["My.photoslibrary/resources", "My.photoslibrary/database"]
    for folder in folders:
        for number in range(2):
            yield f"unwanted/{folder}/{number}.jpg", saved("JPEG"), PASSED
    yield "unwanted/.dot.jpg", saved("JPEG"), PASSED
    yield "unwanted/._apple.jpg", b"\0\5\x16\7", PASSED
    yield "unwanted/My.photoslibrary/originals/1/a.jpg", saved("JPEG"), ITEM
    yield "unwanted/not hidden/a.jpg", saved("JPEG"), ITEM


def all_files() -> list[Made]:
    """Return all of them."""
    parts = (named, damaged, odd_names, turned, no_pictures, not_wanted)
    return [one for part in parts for one in part()]


def special(folder: Path) -> dict[str, str]:
    """Make what is no plain file, and return what is to become of each."""
    folder.mkdir(parents=True)
    (folder / "folder.jpg").mkdir()
    os.mkfifo(folder / "pipe.jpg")
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(folder / "socket.jpg"))
    (folder / "dangling.jpg").symlink_to("nowhere.jpg")
    (folder / "loop").symlink_to(".")
    (folder / "itself.jpg").symlink_to("itself.jpg")
    (folder / "real.png").write_bytes(saved("PNG"))
    (folder / "link.png").symlink_to("real.png")
    passed = dict.fromkeys(("pipe.jpg", "socket.jpg", "link.png"), PASSED)
    return {"dangling.jpg": FAILS, "itself.jpg": FAILS, "real.png": ITEM, **passed}


def make(folder: Path) -> dict[str, str]:
    """Make the folder, and return what is to become of each file, by its path."""
    verdicts = {}
    for name, data, verdict in all_files():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        verdicts[name] = verdict
    return {**verdicts, **{f"special/{name}": one for name, one in special(folder / "special").items()}}


if __name__ == "__main__":
    for name, verdict in make(Path(sys.argv[1])).items():
        sys.stdout.write(f"{verdict:<12} {name!r}\n")
