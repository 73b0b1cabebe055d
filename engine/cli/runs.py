"""From the options of `index` and `add` to a run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click

from engine.cli import SIGNALS, SKIPPED
from engine.cli.options import Running
from engine.cli.output import Terminal, print_summary, say
from engine.ingest.joined import TableOptions
from engine.ingest.options import EncodeOptions
from engine.ingest.wanted import WantedOptions
from engine.jobs.index import RunOptions
from engine.progress import DEFAULT_ACCEPT_LOSS, Listener, Summary
from engine.storage.kinds import ALL_METADATA, NO_LOCATION, NO_METADATA
from indexers.base import IndexSpec
from indexers.threads import available_cores

MOST_NOTED = 20
"""So many pictures with something wrong are named."""

Run = Callable[[Path, tuple[Path, ...], RunOptions, Listener], Summary]


def carry_out(
    run: Run,
    collection: Path,
    sources: tuple[Path, ...],
    how: Running,
    *,
    dtype: str = "float16",
    accept_loss: float = DEFAULT_ACCEPT_LOSS,
) -> None:
    """Run, print what it did, and exit with 3 if something was skipped or kept that is to be told."""
    summary = run(collection, sources, run_options(how, dtype, accept_loss), Terminal())
    print_summary(summary, as_json=how.as_json)
    for one in summary.unjoined:
        named = ", ".join([*one.first, *(["…"] if len(one.first) < one.rows else [])])
        rows, name = ("1 row", "names") if one.rows == 1 else (f"{one.rows} rows", "name")
        say(f"{rows} of {one.table} {name} no item: {named}")
    for other in summary.unnamed:
        named = ", ".join([*other.first, *(["…"] if len(other.first) < other.items else [])])
        has = "1 picture has" if other.items == 1 else f"{other.items} pictures have"
        say(f"{has} no row in the tables of {other.source}: {named}")
    failed = summary.failed if how.strict else summary.failed - summary.failed_before
    if failed:
        say(f"{failed} could not be indexed; see them with: nestvec info {collection} --failures")
    for noted in summary.noted[:MOST_NOTED]:
        say(f"{noted.path}: {noted.note}")
    if (more := len(summary.noted) - MOST_NOTED) > 0:
        say(f"and {more:,} more pictures were read though something is wrong with them; --json lists all")
    for loss in summary.losses:
        shows = f"shows {loss.now:,} of the {loss.before:,} items it had" if loss.now else "shows nothing"
        say(
            f"{loss.source} ({loss.location}) {shows}: nothing of it was removed, in case a drive is away or a share "
            f"lists only a part. If they are meant to go, say so: --accept-loss 1"
        )
    if failed or summary.unread or summary.losses:
        raise click.exceptions.Exit(SKIPPED)


def wanted_metadata(metadata: bool | None, location: bool | None) -> str | None:
    """Return what of pictures' own metadata is asked for; None for what the collection remembers.

    Raises:
        click.UsageError: none of it, and the place.
    """
    if metadata is False and location:
        raise click.UsageError("--location is a part of what --no-metadata leaves out; name one of them")
    if metadata is False:
        return NO_METADATA
    if location is False:
        return NO_LOCATION
    return ALL_METADATA if metadata or location else None


def columns_of_spaces(given: tuple[str, ...]) -> dict[str, str]:
    """Read `NAME=COLUMN` of each space.

    Raises:
        click.UsageError: it is not written so, or a space comes twice.
    """
    found: dict[str, str] = {}
    for one in given:
        name, equals, column = one.partition("=")
        if not (name and equals and column):
            raise click.UsageError(f"--space: expected NAME=COLUMN, found {one!r}")
        if name in found:
            raise click.UsageError(f"--space: {name} comes twice")
        found[name] = column
    return found


def run_options(how: Running, dtype: str, accept_loss: float) -> RunOptions:
    """Return what the options mean."""
    workers = how.workers or available_cores()
    return RunOptions(
        encoder=how.encoder,
        pool=how.pool,
        device=how.device,
        dtype=dtype,
        specs=[IndexSpec.parse(text) for text in how.specs] or None,
        rebuild=how.rebuild,
        accept_loss=accept_loss,
        encode=EncodeOptions(
            how.batch_size,
            workers,
            how.max_pixels,
            SIGNALS.held,
            how.rebuild,
            wanted_metadata(how.metadata, how.location),
        ),
        table=TableOptions(
            how.table,
            how.name_column,
            how.caption_column,
            how.no_table,
            vectors=how.vectors,
            key=how.key,
            spaces=columns_of_spaces(how.spaces),
        ),
        wanted=WantedOptions(how.exclude, how.include, how.no_exclude, how.min_size, how.pairs),
    )
