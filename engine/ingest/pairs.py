"""Which of the raw file and the developed picture of one shot is passed over."""

from __future__ import annotations

from collections.abc import Iterable

from engine.storage.kinds import BOTH, DEVELOPED_SUFFIXES, RAW, RAW_SUFFIXES

_RAW = frozenset(suffix.encode() for suffix in RAW_SUFFIXES)
_DEVELOPED = frozenset(suffix.encode() for suffix in DEVELOPED_SUFFIXES)


def passed_over(names: Iterable[bytes], pairs: str) -> set[bytes]:
    """Return the names of files in a folder beside which lies what is wanted of the same shot.

    A shot is what is called the same but for the suffix, `IMG_1.CR2` and `IMG_1.JPG`.

    Args:
        names: of all files that are wanted otherwise.
        pairs: "jpeg", "raw" or "both".
    """
    raw: dict[bytes, set[bytes]] = {}
    developed: dict[bytes, set[bytes]] = {}
    for name in names:
        stem, dot, suffix = name.rpartition(b".")
        suffix = dot + suffix.lower()
        for kind, found in ((_RAW, raw), (_DEVELOPED, developed)):
            if suffix in kind:
                found.setdefault(stem, set()).add(name)
    if pairs == BOTH or not raw:
        return set()
    left, wanted = (developed, raw) if pairs == RAW else (raw, developed)
    return {name for stem, named in left.items() if stem in wanted for name in named}
