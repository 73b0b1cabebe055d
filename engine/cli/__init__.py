"""The `nestvec` command: one file per verb; parse, call, print."""

from __future__ import annotations

import io
import os
import sys
from importlib import import_module
from typing import Any

import click

from engine.cli.output import hear_of_all, say, say_wrong_usage
from engine.cli.signals import Signals

# verb → what its line in `nestvec --help` says. The module of the same name holds `command`.
VERBS = {
    "index": "Make a collection from pictures or vectors, or bring it up to date.",
    "add": "Add pictures or vectors to a collection.",
    "search": "Find the pictures that match a text.",
    "similar": "Find the pictures most like a picture.",
    "between": "Say where items lie between two poles.",
    "train": "Train a head: make any embedding nest.",
    "apply-head": "Add a space: a collection's vectors sent through a head.",
    "remove": "Take items out of a collection.",
    "compact": "Rewrite a collection without what was removed.",
    "versions": "List the versions that are kept.",
    "diff": "Say in which items two versions differ.",
    "rollback": "Go back to an older version.",
    "gc": "Delete old versions and what only they need.",
    "tune": "Find the fastest plan that keeps a recall.",
    "words": "Say which words of the items can be looked for.",
    "explain": "Show what a search does, stage by stage.",
    "evaluate": "Measure what a prefix costs and what a head bought.",
    "export": "Write a collection as others read it.",
    "info": "Say what is in a collection.",
    "verify": "Check every file of a collection.",
    "repair": "Put a damaged collection right.",
    "encoders": "List the encoders.",
    "doctor": "Say what is installed, and what is wrong with it.",
}

FAILED, USAGE, SKIPPED = 1, 2, 3
SIGNALS = Signals()


class Verbs(click.Group):
    """Imports a verb when it is called, so that none pays for another."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the verbs, in the order they are met."""
        return list(VERBS)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the verb, or say which was probably meant."""
        if args[0] not in VERBS and not args[0].startswith("-"):
            ctx.fail(f"there is no verb {args[0]!r}{_meant(args)}")
        return super().resolve_command(ctx, args)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one verb."""
        if cmd_name not in VERBS:
            return None
        command: click.Command = import_module(f"engine.cli.{cmd_name.replace('-', '_')}").command
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Carry out a verb; click itself would count a reader that has gone away as a failure."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise click.exceptions.Exit(_reader_gone()) from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the verbs without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(VERBS.items()))


def _meant(args: list[str]) -> str:
    """Return what somebody may have meant who named no verb."""
    from engine.cli.meant import is_collection
    from engine.storage.names import command
    from indexers.errors import did_you_mean

    if is_collection(args[0]):
        verb = "search" if args[1:] else "info"
        return f", it is a collection; did you mean: {command(verb, *args)}"
    return did_you_mean(args[0], VERBS) or f"; they are {', '.join(VERBS)}"


def _reader_gone() -> int:
    """After `| head`: nothing is wrong, and Python must not complain at exit about what it cannot write."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="nestvec")
def cli() -> None:
    """Search pictures by text or by likeness, with nested (Matryoshka) vectors.

    \b
    Example:
        nestvec index PHOTOS photos.nest
        nestvec search photos.nest "a red bicycle"
        nestvec similar photos.nest photo.jpg
    """


def main() -> None:
    """Run the command and turn errors into messages and exit codes.

    Codes: 0 fine, 1 failed, 2 wrong usage, 3 finished with items skipped that were not before, 130 interrupted, 143 by
    SIGTERM.
    """
    # Arrow's own allocator keeps what is freed: a run over four shards held two of them that nobody needed.
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    hear_of_all()
    try:
        with SIGNALS.installed():
            code = _carried_out()
    except KeyboardInterrupt:  # before there was anything to interrupt, or while an error was told
        code = SIGNALS.exit_code
    if SIGNALS.came:
        SIGNALS.end(code)
    sys.exit(code)


def _carried_out() -> int:
    """Run the command and return its exit code."""
    from indexers.errors import InvalidFilter, InvalidInput, NestvecError

    # A caption in a script that the terminal's encoding lacks is shown escaped and stops nothing; see `output`.
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="nestvec")
    try:
        code = cli.main(prog_name="nestvec", standalone_mode=False, color=False if os.environ.get("NO_COLOR") else None)
        sys.stdout.flush()
    except click.exceptions.Exit as exit_:
        code = exit_.exit_code
    except (click.Abort, KeyboardInterrupt):
        say(SIGNALS.told("interrupted"))
        code = SIGNALS.exit_code
    except click.ClickException as error:
        say_wrong_usage(error)
        code = error.exit_code
    except InvalidFilter as error:
        for line in f"nestvec: {error}".splitlines():  # the place it points at stands in a line of its own
            say(line)
        code = USAGE
    except NestvecError as error:
        say(f"nestvec: {error}")
        code = USAGE if isinstance(error, InvalidInput) else FAILED
    except BrokenPipeError:
        code = _reader_gone()
    except OSError as error:
        where = f"{os.fsdecode(error.filename)}: " if error.filename is not None else ""
        say(f"nestvec: {where}{error.strerror or error}")
        code = FAILED
    return int(code or 0)
