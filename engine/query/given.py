"""Pictures that are given as they are, and not by the path of a file: bytes, open files, PIL images, arrays of pixels.

All become the bytes of a picture file, pixels those of an uncompressed one: so a term stays a value that can be
compared, copied and sent to another process, and every picture is read in one way.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.storage.kinds import MOST_FILE_BYTES
from indexers import checks
from indexers.errors import InvalidInput, PictureError

if TYPE_CHECKING:
    from PIL.Image import Image

BLOCK = 1 << 20
CHANNELS = (1, 3, 4)
LARGER = f"it is larger than {MOST_FILE_BYTES:,} bytes"


def is_given(value: Any) -> bool:
    """Whether something is a picture itself, and not what one is named by."""
    if isinstance(value, np.ndarray):
        return value.ndim > 2 or (value.ndim == 2 and value.dtype.kind != "f")
    return isinstance(value, bytes | bytearray | memoryview) or _is_image(value) or _is_file(value)


def picture_bytes(name: str, value: Any) -> bytes:
    """Return the bytes of a picture file that was given as bytes, as an open file, as an image or by its pixels.

    Raises:
        InvalidInput: it is nothing of the kind.
        PictureError: it is, and cannot be read.
    """
    if isinstance(value, np.ndarray):
        return _of_pixels(name, value)
    if isinstance(value, bytes | bytearray | memoryview):
        if memoryview(value).nbytes > MOST_FILE_BYTES:
            raise PictureError(LARGER)
        return bytes(value)
    if _is_image(value):
        return _of_image(value)
    if _is_file(value):
        return _of_file(name, value)
    raise InvalidInput(f"{name}: expected the bytes of a picture file, found {checks.brief(value)}")


def _is_image(value: Any) -> bool:
    images = sys.modules.get("PIL.Image")  # where nobody has imported it there is none
    return images is not None and isinstance(value, images.Image)


def _is_file(value: Any) -> bool:
    return not isinstance(value, type) and callable(getattr(value, "read", None))


def _of_pixels(name: str, pixels: np.ndarray) -> bytes:
    fits = pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] in CHANNELS)
    if pixels.dtype != np.uint8 or not fits:
        raise InvalidInput(
            f"{name}: expected pixels, uint8 [H, W], [H, W, 3] or [H, W, 4], or real vectors [D] or [nq, D]; found "
            f"{pixels.dtype} {list(pixels.shape)}. Ids are [n]; several pictures are given as a list"
        )
    from PIL.Image import fromarray

    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    if not pixels.size:
        raise PictureError("the picture has no pixels")
    return _of_image(fromarray(np.ascontiguousarray(pixels)))


def _of_image(image: Image) -> bytes:
    from engine.encoders.pictures import from_image

    upright = from_image(image)
    return b"P6 %d %d 255\n" % upright.size + upright.tobytes()


def _of_file(name: str, file: Any) -> bytes:
    """Read an open file from where it stands to its end."""
    parts, size = [], 0
    try:
        while part := file.read(BLOCK):
            if not isinstance(part, bytes | bytearray):
                raise InvalidInput(f"{name}: a picture is read from a file that is open for bytes, as by open(…, 'rb')")
            parts.append(part)
            size += len(part)
            if size > MOST_FILE_BYTES:
                raise PictureError(LARGER)
    except (InvalidInput, PictureError):
        raise
    except Exception as error:  # a file may be a network or an archive, and fail as these do
        raise PictureError(f"the file given cannot be read: {error or type(error).__name__}") from error
    if not parts:
        raise PictureError("the file given has nothing left to read: it is empty, or stands at its end")
    return b"".join(parts)
