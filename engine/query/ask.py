"""A question, as data: what is asked for, how many answers are wanted, and how they are to be found."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.query.shape import PLAIN, Shape, Then
from engine.query.terms import NO_MARKS, Marks, Term, is_given_picture
from engine.retrieval.route import Routes
from engine.storage.kinds import DEFAULT_MAX_PIXELS
from indexers import checks
from indexers.errors import InvalidInput, InvalidVectors
from indexers.plan import EXACT, SearchPlan, as_plan
from indexers.vectors import is_real

if TYPE_CHECKING:
    from engine.query.where.tree import Filter


@dataclass(frozen=True)
class Query:
    """A question: frozen, and nothing but data. `Reader.ask` answers it.

    Example:
        >>> query = engine.Query((engine.Term.of_text("a red bicycle"),), k=1)
        >>> engine.Collection.open("photos.nest").ask(query).captions
        ['bicycle']

    Attributes:
        terms: what is asked with. Several make one direction, the sum of their unit vectors by weight.
        k: answers wanted, ≥ 1.
        plan: how to search, as a `SearchPlan` or written out; the collection's default if None.
        exact: find precisely the best, whatever it takes.
        recall: search by the fastest plan of the tuned curve that keeps this recall.
        dim: stop at this prefix and answer by its cosines; the full dimension if None.
        where: a filter: an SQL expression over columns, its tree as JSON, or a `Filter`; only items it lets through
            answer. Without a plan the search is exact then: what it finds does not depend on the filter.
        include_self: whether indexed items that are asked with are among the answers.
        max_pixels: a picture file that is larger is refused.
        shape: what becomes of what is found: pages, groups, variety. Without a plan the search is exact then.
        words: words that are looked for in captions, names and other texts of the items (see `Words`): `red "mountain
            bike" IMG_20*`. Beside terms both count; without terms the words alone. Without a plan the search is exact.
        blend: what the words count beside the terms, from 0 to 1; what was tuned, or one half, if None.
        marks: which answers were judged good, and which bad; a query with good ones needs no terms.

    Raises:
        InvalidInput: more than one of plan, exact and recall, or a value of another type or range.
        InvalidSpec: the plan does not parse.
    """

    terms: tuple[Term, ...] = ()
    k: int = 10
    plan: SearchPlan | str | None = None
    exact: bool = False
    recall: float | None = None
    dim: int | None = None
    where: Filter | str | dict[str, Any] | None = None
    include_self: bool = field(default=False, kw_only=True)
    max_pixels: int = field(default=DEFAULT_MAX_PIXELS, kw_only=True)
    shape: Shape = field(default=PLAIN, kw_only=True)
    words: str | None = field(default=None, kw_only=True)
    blend: float | None = field(default=None, kw_only=True)
    marks: Marks = field(default=NO_MARKS, kw_only=True)

    def __post_init__(self) -> None:
        if sum((self.plan is not None, checks.truth("exact", self.exact), self.recall is not None)) > 1:
            raise InvalidInput("a plan, exact and recall exclude each other: each of them says how to search")
        checks.settle(
            self,
            k=checks.whole("k", self.k),
            plan=checks.optional("plan", self.plan, as_plan),
            exact=bool(self.exact),
            recall=checks.optional("recall", self.recall, checks.share),
            dim=checks.optional("dim", self.dim, checks.signed),
            where=checks.optional("where", self.where, _filter),
            include_self=checks.truth("include_self", self.include_self),
            max_pixels=checks.whole("max_pixels", self.max_pixels, high=checks.MOST_BYTES),
            shape=checks.instance("shape", self.shape, Shape),
            words=checks.optional("words", self.words, _words),
            blend=checks.optional("blend", self.blend, _blend),
            marks=checks.instance("marks", self.marks, Marks),
        )
        if self.words is None and self.blend is not None:
            raise InvalidInput("blend says what words count beside the rest: words says which")
        if self.words is not None and self.shape.min_score is not None:
            raise InvalidInput("min_score is of cosines alone: words are looked for without it")
        if type(self.terms) is not tuple or self.terms:
            checks.settle(self, terms=tuple(checks.several("terms", self.terms, _term)))

    @property
    def name(self) -> str | int | None:
        """What answers call it; None where it is of vectors alone."""
        names = [(term.name, term.weight) for term in self.terms if term.name is not None]
        if not self.terms:
            return "marks" if self.marks.good or (self.marks and self.words is None) else self.words
        if len(names) == 1 and names[0][1] > 0:
            return names[0][0]
        return " ".join(f"{'+' if weight > 0 else '-'} {name}" for name, weight in names).removeprefix("+ ") or None

    @property
    def filter(self) -> Filter | None:
        """What lets items through, as it was read when this was made."""
        return self.where  # type: ignore[return-value]

    def with_terms(self, *terms: Term) -> Query:
        """Return the same question of other terms; it was checked when it was made."""
        other = object.__new__(Query)
        other.__dict__.update(self.__dict__, terms=terms)
        return other

    def with_words(self, words: str | None, blend: float | None = None) -> Query:
        """Return the same question with other words."""
        return replace(self, words=words, blend=blend)

    def frame(self) -> Query:
        """Return what questions that are asked together have in common: all but their terms and words."""
        other = self.with_terms()
        if self.words is not None:
            other.__dict__.update(words="")
        return other

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values, as docs/query.md describes them; `from_json` reads it back."""
        from engine.query.form import query_as_json

        return query_as_json(self)

    @classmethod
    def from_json(cls, given: Any) -> Query:
        """Read a question from JSON values.

        Raises:
            InvalidInput: it is none; the message says what of it.
        """
        from engine.query.form import query_from_json

        return query_from_json(given)

    @property
    def digest(self) -> str:
        """32 hex digits that are the same for the same question, whichever page of it is asked for."""
        from engine.query.form import digest_of

        return digest_of(self)

    def plan_on(self, routes: Routes) -> SearchPlan | None:
        """Return the plan that is meant on a space: as it was written, exact, or by recall; None for the space's own.

        Raises:
            InvalidInput: a recall of a space that was not tuned.
        """
        needs_all = self.where is not None or self.words is not None or not self.shape.is_plain
        if self.recall is not None and not needs_all:
            return routes.for_recall(self.recall, self.k)
        exact = self.exact or (needs_all and self.plan is None)
        return SearchPlan(EXACT) if exact else self.plan  # type: ignore[return-value]  # read when it was made


