"""What a long run tells whoever started it, without knowing who that is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from indexers import checks
from indexers.errors import InvalidInput

Advance = Callable[[int], None]


class Listener(Protocol):
    """Hears what a run is doing; the command line draws it, a program may ignore it."""

    def say(self, text: str) -> None:
        """One line worth knowing."""
        ...

    def progress(self, task: str, total: int | None) -> AbstractContextManager[Advance]:
        """Begin a task of `total` steps; the value advances it."""
        ...


class Silent:
    """Listens and says nothing."""

    def say(self, text: str) -> None:
        """Drop the line."""

    @contextmanager
    def progress(self, task: str, total: int | None) -> Iterator[Advance]:
        """Count nothing."""
        yield lambda _steps: None


def as_listener(listener: Listener | None) -> Listener:
    """Return who hears about a run: the listener that was given, or one that says nothing.

    Raises:
        InvalidInput: what was given is no listener.
    """
    if listener is None:
        return Silent()
    if not all(callable(getattr(listener, name, None)) for name in ("say", "progress")):
        raise InvalidInput(f"listener: expected one with say and progress, found {checks.brief(listener)}")
    return listener
