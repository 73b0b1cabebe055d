"""What is asked for on the command line, as terms and as a shape of the answers."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine.cli.meant import is_picture
from engine.cli.options import Answering
from engine.cli.output import say
from engine.storage.kinds import PICTURE_SUFFIXES

if TYPE_CHECKING:
    from engine.query.ask import Query
    from engine.query.reader import Reader
    from engine.query.terms import Term

SIGNS = ("+", "-")
NEGATION = re.compile(r"\b(not|no|without|except|never)\b", re.IGNORECASE)
ID = re.compile(r"id:([0-9]{1,18})")
# 12:30, 16:9 and 10:30am are no weights: what follows one begins with no digit.
WEIGHT = re.compile(r"([0-9]{1,9}(?:[.][0-9]{0,9})?|[.][0-9]{1,9}):(?=[^0-9:/\s])")
ITEM_WEIGHT = re.compile(r"([0-9]{1,9}(?:[.][0-9]{0,9})?|[.][0-9]{1,9}):(?=.)")
NUMBER = re.compile(r"[0-9]{1,18}")


def question(how: Answering, *, include_self: bool = False) -> Query:
    """Return the question that options ask, without its terms."""
    from engine.query.ask import Query
    from engine.query.shape import SAME, Shape

    column, size = _group(how.group_by)
    shape = Shape(
        offset=how.offset,
        pages=how.pages,
        after=how.after,
        min_score=how.min_score,
        at_least=how.at_least,
        distinct=how.distinct_from or (SAME if how.distinct else None),
        group_by=column,
        group_size=size,
        diverse=how.diverse,
        sort=how.sort,
    )
    how_found: Any = {"plan": how.plan, "exact": how.exact, "recall": how.recall, "dim": how.dim, "where": how.where}
    if how.hybrid and how.words is not None:
        raise click.UsageError("--hybrid looks for the words of the text itself, --words for others: give one of them")
    more: Any = {"include_self": include_self, "max_pixels": how.max_pixels, "shape": shape}
    more |= {"words": how.words, "blend": None if how.hybrid else how.blend}
    return Query((), how.k, **how_found, **more)


def liking(
    opened: Reader, wanted: Query, likes: Sequence[Term], how: Answering
) -> Callable[[str | int | list[Any]], Any]:
    """Return what answers with what is like an item or picture, or like each of several."""
    from engine.query.terms import as_likeness

    def ask(items: str | int | list[Any]) -> Any:
        several = items if isinstance(items, list) else [items]
        found = opened.ask_all([with_its_words(wanted, [as_likeness(item), *likes], how) for item in several])
        return found if isinstance(items, list) else found[0]

    return ask


def with_its_words(wanted: Query, terms: Sequence[Term], how: Answering) -> Query:
    """Return a question of these terms, which looks for the words of their texts too if options say so."""
    from engine.query.terms import words_of

    own = wanted.with_words(words_of(True, terms), how.blend) if how.hybrid else wanted
    return own.with_terms(*terms)


def _group(given: str | None) -> tuple[str | None, int]:
    """Read `COLUMN[:N]`."""
    if given is None:
        return None, 1
    column, colon, size = given.rpartition(":")
    return (column, int(size)) if colon and column and NUMBER.fullmatch(size) else (given, 1)


def is_sum(words: Sequence[str]) -> bool:
    """Whether words are written as a sum: with a sign that stands alone, or with a weight or an id."""
    return any(word in SIGNS for word in words) or (
        len(words) == 1 and (ID.fullmatch(words[0]) is not None or _split(words[0])[1] != 1)
    )


def terms_of_sum(words: Sequence[str]) -> list[Term]:
    """Read words, pictures and ids with signs between them: `red bicycle + 0.5:./wheel.jpg - id:4711`.

    Raises:
        click.UsageError: there is nothing between two signs, or behind the last.
    """
    terms: list[Term] = []
    part: list[str] = []
    sign, begun = 1.0, False
    for word in (*words, "+"):
        if word not in SIGNS:
            part.append(word)
            continue
        if part:
            terms += _terms_of_part(part, sign)
        elif begun:
            raise click.UsageError("a + or - stands between things that are asked for, and before each of them")
        part, sign, begun = [], (1.0 if word == "+" else -1.0), True
    return terms


def _terms_of_part(part: Sequence[str], sign: float) -> list[Term]:
    """Return the terms between two signs: pictures and ids each by itself, or words as one sentence.

    Raises:
        click.UsageError: some of both.
    """
    items = [word for word in part if _is_item(_split(word)[0])]
    if items and len(items) < len(part):
        other = next(word for word in part if word not in items)
        raise click.UsageError(f"{items[0]} is a picture or an item, and {other!r} is words: put a + or - between them")
    if items:
        return [term_of(word, sign, is_item=True) for word in part]
    first, weight = _split(part[0])
    return [_text(" ".join([first, *part[1:]]), sign * weight)]


def _is_item(word: str) -> bool:
    """Whether a word is an id, a picture file, or called like one: an item may be, by its path in its source."""
    named = " " not in word and Path(word).suffix.lower() in PICTURE_SUFFIXES
    return ID.fullmatch(word) is not None or named or is_picture(word)


def term_of(word: str, sign: float = 1.0, *, is_item: bool = False) -> Term:
    """Read one thing that is asked for: a picture file, `id:4711`, or words, with a weight before it or without.

    Where it is more likely an item, a number is an id and what is called like a picture is one, though it is no file.
    """
    from engine.query.terms import Term

    plain, weight = _split(word, ITEM_WEIGHT if is_item else WEIGHT)
    if (found := ID.fullmatch(plain)) is not None or (is_item and NUMBER.fullmatch(plain)):
        return Term.of_item(int(plain if found is None else found[1]), weight=sign * weight)
    return Term.of_item(plain, weight=sign * weight) if _is_item(plain) else _text(plain, sign * weight)


def terms_beside(how: Answering) -> list[Term]:
    """Return what `--like` and `--unlike` say."""
    like = [term_of(word, is_item=True) for word in how.like]
    return like + [term_of(word, -1.0, is_item=True) for word in how.unlike]


def hint_at_negation(texts: Sequence[str]) -> None:
    """Say once that encoders do not understand a no."""
    if (no := next(filter(None, map(NEGATION.search, texts)), None)) is not None:
        say(
            f'"{no.string}": encoders hardly understand {no[0]!r}; say what answers are to be unlike '
            'with - "…" or --unlike'
        )


def _text(text: str, weight: float) -> Term:
    from engine.query.terms import Term

    return Term.of_text(text, weight=weight)


def _split(word: str, weights: re.Pattern[str] = WEIGHT) -> tuple[str, float]:
    """Return a word without the weight before it, and that weight; what weighs nothing has none."""
    found = weights.match(word)
    return (word, 1.0) if found is None or not float(found[1]) else (word[found.end() :], float(found[1]))
