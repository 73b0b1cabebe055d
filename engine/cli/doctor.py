"""`nestvec doctor`."""

from __future__ import annotations

import click

from engine.cli import FAILED, options
from engine.cli.output import Styled, line, print_json


@click.command()
@options.as_json
def command(as_json: bool) -> None:
    """Say what is installed, which FAISS and which devices, and what conflicts.

    Exits with 1 if something is wrong.

    \b
    Example:
        nestvec doctor
    """
    from engine.doctor import examine

    found = examine()
    if as_json:
        print_json(found)
    else:
        for name, value in found["facts"].items():
            line(f"{name:<14} {value}")
        for problem in found["problems"]:
            line(Styled("problem        ", fg="red"), problem)
        if not found["problems"]:
            line("nothing wrong")
    if found["problems"]:
        raise click.exceptions.Exit(FAILED)
