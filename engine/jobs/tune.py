"""Tune a space: gather queries of each kind, find the fastest plan that keeps a recall, and store it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from engine.collection import changes
from engine.collection.commit import commit
from engine.collection.manifest import Covering, IndexEntry, Manifest
from engine.collection.plans import BATCH, LATENCIES, CurvePoint, PlanEntry, Tuning
from engine.collection.snapshot import Snapshot
from engine.collection.spaces import map_queries
from engine.encoders.base import Encoder
from engine.jobs import index
from engine.jobs.build import has_room, save_index, save_pruned
from engine.jobs.due import tail_rows
from engine.planning.candidates import Goal
from engine.planning.curve import Point
from engine.planning.filtered import kept_under_filters
from engine.planning.judge import INTERVAL, Judge, make_judge
from engine.planning.prompts import text_sample
from engine.planning.queries import ITEMS, QuerySet
from engine.planning.tune import Outcome, tune
from engine.progress import Listener
from engine.retrieval.searcher import Searcher
from engine.storage.disk import writing
from indexers import checks
from indexers.errors import CommitConflict, InvalidInput
from indexers.families.registry import family
from indexers.plan import EXACT, SearchPlan
from indexers.vectors import FloatArray, as_matrix, normalize

SEED = 0
TO_CHOOSE, TO_VALIDATE = 500, 1000
TEXTS = 1000
# Fewer rows than this are scanned in no time, and are too few to tell plans apart.
FEWEST_ROWS = 1000
FEWEST_QUERIES = 40
RULE_OF_THREE = 3.0
OWN = "queries"


@dataclass(frozen=True)
class TuneOptions:
    """What `tune` is asked for.

    Example:
        >>> vectors = engine.Collection.open("vectors.nest")
        >>> tuning = vectors.tune(engine.TuneOptions(recall=0.9, k=5))
        >>> tuning.target, tuning.k, tuning.rows
        (0.9, 5, 1200)

    Attributes:
        recall: recall@k to keep on every kind of query, more than 0 and at most 1.
        k: answers a query.
        latency: what is to be fast: "batch", many queries at once on all threads, or "single", one on one thread.
        memory: most bytes the index may take; None for any.
        queries: real [m, D], vectors of the space that is tuned, as another kind of query: half of them choose, half
            validate. Or texts, which are encoded.
    """

    recall: float = 0.95
    k: int = 10
    latency: str = BATCH
    memory: int | None = None
    queries: FloatArray | Sequence[str] | None = None

    def __post_init__(self) -> None:
        checks.settle(
            self,
            recall=checks.share("recall", self.recall),
            k=checks.whole("k", self.k),
            latency=checks.one_of("latency", self.latency, LATENCIES),
            memory=checks.optional("memory", self.memory, checks.room),
        )


def tune_space(
    root: Path, space: str, options: TuneOptions, load: Callable[[], Encoder], listener: Listener
) -> tuple[Manifest, Tuning]:
    """Tune a space of the newest version, and commit plan, curve and index.

    Args:
        root: the collection.
        space: whose vectors.
        options: what is wanted.
        load: loads the collection's encoder, for text queries.
        listener: hears about progress.

    Returns:
        the new version, and what is stored in it.

    Raises:
        InvalidInput: options that cannot be meant, or too few rows or queries.
        CommitConflict: the collection was changed meanwhile in a way the index does not fit, or is being added to.
    """
    goal = Goal(options.recall, options.k, options.latency, options.memory)
    with Snapshot.open(root) as snapshot:
        if snapshot.live_rows < FEWEST_ROWS:
            raise InvalidInput(
                f"{root} has {snapshot.live_rows} items: below {FEWEST_ROWS} an exact scan is fast, "
                "and nothing is tuned"
            )
        own = _own_queries(snapshot, space, options, load)
    _index_everything(root, space, load, listener)
    with Snapshot.open(root) as snapshot:
        searcher = Searcher(snapshot, space)
        if len(searcher.tail):
            raise CommitConflict(f"another process is adding to {root}; run tune again when it is done")
        texts = _texts(snapshot, space, load)
        sets = _sets(searcher, texts, own)
        chosen, fresh = _split(sets)
        mask = None if searcher.live.bits is None else searcher.live
        judge, validated = (make_judge(part, options.k, _exactly(searcher), mask) for part in (chosen, fresh))
        listener.say("queries: " + ", ".join(f"{len(one)} {one.name}" for one in chosen))
        # What is validated with must not have shaped the index either.
        found = tune(searcher, goal, judge, validated, _shifted(chosen), listener.say)
        with writing(root):
            pruned = _pruned_for(snapshot, space, searcher, sets, listener)
            change, tuning = _stored(snapshot, space, searcher, options, found, validated, pruned, listener)
            return commit(root, change, operation="tune"), tuning


def _exactly(searcher: Searcher) -> Callable[[FloatArray, int], Any]:
    return lambda xq, k: searcher.search(xq, k, SearchPlan(EXACT))


def _index_everything(root: Path, space: str, load: Callable[[], Encoder], listener: Listener) -> None:
    """Build first where there are rows that no index covers, or that several do: one is chosen for all rows."""
    with Snapshot.open(root) as snapshot:
        left, parts = tail_rows(snapshot.manifest, space), len(snapshot.manifest.space(space).parts)
    if left or parts > 1:
        told = f"{left:,} items are not indexed yet" if left else f"the indexes are in {parts} parts"
        listener.say(f"{told}: building first")
        index.build(root, load(), index.RunOptions(), listener, space=space)


# -- queries ---------------------------------------------------------------------------------


def _texts(snapshot: Snapshot, space: str, load: Callable[[], Encoder]) -> FloatArray | None:
    """Encode captions and plain prompts into a space; None where no text tower leads there."""
    if not snapshot.manifest.is_encoded(space):
        return None
    made = text_sample(load(), snapshot, TEXTS)
    return None if made is None else map_queries(snapshot.root, snapshot.manifest, space, made)


def _own_queries(
    snapshot: Snapshot, space: str, options: TuneOptions, load: Callable[[], Encoder]
) -> FloatArray | None:
    """Return the queries somebody brought, of unit length; None if nobody did."""
    given = options.queries
    if given is None:
        return None
    if (
        not isinstance(given, np.ndarray | Sequence)
        or isinstance(given, str | bytes)
        or (isinstance(given, np.ndarray) and not given.ndim)
    ):
        raise InvalidInput(f"{OWN}: expected vectors [m, D] or texts, found {checks.brief(given)}")
    if len(given) < FEWEST_QUERIES:
        raise InvalidInput(f"{OWN}: expected at least {FEWEST_QUERIES} queries to tune with, found {len(given)}")
    dim = snapshot.manifest.space(space).dim
    if isinstance(given, list | tuple) and given and all(isinstance(one, str) for one in given):
        if not snapshot.manifest.is_encoded(space):
            raise InvalidInput(
                f"the queries are texts, and no encoder makes the vectors of space {space!r}: give vectors"
            )
        encoder = load()
        if "text" not in encoder.modalities:
            raise InvalidInput(f"the queries are texts, and {encoder.fingerprint.model} takes no texts: give vectors")
        made = encoder.encode_texts(list(given))
        return normalize(map_queries(snapshot.root, snapshot.manifest, space, made))
    return normalize(as_matrix(given, name="queries", dim=dim), name="queries")


def _sets(searcher: Searcher, texts: FloatArray | None, own: FloatArray | None) -> list[QuerySet]:
    """Return queries by kind, in random order."""
    rng = np.random.default_rng(SEED)
    live = searcher.live.numbers
    rows = rng.choice(live, min(TO_CHOOSE + TO_VALIDATE, len(live) // 2), replace=False)
    found = [QuerySet(ITEMS, searcher.check_queries(searcher.vectors(rows)), rows)]
    for name, vectors in (("texts", texts), (OWN, own)):
        if vectors is not None:
            # A query that is there twice would be chosen with and validated with.
            vectors = np.unique(vectors, axis=0)
            found.append(QuerySet(name, np.ascontiguousarray(vectors[rng.permutation(len(vectors))])))
    return found


def _split(sets: Sequence[QuerySet]) -> tuple[list[QuerySet], list[QuerySet]]:
    """Split each kind into those a plan is chosen with, a third to a half, and fresh ones."""
    chosen, fresh = [], []
    for one in sets:
        if len(one) < FEWEST_QUERIES:
            raise InvalidInput(f"{one.name}: expected at least {FEWEST_QUERIES} queries to tune with, found {len(one)}")
        half = min(TO_CHOOSE, len(one) // 2)
        chosen.append(one.part(0, half))
        fresh.append(one.part(half, half + TO_VALIDATE))
    return chosen, fresh


def _shifted(sets: Sequence[QuerySet]) -> FloatArray | None:
    """Return all queries that are not items, float32 [m, D]; None where there are none."""
    found = [one.xq for one in sets if one.name != ITEMS]
    return np.concatenate(found) if found else None


# -- storing ---------------------------------------------------------------------------------


def _pruned_for(
    snapshot: Snapshot, space: str, searcher: Searcher, sets: Sequence[QuerySet], listener: Listener
) -> Covering | None:
    """Write the index for exact search anew where somebody said what is searched for; it serves that faster then.

    Its answers are exact whatever it is made for: all queries that are not items shape it, the fresh ones too.
    """
    pruned = snapshot.manifest.space(space).pruned
    store = searcher.first.store
    if pruned is None or searcher.first.pruned is None or not any(one.name == OWN for one in sets):
        return pruned
    if not has_room(store, listener):
        return pruned
    listener.say("building the index for exact search for these queries")
    file = save_pruned(snapshot, space, store, _shifted(sets), listener)
    return changes.cover(snapshot.manifest, file, pruned.span)


def _stored(
    snapshot: Snapshot,
    space: str,
    searcher: Searcher,
    options: TuneOptions,
    found: Outcome,
    fresh: Judge,
    pruned: Covering | None,
    listener: Listener,
) -> tuple[changes.Change, Tuning]:
    """Write the winning index and return the change that makes it and its plan the space's own.

    What the plan keeps under filters is measured in the version as it will be, with fresh queries.
    """
    entry = snapshot.manifest.space(space)
    indexes: tuple[IndexEntry, ...] = ()
    memory = 0
    if found.measured is not None:
        measured = found.measured
        memory = family(measured.spec.family).index_bytes(measured.spec, searcher.rows)
        file = save_index(snapshot.root, space, measured.coarse.index, measured.spec, searcher.rows)
        covering = changes.cover(snapshot.manifest, file, range(len(snapshot.manifest.items)))
        indexes = (IndexEntry(covering, found.measured.spec),)
    tuning = Tuning(
        target=options.recall,
        k=options.k,
        latency=options.latency,
        rows=searcher.live.count,
        memory=memory,
        curve=tuple(_point(point) for point in found.front),
        fresh={
            name: (round(mean, 4), round(_half_interval(error, len(fresh.sets[name])), 4))
            for name, (mean, error) in found.fresh.items()
        },
        queries={name: len(one) for name, one in fresh.sets.items()},
    )
    plan = PlanEntry(found.chosen.plan, options.k, _point(found.chosen).recall, TO_CHOOSE)
    change = partial(changes.tuned, space, entry, indexes, pruned, plan)
    if plan.plan.index != EXACT:
        listener.say("measuring the plan under filters")
        draft = Searcher(Snapshot.draft(snapshot.root, change(tuning)(snapshot.manifest)), space)
        under = kept_under_filters(draft, [*fresh.sets.values()], options.k, plan.plan)
        tuning = replace(tuning, filters=under)
    return change(tuning), tuning


def _half_interval(error: float, queries: int) -> float:
    """Return half a 95 % interval of a recall: by the normal law, and no less than the rule of three.

    Where every one of n queries found everything there is no spread to go by; still 3 in n may miss something.
    """
    return max(INTERVAL * error, RULE_OF_THREE / queries)


def _point(point: Point) -> CurvePoint:
    recall = {name: round(mean, 4) for name, (mean, _) in point.recall.items()}
    return CurvePoint(point.plan, recall, round(point.microseconds, 1), point.read)
