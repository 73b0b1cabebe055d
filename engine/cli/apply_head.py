"""`nestvec apply-head`."""

from __future__ import annotations

from pathlib import Path

import click

from engine.cli import options
from engine.cli.meant import check_order
from engine.cli.output import Terminal, print_summary


@click.command()
@options.collection
@click.argument("head", type=options.EXISTING)
@click.option("--name", default="nested", show_default=True, help="What the new space is called.")
@options.index_specs
@click.option(
    "--dtype",
    type=click.Choice(["float16", "float32"]),
    help="How its vectors are stored; as those it is made from by default.",
)
@click.option("--use", is_flag=True, help="Search it from now on where no --space is given.")
@options.device
@options.as_json
def command(
    collection: Path,
    head: Path,
    name: str,
    specs: tuple[str, ...],
    dtype: str | None,
    use: bool,
    device: str,
    as_json: bool,
) -> None:
    """Add a space to a collection: its vectors sent through a HEAD, without encoding a picture again.

    HEAD is a file, or `nested`: the one that comes with the bundled encoder. The collection keeps a copy of it, and
    whatever is added later goes through it too. With --use a space that this head made before is searched again by
    default.

    \b
    Example:
        nestvec apply-head photos.nest nested.safetensors --use
        nestvec apply-head photos.nest nested
        nestvec apply-head photos.nest nested.safetensors --name small --index sq@64
        nestvec search photos.nest "a red bicycle" --space small
    """
    from engine.api import Collection

    check_order(collection, [head])
    with Collection.open(collection, device=device) as opened:
        summary = opened.apply_head(head, name, specs=specs or None, dtype=dtype, use=use, listener=Terminal())
    print_summary(summary, as_json=as_json, otherwise=f"space {name} is there")
