"""`nestvec export`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine.cli import SKIPPED, options
from engine.cli.answer import how_to_confirm
from engine.cli.meant import check_order
from engine.cli.output import Name, Terminal, line, named, print_json, say
from engine.query.export.options import NEIGHBOURS, ExportOptions
from engine.query.export.registry import FORMATS
from engine.storage.names import shown

if TYPE_CHECKING:
    from engine.query.export.options import Exported

MOST_TOLD = 20
"""So many items that are left out are named."""


@click.command()
@options.collection
@click.argument("destination", type=options.NamedPath(path_type=Path))
@click.option("--to", "to", type=click.Choice(list(FORMATS)), required=True, help="The format; see above.")
@options.where
@click.option("--space", metavar="NAME", help="Whose vectors; see info. The collection's default if none.")
@click.option(
    "--column", "columns", multiple=True, metavar="NAME", help="Take this column along, and no others; repeatable."
)
@click.option("--overwrite", is_flag=True, help="Replace a file that is there already; a folder never is replaced.")
@options.pictures_from
@click.option("--with-vectors", "vectors", is_flag=True, help="huggingface, webdataset: the vectors too.")
@click.option(
    "--held-out",
    type=options.COUNT,
    metavar="N",
    help="hdf5: so many rows are the queries, drawn at random.  [default: 1000, or a tenth]",
)
@click.option("--queries", type=options.FILE, help="hdf5: the queries instead, a .npy of vectors [n, D] of the space.")
@click.option("-k", type=options.COUNT, default=NEIGHBOURS, show_default=True, help="hdf5: neighbours of each query.")
@click.option("--seed", type=options.SEED, default=0, show_default=True, help="hdf5: which rows are drawn.")
@options.as_json
def command(
    collection: Path,
    destination: Path,
    to: str,
    where: str | None,
    space: str | None,
    columns: tuple[str, ...],
    queries: Path | None,
    as_json: bool,
    **how: Any,
) -> None:
    """Write a collection, or what --where lets by, as others read it.

    DESTINATION appears whole or not at all, and replaces nothing. No network is used.

    \b
    Formats:
        parquet         a file: the columns, and a column `vector`
        hdf5            a file as ann-benchmarks has it, with exact neighbours
        clip-retrieval  a folder: img_emb/img_emb_0.npy, metadata/metadata_0.parquet
        faiss           a file: vectors and ids, searched exactly by FAISS itself
        qdrant          a file: a point a line, as JSON
        lance           a folder: a Lance data set
        huggingface     a folder: Parquet with the pictures in it, for `datasets`
        webdataset      a folder: tar files of pictures, captions and columns

    \b
    Example:
        nestvec export photos.nest photos.parquet --to parquet
        nestvec export photos.nest PHOTOS-2019 --to webdataset --where "taken >= '2019'" --with-vectors
        nestvec export vectors.nest vectors.hdf5 --to hdf5 --held-out 1000 -k 100
    """
    from engine.cli.search import load_vectors
    from engine.query.reader import Reader

    check_order(collection, [destination])
    found = None if queries is None else load_vectors(queries)
    wanted = ExportOptions(columns=columns or None, queries=found, **how)
    with Reader.open(collection) as opened:
        done = opened.export(destination, to, where=where, space=space, options=wanted, listener=Terminal())
    print_exported(done, as_json=as_json)
    if where is not None and not done.items and not done.left_out:
        say("no item matches --where")
    if done.left_out:
        raise click.exceptions.Exit(SKIPPED)


def print_exported(done: Exported, *, as_json: bool) -> None:
    """Print what was written, and say what was left out."""
    if as_json:
        left = [{"id": one.id, **named("uri", one.uri), "reason": one.reason} for one in done.left_out]
        said = {"format": done.format, "version": done.version, "items": done.items, "left_out": left}
        print_json({**named("path", done.path), **said})
    else:
        line(f"exported {done.items:,} item{'' if done.items == 1 else 's'} to ", Name(done.path), f" ({done.format})")
    for one in done.left_out[:MOST_TOLD]:
        say(f"{shown(one.uri)}: left out: {one.reason}")
    if (more := len(done.left_out) - MOST_TOLD) > 0:
        say(f"and {more:,} more were left out; --json lists all")
    if done.unnamed:
        say(how_to_confirm(done.unnamed, "exported"))
