"""`nestvec between`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine.cli import options
from engine.cli.asked import term_of
from engine.cli.meant import check_order
from engine.cli.output import Name, line, named, print_json, print_summary, say

if TYPE_CHECKING:
    from engine.query.reader import Reader


@click.command()
@options.collection
@click.argument("poles", nargs=-1, metavar="[LOW HIGH]")
@click.option("--low", multiple=True, metavar="ITEM", help="LOW is the mean of these; as for --like; repeatable.")
@click.option("--high", multiple=True, metavar="ITEM", help="HIGH likewise; repeatable.")
@options.where
@click.option("--column", metavar="NAME", help="Write the places as a column, for filters and orders to use.")
@click.option("--share", is_flag=True, help="With --column: how many of the other items lie lower, from 0 to 1.")
@click.option("-k", type=options.COUNT, default=10, show_default=True, help="Items that are printed of either end.")
@options.max_pixels
@options.space
@options.encoder
@options.device
@options.as_json
def command(
    collection: Path,
    poles: tuple[str, ...],
    low: tuple[str, ...],
    high: tuple[str, ...],
    where: str | None,
    column: str | None,
    share: bool,
    k: int,
    max_pixels: int,
    space: str | None,
    encoder: str | None,
    device: str,
    as_json: bool,
) -> None:
    """Say where items lie between two poles: 0 is LOW, 1 is HIGH.

    A pole is words, a picture file or id:NUMBER, or the mean of several items. Behind the place stands how many of
    the other items lie lower. With --json every item is printed, and otherwise those of both ends.

    \b
    Example:
        nestvec between photos.nest cheap luxurious
        nestvec between photos.nest --low 12 --low 40 --high 7 --where "folder LIKE '2019/%'"
        nestvec between photos.nest cheap luxurious --column price_look --share
    """
    from engine.api import Collection
    from engine.query.between import told_of_poles

    check_order(collection, poles)
    if len(poles) != (0 if low or high else 2) or bool(low) != bool(high):
        raise click.UsageError("give two poles: LOW HIGH, or --low and --high")
    if share and column is None:
        raise click.UsageError("--share says what is written to a --column; what is printed has both")
    if poles:
        first, second = ([term_of(word)] for word in poles)
    else:
        first, second = ([term_of(one, is_item=True) for one in some] for some in (low, high))
    with Collection.open(collection, device=device, space=space, encoder=encoder) as opened:
        if (told := told_of_poles(first, second)) is not None:
            say(told)
        found = opened.between(first, second, where)
        if column is not None:
            summary = opened.update_each(found["id"], {column: found["share" if share else "between"]})
            print_summary(summary, as_json=as_json, otherwise="no item matches --where")
            return
        if not found.num_rows:
            say("no item matches --where" if where is not None else "the collection has no items")
        print_places(found.sort_by([("between", "descending"), ("id", "ascending")]).to_pylist(), k, opened, as_json)


def print_places(places: Sequence[dict[str, Any]], k: int, opened: Reader, as_json: bool) -> None:
    """Print places, the highest first."""
    snapshot = opened.snapshot
    shown = places if as_json or len(places) <= 2 * k else [*places[:k], None, *places[-k:]]
    for one in shown:
        if one is None:
            line(f"and {len(places) - 2 * k:,} more between")
            continue
        item = snapshot.item(snapshot.find_id(one["id"]))
        if as_json:
            print_json({**named("uri", item.uri), **one})
        else:
            line(f"{one['between']:z7.3f}  {one['share']:6.1%}  ", Name(item.uri))