@lru_cache(maxsize=256, typed=True)
def _kept(
    k: int,
    plan: Any,
    exact: bool,
    recall: float | None,
    dim: int | None,
    where: Any,
    include_self: bool,
    max_pixels: int,
    shape: Shape,
    marks: Marks,
) -> Query:
    more: Any = {"include_self": include_self, "max_pixels": max_pixels, "shape": shape, "marks": marks}
    return Query((), k, plan, exact, recall, dim, where, **more)


def query_without_terms(
    k: int,
    plan: Any,
    exact: bool,
    recall: float | None,
    dim: int | None,
    where: Any = None,
    include_self: bool = False,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    shape: Shape = PLAIN,
    marks: Marks | None = None,
) -> Query:
    """Return a question that has all but its terms; the same again where the same was wanted before.

    To check it takes as long as a search of few rows.
    """
    judged = NO_MARKS if marks is None else marks
    try:
        return _kept(k, plan, exact, recall, dim, where, include_self, max_pixels, shape, judged)
    except TypeError:  # something that has no hash: a filter as JSON, or what is refused in words
        more: Any = {"include_self": include_self, "max_pixels": max_pixels, "shape": shape, "marks": judged}
        return Query((), k, plan, exact, recall, dim, where, **more)


Plan = str | SearchPlan | None
"""How a search is written down; None for the collection's own."""


class How(Then, total=False):
    """How a search is to be done; see `Query`."""

    plan: str | SearchPlan | None
    dim: int | None
    exact: bool
    recall: float | None
    where: Filter | str | dict[str, Any] | None
    words: str | bool | None
    blend: float | None
    marks: Marks | None


class Like(How, total=False):
    """How what is like an item is to be found."""

    include_self: bool
    max_pixels: int


def _words(name: str, given: Any) -> str:
    from engine.query.keywords import read_words

    read_words(given)
    return str(given)


def _blend(name: str, given: Any) -> float:
    found = checks.real(name, given)
    if not 0 <= found <= 1:
        raise InvalidInput(f"{name}: expected a number from 0 to 1, found {checks.brief(found)}")
    return found


def _filter(name: str, given: Any) -> Filter:
    from engine.query.where.tree import Filter

    return Filter.parse(given)


def _term(name: str, given: Any) -> Term:
    return checks.instance(name, given, Term)


def as_query(name: str, given: Any) -> Query:
    """Return a question as it is.

    Raises:
        InvalidInput: it is something else.
    """
    if isinstance(given, str):
        raise InvalidInput(f"{name}: expected a Query, found {checks.brief(given)}; a text is looked for by search")
    return checks.instance(name, given, Query)


def as_asked(query: Any) -> Any:
    """Return vectors that somebody asks with as an array, [D] or [nq, D] as far as is known yet.

    Raises:
        InvalidVectors: it is nothing of the kind.
    """
    if isinstance(query, os.PathLike) or (not isinstance(query, np.ndarray | list | tuple) and is_given_picture(query)):
        like = query if isinstance(query, os.PathLike) else checks.brief(query)
        raise InvalidInput(f"a query is a text, several texts, or vectors; pictures like {like} are found by similar")
    if isinstance(query, Query):
        raise InvalidInput("a Query is asked by ask, and not searched for")
    try:
        xq = np.asarray(query)
    except (TypeError, ValueError) as error:
        raise InvalidVectors(f"a query is a text, several texts, or vectors of one length; {error}") from error
    if not xq.ndim or not is_real(xq.dtype):
        raise InvalidVectors(f"a query is a text, several texts, or vectors; found {type(query).__name__}")
    return xq


def is_texts(query: Any) -> bool:
    """Whether something is a sequence of texts, and not of numbers."""
    return isinstance(query, list | tuple) and all(isinstance(one, str) for one in query)
