"""`nestvec index`."""

from __future__ import annotations

from pathlib import Path

import click

from engine.cli import options
from engine.cli.meant import check_order
from engine.cli.runs import carry_out
from engine.progress import DEFAULT_ACCEPT_LOSS


@click.command()
@options.sources
@options.collection
@click.option(
    "--dtype",
    type=click.Choice(["float16", "float32"]),
    default="float16",
    show_default=True,
    help="How a new collection stores its vectors.",
)
@click.option(
    "--accept-loss",
    type=options.SHARE,
    default=DEFAULT_ACCEPT_LOSS,
    show_default=True,
    metavar="SHARE",
    help="What a source may show less than before, as a share of its items. Where it shows less still, or nothing, "
    "nothing of it is taken out, and the exit status is 3; 1 takes out whatever is missing.",
)
@options.running
def command(sources: tuple[Path, ...], collection: Path, dtype: str, accept_loss: float, how: options.Running) -> None:
    """Make a collection from pictures or vectors, or bring it up to date.

    SOURCE is a folder of pictures, picture files, a tar, zip or Parquet file with pictures in it or a folder of
    those, a table that lists pictures, or vectors (.npy, .npz, Parquet, JSONL, CSV, safetensors, FAISS, folders of
    such). Only what is new or changed is encoded, renamed files keep their vectors, and what is gone from SOURCE is
    taken out, unless so much is missing that a drive may be away. Interrupted, it goes on where it stopped. Spaces
    that apply-head made are kept up to date too; --index is for the main one.

    \b
    Example:
        nestvec index PHOTOS photos.nest --encoder clip:ViT-B-32/laion2b_s34b_b79k
        nestvec index PHOTOS photos.nest --table captions.csv --index ivf-pq@128
        nestvec index train-00000.parquet photos.nest
        nestvec index vectors.npy vectors.nest
        nestvec index products.parquet shop.nest --vectors image_embedding --key sku
        nestvec index products.parquet shop.nest --space main=image_embedding --space text=text_embedding
    """
    from engine.jobs.index import index

    check_order(collection, sources, last=True)
    carry_out(index, collection, sources, how, dtype=dtype, accept_loss=accept_loss)
