"""What the command prints: answers on stdout, everything else on stderr, and all of it through one door.

Names, captions, versions and whatever else comes from a file may hold anything. `line` is the only way out: what
could move the cursor, set a title, turn the direction of writing or begin another line is escaped, and only what we
style is styled. The name of a file is else written as it is on disk, so that it can be opened and typed again.
"""

from __future__ import annotations

import base64
import codecs
import contextlib
import json
import logging
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from engine.storage.names import printable, printable_name, shown

if TYPE_CHECKING:
    from engine.progress import Summary

QUIET_SECONDS = 20.0
"""So long nothing is said of a task that goes on."""

LEFT = ("unchanged", "ignored", "excluded", "paired", "small")
DID = ("added", "changed", "moved", "relabelled", "removed")
"""What a run may have done to items: fields of its summary."""


class Styled(NamedTuple):
    """A part of a line that is shown in a style, where there are styles."""

    text: str
    bold: bool = False
    dim: bool = False
    fg: str | None = None


class Name(NamedTuple):
    """The name of a file in a line, as Python has it."""

    path: str


def line(*parts: str | Styled | Name, err: bool = False) -> None:
    """Print one line, whatever its parts hold.

    Args:
        parts: joined without a space.
        err: print on stderr, and not on stdout.
    """
    click.echo("".join(map(_shown, parts)), err=err)


def _shown(part: str | Styled | Name) -> str:
    if isinstance(part, str):
        return printable(part)
    if isinstance(part, Name):
        # A terminal cannot show bytes that are no text. They are written in the way that every verb takes, too.
        return printable_name(shown(part.path) if is_terminal() else part.path)
    return click.style(printable(part.text), bold=part.bold or None, dim=part.dim or None, fg=part.fg)


def is_terminal() -> bool:
    """Whether somebody sees what is printed on stdout at once."""
    return sys.stdout is not None and sys.stdout.isatty()


def as_bytes_or_escaped(error: UnicodeError) -> tuple[str | bytes, int]:
    """Write what an encoding lacks: bytes of a name as the bytes they are, letters as escapes."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    part = error.object[error.start : error.end]
    return b"".join(_bytes_of(letter) for letter in part), error.end


def _bytes_of(letter: str) -> bytes:
    if "\udc80" <= letter <= "\udcff":
        return bytes([ord(letter) - 0xDC00])
    return letter.encode("ascii", "backslashreplace")


codecs.register_error("nestvec", as_bytes_or_escaped)


def print_bytes(data: bytes) -> None:
    """Print what another program is to read, as it is; see `line` for what a person is to read."""
    click.echo(data, nl=False)


def named(field: str, path: str) -> dict[str, str]:
    """Return a path for JSON: its text, and beside it the bytes where they are no text, in base64."""
    beside = "path_bytes" if field == "uri" else f"{field}_bytes"
    text = shown(path)
    return {field: text} if text == path else {field: text, beside: base64.b64encode(os.fsencode(path)).decode()}


def say(text: str) -> None:
    """Print a line of progress or a warning on stderr."""
    line(text, err=True)


def say_at_once(text: str) -> None:
    """Print a line on stderr past Python's buffers: they may be in use where a signal comes in."""
    start = "\n" if sys.stderr is not None and sys.stderr.isatty() else ""  # below a bar that is being drawn
    with contextlib.suppress(OSError):
        os.write(2, f"{start}{printable(text)}\n".encode())


def say_wrong_usage(error: click.ClickException) -> None:
    """Print what click found wrong with the arguments, which it repeats as they are."""
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        _say_lines(error.format_message())
        return
    if isinstance(error, click.UsageError) and error.ctx is not None:
        _say_lines(f"{error.ctx.get_usage()}\nTry '{error.ctx.command_path} --help' for help.\n")
    text = error.format_message()
    # Click lists what may be chosen, and nothing that was given, over several lines.
    say(f"Error: {' '.join(text.split()) if isinstance(error, click.MissingParameter) else text}")


def say_crash(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print what Python prints where nobody has caught an error."""
    _say_lines("".join(traceback.format_exception(kind, error, trace)).rstrip())


def _say_lines(text: str) -> None:
    for one in text.split("\n"):
        say(one)


class LogHandler(logging.Handler):
    """Says what is logged, and what libraries warn of, in a line each."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print the record."""
        say(" ".join(record.getMessage().split()))


def hear_of_all() -> None:
    """Let what is logged, warned of or not caught go the same way as what we say."""
    logging.getLogger().handlers = [LogHandler()]
    logging.captureWarnings(True)
    sys.excepthook = say_crash


class Spoken:
    """Says now and then how far a task is, where there is no terminal to draw it on."""

    def __init__(self, task: str, total: int | None) -> None:
        self._task, self._total, self._done = task, total, 0
        self._began = self._said = time.monotonic()

    def advance(self, steps: int) -> None:
        """Count the steps, and say so if it has been quiet for long."""
        self._done += steps
        now = time.monotonic()
        if now - self._said < QUIET_SECONDS or not self._done:
            return
        self._said, rate = now, self._done / (now - self._began)
        if self._total:
            left = max(0, self._total - self._done) / rate
            say(f"{self._task}: {self._done:,} of {self._total:,}, {rate:,.0f} a second, about {left:,.0f} s left")
        else:
            say(f"{self._task}: {self._done:,}, {rate:,.0f} a second")


class Terminal:
    """A listener that tells progress on stderr: bars on a terminal, else a line now and then."""

    def say(self, text: str) -> None:
        """Print the line."""
        say(text)

    @contextmanager
    def progress(self, task: str, total: int | None) -> Iterator[Callable[[int], None]]:
        """Draw a bar, or say how far it is, while the task runs."""
        from tqdm import tqdm

        if not sys.stderr.isatty():
            yield Spoken(task, total).advance
            return
        off = total == 0
        with tqdm(total=total, desc=printable(task), unit="", file=sys.stderr, disable=off, smoothing=0.1) as bar:

            def advance(steps: int) -> None:
                bar.update(steps)

            yield advance


def print_json(value: Any) -> None:
    """Print one JSON value on one line, with JSON's own escapes where a terminal or an encoding could be hurt."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    plain = text.isprintable() and "utf" in (getattr(sys.stdout, "encoding", None) or "").lower()
    # DEL is ASCII, and JSON would leave it as it is.
    line(text if plain else json.dumps(value, default=str).replace("\x7f", "\\u007f"))


def print_summary(summary: Summary, *, as_json: bool, otherwise: str = "nothing to do") -> None:
    """Print what a run did, or `otherwise` where no item was concerned."""
    if as_json:
        print_json(asdict(summary))
        return
    did = [f"{getattr(summary, word)} {word}" for word in DID if getattr(summary, word)]
    if new := summary.failed - summary.failed_before:
        did.append(f"{new} failed")
    left = [f"{getattr(summary, word)} {word}" for word in LEFT if getattr(summary, word)]
    if summary.noted:
        left.append(f"{len(summary.noted)} noted")
    if known := summary.failed_before:
        left.append(f"{known} known failure{'s' if known > 1 else ''}")
    told = ", ".join([*did, *left]) if did else "; ".join([otherwise, *([", ".join(left)] if left else [])])
    line(f"version {summary.version}: {told} in {summary.seconds:.1f} s")
    if summary.unindexed:
        line(f"{summary.unindexed} new items are searched exactly until the next rebuild")


def human_bytes(size: float) -> str:
    """Write a size the way people read it."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" or size >= 100 else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
