"""How many queries it takes to tell anything."""

from __future__ import annotations

import math

from engine.progress import Listener
from indexers.errors import InvalidInput

FEWEST = 4
"""Below this, a share is zero, one or a half, and tells nothing."""

FEW = 50
"""Below this, it is said how little a share can be trusted."""


def spread(count: int) -> float:
    """Return half the 95 % interval that the share of some queries has at most."""
    return 1.96 * 0.5 / math.sqrt(count)


def check_enough(count: int, what: str, heard: Listener) -> None:
    """Refuse queries that tell nothing, and warn of those that tell little.

    Args:
        count: queries that are asked.
        what: they are, in the plural.
        heard: hears the warning.

    Raises:
        InvalidInput: there are fewer than `FEWEST`.
    """
    if count < FEWEST:
        raise InvalidInput(too_few(count, what))
    warn_of_few(count, what, heard)


def warn_of_few(count: int, what: str, heard: Listener) -> None:
    """Say how little can be told from few queries."""
    if count < FEW:
        number = f"only {count} {what} to ask with" if count > 1 else f"{what}: one to ask with"
        heard.say(f"{number}: a share may be off by ± {spread(count):.2f} (95 % interval)")


def too_few(count: int, what: str) -> str:
    """Say that there are too few queries, and how many are wanted."""
    return f"{what}: {count} to ask with, which tells nothing; at least {FEWEST} are wanted, and better {FEW} or more"


def check_some_left_out(k: int, shortlist: int, items: int, heard: Listener) -> None:
    """Refuse to look for all there is, which every prefix finds, and say where a shortlist holds all.

    Raises:
        InvalidInput: an item has no more than k others.
    """
    others = items - 1
    if k >= others:
        raise InvalidInput(f"k = {k} of {others} others: every prefix finds them all. Lower k, or evaluate more items")
    if shortlist >= others:
        heard.say(f"a shortlist of {shortlist} holds all {others} others: what is found in it tells nothing")
