"""Decoding pictures as they are in the wild: bytes in, upright RGB out.

What a file is called does not matter; its first bytes do (`formats`). Colour profiles are not applied: the
encoders were trained on pictures whose profiles nobody applied either.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

from PIL import ExifTags, Image, ImageFile

from engine.encoders.deep import check_tiff, from_deep, is_signed
from engine.encoders.formats import jxl_size, readable, sniff, unknown
from engine.storage.kinds import DEFAULT_MAX_PIXELS
from indexers.errors import PictureError

# A longer strip is a line: scaled until its short side fits a network, it would fill the memory.
MAX_ASPECT = 200

_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_LYING = frozenset({5, 6, 7, 8})


@dataclass(frozen=True)
class Picture:
    """One decoded picture.

    Attributes:
        image: RGB, upright; smaller than width × height when it was decoded at a reduced scale.
        width: width in pixels of the upright picture in the file.
        height: height in pixels of the upright picture in the file.
    """

    image: Image.Image
    width: int
    height: int


def decode_picture(data: bytes, *, max_pixels: int = DEFAULT_MAX_PIXELS, min_side: int = 0) -> Image.Image:
    """Decode a picture file to an upright RGB picture.

    Transparency is laid over white, of an animation the first frame is taken, and 16-bit grey
    is scaled to 8 bits.

    Args:
        data: the whole file.
        max_pixels: refuse a picture of more pixels, before any of them is decoded.
        min_side: when above 0, a JPEG may be decoded at 1/2, 1/4 or 1/8 of its size as long as
            its shorter side stays at least twice this; 0 decodes in full.

    Raises:
        PictureError: not a picture, cut short, broken, or too large; the message is one short line.
    """
    return decode_sized(data, max_pixels=max_pixels, min_side=min_side).image


def decode_sized(data: bytes, *, max_pixels: int = DEFAULT_MAX_PIXELS, min_side: int = 0) -> Picture:
    """Decode like `decode_picture`, and say how large the picture in the file is.

    Raises:
        PictureError: as `decode_picture`.
    """
    if not data:
        raise PictureError("the file is empty")
    try:
        with _open(data, max_pixels) as opened:
            return _develop(opened, max_pixels, min_side)
    except PictureError:
        raise
    # Decoders raise what they like on broken bytes (struct.error, SyntaxError, MemoryError,
    # zlib.error, bomb warnings turned errors…): at this boundary all of it means one thing.
    except Exception as error:
        raise PictureError(_reason(error, data)) from error


def looks_like_picture(head: bytes) -> bool:
    """Tell from a file's first 32 bytes whether it claims to be one of the named formats.

    Those count too that nothing here can read: such a file should end up among the failures with a reason, and not be
    passed over in silence.
    """
    return sniff(head) is not None


def _open(data: bytes, max_pixels: int) -> ImageFile.ImageFile:
    # This is Image.open without its size check, whose limit is one number for the whole process
    # and which warns: the caller's own cap, checked in `_develop`, takes its place.
    stream, last = io.BytesIO(data), None
    for name in readable():
        factory, accept = Image.OPEN[name]
        accepted = accept(data[:16]) if accept else True
        if accepted is not True:
            continue
        stream.seek(0)
        if name == "JXL":
            _check_size(jxl_size(data), max_pixels)
        try:
            return factory(stream, "")
        except Exception as error:  # the next format may still know it
            last = error
    if last is not None:
        raise last
    raise PictureError(unknown(data))


def _develop(opened: ImageFile.ImageFile, max_pixels: int, min_side: int) -> Picture:
    _check_size(opened.size, max_pixels)
    if opened.format == "TIFF":
        check_tiff(opened)
    full = opened.size
    reduced = min_side > 0 and _reduce(opened, min_side)
    opened.load()
    if not reduced:
        # Loading may turn a TIFF upright, and an icon may hold another size than it announced.
        full = opened.size
        _check_size(full, max_pixels)
    orientation = _orientation(opened)
    image = _to_rgb(opened)
    if orientation in _TRANSPOSE:
        image = image.transpose(_TRANSPOSE[orientation])
    width, height = reversed(full) if orientation in _LYING else full
    return Picture(image, width, height)


def _check_size(size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    found = f"{width}×{height} pixels"
    if min(size) < 1:
        raise PictureError(f"the picture has no pixels ({found})")
    if width * height > max_pixels:
        raise PictureError(f"{found} are more than the limit of {max_pixels}; raise it to read this")
    if max(size) > MAX_ASPECT * min(size):
        raise PictureError(f"{found}: one side is more than {MAX_ASPECT} times the other")


def _reduce(opened: ImageFile.ImageFile, min_side: int) -> bool:
    """Ask the JPEG decoder for a smaller scale; return whether it will give one."""
    if opened.format not in ("JPEG", "MPO"):
        return False
    before, shorter = opened.size, min(opened.size)
    # draft() takes the largest of 1, 2, 4, 8 that keeps both sides at or above what is asked.
    wanted = (max(1, before[0] * 2 * min_side // shorter), max(1, before[1] * 2 * min_side // shorter))
    opened.draft(None, wanted)
    return opened.size != before


def _orientation(opened: Image.Image) -> int:
    if opened.format == "JXL":  # turned already, by what its own header says
        return 1
    try:
        value = opened.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # a broken EXIF block, from struct.error to SyntaxError, says nothing
        return 1
    return value if isinstance(value, int) else 1


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16") or image.mode in ("I", "F") or (image.mode == "L" and is_signed(image)):
        return from_deep(image)
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")


def _reason(error: Exception, data: bytes) -> str:
    name = sniff(data[:32]) or "picture"
    if isinstance(error, MemoryError):
        return f"{name}: not enough memory to decode it"
    detail = " ".join(str(error).split()) or type(error).__name__
    return f"{name} that cannot be decoded: {detail[:160]}"


def from_image(image: Image.Image, *, max_pixels: int = DEFAULT_MAX_PIXELS) -> Image.Image:
    """Return a picture that Pillow holds, of any mode, as `decode_picture` returns one: RGB, upright, over white.

    Raises:
        PictureError: it cannot be read any more, or is too large.
    """
    try:
        return _develop(image, max_pixels, 0).image  # type: ignore[arg-type]  # of a file only a scale is asked
    except PictureError:
        raise
    except Exception as error:  # as in `decode_sized`: an image that was opened may not have been decoded yet
        raise PictureError(_reason(error, b"")) from error
