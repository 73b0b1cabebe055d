"""Names of files as text: UTF-8 where they are, percent-encoded bytes where they are not.

`100%.jpg` stays as it is. A per cent sign is encoded only where it would read as an escape,
so every name has one text and every text names one file. What is stored is the text; what is shown and handed out is
the name, as Python has it: bytes that are not UTF-8 are surrogates in it.
"""

from __future__ import annotations

import os
import re
import shlex
import unicodedata
from pathlib import Path
from urllib.parse import unquote_to_bytes

from blake3 import blake3

_LOOKS_ESCAPED = re.compile(r"%(?=[0-9A-Fa-f]{2})")
_LOOKS_PRINTED = re.compile(r"\\(?:[nrt]|x[0-9a-f]{2}|u[0-9a-f]{4}|U000[0-9a-f]{5}|U0010[0-9a-f]{4})")
_SURROGATE = re.compile("[\ud800-\udfff]")
_JOINERS = "\u200c\u200d"  # letters of some scripts, and emoji, are made with them


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


def path_name(text: str) -> str:
    """Return the file name or path that `path_text` wrote as `text`, as Python has it."""
    return os.fsdecode(path_bytes(text))


def spellings(path: str) -> list[str]:
    """Return the names that somebody may mean who wrote a path, the likeliest first.

    That is the name itself. If nothing has it, it may be the text of a name, as it is stored and was printed before; or
    what stands for a name where its controls are escaped (`printable_name`).
    """
    found = [path]
    if _LOOKS_PRINTED.search(path):
        plain = _LOOKS_PRINTED.sub(lambda one: one[0].encode().decode("unicode_escape"), path)
        found += [plain] if path in (printable_name(plain), printable(plain)) else []
    found += [os.fsdecode(raw) for raw in map(_named_by, found) if raw is not None]
    return [one for one in dict.fromkeys(found) if _is_name(one)]


def _named_by(text: str) -> bytes | None:
    """Return the name that a text stands for, if it is one that stands for another than itself."""
    if not _LOOKS_ESCAPED.search(text) or _SURROGATE.search(text):
        return None
    raw = path_bytes(text)
    return raw if path_text(raw) == text else None


def _is_name(path: str) -> bool:
    try:
        return "\0" not in path and bool(os.fsencode(path))
    except UnicodeEncodeError:  # half a surrogate pair
        return False


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


def printable_name(path: str) -> str:
    """Return a name that does as little, and that is the file's own as far as it can be.

    Spaces of every kind stay, as they are in the names of screenshots, and what joins letters. Bytes that are not
    UTF-8 stay surrogates: whoever prints them says what becomes of them.
    """
    return "".join(c if _is_harmless(c) else printable(c) for c in path)


def _is_harmless(c: str) -> bool:
    return c.isprintable() or c in _JOINERS or "\udc80" <= c <= "\udcff" or unicodedata.category(c) == "Zs"
