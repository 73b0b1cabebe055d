"""Everything that is read and drawn before anything is measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from engine.collection.snapshot import Snapshot
from engine.encoders.base import Fingerprint, require_modality, require_same
from engine.encoders.headed import HeadedEncoder
from engine.evaluation import captions, collected, neighbours, trec
from engine.evaluation.few import FEWEST, check_enough, check_some_left_out, too_few, warn_of_few
from engine.evaluation.graded import Qrels
from engine.evaluation.options import Evaluable, EvaluateOptions
from engine.evaluation.representations import check_dims, default_dims, sample_items
from engine.heads.model import Head
from engine.planning.queries import QuerySet
from engine.progress import Listener
from engine.storage.layout import DEFAULT_SPACE
from indexers.errors import EncoderError, InvalidInput, did_you_mean
from indexers.vectors import FloatArray, IdArray

TEXTS_AT_ONCE = 256
TEXTS, TOPICS = "texts", "topics"


@dataclass(frozen=True)
class Labelled:
    """Labels of the items that have one."""

    rows: IdArray
    labels: Sequence[str]
    own: IdArray


@dataclass(frozen=True)
class Topics:
    """Topics that are judged, and what the judgements call the items."""

    ids: Sequence[str]
    documents: Sequence[str]
    qrels: Qrels


@dataclass(frozen=True)
class Material:
    """Everything that is drawn and read before anything is measured."""

    rows: IdArray
    base: FloatArray
    dims: Sequence[int]
    queries: Sequence[QuerySet]
    labelled: Labelled | None
    caption_of: IdArray | None
    topics: Topics | None


def spaces_of(snapshot: Snapshot, options: EvaluateOptions) -> list[str]:
    """Return the spaces that are measured beside the main one."""
    if options.spaces is not None:
        return list(dict.fromkeys(options.spaces))
    manifest = snapshot.manifest
    return [name for name in manifest.spaces if name != DEFAULT_SPACE and manifest.is_encoded(name)]


def gather(collection: Evaluable, options: EvaluateOptions, heads: Mapping[str, Head], heard: Listener) -> Material:
    """Check the options against the collection, from what is cheap to check to what is not, and draw the queries."""
    snapshot = collection.snapshot
    space = snapshot.manifest.space(DEFAULT_SPACE)
    dims = _dims(snapshot, options, heads)
    neighbours.check_cuts(options.k, options.shortlist)
    rows = snapshot.live.numbers
    if len(rows) < 2:
        raise InvalidInput(f"{snapshot.root} has {len(rows)} items, and an evaluation needs at least two")
    check_enough(min(options.queries, len(rows)), "items", heard)
    check_some_left_out(options.k, options.shortlist, len(rows), heard)
    known = [*snapshot.manifest.spaces]
    if wrong := [name for name in spaces_of(snapshot, options) if name not in known]:
        raise InvalidInput(
            f"{snapshot.root} has no space {wrong[0]!r}; it has {', '.join(known)}{did_you_mean(wrong[0], known)}"
        )
    labels = _labelled(snapshot, rows, options)
    if labels is not None:
        check_enough(len(labels.own), f"items with a label in {options.labels!r}", heard)
    if options.texts is not None:
        check_enough(len(options.texts), TEXTS, heard)
    topics, topic_texts = _topics(snapshot, rows, options, heard)
    asks = options.use_texts or options.texts is not None or topics is not None
    encode = Texts(collection, space.fingerprint, heard) if asks else None
    base = collected.live_vectors(snapshot, DEFAULT_SPACE, rows)
    queries = [sample_items(base, options.queries, options.seed)]
    caption_of = None
    if options.use_texts and encode is not None:
        caption_of = _captions(snapshot, rows, options, encode, queries, heard)
    if options.texts is not None and encode is not None:
        queries.append(QuerySet(TEXTS, encode(options.texts, "texts"), None, "queries"))
    if topics is not None and encode is not None:
        queries.append(QuerySet(TOPICS, encode(topic_texts, "topics"), None, "queries"))
    return Material(rows, base, dims, queries, labels, caption_of, topics)


def _dims(snapshot: Snapshot, options: EvaluateOptions, heads: Mapping[str, Head]) -> list[int]:
    space = snapshot.manifest.space(DEFAULT_SPACE)
    if options.dims is not None:
        return check_dims(options.dims, space.dim)
    spaces = [
        space,
        *(snapshot.manifest.spaces[name] for name in spaces_of(snapshot, options) if name in snapshot.manifest.spaces),
    ]
    trained = [d for one in spaces for d in one.fingerprint.trained_dims]
    return default_dims(space.dim, [*trained, *(d for head in heads.values() for d in head.dims)])


def _labelled(snapshot: Snapshot, rows: IdArray, options: EvaluateOptions) -> Labelled | None:
    if options.labels is None:
        return None
    values = collected.column(snapshot, options.labels, rows)
    known = np.array([at for at, value in enumerate(values) if value is not None and value != ""], dtype=np.int64)
    # As texts: shards may hold a column in several types, and classes are names.
    labels = [str(values[at]) for at in known]
    if len(set(labels)) < 2:
        raise InvalidInput(
            f"column {options.labels!r} of {snapshot.root}: expected labels of two classes or more, found "
            f"{len(set(labels))} in {len(known)} items that have one"
        )
    if len(set(labels)) == len(labels):
        raise InvalidInput(
            f"column {options.labels!r} of {snapshot.root} is different for every item: expected classes with several"
        )
    drawn = np.random.default_rng(options.seed).choice(len(known), min(options.queries, len(known)), replace=False)
    return Labelled(known, labels, np.sort(drawn).astype(np.int64))


def _topics(
    snapshot: Snapshot, rows: IdArray, options: EvaluateOptions, heard: Listener
) -> tuple[Topics | None, list[str]]:
    if (options.topics is None) != (options.qrels is None):
        raise InvalidInput("topics and qrels belong together: give both, or neither")
    if options.topics is None or options.qrels is None:
        if options.run_out is not None:
            raise InvalidInput("run files are written for topics: give topics and qrels as well")
        return None, []
    topics, qrels = trec.read_topics(options.topics), trec.read_qrels(options.qrels)
    ids = trec.common(topics, qrels, str(options.topics))
    warn_of_few(len(ids), "judged topics", heard)
    names, absent = collected.documents(snapshot, rows, qrels)
    if absent:
        heard.say(f"{absent} judged documents are not in the collection, and count as not found")
    if missing := len(qrels) - len(ids):
        heard.say(f"{missing} judged queries have no topic, and count as found nothing")
    return Topics(ids, names, qrels), [topics[one] for one in ids]


def _captions(
    snapshot: Snapshot,
    rows: IdArray,
    options: EvaluateOptions,
    encode: Texts,
    queries: list[QuerySet],
    heard: Listener,
) -> IdArray | None:
    """Add the captions to the queries, where there are enough and something can encode them."""
    distinct, caption_of = collected.captions(snapshot, rows)
    asked = min(options.queries, len(distinct))
    try:
        if not distinct or not encode.possible:
            return None
        if asked < FEWEST:
            heard.say(f"left out, {too_few(asked, 'different captions')}")
            return None
        check_enough(asked, "different captions", heard)
        vectors = encode(distinct, "captions")
    except EncoderError as error:
        raise type(error)(f"{error}. To leave the captions out: --no-texts, or use_texts=False") from error
    queries.append(QuerySet(captions.CAPTIONS, vectors, None, "queries"))
    if options.texts is None:
        asking, _ = captions.draw(caption_of, options.queries, options.seed)
        queries.append(QuerySet(TEXTS, np.ascontiguousarray(vectors[asking]), None, "queries"))
    return caption_of


class Texts:
    """Encodes texts into the main space."""

    def __init__(self, collection: Evaluable, wanted: Fingerprint, heard: Listener) -> None:
        self._collection = collection
        self._wanted = wanted
        self._heard = heard

    @property
    def possible(self) -> bool:
        """Whether the encoder has a text tower."""
        return "text" in self._collection.encoder.modalities

    def __call__(self, texts: Sequence[str], what: str) -> FloatArray:
        """Return unit float32 [n, D] for n ≥ 1 texts, called `what` where progress is drawn."""
        encoder = self._collection.encoder
        require_modality(encoder, "text")
        if blank := [at for at, text in enumerate(texts) if not text.strip()]:
            raise InvalidInput(f"{what}: expected texts to ask with, found an empty one (number {blank[0]})")
        # A collection whose default space is derived encodes into that one.
        while isinstance(encoder, HeadedEncoder) and encoder.fingerprint != self._wanted:
            encoder = encoder.base
        require_same(self._wanted, encoder.fingerprint, where="the collection")
        parts = []
        with self._heard.progress(f"encoding {what}", len(texts)) as advance:
            for start in range(0, len(texts), TEXTS_AT_ONCE):
                part = list(texts[start : start + TEXTS_AT_ONCE])
                parts.append(encoder.encode_texts(part))
                advance(len(part))
        return np.concatenate(parts)
