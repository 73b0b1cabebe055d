"""`nestvec repair`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from engine.cli import FAILED, options
from engine.cli.output import Terminal, line, print_json, say
from engine.storage.layout import VERSIONS


@click.command()
@options.collection
@click.option("--accept-loss", is_flag=True, help="Give up what is nowhere else, and keep the rest.")
@click.option("--encoder", metavar="SPEC", help="The same encoder, where its files are now.")
@options.device
@options.as_json
def command(collection: Path, accept_loss: bool, encoder: str | None, device: str, as_json: bool) -> None:
    """Find damaged files and put them right: from others that hold the same, or from the pictures.

    What is derived is built again. Exits with 1 if something is nowhere else; --accept-loss then takes it out, and
    the next `index` of the sources brings back what still is in them.

    \b
    Example:
        nestvec verify photos.nest
        nestvec repair photos.nest
    """
    from engine.jobs.index import RunOptions
    from engine.jobs.repair import repair

    done = repair(collection, RunOptions(encoder=encoder, device=device), Terminal(), accept_loss=accept_loss)
    if as_json:
        print_json({"collection": str(collection), **asdict(done)})
    else:
        for path, origin in done.restored:
            line(f"{path}: from {origin}")
        for text in done.lost:
            line(f"{'given up' if accept_loss else 'lost'}: {text}")
        for text in done.left:
            line(f"still wrong: {text}")
        if done.whole is not None:
            line(f"version {done.whole} is whole, and may have it: nestvec rollback {collection} {done.whole}")
        if not (done.restored or done.lost or done.left):
            line("everything is as it was written")
    if done.lost and not accept_loss:
        say("nestvec: nothing was changed; --accept-loss keeps the rest without what is lost")
    # That nobody can go back to an older version any more is told, and is no failure of this one.
    if any(not text.startswith(f"{VERSIONS}/") for text in done.left) or (done.lost and not accept_loss):
        raise click.exceptions.Exit(FAILED)
