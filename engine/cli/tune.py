"""`nestvec tune`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine.cli import options
from engine.cli.output import Styled, Terminal, human_bytes, line, print_json, say
from engine.cli.under import under_filters
from indexers.errors import InvalidInput

if TYPE_CHECKING:
    from engine.collection.plans import CurvePoint, Cutoff, Tuning
    from engine.jobs.cutoff import CutoffOptions
    from indexers.plan import SearchPlan


def read_bytes(_context: click.Context, _parameter: click.Parameter, text: str | None) -> int | None:
    """Read `2GiB`, `500MB` or a number of bytes."""
    if text is None:
        return None
    from indexers.memory import parse_bytes

    try:
        return parse_bytes(text)
    except InvalidInput as error:
        raise click.BadParameter(str(error)) from error


@click.command()
@options.collection
@click.option(
    "--recall", type=options.SHARE, default=0.95, show_default=True, help="Share of the true answers to find."
)
@click.option("-k", type=options.COUNT, default=10, show_default=True, help="Answers a query.")
@click.option("--queries", type=options.FILE, help="Queries to serve too: a .npy of vectors, or texts, one a line.")
@click.option("--memory", callback=read_bytes, metavar="SIZE", help="Most the index may take, such as 2GiB.")
@click.option(
    "--latency",
    type=click.Choice(["batch", "single"]),
    default="batch",
    show_default=True,
    help="What is to be fast: many queries at once, or one.",
)
@click.option(
    "--cutoff",
    type=options.BETWEEN,
    metavar="SHARE",
    help="Find no plan, but from where on answers are relevant, so that this share of what is relevant is kept: by "
    "captions, or by --topics and --qrels. search --at-least auto cuts there.",
)
@click.option("--topics", type=options.FILE, help="TREC topics, id and text with a tab between, for --qrels.")
@click.option("--qrels", type=options.FILE, help="With --cutoff: graded judgements of items by path or id.")
@click.option("--plot", "plots", multiple=True, type=options.FILE, help="Draw the curve to FILE.png, FILE.svg or both.")
@options.space
@options.encoder
@options.device
@options.as_json
def command(
    collection: Path,
    recall: float,
    k: int,
    queries: Path | None,
    memory: int | None,
    latency: str,
    cutoff: float | None,
    topics: Path | None,
    qrels: Path | None,
    plots: tuple[Path, ...],
    space: str | None,
    encoder: str | None,
    device: str,
    as_json: bool,
) -> None:
    """Find the fastest plan that keeps a recall, and search by it from now on.

    Items stand for similarity lookups; captions and plain prompts for text queries, where the encoder has a text
    tower; --queries adds a kind of your own. Recall is measured against exact answers, and again on queries that no
    choice was made with; so is what the plan keeps under filters. `search --recall` picks another point of the curve.

    \b
    Example:
        nestvec tune photos.nest --recall 0.95
        nestvec tune photos.nest --recall 0.99 --latency single --queries searched.txt --plot curve.png
        nestvec tune photos.nest --cutoff 0.95
    """
    from engine.api import Collection
    from engine.jobs.tune import TuneOptions

    if cutoff is not None or topics is not None or qrels is not None:
        if cutoff is None or queries is not None or memory is not None or plots:
            raise click.UsageError("--topics and --qrels go with --cutoff; --queries, --memory and --plot without it")
        with Collection.open(collection, device=device, space=space, encoder=encoder) as opened:
            print_cutoff(opened.tune_cutoff(cutoff_options(cutoff, topics, qrels), Terminal()), as_json=as_json)
        return
    if plots:
        from engine.evaluation.plots import plot_files, require_matplotlib

        require_matplotlib()
        for path in plots:
            plot_files(path)
    wanted = TuneOptions(recall, k, latency, memory, None if queries is None else read_queries(queries))
    with Collection.open(collection, device=device, space=space, encoder=encoder) as opened:
        tuning = opened.tune(wanted, Terminal())
        plan = opened.space.plans[0].plan
    if as_json:
        from engine.collection.manifest import json_of

        print_json({"plan": str(plan), **json_of(tuning)})
    else:
        print_tuning(plan, tuning)
    if plots:
        from engine.evaluation.pareto import draw_curve

        for file in draw_curve(plots, tuning, plan, title=collection.name):
            say(f"wrote {file}")


def cutoff_options(share: float, topics: Path | None, qrels: Path | None) -> CutoffOptions:
    """Return what is asked for.

    Raises:
        SourceError: a file cannot be read.
    """
    from engine.evaluation.trec import read_qrels, read_topics
    from engine.jobs.cutoff import CutoffOptions

    asked = None if topics is None else read_topics(topics)
    return CutoffOptions(share, asked, None if qrels is None else read_qrels(qrels))


def print_cutoff(found: Cutoff, *, as_json: bool) -> None:
    """Print a cut-off, and what it keeps."""
    if as_json:
        from engine.collection.manifest import json_of

        print_json(json_of(found))
        return
    line(f"relevant from {found.evidence:.2f} deviations above rows at random on, by {found.queries:,} {found.kind}")
    interval = f"{found.low:.1%} to {found.high:.1%}, 95 % interval"
    line(f"keeps {found.share:.1%} of what is relevant to fresh queries ({interval})")


def read_queries(path: Path) -> Any:
    """Read vectors from a `.npy`, or texts from anything else.

    Raises:
        InvalidInput, InvalidVectors, SourceError: it cannot be read.
    """
    if path.suffix.lower() == ".npy":
        from engine.cli.search import load_vectors

        return load_vectors(path)
    from engine.evaluation.trec import read_texts

    return read_texts(path)


def print_tuning(plan: SearchPlan, tuning: Tuning) -> None:
    """Print the curve with the chosen plan marked, and what validation found."""
    kinds = list(tuning.fresh)
    head = "".join(f"{kind:>10}" for kind in kinds)
    line(f"{'plan':<44}{head}   µs a query ({tuning.latency})")
    for point in tuning.curve:
        text = _line(point, kinds)
        line(Styled(text, bold=True), "  ←") if point.plan == plan else line(text)
    if tuning.filters is not None:
        from engine.collection.manifest import json_of

        for told in under_filters(json_of(tuning.filters)):
            line(told)
    fresh = ", ".join(f"{kind} {mean:.3f} ± {half:.3f}" for kind, (mean, half) in tuning.fresh.items())
    line(f"recall@{tuning.k} on fresh queries: {fresh} (95 % interval)")
    line(f"the index takes {human_bytes(tuning.memory)}")


def _line(point: CurvePoint, kinds: list[str]) -> str:
    shares = "".join(f"{point.recall[kind]:10.3f}" for kind in kinds)
    return f"{point.plan!s:<44}{shares}{point.microseconds:13.1f}"
