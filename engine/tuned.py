"""A collection whose ways to answer are found by measuring: plans, what words count, where nothing is relevant."""

from __future__ import annotations

from pathlib import Path

from engine.collection.plans import Blend, Cutoff, Tuning
from engine.encoders.base import Encoder
from engine.jobs import blend
from engine.jobs.cutoff import CutoffOptions, find_cutoff
from engine.jobs.tune import TuneOptions, tune_space
from engine.progress import Listener, as_listener
from engine.query.reader import Reader
from indexers import checks


class Tuned(Reader):
    """What `Collection` finds out about itself, and searches by from then on."""

    def tune(self, options: TuneOptions | None = None, listener: Listener | None = None) -> Tuning:
        """Find the fastest plan that keeps a recall, on this data and for its queries, and search by it from now on.

        Example:
            >>> vectors = engine.Collection.open("vectors.nest")
            >>> vectors.tune(engine.TuneOptions(recall=0.9)).fresh  # recall, and half of its 95 % interval
            {'items': (..., ...)}

        Args:
            options: recall, k, what is to be fast, queries of your own.
            listener: hears about progress.

        Raises:
            InvalidInput: see `jobs.tune.tune_space`.
        """
        goal = TuneOptions() if options is None else checks.instance("options", options, TuneOptions)
        _, found = tune_space(self.root, self.space_name, goal, self._main, as_listener(listener))
        self.refresh()
        return found

    def tune_cutoff(self, options: CutoffOptions | None = None, listener: Listener | None = None) -> Cutoff:
        """Find from where on answers are relevant, by captions or judgements; `at_least="auto"` cuts there from now on.

        Example:
            >>> try:
            ...     engine.Collection.open("photos.nest").tune_cutoff()
            ... except engine.InvalidInput as error:
            ...     print(error)
            photos.nest has 3... items: nothing can be said below 100

        Args:
            options: the share of what is relevant to keep, judgements of your own.
            listener: hears about progress.

        Raises:
            InvalidInput: see `jobs.cutoff.find_cutoff`.
        """
        wanted = CutoffOptions() if options is None else checks.instance("options", options, CutoffOptions)
        _, found = find_cutoff(self.root, self.space_name, wanted, self._main, as_listener(listener))
        self.refresh()
        return found

    def tune_words(self, topics: str | Path, qrels: str | Path, listener: Listener | None = None) -> Blend:
        """Find what words count beside vectors, and search by it from now on; see `jobs.blend.tune_blend`.

        Args:
            topics: a file of TREC topics, id and text with a tab between.
            qrels: a file of judgements, `qid 0 docno grade`, of items by path or id.
            listener: hears about progress.

        Raises:
            SourceError, InvalidInput: the files cannot be read, or do not fit together.
        """
        files = checks.path("topics", topics), checks.path("qrels", qrels)
        found = blend.tune_blend(self, *files, as_listener(listener))
        self.refresh()
        return found

    def _main(self) -> Encoder:
        """Return what encodes pictures that are added, loaded the first time."""
        return self._encoders.main(self.snapshot)
