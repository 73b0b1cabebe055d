"""Answers as people look at them: thumbnails inside a page, and nothing to fetch."""

from __future__ import annotations

import base64
import html
import io
from typing import TYPE_CHECKING

from engine.collection.originals import Originals
from engine.encoders.huge import OversizedPicture
from engine.encoders.pictures import decode_picture
from engine.storage.kinds import DEFAULT_MAX_PIXELS
from engine.storage.names import printable, shown
from indexers.errors import PictureError

if TYPE_CHECKING:
    from engine.collection.snapshot import Item
    from engine.query.answers import Answers

SIDE = 240
QUALITY = 80
SHOWN = 20
"""Answers that a notebook shows."""

_CELL = "text-align: left; vertical-align: middle; overflow-wrap: anywhere"


def shown_html(text: str) -> str:
    """Return text as a page shows it: as what it is, and nothing in it turns the direction of what follows."""
    return html.escape(printable(text))


def picture_html(item: Item, originals: Originals, *, max_pixels: int = DEFAULT_MAX_PIXELS) -> str:
    """Return a thumbnail as an inline picture, or a few words where there is none to show."""
    if not item.width:
        return "a vector"
    try:
        whole = originals.read(item)
    except FileNotFoundError:
        return "no picture here any more"
    except (OSError, PictureError) as error:
        return shown_html(f"not shown: {error.strerror if isinstance(error, OSError) else error}")
    try:
        data = thumbnail(whole, max_pixels=max_pixels)
    except OversizedPicture as error:
        return shown_html(f"not shown: {error}")
    except PictureError:  # why, it says with some of its bytes
        return "not shown: it is no picture any more"
    encoded = base64.b64encode(data).decode("ascii")
    return f'<img alt="{shown_html(item.caption or shown(item.name))}" src="data:image/jpeg;base64,{encoded}">'


def thumbnail(data: bytes, *, max_pixels: int = DEFAULT_MAX_PIXELS) -> bytes:
    """Return a small JPEG of a picture file.

    Raises:
        PictureError: it cannot be decoded.
    """
    picture = decode_picture(data, max_pixels=max_pixels, min_side=SIDE)
    picture.thumbnail((SIDE, SIDE))
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=QUALITY)
    return out.getvalue()


def answers_html(answers: Answers) -> str:
    """Return answers as a table for a notebook, the best of them with a thumbnail where their pictures may be shown."""
    originals = Originals(answers.snapshot.root, answers.snapshot.manifest.sources)
    rows = []
    for rank, item, score in zip(range(1, SHOWN + 1), answers.items, answers.ordered_by, strict=False):
        cells = (
            str(rank),
            picture_html(item, originals),
            f"{score:.4f}",
            str(item.id),
            shown(item.name),
            item.caption or "",
        )
        said = [cell if at == 1 else f"<bdi>{shown_html(cell)}</bdi>" for at, cell in enumerate(cells)]
        rows.append("".join(f'<td style="{_CELL}">{cell}</td>' for cell in said))
    head = "".join(f'<th style="{_CELL}">{name}</th>' for name in ("", "", "score", "id", "name", "caption"))
    more = f"<p>… and {len(answers) - SHOWN} more</p>" if len(answers) > SHOWN else ""
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{more}"
