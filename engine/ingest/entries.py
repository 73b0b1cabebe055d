"""What a source consists of, before anyone has looked inside it: picture files, or blocks of vectors."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from blake3 import blake3
from numpy.typing import NDArray

from engine.collection.cells import Cell, as_json, cell, is_nothing, value_of
from engine.collection.manifest import Source
from engine.ingest.beside import Aside
from engine.ingest.metadata.columns import laid_over, layered
from engine.ingest.metadata.found import columns_in
from engine.storage import layout
from engine.storage.containers import Inside, Named
from engine.storage.kinds import MOST_FILE_BYTES
from engine.storage.names import path_key
from engine.storage.regular import read_regular
from indexers.vectors import FloatArray

Keys = NDArray[np.uint64]


def meta_key(caption: str | None, meta: Mapping[str, Cell]) -> int:
    """Return 64 bits that change whenever a caption or a column does, or its type; what says nothing does not count."""
    said = {name: value for name, value in meta.items() if not is_nothing(value)}
    text = json.dumps([caption, said], sort_keys=True, default=_typed)
    return int.from_bytes(blake3(text.encode("utf-8", "surrogatepass")).digest(length=8), "little")


def _typed(cell: pa.Scalar) -> list[Any]:
    return [str(cell.type), as_json(value_of(cell))]


_NOTHING: dict[str, Any] = {}
_NO_META = meta_key(None, _NOTHING)


@dataclass(frozen=True)
class Entry:
    """A picture: a file, or in one.

    Attributes:
        source: name of its source.
        path: its text in the source (`paths.path_text`).
        size: bytes of the file.
        mtime_ns: when the file was last changed.
        caption: text that came with it.
        meta: the user's columns.
        location: the file's name on this machine.
        inside: where it lies in that file, if that is a container.
        problem: why it cannot be indexed, where that is known without opening it.
        unread: whether it is a folder that could not be listed: what is below it may still be there.
        doubtful: whether nothing says that it is a picture, or a folder, and nothing that it is none: it matters where
            an item was known there, or below it.
        incomplete: whether a table could not be read that may say more of it; see `kept.complete`.
        beside: text beside the picture, where it is incomplete: it counts if nothing else says a caption.
        kept_key: `meta_key` of the item it is, where it keeps caption and columns of that, or of the row it is.
        side: columns of files beside it.
        found: what the file itself says, as `metadata.found` writes it; None where nobody has looked.
        otherwise: columns of files beside it that count where the file itself says nothing.
        by_hand: columns that were set by hand, and that nothing else is believed of; None for no value.
        aside: files beside it that were not read, since with them as they are the item has `kept_key`, if it is there.
    """

    source: str
    path: str
    size: int = 0
    mtime_ns: int = 0
    caption: str | None = None
    meta: dict[str, Any] = field(default_factory=dict)
    location: bytes = b""
    inside: Inside | Named | None = None
    problem: str | None = None
    unread: bool = False
    doubtful: bool = False
    incomplete: bool = False
    beside: str | None = None
    kept_key: int | None = None
    side: dict[str, Any] = field(default_factory=dict)
    found: str | None = None
    otherwise: dict[str, Any] = field(default_factory=dict)
    by_hand: dict[str, Cell | None] = field(default_factory=dict)
    aside: Aside | None = None

    @cached_property
    def key(self) -> int:
        """64 bits that stand for (source, path)."""
        return path_key(self.source, self.path)

    @property
    def meta_key(self) -> int:
        """64 bits that change whenever the caption or a column does."""
        if self.kept_key is not None:
            return self.kept_key
        if self.caption is None and not self.meta and not self.side and not self.otherwise:
            return _NO_META
        # What the file itself says is no label: it changes with the file, and with nothing else.
        beside = {"": as_json([self.side, self.otherwise])} if self.side or self.otherwise else {}
        return meta_key(self.caption, {**self.meta, **beside})

    @property
    def of_files(self) -> dict[str, Cell]:
        """Columns of the file itself and those beside it."""
        said = layered([self.otherwise, columns_in(self.found), self.side])
        return {name: cell(value) for name, value in said.items()}

    @property
    def columns(self) -> dict[str, Cell]:
        """All columns: the user's go before those of files."""
        below = self.of_files
        said = {name: one for name, one in self.meta.items() if not is_nothing(one) or name not in below}
        found = laid_over(below, said)
        own = {name: one for name, one in self.by_hand.items() if one is not None}
        return {name: one for name, one in found.items() if name not in self.by_hand} | own


