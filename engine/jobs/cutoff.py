"""Find from where on answers are relevant: split-conformal calibration with captions or judgements.

Of each query one relevant item is drawn, and how much evidence there is of it beside rows at random. What the l-th
least of n such numbers is, is exceeded by that of a fresh query and an item relevant to it with a probability of
1 − l / (n + 1) or more, whatever their distribution (Vovk et al. 2005); of one calibration that share has the
distribution Beta(n + 1 − l, l) (Vovk 2012), from which its interval is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from engine.collection import changes
from engine.collection.commit import commit
from engine.collection.manifest import Manifest
from engine.collection.plans import Cutoff
from engine.collection.snapshot import Snapshot
from engine.collection.spaces import map_queries
from engine.encoders.base import Encoder, require_modality
from engine.evaluation.collected import captions, documents
from engine.evaluation.graded import Qrels
from engine.progress import Listener
from engine.query.chance import FEWEST, beside
from engine.retrieval.searcher import Searcher
from engine.storage.disk import writing
from indexers import checks
from indexers.errors import InvalidInput
from indexers.vectors import IdArray

SEED = 0
MOST_QUERIES, FEWEST_QUERIES = 2000, 40
TAILS = 0.025
"""What lies outside of the interval on each side."""

CAPTIONS, QRELS = "captions", "qrels"


@dataclass(frozen=True)
class CutoffOptions:
    """What `tune_cutoff` is asked for.

    Example:
        >>> engine.CutoffOptions(share=0.9)
        CutoffOptions(share=0.9, topics=None, qrels=None)

    Attributes:
        share: of what is relevant to fresh queries, so much is to be kept; more than 0 and less than 1.
        topics: texts by query id, with `qrels`.
        qrels: judgements: query id → item, by path or id → grade, of which those above 0 are relevant. Without them an
            item is relevant to its own caption.
    """

    share: float = 0.95
    topics: Mapping[str, str] | None = None
    qrels: Qrels | None = None

    def __post_init__(self) -> None:
        checks.settle(
            self,
            share=checks.share("share", self.share),
            topics=checks.optional("topics", self.topics, _texts),
            qrels=checks.optional("qrels", self.qrels, _judged),
        )
        if self.share >= 1:
            raise InvalidInput("share: less than 1 is needed: all that is relevant is kept without a cut-off")
        if (self.topics is None) != (self.qrels is None):
            raise InvalidInput("topics and qrels belong together: texts by query id, and what is relevant to each")


def _texts(name: str, given: Any) -> dict[str, str]:
    found = checks.mapping(name, given)
    return {checks.text(name, query): checks.text(name, text) for query, text in found.items()}


def _judged(name: str, given: Any) -> dict[str, dict[str, int]]:
    return {
        checks.text(name, query): {
            checks.text(name, item): checks.signed(name, grade) for item, grade in checks.mapping(name, judged).items()
        }
        for query, judged in checks.mapping(name, given).items()
    }


def find_cutoff(
    root: Path, space: str, options: CutoffOptions, load: Callable[[], Encoder], listener: Listener
) -> tuple[Manifest, Cutoff]:
    """Find the cut-off of a space of the newest version, and commit it.

    Args:
        root: the collection.
        space: whose vectors.
        options: what is wanted.
        load: loads the collection's encoder.
        listener: hears about progress.

    Raises:
        InvalidInput: too few items, or too few queries for such a share; or no texts lead to this space.
        ModalityError: the encoder takes no texts.
    """
    with Snapshot.open(root) as snapshot:
        if not snapshot.manifest.is_encoded(space):
            raise InvalidInput(f"no encoder makes the vectors of space {space!r}: nothing that texts go through")
        if snapshot.live_rows < FEWEST:
            raise InvalidInput(f"{root} has {snapshot.live_rows} items: nothing can be said below {FEWEST}")
        texts, relevant = _asked(snapshot, options)
        fewest = max(FEWEST_QUERIES, math.ceil(1 / (1 - options.share)) - 1)
        if len(texts) < fewest:
            raise InvalidInput(
                f"a share of {options.share:g} needs {fewest} queries with a relevant item each, found {len(texts)}: "
                "captions of the items are such, or topics with qrels"
            )
        listener.say(f"{len(texts):,} queries, each with an item that is relevant to it")
        found = _evidence(snapshot, space, texts, relevant, load())
        cutoff = conformal(found, options.share, CAPTIONS if options.qrels is None else QRELS)
    with writing(root):
        return commit(root, changes.found_out(root, space, cutoff=cutoff), operation="tune"), cutoff


def _asked(snapshot: Snapshot, options: CutoffOptions) -> tuple[list[str], list[int]]:
    """Return texts, and of each the row of an item that is relevant to it."""
    rng, rows = np.random.default_rng(SEED), snapshot.live.numbers
    texts: Sequence[str]
    if options.topics is None or options.qrels is None:
        texts, number = captions(snapshot, rows)
        order = rng.permutation(len(rows))  # of several items with one caption any may be drawn
        relevant = {int(number[at]): int(rows[at]) for at in order if number[at] >= 0}
        pairs = [(texts[at], relevant[at]) for at in sorted(relevant)]
    else:
        names, _ = documents(snapshot, rows, options.qrels)
        row_of = dict(zip(names, rows.tolist(), strict=True))
        pairs = []
        for query, text in options.topics.items():
            judged = options.qrels.get(query, {})
            right = [row_of[one] for one, grade in sorted(judged.items()) if grade > 0 and one in row_of]
            if right:
                pairs.append((text, right[rng.integers(len(right))]))
    drawn = [pairs[at] for at in rng.permutation(len(pairs))[:MOST_QUERIES]]
    return [text for text, _ in drawn], [row for _, row in drawn]


def _evidence(
    snapshot: Snapshot, space: str, texts: Sequence[str], relevant: Sequence[int], encoder: Encoder
) -> list[float]:
    require_modality(encoder, "text")
    searcher = Searcher(snapshot, space)
    made = map_queries(snapshot.root, snapshot.manifest, space, encoder.encode_texts(list(texts)))
    rows: IdArray = np.array(relevant, np.int64)
    found = []
    for q, row in zip(searcher.check_queries(made), rows, strict=True):
        one = beside(searcher, q)
        if one is None:
            raise InvalidInput(f"the items of {snapshot.root} are all alike: nothing can be said of any")
        found.append(float(one.evidence(searcher.vectors([row]))[0]))
    return found


def conformal(evidence: Sequence[float], share: float, kind: str) -> Cutoff:
    """Return the cut-off that keeps a share of fresh ones like these; there are enough of them for it."""
    n = len(evidence)
    left_out = max(1, math.floor((1 - share) * (n + 1) + 1e-9))
    low, high = (_beta_quantile(n + 1 - left_out, left_out, part) for part in (TAILS, 1 - TAILS))
    return Cutoff(float(np.sort(evidence)[left_out - 1]), share, round(low, 4), round(high, 4), n, kind)


def _beta_quantile(a: int, b: int, part: float) -> float:
    """Return the quantile of Beta(a, b) of whole numbers, whose distribution is a binomial's."""
    n = a + b - 1
    ways = [math.lgamma(n + 1) - math.lgamma(i + 1) - math.lgamma(n - i + 1) for i in range(n + 1)]
    low, high = 0.0, 1.0
    for _ in range(50):
        x = (low + high) / 2
        below = math.fsum(math.exp(ways[i] + i * math.log(x) + (n - i) * math.log1p(-x)) for i in range(a, n + 1))
        low, high = (x, high) if below < part else (low, x)
    return (low + high) / 2
