"""`nestvec explain`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from engine.cli import options
from engine.cli.marked import Marking
from engine.cli.meant import Meaning, check_order, understood
from engine.cli.output import human_bytes, line, print_json
from engine.cli.under import under_filters

if TYPE_CHECKING:
    from engine.query.explain import Explanation


@click.command()
@options.collection
@click.argument("query", nargs=-1, metavar="[QUERY]...")
@click.option("-k", type=options.COUNT, default=10, show_default=True, help="Answers.")
@click.option("--plan", help="The plan to explain; the collection's own by default.")
@click.option("--item", is_flag=True, help="QUERY is the path or id of an item, and no text; a picture always is.")
@options.where
@click.option("--words", metavar="WORDS", help="Words beside the query, as search takes them.")
@options.marked
@options.max_pixels
@options.space
@options.encoder
@options.device
@options.as_json
def command(
    collection: Path,
    query: tuple[str, ...],
    k: int,
    plan: str | None,
    item: bool,
    where: str | None,
    words: str | None,
    good: tuple[str, ...],
    bad: tuple[str, ...],
    session: Path | None,
    max_pixels: int,
    space: str | None,
    encoder: str | None,
    device: str,
    as_json: bool,
) -> None:
    """Show what a search does, stage by stage: dimension, candidates, time, recall.

    \b
    Example:
        nestvec explain photos.nest "a red bicycle"
        nestvec explain photos.nest --session sunset.json
        nestvec explain photos.nest 4711 --item --plan 'ivf-pq@64:nprobe=8 | 100@512'
    """
    from engine.collection.manifest import json_of
    from engine.query.ask import Query
    from engine.query.reader import Reader
    from engine.query.terms import Term, as_likeness

    check_order(collection, query)
    meant = Meaning("", query) if item else understood(query)
    if len(meant.pictures) > 1:
        raise click.UsageError(f"one query is explained at a time, and {len(meant.pictures)} items were given")
    marking = Marking(good, bad, session)
    if not (query or marking):
        raise click.UsageError("give a text, a picture, or marks: there is nothing to explain")
    asked = meant.pictures[0] if meant.pictures else meant.sentence
    terms = [[as_likeness(asked) if meant.pictures else Term.of_text(asked)]] if query else []
    wanted = Query((), k, plan, where=where, max_pixels=max_pixels, words=words)
    with Reader.open(collection, device=device, space=space, encoder=encoder) as opened:
        found = opened.explain(marking.question(opened, wanted, terms, ())[0])
        tuning = None if where is None else opened.space.tuning
    filters = None if tuning is None else json_of(tuning.filters)
    if as_json:
        print_json({"query": asked, **asdict(found), **({"tuned_under_filters": filters} if filters else {})})
    else:
        print_explanation(found)
        for told in under_filters(filters or {}):
            line(told)


def print_explanation(found: Explanation) -> None:
    """Print the stages as a table."""
    line(f"plan    {found.plan}")
    line(f"rows    {found.rows}, of which {found.unindexed} not in an index")
    for note in found.notes:
        line(f"note    {note}")
    line()
    line(f"{'stage':<44}{'dim':>6}{'hands on':>10}{'ms':>10}{'recall':>8}")
    for step in found.steps:
        line(f"{step.name:<44}{step.dim:>6}{step.candidates:>10}{step.seconds * 1e3:>10.3f}{step.recall:>8.3f}")
    line(f"{'whole search':<60}{found.seconds * 1e3:>10.3f}{found.recall:>8.3f}")
    read = f"exact, reading {human_bytes(found.exact_bytes)} of {human_bytes(found.scan_bytes)}"
    line(f"{read:<60}{found.exact_seconds * 1e3:>10.3f}{1.0:>8.3f}")
