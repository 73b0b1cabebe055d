"""`nestvec encoders`."""

from __future__ import annotations

import click

from engine.cli import options
from engine.cli.output import line, print_json


@click.command()
@click.option("--all", "all_models", is_flag=True, help="Every pretrained model of open_clip, torchvision and timm.")
@options.as_json
def command(all_models: bool, as_json: bool) -> None:
    """List the encoders.

    A star marks what works right now without a network.

    \b
    Example:
        nestvec encoders
        nestvec encoders --all | grep ViT-B-32
    """
    from engine.encoders.registry import list_encoders

    for one in list_encoders(all_models=all_models):
        modalities = "+".join(sorted(one.modalities)) or "vectors"
        if as_json:
            print_json(
                {
                    "spec": one.spec,
                    "dim": one.dim,
                    "modalities": sorted(one.modalities),
                    "available": one.available,
                    "note": one.note,
                }
            )
        else:
            mark = "*" if one.available else " "
            line(f"{mark} {one.spec:<44} {one.dim or '':>5}  {modalities:<11} {one.note}")
