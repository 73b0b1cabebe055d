"""Every kind of picture a folder may hold, made here by Pillow, with its pixels checked."""

from __future__ import annotations

import contextlib
import io
import struct
import threading
import warnings
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile, features

from engine.encoders.formats import FORMATS, jxl_size, readable, sniff
from engine.encoders.pictures import (
    decode_picture,
    decode_sized,
    looks_like_picture,
)
from engine.storage.kinds import DEFAULT_MAX_PIXELS, PICTURE_SUFFIXES
from indexers.errors import PictureError

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def corners(size: tuple[int, int] = (64, 32)) -> Image.Image:
    """A picture whose four quarters are red, green / blue, white: no symmetry maps it to itself."""
    image = Image.new("RGB", size)
    w, h = size[0] // 2, size[1] // 2
    for colour, at in ((RED, (0, 0)), (GREEN, (w, 0)), (BLUE, (0, h)), (WHITE, (w, h))):
        image.paste(colour, (*at, at[0] + w, at[1] + h))
    return image


def photo(size: tuple[int, int]) -> Image.Image:
    """Smooth structure plus texture, so that a JPEG of it has content at every scale."""
    rng = np.random.default_rng(3)
    coarse = Image.fromarray(rng.integers(0, 255, (12, 16, 3), dtype=np.uint8))
    noise = rng.integers(-12, 12, (size[1], size[0], 3))
    smooth = np.asarray(coarse.resize(size, Image.Resampling.BICUBIC), dtype=np.int32)
    return Image.fromarray(np.clip(smooth + noise, 0, 255).astype(np.uint8))


def saved(image: Image.Image, fmt: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, fmt, **options)
    return stream.getvalue()


def near(image: Image.Image, xy: tuple[int, int], colour: tuple[int, int, int], tolerance: int = 4) -> bool:
    found = image.getpixel(xy)
    assert isinstance(found, tuple)
    return max(abs(a - b) for a, b in zip(found, colour, strict=True)) <= tolerance


