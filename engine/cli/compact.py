"""`nestvec compact`."""

from __future__ import annotations

from pathlib import Path

import click

from engine.cli import options
from engine.cli.output import Terminal, print_summary


@click.command()
@options.collection
@options.device
@options.as_json
def command(collection: Path, device: str, as_json: bool) -> None:
    """Rewrite a collection without what was removed, with fewer and larger files.

    Searches go on meanwhile on the version they have open.

    \b
    Example:
        nestvec compact photos.nest
    """
    from engine.api import Collection

    with Collection.open(collection, device=device) as opened:
        print_summary(opened.compact(Terminal()), as_json=as_json, otherwise="rewritten")
