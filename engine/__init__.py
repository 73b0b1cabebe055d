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
    from engine.api import Collection
    from engine.collection.history import Version
    from engine.collection.manifest import Covering, IndexEntry, Manifest, Part, Source, SourceTable, Space, Words
    from engine.collection.plans import Blend, CurvePoint, Cutoff, PlanEntry, Tuning, UnderFilters
    from engine.collection.snapshot import Item, Snapshot
    from engine.encoders.base import Encoder, Fingerprint
    from engine.evaluation.evaluate import evaluate
    from engine.evaluation.options import Evaluable, EvaluateOptions, Evaluation
    from engine.evaluation.rows import Row
    from engine.heads.model import Head, Tower, load_head
    from engine.heads.training.options import TrainOptions
    from engine.ingest.joined import TableOptions
    from engine.ingest.options import EncodeOptions
    from engine.ingest.tables import LabelTable
    from engine.ingest.wanted import WantedOptions
    from engine.jobs.batch import Batch
    from engine.jobs.cutoff import CutoffOptions
    from engine.jobs.examples import ExampleOptions
    from engine.jobs.index import RunOptions
    from engine.jobs.train import train_head
    from engine.jobs.tune import TuneOptions
    from engine.progress import Listener, Loss, Noted, Summary, Taken, Unjoined, Unnamed
    from engine.query.answers import Answer, AnswerList, Answers
    from engine.query.ask import Query
    from engine.query.explain import Explanation, Step
    from engine.query.export.options import Exported, ExportOptions, LeftOut
    from engine.query.reader import Reader
    from engine.query.shape import Shape
    from engine.query.terms import Marks, Term, Terms
    from engine.query.where.tree import Filter
    from engine.retrieval.accelerator import Accelerator
    from engine.retrieval.coarse import Coarse
    from engine.retrieval.route import Routes
    from engine.retrieval.searcher import Searcher
    from engine.retrieval.segment import Segment
    from engine.storage.layout import FileRef
    from indexers.base import IndexSpec, Neighbors
    from indexers.errors import (
        CollectionError,
        CommitConflict,
        CorruptCollection,
        DependencyMissing,
        DiskFull,
        EncoderError,
        EncoderMismatch,
        EncoderNotNamed,
        HeadError,
        InvalidFilter,
        InvalidInput,
        InvalidSpec,
        InvalidVectors,
        ItemNotFound,
        ModalityError,
        NestvecError,
        NotACollection,
        NotEnoughMemory,
        PictureError,
        SourceError,
        UnsupportedFormat,
        WeightsMissing,
    )
    from indexers.mask import Mask
    from indexers.plan import SearchPlan, Stage
    from indexers.probing import Probed, ProbedIndex
    from indexers.pruned import Found, PrunedIndex
    from indexers.store import VectorStore