def quarters(image: Image.Image) -> list[tuple[int, ...]]:
    w, h = image.size
    spots = [(w // 4, h // 4), (3 * w // 4, h // 4), (w // 4, 3 * h // 4), (3 * w // 4, 3 * h // 4)]
    return [tuple(255 if c > 127 else 0 for c in image.getpixel(xy)) for xy in spots]  # type: ignore[union-attr]


LOSSLESS = ["PNG", "BMP", "TIFF", "PPM"]


@pytest.mark.parametrize("fmt", LOSSLESS)
def test_lossless_formats_give_the_pixels_back(fmt: str) -> None:
    out = decode_picture(saved(corners(), fmt))
    assert out.mode == "RGB"
    assert np.array_equal(np.asarray(out), np.asarray(corners()))


@pytest.mark.parametrize("fmt", ["JPEG", "WEBP", "GIF", "ICO", "AVIF", "MPO"])
def test_other_formats_give_nearly_the_pixels_back(fmt: str) -> None:
    if fmt == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    source = corners((64, 64))
    options: dict[str, object] = {"save_all": True, "append_images": [source]} if fmt == "MPO" else {}
    if fmt == "ICO":
        options = {"sizes": [(64, 64)]}
    out = decode_picture(saved(source, fmt, **options))
    assert out.size == (64, 64)
    assert quarters(out) == [RED, GREEN, BLUE, WHITE]


@pytest.mark.parametrize("fmt", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize(
    ("orientation", "expected"),
    [
        (1, [RED, GREEN, BLUE, WHITE]),
        (2, [GREEN, RED, WHITE, BLUE]),
        (3, [WHITE, BLUE, GREEN, RED]),
        (4, [BLUE, WHITE, RED, GREEN]),
        (5, [RED, BLUE, GREEN, WHITE]),
        (6, [BLUE, RED, WHITE, GREEN]),
        (7, [WHITE, GREEN, BLUE, RED]),
        (8, [GREEN, WHITE, RED, BLUE]),
    ],
)
def test_exif_orientation_is_applied(fmt: str, orientation: int, expected: list[tuple[int, ...]]) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    decoded = decode_sized(saved(corners(), fmt, exif=exif))
    assert (decoded.width, decoded.height) == ((64, 32) if orientation < 5 else (32, 64))
    assert decoded.image.size == (decoded.width, decoded.height)
    assert quarters(decoded.image) == expected


def test_a_broken_exif_block_does_not_cost_the_picture() -> None:
    data = saved(corners(), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff" + b"\x12\x34" * 9)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns about the block, rightly
        assert quarters(decode_picture(data)) == [RED, GREEN, BLUE, WHITE]


def test_cmyk_jpeg_is_not_inverted() -> None:
    # Pillow writes CMYK JPEGs the Adobe way: marked, and inverted.
    data = saved(corners().convert("CMYK"), "JPEG", quality=95)
    assert b"Adobe" in data
    assert quarters(decode_picture(data)) == [RED, GREEN, BLUE, WHITE]


def test_cmyk_tiff() -> None:
    assert quarters(decode_picture(saved(corners().convert("CMYK"), "TIFF"))) == [RED, GREEN, BLUE, WHITE]


@pytest.mark.parametrize("fmt", ["PNG", "TIFF"])
def test_sixteen_bit_grey_is_scaled_and_not_clipped(fmt: str) -> None:
    values = np.array([[0, 257, 30000, 65535]], dtype=np.uint16)
    out = np.asarray(decode_picture(saved(Image.fromarray(values), fmt)))
    assert out.shape == (1, 4, 3)
    assert out[0, :, 0].tolist() == [0, 1, 117, 255]
    assert np.array_equal(out[..., 0], out[..., 2])


def test_sixteen_bit_pgm() -> None:
    data = b"P5 3 1 65535\n" + struct.pack(">3H", 0, 32896, 65535)
    assert np.asarray(decode_picture(data))[0, :, 1].tolist() == [0, 128, 255]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0, 100, 200], [0, 100, 200]),  # 8-bit values in a wide type
        ([0, 32896, 65535], [0, 128, 255]),  # 16-bit values
        ([-1000, 0, 1000], [0, 128, 255]),  # no range that is usual: stretched
        ([70000, 70000, 70000], [0, 0, 0]),  # one value everywhere
    ],
)
def test_thirty_two_bit_integers(values: list[int], expected: list[int]) -> None:
    image = Image.fromarray(np.array([values], dtype=np.int32))
    assert image.mode == "I"
    assert np.asarray(decode_picture(saved(image, "TIFF")))[0, :, 0].tolist() == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0, 0.5, 1.0], [0, 128, 255]),
        ([0.0, 100.0, 255.0], [0, 100, 255]),
        ([-1.0, 0.0, 1.0], [0, 128, 255]),
    ],
)
def test_float_pictures(values: list[float], expected: list[int]) -> None:
    image = Image.fromarray(np.array([values], dtype=np.float32))
    assert np.asarray(decode_picture(saved(image, "TIFF")))[0, :, 0].tolist() == expected


def test_float_pictures_with_nan_are_refused() -> None:
    image = Image.fromarray(np.array([[0.0, np.nan]], dtype=np.float32))
    with pytest.raises(PictureError, match="NaN"):
        decode_picture(saved(image, "TIFF"))


@pytest.mark.parametrize("mode", ["L", "1"])
def test_grey_and_black_and_white(mode: str) -> None:
    out = decode_picture(saved(corners().convert(mode), "PNG"))
    assert out.mode == "RGB"
    assert near(out, (48, 24), WHITE)


def half_transparent() -> Image.Image:
    image = Image.new("RGBA", (4, 1), (255, 0, 0, 255))
    image.putpixel((1, 0), (255, 0, 0, 0))
    image.putpixel((2, 0), (0, 0, 0, 128))
    return image


@pytest.mark.parametrize("fmt", ["PNG", "TIFF", "WEBP"])
def test_alpha_is_laid_over_white(fmt: str) -> None:
    out = decode_picture(saved(half_transparent(), fmt, **({"lossless": True} if fmt == "WEBP" else {})))
    assert near(out, (0, 0), RED)
    assert out.getpixel((1, 0)) == WHITE
    assert near(out, (2, 0), (127, 127, 127))


