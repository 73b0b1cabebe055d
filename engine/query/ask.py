"""A question, as data: what is asked for, how many answers are wanted, and how they are to be found."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict

import numpy as np

from engine.retrieval.route import Routes
from engine.storage.kinds import DEFAULT_MAX_PIXELS
from engine.storage.names import shown
from indexers import checks
from indexers.errors import InvalidInput, InvalidVectors, PictureError
from indexers.plan import EXACT, SearchPlan
from indexers.vectors import as_matrix, is_real

if TYPE_CHECKING:
    from engine.query.where.tree import Filter

Kind = Literal["text", "item", "picture", "vector"]
KINDS = ("text", "item", "picture", "vector")


@dataclass(frozen=True)
class Term:
    """One thing that is asked with: a text, an item, a picture, or a vector.

    Example:
        >>> engine.Term.of_text("a red bicycle"), engine.Term.of_item(3, weight=2.0)
        (Term(kind='text', value='a red bicycle', weight=1.0), Term(kind='item', value=3, weight=2.0))

    Attributes:
        kind: "text", "item", "picture" or "vector".
        value: a sentence; the id of an item, its path or that of any picture file; the bytes of a picture file; or D
            real numbers, of the space that is searched: no head is applied to them.
        weight: how much it counts beside the query's other terms; below 0 for what answers should be unlike.
    """

    kind: Kind
    value: str | int | bytes | tuple[float, ...]
    weight: float = 1.0

    def __post_init__(self) -> None:
        checks.one_of("kind", self.kind, KINDS)
        checks.settle(self, value=_READ[self.kind](self.value), weight=checks.real("weight", self.weight))
        if not 0 < abs(self.weight) <= checks.MOST:
            raise InvalidInput(f"weight: expected a number other than 0, found {checks.brief(self.weight)}")

    def __repr__(self) -> str:
        value = f"<{len(self.value):,} bytes>" if isinstance(self.value, bytes) else repr(self.value)
        return f"Term(kind={self.kind!r}, value={value}, weight={self.weight!r})"

    @classmethod
    def of_text(cls, text: str, *, weight: float = 1.0) -> Term:
        """Ask with a sentence."""
        return cls("text", text, weight)

    @classmethod
    def of_item(cls, item: str | Path | int, *, weight: float = 1.0) -> Term:
        """Ask with an indexed item, by its id or path, or with any picture file."""
        return cls("item", as_item("item", item), weight)

    @classmethod
    def of_picture(cls, picture: Any, *, weight: float = 1.0) -> Term:
        """Ask with a picture itself: the bytes of its file, a file open for reading bytes, a PIL image, or pixels.

        Pixels are uint8 [H, W], [H, W, 3] or [H, W, 4]. A file is read to its end.
        """
        return cls("picture", picture, weight)

    @classmethod
    def of_vector(cls, vector: Any, *, weight: float = 1.0) -> Term:
        """Ask with a vector [D] of the space that is searched."""
        return cls("vector", vector, weight)

    @property
    def name(self) -> str | int | None:
        """What answers call it: the text, the path or id; "a picture" for one without a path, None for a vector."""
        if isinstance(self.value, tuple):
            return None
        if isinstance(self.value, bytes):
            return "a picture"
        return shown(self.value) if self.kind == "item" and isinstance(self.value, str) else self.value


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

    def __post_init__(self) -> None:
        if sum((self.plan is not None, checks.truth("exact", self.exact), self.recall is not None)) > 1:
            raise InvalidInput("a plan, exact and recall exclude each other: each of them says how to search")
        checks.settle(
            self,
            k=checks.whole("k", self.k),
            plan=checks.optional("plan", self.plan, _plan),
            exact=bool(self.exact),
            recall=checks.optional("recall", self.recall, checks.share),
            dim=checks.optional("dim", self.dim, checks.signed),
            where=checks.optional("where", self.where, _filter),
            include_self=checks.truth("include_self", self.include_self),
            max_pixels=checks.whole("max_pixels", self.max_pixels, high=checks.MOST_BYTES),
        )
        if type(self.terms) is not tuple or self.terms:
            checks.settle(self, terms=tuple(checks.several("terms", self.terms, _term)))

    @property
    def name(self) -> str | int | None:
        """What answers call it; None where it is of vectors alone."""
        names = [term.name for term in self.terms if term.name is not None]
        return names[0] if len(names) == 1 else " + ".join(map(str, names)) or None

    @property
    def filter(self) -> Filter | None:
        """What lets items through, as it was read when this was made."""
        return self.where  # type: ignore[return-value]

    def with_terms(self, *terms: Term) -> Query:
        """Return the same question of other terms; it was checked when it was made."""
        other = object.__new__(Query)
        other.__dict__.update(self.__dict__, terms=terms)
        return other

    def plan_on(self, routes: Routes) -> SearchPlan | None:
        """Return the plan that is meant on a space: as it was written, exact, or by recall; None for the space's own.

        Raises:
            InvalidInput: a recall of a space that was not tuned.
        """
        if self.recall is not None and self.where is None:
            return routes.for_recall(self.recall, self.k)
        exact = self.exact or (self.where is not None and self.plan is None)
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
) -> Query:
    return Query((), k, plan, exact, recall, dim, where, include_self=include_self, max_pixels=max_pixels)


def query_without_terms(
    k: int,
    plan: Any,
    exact: bool,
    recall: float | None,
    dim: int | None,
    where: Any = None,
    include_self: bool = False,
    max_pixels: int = DEFAULT_MAX_PIXELS,
) -> Query:
    """Return a question that has all but its terms; the same again where the same was wanted before.

    To check it takes as long as a search of few rows.
    """
    try:
        return _kept(k, plan, exact, recall, dim, where, include_self, max_pixels)
    except TypeError:  # something that has no hash: a filter as JSON, or what is refused in words
        return Query((), k, plan, exact, recall, dim, where, include_self=include_self, max_pixels=max_pixels)


Plan = str | SearchPlan | None
"""How a search is written down; None for the collection's own."""