# Where each public name lies: it is imported when it is first used, and `nestvec --help` needs none of them.
_HOME = {
    "Accelerator": "engine.retrieval.accelerator",
    "Answer": "engine.query.answers",
    "AnswerList": "engine.query.answers",
    "Answers": "engine.query.answers",
    "Batch": "engine.jobs.batch",
    "Blend": "engine.collection.plans",
    "Coarse": "engine.retrieval.coarse",
    "Collection": "engine.api",
    "CollectionError": "indexers.errors",
    "CommitConflict": "indexers.errors",
    "CorruptCollection": "indexers.errors",
    "Covering": "engine.collection.manifest",
    "CurvePoint": "engine.collection.plans",
    "Cutoff": "engine.collection.plans",
    "CutoffOptions": "engine.jobs.cutoff",
    "DependencyMissing": "indexers.errors",
    "DiskFull": "indexers.errors",
    "EncodeOptions": "engine.ingest.options",
    "Encoder": "engine.encoders.base",
    "EncoderError": "indexers.errors",
    "EncoderMismatch": "indexers.errors",
    "EncoderNotNamed": "indexers.errors",
    "Evaluable": "engine.evaluation.options",
    "EvaluateOptions": "engine.evaluation.options",
    "Evaluation": "engine.evaluation.options",
    "ExampleOptions": "engine.jobs.examples",
    "Explanation": "engine.query.explain",
    "ExportOptions": "engine.query.export.options",
    "Exported": "engine.query.export.options",
    "FileRef": "engine.storage.layout",
    "Filter": "engine.query.where.tree",
    "Fingerprint": "engine.encoders.base",
    "Found": "indexers.pruned",
    "Head": "engine.heads.model",
    "HeadError": "indexers.errors",
    "IndexEntry": "engine.collection.manifest",
    "IndexSpec": "indexers.base",
    "InvalidFilter": "indexers.errors",
    "InvalidInput": "indexers.errors",
    "InvalidSpec": "indexers.errors",
    "InvalidVectors": "indexers.errors",
    "Item": "engine.collection.snapshot",
    "ItemNotFound": "indexers.errors",
    "LabelTable": "engine.ingest.tables",
    "LeftOut": "engine.query.export.options",
    "Listener": "engine.progress",
    "Loss": "engine.progress",
    "Manifest": "engine.collection.manifest",
    "Marks": "engine.query.terms",
    "Mask": "indexers.mask",
    "ModalityError": "indexers.errors",
    "Neighbors": "indexers.base",
    "NestvecError": "indexers.errors",
    "NotACollection": "indexers.errors",
    "NotEnoughMemory": "indexers.errors",
    "Noted": "engine.progress",
    "Part": "engine.collection.manifest",
    "PictureError": "indexers.errors",
    "PlanEntry": "engine.collection.plans",
    "Probed": "indexers.probing",
    "ProbedIndex": "indexers.probing",
    "PrunedIndex": "indexers.pruned",
    "Query": "engine.query.ask",
    "Reader": "engine.query.reader",
    "Routes": "engine.retrieval.route",
    "Row": "engine.evaluation.rows",
    "RunOptions": "engine.jobs.index",
    "SearchPlan": "indexers.plan",
    "Searcher": "engine.retrieval.searcher",
    "Segment": "engine.retrieval.segment",
    "Shape": "engine.query.shape",
    "Snapshot": "engine.collection.snapshot",
    "Source": "engine.collection.manifest",
    "SourceError": "indexers.errors",
    "SourceTable": "engine.collection.manifest",
    "Space": "engine.collection.manifest",
    "Stage": "indexers.plan",
    "Step": "engine.query.explain",
    "Summary": "engine.progress",
    "TableOptions": "engine.ingest.joined",
    "Taken": "engine.progress",
    "Term": "engine.query.terms",
    "Terms": "engine.query.terms",
    "Tower": "engine.heads.model",
    "TrainOptions": "engine.heads.training.options",
    "TuneOptions": "engine.jobs.tune",
    "Tuning": "engine.collection.plans",
    "UnderFilters": "engine.collection.plans",
    "Unjoined": "engine.progress",
    "Unnamed": "engine.progress",
    "UnsupportedFormat": "indexers.errors",
    "VectorStore": "indexers.store",
    "Version": "engine.collection.history",
    "WantedOptions": "engine.ingest.wanted",
    "WeightsMissing": "indexers.errors",
    "Words": "engine.collection.manifest",
    "evaluate": "engine.evaluation.evaluate",
    "load_head": "engine.heads.model",
    "train_head": "engine.jobs.train",
}

__all__ = [
    "Accelerator",
    "Answer",
    "AnswerList",
    "Answers",
    "Batch",
    "Blend",
    "Coarse",
    "Collection",
    "CollectionError",
    "CommitConflict",
    "CorruptCollection",
    "Covering",
    "CurvePoint",
    "Cutoff",
    "CutoffOptions",
    "DependencyMissing",
    "DiskFull",
    "EncodeOptions",
    "Encoder",
    "EncoderError",
    "EncoderMismatch",
    "EncoderNotNamed",
    "Evaluable",
    "EvaluateOptions",
    "Evaluation",
    "ExampleOptions",
    "Explanation",
    "ExportOptions",
    "Exported",
    "FileRef",
    "Filter",
    "Fingerprint",
    "Found",
    "Head",
    "HeadError",
    "IndexEntry",
    "IndexSpec",
    "InvalidFilter",
    "InvalidInput",
    "InvalidSpec",
    "InvalidVectors",
    "Item",
    "ItemNotFound",
    "LabelTable",
    "LeftOut",
    "Listener",
    "Loss",
    "Manifest",
    "Marks",
    "Mask",
    "ModalityError",
    "Neighbors",
    "NestvecError",
    "NotACollection",
    "NotEnoughMemory",
    "Noted",
    "Part",
    "PictureError",
    "PlanEntry",
    "Probed",
    "ProbedIndex",
    "PrunedIndex",
    "Query",
    "Reader",
    "Routes",
    "Row",
    "RunOptions",
    "SearchPlan",
    "Searcher",
    "Segment",
    "Shape",
    "Snapshot",
    "Source",
    "SourceError",
    "SourceTable",
    "Space",
    "Stage",
    "Step",
    "Summary",
    "TableOptions",
    "Taken",
    "Term",
    "Terms",
    "Tower",
    "TrainOptions",
    "TuneOptions",
    "Tuning",
    "UnderFilters",
    "Unjoined",
    "Unnamed",
    "UnsupportedFormat",
    "VectorStore",
    "Version",
    "WantedOptions",
    "WeightsMissing",
    "Words",
    "evaluate",
    "load_head",
    "train_head",
]


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name not in _HOME:
        raise AttributeError(f"module 'engine' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    """Return the public names, used before or not."""
    return sorted({*globals(), *__all__})
