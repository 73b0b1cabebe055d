"""`nestvec rollback`."""

from __future__ import annotations

from pathlib import Path

import click

from engine.cli import options
from engine.cli.meant import Number
from engine.cli.output import print_summary


@click.command()
@options.collection
@click.argument("version", type=Number())
@options.as_json
def command(collection: Path, version: int, as_json: bool) -> None:
    """Make what VERSION was the newest version again; see `nestvec versions`.

    What came after it is still there as a version until `gc` deletes it, so a rollback can be rolled back.

    \b
    Example:
        nestvec versions photos.nest
        nestvec rollback photos.nest 12
    """
    from engine.collection.history import rollback
    from engine.jobs.due import tail_rows
    from engine.progress import Summary

    made = rollback(collection, version)
    summary = Summary(version=made.version, unindexed=tail_rows(made, made.default))
    print_summary(summary, as_json=as_json, otherwise=f"as version {version} was")