@dataclass(frozen=True)
class Block:
    """Consecutive rows of vectors, column by column: a million rows are not a million objects.

    Attributes:
        source: name of their source.
        paths: their names in it.
        vectors: float32 [n, D] as they were read: not yet checked or normalised; where they are for several spaces, one
            beside the other in the order of `VectorListing.dims`.
        captions: a text for each, or None for no captions at all.
        meta: the user's columns of each, or None for no columns at all.
        size: bytes of the file; 0 where there is none, and content alone tells what has changed.
        mtime_ns: when the file was last changed; likewise.
        wrong: why a row has no vector, by its number, where that is known.
        numbered: whether rows are called by their number alone, so that one that has moved is known by its vector.
        salt: what was asked for as the columns of vectors: where it was another, no row is as it was.
    """

    source: str
    paths: list[str]
    vectors: FloatArray
    captions: list[str | None] | None = None
    meta: list[dict[str, Any]] | None = None
    size: int = 0
    mtime_ns: int = 0
    wrong: dict[int, str] = field(default_factory=dict)
    numbered: bool = False
    salt: str = ""

    def __len__(self) -> int:
        return len(self.paths)

    @cached_property
    def keys(self) -> Keys:
        """64 bits for each (source, path), uint64 [n]."""
        return np.array([path_key(self.source, path) for path in self.paths], dtype=np.uint64)

    @cached_property
    def meta_keys(self) -> Keys:
        """64 bits for each row's caption and columns, uint64 [n]."""
        if self.captions is None and self.meta is None:
            keys = np.full(len(self), _NO_META, dtype=np.uint64)
        else:
            keys = np.array([meta_key(self.caption(i), self.meta_of(i)) for i in range(len(self))], dtype=np.uint64)
        return keys ^ np.uint64(path_key("", self.salt)) if self.salt else keys

    def caption(self, row: int) -> str | None:
        """Return the caption of one row."""
        return None if self.captions is None else self.captions[row]

    def meta_of(self, row: int) -> dict[str, Any]:
        """Return the columns of one row."""
        return _NOTHING if self.meta is None else self.meta[row]

    def entry(self, row: int) -> Entry:
        """Return one row as an entry, without its vector."""
        said = self.caption(row), self.meta_of(row)
        key = int(self.meta_keys[row])
        return Entry(self.source, self.paths[row], self.size, self.mtime_ns, *said, kept_key=key)


class PictureListing(Protocol):
    """A source of pictures that can be listed more than once and in the same order.

    Attributes:
        source: its name, kind and location.
        whole: whether it lists all of its source, so that an item it does not list is gone.
        below: a folder in it that is all that is listed, where not the whole is, so that an item below it that is not
            listed is gone; "" for none.
        left: folders and files that it left out in the last complete listing, as paths in the source: what is below
            them is no loss.
        ignored: files passed over in the last complete listing because they are not pictures.
        passed: how many were passed over otherwise in it: "excluded" by patterns, "paired" with another, or "small".
    """

    source: Source
    whole: bool
    below: str
    ignored: int

    @property
    def left(self) -> Sequence[str]:
        """See above."""
        ...

    @property
    def passed(self) -> Mapping[str, int]:
        """See above."""
        ...

    def entries(self) -> Iterator[Entry]:
        """Yield what is in it, in a stable order."""
        ...


class VectorListing(ABC):
    """A source of vectors that can be read more than once and in the same order.

    Attributes:
        source: its name, kind and location.
        whole: as for `PictureListing`, and so are `below` and `left`: there is none.
    """

    source: Source
    whole: bool
    below = ""
    left: Sequence[str] = ()

    @property
    @abstractmethod
    def dims(self) -> dict[str, int]:
        """Dimension of its vectors by the space they are for: the main one first, the others in order."""

    @property
    def dim(self) -> int:
        """Dimension of its vectors for the main space."""
        return self.dims[layout.DEFAULT_SPACE]

    def fits(self, space: str, dim: int) -> bool:
        """Whether its vectors for a space can be of a dimension; a listing that has a choice takes it."""
        return self.dims[space] == dim

    @abstractmethod
    def blocks(self) -> Iterator[Block]:
        """Yield its rows in order."""

    def keys_before(self) -> int | None:
        """Return what stands for the keys of its rows in an earlier run, if nothing has changed since; else None."""
        return None

    def note_keys(self, digest: int) -> None:  # noqa: B027 (there is nothing to note of rows in memory)
        """Note what stands for the keys of its rows, for the next run."""


Listing = PictureListing | VectorListing


def read_file(entry: Entry) -> bytes:
    """Read a picture whole."""
    if entry.inside is not None:
        return entry.inside.read()
    return read_regular(entry.location, most=MOST_FILE_BYTES)
