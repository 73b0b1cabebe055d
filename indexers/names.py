"""Names that somebody got nearly right."""

from __future__ import annotations

from collections.abc import Iterable

MOST_NAMES = 20_000
LEAST_LIKENESS = 0.65


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the name that is most like one that is not there, whatever its case; None where none is.

    Args:
        name: what was given.
        known: what there is; of very many, the first are looked at.
    """
    from difflib import get_close_matches
    from itertools import islice

    folded = {one.casefold(): one for one in islice(known, MOST_NAMES)}
    found = get_close_matches(name.casefold(), folded, n=1, cutoff=LEAST_LIKENESS)
    return folded[found[0]] if found else None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a question to put behind a message about a name that is not there; nothing where no name is near."""
    found = nearest(name, known)
    return "" if found is None else f"; did you mean {found!r}?"
