"""One version of a collection, held open: what is read, searched and encoded with, and how it moves on."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, Unpack, overload

from engine.collection.commit import current_version
from engine.collection.manifest import Space
from engine.collection.snapshot import Snapshot
from engine.encoders.base import Encoder
from engine.query import ask
from engine.query.answers import AnswerList, Answers, answer_all
from engine.query.ask import How, Like, Query, Term
from engine.query.encode import Asked, Encoders, encoded, picture_query, text_queries
from engine.retrieval.searcher import Searcher
from engine.storage.kinds import DEFAULT_MAX_PIXELS
from engine.storage.names import printable
from indexers import checks
from indexers.errors import CollectionError, InvalidInput, NestvecError
from indexers.mask import Mask
from indexers.plan import SearchPlan
from indexers.threads import new_lock
from indexers.vectors import FloatArray, IdArray

if TYPE_CHECKING:
    from engine.query.explain import Explanation
    from engine.query.where.kept import Filters
    from engine.query.where.tree import Filter

SEARCH_DEVICES = ("cpu", "cuda")


class Reader:
    """A version of a collection held open: searched and looked at, and never changed.

    It answers from many threads at once; `refresh` moves it on to the newest version. A reader that is copied, or
    pickled for another process, opens the same version again there.

    Example:
        >>> with engine.Reader.open("photos.nest") as photos:
        ...     print(photos.search("a red bicycle", k=1).captions, len(photos))
        ['bicycle'] 33

    Args:
        root: the collection.
        device: where queries are encoded: "auto", "cpu", "cuda" or "mps".
        space: the space to search; the version's default if None.
        encoder: the collection's, if it is loaded already; or its spec, where the user names it.
        search_device: where to search: "cpu", or "cuda" for many queries at once with `flat` and `ivf-flat`
            indexes. Vectors and indexes are copied there with the first search.
        gpu_memory: bytes of a GPU that searching may use; most of what is free if None.
        version: which to open; the newest if None.
    """

    def __init__(
        self,
        root: str | Path,
        *,
        device: str = "auto",
        space: str | None = None,
        encoder: Encoder | str | None = None,
        search_device: str = "cpu",
        gpu_memory: int | None = None,
        version: int | None = None,
    ) -> None:
        self.root = checks.path("path", root)
        self._search_device = checks.one_of("search_device", search_device, SEARCH_DEVICES)
        self._gpu_memory = checks.optional("gpu_memory", gpu_memory, checks.room)
        self._device = checks.one_of("device", device, checks.DEVICES)
        self._wanted = checks.optional("space", space, checks.text)
        spec = None if isinstance(encoder, Encoder) else checks.optional("encoder", encoder, checks.text)
        loaded = encoder if isinstance(encoder, Encoder) else None
        self._encoders = Encoders(self.root, spec=spec, device=self._device, loaded=loaded)
        self._lock = new_lock()
        self._filters: Filters | None = None
        self._state: tuple[Snapshot, Searcher | None] = (self._opened(version), None)

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        device: str = "auto",
        space: str | None = None,
        search_device: str = "cpu",
        gpu_memory: int | None = None,
        encoder: str | None = None,
        version: int | None = None,
    ) -> Self:
        """Open a version of the collection in a directory: the arguments are those of the class.

        An encoder with files of yours has to be named once on a machine: what a collection says of them is not enough.

        Raises:
            NotACollection: there is none there.
            CorruptCollection: the version is damaged, or not there.
            InvalidInput: it has no such space, or there is no such device.
        """
        how: dict[str, Any] = {"search_device": search_device, "gpu_memory": gpu_memory}
        return cls(path, device=device, space=space, encoder=encoder, version=version, **how)

    def __reduce__(self) -> Any:
        how = {
            **{"device": self._device, "space": self._wanted, "search_device": self._search_device},
            **{"gpu_memory": self._gpu_memory, "encoder": self._encoders.spec, "version": self.version},
        }
        return _opened_again, (type(self), os.path.abspath(self.root), how)

    def __repr__(self) -> str:
        space, plans = self.space, self.space.plans
        try:
            items = f"{len(self):,} items"
        except NestvecError:  # whoever looks at it wants no error
            items = "damaged"
        told = f"{items}, version {self.version}, space {self.space_name!r} of {space.dim} dimensions"
        by = space.encoder if space.base is None else f"a head on {space.base!r}"
        plan = f", {plans[0].plan}" if plans else ""
        return printable(f"<{type(self).__name__} {str(self.root)!r}: {told} by {by}{plan}>")

    def close(self) -> None:
        """Let the version go."""
        self._state[0].close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        return self.snapshot.live_rows

    @property
    def snapshot(self) -> Snapshot:
        """The version that is open."""
        return self._state[0]

    @property
    def version(self) -> int:
        """Its number."""
        return self.snapshot.manifest.version

    @property
    def space_name(self) -> str:
        """The space that is searched."""
        return self._name(self.snapshot)

    @property
    def space(self) -> Space:
        """Encoder, dimension, indexes and plans of the vectors that are searched."""
        return self.snapshot.manifest.space(self.space_name)

    @property
    def encoder(self) -> Encoder:
        """What encodes queries into the space that is searched, loaded the first time."""
        return self._encoders.of(self.snapshot, self.space_name)

    def encode_texts(self, texts: str | Sequence[str]) -> FloatArray:
        """Encode query texts, or one, into the space that is searched, unit float32 [n, D].

        Raises:
            ModalityError: the encoder has no text tower.
            InvalidInput: a text is empty, or is none.
        """
        return text_queries(self.encoder, texts)

    def encode_picture(self, path: str | Path, *, max_pixels: int = DEFAULT_MAX_PIXELS) -> FloatArray:
        """Encode one picture file into the space that is searched, unit float32 [D].

        Raises:
            ModalityError: the encoder takes no pictures.
            PictureError: it cannot be read or decoded.
            InvalidInput: it is no path.
        """
        return picture_query(self.encoder, path, max_pixels=max_pixels)

    # -- asking --------------------------------------------------------------------------

    def ask(self, query: Query) -> Answers:
        """Answer a question.

        Raises:
            ItemNotFound: a term is neither an item nor a file.
            PictureError: a file that is not a picture.
            ModalityError: a text or a picture, and the encoder has no tower for it.
            InvalidVectors: a vector of another dimension, or with NaN.
            InvalidInput: it has no terms, or a recall is asked of a space that was not tuned.
            InvalidSpec: a plan with an index that the collection does not have.
        """
        return self.ask_all([ask.as_query("query", query)])[0]

    def ask_all(self, queries: Sequence[Query]) -> AnswerList:
        """Answer several questions at once, which differ in nothing but their terms.

        Raises:
            InvalidInput: they differ in k, plan or another property; and as for `ask`.
        """
        wanted = checks.several("queries", queries, ask.as_query)
        how = {query.with_terms() for query in wanted} or {Query()}
        if len(how) > 1:
            raise InvalidInput(
                "queries that are asked together differ in their terms alone: ask the others by themselves"
            )
        return self._asked(wanted, how.pop())

    def _asked(self, queries: Sequence[Query], how: Query) -> AnswerList:
        snapshot, searcher = self._pair()
        mask = self._mask(snapshot, how)
        return answer_all(snapshot, searcher, self._encoded(queries, snapshot, searcher), how, mask)

    def _mask(self, snapshot: Snapshot, how: Query) -> Mask | None:
        """Return which rows the filter of a question lets through; None where it has none."""
        if how.where is None:
            return None
        from engine.query.where.kept import Filters
        from engine.query.where.tree import Filter

        filters = self._filters
        if filters is None or filters.version != snapshot.manifest.version:
            filters = self._filters = Filters(snapshot)
        return filters.mask(Filter.parse(how.where))

    def matching(self, where: Filter | str | dict[str, Any]) -> IdArray:
        """Return the ids of the items that a filter lets through, int64, in the order of their rows.

        Example:
            >>> engine.Collection.open("photos.nest").matching("caption = 'bicycle'").tolist()
            [2]

        Raises:
            InvalidFilter: it does not parse, or asks a column what it cannot answer.
        """
        snapshot = self.snapshot
        mask = self._mask(snapshot, Query((), where=where))
        live = Mask.without(len(snapshot.ids), snapshot.deleted)
        return snapshot.ids[(live if mask is None else live & mask).numbers]

    def _encoded(self, queries: Sequence[Query], snapshot: Snapshot, searcher: Searcher) -> Asked:
        return encoded(queries, snapshot, searcher, lambda: self._encoders.of(snapshot, searcher.space))

    @overload
    def search(self, query: str, k: int = 10, **how: Unpack[How]) -> Answers: ...

    @overload
    def search(self, query: list[str] | tuple[str, ...], k: int = 10, **how: Unpack[How]) -> AnswerList: ...

    @overload
    def search(self, query: Any, k: int = 10, **how: Unpack[How]) -> Any: ...

    def search(
        self,
        query: Any,
        k: int = 10,
        *,
        plan: str | SearchPlan | None = None,
        dim: int | None = None,
        exact: bool = False,
        recall: float | None = None,
        where: Filter | str | dict[str, Any] | None = None,
    ) -> Answers | AnswerList:
        """Find the items that match texts or vectors best.

        Args:
            query: a text, a sequence of texts, or vectors [nq, D] (or one, [D]) of the space that is searched:
                a head is not applied to them.
            k: answers a query.
            plan: how; the collection's default if None.
            dim: stop at this prefix.
            exact: find precisely the best, whatever it takes.
            recall: search by the fastest plan of the tuned curve that keeps this recall.
            where: a filter over columns, such as "taken >= '2019-01-01' AND camera LIKE 'Pixel%'"; see `Filter`.

        Returns:
            Answers for one text or a 1-D vector; for several an AnswerList, whose `ids` and `scores` are [nq, k].

        Raises:
            ModalityError: a text, and the encoder has no text tower.
            InvalidVectors: vectors of another dimension, or with NaN.
            InvalidInput, InvalidSpec: as for `ask`.
        """
        how = ask.query_without_terms(k, plan, exact, recall, dim, where)
        if isinstance(query, str):
            return self._asked([how.with_terms(Term.of_text(query))], how)[0]
        if ask.is_texts(query):
            return self._asked([how.with_terms(Term.of_text(text)) for text in query], how)
        xq = ask.as_asked(query)
        asked = Asked(xq, [None] * (1 if xq.ndim == 1 else len(xq)), ())
        snapshot, searcher = self._pair()
        answers = answer_all(snapshot, searcher, asked, how, self._mask(snapshot, how))
        return answers[0] if xq.ndim == 1 else answers

    @overload
    def similar(self, item: str | Path | int, k: int = 10, **how: Unpack[Like]) -> Answers: ...

    @overload
    def similar(self, item: list[Any] | tuple[Any, ...] | IdArray, k: int = 10, **how: Unpack[Like]) -> AnswerList: ...

    def similar(
        self,
        item: Any,
        k: int = 10,
        *,
        plan: str | SearchPlan | None = None,
        dim: int | None = None,
        exact: bool = False,
        recall: float | None = None,
        where: Filter | str | dict[str, Any] | None = None,
        include_self: bool = False,
    ) -> Answers | AnswerList:
        """Find the items most like a picture.

        Args:
            item: an id, the path of an indexed item, or any picture file; or several.
            k: answers a query.
            plan, dim, exact, recall, where: as for `search`.
            include_self: whether an indexed item is among its own answers.

        Returns:
            Answers for one item, an AnswerList for several.

        Raises:
            ItemNotFound, PictureError, InvalidInput, InvalidSpec: as for `ask`.
        """
        how = ask.query_without_terms(k, plan, exact, recall, dim, where, include_self)
        answers = self._asked([how.with_terms(Term("item", one)) for one in ask.as_items(item)], how)
        return answers[0] if ask.is_item(item) else answers

    def explain(self, query: Any, k: int = 10, *, plan: str | SearchPlan | None = None) -> Explanation:
        """Carry out a plan stage by stage, and compare each stage with the exact answer.

        Args:
            query: a text, a vector [D], or a `Query` with a plan of its own.
            k: answers.
            plan: the plan; the collection's default if None.
        """
        if isinstance(query, Query):
            return self._explained(query)
        term = Term.of_text(query) if isinstance(query, str) else Term.of_vector(query)
        return self._explained(Query((term,), k, plan))

    def explain_item(self, item: str | Path | int, k: int = 10, *, plan: str | SearchPlan | None = None) -> Explanation:
        """Do as `explain` for the likeness of an item or picture file."""
        return self._explained(Query((Term.of_item(item),), k, plan))

    def _explained(self, query: Query) -> Explanation:
        from engine.query.explain import explain

        snapshot, searcher = self._pair()
        asked = self._encoded([query], snapshot, searcher)
        return explain(searcher, searcher.check_queries(asked.xq), query.k, query.plan_on(searcher.routes))

    # -- what is open ----------------------------------------------------------------------

    def _name(self, snapshot: Snapshot) -> str:
        return self._wanted or snapshot.manifest.default

    @property
    def searcher(self) -> Searcher:
        """Search by row numbers, below ids and items."""
        return self._pair()[1]

    def _pair(self) -> tuple[Snapshot, Searcher]:
        """Return the open version and its searcher, which always belong together."""
        snapshot, searcher = self._state
        if snapshot.is_closed:
            raise CollectionError(f"this reader of {self.root} is closed: open the collection again")
        if searcher is None:
            with self._lock:
                snapshot, searcher = self._state
                if searcher is None:
                    searcher = self._searcher_of(snapshot)
                    self._state = (snapshot, searcher)
        return snapshot, searcher

    def refresh(self) -> bool:
        """Move to the newest version; answers already given keep theirs.

        Other threads go on searching the older version until the newer one is ready, and keep it for as long as a
        search of theirs takes. Where several refresh at once, one of them does it.

        Returns:
            whether it has moved; not if another thread has done so meanwhile.

        Raises:
            InvalidInput: it has no longer the space this was opened with; the older one stays open.
        """
        if current_version(self.root) == self.version:
            return False
        with self._lock:
            before, searcher = self._state
            if current_version(self.root) == before.manifest.version:
                return False
            newest = self._opened()
            self._state = (newest, None if searcher is None else self._ready(newest))
        return True

    def _ready(self, snapshot: Snapshot) -> Searcher | None:
        """Open what a search by the default plan needs, so that none has to wait for it; None to leave it to the first.

        What is held on a GPU may not fit there twice. What is damaged is told to whoever searches, and not to
        somebody who only removes an item.
        """
        if self._search_device != "cpu":
            return None
        with contextlib.suppress(NestvecError):
            searcher = self._searcher_of(snapshot)
            searcher.warm()
            return searcher
        return None

    def _searcher_of(self, snapshot: Snapshot) -> Searcher:
        return Searcher(snapshot, self._name(snapshot), device=self._search_device, gpu_memory=self._gpu_memory)

    def _opened(self, version: int | None = None) -> Snapshot:
        snapshot = Snapshot.open(self.root, version)
        try:
            snapshot.manifest.named_space(self._name(snapshot), self.root)
        except NestvecError:
            snapshot.close()
            raise
        return snapshot


def _opened_again(kind: type[Reader], root: str, how: dict[str, Any]) -> Reader:
    """Open what was copied or pickled."""
    return kind(root, **how)
