"""`nestvec train`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine.cli import options
from engine.cli.output import Terminal, line, print_json
from engine.heads.model import OBJECTIVES
from indexers import checks

if TYPE_CHECKING:
    from engine.heads.model import Head


def numbers(kind: type[int] | type[float]) -> Callable[[click.Context, click.Parameter, str | None], Any]:
    """Return a callback that reads numbers with commas between them."""

    def read(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[Any, ...] | None:
        try:
            return None if value is None else tuple(kind(part) for part in value.split(","))
        except ValueError as error:
            raise click.BadParameter(f"{value!r}: expected numbers with commas, such as 16,32,64") from error

    return read


@click.command()
@options.sources
@click.option("--objective", type=click.Choice(OBJECTIVES), required=True, help="What the head learns; see above.")
@click.option(
    "--dims", callback=numbers(int), metavar="N,N,...", required=True, help="Prefix dimensions, such as 16,32,64,128."
)
@click.option("-o", "--output", type=options.FILE, required=True, help="The head, a .safetensors file.")
@click.option("--labels", metavar="COLUMN", help="supervised: the column of labels.")
@click.option("--pairs", type=options.FILE, help="paired: a second vector for each row; the captions by default.")
@click.option("--queries", metavar="FILE", help="rotation: vectors or texts (.txt) to serve, or `captions`.")
@click.option("--encoder", help="What made vectors that lie in files; it belongs to the head.")
@click.option("--table", type=options.FILE, help="Captions and columns, row for row beside a file of vectors.")
@click.option("--rows", type=options.COUNT, help="Train on a sample of at most so many rows.  [default: 200000]")
@click.option("--width", type=options.COUNT, help="Dimensions the head gives; as many as it takes by default.")
@click.option("--hidden", type=click.IntRange(0, checks.MOST), help="Neurons of a hidden layer beside the linear map.")
@click.option("--weights", callback=numbers(float), metavar="N,N,...", help="Relative weight of each of the dims.")
@click.option("--shared-classifier", is_flag=True, help="supervised: one classifier for all dims (MRL-E).")
@click.option("--fixed", type=click.Choice(["items", "queries"]), help="paired: this side stays as it is.")
@click.option("--shared-tower", is_flag=True, help="paired: one tower for both sides.")
@click.option("--steps", type=options.COUNT, help="At most so many; early stopping may end it sooner.")
@click.option("--batch", type=click.IntRange(2, checks.MOST), help="Rows a step.")
@click.option("--rate", type=click.FloatRange(0, min_open=True), help="Highest learning rate.")
@click.option("--patience", type=options.COUNT, default=10, show_default=True, help="Looks (of 20) without a gain.")
@click.option("--seed", type=options.SEED, default=0, show_default=True, help="The same seed, the same head.")
@click.option("--overwrite", is_flag=True, help="Replace a head that is there already.")
@options.device
@options.as_json
def command(sources: tuple[Path, ...], output: Path, overwrite: bool, as_json: bool, **given: Any) -> None:
    """Train a head, so that the first few numbers of every vector are a good vector themselves.

    SOURCE is one collection, or files of vectors (.npy, Parquet). No picture is encoded. Interrupted, the same
    command goes on where it stopped. Objectives:

    \b
        rotation    no labels; scores at full dimension stay as they are
        supervised  labels; equal labels come together at every prefix
        paired      captions or another second view; pairs come together
        adaptor     no labels; a network that keeps similarities

    \b
    Example:
        nestvec train photos.nest --objective rotation --dims 16,32,64,128 -o nested.safetensors
        nestvec train photos.nest --objective supervised --labels species --dims 8,32,128 -o species.safetensors
        nestvec apply-head photos.nest nested.safetensors --use
    """
    from engine.heads.training.options import TrainOptions
    from engine.ingest.joined import TableOptions
    from engine.jobs.examples import MOST_ROWS, ExampleOptions
    from engine.jobs.train import train_head

    table, rows, encoder = TableOptions(given.pop("table")), given.pop("rows") or MOST_ROWS, given.pop("encoder")
    labels, pairs, queries = given.pop("labels"), given.pop("pairs"), given.pop("queries")
    head = train_head(
        sources,
        TrainOptions(**given),
        ExampleOptions(labels, pairs, queries, encoder, table, rows),
        output=output,
        overwrite=overwrite,
        listener=Terminal(),
    )
    if as_json:
        said = {"output": str(output), "objective": head.objective, "dim": head.dim, "dims": head.dims}
        print_json({**said, "digest": head.digest, "training": dict(head.training)})
    else:
        _print(head, output)


def _print(head: Head, output: Path) -> None:
    """Show each figure before and after."""
    figures, best = head.training["figures"], head.training["best_step"]
    width = max(map(len, figures["after"]), default=0)
    line(f"{'':{width}}  before   after")
    for name, after in figures["after"].items():
        line(f"{name:{width}}  {figures['before'][name]:6.3f}  {after:6.3f}")
    line(f"{output}: {head.objective}, {head.dim_in} → {head.dim} dimensions, best at step {best}")
