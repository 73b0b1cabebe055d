"""What is asked of an evaluation, of what, and what it gives back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from engine.collection.snapshot import Snapshot
from engine.encoders.base import Encoder
from engine.evaluation.representations import PLAIN
from engine.evaluation.rows import Row
from indexers import checks
from indexers.errors import InvalidInput
from indexers.plan import SearchPlan, as_plan

FILES = ("topics", "qrels", "run_out")


class Evaluable(Protocol):
    """What is evaluated: `engine.api.Collection` is such.

    Example:
        >>> engine.evaluate(engine.Collection.open("vectors.nest"), engine.EvaluateOptions(dims=(16,))).items
        1200
    """

    @property
    def snapshot(self) -> Snapshot:
        """The version."""
        ...

    @property
    def encoder(self) -> Encoder:
        """What encodes queries into it; asked for only where there are texts."""
        ...


@dataclass(frozen=True)
class EvaluateOptions:
    """What to measure.

    Example:
        >>> options = engine.EvaluateOptions(dims=(4, 16), labels="kind", queries=100, seed=3)
        >>> found = engine.evaluate(engine.Collection.open("vectors.nest"), options)
        >>> sorted({row.table for row in found.rows})
        ['adaptive', 'labels', 'neighbours']

    Attributes:
        dims: prefix dimensions; powers of two from 8 up, the trained ones and D if None.
        k: neighbours to find, and answers judged by label.
        shortlist: R, candidates of a rerank.
        queries: how many items, texts and captions are drawn to ask with.
        labels: a column of the items, or "caption", that says what class one is of; None for no such tables.
        texts: text queries for the neighbours instead of captions.
        use_texts: whether captions are asked with, where there are some and the encoder has a text tower.
        representations: which of `representations.PLAIN`.
        heads: files of heads to try on the main vectors.
        spaces: spaces to measure beside the main one; all that are derived from it if None.
        topics: file of TREC topics, with `qrels`.
        qrels: file of graded judgements.
        run_out: folder for a run file of each representation and prefix.
        seed: of every draw.
        filters: whether searches under filters are measured too, random ones, near and far ones and those of tags.
        plan: a plan to measure under them beside the exact search that a filter gets.
    """

    dims: Sequence[int] | None = None
    k: int = 10
    shortlist: int = 100
    queries: int = 1000
    labels: str | None = None
    texts: Sequence[str] | None = None
    use_texts: bool = True
    representations: Sequence[str] = PLAIN
    heads: Sequence[Path] = ()
    spaces: Sequence[str] | None = None
    topics: Path | None = None
    qrels: Path | None = None
    run_out: Path | None = None
    seed: int = 0
    filters: bool = False
    plan: SearchPlan | str | None = None

    def __post_init__(self) -> None:
        several: dict[str, Callable[[str, Any], Any]] = {
            "dims": checks.whole,
            "texts": checks.text,
            "spaces": checks.text,
        }
        checks.settle(
            self,
            **{name: checks.whole(name, getattr(self, name)) for name in ("k", "shortlist", "queries")},
            **{name: checks.optional(name, getattr(self, name), checks.path) for name in FILES},
            **{name: checks.optional(name, getattr(self, name), _listed(check)) for name, check in several.items()},
            labels=checks.optional("labels", self.labels, checks.text),
            use_texts=checks.truth("use_texts", self.use_texts),
            representations=checks.several("representations", self.representations, checks.text),
            heads=checks.several("heads", self.heads, checks.path),
            seed=checks.whole("seed", self.seed, 0, checks.MOST_SEED),
            filters=checks.truth("filters", self.filters),
            plan=checks.optional("plan", self.plan, as_plan),
        )
        if self.plan is not None and not self.filters:
            raise InvalidInput("a plan is measured under filters: ask for these as well")


def _listed(check: Callable[[str, Any], Any]) -> Callable[[str, Any], list[Any]]:
    return partial(checks.several, check=check)


@dataclass(frozen=True)
class Evaluation:
    """What was measured.

    Example:
        >>> found = engine.evaluate(engine.Collection.open("vectors.nest"), engine.EvaluateOptions(dims=(16,), k=5))
        >>> found.items, found.dim, len(found.rows)
        (1200, 32, 8)

    Attributes:
        rows: every figure.
        items: live items, all of which were searched.
        dim: D of the main vectors.
        seed: of every draw.
    """

    rows: tuple[Row, ...]
    items: int
    dim: int
    seed: int
