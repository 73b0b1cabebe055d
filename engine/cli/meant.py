"""What a person means by words, pictures and collections, in whatever order they come."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from engine.cli.output import say
from engine.collection import reading
from engine.storage.kinds import PICTURE_SUFFIXES
from engine.storage.names import command
from engine.storage.regular import opened_regular
from indexers import checks

HEAD = 64


@dataclass(frozen=True)
class Meaning:
    """What was asked: a sentence, or pictures; nothing at all if both are empty."""

    sentence: str
    pictures: tuple[str, ...]


def understood(words: Sequence[str]) -> Meaning:
    """Return what somebody asks for, and say it where there is more than one way to take it.

    Args:
        words: what stands behind the collection: a sentence, quoted or not, or picture files.

    Raises:
        click.UsageError: pictures and words at once.
    """
    pictures = tuple(word for word in words if is_picture(word))
    if pictures and len(pictures) < len(words):
        other = next(word for word in words if word not in pictures)
        raise click.UsageError(
            f"{pictures[0]} is a picture and {other!r} is not: ask with one of them. Pictures like it are found by "
            f"{command('similar', 'COLLECTION', pictures[0])}, and a sentence with such a word in it by "
            f"{command('search', 'COLLECTION', '-q', ' '.join(words))}"
        )
    if pictures:
        kind = "a picture" if len(pictures) == 1 else "pictures"
        say(f"{', '.join(pictures)}: {kind}, so this looks for what is like it, as `nestvec similar` does")
        return Meaning("", pictures)
    sentence = " ".join(words)
    if len(words) > 1:
        several = any(len(word.split()) > 1 for word in words)
        say(f'searching for "{sentence}"{"; for several queries put -q before each" if several else ""}')
    elif Path(sentence).suffix.lower() in PICTURE_SUFFIXES:
        say(
            f"there is no file {sentence}: searching for these words; `nestvec similar` takes names of indexed pictures"
        )
    return Meaning(sentence, ())


def is_picture(word: str) -> bool:
    """Whether a word is the path of a picture file: called like one, or beginning like one."""
    from engine.encoders.pictures import looks_like_picture

    try:
        with opened_regular(word) as file:
            return Path(word).suffix.lower() in PICTURE_SUFFIXES or looks_like_picture(file.read(HEAD))
    except (OSError, ValueError):  # no such file, or no name of one
        return False


def check_order(collection: Path, others: Sequence[str | Path], *, last: bool = False) -> None:
    """Refuse a collection that is not where a verb takes it, and say in which order they go.

    Args:
        collection: what stands where the collection should.
        others: what stands where sources, pictures and words should.
        last: whether the verb takes the collection behind these; a new one is where nothing is yet.

    Raises:
        click.UsageError: one of the others is a collection, and what stands in its place is none.
    """
    if is_collection(collection) or (last and not collection.exists()):
        return
    found = next((one for one in others if is_collection(one)), None)
    if found is not None:
        rest = [collection, *(one for one in others if one is not found)]
        verb = click.get_current_context().info_name or ""
        right = [*rest, found] if last else [found, *rest]
        raise click.UsageError(
            f"{found} is a collection and comes {'last' if last else 'first'}: {command(verb, *right)}"
        )


class Number(click.IntRange):
    """The number of a version, behind the collection."""

    def __init__(self) -> None:
        super().__init__(0, checks.MOST)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read it."""
        if isinstance(value, str) and ctx is not None and is_collection(value):
            before = ctx.params.get("collection", "")
            self.fail(
                f"{value} is a collection and comes first: {command(ctx.info_name or '', value, before)}", param, ctx
            )
        return super().convert(value, param, ctx)


def is_collection(path: str | Path) -> bool:
    """Whether there is a collection at a path."""
    try:
        return reading.exists(Path(path))
    except (OSError, ValueError):
        return False