class How(TypedDict, total=False):
    """How a search is to be done; see `Query`."""

    plan: str | SearchPlan | None
    dim: int | None
    exact: bool
    recall: float | None
    where: Filter | str | dict[str, Any] | None


class Like(How, total=False):
    """How what is like an item is to be found."""

    include_self: bool
    max_pixels: int


def _plan(name: str, given: Any) -> SearchPlan:
    return SearchPlan.parse(given) if isinstance(given, str) else checks.instance(name, given, SearchPlan)


def _filter(name: str, given: Any) -> Filter:
    from engine.query.where.tree import Filter

    return Filter.parse(given)


def _term(name: str, given: Any) -> Term:
    return checks.instance(name, given, Term)


def _vector(given: Any) -> tuple[float, ...]:
    if isinstance(given, str | os.PathLike):
        raise InvalidVectors(f"a vector is D numbers, found {checks.brief(given)}")
    rows = as_matrix(given, name="vector")
    if len(rows) != 1 or not rows.size:
        raise InvalidVectors(f"a term is one vector [D], found {list(np.shape(given))}")
    return tuple(rows[0].tolist())


def _picture(given: Any) -> bytes:
    from engine.query.given import picture_bytes

    return picture_bytes("picture", given)


def _is_given(value: Any) -> bool:
    from engine.query.given import is_given

    return is_given(value)


def _is_vectors(value: Any) -> bool:
    """Whether something is an array of vectors, [D] or [nq, D]: real numbers, of which no picture is made."""
    return isinstance(value, np.ndarray) and value.ndim in (1, 2) and value.dtype.kind == "f"


_READ: dict[str, Callable[[Any], Any]] = {
    "text": lambda given: checks.instance("a query", given, str),
    "item": lambda given: as_item("item", given),
    "picture": _picture,
    "vector": _vector,
}


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
    if isinstance(query, os.PathLike) or (not isinstance(query, np.ndarray | list | tuple) and _is_given(query)):
        like = query if isinstance(query, os.PathLike) else checks.brief(query)
        raise InvalidInput(f"a query is a text, several texts, or vectors; pictures like {like} are found by similar")
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


def is_item(value: Any) -> bool:
    """Whether something is what one item is named by."""
    return isinstance(value, str | os.PathLike | Integral) and not isinstance(value, bool)


def as_likenesses(items: Any) -> tuple[list[Term], bool]:
    """Return terms of one item or picture or of several, and whether it was one; ids as Python's own int.

    Raises:
        InvalidInput: one of them is no item and no picture.
        PictureError: a picture that was given as it is cannot be read.
    """
    many = isinstance(items, list | tuple)
    if is_item(items) or not (many or isinstance(items, Iterable)) or (not many and _is_one(items)):
        return [as_likeness(items)], True
    several, terms = list(items) if _is_vectors(items) else checks.several("item", items, lambda _, one: one), []
    for number, one in enumerate(several, start=1):
        try:
            terms.append(as_likeness(one))
        except PictureError as error:
            raise PictureError(f"input {number} of {len(several)}: {error}") from error
    return terms, False


def _is_one(given: Any) -> bool:
    return given.ndim == 1 if _is_vectors(given) else _is_given(given)


def as_likeness(given: Any) -> Term:
    """Return a term of one item or picture, or of a vector.

    Raises:
        InvalidInput: it is something else, or several.
        PictureError: a picture that was given as it is cannot be read.
    """
    if is_item(given):
        return Term("item", as_item("item", given))
    if _is_vectors(given):
        return Term.of_vector(given)
    return Term.of_picture(given) if _is_given(given) else Term("item", as_item("item", given))


def as_item(name: str, given: Any) -> str | int:
    """Return what names an item: an id as Python's own int, or the text of a path.

    Raises:
        InvalidInput: it is something else.
    """
    if isinstance(given, Integral):
        return checks.whole(name, given, -checks.MOST_ID, checks.MOST_ID)
    if isinstance(given, str | os.PathLike):
        return checks.text(name, checks.as_text(given))
    vectors = isinstance(given, np.ndarray | np.floating | float)
    raise InvalidInput(
        f"{name}: expected an id, the path of a picture, or a picture, found {checks.brief(given)}"
        f"{': vectors are searched with by search' if vectors else ''}"
    )