def test_grey_with_alpha_is_laid_over_white() -> None:
    image = Image.new("LA", (2, 1), (0, 255))
    image.putpixel((1, 0), (0, 0))
    out = decode_picture(saved(image, "PNG"))
    assert (out.getpixel((0, 0)), out.getpixel((1, 0))) == ((0, 0, 0), WHITE)


def test_palette_with_alpha_in_a_tiff() -> None:
    image = half_transparent().convert("RGB").convert("P").convert("PA")
    assert near(decode_picture(saved(image, "TIFF")), (0, 0), RED)


@pytest.mark.parametrize("fmt", ["PNG", "GIF"])
def test_a_transparent_palette_entry_is_white(fmt: str) -> None:
    image = Image.new("P", (2, 1), 0)
    image.putpalette([0, 0, 255, 255, 0, 0])
    image.putpixel((1, 0), 1)
    out = decode_picture(saved(image, fmt, transparency=1))
    assert (out.getpixel((0, 0)), out.getpixel((1, 0))) == (BLUE, WHITE)


def test_a_palette_without_transparency() -> None:
    out = decode_picture(saved(corners().convert("P", palette=Image.Palette.ADAPTIVE), "PNG"))
    assert quarters(out) == [RED, GREEN, BLUE, WHITE]


def test_rgb_png_with_a_transparent_colour() -> None:
    out = decode_picture(saved(corners(), "PNG", transparency=RED))
    assert quarters(out) == [WHITE, GREEN, BLUE, WHITE]


@pytest.mark.parametrize("fmt", ["GIF", "WEBP", "PNG"])
def test_the_first_frame_of_an_animation(fmt: str) -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in (GREEN, RED, BLUE)]
    data = saved(frames[0], fmt, save_all=True, append_images=frames[1:], duration=50)
    assert near(decode_picture(data), (8, 8), GREEN, tolerance=6)


def png_header(width: int, height: int) -> bytes:
    """A PNG that announces a size and holds no pixels."""
    chunks = b""
    for kind, body in ((b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)), (b"IDAT", b"")):
        chunks += struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    return b"\x89PNG\r\n\x1a\n" + chunks


def test_too_many_pixels_are_refused_from_the_header() -> None:
    with pytest.raises(PictureError, match=f"20000×10000 pixels.*{DEFAULT_MAX_PIXELS}"):
        decode_picture(png_header(20000, 10000))
    with pytest.raises(PictureError, match="limit of 2047"):
        decode_picture(saved(corners(), "PNG"), max_pixels=2047)
    assert decode_picture(saved(corners(), "PNG"), max_pixels=2048).size == (64, 32)


def test_the_cap_can_be_raised_above_pillows_own_without_touching_it() -> None:
    before = Image.MAX_IMAGE_PIXELS
    data = saved(Image.new("L", (20000, 9000), 7), "PNG", compress_level=1)  # 180 million pixels
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        out = decode_sized(data, max_pixels=200_000_000)
    assert (out.width, out.height) == (20000, 9000)
    assert before == Image.MAX_IMAGE_PIXELS


def test_an_icon_that_holds_more_than_it_says() -> None:
    inner = saved(Image.new("RGB", (600, 600), RED), "PNG")
    entry = struct.pack("<BBBBHHII", 16, 16, 0, 0, 1, 32, len(inner), 22)
    with pytest.raises(PictureError), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        decode_picture(struct.pack("<HHH", 0, 1, 1) + entry + inner, max_pixels=1000)


def test_a_line_is_refused() -> None:
    with pytest.raises(PictureError, match="200 times"):
        decode_picture(saved(Image.new("RGB", (2010, 10)), "PNG"))
    assert decode_picture(saved(Image.new("RGB", (2000, 10)), "PNG")).size == (2000, 10)


