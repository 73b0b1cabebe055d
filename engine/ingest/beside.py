"""Files beside a picture that say something of it: a caption in a `.txt`, XMP, what Google Takeout writes.

Whether there is one is told from the names in the folder: what is not there is never opened. Capitals do not matter,
but a name that is the same letter by letter comes first, and a picture's whole name, `a.jpg.txt`, before its stem.
"""

from __future__ import annotations

import codecs
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache

from engine.ingest.metadata.columns import from_xmp, laid_over
from engine.ingest.metadata.packets import MOST_PACKET, read_packet
from engine.ingest.metadata.values import Columns
from engine.ingest.takeout import json_names, read_takeout
from engine.storage.regular import opened_regular

MOST_CAPTION_BYTES = 1 << 16
MOST_JSON_BYTES = 1 << 20
TEXT, XMP, JSON = KINDS = (b".txt", b".xmp", b".json")
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


@dataclass(frozen=True)
class Said:
    """What the files beside a picture say of it.

    Attributes:
        caption: the text of a `.txt`.
        meta: columns that count before what the picture says itself.
        otherwise: columns that count where the picture says nothing.
        missed: whether there are files that could not be read, so that nobody knows what they say.
    """

    caption: str | None = None
    meta: Columns = field(default_factory=dict)
    otherwise: Columns = field(default_factory=dict)
    missed: bool = False


class Beside:
    """The side files of one folder.

    Args:
        folder: its name on this machine.
        names: all names in it; those that are no side files are not kept.
    """

    def __init__(self, folder: bytes, names: Iterable[bytes]) -> None:
        self._folder = folder
        self._names = {name for name in names if name.lower().endswith(KINDS)}
        self._kinds = {name[name.rindex(b".") :].lower() for name in self._names}
        self._folded: dict[str, bytes] = {}
        for name in sorted(self._names, reverse=True):
            self._folded[_folded(name)] = name

    @classmethod
    def of_folder(cls, folder: bytes) -> Beside:
        """List a folder; one that cannot be listed has no side files that anybody could open."""
        try:
            return cls(folder, os.listdir(folder))
        except OSError:
            return cls(folder, ())

    def said_of(self, name: bytes) -> Said:
        """Return what is said of a picture, by its name in the folder."""
        if not self._names:
            return Said()
        missed: list[bytes] = []
        captions = (caption_of(self._read(one, MOST_CAPTION_BYTES, missed, cut=True)) for one in self._texts(name))
        caption = next((text for text in captions if text), None)
        packets = [from_xmp(read_packet(self._read(one, MOST_PACKET, missed))) for one in self._packets(name)]
        meta = next((columns for columns in packets if columns), {})
        files = (read_takeout(self._read(one, MOST_JSON_BYTES, missed)) for one in self._of_takeout(name))
        said, otherwise = next((one for one in files if any(one)), ({}, {}))
        return Said(caption, laid_over(said, meta), otherwise, bool(missed))

    def names_of(self, name: bytes) -> list[bytes]:
        """Return the names of all files that may say something of a picture: each that `said_of` may open."""
        return [*self._texts(name), *self._packets(name), *self._of_takeout(name)] if self._names else []

    def _texts(self, name: bytes) -> Iterator[bytes]:
        return self._found(_stems(name, TEXT)) if TEXT in self._kinds else iter(())

    def _packets(self, name: bytes) -> Iterator[bytes]:
        return self._found(_stems(name, XMP)) if XMP in self._kinds else iter(())

    def _of_takeout(self, name: bytes) -> Iterator[bytes]:
        # As file names go, bytes that are no text stay what they are.
        called = (one.encode("utf-8", "surrogateescape") for one in json_names(_text(name)))
        return self._found(called) if JSON in self._kinds else iter(())

    def _found(self, wanted: Iterable[bytes]) -> Iterator[bytes]:
        """Yield the side files that are there of those wanted, each once."""
        seen: set[bytes] = set()
        for one in wanted:
            name = one if one in self._names else self._folded.get(_folded(one))
            if name is not None and name not in seen:
                seen.add(name)
                yield name

    def _read(self, name: bytes, most: int, missed: list[bytes], *, cut: bool = False) -> bytes:
        """Return a file's bytes; none of one that cannot be read, or is larger than what such a file can be.

        Args:
            name: of the file.
            most: bytes that are read.
            missed: gets the name of one that cannot be read.
            cut: whether of a larger one the first bytes are what is wanted.
        """
        try:
            with opened_regular(os.path.join(self._folder, name)) as file:
                data = file.read(most + 1)
        except OSError:
            missed.append(name)
            return b""
        return data[:most] if cut or len(data) <= most else b""


@dataclass(frozen=True)
class Aside:
    """The side files of one picture, before they are read.

    Attributes:
        beside: those of its folder.
        name: what the picture is called there.
        captions: whether a text among them is its caption: no table has a row for it.
    """

    beside: Beside
    name: bytes
    captions: bool = True

    @property
    def names(self) -> list[bytes]:
        """What they are called; see `Beside.names_of`."""
        return self.beside.names_of(self.name)

    def read(self) -> Said:
        """Return what they say."""
        return self.beside.said_of(self.name)


@lru_cache(maxsize=1)
def beside(folder: bytes, _changed: int) -> Beside:
    """Return the side files of a folder, which is listed again when it has changed; the last one is kept."""
    return Beside.of_folder(folder)


def said_beside(location: bytes) -> Said:
    """Return what the files beside a picture say of it, for whoever has not listed its folder."""
    folder, name = os.path.split(location)
    try:
        changed = os.stat(folder or b".").st_mtime_ns
    except OSError:
        return Said()
    return beside(folder or b".", changed).said_of(name)


def caption_of(data: bytes) -> str | None:
    """Return a caption in one line: UTF-8, or UTF-16 or UTF-32 where a byte order mark, or its NULs, say so."""
    coding = next((name for mark, name in _MARKS if data.startswith(mark)), None)
    if coding is None and b"\0" in data[:256]:
        even, odd = data[0:256:2].count(0), data[1:256:2].count(0)
        coding = "utf-16-le" if odd >= even else "utf-16-be"
    text = data.decode(coding or "utf-8", "replace").replace("\ufeff", "").replace("\0", " ")
    return " ".join(text.split()) or None


def _stems(name: bytes, suffix: bytes) -> list[bytes]:
    """Return what a side file may be called: after the whole name of the picture, or after its stem."""
    stem, dot, _ = name.rpartition(b".")
    return [name + suffix, *([stem + suffix] if dot and stem else [])]


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")


def _folded(name: bytes) -> str:
    return _text(name).casefold()
