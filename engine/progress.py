"""What a long run tells whoever started it, without knowing who that is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

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
