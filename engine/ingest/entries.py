"""One thing found in a source, before anyone has looked inside it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

from blake3 import blake3

from engine.collection.manifest import Source
from engine.collection.paths import path_key
from indexers.vectors import FloatArray


@dataclass(frozen=True)
class Entry:
    """A picture file, or one row of a vector file.

    Attributes:
        source: name of its source.
        path: its text in the source (`paths.path_text`).
        size: bytes of the file.
        mtime_ns: when the file was last changed.
        caption: text that came with it.
        meta: the user's columns.
        location: the file's name on this machine; empty for a row of a vector file.
        vector: float32 [D] where it exists already, as it was read: not yet checked or normalised.
        problem: why it cannot be indexed, where that is known without opening it.
    """

    source: str
    path: str
    size: int = 0
    mtime_ns: int = 0
    caption: str | None = None
    meta: dict[str, Any] = field(default_factory=dict)
    location: bytes = b""
    vector: FloatArray | None = None
    problem: str | None = None

    @cached_property
    def key(self) -> int:
        """64 bits that stand for (source, path)."""
        return path_key(self.source, self.path)

    @cached_property
    def meta_key(self) -> int:
        """64 bits that change whenever the caption or a column does."""
        text = json.dumps([self.caption, self.meta], sort_keys=True, default=str)
        return int.from_bytes(blake3(text.encode("utf-8", "surrogatepass")).digest(length=8), "little")


class Listing(Protocol):
    """A source that can be listed, more than once and in the same order.

    Attributes:
        source: its name, kind and location.
        ignored: files passed over in the last complete listing because they are not pictures.
    """

    source: Source
    ignored: int

    def entries(self) -> Iterator[Entry]:
        """Yield what is in it, in a stable order."""
        ...
