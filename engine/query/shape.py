"""What becomes of what was found: from where on, down to which score, without copies, in groups, varied, sorted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypedDict

from indexers import checks
from indexers.errors import InvalidInput

SAME = 0.999
"""Answers whose cosine is at least this are copies of each other, where nobody says otherwise: float16 rounds it."""

AUTO = "auto"
"""Of `at_least`: what is stored with the space."""


@dataclass(frozen=True)
class Shape:
    """What becomes of the items that a question finds, before `k` of them are given back.

    Rows are taken in the order of their scores, of equal ones the lower first; what is left of them by `min_score` and
    `distinct` is grouped, and cut to a page.

    Example:
        >>> photos = engine.Collection.open("photos.nest")
        >>> photos.search("a red bicycle", k=2, group_by="folder").groups
        ['drawings', 'photos']

    Attributes:
        offset: so many answers, or groups, are passed over.
        pages: whether the answers are the first page: they have a `cursor` then, where there are others behind them.
        after: the `cursor` of answers that came before; these follow them, in the version those were of.
        min_score: the least score of an answer, a cosine; None for any.
        at_least: how unlikely by chance an answer has to be, more than 0 and less than 1: by 0.95 none stays that would
            be there by chance with a probability of more than 5 %. "auto" for the cut-off that `Collection.tune_cutoff`
            found. None for any.
        distinct: the cosine from which on two answers are copies of each other: the better one stands for both. None
            lets copies answer.
        group_by: a column; k groups answer then, each by its best items. What has no value is a group too.
        group_size: answers a group.
        diverse: the weight of the score, above 0 and at most 1, against likeness to what was chosen before: maximal
            marginal relevance (Carbonell & Goldstein 1998) among the best 20 k, at least 200, without copies. None for
            the best.
        sort: a column that the k answers are ordered by, the least first, or with a `-` before its name the largest;
            what has no value comes last. None for their scores.

    Raises:
        InvalidInput: a value of another type or range, or two that cannot go together.
    """

    offset: int = 0
    pages: bool = False
    after: str | None = None
    min_score: float | None = None
    distinct: float | None = None
    group_by: str | None = None
    group_size: int = 1
    diverse: float | None = None
    sort: str | None = None
    at_least: float | str | None = None

    def __post_init__(self) -> None:
        checks.settle(
            self,
            offset=checks.whole("offset", self.offset, 0),
            pages=checks.truth("pages", self.pages),
            after=checks.optional("after", self.after, checks.text),
            min_score=checks.optional("min_score", self.min_score, _cosine),
            distinct=checks.optional("distinct", self.distinct, checks.share),
            group_by=checks.optional("group_by", self.group_by, checks.text),
            group_size=checks.whole("group_size", self.group_size),
            diverse=checks.optional("diverse", self.diverse, checks.share),
            sort=checks.optional("sort", self.sort, checks.text),
            at_least=checks.optional("at_least", self.at_least, _unlikely),
        )
        if self.offset and self.after is not None:
            raise InvalidInput("offset and after exclude each other: each of them says where answers begin")
        if self.group_size > 1 and self.group_by is None:
            raise InvalidInput("group_size says how many answers a group has: group_by says what makes one")
        if self.sort is not None and self.group_by is not None:
            raise InvalidInput("sort orders answers one by one, and group_by keeps those of a group together")
        on_pages = self.offset or self.pages or self.after is not None
        if self.diverse is not None and (self.group_by is not None or on_pages):
            raise InvalidInput("diverse chooses from the best answers: it goes with neither groups nor pages")

    @property
    def is_plain(self) -> bool:
        """Whether the k best are wanted as they are."""
        return self == PLAIN


def _cosine(name: str, value: Any) -> float:
    found = checks.real(name, value)
    if not -1 <= found <= 1:
        raise InvalidInput(f"{name}: scores are cosines, from −1 to 1; found {checks.brief(found)}")
    return found


def _unlikely(name: str, value: Any) -> float | str:
    if isinstance(value, str) and value == AUTO:
        return value
    found = -1.0 if isinstance(value, str) else checks.real(name, value)
    if not 0 < found < 1:
        raise InvalidInput(f"{name}: a probability between 0 and 1, or {AUTO!r}; found {checks.brief(value)}")
    return found


PLAIN = Shape()


class Then(TypedDict, total=False):
    """What becomes of what was found; see `Shape`."""

    offset: int
    pages: bool
    after: str | None
    min_score: float | None
    distinct: float | None
    group_by: str | None
    group_size: int
    diverse: float | None
    sort: str | None
    at_least: float | str | None


def shape_of(given: Mapping[str, Any]) -> Shape:
    """Return what keyword arguments say.

    Raises:
        InvalidInput: there is no such one.
    """
    if not given:
        return PLAIN
    if wrong := [name for name in given if name not in Shape.__dataclass_fields__]:
        known = ", ".join(Shape.__dataclass_fields__)
        raise InvalidInput(f"there is no argument {wrong[0]!r}; what was found is shaped by {known}")
    return Shape(**given)
