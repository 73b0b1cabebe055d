"""A contact sheet: one HTML file with the answers' thumbnails in it, and nothing to fetch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from engine.query.thumbnails import picture_html, shown_html
from engine.storage.kinds import DEFAULT_MAX_PIXELS
from engine.storage.names import shown

if TYPE_CHECKING:
    from engine.collection.originals import Originals
    from engine.collection.snapshot import Item
    from engine.query.answers import Answers

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
    called = [f"query {at}" if one.query is None else str(one.query) for at, one in enumerate(answers)]
    body = "\n".join(_section(name, one, originals, max_pixels) for name, one in zip(called, answers, strict=True))
    title = shown_html(", ".join(called)[:80])
    path.write_text(_PAGE.format(title=title, body=body), encoding="utf-8")


def _section(called: str, answers: Answers, originals: Originals, max_pixels: int) -> str:
    cards = "\n".join(
        _card(rank, item, float(score), picture_html(item, originals, max_pixels=max_pixels))
        for rank, (item, score) in enumerate(zip(answers.items, answers.ordered_by, strict=True), start=1)
    )
    return f"<section>\n<h2>{shown_html(called)}</h2>\n<ol>\n{cards}\n</ol>\n</section>"


def _card(rank: int, item: Item, score: float, picture: str) -> str:
    caption, path = shown_html(item.caption or ""), shown_html(shown(item.name))
    return (
        f'<li><div class="picture">{picture}</div><div class="text">'
        f'<span class="score">{score:.3f}</span>{rank}. <bdi>{caption}</bdi><bdi class="path">{path}</bdi></div></li>'
    )
