"""nestvec: vector search over nested (Matryoshka) representations.

The Python API in five lines::

    import engine

    photos = engine.Collection.open("photos.nest")
    answers = photos.search("a red bicycle", k=5)
    print(answers.scores, answers.uris)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.answers import Answers
    from engine.api import Collection

__all__ = ["Answers", "Collection"]


def __getattr__(name: str) -> Any:
    """Import the API when it is first used: `nestvec --help` needs none of it."""
    if name == "Collection":
        from engine.api import Collection

        return Collection
    if name == "Answers":
        from engine.answers import Answers

        return Answers
    raise AttributeError(f"module 'engine' has no attribute {name!r}")
