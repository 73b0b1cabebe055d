"""`nestvec verify`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from engine.cli import FAILED, options
from engine.cli.output import Terminal, line, print_json, say


@click.command()
@options.collection
@options.as_json
def command(collection: Path, as_json: bool) -> None:
    """Check every file of a collection against its hash, and how they fit together.

    Exits with 1 if something is wrong.

    \b
    Example:
        nestvec verify photos.nest
    """
    from engine.collection.snapshot import Snapshot
    from engine.collection.verify import verify

    with Snapshot.open(collection) as snapshot:
        total = sum(ref.size for ref in snapshot.manifest.files())
    with Terminal().progress("checking", total) as advance:
        problems = list(verify(collection, advance))
    if as_json:
        print_json({"collection": str(collection), "problems": [asdict(problem) for problem in problems]})
    for problem in [] if as_json else problems:
        kind = "derived: it can be built again" if problem.derived else "not derived"
        line(f"{problem.path}: {problem.reason} ({kind})")
    if not problems and not as_json:
        line("everything is as it was written")
    if problems:
        say(f"put it right with: nestvec repair {collection}")
        raise click.exceptions.Exit(FAILED)
