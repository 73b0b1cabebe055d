"""`nestvec similar`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine.cli import SKIPPED, options
from engine.cli.answer import present
from engine.cli.meant import check_order
from engine.cli.output import say
from indexers.errors import ItemNotFound, PictureError

if TYPE_CHECKING:
    from engine.query.answers import Answers


@click.command()
@options.collection
@click.argument("items", nargs=-1, required=True, metavar="ITEM...")
@click.option("--include-self", is_flag=True, help="Let an indexed item be among its own answers.")
@click.option("--keys", "are_keys", is_flag=True, help="ITEM is a key, of the column that index --key named.")
@options.answering
def command(
    collection: Path, items: tuple[str, ...], include_self: bool, are_keys: bool, how: options.Answering
) -> None:
    """Find the pictures most like a picture.

    ITEM is the path of an indexed picture, any other picture file, or the id of an item. Where one of several
    cannot be looked for, the others are answered, and the exit status is 3.

    \b
    Example:
        nestvec similar photos.nest photo.jpg other.jpg
        nestvec similar photos.nest 4711 -k 20 --html likes.html
        nestvec similar shop.nest --keys 1152921504606846983
    """
    from engine.query.reader import Reader

    check_order(collection, items)
    with Reader.open(collection, device=how.device, space=how.space, encoder=how.encoder) as opened:

        def ask(item: str | list[str]) -> Any:
            ids = opened.ids_of(item).tolist() if are_keys else []
            return opened.similar(
                (ids if isinstance(item, list) else ids[0]) if are_keys else item,
                how.k,
                plan=how.plan,
                dim=how.dim,
                exact=how.exact,
                recall=how.recall,
                include_self=include_self,
                max_pixels=how.max_pixels,
            )

        wrong: list[str] = []
        try:
            answers: Sequence[Answers] = ask(list(items))
        except (PictureError, ItemNotFound):
            answers, wrong = _one_by_one(ask, items)
        present(answers, how, opened)
    for one in wrong:
        say(one)
    if wrong:
        raise click.exceptions.Exit(SKIPPED)


def _one_by_one(ask: Callable[[str], Any], items: Sequence[str]) -> tuple[list[Answers], list[str]]:
    """Return the answers of the items that have any, and what is wrong with the others; raise where none has."""
    answers, errors, wrong = [], [], []
    for item in items:
        try:
            answers.append(ask(item))
        except (PictureError, ItemNotFound) as error:
            errors.append(error)
            wrong.append(str(error) if item in str(error) else f"{item}: {error}")
    if not answers:
        raise errors[0] if len(errors) == 1 else type(errors[-1])("; ".join(wrong))
    return answers, wrong
