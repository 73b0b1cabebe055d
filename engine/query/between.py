"""Where items lie between two poles, such as "cheap" and "luxurious": projected on the line from one to the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from engine.query.terms import Term, Terms, as_likeness
from engine.retrieval.searcher import Searcher
from indexers.errors import CorruptCollection, InvalidInput
from indexers.mask import Mask
from indexers.vectors import FloatArray, IdArray, normalize

BLOCK = 16_384
SAME = 1e-6
"""Poles whose directions differ by less are the same for numbers of single precision."""


def pole(name: str, given: Any) -> tuple[Term, ...]:
    """Return the terms of a pole: of a text, a term, a sum, an id, a picture, or of items and terms in a list.

    Raises:
        InvalidInput: it is something else, or an empty list.
        PictureError: a picture that was given as it is cannot be read.
    """
    if isinstance(given, str):
        return (Term.of_text(given),)
    if isinstance(given, Term):
        return (given,)
    several = given if isinstance(given, list | tuple) else [given]
    if not several:
        raise InvalidInput(f"{name}: expected a text, a term or items, found nothing")
    if isinstance(given, Terms):
        return given
    return tuple(one if isinstance(one, Term) else as_likeness(one) for one in several)


def told_of_poles(low: Sequence[Term], high: Sequence[Term]) -> str | None:
    """Say what is wrong with poles of which one is of texts and the other is not; None where they are alike."""
    texts = [all(term.kind == "text" for term in one) for one in (low, high)]
    if texts[0] == texts[1]:
        return None
    return (
        "one pole is of texts and the other is not: texts lie off to one side of pictures, so places say how much of a "
        "text an item is, and not only where it lies; two poles of one kind do not have that"
    )


def places(searcher: Searcher, low: FloatArray, high: FloatArray, allowed: Mask) -> tuple[IdArray, pa.Table]:
    """Return rows, int64 [n], and their places as a table.

    Args:
        searcher: over a space.
        low, high: the poles, unit float32 [D].
        allowed: which rows are wanted.

    Returns:
        the rows, and columns `between`, ½ + x·(high − low) / ‖high − low‖², which is 0 at one pole and 1 at the other,
        and `share`, how many of the other rows lie lower.

    Raises:
        InvalidInput: the poles are the same.
        CorruptCollection: a stored vector is not finite.
    """
    line = high.astype(np.float64) - low
    length = float(line @ line)
    if length < SAME:
        raise InvalidInput("both poles are the same: there is nothing between them")
    rows, found = allowed.numbers, np.empty(allowed.count)
    for start in range(0, len(rows), BLOCK):
        x = searcher.vectors(rows[start : start + BLOCK])
        if not np.isfinite(x).all():
            raise CorruptCollection("the collection holds vectors that are not finite; see `nestvec verify`")
        found[start : start + len(x)] = 0.5 + normalize(x).astype(np.float64) @ line / length
    share = np.searchsorted(np.sort(found), found) / max(1, len(found) - 1)
    return rows, pa.table({"between": pa.array(found), "share": pa.array(share)})
