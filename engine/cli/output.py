"""What the command prints: answers on stdout, everything else on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from engine.collection.paths import printable

if TYPE_CHECKING:
    from engine.answers import Answers
    from engine.ingest.report import Summary


DID = ("added", "changed", "moved", "relabelled", "removed")


def say(text: str) -> None:
    """Print a line of progress or a warning on stderr."""
    click.echo(printable(text), err=True)


class Terminal:
    """A listener that draws progress on stderr, bars only on a terminal."""

    def say(self, text: str) -> None:
        """Print the line."""
        say(text)

    @contextmanager
    def progress(self, task: str, total: int | None) -> Iterator[Callable[[int], None]]:
        """Draw a bar while the task runs."""
        from tqdm import tqdm

        off = not sys.stderr.isatty() or total == 0
        with tqdm(total=total, desc=task, unit="", file=sys.stderr, disable=off, smoothing=0.1) as bar:

            def advance(steps: int) -> None:
                bar.update(steps)

            yield advance


def print_json(value: Any) -> None:
    """Print one JSON value on one line, with escapes where a terminal or an encoding could be hurt."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    plain = text.isprintable() and "utf" in (getattr(sys.stdout, "encoding", None) or "").lower()
    click.echo(text if plain else json.dumps(value, default=str))


def answers_json(answers: Answers) -> dict[str, Any]:
    """Return answers in the stable shape of `--json`."""
    results = [
        {
            "rank": rank,
            "id": item.id,
            "uri": item.uri,
            "score": round(float(score), 6),
            "caption": item.caption,
            "meta": item.meta,
        }
        for rank, (item, score) in enumerate(zip(answers.items, answers.scores, strict=True), start=1)
    ]
    return {"query": answers.query, "results": results}


def print_answers(found: Sequence[Answers], *, as_json: bool) -> None:
    """Print the answers to several queries, in query order."""
    for number, answers in enumerate(found):
        if as_json:
            print_json(answers_json(answers))
            continue
        if len(found) > 1:
            name = f"query {number}" if answers.query is None else printable(str(answers.query))
            click.echo(("\n" if number else "") + click.style(name, bold=True))
        for rank, (item, score) in enumerate(zip(answers.items, answers.scores, strict=True), start=1):
            caption = f"  {printable(item.caption)}" if item.caption else ""
            line = f"{rank:3d}  {score:6.3f}  {printable(item.uri)}"
            click.echo(line + click.style(caption, dim=True))


def print_summary(summary: Summary, *, as_json: bool, otherwise: str = "nothing to do") -> None:
    """Print what a run did, or `otherwise` where no item was concerned."""
    if as_json:
        print_json(asdict(summary))
        return
    did = [f"{getattr(summary, word)} {word}" for word in DID if getattr(summary, word)]
    if new := summary.failed - summary.failed_before:
        did.append(f"{new} failed")
    left = [f"{getattr(summary, word)} {word}" for word in ("unchanged", "ignored") if getattr(summary, word)]
    if known := summary.failed_before:
        left.append(f"{known} known failure{'s' if known > 1 else ''}")
    told = ", ".join([*did, *left]) if did else "; ".join([otherwise, *([", ".join(left)] if left else [])])
    click.echo(f"version {summary.version}: {told} in {summary.seconds:.1f} s")
    if summary.unindexed:
        click.echo(f"{summary.unindexed} new items are searched exactly until the next rebuild")


def human_bytes(size: float) -> str:
    """Write a size the way people read it."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" or size >= 100 else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
