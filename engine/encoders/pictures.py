"""Decoding pictures as they are in the wild: bytes in, upright RGB out.

What a file is called does not matter; its first bytes do (`formats`). Colour profiles are not applied: the
encoders were trained on pictures whose profiles nobody applied either.
"""

from __future__ import annotations

import io
from contextlib import ExitStack
from dataclasses import dataclass, replace

from PIL import ExifTags, Image, ImageFile
from PIL.JpegImagePlugin import JpegImageFile

from engine.encoders.cut_short import has_end, mended
from engine.encoders.deep import check_tiff
from engine.encoders.formats import jxl_size, readable, sniff, unknown
from engine.encoders.frames import first_shown
from engine.encoders.huge import OversizedPicture, ThinPicture, held_by, held_by_jpeg, in_turn, is_huge
from engine.encoders.hushed import hushed
from engine.encoders.lean import lean
from engine.encoders.png_rows import png_rows
from engine.encoders.raw import developed, is_raw, orientation_of, previews
from engine.encoders.rgb import strips_of, to_rgb
from engine.encoders.unread import unread_file, unread_kind
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
        note: what was wrong with it, where it was read all the same; None otherwise.
    """

    image: Image.Image
    width: int
    height: int
    note: str | None = None


def decode_picture(data: bytes, *, max_pixels: int = DEFAULT_MAX_PIXELS, min_side: int = 0) -> Image.Image:
    """Decode a picture file to an upright RGB picture.

    Transparency is laid over white, or over black where nothing would be seen on white; of an animation the first
    frame is taken that is not of one colour, of a raw file the largest preview; 16-bit grey is scaled to 8 bits.

    Args:
        data: the whole file.
        max_pixels: refuse a picture of more pixels, before any of them is decoded.
        min_side: when above 0, a JPEG may be decoded at 1/2, 1/4 or 1/8 of its size, and a picture of more than 50
            million pixels at any whole part of it, as long as its shorter side stays at least twice this; 0 decodes in
            full.

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
        if is_raw(data):
            return _preview(data, max_pixels, min_side)
        return _decoded(lean(data), max_pixels, min_side)
    except PictureError:
        raise
    # Decoders raise what they like on broken bytes (struct.error, SyntaxError, MemoryError,
    # zlib.error, bomb warnings turned errors…): at this boundary all of it means one thing.
    except Exception as error:
        raise PictureError(_reason(error, data)) from error


def _preview(data: bytes, max_pixels: int, min_side: int) -> Picture:
    """Return the largest preview of a raw file that can be decoded."""
    for one in previews(data):
        try:
            return _decoded(lean(one.file(data)), max_pixels, min_side, orientation_of(data))
        except OversizedPicture:
            raise
        except Exception:  # that was none, or it is broken: there may be another
            continue
    image = developed(data, max_pixels)
    return Picture(image, *image.size)


def _decoded(data: bytes, max_pixels: int, min_side: int, standing: int = 1) -> Picture:
    """Decode a file; `standing` is the orientation of a picture that says none itself."""
    with hushed(), ExitStack() as held:
        jxl = sniff(data[:32]) == "JXL"
        if jxl:  # which is decoded before it tells its size
            size = jxl_size(data)
            check_size(size, max_pixels)
            held.enter_context(in_turn(size, held_by(size, "JXL")))
        opened = held.enter_context(_open(data))
        check_size(opened.size, max_pixels)
        task = _Task(data, opened.size, _reduce(opened, min_side), min_side, standing)
        if not jxl:
            held.enter_context(in_turn(task.full, _held(opened, task)))
        if opened.format not in ("JPEG", "MPO"):
            return _develop(opened, task, max_pixels)
        try:
            if has_end(data):
                return _develop(opened, task, max_pixels)
        except OSError as error:
            if "truncated" not in str(error):
                raise
        whole = mended(data)
        again = held.enter_context(JpegImageFile(io.BytesIO(whole.data), ""))
        _reduce(again, min_side)
        return replace(_develop(again, task, max_pixels), note=whole.note)


@dataclass(frozen=True)
class _Task:
    """What there is to decode: a file, the size of its picture, whether that is decoded smaller, and what is wanted.

    `standing` is the orientation of a picture that says none itself.
    """

    data: bytes
    full: tuple[int, int]
    reduced: bool
    min_side: int
    standing: int


def _held(opened: ImageFile.ImageFile, task: _Task) -> int:
    """Return the bytes that decoding will take."""
    if opened.format in ("JPEG", "MPO"):
        return held_by_jpeg(task.full, opened.size, progressive=bool(opened.info.get("progressive")))
    if task.min_side and opened.format == "PNG" and png_rows(opened, task.data, 1):
        return task.full[0] * task.full[1]
    return held_by(opened.size, opened.format, opened.mode)


