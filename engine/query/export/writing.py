"""What a format is given to write."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.collection.originals import Originals
from engine.progress import Advance, telling
from engine.query.export.options import ExportOptions, LeftOut
from engine.query.export.selection import Block, Selection
from indexers.errors import PictureError

PICTURE_ROWS = 256
PICTURE_BYTES = 64 << 20
"""Pictures are held in memory until they are so many, or so large."""


@dataclass(frozen=True)
class Writing:
    """What a format writes, and where.

    Attributes:
        items: what is wanted.
        place: the file, or the empty folder, to write.
        options: how.
        originals: the pictures that may be taken.
        advance: hears of items that are dealt with.
        left_out: gathers items whose pictures could not be had.
    """

    items: Selection
    place: Path
    options: ExportOptions
    originals: Originals
    advance: Advance
    left_out: list[LeftOut] = field(default_factory=list)

    def blocks(self, items: Selection | None = None, **how: Any) -> Iterator[Block]:
        """Yield the items block by block, and tell of each once it is dealt with; see `Selection.blocks`."""
        return telling((items or self.items).blocks(**how), self.advance)

    def pictures(self, items: Selection) -> Iterator[tuple[Block, list[bytes]]]:
        """Yield the items whose pictures can be had, with the bytes of these; the others are left out and noted."""
        for block in self.blocks(items, vectors=self.options.vectors, most=PICTURE_ROWS):
            at: list[int] = []
            data: list[bytes] = []
            for number, row in enumerate(block.rows.tolist()):
                found = self._picture(row)
                if found is None:
                    continue
                at.append(number)
                data.append(found)
                if sum(map(len, data)) >= PICTURE_BYTES:
                    yield block.take(at), data
                    at, data = [], []
            if at:
                yield block.take(at), data

    def _picture(self, row: int) -> bytes | None:
        item = self.items.snapshot.item(row)
        try:
            if not item.width:
                raise PictureError("it is a vector, and no file")
            return self.originals.read(item)
        except (OSError, PictureError) as error:
            reason = (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
            self.left_out.append(LeftOut(item.id, item.uri, reason))
            return None
