"""The files that items were made from: read only from below the place their source names.

What a collection says of its sources and items may be anybody's words: a path may be absolute, climb with `..`, or
lead through a link. So a path is followed to its end first, and the file is read only if that lies below the folder,
followed to its end as well.
"""

from __future__ import annotations

import os

from engine.collection.paths import path_bytes
from engine.storage.regular import read_regular
from indexers.errors import PictureError

# A picture of a hundred million pixels is smaller than this in any format that is taken.
MOST_FILE_BYTES = 1 << 30


def read_below(folder: str, path: str) -> bytes:
    """Read a file of at most 1 GiB below a folder.

    Args:
        folder: text of the folder (`paths.path_text`).
        path: text of the file's path relative to it.

    Raises:
        PictureError: it is not below the folder; nothing is said of whether it exists.
        OSError: it cannot be read, is no regular file, or larger.
    """
    try:
        top = os.path.realpath(path_bytes(folder))
        real = os.path.realpath(os.path.join(top, path_bytes(path)))
    except ValueError as error:  # a null, say
        raise PictureError(f"{path!r} is not the name of a file") from error
    if not real.startswith(top.rstrip(b"/") + b"/"):
        raise PictureError(f"it lies outside of {folder}")
    return read_regular(real, most=MOST_FILE_BYTES, own=True)
