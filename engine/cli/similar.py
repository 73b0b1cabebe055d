"""`nestvec similar`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine.cli import SKIPPED, options
from engine.cli.answer import check_printing, present, present_like
from engine.cli.asked import liking, question, terms_beside
from engine.cli.marked import Marking
from engine.cli.meant import check_order

if TYPE_CHECKING:
    from engine.query.reader import Reader


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
        nestvec similar photos.nest photo.jpg --paths0 | xargs -0 cp -t CHOSEN
    """
    from engine.query.reader import Reader
    from engine.query.terms import as_likeness

    check_order(collection, items)
    check_printing(how)
    with Reader.open(collection, device=how.device, space=how.space, encoder=how.encoder) as opened:
        wanted, likes = question(how, include_self=include_self), terms_beside(how)
        marking = Marking(how.good, how.bad, how.session)
        if marking:
            several = [[as_likeness(item)] for item in (_ids(opened, [*items]) if are_keys else items)]
            if not present(marking.ask(opened, wanted, several, likes, how), how, opened):
                raise click.exceptions.Exit(SKIPPED)
            return
        found = liking(opened, wanted, likes, how)
        present_like(items, (lambda item: found(_ids(opened, item))) if are_keys else found, how, opened)


def _ids(opened: Reader, keys: str | list[str]) -> Any:
    """Return the ids of items by their keys, or of one."""
    found: list[int] = opened.ids_of(keys).tolist()
    return found if isinstance(keys, list) else found[0]
