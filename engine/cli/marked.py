"""Marks of answers, as options and as a session in a file say them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from engine.cli.asked import with_its_words

if TYPE_CHECKING:
    from engine.cli.options import Answering
    from engine.query.answers import AnswerList
    from engine.query.ask import Query
    from engine.query.reader import Reader
    from engine.query.terms import Marks, Term

IDS = re.compile(r"[0-9]{1,18}(,[0-9]{1,18})*")


@dataclass(frozen=True)
class Marking:
    """What `--good`, `--bad` and `--session` say; false where they say nothing."""

    good: tuple[str, ...]
    bad: tuple[str, ...]
    session: Path | None

    def __bool__(self) -> bool:
        return bool(self.good or self.bad or self.session)

    @property
    def marks(self) -> Marks:
        """The marks that are new."""
        from engine.query.terms import Marks

        return Marks(_items(self.good), _items(self.bad))

    def question(
        self, opened: Reader, wanted: Query, asked: Sequence[Sequence[Term]], likes: Sequence[Term]
    ) -> tuple[Query, Callable[[], None]]:
        """Return the one question that is asked, with all marks, and what writes the session down.

        Args:
            opened: the collection.
            wanted: the question without terms and marks.
            asked: the terms of each query that was given.
            likes: those of `--like` and `--unlike`.

        Raises:
            click.UsageError: several queries.
            ItemNotFound: a new mark is of no item.
            InvalidInput: the session is none, or an item is marked good and bad.
        """
        from dataclasses import replace

        from engine.query.ask import Query
        from engine.query.session import marked_also, read_session, write_session

        if len(asked) > 1:
            raise click.UsageError(f"marks are of the answers to one query, and {len(asked)} were given")
        before = Query() if self.session is None else read_session(self.session)
        kept = marked_also(before, self.marks, opened.snapshot)
        own = tuple(asked[0]) if asked else ()
        if own or not kept.terms:
            kept = replace(kept, terms=(*own, *likes))
        terms = kept.terms if own or not before.terms else (*kept.terms, *likes)

        def keep() -> None:
            if self.session is not None and kept != before:
                write_session(self.session, kept)

        return replace(wanted, terms=terms, marks=kept.marks), keep

    def ask(
        self,
        opened: Reader,
        wanted: Query,
        asked: Sequence[Sequence[Term]],
        likes: Sequence[Term],
        how: Answering,
    ) -> AnswerList:
        """Answer the one question, and write the session down when it could be answered.

        Args:
            opened, wanted, asked, likes: as for `question`.
            how: what else was said; by `--hybrid` words of the texts are looked for, of a session's too.
        """
        question, keep = self.question(opened, wanted, asked, likes)
        found = opened.ask_all([with_its_words(question, question.terms, how)])
        keep()
        return found


def _items(words: Sequence[str]) -> tuple[str | int, ...]:
    """Read ids with commas between them, and paths."""
    found: list[str | int] = []
    for word in words:
        found += map(int, word.split(",")) if IDS.fullmatch(word) else [word]
    return tuple(found)
