"""Values as cameras and programs write them, made typed: texts, moments, places; None for whatever means nothing."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

MOST_TEXT = 1 << 16
MOST_KEYWORDS = 1024
MOST_KEYWORD = 1024

_MOMENT = re.compile(
    r"\s*([0-9]{4})[-:/.]([0-9]{1,2})[-:/.]([0-9]{1,2})"
    r"(?:[T\s]\s*([0-9]{1,2}):([0-9]{2})(?::([0-9]{2})(?:[.,]([0-9]{1,9}))?)?\s*(Z|[+-][0-9]{2}:?[0-9]{2})?)?\s*",
    re.IGNORECASE,
)
_ZONE = re.compile(r"\s*(?:(Z)|([+-])([0-9]{2}):?([0-9]{2}))\s*", re.IGNORECASE)
_IPTC_DATE = re.compile(r"([0-9]{4})([0-9]{2})([0-9]{2})")
_IPTC_TIME = re.compile(r"([0-9]{2})([0-9]{2})([0-9]{2})([+-][0-9]{4})?")
_XMP_PLACE = re.compile(r"\s*([0-9.]+)(?:,([0-9.]+))?(?:,([0-9.]+))?\s*([NSEW])\s*", re.IGNORECASE)
_FRACTION = re.compile(r"\s*(-?[0-9]{1,12}(?:\.[0-9]{1,12})?)\s*(?:/\s*([0-9]{1,12}))?\s*")

# Offsets from UTC that are anywhere in use and no whole hours, in minutes.
_ODD_ZONES = frozenset({-570, -210, -150, 210, 270, 330, 345, 390, 525, 570, 630, 765})
_CHARSETS = {b"ASCII\0\0\0": "utf-8", b"JIS\0\0\0\0\0": "iso2022_jp", b"\0" * 8: "utf-8"}

Columns = dict[str, Any]


def clean(text: str, most: int = MOST_TEXT) -> str | None:
    """Return a text up to its first NUL, without controls and blanks around it; None where nothing is left."""
    found = text.partition("\0")[0][:most]
    kept = "".join(one for one in found if one in "\n\t" or unicodedata.category(one) not in ("Cc", "Cs"))
    return kept.strip() or None


def text_of(data: bytes, most: int = MOST_TEXT) -> str | None:
    """Return bytes as text: UTF-8 where they are that, else as Windows in the West writes them."""
    data = data.partition(b"\0")[0][: 4 * most]
    try:
        return clean(data.decode("utf-8"), most)
    except UnicodeDecodeError:
        return clean(data.decode("cp1252", "replace"), most)


def wide_text(data: bytes, order: str = "<") -> str | None:
    """Return UTF-16 as text, by its byte order mark or else in an order."""
    marked = data[:2] in (b"\xff\xfe", b"\xfe\xff")
    coding = "utf-16" if marked else {"<": "utf-16-le", ">": "utf-16-be"}[order]
    return clean(data[: 2 * MOST_TEXT].decode(coding, "replace").lstrip("\ufeff"))


def comment_text(data: bytes, order: str) -> str | None:
    """Return an EXIF comment, whose first 8 bytes name its characters."""
    prefix, body = data[:8], data[8:]
    if prefix == b"UNICODE\0":
        # In whose order is not said: that of the file, unless only the other makes letters of it.
        first, other = wide_text(body, order), wide_text(body, "<" if order == ">" else ">")
        return other if _strange(first) > _strange(other) else first
    coding = _CHARSETS.get(prefix)
    if coding is None:
        return text_of(data)
    return text_of(body) if coding == "utf-8" else clean(body[: 4 * MOST_TEXT].decode(coding, "replace"))


def _strange(text: str | None) -> float:
    """Return what share of a text is neither Latin nor a common blank: of the wrong byte order nearly all is."""
    return 1.0 if not text else sum(ord(one) > 0x2FF for one in text) / len(text)


def moment(text: str | None, zone: str | None = None, fraction: str | None = None) -> Columns:
    """Read a date with or without time, as EXIF, XMP or ISO 8601 write it.

    Args:
        text: the date.
        zone: the offset from UTC, where it stands beside it.
        fraction: digits of the second, where they stand beside it.

    Returns:
        `taken`, by the clock of the place, and `taken_zone` where it is known; nothing for what is no date.
    """
    match = _MOMENT.fullmatch(text or "")
    if match is None:
        return {}
    year, month, day, hour, minute, second, digits, own = match.groups()
    if fraction is not None and not fraction.strip().isascii():
        fraction = None
    digits = digits or (fraction or "").strip()
    micro = int(digits[:6].ljust(6, "0")) if digits.isdecimal() else 0
    try:
        taken = datetime(int(year), int(month), int(day), int(hour or 0), int(minute or 0), int(second or 0), micro)
    except ValueError:
        return {}
    found = zone_of(own) or zone_of(zone)
    taken = taken.replace(microsecond=micro // 1000 * 1000)
    return {"taken": taken} if found is None or hour is None else {"taken": taken, "taken_zone": found}


def zone_of(text: str | None) -> str | None:
    """Read an offset from UTC, and write it as `+02:00`."""
    match = _ZONE.fullmatch(text or "")
    if match is None:
        return None
    utc, sign, hours, minutes = match.groups()
    if utc:
        return "+00:00"
    return f"{sign}{hours}:{minutes}" if int(hours) <= 14 and int(minutes) < 60 else None


def mail_moment(text: str | None) -> Columns:
    """Read a date as e-mails have it, which the specification of PNG asks for, or as others do."""
    found = moment(text)
    if found or not text:
        return found
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError, OverflowError):
        return {}
    return moment(date.isoformat())


def iptc_moment(date: str | None, time: str | None) -> Columns:
    """Read the two data sets of an IPTC record that say when."""
    day, clock = _IPTC_DATE.fullmatch(date or ""), _IPTC_TIME.fullmatch(time or "")
    if day is None:
        return {}
    text = "-".join(day.groups())
    if clock is not None:
        hour, minute, second, zone = clock.groups()
        text += f"T{hour}:{minute}:{second}{zone or ''}"
    return moment(text)


def utc_moment(seconds: float) -> Columns:
    """Return the columns of a moment that is told in seconds since 1970."""
    try:
        found = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    except (OverflowError, ValueError):
        return {}
    return {"taken": found.replace(tzinfo=None), "taken_zone": "+00:00"}


def zone_between(local: datetime, utc: datetime) -> str | None:
    """Return the offset that a clock had, given what it showed and UTC; None where no place has such an offset."""
    minutes = round((local - utc).total_seconds() / 60 / 15) * 15
    if abs((local - utc).total_seconds() - minutes * 60) > 90 or not -12 * 60 <= minutes <= 14 * 60:
        return None
    if minutes % 60 and minutes not in _ODD_ZONES:
        return None
    return f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}"


def place(latitude: float | None, longitude: float | None, altitude: float | None = None) -> Columns:
    """Return the columns of a place in degrees and metres; nothing for none, and for 0° 0°, which means none."""
    if latitude is None or longitude is None or (latitude, longitude) == (0, 0):
        return {}
    if not (abs(latitude) <= 90 and abs(longitude) <= 180):  # so that what is no number is refused too
        return {}
    found = {"latitude": float(latitude), "longitude": float(longitude)}
    if altitude is not None and abs(altitude) < 1e5:
        found["altitude"] = float(altitude)
    return found


def degrees(parts: Sequence[float | None], letter: str | None, halves: str) -> float | None:
    """Return degrees, minutes and seconds with the letter of their half of the world, "NS" or "EW", as one number."""
    side = (letter or "").strip().upper()
    if not parts or parts[0] is None or side not in tuple(halves):
        return None
    # What has no seconds writes them as 0/0.
    whole, minutes, seconds = [float(one or 0) for one in (*parts, 0, 0)][:3]
    if not (0 <= minutes <= 60 and 0 <= seconds <= 60 and 0 <= whole <= 180):
        return None
    found = whole + minutes / 60 + seconds / 3600
    return -found if side in "SW" else found


def xmp_degrees(text: str | None, halves: str) -> float | None:
    """Return `48,51.5N` or `48,51,30N` as one number."""
    match = _XMP_PLACE.fullmatch(text or "")
    if match is None:
        return None
    *parts, letter = match.groups()
    try:
        return degrees([float(one) for one in parts if one is not None], letter, halves)
    except ValueError:
        return None


def number(text: str | None) -> float | None:
    """Return a number or a fraction as one number."""
    match = _FRACTION.fullmatch(text or "")
    if match is None:
        return None
    over, under = match.groups()
    return None if under is not None and not int(under) else float(over) / int(under or 1)


def whole(value: float | None, low: int, high: int) -> int | None:
    """Return a number as a whole one, where it is within bounds."""
    if value is None or not math.isfinite(value) or not low <= round(value) <= high:
        return None
    return round(value)


def keywords(said: Iterable[str | None]) -> list[str] | None:
    """Return keywords without blanks around them, each once, in the order they were said; None for none."""
    found = dict.fromkeys(one for text in said if text is not None and (one := clean(text, MOST_KEYWORD)) is not None)
    return list(found)[:MOST_KEYWORDS] or None


def camera(make: str | None, model: str | None) -> str | None:
    """Return maker and model in one, without saying the maker twice."""
    if make is None or model is None:
        return model or make
    begins = model.casefold().split()[:1] == make.casefold().split()[:1]
    return model if begins or model.casefold().startswith(make.casefold()) else f"{make} {model}"


def said(columns: Columns) -> Columns:
    """Return the columns that have a value."""
    return {name: value for name, value in columns.items() if value is not None}
