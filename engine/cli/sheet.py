"""A contact sheet: one HTML file with the answers' thumbnails in it, and nothing to fetch."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from engine.encoders.huge import OversizedPicture
from engine.encoders.pictures import decode_picture
from engine.storage.kinds import DEFAULT_MAX_PIXELS
from engine.storage.names import printable, shown
from indexers.errors import PictureError

if TYPE_CHECKING:
    from engine.collection.originals import Originals
    from engine.collection.snapshot import Item
    from engine.query.answers import Answers

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


def write_sheet(
    path: Path, answers: Sequence[Answers], originals: Originals, *, max_pixels: int = DEFAULT_MAX_PIXELS
) -> None:
    """Write answers as one self-contained page.

    Args:
        path: the HTML file; replaced if it exists.
        answers: to one query each, in order.
        originals: the pictures that may be in it.
        max_pixels: larger ones are not.
    """
    body = "\n".join(_section(one, originals, max_pixels) for one in answers)
    title = _shown(", ".join(str(one.query) for one in answers)[:80])
    path.write_text(_PAGE.format(title=title, body=body), encoding="utf-8")


def _shown(text: str) -> str:
    """Return text as a page shows it: as what it is, and nothing in it turns the direction of what follows."""
    return html.escape(printable(text))


def _section(answers: Answers, originals: Originals, max_pixels: int) -> str:
    cards = "\n".join(
        _card(rank, item, float(score), _picture(item, originals, max_pixels))
        for rank, (item, score) in enumerate(zip(answers.items, answers.scores, strict=True), start=1)
    )
    return f"<section>\n<h2>{_shown(str(answers.query))}</h2>\n<ol>\n{cards}\n</ol>\n</section>"


def _card(rank: int, item: Item, score: float, picture: str) -> str:
    caption, path = _shown(item.caption or ""), _shown(shown(item.name))
    return (
        f'<li><div class="picture">{picture}</div><div class="text">'
        f'<span class="score">{score:.3f}</span>{rank}. <bdi>{caption}</bdi><bdi class="path">{path}</bdi></div></li>'
    )


def _picture(item: Item, originals: Originals, max_pixels: int) -> str:
    """Return a thumbnail as an inline picture, or a few words where there is none to show."""
    if not item.width:
        return "a vector"
    try:
        whole = originals.read(item)
    except FileNotFoundError:
        return "no picture here any more"
    except (OSError, PictureError) as error:
        return _shown(f"not shown: {error.strerror if isinstance(error, OSError) else error}")
    try:
        data = thumbnail(whole, max_pixels=max_pixels)
    except OversizedPicture as error:
        return _shown(f"not shown: {error}")
    except PictureError:  # why, it says with some of its bytes
        return "not shown: it is no picture any more"
    encoded = base64.b64encode(data).decode("ascii")
    return f'<img alt="{_shown(item.caption or shown(item.name))}" src="data:image/jpeg;base64,{encoded}">'


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
