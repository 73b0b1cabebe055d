"""nestvec by its own name: `import nestvec` is `import engine`, with the very same objects in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import engine

if TYPE_CHECKING:
    from engine import *  # noqa: F403

__all__ = engine.__all__


def __getattr__(name: str) -> Any:
    """Return a public name of `engine`, imported when it is first used."""
    if name not in __all__:
        raise AttributeError(f"module 'nestvec' has no attribute {name!r}")
    return getattr(engine, name)


def __dir__() -> list[str]:
    """Return the public names."""
    return sorted({*globals(), *__all__})
