"""`nestvec versions`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from engine.cli import options
from engine.cli.output import human_bytes, line, print_json


@click.command()
@options.collection
@click.option("--all", "every", is_flag=True, help="Also those that only set ids aside for a run.")
@options.as_json
def command(collection: Path, every: bool, as_json: bool) -> None:
    """List the versions of a collection that are kept, the newest first.

    Every change is a version. `gc` deletes old ones; until then `rollback` goes back to them.

    \b
    Example:
        nestvec versions photos.nest
    """
    from engine.collection.history import versions

    for one in versions(collection, every=every):
        if as_json:
            print_json(asdict(one))
        elif one.problem is not None:
            line(f"{one.number:>6}  {one.problem}")
        else:
            items = f"{one.items:,} items"
            line(f"{one.number:>6}  {one.created}  {one.operation:<12}  {items:>18}  {human_bytes(one.bytes):>9}")
