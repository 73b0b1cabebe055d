"""`nestvec add`."""

from __future__ import annotations

from pathlib import Path

import click

from engine.cli import options
from engine.cli.meant import check_order
from engine.cli.runs import carry_out


@click.command()
@options.collection
@options.sources
@options.running
def command(collection: Path, sources: tuple[Path, ...], how: options.Running) -> None:
    """Add pictures or vectors to a collection.

    SOURCE is as for `nestvec index`. Nothing is taken out. The new items can be searched at once; indexes
    are rebuilt when they outgrow what can be searched exactly.

    \b
    Example:
        nestvec add photos.nest NEW_PHOTOS one.jpg
        nestvec add vectors.nest more.npy
    """
    from engine.jobs.index import add

    check_order(collection, sources)
    carry_out(add, collection, sources, how)
