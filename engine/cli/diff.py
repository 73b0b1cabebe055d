"""`nestvec diff`."""

from __future__ import annotations

from pathlib import Path

import click

from engine.cli import options
from engine.cli.meant import Number
from engine.cli.output import Name, line, named, print_json

SIGNS = {"added": "+", "removed": "-", "changed": "~", "moved": ">", "relabelled": "#"}


@click.command()
@options.collection
@click.argument("old", type=Number())
@click.argument("new", type=Number(), required=False)
@options.as_json
def command(collection: Path, old: int, new: int | None, as_json: bool) -> None:
    """Say in which items version OLD differs from version NEW, or from the newest.

    + added, - removed, ~ other content, > moved or renamed, # other caption or columns.

    \b
    Example:
        nestvec versions photos.nest
        nestvec diff photos.nest 12
        nestvec diff photos.nest 12 15
    """
    from engine.collection.history import diff

    for one in diff(collection, old, new):
        if as_json:
            was = {"was": None} if one.was is None else named("was", one.was)
            print_json({**one._asdict(), **named("path", one.path), **was})
            continue
        before = () if one.was is None else (Name(one.was), " > ")
        line(f"{SIGNS[one.kind]} {one.source}: ", *before, Name(one.path))
