"""Arguments at the doors of the API, checked by type and range, so that what is odd is refused there in words.

A check takes the argument's name and value, and returns the value as the plain type that everything behind the door
expects. True and False are no numbers here, and an empty text names nothing.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from reprlib import Repr
from typing import Any, TypeVar

import numpy as np

from indexers.errors import InvalidInput

T = TypeVar("T")
LONGEST_SHOWN = 80
_BRIEFLY = Repr()
_BRIEFLY.maxstring = _BRIEFLY.maxother = _BRIEFLY.maxlong = LONGEST_SHOWN

MOST = (1 << 31) - 1
"""Of anything that is counted: answers, dimensions, versions, threads."""

MOST_BYTES = 1 << 62
MOST_THREADS = 4096
MOST_SEED = MOST_ID = (1 << 63) - 1
DEVICES = ("auto", "cpu", "cuda", "mps")
# What file systems take; a longer name is no file's.
LONGEST_PATH, LONGEST_NAME = 4095, 255


def whole(name: str, value: Any, low: int = 1, high: int = MOST) -> int:
    """Return a whole number of a range.

    Raises:
        InvalidInput: it is something else.
    """
    if type(value) is int or isinstance(value, np.integer):  # and a bool is neither
        found = int(value)
        if low <= found <= high:
            return found
        bound = f"at least {low}" if found < low else f"at most {high}"
        raise InvalidInput(f"{name} must be {bound}, found {brief(found)}")
    raise InvalidInput(f"{name} must be a whole number, found {brief(value)}")


def signed(name: str, value: Any) -> int:
    """Return a whole number of either sign: whether it is in range is told in other words, by who knows.

    Raises:
        InvalidInput: it is something else.
    """
    return whole(name, value, -MOST)


def room(name: str, value: Any) -> int:
    """Return a number of bytes.

    Raises:
        InvalidInput: it is none, or more than any machine has.
    """
    return whole(name, value, 1, MOST_BYTES)


def number(name: str, value: Any, above: float, high: float = math.inf) -> float:
    """Return a finite number above one bound and at most the other.

    Raises:
        InvalidInput: it is something else.
    """
    found = real(name, value)
    if above < found <= high and math.isfinite(found):
        return found
    most = f" and at most {high:g}" if math.isfinite(high) else ""
    raise InvalidInput(f"{name}: expected a number above {above:g}{most}, found {brief(value)}")


def real(name: str, value: Any) -> float:
    """Return a real number of any size, infinite and NaN too.

    Raises:
        InvalidInput: it is something else.
    """
    if isinstance(value, float | np.floating | np.integer) or type(value) is int:
        with contextlib.suppress(OverflowError):
            return float(value)
    raise InvalidInput(f"{name}: expected a number, found {brief(value)}")


def share(name: str, value: Any) -> float:
    """Return a number above 0 and at most 1.

    Raises:
        InvalidInput: it is something else.
    """
    return number(name, value, 0.0, 1.0)


def truth(name: str, value: Any) -> bool:
    """Return True or False.

    Raises:
        InvalidInput: it is something else, though Python may take it for one of them.
    """
    if isinstance(value, bool | np.bool_):
        return bool(value)
    raise InvalidInput(f"{name}: expected True or False, found {brief(value)}")


def text(name: str, value: Any) -> str:
    """Return a text that says something and can be written down.

    Raises:
        InvalidInput: it is something else, empty, or no valid Unicode.
    """
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        raise InvalidInput(f"{name}: expected a text that is not empty, found {brief(value)}")
    try:
        value.encode("utf-8", "surrogateescape")  # as bytes stand in paths that are not UTF-8
    except UnicodeEncodeError as error:
        raise InvalidInput(f"{name}: {brief(value)} is not valid Unicode") from error
    return str(value)


def one_of(name: str, value: Any, known: Iterable[str]) -> str:
    """Return one of the words that are known.

    Raises:
        InvalidInput: it is another, or no word.
    """
    words = list(known)
    if isinstance(value, str) and value in words:
        return str(value)
    raise InvalidInput(f"{name}: expected {', '.join(words[:-1])} or {words[-1]}, found {brief(value)}")


def path(name: str, value: Any) -> Path:
    """Return a path that a file can have. An empty text names nothing: it would mean the current folder.

    Raises:
        InvalidInput: it is something else.
    """
    found = os.fspath(value) if isinstance(value, os.PathLike) else value
    if not isinstance(found, str) or not found or "\0" in found:
        raise InvalidInput(f"{name}: expected a path, found {brief(value)}")
    try:
        found.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise InvalidInput(f"{name}: {brief(value)} is not valid Unicode, and no file has such a name") from error
    if len(found) > LONGEST_PATH or max(map(len, found.split("/"))) > LONGEST_NAME:
        raise InvalidInput(f"{name}: {brief(value)} is longer than any file's path or name")
    return Path(found)


def several(name: str, value: Any, check: Callable[[str, Any], T]) -> list[T]:
    """Return a list of what passes a check each.

    Raises:
        InvalidInput: it is no sequence, or one of them does not pass.
    """
    if not isinstance(value, Sequence | np.ndarray | set | frozenset) or isinstance(value, str | bytes | bytearray):
        raise InvalidInput(f"{name}: expected a list, found {brief(value)}")
    if isinstance(value, np.ndarray) and value.ndim != 1:
        raise InvalidInput(f"{name}: expected a list, found an array of shape {list(value.shape)}")
    return [check(name, one) for one in value]


def one_or_several(name: str, value: Any, check: Callable[[str, Any], T]) -> list[T]:
    """Return a list of what passes a check each, or of the one thing that was given without a list.

    Raises:
        InvalidInput: one of them does not pass.
    """
    alone = isinstance(value, str | bytes | os.PathLike) or not isinstance(value, Iterable)
    return [check(name, value)] if alone else several(name, value, check)


def optional(name: str, value: Any, check: Callable[[str, Any], T]) -> T | None:
    """Return None as it is, and anything else as a check returns it."""
    return None if value is None else check(name, value)


def instance(name: str, value: Any, kind: type[T]) -> T:
    """Return what is of a type of ours.

    Raises:
        InvalidInput: it is something else.
    """
    if isinstance(value, kind):
        return value
    raise InvalidInput(f"{name}: expected {kind.__name__}, found {brief(value)}")


def mapping(name: str, value: Any) -> Mapping[Any, Any]:
    """Return a mapping.

    Raises:
        InvalidInput: it is something else.
    """
    if isinstance(value, Mapping):
        return value
    raise InvalidInput(f"{name}: expected a mapping, such as a dict, found {brief(value)}")


def paths(name: str, value: Any) -> list[Path]:
    """Return one path or several as a list.

    Raises:
        InvalidInput: there is none, or one is none.
    """
    found = one_or_several(name, value, path)
    if not found:
        raise InvalidInput(f"{name}: expected at least one path, found none")
    return found


def texts(name: str, value: Any) -> list[str]:
    """Return one text or several as a list; a path is its text.

    Raises:
        InvalidInput: one of them is none.
    """
    return one_or_several(name, value, lambda name, one: text(name, as_text(one)))


def as_text(value: Any) -> Any:
    """Return a path as text, and anything else as it is."""
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def settle(options: Any, **values: Any) -> None:
    """Put checked values into a frozen dataclass that is being made."""
    for name, value in values.items():
        object.__setattr__(options, name, value)


def brief(value: Any) -> str:
    """Return how a value is written, but not a page of it."""
    try:
        written = _BRIEFLY.repr(value)
    except Exception:  # whatever was given may be broken in this way too
        return type(value).__name__
    return written if len(written) <= LONGEST_SHOWN else f"{written[:LONGEST_SHOWN]}… ({type(value).__name__})"
