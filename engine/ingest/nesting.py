"""How deep JSON is nested, found without going into it: Arrow's reader calls itself for each level, and so may a crash.

A text ends where its line does, in JSON as in JSONL, so that whoever begins to read at some line is never deeper
than one who began at the first.
"""

from __future__ import annotations

from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

MOST_DEPTH = 64
PIECE = 1 << 16

QUOTE, BACKSLASH, LINES = ord('"'), ord("\\"), (ord("\n"), ord("\r"))
# Brackets and braces differ in one bit.
SAME, OPEN, CLOSE = 0x20, ord("{"), ord("}")


class Depth:
    """Goes over JSON piece by piece: how deep it is, and whether a text or an escape has begun, is all it keeps."""

    def __init__(self) -> None:
        self._depth = self._seen = 0
        self._in_text = self._in_escape = False

    def add(self, piece: bytes) -> None:
        """Go over the next bytes.

        Raises:
            ValueError: they are nested too deeply, or close what was not opened, or a text goes on in another line.
        """
        data = np.frombuffer(piece, np.uint8)
        alike = data | SAME
        found = (data == QUOTE) | (alike == OPEN) | (alike == CLOSE) | (data == LINES[0]) | (data == LINES[1])
        places = np.flatnonzero(found)
        if self._in_escape or b"\\" in piece:
            places = places[~(self._escaped(piece, data, places) & (data[places] == QUOTE))]
        kinds = data[places]
        is_quote = kinds == QUOTE
        quotes = np.cumsum(is_quote, dtype=np.int32)
        inside = ((quotes & 1) != self._in_text) & ~is_quote
        is_line = (kinds == LINES[0]) | (kinds == LINES[1])
        if (torn := np.flatnonzero(inside & is_line)).size:
            raise ValueError(f"a text has no end in its line, which ends at byte {self._seen + int(places[torn[0]]):,}")
        outer = np.flatnonzero(~(inside | is_quote | is_line))
        places, steps = places[outer], 1 - 2 * ((kinds[outer] | SAME) == CLOSE)
        depth = np.cumsum(steps, dtype=np.int64) + self._depth
        if len(depth):
            if (deep := np.flatnonzero((depth > MOST_DEPTH) | (depth < 0))).size:
                at, how = self._seen + int(places[deep[0]]), int(depth[deep[0]])
                what = f"values are nested more than {MOST_DEPTH} deep" if how > 0 else "a bracket closes nothing"
                raise ValueError(f"{what} at byte {at:,}")
            self._depth = int(depth[-1])
        self._in_text ^= bool(len(quotes) and quotes[-1] & 1)
        self._seen += len(piece)

    def _escaped(self, piece: bytes, data: NDArray[np.uint8], wanted: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Return which of some bytes an odd number of backslashes escapes; note it of the next piece's first."""
        if not self._in_escape and b"\\\\" not in piece:
            self._in_escape = piece.endswith(b"\\")
            return np.asarray((data[wanted - 1] == BACKSLASH) & (wanted > 0))
        out = np.zeros(len(data) + 1, bool)
        places = np.flatnonzero(data == BACKSLASH)
        first = np.ones(len(places), bool)  # of the backslashes in a row
        first[1:] = np.diff(places) > 1
        starts = places[first]
        ends = np.append(places[:-1][first[1:]], places[-1:]) + 1
        odd = ((ends - starts) & 1).astype(bool)
        if self._in_escape:  # the first byte is escaped: a backslash there escapes nothing
            if len(starts) and starts[0] == 0:
                odd[0] = not odd[0]
            else:
                out[0] = True
        out[ends[odd]] = True
        self._in_escape = bool(out[-1])
        return out[wanted]


def check_depth(file: BinaryIO) -> None:
    """Refuse a JSONL file that is nested so deeply that nobody could have meant it.

    Raises:
        ValueError: it is, or is no JSON.
        OSError: it cannot be read.
    """
    depth = Depth()
    while piece := file.read(PIECE):
        depth.add(piece)
