"""The Python API: open a collection, add to it, search it, read what was found."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from numbers import Integral
from pathlib import Path
from typing import Any

import numpy as np

from engine.answers import Answers, answer, as_items, find
from engine.collection.commit import current_version
from engine.collection.manifest import Space
from engine.collection.paths import shown
from engine.collection.snapshot import Snapshot
from engine.encoders.base import Encoder, require_modality
from engine.ingest import arrays, maintain, run
from engine.ingest.derive import BuildOptions
from engine.ingest.pictures import DEFAULT_MAX_PIXELS, decode_picture
from engine.ingest.report import Listener, Silent, Summary
from engine.ingest.run import RunOptions
from engine.retrieval.explain import Explanation, explain
from engine.retrieval.searcher import Searcher
from indexers.base import IndexSpec, Neighbors
from indexers.errors import EncoderError, InvalidInput, PictureError
from indexers.plan import EXACT, SearchPlan
from indexers.vectors import FloatArray

Paths = str | Path | Sequence[str | Path]


class Collection:
    """A searchable collection on disk.

    One open collection answers one version, from many threads at once; `refresh` moves on to the newest.

    Example:
        >>> import engine
        >>> photos = engine.Collection.open("photos.nest")
        >>> photos.search("a red bicycle", k=5).uris
        >>> photos.similar("photo.jpg", k=5).scores
    """

    def __init__(self, root: Path, *, device: str = "auto", encoder: Encoder | None = None) -> None:
        self.root = root
        self._device = device
        self._encoder = encoder
        self._lock = threading.Lock()
        self._state: tuple[Snapshot, Searcher | None] = (Snapshot.open(root), None)

    @classmethod
    def open(cls, path: str | Path, *, device: str = "auto") -> Collection:
        """Open the newest version of a collection.

        Args:
            path: its directory.
            device: where queries are encoded: "auto", "cpu", "cuda" or "mps".

        Raises:
            NotACollection: there is none there.
            CorruptCollection: its newest version is damaged.
        """
        return cls(Path(path), device=device)

    @classmethod
    def create(
        cls,
        path: str | Path,
        *,
        encoder: str = run.DEFAULT_ENCODER,
        dim: int | None = None,
        dtype: str = "float16",
        device: str = "auto",
    ) -> Collection:
        """Make an empty collection.

        Args:
            path: a directory that does not exist yet, or is empty.
            encoder: spec, see `nestvec encoders`; "precomputed" for vectors of your own.
            dim: their dimension, for "precomputed" only.
            dtype: how vectors are stored, "float16" or "float32".
            device: where pictures and queries are encoded.

        Raises:
            CollectionError: the directory is not empty.
            InvalidSpec: no such encoder.
        """
        from engine.encoders.registry import load_encoder

        loaded = load_encoder(encoder, device=device, dim=dim)
        run.create(Path(path), loaded, dtype=dtype)
        return cls(Path(path), device=device, encoder=loaded)

    def close(self) -> None:
        """Let the version go."""
        self._state[0].close()

    def __enter__(self) -> Collection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        return self.snapshot.live_rows

    # -- what is open --------------------------------------------------------------------

    @property
    def snapshot(self) -> Snapshot:
        """The version that is open."""
        return self._state[0]

    @property
    def version(self) -> int:
        """Its number."""
        return self.snapshot.manifest.version

    @property
    def space(self) -> Space:
        """Encoder, dimension, indexes and plans of its vectors."""
        return self.snapshot.manifest.space()

    @property
    def encoder(self) -> Encoder:
        """The collection's encoder, loaded the first time."""
        if self._encoder is None:
            with self._lock:
                if self._encoder is None:
                    self._encoder = run.encoder_of(self.space, wanted=None, pool=None, device=self._device)
        return self._encoder

    @property
    def searcher(self) -> Searcher:
        """Search by row numbers, below ids and items."""
        return self._pair()[1]

    def _pair(self) -> tuple[Snapshot, Searcher]:
        """Return the open version and its searcher, which always belong together."""
        snapshot, searcher = self._state
        if searcher is None:
            with self._lock:
                snapshot, searcher = self._state
                if searcher is None:
                    searcher = Searcher(snapshot)
                    self._state = (snapshot, searcher)
        return snapshot, searcher

    def refresh(self) -> bool:
        """Move to the newest version; answers already given keep theirs.

        Returns:
            whether there was a newer one.
        """
        if current_version(self.root) == self.version:
            return False
        with self._lock:
            self._state = (Snapshot.open(self.root), None)
        return True

    # -- changing it ---------------------------------------------------------------------

    def index(self, sources: Paths, options: RunOptions | None = None, listener: Listener | None = None) -> Summary:
        """Bring the collection in line with sources and build indexes; see `ingest.run.index`."""
        return self._changed(run.index(self.root, _paths(sources), self._options(options), listener))

    def add(self, sources: Paths, options: RunOptions | None = None, listener: Listener | None = None) -> Summary:
        """Add what is new or changed in sources; see `ingest.run.add`."""
        return self._changed(run.add(self.root, _paths(sources), self._options(options), listener))

    def add_vectors(
        self,
        vectors: Any,
        *,
        names: Sequence[str] | None = None,
        captions: Sequence[str | None] | None = None,
        meta: Sequence[dict[str, Any]] | None = None,
        source: str = "api",
    ) -> Summary:
        """Add vectors that this collection's encoder made.

        Args:
            vectors: real [n, D]; normalised here.
            names: unique in `source`; a name that is there already is replaced. Made from the vectors if None.
            captions: a text for each.
            meta: columns for each.
            source: what the names are unique in.

        Raises:
            InvalidVectors: not a matrix of D columns. A row that is zero or not finite is only
                counted as failed.
            InvalidInput: names, captions or columns that do not fit, or a `source` of pictures.
        """
        rows = arrays.ArrayListing(source, vectors, names, captions, meta, dim=self.space.dim)
        if any(one.name == source and one.kind != "vectors" for one in self.snapshot.manifest.sources):
            raise InvalidInput(f"source {source!r} is a source of pictures; choose another name")
        options = self._options(None)
        return self._changed(run.add_listing(self.root, rows, self.encoder, options))

    def build(self, specs: Sequence[str | IndexSpec] | None = None, listener: Listener | None = None) -> Summary:
        """Build indexes now, over every row.

        Args:
            specs: such as "ivf-pq@128" or "flat@64"; chosen for the encoder and size if None.
            listener: hears about progress.
        """
        wanted = None if specs is None else [s if isinstance(s, IndexSpec) else IndexSpec.parse(s) for s in specs]
        options = replace(self._options(None), specs=wanted, rebuild=True)
        manifest = run.finish(self.root, self.encoder, options, listener or Silent())
        return self._changed(Summary(version=manifest.version))

    def remove(self, paths: Sequence[str] = (), *, ids: Sequence[int] = (), below: Sequence[str] = ()) -> Summary:
        """Take items out; see `ingest.maintain.remove`. One path or folder may be given as it is."""
        paths, below = ([one] if isinstance(one, str) else one for one in (paths, below))
        return self._changed(maintain.remove(self.root, paths, ids=ids, below=below))

    def compact(self, listener: Listener | None = None) -> Summary:
        """Rewrite shards and indexes without what was removed."""
        heard = listener or Silent()
        try:
            options = run.build_options(self.encoder, self.snapshot, self._options(None))
        except EncoderError as error:
            heard.say(f"the plan is chosen without text queries: {error}")
            options = BuildOptions()
        return self._changed(maintain.compact(self.root, options, heard))

    def _options(self, options: RunOptions | None) -> RunOptions:
        return options or RunOptions(device=self._device)

    def _changed(self, summary: Summary) -> Summary:
        self.refresh()
        return summary

    # -- searching -----------------------------------------------------------------------

    def search(
        self,
        query: str | Sequence[str] | Any,
        k: int = 10,
        *,
        plan: str | SearchPlan | None = None,
        dim: int | None = None,
        exact: bool = False,
    ) -> Any:
        """Find the items that match texts or vectors best.

        Args:
            query: a text, a sequence of texts, or vectors [nq, D] (or one, [D]).
            k: answers a query.
            plan: how; the collection's default if None.
            dim: stop at this prefix.
            exact: scan everything instead.

        Returns:
            Answers for one text or a 1-D vector, a list of Answers for several.

        Raises:
            ModalityError: a text, and the encoder has no text tower.
            InvalidVectors: vectors of another dimension, or with NaN.
        """
        if isinstance(query, str):
            return self.search([query], k, plan=plan, dim=dim, exact=exact)[0]
        if isinstance(query, list | tuple) and not query:
            return []
        texts = isinstance(query, list | tuple) and bool(query) and all(isinstance(one, str) for one in query)
        if texts:
            xq, names = self.encode_texts(query), list(query)
        else:
            xq = np.asarray(query)
            names = [None] * (1 if xq.ndim == 1 else len(xq))
        answers = self._answers(self._pair(), xq, names, k, self._plan(plan, exact), dim)
        return answers[0] if not texts and xq.ndim == 1 else answers

    def encode_texts(self, texts: Sequence[str]) -> FloatArray:
        """Encode query texts, unit float32 [n, D].

        Raises:
            ModalityError: the encoder has no text tower.
            InvalidInput: a text is empty.
        """
        if blank := [number for number, text in enumerate(texts) if not text.strip()]:
            raise InvalidInput(f"query {blank[0]} is empty: there is nothing to look for")
        if wrong := [text for text in texts if shown(text) != text]:
            raise InvalidInput(f"query {wrong[0]!r} is not valid Unicode; give it as UTF-8")
        require_modality(self.encoder, "text")
        return self.encoder.encode_texts(list(texts))

    def similar(
        self,
        item: str | Path | int | Sequence[str | Path | int],
        k: int = 10,
        *,
        plan: str | SearchPlan | None = None,
        dim: int | None = None,
        exact: bool = False,
        include_self: bool = False,
    ) -> Any:
        """Find the items most like a picture.

        Args:
            item: an id, the path of an indexed item, or any picture file; or several.
            k: answers a query.
            plan: how; the collection's default if None.
            dim: stop at this prefix.
            exact: scan everything instead.
            include_self: whether an indexed item is among its own answers.

        Returns:
            Answers for one item, a list for several.

        Raises:
            ItemNotFound: no item has that id, or the path is neither indexed nor a file.
            PictureError: a file that is not a picture.
        """
        one_item = isinstance(item, str | Path | Integral)
        wanted = as_items(item)
        pair = snapshot, searcher = self._pair()
        found = [self._resolve(one, snapshot, searcher) for one in wanted]
        xq = np.stack([vector for _, vector in found]) if found else np.empty((0, searcher.dim), np.float32)
        names = [one if isinstance(one, int) else shown(str(one)) for one in wanted]
        leave_out = [None if include_self else position for position, _ in found]
        answers = self._answers(pair, xq, names, k, self._plan(plan, exact), dim, leave_out)
        return answers[0] if one_item else answers

    def _resolve(self, item: str | Path | int, snapshot: Snapshot, searcher: Searcher) -> tuple[int | None, FloatArray]:
        """Return the row number of a stored item, or None, and its vector."""
        position = find(snapshot, item)
        if position is not None:
            return position, searcher.vectors(np.array([position]))[0]
        return None, self.encode_picture(Path(str(item)))

    def encode_picture(self, path: Path, *, max_pixels: int = DEFAULT_MAX_PIXELS) -> FloatArray:
        """Encode one picture file, unit float32 [D].

        Raises:
            ModalityError: the encoder takes no pictures.
            PictureError: it cannot be read or decoded.
        """
        require_modality(self.encoder, "image")
        try:
            data = path.read_bytes()
        except OSError as error:
            raise PictureError(f"{path} cannot be read: {error.strerror}") from error
        picture = decode_picture(data, max_pixels=max_pixels, min_side=self.encoder.image_size)
        vector: FloatArray = self.encoder.encode_images(self.encoder.prepare(picture)[None])[0]
        return vector

    def explain(self, query: Any, k: int = 10, *, plan: str | SearchPlan | None = None) -> Explanation:
        """Carry out a plan stage by stage, and compare each stage with the exact answer.

        Args:
            query: a text, or a vector [D].
            k: answers.
            plan: the plan; the collection's default if None.
        """
        xq = self.encode_texts([query]) if isinstance(query, str) else np.asarray(query)
        return explain(self.searcher, self.searcher.check_queries(xq), k, self._plan(plan, False))

    def explain_item(self, item: str | Path | int, k: int = 10, *, plan: str | SearchPlan | None = None) -> Explanation:
        """Do as `explain` for the likeness of an item or picture file."""
        snapshot, searcher = self._pair()
        _, vector = self._resolve(item, snapshot, searcher)
        return explain(searcher, searcher.check_queries(vector), k, self._plan(plan, False))

    def _plan(self, plan: str | SearchPlan | None, exact: bool) -> SearchPlan | None:
        if exact:
            if plan is not None:
                raise InvalidInput("exact=True and a plan exclude each other")
            return SearchPlan(EXACT)
        return SearchPlan.parse(plan) if isinstance(plan, str) else plan

    def _answers(
        self,
        pair: tuple[Snapshot, Searcher],
        xq: Any,
        names: Sequence[str | int | None],
        k: int,
        plan: SearchPlan | None,
        dim: int | None,
        leave_out: Sequence[int | None] = (),
    ) -> list[Answers]:
        snapshot, searcher = pair
        queries = searcher.check_queries(xq)
        more = any(position is not None for position in leave_out)
        found = searcher.search(queries, k + more, plan, dim=dim)
        positions = leave_out or [None] * len(names)
        rows = zip(names, found.scores, found.ids, positions, strict=True)
        return [answer(snapshot, name, Neighbors(s, p), k, out) for name, s, p, out in rows]


def _paths(sources: Paths) -> list[Path]:
    return [Path(sources)] if isinstance(sources, str | Path) else [Path(one) for one in sources]
