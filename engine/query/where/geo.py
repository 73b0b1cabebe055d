"""Places by latitude and longitude: those within some kilometres of a point, and those in a box."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from engine.collection.columntypes import is_number
from engine.query.where.tree import Call, Column, Node, Value
from indexers.errors import InvalidFilter

USUAL = (Column(("latitude",)), Column(("longitude",)))
EARTH_KM = 6371.0088
"""Mean radius of the Earth (IUGG)."""

_NUMBERS = {"within_km": ("latitude", "longitude", "kilometres"), "in_box": ("south", "west", "north", "east")}


def near(node: Call, values: Callable[[Node], Any]) -> Any:
    """Carry out `within_km(latitude, longitude, 48.1, 11.5, 5)` or `in_box(latitude, longitude, S, W, N, E)`.

    The columns may be left out: then they are `latitude` and `longitude`. A box whose west is greater than its east
    goes over the date line. Null where either coordinate is.

    Raises:
        InvalidFilter: other arguments, or columns that are no numbers.
    """
    wanted = _NUMBERS[node.name]
    given: Sequence[Node] = node.args
    columns = USUAL if len(given) == len(wanted) else given[:2]
    numbers = given[-len(wanted) :]
    if len(given) not in (len(wanted), len(wanted) + 2) or not all(_is_written(one) for one in numbers):
        raise InvalidFilter(
            f"{node.name}: expected ({', '.join(wanted)}) as numbers, two columns before them if others are meant",
            node.at,
        )
    latitude, longitude = (_degrees(values(one), one, node) for one in columns)
    said = [float(one.value) for one in numbers if isinstance(one, Value)]  # type: ignore[arg-type]
    inside = _within(latitude, longitude, *said) if node.name == "within_km" else _in_box(latitude, longitude, *said)
    known = np.isfinite(latitude) & np.isfinite(longitude)
    return pc.if_else(pa.array(known), pa.array(inside), pa.scalar(None, pa.bool_()))


def _is_written(node: Node) -> bool:
    return isinstance(node, Value) and node.value is not None and not isinstance(node.value, bool | str | tuple)


def _degrees(array: Any, node: Node, call: Call) -> np.ndarray:
    """Return a column of coordinates as float64; NaN where there is none."""
    kind = array.type
    if not (is_number(kind) or pa.types.is_null(kind)):
        raise InvalidFilter(f"{call.name}: expected columns of numbers, found {kind}", call.at)
    degrees: np.ndarray = array.cast(pa.float64()).to_numpy(zero_copy_only=False)
    return degrees


def _within(latitude: np.ndarray, longitude: np.ndarray, north: float, east: float, kilometres: float) -> np.ndarray:
    """Return which points are no further than that on a sphere (haversine; Sinnott 1984)."""
    with np.errstate(invalid="ignore"):
        phi, theta = np.radians(latitude), np.radians(longitude)
        half = np.sin((phi - np.radians(north)) / 2) ** 2
        half += np.cos(phi) * np.cos(np.radians(north)) * np.sin((theta - np.radians(east)) / 2) ** 2
        inside: np.ndarray = 2 * EARTH_KM * np.arcsin(np.sqrt(np.clip(half, 0, 1))) <= kilometres
    return inside


def _in_box(
    latitude: np.ndarray, longitude: np.ndarray, south: float, west: float, north: float, east: float
) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        between = (
            (longitude >= west) & (longitude <= east) if west <= east else (longitude >= west) | (longitude <= east)
        )
        return (latitude >= south) & (latitude <= north) & between
