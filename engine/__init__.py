"""nestvec: vector search over nested (Matryoshka) representations.

The Python API in five lines::

    import engine

    photos = engine.Collection.open("photos.nest")
    answers = photos.search("a red bicycle", k=5)
    print(answers.scores, answers.uris)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import indexers  # noqa: F401 - before NumPy is: it says how long NumPy's threads wait for work

if TYPE_CHECKING:
    from engine.answers import AnswerList, Answers
    from engine.api import Collection
    from engine.evaluation.evaluate import evaluate
    from engine.evaluation.options import EvaluateOptions
    from engine.heads.model import Head, load_head
    from engine.heads.options import TrainOptions
    from engine.ingest.examples import ExampleOptions
    from engine.ingest.train import train_head
    from engine.ingest.tune import TuneOptions

# Where each public name lies: it is imported when it is first used, and `nestvec --help` needs none of them.
_HOME = {
    "AnswerList": "engine.answers",
    "Answers": "engine.answers",
    "Collection": "engine.api",
    "EvaluateOptions": "engine.evaluation.options",
    "ExampleOptions": "engine.ingest.examples",
    "Head": "engine.heads.model",
    "TrainOptions": "engine.heads.options",
    "TuneOptions": "engine.ingest.tune",
    "evaluate": "engine.evaluation.evaluate",
    "load_head": "engine.heads.model",
    "train_head": "engine.ingest.train",
}

__all__ = [
    "AnswerList",
    "Answers",
    "Collection",
    "EvaluateOptions",
    "ExampleOptions",
    "Head",
    "TrainOptions",
    "TuneOptions",
    "evaluate",
    "load_head",
    "train_head",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name not in _HOME:
        raise AttributeError(f"module 'engine' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
