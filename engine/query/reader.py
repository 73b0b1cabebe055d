"""What is asked of a version of a collection that is held open."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack, overload

from engine.collection.snapshot import Snapshot
from engine.query import ask, terms
from engine.query.answers import Answer, AnswerList, Answers, answer_all
from engine.query.ask import How, Like, Plan, Query
from engine.query.encode import Asked, encoded
from engine.query.listed import Listed
from engine.query.shape import Shape, shape_of
from engine.query.terms import Marks, Term, Terms
from engine.retrieval.searcher import Searcher
from engine.storage.kinds import DEFAULT_MAX_PIXELS
from indexers import checks
from indexers.errors import InvalidInput
from indexers.mask import Mask
from indexers.plan import SearchPlan
from indexers.vectors import as_matrix

if TYPE_CHECKING:
    from pyarrow import Table

    from engine.query.explain import Explanation
    from engine.query.ranking import Ranking
    from engine.query.where.tree import Filter

    Where = Filter | str | dict[str, Any] | None


class Reader(Listed):
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
        how = {query.frame() for query in wanted} or {Query()}
        if len(how) > 1:
            raise InvalidInput(
                "queries that are asked together differ in their terms and words alone: ask the others by themselves"
            )
        return self._asked(wanted, how.pop())

    def _asked(self, queries: Sequence[Query], how: Query) -> AnswerList:
        snapshot, searcher = self._pair()
        if how.shape.after is not None and (older := self._of_cursor(how.shape.after, snapshot)) is not None:
            return older._asked(queries, how)
        mask = self._mask(snapshot, how.filter)
        asked = self._encoded(queries, snapshot, searcher)
        return self._answered(snapshot, searcher, asked, queries, how, mask)

    def _answered(
        self,
        snapshot: Snapshot,
        searcher: Searcher,
        asked: Asked,
        queries: Sequence[Query],
        how: Query,
        mask: Mask | None,
    ) -> AnswerList:
        keywords = None if how.words is None else self._words_of(snapshot)
        if how.shape.is_plain and keywords is None:
            return answer_all(snapshot, searcher, asked, how, mask)
        from engine.query.paged import answer_shaped

        asks_columns = how.shape.group_by is not None or how.shape.sort is not None
        columns = self._filters_of(snapshot).columns if asks_columns else None
        return answer_shaped(snapshot, searcher, asked, queries, mask, columns, keywords)

    def _encoded(self, queries: Sequence[Query], snapshot: Snapshot, searcher: Searcher) -> Asked:
        if queries and queries[0].marks:
            return self._marked(queries, snapshot, searcher)[0]
        return encoded(queries, snapshot, searcher, lambda: self._encoders.of(snapshot, searcher.space))

    def _marked(self, queries: Sequence[Query], snapshot: Snapshot, searcher: Searcher) -> tuple[Asked, Sequence[str]]:
        """Return queries with marks as a vector each, and of each what became of the marks."""
        from engine.query.feedback import with_marks

        def encode(some: Sequence[Query]) -> Asked:
            return encoded(some, snapshot, searcher, lambda: self._encoders.of(snapshot, searcher.space))

        return with_marks(queries, snapshot, searcher, encode, lambda: self._spread_of(snapshot, searcher))

    @overload
    def search(self, query: str, k: int = 10, **how: Unpack[How]) -> Answers: ...

    @overload
    def search(self, query: list[str] | tuple[str, ...], k: int = 10, **how: Unpack[How]) -> AnswerList: ...

    @overload
    def search(self, query: Any, k: int = 10, **how: Unpack[How]) -> Any: ...

    def search(
        self,
        query: Any = None,
        k: int = 10,
        *,
        plan: str | SearchPlan | None = None,
        dim: int | None = None,
        exact: bool = False,
        recall: float | None = None,
        where: Where = None,
        words: str | bool | None = None,
        blend: float | None = None,
        like: Any = (),
        unlike: Any = (),
        marks: Marks | None = None,
        **then: Any,
    ) -> Answers | AnswerList:
        """Find the items that match texts, vectors or words best.

        Args:
            query: a text, a sequence of texts, vectors [nq, D] (or one, [D]) of the space that is searched (a head is
                not applied to them), or terms as adding and subtracting makes them (`Term`); None for `words` alone.
            k: answers a query.
            plan: how; the collection's default if None.
            dim: stop at this prefix.
            exact: find precisely the best, whatever it takes.
            recall: search by the fastest plan of the tuned curve that keeps this recall.
            where: a filter over columns, such as "taken >= '2019-01-01' AND camera LIKE 'Google Pixel%'"; see `Filter`.
            words: words that are looked for in captions, names and other texts: `red "mountain bike" IMG_20*`; True for
                those of the query's own text. Beside a query both count; see `Query`.
            blend: what the words count beside the query, from 0 to 1.
            like: items and pictures, as `similar` takes them, or terms, that answers are to be like as well.
            unlike: likewise, that they are to be unlike.
            marks: which answers were judged good, and which bad: see `Marks`.
            then: what becomes of what is found, such as `group_by="folder"`; see `Shape`.

        Returns:
            Answers for one text or a 1-D vector; for several an AnswerList, whose `ids` and `scores` are [nq, k].

        Raises:
            ModalityError: a text, and the encoder has no text tower.
            InvalidVectors: vectors of another dimension, or with NaN.
            InvalidInput, InvalidSpec: as for `ask`.
        """
        how = ask.query_without_terms(k, plan, exact, recall, dim, where, shape=shape_of(then), marks=marks)
        beside = terms.terms_beside(like, unlike)
        is_more = words is not None or blend is not None or beside or how.marks or not how.shape.is_plain
        if is_more or query is None or isinstance(query, str | Term | Terms) or ask.is_texts(query):
            return self._by_terms(query, how, words, blend, beside)
        xq = ask.as_asked(query)
        asked = Asked(xq, [None] * (1 if xq.ndim == 1 else len(xq)), ())
        snapshot, searcher = self._pair()
        answers = answer_all(snapshot, searcher, asked, how, self._mask(snapshot, how.filter))
        return answers[0] if xq.ndim == 1 else answers

    def _by_terms(
        self, query: Any, how: Query, words: str | bool | None, blend: float | None, beside: Sequence[Term]
    ) -> Answers | AnswerList:
        """Search with the terms of a query or of several, and with words."""
        alone = query is None or isinstance(query, str | Term | Terms)
        if alone or ask.is_texts(query):
            several = [query] if alone else list(query)
        else:
            xq = ask.as_asked(query)
            several, alone = list(as_matrix(xq, name="queries")), xq.ndim == 1
        wanted = []
        for one in several:
            own = () if one is None else terms.terms_of(one)
            asked = how if words is None and blend is None else how.with_words(terms.words_of(words, own), blend)
            wanted.append(asked.with_terms(*own, *beside))
        found = self._asked(wanted, wanted[0].frame() if wanted else how)
        return found[0] if alone else found

    @overload
    def similar(self, item: str | Path | int | bytes, k: int = 10, **how: Unpack[Like]) -> Answers: ...

    @overload
    def similar(self, item: list[Any] | tuple[Any, ...], k: int = 10, **how: Unpack[Like]) -> AnswerList: ...

    @overload
    def similar(self, item: Any, k: int = 10, **how: Unpack[Like]) -> Any: ...

    def similar(
        self,
        item: Any,
        k: int = 10,
        *,
        plan: str | SearchPlan | None = None,
        dim: int | None = None,
        exact: bool = False,
        recall: float | None = None,
        where: Where = None,
        words: str | bool | None = None,
        blend: float | None = None,
        include_self: bool = False,
        max_pixels: int = DEFAULT_MAX_PIXELS,
        marks: Marks | None = None,
        **then: Any,
    ) -> Answers | AnswerList:
        """Find the items most like a picture.

        Args:
            item: an id, the path of an item or of any picture, a picture as `Term.of_picture` takes it, or several of
                all these in a list; or an array of real vectors, [D] or [nq, D].
            k: answers a query.
            plan, dim, exact, recall, where, words, blend: as for `search`.
            include_self: whether an indexed item is among its own answers.
            max_pixels: a larger picture file is refused.
            marks: as for `search`.
            then: what becomes of what is found, such as `distinct=0.999`; see `Shape`.

        Returns:
            Answers for one item, an AnswerList for several.

        Raises:
            ItemNotFound, PictureError, InvalidInput, InvalidSpec: as for `ask`; of several inputs it is said which.
        """
        shape = shape_of(then)
        how = ask.query_without_terms(k, plan, exact, recall, dim, where, include_self, max_pixels, shape, marks)
        if words is not None or blend is not None:
            how = how.with_words(terms.words_of(words, ()), blend)
        wanted, alone = terms.as_likenesses(item)
        answers = self._asked([how.with_terms(term) for term in wanted], how)
        return answers[0] if alone else answers

    def iterate(
        self,
        query: Any,
        *,
        plan: Plan = None,
        where: Where = None,
        words: str | None = None,
        blend: float | None = None,
        like: Any = (),
        unlike: Any = (),
        min_score: float | None = None,
        distinct: float | None = None,
        include_self: bool = False,
        marks: Marks | None = None,
    ) -> Iterator[Answer]:
        """Yield all items in the order of their scores, for as long as somebody takes them; of one version to the end.

        Example:
            >>> photos = engine.Collection.open("photos.nest")
            >>> sum(1 for answer in photos.iterate("a red bicycle", where="folder = 'drawings'"))
            15

        Args:
            query: a text, a vector [D], or terms, as `search` takes them; None for `words` alone.
            plan, where, words, blend, like, unlike: as for `search`.
            min_score, distinct: see `Shape`.
            include_self: whether indexed items that are asked with are among them.
            marks: as for `search`.

        Raises:
            InvalidInput: several queries; and as for `search`.
        """
        shape = Shape(min_score=min_score, distinct=distinct)
        how = Query((), 1, plan, where=where, shape=shape, include_self=include_self, words=words, blend=blend)
        if marks is not None:
            how = replace(how, marks=marks)
        own = () if query is None else terms.terms_of(query)
        ranking = self._ranking(how.with_terms(*own, *terms.terms_beside(like, unlike)))
        for row, score in ranking.ranked():
            yield ranking.answer(row, score)

    def _ranking(self, query: Query) -> Ranking:
        """Return the rows that may answer a question, in order, below ids and items."""
        from engine.query.paged import without
        from engine.query.ranking import Ranking

        snapshot, searcher = self._pair()
        asked = self._encoded([query], snapshot, searcher)
        own = asked.own[0] if asked.own and not query.include_self else ()
        allowed = without(self._mask(snapshot, query.filter), own, searcher.rows)
        keywords = None if query.words is None else self._words_of(snapshot)
        xq = searcher.check_queries(asked.xq) if len(asked.xq) else asked.xq
        return Ranking(snapshot, searcher, xq, query, allowed, keywords)

    def between(self, low: Any, high: Any, where: Where = None) -> Table:
        """Return where items lie between two poles, as a `pyarrow.Table` of `id`, `between` and `share`.

        Example:
            >>> photos = engine.Collection.open("photos.nest")
            >>> found = photos.between("an animal", "a vehicle", "folder = 'drawings'").sort_by("between")
            >>> photos.get(found["id"].to_pylist()[-1:], columns=["caption"]).to_pylist()
            [{'caption': 'bus'}]

        Args:
            low, high: a text, a term, a sum of terms, or a list of items, pictures and terms, whose mean is meant.
            where: a filter; None for all items.

        Returns:
            in the order of the rows: `between`, the projection of each vector on the line between the poles, 0 at `low`
            and 1 at `high` (½ + x·(high − low) / ‖high − low‖²), and `share`, how many of the others lie lower.

        Raises:
            InvalidInput: a pole is none, or both are the same.
            InvalidFilter, ItemNotFound, PictureError, ModalityError: as for `ask`.
        """
        from engine.query.between import places, pole

        poles = [Query(pole(name, given), where=where) for name, given in (("low", low), ("high", high))]
        snapshot, searcher = self._pair()
        mask = self._mask(snapshot, poles[0].filter)
        xq = searcher.check_queries(self._encoded(poles, snapshot, searcher).xq)
        rows, found = places(searcher, xq[0], xq[1], searcher.live if mask is None else searcher.live & mask)
        return found.add_column(0, "id", [snapshot.ids[rows]])

    def explain(self, query: Any, k: int = 10, *, plan: Plan = None, where: Where = None) -> Explanation:
        """Carry out a plan stage by stage, and compare each stage with the exact answer.

        Args:
            query: a text, a vector [D], or a `Query` with a plan of its own.
            k: answers.
            plan: the plan; the collection's default if None.
            where: a filter; without a plan the exact search is explained then, as it is what `search` does.
        """
        if isinstance(query, Query):
            return self._explained(query)
        term = Term.of_text(query) if isinstance(query, str) else Term.of_vector(query)
        return self._explained(Query((term,), k, plan, where=where))

    def explain_item(
        self, item: Any, k: int = 10, *, plan: Plan = None, where: Where = None, max_pixels: int = DEFAULT_MAX_PIXELS
    ) -> Explanation:
        """Do as `explain` for the likeness of an item or picture, given as to `similar`."""
        return self._explained(Query((terms.as_likeness(item),), k, plan, where=where, max_pixels=max_pixels))

    def _explained(self, query: Query) -> Explanation:
        from engine.query.explain import explain

        snapshot, searcher = self._pair()
        told: Sequence[str] = () if query.words is None else self._words_of(snapshot).told(query.words)
        if told and not (query.terms or query.marks):
            raise InvalidInput(f"explain tells what becomes of vectors, and there are none; {'; '.join(told)}")
        if query.marks:
            asked, of_marks = self._marked([query], snapshot, searcher)
            told = (*told, *of_marks)
        else:
            asked = self._encoded([query], snapshot, searcher)
        mask, plan = self._mask(snapshot, query.filter), query.plan_on(searcher.routes)
        found = explain(searcher, searcher.check_queries(asked.xq), query.k, plan, mask)
        return replace(found, notes=(*told, *(asked.notes[0] if asked.notes else ())))
