"""`nestvec gc`."""

from __future__ import annotations

import re
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path

import click

from engine.cli import options
from engine.cli.output import human_bytes, line, print_json, say

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


class Age(click.ParamType[timedelta]):
    """An age such as 12h or 7d; a bare number is of days."""

    name = "age"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        """Read it."""
        if isinstance(value, timedelta):
            return value
        match = re.fullmatch(r"([0-9]{1,6})([smhd]?)", str(value))
        if match is None:
            self.fail(f"expected an age such as 30m, 12h or 7d, found {value!r}", param, ctx)
        return timedelta(seconds=int(match[1]) * UNITS[match[2] or "d"])


@click.command()
@options.collection
@click.option("--older-than", type=Age(), default="7d", show_default=True, help="Keep versions younger than this.")
@click.option("--dry-run", is_flag=True, help="Only say what would be deleted.")
@options.as_json
def command(collection: Path, older_than: timedelta, dry_run: bool, as_json: bool) -> None:
    """Delete old versions, and every file that none of the others needs.

    The newest version stays, and any that a program on this machine has open.

    \b
    Example:
        nestvec gc photos.nest --dry-run
        nestvec gc photos.nest --older-than 0
    """
    from engine.collection.garbage import collect

    found = collect(collection, older_than=older_than, dry_run=dry_run)
    if as_json:
        print_json({"collection": str(collection), "dry_run": dry_run, **asdict(found)})
        return
    verb = "would go" if dry_run else "deleted"
    line(f"{len(found.versions)} versions and {len(found.files)} files {verb}: {human_bytes(found.bytes)}")
    if found.held:
        numbers = ", ".join(map(str, found.held))
        say(f"kept, because another program has it open: version {numbers}")
