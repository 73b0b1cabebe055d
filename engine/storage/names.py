"""Names of files as text: UTF-8 where they are, percent-encoded bytes where they are not.

`100%.jpg` stays as it is. A per cent sign is encoded only where it would read as an escape,
so every name has one text and every text names one file.
"""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path
from urllib.parse import unquote_to_bytes

from blake3 import blake3

_LOOKS_ESCAPED = re.compile(r"%(?=[0-9A-Fa-f]{2})")


def path_text(raw: bytes) -> str:
    """Return the text of a file name or path."""
    text = raw.decode("utf-8", "surrogateescape")
    text = _LOOKS_ESCAPED.sub("%25", text)
    return "".join(f"%{ord(c) - 0xDC00:02X}" if "\udc80" <= c <= "\udcff" else c for c in text)


def path_bytes(text: str) -> bytes:
    """Return the file name or path that `path_text` wrote as `text`."""
    return unquote_to_bytes(text.encode("utf-8"))


def text_path(text: str) -> Path:
    """Return the path on this machine that `file_text` wrote as `text`."""
    return Path(os.fsdecode(path_bytes(text)))


def file_text(path: str | os.PathLike[str]) -> str:
    """Return the text of an absolute path of this machine."""
    return path_text(os.fsencode(os.path.abspath(path)))


def command(*words: str | Path) -> str:
    """Write a command as it can be pasted into a shell."""
    return shlex.join(["nestvec", *map(str, words)])


def path_key(source: str, path: str) -> int:
    """Return 64 bits that stand for (source, path) where names are compared by the million."""
    return int.from_bytes(blake3(f"{source}\0{path}".encode()).digest(length=8), "little")


def shown(path: str) -> str:
    """Return a path as it was written, or its text where it is not Unicode."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return path_text(path.encode("utf-8", "surrogateescape"))
    return path


def printable(text: str) -> str:
    """Return text that cannot move a terminal's cursor or break a line: controls are escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
