"""What is asked with: texts, items, pictures and vectors, added and subtracted."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from numbers import Integral
from pathlib import Path
from typing import Any, Literal

import numpy as np

from engine.storage.names import shown
from indexers import checks
from indexers.errors import InvalidInput, InvalidVectors, PictureError
from indexers.vectors import as_matrix

Kind = Literal["text", "item", "picture", "vector"]
KINDS = ("text", "item", "picture", "vector")


@dataclass(frozen=True)
class Term:
    """One thing that is asked with: a text, an item, a picture, or a vector.

    Example:
        >>> engine.Term.of_text("a red bicycle"), engine.Term.of_item(3, weight=2.0)
        (Term(kind='text', value='a red bicycle', weight=1.0), Term(kind='item', value=3, weight=2.0))
        >>> bicycle, sea, child = map(engine.Term.of_text, ["a bicycle", "the sea", "a child"])
        >>> [term.weight for term in bicycle + 0.5 * sea - child]
        [1.0, 0.5, -1.0]

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

    def __mul__(self, weight: float) -> Term:
        """Let it count so many times as much."""
        return replace(self, weight=self.weight * checks.real("weight", weight))

    __rmul__ = __mul__

    def __neg__(self) -> Term:
        """Let answers be unlike it."""
        return self * -1

    def __add__(self, other: Term | Terms) -> Terms:
        """Ask with both."""
        return Terms((self,)) + other

    def __sub__(self, other: Term | Terms) -> Terms:
        """Ask with this, and for what is unlike the other."""
        return Terms((self,)) - other

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


class Terms(tuple[Term, ...]):
    """Several terms, as adding and subtracting makes them; see `Term`.

    Example:
        >>> wanted = engine.Term.of_text("a bicycle") - engine.Term.of_text("a child")
        >>> engine.Collection.open("photos.nest").search(wanted, k=1).captions
        ['bicycle']
    """

    __array_ufunc__ = None  # a weight of NumPy's is no array to be spread over them

    def __add__(self, other: Any) -> Terms:
        """Ask with these and with others."""
        return Terms((*self, *_terms_of(other)))

    def __sub__(self, other: Any) -> Terms:
        """Ask with these, and for what is unlike others."""
        return Terms((*self, *(-term for term in _terms_of(other))))

    def __mul__(self, weight: Any) -> Terms:
        """Let all of them count so many times as much."""
        return Terms(term * weight for term in self)

    __rmul__ = __mul__

    def __neg__(self) -> Terms:
        """Let answers be unlike all of them."""
        return self * -1


def terms_of(query: Any) -> tuple[Term, ...]:
    """Return the terms of one question: a text, a vector, a term, or several.

    Raises:
        InvalidInput: it is something else, or several.
    """
    if isinstance(query, str):
        return (Term.of_text(query),)
    return _terms_of(query) if isinstance(query, Term | Terms) else (Term.of_vector(query),)


def words_of(words: Any, terms: Iterable[Term]) -> Any:
    """Return the words that are looked for: of True those of the texts that are asked with, one after the other.

    Raises:
        InvalidInput: there are no texts.
    """
    if words is not True:
        return None if words is False else words
    texts = [str(term.value) for term in terms if term.kind == "text" and term.weight > 0]
    if not texts:
        raise InvalidInput("words: there is no text in the query whose words could be looked for: name them")
    return " ".join(texts)


def terms_beside(like: Any, unlike: Any) -> list[Term]:
    """Return the terms of what answers are to be like or unlike as well.

    Raises:
        InvalidInput, PictureError: as for `as_likenesses`.
    """
    found: list[Term] = []
    for given, weight in ((like, 1.0), (unlike, -1.0)):
        several = [given] if isinstance(given, Term) or is_item(given) or not isinstance(given, list | tuple) else given
        for one in several:
            found.append((one if isinstance(one, Term) else as_likeness(one)) * weight)
    return found


def _terms_of(given: Any) -> tuple[Term, ...]:
    if isinstance(given, Term):
        return (given,)
    if isinstance(given, Terms):
        return given
    raise InvalidInput(f"terms are added to terms, found {checks.brief(given)}; Term.of_text makes one of a text")


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


def is_given_picture(value: Any) -> bool:
    """Whether something is a picture itself, and not what one is named by."""
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
    return given.ndim == 1 if _is_vectors(given) else is_given_picture(given)


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
    return Term.of_picture(given) if is_given_picture(given) else Term("item", as_item("item", given))


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


@dataclass(frozen=True)
class Marks:
    """What was judged of answers: which were good, and which were bad.

    They turn the vector that is searched with, see docs/query.md; what is marked does not answer again. `like=` and
    `unlike=` are terms of a sum instead, whose weights are yours.

    Example:
        >>> photos = engine.Collection.open("photos.nest")
        >>> marks = engine.Marks(good=["drawings/bicycle.png"], bad=["drawings/bus.png"])
        >>> len(photos.search("something to ride", k=3, marks=marks))
        3

    Attributes:
        good, bad: ids, or paths or names of items, or one of them. One that is in the collection no longer is told in
            the answers' `notes`, and counts for nothing.

    Raises:
        InvalidInput: one of them is neither, or is among both.
    """

    good: tuple[str | int, ...] = ()
    bad: tuple[str | int, ...] = ()

    def __post_init__(self) -> None:
        for name in ("good", "bad"):
            items = checks.one_or_several(name, getattr(self, name), as_item)
            checks.settle(self, **{name: tuple(dict.fromkeys(items))})
        if both := set(self.good) & set(self.bad):
            raise InvalidInput(f"{checks.brief(min(both, key=str))} is marked good and bad: it is one of them")

    def __bool__(self) -> bool:
        return bool(self.good or self.bad)


NO_MARKS = Marks()