@pytest.mark.parametrize("fmt", ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.9])
def test_a_truncated_picture_is_an_error_and_never_half_a_picture(fmt: str, share: float) -> None:
    assert ImageFile.LOAD_TRUNCATED_IMAGES is False
    data = saved(photo((300, 200)), fmt)
    with pytest.raises(PictureError) as caught:
        decode_picture(data[: int(len(data) * share)])
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 250


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"\0" * 4096, "not a picture"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not a picture"),
        (b"%PDF-1.7 and so on", "not a picture"),
        (b"\xff\xd8\xff", "JPEG"),
        (b"\x89PNG\r\n\x1a\n" + b"\xff" * 100, "PNG"),
        (b"P6 these are words and not numbers", "PPM"),
        (b"\0\0\0\x1cftypheic\0\0\0\0mif1heic" + b"\0" * 64, "HEIF"),
        (png_header(0, 5), "PNG|no pixels"),
    ],
)
def test_what_is_not_a_picture(data: bytes, reason: str) -> None:
    with pytest.raises(PictureError, match=reason):
        decode_picture(data)


def test_only_the_named_formats_are_opened() -> None:
    for fmt in ("TGA", "PCX", "SGI", "EPS"):
        with pytest.raises(PictureError, match="not a picture in a known format"):
            decode_picture(saved(corners(), fmt))


def psd(image: Image.Image) -> bytes:
    """Lay out a flattened picture as Photoshop does: header, no colours, resources or layers, then its channels."""
    width, height = image.size
    header = b"8BPS\0\x01" + bytes(6) + struct.pack(">HIIHH", 3, height, width, 8, 3)
    return header + bytes(4 * 3) + b"\0\0" + b"".join(band.tobytes() for band in image.split())


