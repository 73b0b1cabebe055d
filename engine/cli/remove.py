"""`nestvec remove`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click

from engine.cli import FAILED, options
from engine.cli.meant import check_order
from engine.cli.output import Terminal, print_json, print_summary, say
from engine.progress import Summary


@click.command()
@options.collection
@click.argument("paths", nargs=-1, metavar="[PATH]...")
@click.option("--id", "ids", type=options.ID, multiple=True, help="An item by its id; may be repeated.")
@click.option("--keys", "are_keys", is_flag=True, help="PATH is a key, of the column that index --key named.")
@options.where
@click.option("--below", multiple=True, metavar="FOLDER", help="Every item below a folder of its source.")
@click.option("--space", metavar="NAME", help="Instead of items: a space that apply-head made.")
@click.option("--purge", is_flag=True, help="Delete every trace of them now: see above.")
@options.device
@options.as_json
def command(
    collection: Path,
    paths: tuple[str, ...],
    ids: tuple[int, ...],
    are_keys: bool,
    where: str | None,
    below: tuple[str, ...],
    space: str | None,
    purge: bool,
    device: str,
    as_json: bool,
) -> None:
    """Take items out of a collection; the pictures themselves stay where they are.

    PATH is relative to the source it was indexed from, or absolute. Removed items are no longer found; their
    bytes go with the next compact. A picture that still lies in its source comes back with the next `index` of it.

    With --purge their bytes go now: the collection is rewritten without them, all older versions are deleted, and
    with them the way back.

    \b
    Example:
        nestvec remove photos.nest 2019/blurred.jpg
        nestvec remove photos.nest --below private --purge
        nestvec remove photos.nest --below 2019/screenshots --id 4711
        nestvec remove photos.nest --where "suffix = '.gif' OR rating = 1"
        nestvec remove photos.nest --space nested
    """
    from engine.jobs.remove import remove
    from engine.jobs.spaces import remove_space
    from engine.query.reader import Reader

    check_order(collection, paths)
    if space is not None:
        if paths or ids or below or where or purge:
            raise click.UsageError("give items or a --space, not both; --purge is for items")
        print_summary(remove_space(collection, space), as_json=as_json, otherwise=f"space {space} removed")
        return
    if are_keys or where is not None:
        with Reader.open(collection, device=device) as reader:
            if are_keys:
                paths, ids = (), (*ids, *reader.ids_of(paths).tolist())
            ids = ids if where is None else (*ids, *reader.matching(where).tolist())
        if not (paths or ids or below):
            print_summary(Summary(version=reader.version), as_json=as_json, otherwise="no item matches --where")
            return
    if purge:
        _purge(collection, paths, ids, below, device, as_json=as_json)
        return
    print_summary(remove(collection, paths, ids=ids, below=below), as_json=as_json)


def _purge(
    collection: Path, paths: Sequence[str], ids: Sequence[int], below: Sequence[str], device: str, *, as_json: bool
) -> None:
    """Take items out so that no byte of them is left, and say what is in the way of that."""
    from engine.api import Collection

    with Collection.open(collection, device=device) as opened:
        summary, held = opened.purge(paths, ids=ids, below=below, listener=Terminal())
    if as_json:
        print_json({**asdict(summary), "held": held})
    else:
        print_summary(summary, as_json=False)
    if held:
        numbers = ", ".join(map(str, held))
        remedy = f"nestvec gc {collection} --older-than 0"
        say(f"another program still has version {numbers} open; end it, then: {remedy}")
        raise click.exceptions.Exit(FAILED)
