"""`nestvec evaluate`."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine.cli import options
from engine.cli.output import Terminal, line, print_json, say

if TYPE_CHECKING:
    from engine.evaluation.options import EvaluateOptions, Evaluation
    from engine.evaluation.rows import Row


@dataclass(frozen=True)
class Asked:
    """What is measured; the options of the command."""

    dims: tuple[int, ...] | None
    k: int
    shortlist: int
    queries: int
    labels: str | None
    texts: Path | None
    no_texts: bool
    heads: tuple[Path, ...]
    spaces: tuple[str, ...]
    topics: Path | None
    qrels: Path | None
    run_out: Path | None
    seed: int
    filters: bool
    plan: str | None


@dataclass(frozen=True)
class Shown:
    """How it is shown; the options of the command."""

    as_json: bool
    parquet: Path | None
    plots: tuple[Path, ...]


def read_dims(_context: click.Context, _parameter: click.Parameter, text: str | None) -> tuple[int, ...] | None:
    """Read `8,16,32`."""
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",")]
    if not all(re.fullmatch("[0-9]{1,9}", part) for part in parts):
        raise click.BadParameter(f"expected numbers like 8,16,32, found {text!r}")
    return tuple(int(part) for part in parts)


@click.command()
@click.argument("collection", type=options.EXISTING, required=False)
@click.option("--dims", callback=read_dims, metavar="D,D,…", help="Prefixes; 8, 16, … and the trained ones by default.")
@click.option("-k", "--k", type=options.COUNT, default=10, show_default=True, help="Neighbours to find.")
@click.option("--shortlist", type=options.COUNT, default=100, show_default=True, help="Candidates of a rerank.")
@click.option("--queries", type=options.COUNT, default=1000, show_default=True, help="Queries of each kind.")
@click.option("--labels", metavar="COLUMN", help="Also 1-NN, mAP and adaptive retrieval by this column, or by caption.")
@click.option("--texts", type=options.FILE, help="A file of text queries, one a line, instead of captions.")
@click.option("--no-texts", is_flag=True, help="Leave the captions out.")
@click.option("--head", "heads", multiple=True, type=options.FILE, help="A head to try, or `nested`; may be repeated.")
@click.option(
    "--space", "spaces", multiple=True, metavar="NAME", help="A space to measure too; all derived by default."
)
@click.option("--topics", type=options.FILE, help="TREC topics, id and text with a tab between, for --qrels.")
@click.option("--qrels", type=options.FILE, help="Graded judgements of items by path or id.")
@click.option("--run-out", type=options.FOLDER, help="Write TREC runs into this folder.")
@click.option("--run", "run_file", type=options.FILE, help="Score this TREC run by --qrels, without a collection.")
@click.option("--filters", is_flag=True, help="Also searches under filters: random, near, far, by tags.")
@click.option("--plan", help="A plan to measure under them, beside the exact search that a filter gets.")
@click.option("--seed", type=options.SEED, default=0, show_default=True, help="Of every draw.")
@click.option("--parquet", type=options.FILE, help="Write the figures to this file.")
@click.option("--plot", "plots", multiple=True, type=options.FILE, help="Draw to FILE.png, FILE.svg, or both: FILE.")
@options.encoder
@options.device
@options.as_json
def command(collection: Path | None, run_file: Path | None, encoder: str | None, device: str, **given: Any) -> None:
    """Measure what a prefix costs and what a head bought.

    For prefixes of the vectors, of the same vectors rotated (pca, random) and of those a head makes: how many of the
    true neighbours they find, and with labels, captions or judgements how good the answers are. With --filters: what
    is found of the best items that match.

    \b
    Example:
        nestvec evaluate photos.nest --head nested.safetensors --plot recall.png
        nestvec evaluate photos.nest --labels species --dims 8,32,128
        nestvec evaluate photos.nest --filters --plan 'ivf-pq@64:nprobe=8 | 100@512'
        nestvec evaluate photos.nest --topics topics.tsv --qrels qrels.txt --run-out runs
        nestvec evaluate --run runs/truncation-64.run --qrels qrels.txt
    """
    shown = Shown(**{field: given.pop(field) for field in Shown.__dataclass_fields__})
    asked = Asked(**given)
    _check_shown(shown)
    if run_file is not None:
        _only_run(collection, asked, shown)
        _show(None, _score(run_file, asked), shown, run_file.name)
        return
    if collection is None:
        raise click.UsageError("give a collection, or --run with --qrels")
    evaluation = _evaluate(collection, encoder, device, asked)
    _show(
        evaluation, evaluation.rows, shown, f"{collection.name}: {evaluation.items} items, {evaluation.dim} dimensions"
    )


def _check_shown(shown: Shown) -> None:
    """Refuse before the work what could not be written after it."""
    for path in (*shown.plots, *([shown.parquet] if shown.parquet else [])):
        if not path.parent.is_dir():
            raise click.UsageError(f"{path}: there is no folder {path.parent}")
    if shown.plots:
        from engine.evaluation.plots import plot_files, require_matplotlib

        require_matplotlib()
        for path in shown.plots:
            plot_files(path)


def _only_run(collection: Path | None, asked: Asked, shown: Shown) -> None:
    if collection is not None or asked.topics is not None or asked.run_out is not None or asked.labels is not None:
        raise click.UsageError("--run is scored by itself: give it with --qrels, and no collection")
    if asked.qrels is None:
        raise click.UsageError("--run needs --qrels")
    if asked.heads or asked.dims is not None or asked.spaces or asked.filters or asked.plan is not None:
        raise click.UsageError("--run is scored as it is: --head, --dims, --space and --filters would change nothing")
    if shown.plots:
        raise click.UsageError("--run has no prefixes: there is nothing for --plot to draw")


def _score(run_file: Path, asked: Asked) -> tuple[Row, ...]:
    from engine.evaluation.few import warn_of_few
    from engine.evaluation.judged import run_rows
    from engine.evaluation.trec import read_qrels, read_run

    if asked.qrels is None:
        raise click.UsageError("--run needs --qrels")
    run, qrels = read_run(run_file), read_qrels(asked.qrels)
    rows = tuple(run_rows(run_file.name, 0, run, qrels))
    warn_of_few(len(qrels), "judged queries", Terminal())
    return rows


def _evaluate(collection: Path, encoder: str | None, device: str, asked: Asked) -> Evaluation:
    from engine.evaluation.evaluate import evaluate
    from engine.query.reader import Reader

    with Reader.open(collection, device=device, encoder=encoder) as opened:
        return evaluate(opened, _options(asked), Terminal())


def _options(asked: Asked) -> EvaluateOptions:
    from engine.evaluation.options import EvaluateOptions
    from engine.evaluation.trec import read_texts

    given = asdict(asked)
    given["use_texts"] = not given.pop("no_texts")
    given["texts"] = read_texts(asked.texts) if asked.texts is not None else None
    given["spaces"] = asked.spaces or None
    return EvaluateOptions(**given)


def _show(evaluation: Evaluation | None, rows: tuple[Row, ...], shown: Shown, title: str) -> None:
    from engine.evaluation.report import as_json, text_tables, write_parquet

    if shown.as_json:
        about = {} if evaluation is None else {name: getattr(evaluation, name) for name in ("items", "dim", "seed")}
        print_json({**about, "rows": as_json(rows)})
    else:
        for text in text_tables(rows):
            line(text)
    if shown.parquet is not None:
        write_parquet(shown.parquet, rows)
        say(f"wrote {shown.parquet}")
    if shown.plots:
        from engine.evaluation.plots import draw_plots

        for file in draw_plots(shown.plots, rows, title=title):
            say(f"wrote {file}")
