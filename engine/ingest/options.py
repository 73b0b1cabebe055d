"""How pictures are read and encoded by a run."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial

from engine.storage.kinds import DEFAULT_MAX_PIXELS, METADATA
from indexers import checks
from indexers.errors import InvalidInput

Held = Callable[[], AbstractContextManager[Callable[[], bool]]]
"""Makes a block in which an interruption is only told, by its value, and raised where the block ends."""


def unheld() -> AbstractContextManager[Callable[[], bool]]:
    """Leave interruptions as they are: they are raised wherever they come in."""
    return nullcontext(lambda: False)


@dataclass(frozen=True)
class EncodeOptions:
    """How pictures are encoded.

    Example:
        >>> how = engine.RunOptions(encode=engine.EncodeOptions(batch_size=8, workers=1, max_pixels=10_000_000))
        >>> engine.Collection.open("photos.nest").index("PHOTOS", how).unchanged
        33

    Attributes:
        batch_size: pictures a batch.
        workers: decoding threads.
        max_pixels: larger pictures are refused.
        held: asked while there is something to finish; see `cli.signals`.
        again: whether what failed before is tried though neither it nor what reads it has changed.
        metadata: what of EXIF, XMP and IPTC becomes columns: "all", "no location" or "none"; what the collection
            remembers if None, and at first all.
    """

    batch_size: int = 32
    workers: int = 2
    max_pixels: int = DEFAULT_MAX_PIXELS
    held: Held = unheld
    again: bool = False
    metadata: str | None = None

    def __post_init__(self) -> None:
        checks.settle(
            self,
            batch_size=checks.whole("batch_size", self.batch_size),
            workers=checks.whole("workers", self.workers, high=checks.MOST_THREADS),
            max_pixels=checks.whole("max_pixels", self.max_pixels, high=checks.MOST_BYTES),
        )
        checks.truth("again", self.again)
        checks.optional("metadata", self.metadata, partial(checks.one_of, known=METADATA))
        if not callable(self.held):
            raise InvalidInput(f"held: expected what makes a context, found {checks.brief(self.held)}")
