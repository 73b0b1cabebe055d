"""Blocks of metadata as typed columns, and which block counts where several say the same.

Of the camera and the shot EXIF is believed first, then XMP, then IPTC; of what people say of a picture XMP, then IPTC,
then EXIF, as the Metadata Working Group's guidelines have it (2.0, 2010). docs/metadata.md has the table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

from engine.ingest.metadata.blocks import Blocks, find_blocks, take_resources
from engine.ingest.metadata.directories import Directories, Tags, Value, read_directories
from engine.ingest.metadata.packets import Properties, read_packet, read_records
from engine.ingest.metadata.values import (
    Columns,
    camera,
    clean,
    comment_text,
    degrees,
    iptc_moment,
    keywords,
    mail_moment,
    moment,
    number,
    place,
    said,
    text_of,
    whole,
    wide_text,
    xmp_degrees,
    zone_between,
)
from engine.ingest.metadata.window import Window

PLACE = ("latitude", "longitude", "altitude")
TOGETHER = (("taken", "taken_zone"), PLACE)
"""Columns of which one says nothing without the other: they come from the same block."""

SHOT = ("taken", "taken_zone", "camera", "lens", *PLACE, "orientation")
SPOKEN = ("keywords", "rating", "description")
COLUMNS = (*SHOT, *SPOKEN)

_DESCRIBED, _MAKE, _MODEL, _ORIENTATION, _CHANGED, _ORIGINAL, _DIGITIZED = (
    *(0x010E, 0x010F, 0x0110, 0x0112, 0x0132),
    *(0x9003, 0x9004),
)
_PACKET, _IPTC, _RESOURCES, _RATING, _LENS, _COMMENT = 0x02BC, 0x83BB, 0x8649, 0x4746, 0xA434, 0x9286
_XP_COMMENT, _XP_KEYWORDS = 0x9C9C, 0x9C9E
_ZONES = {_CHANGED: 0x9010, _ORIGINAL: 0x9011, _DIGITIZED: 0x9012}
_FRACTIONS = {_CHANGED: 0x9290, _ORIGINAL: 0x9291, _DIGITIZED: 0x9292}
_GPS = range(0x1E)
WANTED = frozenset(
    {_DESCRIBED, _MAKE, _MODEL, _ORIENTATION, _PACKET, _IPTC, _RESOURCES, _RATING, _LENS, _COMMENT, *_ZONES}
    | {_XP_COMMENT, _XP_KEYWORDS, *_ZONES.values(), *_FRACTIONS.values(), *_GPS}
)

_EXIF, _TIFF, _XMP = "http://ns.adobe.com/exif/1.0/", "http://ns.adobe.com/tiff/1.0/", "http://ns.adobe.com/xap/1.0/"
_DC, _PHOTOSHOP = "http://purl.org/dc/elements/1.1/", "http://ns.adobe.com/photoshop/1.0/"
_AUX, _EXIF_EX = "http://ns.adobe.com/exif/1.0/aux/", "http://cipa.jp/exif/1.0/"


def metadata_of(file: Window) -> Columns:
    """Return what a picture file says of itself, by column; what it does not say, or says badly, is not among it.

    Args:
        file: its bytes. Nothing is decoded, and of a file on disk only the blocks of metadata are read.

    Raises:
        OSError: the file cannot be read.
    """
    blocks = _unhurt(lambda: find_blocks(file), Blocks())
    tags = _unhurt(lambda: read_directories(blocks.exif, WANTED), Directories({}, {}, {}))
    _unhurt(lambda: _inner(tags.main, blocks), None)
    exif, changed = (_unhurt(lambda read=read: read(tags), {}) for read in (from_exif, _changed))  # type: ignore[misc]
    packets = [_unhurt(lambda packet=packet: from_xmp(read_packet(packet)), {}) for packet in blocks.xmp]  # type: ignore[misc]
    records = [_unhurt(lambda block=block: from_iptc(read_records(block)), {}) for block in blocks.iptc]  # type: ignore[misc]
    texts = _unhurt(lambda: from_texts(blocks.texts), {})
    shot = layered([changed, texts, *records[::-1], *packets[::-1], exif])
    spoken = layered([texts, exif, *records[::-1], *packets[::-1]])
    both = {**{name: shot.get(name) for name in SHOT}, **{name: spoken.get(name) for name in SPOKEN}}
    return said(both)


def _unhurt(read: Callable[[], Any], otherwise: Any) -> Any:
    """Return what is read from a block, or something else where it is broken.

    Whatever a block from anybody makes Python raise means one thing here: it says nothing. A file that cannot be read
    is another matter.
    """
    try:
        return read()
    except OSError:
        raise
    except Exception:
        return otherwise


def _inner(main: Tags, blocks: Blocks) -> None:
    """Take the blocks that a TIFF file has in its first directory."""
    for tag, kind in ((_PACKET, "xmp"), (_IPTC, "iptc")):
        if tag in main:
            blocks.take(kind, main[tag].data)
    if _RESOURCES in main:
        take_resources(Window.of(main[_RESOURCES].data), blocks)


def layered(layers: Iterable[Columns]) -> Columns:
    """Return what several blocks say together; each later one counts before those in front of it."""
    found: Columns = {}
    for layer in layers:
        found = laid_over(found, layer)
    return found


def laid_over(below: Columns, above: Columns) -> Columns:
    """Return what two say together: where both do, the second counts, and so for what belongs together.

    The zone of a moment is kept where both name the same one and only the first says where.
    """
    kept = dict(below)
    for group in TOGETHER:
        if any(name in above for name in group):
            kept = {name: value for name, value in kept.items() if name not in group}
    found = {**kept, **above}
    if "taken_zone" in below and "taken_zone" not in above and _same(below.get("taken"), above.get("taken")):
        found["taken_zone"] = below["taken_zone"]
    return found


def _same(one: Any, other: Any) -> bool:
    """Whether two moments are the same second."""
    both = isinstance(one, datetime) and isinstance(other, datetime)
    return both and one.replace(microsecond=0) == other.replace(microsecond=0)


# -- EXIF -------------------------------------------------------------------------------------


def from_exif(tags: Directories) -> Columns:
    """Return what EXIF says, but for the time of the last change."""
    both = {**tags.main, **tags.exif}
    taken = _when(both, _ORIGINAL) or _when(both, _DIGITIZED)
    gps = _gps_moment(tags.gps)
    if "taken" not in taken:
        taken = gps
    elif "taken_zone" not in taken and gps:
        zone = zone_between(taken["taken"], gps["taken"])
        taken = taken if zone is None else {**taken, "taken_zone": zone}
    return said(
        {
            **taken,
            **_gps_place(tags.gps),
            "camera": camera(_text(both, _MAKE), _text(both, _MODEL)),
            "lens": _text(both, _LENS),
            "orientation": whole(_first(both, _ORIENTATION), 1, 8),
            "rating": whole(_first(both, _RATING), 0, 5),
            "description": _text(both, _DESCRIBED) or _wide(both, _XP_COMMENT) or _comment(both.get(_COMMENT)),
            "keywords": keywords((_wide(both, _XP_KEYWORDS) or "").split(";")),
        }
    )


def _changed(tags: Directories) -> Columns:
    """Return when EXIF says that the file was changed last: of some pictures nothing else is known."""
    return _when({**tags.main, **tags.exif}, _CHANGED)


def _when(tags: Tags, tag: int) -> Columns:
    return moment(_text(tags, tag), _text(tags, _ZONES[tag]), _text(tags, _FRACTIONS[tag]))


def _text(tags: Tags, tag: int) -> str | None:
    value = tags.get(tag)
    return text_of(value.data) if value is not None and value.kind in (1, 2, 7, 129) else None


def _wide(tags: Tags, tag: int) -> str | None:
    value = tags.get(tag)
    return wide_text(value.data) if value is not None and value.kind in (1, 7) else None


def _comment(value: Value | None) -> str | None:
    return None if value is None else comment_text(value.data, value.order)


def _first(tags: Tags, tag: int) -> float | None:
    value = tags.get(tag)
    return None if value is None else value.first()


def _gps_place(gps: Tags) -> Columns:
    north = degrees(gps[2].numbers() if 2 in gps else (), _text(gps, 1), "NS")
    east = degrees(gps[4].numbers() if 4 in gps else (), _text(gps, 3), "EW")
    height, below = _first(gps, 6), _first(gps, 5) in (1, 3)
    return place(north, east, None if height is None else -height if below else height)


def _gps_moment(gps: Tags) -> Columns:
    """Return the moment of UTC that a receiver noted."""
    clock = gps[7].numbers() if 7 in gps else []
    hours, minutes, seconds = [*clock, None, None, None][:3]
    if hours is None or minutes is None or not (0 <= hours < 24 and 0 <= minutes < 60):
        return {}
    return moment(f"{_text(gps, 0x1D)} {int(hours):02}:{int(minutes):02}:{int(seconds or 0):02}", "Z")


# -- XMP --------------------------------------------------------------------------------------


def from_xmp(found: Properties) -> Columns:
    """Return what the properties of an XMP packet say."""

    def one(space: str, name: str) -> str | None:
        return next((text for value in found.get(f"{space} {name}", ()) if (text := clean(value))), None)

    whens = (
        (_EXIF, "DateTimeOriginal"),
        (_PHOTOSHOP, "DateCreated"),
        (_XMP, "CreateDate"),
        (_EXIF, "DateTimeDigitized"),
    )
    height, below = number(one(_EXIF, "GPSAltitude")), one(_EXIF, "GPSAltitudeRef") == "1"
    sides = xmp_degrees(one(_EXIF, "GPSLatitude"), "NS"), xmp_degrees(one(_EXIF, "GPSLongitude"), "EW")
    return said(
        {
            **next((when for name in whens if (when := moment(one(*name)))), {}),
            **place(*sides, None if height is None else -height if below else height),
            "camera": camera(one(_TIFF, "Make"), one(_TIFF, "Model")),
            "lens": one(_EXIF_EX, "LensModel") or one(_AUX, "Lens"),
            "orientation": whole(number(one(_TIFF, "Orientation")), 1, 8),
            "rating": whole(number(one(_XMP, "Rating")), -1, 5),
            "description": one(_DC, "description"),
            "keywords": keywords(found.get(f"{_DC} subject", ())),
        }
    )


# -- IPTC, PNG ----------------------------------------------------------------------------------


def from_iptc(found: dict[int, list[bytes]]) -> Columns:
    """Return what an IPTC record says."""

    def texts(number: int) -> list[str]:
        return [text for data in found.get(number, ()) if (text := text_of(data)) is not None]

    first = {number: next(iter(texts(number)), None) for number in (55, 60, 120)}
    return said(
        {
            **iptc_moment(first[55], first[60]),
            "description": first[120],
            "keywords": keywords(texts(25)),
        }
    )


def from_texts(texts: dict[str, str]) -> Columns:
    """Return what the comments of a PNG say, by their keywords in small letters."""
    words = (clean(texts[name]) for name in ("description", "comment") if name in texts)
    return said({**mail_moment(texts.get("creation time")), "description": next((one for one in words if one), None)})
