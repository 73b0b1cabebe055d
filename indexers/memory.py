"""What memory there is: what cannot fit is refused before it begins.

`NESTVEC_MEMORY` says how much the process may hold in all; without it what the machine has left, and what its
control groups and resource limits allow.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from indexers import checks
from indexers.errors import InvalidInput

VARIABLE = "NESTVEC_MEMORY"
SIZE = re.compile(r"(?P<number>[0-9]{1,12}(?:\.[0-9]{1,3})?)\s*(?P<unit>[kKMGT]?)(?P<binary>i?)B?")
POWERS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}


def parse_bytes(text: str) -> int:
    """Read `2GiB`, `500MB` or a number of bytes.

    Raises:
        InvalidInput: it is none of them.
    """
    match = SIZE.fullmatch(text.strip())
    if match is None:
        raise InvalidInput(f"expected a size like 2GiB or 500MB, found {text!r}")
    found = float(match["number"]) * (1024 if match["binary"] else 1000) ** POWERS[match["unit"].upper()]
    if not found < checks.MOST_BYTES:
        raise InvalidInput(f"expected a size like 2GiB or 500MB, found {text[:80]!r}: no machine has as much")
    return int(found)


def shown_bytes(size: float) -> str:
    """Write a size in the units of `parse_bytes`, rounded up: what is told as needed is enough."""
    for unit, power in (("GiB", 30), ("MiB", 20)):
        if size >= 1 << power:
            return f"{-(-size * 10 // (1 << power)) / 10:,.1f} {unit}"
    return f"{-(-size // 1024):,.0f} KiB"


# -- what there is ---------------------------------------------------------------------------


class Left(NamedTuple):
    """How many bytes a process may take yet, and who says so."""

    bytes: int
    why: str


def memory_left() -> Left | None:
    """Return what memory this process may take yet; None where nothing tells (not Linux, say).

    Raises:
        InvalidInput: `NESTVEC_MEMORY` is no size.
    """
    wanted = os.environ.get(VARIABLE, "").strip()
    if wanted:
        try:
            most = parse_bytes(wanted)
        except InvalidInput as error:
            raise InvalidInput(f"{VARIABLE}: {error}") from error
        _give_back()
        held = _fields(Path("/proc/self/status")).get("RssAnon", 0)
        return Left(max(0, most - held), f"{VARIABLE} is {wanted}")
    return min(_limits(), default=None)


def _give_back() -> None:
    """Return what was freed to the system: until then it counts as held. Only glibc keeps any, and knows how."""
    import ctypes

    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def _limits() -> Iterator[Left]:
    """Yield what each of those that may refuse memory would still give."""
    available = _fields(Path("/proc/meminfo")).get("MemAvailable")
    if available is not None:
        yield Left(available, "the machine has no more")
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, controllers, group = line.split(":", 2)
            if not controllers:
                yield from group_limits(
                    Path("/sys/fs/cgroup"), group, "memory.max", "memory.current", ("inactive_file", "active_file")
                )
            elif "memory" in controllers.split(","):
                names = "memory.limit_in_bytes", "memory.usage_in_bytes"
                cache = ("total_inactive_file", "total_active_file")
                yield from group_limits(Path("/sys/fs/cgroup/memory"), group, *names, cache)
    yield from _resource_limits()


def group_limits(mounted: Path, group: str, limit: str, usage: str, cache: Sequence[str]) -> Iterator[Left]:
    """Yield what a control group and those it is in leave; files that are only cached do not count."""
    # In a container the group is mounted as the root, under another name than the process knows it by.
    inner = mounted / group.strip("/")
    for folder in (inner, *inner.parents):
        if folder.is_relative_to(mounted):
            with contextlib.suppress(OSError, ValueError):
                most, used = (int((folder / name).read_text()) for name in (limit, usage))
                fields = _fields(folder / "memory.stat")
                cached = sum(fields.get(name, 0) for name in cache)
                yield Left(max(0, most - used + cached), f"its control group may have {shown_bytes(most)}")


def _resource_limits() -> Iterator[Left]:
    import resource

    held = _fields(Path("/proc/self/status"))
    for name, field in (("RLIMIT_AS", "VmSize"), ("RLIMIT_DATA", "VmData")):
        most = resource.getrlimit(getattr(resource, name))[0]
        if most != resource.RLIM_INFINITY and field in held:
            yield Left(max(0, most - held[field]), f"{name} is {shown_bytes(most)}")


def _fields(path: Path) -> dict[str, int]:
    """Read lines like `VmRSS:  12 kB` or `cache 12`, in bytes; empty where there is no such file."""
    found = {}
    with contextlib.suppress(OSError):
        for line in path.read_text().splitlines():
            name, *rest = line.replace(":", " ").split()
            if rest and rest[0].isdecimal():
                found[name] = int(rest[0]) * (1024 if rest[1:] == ["kB"] else 1)
    return found
