"""`nestvec similar`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from engine.cli import options
from engine.cli.answer import check_printing, present_like
from engine.cli.meant import check_order


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

    check_order(collection, items)
    check_printing(how)
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
                where=how.where,
                include_self=include_self,
                max_pixels=how.max_pixels,
            )

        present_like(items, ask, how, opened)