def test_formats_of_phones_and_programs() -> None:
    assert set(FORMATS) - {"MPO"} == set(readable()) - {"MPO"}  # which opens as a JPEG
    right = photo((320, 240))
    for fmt, options in {
        "HEIF": {"quality": 95}, "JXL": {"quality": 95}, "JPEG2000": {}, "AVIF": {"quality": 95}, "PSD": {},
    }.items():  # fmt: skip
        data = psd(right) if fmt == "PSD" else saved(right, fmt, **options)
        assert sniff(data[:32]) == fmt
        found = decode_sized(data, min_side=32)
        assert (found.width, found.height, found.image.mode) == (320, 240, "RGB")
        difference = np.abs(np.asarray(found.image, int) - np.asarray(right, int)).mean()
        assert difference < 6, (fmt, difference)
        with pytest.raises(PictureError, match="more than the limit"):
            decode_picture(data, max_pixels=1000)
        for cut in (40, len(data) // 2):
            with contextlib.suppress(PictureError):
                decode_picture(data[:cut])


def test_a_picture_of_a_phone_is_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    lying = corners((64, 48))
    turned = np.asarray(lying.transpose(Image.Transpose.ROTATE_270), int)
    for fmt in ("HEIF", "JXL", "AVIF"):
        found = decode_sized(saved(lying, fmt, exif=exif.tobytes(), quality=95))
        if fmt == "JXL":  # what counts is its own header, which says that it stands
            assert (found.width, found.height) == (64, 48)
        else:
            assert (found.width, found.height) == (48, 64), fmt
            assert np.abs(np.asarray(found.image, int) - turned).mean() < 8, fmt


@pytest.mark.parametrize("size", [(64, 64), (300, 200), (201, 8), (1920, 1080), (513, 8193)])
@pytest.mark.parametrize("container", [False, True])
def test_jpeg_xl_says_its_size_before_it_is_decoded(size: tuple[int, int], container: bool) -> None:
    data = saved(Image.new("RGB", size, (9, 9, 9)), "JXL")
    if container and data[:2] == b"\xff\x0a":
        boxes = [b"\0\0\0\x0cJXL \r\n\x87\n", b"\0\0\0\x14ftypjxl \0\0\0\0jxl ", b"\0\0\0\0jxlc"]
        data = b"".join(boxes) + data
    assert jxl_size(data) == size
    assert sniff(data[:32]) == "JXL"


@settings(max_examples=150, deadline=None)
@given(st.sampled_from("JPEG PNG GIF WEBP BMP TIFF PPM ICO HEIF JXL JPEG2000".split()), st.data())
def test_damage_gives_a_picture_or_a_picture_error(fmt: str, data: st.DataObject) -> None:
    good = bytearray(saved(corners(), fmt))
    for _ in range(data.draw(st.integers(1, 8))):
        good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            assert decode_picture(bytes(good), max_pixels=1_000_000).mode == "RGB"
        except PictureError as error:
            assert str(error)


@pytest.mark.parametrize(
    ("size", "min_side", "expected"),
    [
        ((1600, 1200), 0, (1600, 1200)),
        ((1600, 1200), 224, (800, 600)),  # 600 ≥ 448; a quarter would be 300
        ((1600, 1200), 150, (400, 300)),  # exactly twice
        ((1601, 1203), 75, (201, 151)),  # an eighth, rounded up
        ((1600, 1200), 301, (1600, 1200)),  # half would be 600 < 602
    ],
)
def test_reduced_decoding_keeps_twice_the_side(size: tuple[int, int], min_side: int, expected: tuple[int, int]) -> None:
    decoded = decode_sized(saved(photo(size), "JPEG", quality=90), min_side=min_side)
    assert decoded.image.size == expected
    assert (decoded.width, decoded.height) == size


@pytest.mark.parametrize("progressive", [False, True])
def test_reduced_decoding_shows_the_same_picture(progressive: bool) -> None:
    data = saved(photo((1600, 1200)), "JPEG", quality=90, progressive=progressive)
    small = decode_picture(data, min_side=100).resize((160, 120), Image.Resampling.BICUBIC)
    large = decode_picture(data).resize((160, 120), Image.Resampling.BICUBIC)
    difference = np.asarray(small, dtype=np.int32) - np.asarray(large, dtype=np.int32)
    assert np.abs(difference).mean() < 1.5
    assert np.abs(difference).max() < 16


def test_reduced_decoding_reports_the_upright_full_size() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    decoded = decode_sized(saved(photo((1600, 1200)), "JPEG", exif=exif), min_side=100)
    assert (decoded.width, decoded.height) == (1200, 1600)
    assert decoded.image.size == (300, 400)


def test_a_huge_jpeg_is_checked_at_its_full_size() -> None:
    with pytest.raises(PictureError, match="limit"):
        decode_picture(saved(photo((1600, 1200)), "JPEG"), max_pixels=1_000_000, min_side=50)


def test_reduced_decoding_of_a_multi_picture_file() -> None:
    data = saved(photo((1600, 1200)), "MPO", save_all=True, append_images=[corners()])
    decoded = decode_sized(data, min_side=100)
    assert (decoded.width, decoded.height, decoded.image.size) == (1600, 1200, (400, 300))


@pytest.mark.parametrize("fmt", ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM", "ICO", "AVIF"])
def test_magic_bytes(fmt: str) -> None:
    if fmt == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    assert looks_like_picture(saved(corners((64, 64)), fmt)[:32])


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"BM",
        b"BMW and other cars are discussed",
        b"P",
        b"PK\3\4",
        b"\0\0\1\0\0\0",
        b"II*",
        b"RIFF\0\0\0\0WAVEfmt ",
        b"\0\0\0\x18ftypmp42\0\0\0\0",
        b"\0\1\0\0\0\x0e\0\x80\0\3",
        b"Postscript",
    ],
)
def test_other_magic_bytes(head: bytes) -> None:
    assert not looks_like_picture(head)


def test_suffixes_cover_what_pillow_calls_the_formats() -> None:
    Image.init()
    ours = {"JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "AVIF", "HEIF", "JXL", "JPEG2000", "PSD", "ICO"}
    known = {suffix for suffix, fmt in Image.EXTENSION.items() if fmt in ours}
    assert known <= PICTURE_SUFFIXES


def test_decoding_from_many_threads() -> None:
    data = [saved(photo((400 + i, 300)), "JPEG") for i in range(8)]
    expected = [np.asarray(decode_picture(d)) for d in data]
    wrong: list[int] = []

    def work(seed: int) -> None:
        for i in np.random.default_rng(seed).integers(0, 8, 20):
            if not np.array_equal(np.asarray(decode_picture(data[i])), expected[i]):
                wrong.append(int(i))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
