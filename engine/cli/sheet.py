"""A contact sheet: one HTML file with the answers' thumbnails in it, and nothing to fetch."""

from __future__ import annotations

import base64
import html
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from engine.collection.paths import path_bytes, printable
from engine.ingest.pictures import decode_picture
from indexers.errors import PictureError

if TYPE_CHECKING:
    from engine.answers import Answers
    from engine.collection.snapshot import Item

SIDE = 240
QUALITY = 80

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>nestvec: {title}</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 15px/1.4 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem; }}
h2 {{ font-size: 1.2rem; margin: 2.5rem 0 .8rem; overflow-wrap: anywhere; }}
ol {{ list-style: none; margin: 0; padding: 0; display: grid; gap: 1rem;
     grid-template-columns: repeat(auto-fill, minmax(11rem, 1fr)); }}
li {{ border: 1px solid #8884; border-radius: 8px; overflow: hidden; }}
.picture {{ height: 11rem; display: grid; place-items: center; background: #fff; color: #555; }}
.picture img {{ max-width: 100%; max-height: 11rem; }}
.text {{ padding: .5rem .7rem; overflow-wrap: anywhere; }}
.score {{ float: right; font-variant-numeric: tabular-nums; opacity: .7; }}
.path {{ display: block; font-size: .8rem; opacity: .65; }}
</style>
</head>
<body>
<h1>nestvec</h1>
{body}
</body>
</html>
"""


def write_sheet(path: Path, answers: Sequence[Answers]) -> None:
    """Write answers as one self-contained page.

    Args:
        path: the HTML file; replaced if it exists.
        answers: to one query each, in order.
    """
    body = "\n".join(_section(one) for one in answers)
    title = _shown(", ".join(str(one.query) for one in answers)[:80])
    path.write_text(_PAGE.format(title=title, body=body), encoding="utf-8")


def _shown(text: str) -> str:
    """Return text as a page shows it: as what it is, and nothing in it turns the direction of what follows."""
    return html.escape(printable(text))


def _section(answers: Answers) -> str:
    cards = "\n".join(
        _card(rank, item, float(score))
        for rank, (item, score) in enumerate(zip(answers.items, answers.scores, strict=True), start=1)
    )
    return f"<section>\n<h2>{_shown(str(answers.query))}</h2>\n<ol>\n{cards}\n</ol>\n</section>"


def _card(rank: int, item: Item, score: float) -> str:
    return (
        f'<li><div class="picture">{_picture(item)}</div><div class="text"><span class="score">{score:.3f}</span>'
        f'{rank}. <bdi>{_shown(item.caption or "")}</bdi><bdi class="path">{_shown(item.path)}</bdi></div></li>'
    )


def _picture(item: Item) -> str:
    """Return a thumbnail as an inline picture, or a few words where there is none to show."""
    data = thumbnail(item)
    if data is None:
        return "no picture here any more" if item.width else "a vector"
    encoded = base64.b64encode(data).decode("ascii")
    return f'<img alt="{_shown(item.caption or item.path)}" src="data:image/jpeg;base64,{encoded}">'


def thumbnail(item: Item) -> bytes | None:
    """Read an item's file and return a small JPEG; None if it is not a picture on this machine."""
    if not item.width:
        return None
    try:
        data = Path(os.fsdecode(path_bytes(item.uri))).read_bytes()
        picture = decode_picture(data, min_side=SIDE)
    except (OSError, ValueError, PictureError):
        return None
    picture.thumbnail((SIDE, SIDE))
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=QUALITY)
    return out.getvalue()
