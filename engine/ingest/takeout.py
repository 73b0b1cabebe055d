"""What Google Takeout writes beside a picture: how that file is called, and what is in it.

The name is the picture's with `.supplemental-metadata` and `.json` behind it, cut off after 46 characters at any point;
a number in brackets, `IMG_1(2).jpg`, moves to its end, `IMG_1.jpg.supplemental-metadata(2).json`. Older ones have no
`.supplemental-metadata`, and even older ones not the picture's suffix. What was edited has none of its own. None of
this is documented by Google; it is what those who restore such archives have found.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from engine.ingest.metadata.columns import PLACE
from engine.ingest.metadata.values import Columns, clean, place, said, utc_moment

MOST_NAME = 46
SUPPLEMENT = ".supplemental-metadata"
EDITED = (
    "-edited|-effects|-bearbeitet|-modifié|-modifie|-editado|-ha editado|-modificato|-bewerkt|-edytowane|-redigerad|"
    "-redigert|-redigeret|-muokattu|-upravené|-編集済み|-수정됨|-编辑|-已修改"
).split("|")
_NUMBERED = re.compile(r"(?P<stem>.*?)(?P<number>\([0-9]{1,6}\))?(?P<suffix>\.[^.]*)?", re.DOTALL)


def json_names(name: str) -> Iterator[str]:
    """Yield what Takeout may call the file beside a picture, the likeliest first.

    Args:
        name: of the picture.
    """
    yield from _own_names(name)
    stem, dot, suffix = name.rpartition(".")
    number = re.search(r"\([0-9]{1,6}\)$", stem)
    bare, tail = (stem[: number.start()], number[0]) if number else (stem, "")
    for word in EDITED:
        if bare.endswith(word):
            yield from _own_names(f"{bare.removesuffix(word)}{tail}{dot}{suffix}")


def _own_names(name: str) -> Iterator[str]:
    match = _NUMBERED.fullmatch(name)
    stem, number, suffix = match.group("stem", "number", "suffix") if match else (name, None, None)
    for base, tail in ((name, ""), (f"{stem}{suffix or ''}", number or "")) if number else ((name, ""),):
        longest = f"{base}{SUPPLEMENT}"
        for end in range(len(longest), len(base) - 1, -1):
            yield f"{longest[:end]}{tail}.json"
        if len(base) > MOST_NAME:
            yield f"{base[:MOST_NAME]}{tail}.json"
        if len(base) + len(tail) > MOST_NAME:
            yield f"{base[: MOST_NAME - len(tail)]}{tail}.json"
    yield f"{stem}{number or ''}.json"


def read_takeout(data: bytes) -> tuple[Columns, Columns]:
    """Return what a file of Takeout's says of its picture.

    Returns:
        what counts before what the picture says: the place and the description, which somebody may have set since; and
        what counts where the picture says nothing: when, which Google keeps as a moment of UTC and nobody's clock.
        Nothing where it is no such file.
    """
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return {}, {}
    if not isinstance(found, dict) or "photoTakenTime" not in found:
        return {}, {}
    where = next((one for name in ("geoData", "geoDataExif") if (one := _place(found.get(name)))), {})
    description = found.get("description")
    words = clean(description) if isinstance(description, str) else None
    return said({**where, "description": words}), _taken(found["photoTakenTime"])


def _place(found: Any) -> Columns:
    if not isinstance(found, dict):
        return {}
    values: list[Any] = [found.get(name) for name in PLACE]
    latitude, longitude, altitude = (
        float(one) if type(one) in (int, float) and abs(one) < 1e9 else None for one in values
    )
    return place(latitude, longitude, altitude or None)  # a height of 0 is how none is written


def _taken(found: Any) -> Columns:
    seconds = found.get("timestamp") if isinstance(found, dict) else None
    text = str(seconds) if type(seconds) in (int, str) else ""
    if not re.fullmatch(r"-?[0-9]{1,12}", text) or not int(text):
        return {}
    return utc_moment(int(text))
