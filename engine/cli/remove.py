"""`nestvec remove`."""

from __future__ import annotations

from pathlib import Path

import click

from engine.cli import options
from engine.cli.output import print_summary


@click.command()
@options.collection
@click.argument("paths", nargs=-1, metavar="[PATH]...")
@click.option("--id", "ids", type=int, multiple=True, help="An item by its id; may be repeated.")
@click.option("--below", multiple=True, metavar="FOLDER", help="Every item below a folder of its source.")
@click.option("--space", metavar="NAME", help="Instead of items: a space that apply-head made.")
@options.as_json
def command(
    collection: Path,
    paths: tuple[str, ...],
    ids: tuple[int, ...],
    below: tuple[str, ...],
    space: str | None,
    as_json: bool,
) -> None:
    """Take items out of a collection; the pictures themselves stay where they are.

    PATH is relative to the source it was indexed from, or absolute. Removed items are no longer found; their
    bytes go with the next compact. A picture that still lies in its source comes back with the next `index` of it.

    \b
    Example:
        nestvec remove photos.nest 2019/blurred.jpg
        nestvec remove photos.nest --below 2019/screenshots --id 4711
        nestvec remove photos.nest --space nested
    """
    from engine.ingest.heads import remove_space
    from engine.ingest.maintain import remove

    if space is not None:
        if paths or ids or below:
            raise click.UsageError("give items or a --space, not both")
        print_summary(remove_space(collection, space), as_json=as_json, otherwise=f"space {space} removed")
        return
    print_summary(remove(collection, paths, ids=ids, below=below), as_json=as_json)