def looks_like_picture(head: bytes) -> bool:
    """Tell from a file's first bytes, 32 or more, whether it claims to be one of the named formats.

    Those count too that nothing here can read: such a file should end up among the failures with a reason, and not be
    passed over in silence.
    """
    return sniff(head) is not None or unread_kind(head) is not None


def _open(data: bytes) -> ImageFile.ImageFile:
    # This is Image.open without its size check, whose limit is one number for the whole process
    # and which warns: the caller's own cap takes its place.
    stream, last = io.BytesIO(data), None
    for name in readable():
        factory, accept = Image.OPEN[name]
        accepted = accept(data[:16]) if accept else True
        if accepted is not True:
            continue
        stream.seek(0)
        try:
            return factory(stream, "")
        except Exception as error:  # the next format may still know it
            last = error
    if last is not None and unread_file(data) is None:
        raise last
    raise PictureError(unknown(data))


def _develop(opened: ImageFile.ImageFile, task: _Task, max_pixels: int) -> Picture:
    if opened.format == "TIFF":
        check_tiff(opened)
    full, factor = task.full, _factor(opened.size, task.min_side)
    rows = png_rows(opened, task.data, factor) if opened.format == "PNG" and is_huge(full) else None
    if rows is None:
        opened.load()
        if not task.reduced:
            # Loading may turn a TIFF upright, and an icon may hold another size than it announced.
            full = opened.size
            check_size(full, max_pixels)
    orientation = _orientation(opened, task.standing)
    image = to_rgb(opened, rows or (lambda: strips_of(opened, factor)), factor)
    if not is_huge(full):
        image = first_shown(opened, image)
    return upright(image, full, orientation)


def upright(image: Image.Image, full: tuple[int, int], orientation: int) -> Picture:
    """Return a picture turned as its orientation says.

    Args:
        image: RGB, as it lies in the file.
        full: its size there.
        orientation: 1 to 8; anything else is none.
    """
    if orientation in _TRANSPOSE:
        image = image.transpose(_TRANSPOSE[orientation])
    width, height = reversed(full) if orientation in _LYING else full
    return Picture(image, width, height)


def _factor(size: tuple[int, int], min_side: int) -> int:
    """Return by how much a very large picture is made smaller as its rows come; others stay as they are."""
    return max(1, min(size) // (2 * min_side)) if min_side and is_huge(size) else 1


def check_size(size: tuple[int, int], max_pixels: int) -> None:
    """Refuse a picture that is empty, too large or too long.

    Raises:
        PictureError: says which.
    """
    width, height = size
    found = f"{width}×{height} pixels"
    if min(size) < 1:
        raise PictureError(f"the picture has no pixels ({found})")
    if width * height > max_pixels:
        raise OversizedPicture(f"{found} are more than the limit of {max_pixels}; --max-pixels takes a higher one")
    if max(size) > MAX_ASPECT * min(size):
        raise ThinPicture(f"{found}: one side is more than {MAX_ASPECT} times the other", min(size))


def _reduce(opened: ImageFile.ImageFile, min_side: int) -> bool:
    """Ask the JPEG decoder for a smaller scale; return whether it will give one."""
    if not min_side or opened.format not in ("JPEG", "MPO"):
        return False
    before, shorter = opened.size, min(opened.size)
    # draft() takes the largest of 1, 2, 4, 8 that keeps both sides at or above what is asked.
    wanted = (max(1, before[0] * 2 * min_side // shorter), max(1, before[1] * 2 * min_side // shorter))
    opened.draft(None, wanted)
    return opened.size != before


def _orientation(opened: Image.Image, standing: int) -> int:
    if opened.format == "JXL":  # turned already, by what its own header says
        return 1
    try:
        # Not that of PNG, which decodes: what it looks for behind the pixels `lean` has put before them.
        value = Image.Image.getexif(opened).get(ExifTags.Base.Orientation, standing)
    except Exception:  # a broken EXIF block, from struct.error to SyntaxError, says nothing
        return standing
    return value if isinstance(value, int) else 1


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
        with hushed():
            check_size(image.size, max_pixels)
            image.load()
            if image.format == "TIFF":
                check_tiff(image)
            rgb = to_rgb(image, lambda: strips_of(image))
            return upright(rgb, image.size, _orientation(image, 1)).image
    except PictureError:
        raise
    except Exception as error:  # as in `decode_sized`: an image that was opened may not have been decoded yet
        raise PictureError(_reason(error, b"")) from error
