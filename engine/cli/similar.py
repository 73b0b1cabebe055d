"""`nestvec similar`."""

from __future__ import annotations

from pathlib import Path

import click

from engine.cli import options
from engine.cli.answer import present
from engine.cli.meant import check_order


@click.command()
@options.collection
@click.argument("items", nargs=-1, required=True, metavar="ITEM...")
@click.option("--include-self", is_flag=True, help="Let an indexed item be among its own answers.")
@options.answering
def command(collection: Path, items: tuple[str, ...], include_self: bool, how: options.Answering) -> None:
    """Find the pictures most like a picture.

    ITEM is the path of an indexed picture, any other picture file, or the id of an item.

    \b
    Example:
        nestvec similar photos.nest photo.jpg other.jpg
        nestvec similar photos.nest 4711 -k 20 --html likes.html
    """
    from engine.query.reader import Reader

    check_order(collection, items)
    with Reader.open(collection, device=how.device, space=how.space, encoder=how.encoder) as opened:
        answers = opened.similar(
            list(items),
            how.k,
            plan=how.plan,
            dim=how.dim,
            exact=how.exact,
            recall=how.recall,
            include_self=include_self,
        )
        present(answers, how, opened)
