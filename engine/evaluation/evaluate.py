"""Evaluate a collection: every table it has the material for, for every representation of its vectors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np

from engine.collection.snapshot import Snapshot
from engine.encoders.bundled.shipped import open_head
from engine.encoders.headed import require_encoder
from engine.evaluation import captions, collected, filtered, judged, labelled, neighbours, trec
from engine.evaluation.material import TEXTS, TOPICS, Material, gather, spaces_of
from engine.evaluation.options import Evaluable, EvaluateOptions, Evaluation
from engine.evaluation.representations import Representation, represent
from engine.evaluation.rows import Row
from engine.heads.model import Head
from engine.planning.queries import ITEMS, QuerySet
from engine.progress import Advance, Listener, as_listener
from engine.storage.layout import DEFAULT_SPACE
from indexers import checks
from indexers.errors import InvalidInput
from indexers.plan import SearchPlan

NOT_ADAPTIVE = ("random", "full")


def evaluate(
    collection: Evaluable, options: EvaluateOptions | None = None, listener: Listener | None = None
) -> Evaluation:
    """Measure what prefixes of a collection's vectors cost, and what heads buy.

    Example:
        >>> found = engine.evaluate(engine.Collection.open("vectors.nest"), engine.EvaluateOptions(dims=(4, 16)))
        >>> sorted({row.representation for row in found.rows})
        ['full', 'pca', 'random', 'truncation']

    Args:
        collection: an open one.
        options: what to measure.
        listener: hears about progress.

    Returns:
        neighbours always; labels and adaptive retrieval with `labels`; captions where there are some and a text tower;
        graded judgements with `topics` and `qrels`; searches under filters with `filters`.

    Raises:
        InvalidInput: options that do not fit each other or the collection.
        InvalidSpec: the plan names an index the collection does not have.
        ModalityError: texts or topics, and no text tower.
        HeadError: a head that is damaged, or of another encoder.
        SourceError: topics or judgements that cannot be read.
    """
    if not all(hasattr(collection, name) for name in ("snapshot", "encoder")):
        raise InvalidInput(f"collection: expected an open one, found {checks.brief(collection)}")
    options = EvaluateOptions() if options is None else checks.instance("options", options, EvaluateOptions)
    heard = as_listener(listener)
    heads = _heads(collection.snapshot, options)
    searched = None
    if options.filters:
        plan: SearchPlan | None = options.plan  # type: ignore[assignment]  # read when the options were made
        searched = filtered.plans_under_filters(collection.snapshot, plan, options.k)
    material = gather(collection, options, heads, heard)
    rows: list[Row] = []
    for one in _representations(collection.snapshot, material, options, heads):
        with heard.progress(f"measuring {one.name}", None) as advance:
            rows += _measure(one, material, options, advance)
    if searched is not None:
        heard.say("measuring searches under filters")
        sets = [one for one in material.queries if one.name in (ITEMS, TEXTS)]
        rows += filtered.filter_table(*searched, sets, material.rows, options.k)
    return Evaluation(tuple(rows), len(material.rows), int(material.base.shape[1]), options.seed)


def _heads(snapshot: Snapshot, options: EvaluateOptions) -> dict[str, Head]:
    fingerprint = snapshot.manifest.space(DEFAULT_SPACE).fingerprint
    heads: dict[str, Head] = {}
    for path in options.heads:
        if path.stem in heads:
            raise InvalidInput(f"two heads are called {path.stem!r}, and would be one line in the tables: rename one")
        heads[path.stem] = open_head(path)
        require_encoder(heads[path.stem], fingerprint, name=str(path))
    return heads


def _representations(
    snapshot: Snapshot, material: Material, options: EvaluateOptions, heads: Mapping[str, Head]
) -> Iterator[Representation]:
    queries = material.queries
    yield from represent(material.base, queries, names=options.representations, heads=heads, seed=options.seed)
    for name in spaces_of(snapshot, options):
        shown = f"nested:{name}" if snapshot.manifest.space(name).base is not None else f"space:{name}"
        shown = f"{shown} (stored)" if shown.removeprefix("nested:") in heads else shown
        yield collected.stored_space(snapshot, name, material.rows, queries, shown)


def _measure(one: Representation, material: Material, options: EvaluateOptions, advance: Advance) -> list[Row]:
    dims, k, shortlist = material.dims, options.k, options.shortlist
    near = one.asked(ITEMS, TEXTS)
    rows = neighbours.neighbour_table([near], dims, k, shortlist, advance=advance)
    if (judged_items := material.labelled) is not None:
        base = one.base if len(judged_items.rows) == len(one.base) else one.base[judged_items.rows]
        asked = QuerySet(ITEMS, np.ascontiguousarray(base[judged_items.own]), judged_items.own)
        known = replace(one, base=base, queries=(asked,))
        rows += labelled.label_table([known], judged_items.labels, dims, k, advance=advance)
        if one.name not in NOT_ADAPTIVE:
            rows += labelled.adaptive_grid([known], judged_items.labels, dims, k, shortlist, advance=advance)
    if material.caption_of is not None:
        rows += captions.caption_table(
            [one], material.caption_of, dims, options.queries, seed=options.seed, advance=advance
        )
    if (topics := material.topics) is not None:
        folder = options.run_out
        keep = None if folder is None else lambda name, dim, run: trec.write_run(trec.run_file(folder, name, dim), run)
        about = one.asked(TOPICS)
        rows += judged.trec_table([about], topics.ids, topics.documents, topics.qrels, dims, keep=keep, advance=advance)
    return rows
