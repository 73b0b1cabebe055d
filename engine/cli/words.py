"""`nestvec words`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from engine.cli import options
from engine.cli.output import Terminal, line, print_json, print_summary

if TYPE_CHECKING:
    from engine.collection.plans import Blend


@click.command()
@options.collection
@click.option(
    "--column",
    "columns",
    multiple=True,
    metavar="NAME",
    help="Words of this column: caption, path, or one of texts of your own; repeatable. Without it those of captions, "
    "paths and what is called title, description, keywords or tags.",
)
@click.option("--stem", metavar="LANGUAGE", help="Stems count and not words: english, german, french, …")
@click.option("--topics", type=options.FILE, help="TREC topics, to find what words count beside vectors.")
@click.option("--qrels", type=options.FILE, help="Graded judgements of items by path or id, for --topics.")
@options.space
@options.encoder
@options.device
@options.as_json
def command(
    collection: Path,
    columns: tuple[str, ...],
    stem: str | None,
    topics: Path | None,
    qrels: Path | None,
    space: str | None,
    encoder: str | None,
    device: str,
    as_json: bool,
) -> None:
    """Say which words of the items can be looked for, by search --words and --hybrid.

    It is remembered for what is added later. Words are known without it, too: of captions, paths and the usual columns.

    \b
    Example:
        nestvec words photos.nest --column caption --column title --stem english
        nestvec words photos.nest --topics topics.tsv --qrels qrels.txt
        nestvec search photos.nest --words "mountain bike"
    """
    from engine.api import Collection

    if (topics is None) != (qrels is None):
        raise click.UsageError("--topics and --qrels belong together: give both, or neither")
    with Collection.open(collection, device=device, space=space, encoder=encoder) as opened:
        if topics is not None and qrels is not None:
            if columns or stem:
                raise click.UsageError("--topics measures the words there are: say which those are by a run before")
            print_blend(opened.tune_words(topics, qrels, Terminal()), as_json=as_json)
            return
        made = opened.index_words(columns or None, stem=stem, listener=Terminal())
        print_summary(made, as_json=as_json, otherwise="words found anew")


def print_blend(blend: Blend, *, as_json: bool) -> None:
    """Print what words count, and what that is worth."""
    if as_json:
        print_json(asdict(blend))
        return
    line(f"words count {blend.weight:g} (95 % interval {blend.low:g} to {blend.high:g}, {blend.topics} topics)")
    line(f"nDCG@10: {', '.join(f'{name} {value:.3f}' for name, value in blend.ndcg.items())}")
