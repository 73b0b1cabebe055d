"""Very large pictures: decoded one at a time, and only where the memory for it is there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from indexers.errors import PictureError
from indexers.memory import memory_left, shown_bytes
from indexers.threads import new_lock

HUGE_PIXELS = 50_000_000
"""A picture of more pixels than this waits until no other such one is decoded; smaller ones wait for nobody."""

_turn = new_lock()
# Bytes that a decoder holds for a pixel, at most, as measured over pictures of 60 million of them; the file on top.
_HELD = {"WEBP": 17, "HEIF": 14, "AVIF": 14, "JXL": 16, "JPEG2000": 21}
_HELD_BY_MODE = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2, "I;16L": 2}


class OversizedPicture(PictureError):
    """A picture that is refused for its size: the message holds no byte of its file."""


class ThinPicture(PictureError):
    """A picture that is a line.

    Attributes:
        side: its shorter side in pixels.
    """

    def __init__(self, message: str, side: int) -> None:
        super().__init__(message)
        self.side = side


def is_huge(size: tuple[int, int]) -> bool:
    """Whether a picture of a size waits for others."""
    return size[0] * size[1] > HUGE_PIXELS


@contextmanager
def in_turn(size: tuple[int, int], held: int) -> Iterator[None]:
    """Wait until no other very large picture is decoded, and for as long as a block takes let no other begin.

    Args:
        size: of the picture; a smaller one waits for nobody.
        held: bytes that decoding it takes.

    Raises:
        PictureError: there is not so much memory; its cause is a MemoryError.
    """
    if not is_huge(size):
        yield
        return
    with _turn:
        left = memory_left()
        if left is not None and held > left.bytes:
            raise OversizedPicture(
                f"{size[0]}×{size[1]} pixels take {shown_bytes(held)} of memory to decode, and "
                f"{shown_bytes(left.bytes)} are left ({left.why}); make it smaller, or read it where there is more"
            ) from MemoryError(held)
        yield


def held_by(size: tuple[int, int], name: str | None, mode: str = "") -> int:
    """Return the bytes that decoding a picture of a size, a format and a mode of Pillow's takes."""
    return size[0] * size[1] * _HELD.get(name or "", _HELD_BY_MODE.get(mode, 4))


def held_by_jpeg(full: tuple[int, int], size: tuple[int, int], *, progressive: bool) -> int:
    """Return the bytes that decoding a JPEG takes; of a progressive one all coefficients come before any row.

    Args:
        full: its size.
        size: as which it is decoded.
        progressive: whether it is one.
    """
    return 4 * size[0] * size[1] + (6 * full[0] * full[1] if progressive else 0)
